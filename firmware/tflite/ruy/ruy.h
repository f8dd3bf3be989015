// Stands in for ruy, whose sources are not to be had. On ARM, TFLite asks gemmlowp and Eigen for
// the usual products of matrices; what is left are those that these two can't do: 16-bit results,
// raw accumulators, and operands in an unusual order. They are computed here by plain loops.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ruy/context.h"
#include "ruy/matrix.h"
#include "ruy/mul_params.h"
#include "tensorflow/lite/kernels/internal/common.h"

namespace ruy {

template <typename Accumulator, typename Left, typename Right>
Accumulator Dot(const Matrix<Left> &left, const Matrix<Right> &right, int row, int col) {
  const Left *a = left.data() + left.offset(row, 0);
  const Right *b = right.data() + right.offset(0, col);
  const int a_step = left.step_along_row();
  const int b_step = right.step_along_col();
  const Accumulator a_zero = left.zero_point();
  const Accumulator b_zero = right.zero_point();
  Accumulator sum = 0;
  if (a_step == 1 && b_step == 1) {  // a loop of its own, because this one can be vectorized
    for (int i = 0; i < left.layout().cols; ++i) sum += (a[i] - a_zero) * (b[i] - b_zero);
  } else {
    for (int i = 0; i < left.layout().cols; ++i) {
      sum += (a[i * a_step] - a_zero) * (b[i * b_step] - b_zero);
    }
  }
  return sum;
}

template <typename Left, typename Right, typename Accumulator, typename Result>
void Mul(const Matrix<Left> &left, const Matrix<Right> &right,
         const MulParams<Accumulator, Result> &params, Context *, Matrix<Result> *result) {
  // Only what is narrower than its accumulator is scaled.
  constexpr bool kScaled = std::is_integral_v<Result> && sizeof(Result) < sizeof(Accumulator);
  for (int col = 0; col < right.layout().cols; ++col) {
    for (int row = 0; row < left.layout().rows; ++row) {
      Accumulator sum = Dot<Accumulator>(left, right, row, col);
      if (params.bias()) sum += params.bias()[row];
      if constexpr (kScaled) {
        sum = tflite::MultiplyByQuantizedMultiplier(sum, params.multiplier(row),
                                                    params.exponent(row));
        sum += result->zero_point();
      }
      sum = std::min<Accumulator>(sum, params.clamp_max());
      sum = std::max<Accumulator>(sum, params.clamp_min());
      result->mutable_data()[result->offset(row, col)] = static_cast<Result>(sum);
    }
  }
}

}  // namespace ruy
