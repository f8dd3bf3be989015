#include "clock.h"

#include <errno.h>

#include <algorithm>
#include <array>

namespace edge {

bool wait_until(uint64_t time_ns) {
  // More than a wake-up takes on a slow board.
  constexpr uint64_t turning_ns = 200000;
  for (;;) {
    const uint64_t now = clock_ns();
    if (now >= time_ns) return true;
    const uint64_t left_ns = time_ns - now;
    if (left_ns <= turning_ns) continue;
    const uint64_t sleep_ns = left_ns - turning_ns;
    const timespec pause = {static_cast<time_t>(sleep_ns / 1000000000),
                            static_cast<long>(sleep_ns % 1000000000)};
    if (nanosleep(&pause, nullptr) != 0 && errno == EINTR) return false;
  }
}

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
