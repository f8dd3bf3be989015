#include "pace.h"

#include <algorithm>

#include "clock.h"

namespace edge {
namespace {

// Each needs the sum before; by a register, because some cores add constants for nothing.
inline uintptr_t add_16(uintptr_t sum, uintptr_t step) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    sum += step;
    asm volatile("" : "+r"(sum));
  }
  return sum;
}

}  // namespace

uint64_t pace_ns() {
  uintptr_t step = 1;
  asm volatile("" : "+r"(step));
  uint64_t fastest = UINT64_MAX;
  for (int trial = 0; trial < 3; ++trial) {
    uintptr_t sum = 0;
    const uint64_t begin = clock_ns();
    for (int i = 0; i < EDGE_PACE_ADDS / 16; ++i) sum = add_16(sum, step);
    asm volatile("" : "+r"(sum));
    fastest = std::min(fastest, clock_ns() - begin);
  }
  return fastest;
}

void Paces::add(uint64_t time_ns, uint64_t elapsed_ns) {
  if (count_ == EDGE_MAX_PACES) {
    count_ /= 2;
    for (int32_t i = 0; i < count_; ++i) readings_[i] = readings_[2 * i];
    interval_ns_ *= 2;
  }
  readings_[count_++] = {time_ns, elapsed_ns};
  next_ns_ = time_ns + interval_ns_;
}

void Paces::clear() {
  count_ = 0;
  interval_ns_ = first_interval_ns;
  next_ns_ = 0;
}

}  // namespace edge
