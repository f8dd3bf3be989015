// Numbers by chance that are the same for the same seed on every board.
#ifndef EDGE_RANDOM_H
#define EDGE_RANDOM_H

#include <stdint.h>

namespace edge {

// A counter whose every value is mixed (Steele, Lea and Flood, Fast Splittable Pseudorandom Number
// Generators, OOPSLA 2014).
class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(seed) {}

  uint64_t next() {
    uint64_t mixed = state_ += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
  }
  // At least 0, less than 1.
  double unit() { return static_cast<double>(next() >> 11) / 9007199254740992.0; }
  // Exponentially distributed, mean 1. From comparisons alone (von Neumann, Various Techniques Used
  // in Connection with Random Digits, 1951): no logarithm, whose last bit differs between
  // libraries.
  double exponential() {
    for (uint64_t whole = 0;; ++whole) {
      const double first = unit();
      double last = first;
      uint64_t falling = 1;
      for (double drawn = unit(); drawn < last; drawn = unit()) {
        last = drawn;
        ++falling;
      }
      if (falling % 2 != 0) return static_cast<double>(whole) + first;
    }
  }

 private:
  uint64_t state_;
};

}  // namespace edge

#endif  // EDGE_RANDOM_H
