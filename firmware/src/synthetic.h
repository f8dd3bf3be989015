// A model that is none: its latencies are known, so that what is made of them can be checked.
#ifndef EDGE_SYNTHETIC_H
#define EDGE_SYNTHETIC_H

#include <stdint.h>

#include <string>

#include "error.h"
#include "random.h"

namespace edge {

// Their part of a verb's help.
extern const char *const synthetic_help;

class Synthetic {
 public:
  // `SHAPE:key=value,key=value`.
  static Status parse(const std::string &text, uint64_t seed, Synthetic *made);

  // Takes as long as its latency says: turns around for so long, or moves VirtualClock on.
  int32_t invoke();
  int32_t invoke_virtually();

 private:
  enum class Shape {
    kNoisy,
    kBimodal,
    kHeavy,
    kCorrelated,
    kDrifting,
    kWarming,
    kThrottling,
    kStall,
    kCrash,
    kHang
  };

  // Of the invocation that begins now; time counts from the first one.
  double latency_ns(uint64_t now_ns);

  Shape shape_ = Shape::kNoisy;
  double us_ = 100;          // the usual latency
  double spread_ = 0;        // it is uniform in us (1 - spread) to us (1 + spread)
  double slow_us_ = 300;     // bimodal: the other mode
  double share_ = 0.1;       // bimodal: how often
  double rho_ = 0.9;         // correlated: chance that a latency is the one before again
  double per_s_ = 0.1;       // drifting: slower by this share of us each second
  double factor_ = 1.5;      // warming: so much slower at first; throttling: from at_s on
  double at_s_ = 1;          // throttling; warming: after which a quarter of that is left
  double period_ms_ = 1000;  // stall: how often
  double stall_ms_ = 100;    // stall: how long; what begins in it waits for its end
  double at_ = 100;          // crash, hang: the invocation, counted from 0
  uint64_t count_ = 0;
  uint64_t begin_ns_ = 0;
  double last_ns_ = 0;
  Random random_;
};

}  // namespace edge

#endif  // EDGE_SYNTHETIC_H
