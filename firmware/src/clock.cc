#include "clock.h"

#include <algorithm>
#include <array>

namespace edge {

ClockQuality measure_clock() {
  constexpr int reads = 20000;
  // A slow clock (an old kernel without the vDSO call, an emulator) must not cost seconds.
  constexpr uint64_t budget_ns = 20000000;

  ClockQuality quality{UINT64_MAX, 0};
  const uint64_t begin = clock_ns();
  uint64_t last = begin;
  for (int i = 0; i < reads && last - begin < budget_ns; ++i) {
    const uint64_t now = clock_ns();
    if (now > last) quality.tick_ns = std::min(quality.tick_ns, now - last);
    last = now;
  }
  if (quality.tick_ns == UINT64_MAX) quality.tick_ns = 1000000000;  // it never moved

  // One reading costs less than a tick on many boards: only a batch can be timed.
  constexpr int batch = 64;
  std::array<uint64_t, 51> costs;
  for (uint64_t &cost : costs) {
    const uint64_t start = clock_ns();
    uint64_t end = start;
    for (int i = 0; i < batch; ++i) end = clock_ns();
    cost = (end - start) / batch;
  }
  std::nth_element(costs.begin(), costs.begin() + costs.size() / 2, costs.end());
  quality.cost_ns = costs[costs.size() / 2];
  return quality;
}

}  // namespace edge
