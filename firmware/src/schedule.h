// When the next sample may start.
#ifndef EDGE_SCHEDULE_H
#define EDGE_SCHEDULE_H

#include "edge.h"
#include "error.h"
#include "pace.h"
#include "random.h"

namespace edge {

class Schedule {
 public:
  // Returns when it is time. `due_ns`: when it was; 0 in a closed loop, where that is now.
  template <typename Clock>
  Status wait(const edge_plan &plan, Paces *paces, uint64_t *due_ns) {
    *due_ns = 0;
    if (plan.interval_ns == 0 && plan.idle_ns == 0) {
      if (const uint64_t now = Clock::now(); paces->due(now)) paces->add(now, Clock::pace());
      return Status();
    }
    const uint64_t now = Clock::now();
    if (plan.interval_ns != 0) {
      if (!waiting_) advance(plan, now);
      *due_ns = due_ns_;
    }
    const uint64_t time_ns = plan.interval_ns != 0 ? *due_ns : now + plan.idle_ns;
    // Only while there is nothing to do.
    if (paces->due(now) && now + slack_ns < time_ns) paces->add(now, Clock::pace());
    waiting_ = !Clock::wait(time_ns);
    if (waiting_) return fail(EDGE_INTERRUPTED, "stopped by a signal while waiting");
    return Status();
  }
  void clear() { *this = Schedule(); }

 private:
  static constexpr uint64_t slack_ns = 1000000;

  void advance(const edge_plan &plan, uint64_t now_ns) {
    if (!begun_) {
      begun_ = true;
      random_ = Random(plan.seed);
      due_ns_ = now_ns;
      return;
    }
    double gap_ns = static_cast<double>(plan.interval_ns);
    if (plan.poisson != 0) gap_ns *= random_.exponential();
    due_ns_ += static_cast<uint64_t>(gap_ns);
  }

  bool begun_ = false;
  bool waiting_ = false;  // a signal came before it was time
  uint64_t due_ns_ = 0;
  Random random_;
};

}  // namespace edge

#endif  // EDGE_SCHEDULE_H
