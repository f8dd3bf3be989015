// What the kernel says about this process.
#ifndef EDGE_PROCESS_H
#define EDGE_PROCESS_H

#include <stdint.h>

#include <string>

#include "error.h"

namespace edge {

struct Disturbance {
  int64_t minor_faults = 0;
  int64_t major_faults = 0;
  int64_t voluntary_switches = 0;
  int64_t involuntary_switches = 0;
  int64_t cpu_ns = 0;  // of all threads

  Disturbance operator-(const Disturbance &before) const {
    return {minor_faults - before.minor_faults, major_faults - before.major_faults,
            voluntary_switches - before.voluntary_switches,
            involuntary_switches - before.involuntary_switches, cpu_ns - before.cpu_ns};
  }
};

Disturbance read_disturbance();
uint64_t resident_bytes();
uint64_t peak_resident_bytes();

// Only on these processors from now on: `4-7` or `0,2`.
Status run_on(const std::string &cpus);

// What became of asking not to be disturbed; the kernel may refuse either.
struct Undisturbed {
  int32_t nice = 0;
  bool memory_locked = false;
};
// The highest priority that is given.
Undisturbed raise_priority();
// Whatever is in memory now stays there.
void lock_memory(Undisturbed *undisturbed);

}  // namespace edge

#endif  // EDGE_PROCESS_H
