// What TFLite says of a product when it asks ruy for one.
#pragma once

#include <cstdint>
#include <limits>

namespace ruy {

template <typename Accumulator, typename Result>
class MulParams {
 public:
  const Accumulator *bias() const { return bias_; }
  void set_bias(const Accumulator *bias) { bias_ = bias; }

  // Of a row: one for all, or one each.
  Accumulator multiplier(int row) const { return multipliers_ ? multipliers_[row] : multiplier_; }
  int exponent(int row) const { return exponents_ ? exponents_[row] : exponent_; }
  void set_multiplier_fixedpoint(Accumulator value) { multiplier_ = value; }
  void set_multiplier_exponent(int value) { exponent_ = value; }
  void set_multiplier_fixedpoint_perchannel(const Accumulator *values) { multipliers_ = values; }
  void set_multiplier_exponent_perchannel(const int *values) { exponents_ = values; }

  Result clamp_min() const { return clamp_min_; }
  Result clamp_max() const { return clamp_max_; }
  void set_clamp_min(Result value) { clamp_min_ = value; }
  void set_clamp_max(Result value) { clamp_max_ = value; }

 private:
  static constexpr Result Lowest() {
    return std::numeric_limits<Result>::has_infinity ? -std::numeric_limits<Result>::infinity()
                                                     : std::numeric_limits<Result>::lowest();
  }
  static constexpr Result Highest() {
    return std::numeric_limits<Result>::has_infinity ? std::numeric_limits<Result>::infinity()
                                                     : std::numeric_limits<Result>::max();
  }

  const Accumulator *bias_ = nullptr;
  Accumulator multiplier_ = 0;
  int exponent_ = 0;
  const Accumulator *multipliers_ = nullptr;
  const int *exponents_ = nullptr;
  Result clamp_min_ = Lowest();
  Result clamp_max_ = Highest();
};

}  // namespace ruy
