// The one clock everything is measured with, and one that tests move.
#ifndef EDGE_CLOCK_H
#define EDGE_CLOCK_H

#include <sched.h>
#include <stdint.h>
#include <time.h>

#include "pace.h"

namespace edge {

// RAW: NTP may slew CLOCK_MONOTONIC by 500 ppm in the middle of a run.
inline uint64_t clock_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

// Sleeps for most of the time and turns around for the rest, to be there in time. False after a
// signal.
bool wait_until(uint64_t time_ns);

struct ClockQuality {
  uint64_t tick_ns;  // smallest step seen
  uint64_t cost_ns;  // median cost of one reading
};

// Takes some milliseconds.
ClockQuality measure_clock();

// What a measurement goes by.
struct RealClock {
  static uint64_t now() { return clock_ns(); }
  static bool wait(uint64_t time_ns) { return wait_until(time_ns); }
  static int32_t cpu() { return sched_getcpu(); }
  static uint64_t pace() { return pace_ns(); }
};

// One that moves when it is told to, so that a run of known latencies takes no time and comes out
// the same every time.
struct VirtualClock {
  static constexpr uint64_t reading_ns = 20;

  static inline uint64_t time_ns = 0;
  static inline uint64_t pace_taken_ns = EDGE_PACE_ADDS;

  static uint64_t now() { return time_ns += reading_ns; }
  static bool wait(uint64_t until_ns) {
    if (until_ns > time_ns) time_ns = until_ns;
    return true;
  }
  static int32_t cpu() { return 0; }
  static uint64_t pace() {
    time_ns += pace_taken_ns;
    return pace_taken_ns;
  }
};

}  // namespace edge

#endif  // EDGE_CLOCK_H
