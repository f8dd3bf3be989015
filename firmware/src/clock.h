// The one clock everything is measured with.
#ifndef EDGE_CLOCK_H
#define EDGE_CLOCK_H

#include <stdint.h>
#include <time.h>

namespace edge {

// RAW: NTP may slew CLOCK_MONOTONIC by 500 ppm in the middle of a run.
inline uint64_t clock_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

struct ClockQuality {
  uint64_t tick_ns;  // smallest step seen
  uint64_t cost_ns;  // median cost of one reading
};

// Takes some milliseconds.
ClockQuality measure_clock();

}  // namespace edge

#endif  // EDGE_CLOCK_H
