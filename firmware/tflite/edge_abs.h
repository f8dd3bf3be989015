// A function template for magnitudes: libstdc++ happens to have std::abs<T>, libc++ does not.
#pragma once

#include <cmath>
#include <cstdlib>

template <typename T>
T edge_abs(T value) {
  return std::abs(value);
}
