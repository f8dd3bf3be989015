// How fast a core runs at the moment: a clock frequency that needs no permission, and that shows
// the throttling which the kernel does not know of.
#ifndef EDGE_PACE_H
#define EDGE_PACE_H

#include <stdint.h>

#include "edge.h"

namespace edge {

// What EDGE_PACE_ADDS dependent additions take: the shortest of three, because an interrupt can
// only make one longer.
uint64_t pace_ns();

// Readings through a run of any length: when there is room for no more, every second one goes, and
// from then on they are taken half as often.
class Paces {
 public:
  bool due(uint64_t now_ns) const { return now_ns >= next_ns_; }
  void add(uint64_t time_ns, uint64_t elapsed_ns);
  void clear();
  int32_t count() const { return count_; }
  const edge_pace *begin() const { return readings_; }

 private:
  static constexpr uint64_t first_interval_ns = 25000000;

  edge_pace readings_[EDGE_MAX_PACES] = {};
  int32_t count_ = 0;
  uint64_t interval_ns_ = first_interval_ns;
  uint64_t next_ns_ = 0;
};

}  // namespace edge

#endif  // EDGE_PACE_H
