// A function template for magnitudes: libstdc++ happens to have std::abs<T>, libc++ does not.
#pragma once

#include <complex>
#include <cstdlib>

template <typename T>
T edge_abs(T value) {
  return std::abs(value);
}
template <typename T>
T edge_abs(const std::complex<T>& value) {
  return std::abs(value);
}
