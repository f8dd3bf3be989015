#include "synthetic.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "clock.h"

namespace edge {

const char *const synthetic_help = R"(
Instead of a model, for trying out what measures:
  --synthetic SPEC     known latencies: SHAPE:key=value,key=value with SHAPE one of
                         noisy        uniform from us (1 - spread) to us (1 + spread)
                         bimodal      us, or slow_us with chance share
                         heavy        us / u, u uniform from 0 to 1: half take 2 us, one in 100 takes 100
                         correlated   noisy; with chance rho the latency before, again
                         drifting     slower by per_s of us each second
                         warming      factor as slow at first; after at_s a quarter of that is left
                         throttling   factor as slow from second at_s on
                         stall        noisy; every period_ms nothing moves for stall_ms
                         crash, hang  noisy, up to invocation at
  --virtual            by a clock that the latencies alone move: takes no time, comes out the same
)";

Status Synthetic::parse(const std::string &text, uint64_t seed, Synthetic *made) {
  const std::pair<const char *, Shape> shapes[] = {
      {"noisy", Shape::kNoisy},           {"bimodal", Shape::kBimodal},
      {"heavy", Shape::kHeavy},           {"correlated", Shape::kCorrelated},
      {"drifting", Shape::kDrifting},     {"warming", Shape::kWarming},
      {"throttling", Shape::kThrottling}, {"stall", Shape::kStall},
      {"crash", Shape::kCrash},           {"hang", Shape::kHang},
  };
  const std::pair<const char *, double Synthetic::*> numbers[] = {
      {"us", &Synthetic::us_},
      {"spread", &Synthetic::spread_},
      {"slow_us", &Synthetic::slow_us_},
      {"share", &Synthetic::share_},
      {"rho", &Synthetic::rho_},
      {"per_s", &Synthetic::per_s_},
      {"factor", &Synthetic::factor_},
      {"at_s", &Synthetic::at_s_},
      {"period_ms", &Synthetic::period_ms_},
      {"stall_ms", &Synthetic::stall_ms_},
      {"at", &Synthetic::at_},
  };
  made->random_ = Random(seed);
  const size_t colon = std::min(text.find(':'), text.size());
  const std::string shape = text.substr(0, colon);
  const auto *known = std::find_if(std::begin(shapes), std::end(shapes),
                                   [&](const auto &each) { return shape == each.first; });
  if (known == std::end(shapes)) {
    return fail(EDGE_USAGE, "--synthetic %s: there is no shape '%s'; see `edge-run bench --help`",
                text.c_str(), shape.c_str());
  }
  made->shape_ = known->second;
  for (size_t at = colon + 1; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string pair = text.substr(at, end - at);
    const size_t equals = std::min(pair.find('='), pair.size());
    const auto *number =
        std::find_if(std::begin(numbers), std::end(numbers),
                     [&](const auto &each) { return pair.compare(0, equals, each.first) == 0; });
    char *rest = nullptr;
    const std::string value = equals < pair.size() ? pair.substr(equals + 1) : "";
    const double parsed = strtod(value.c_str(), &rest);
    if (number == std::end(numbers) || value.empty() || *rest != '\0' || !(parsed >= 0) ||
        parsed > 1e9) {
      return fail(EDGE_USAGE, "--synthetic %s: '%s' is no key and number that it takes",
                  text.c_str(), pair.c_str());
    }
    made->*number->second = parsed;
    at = end + 1;
  }
  return Status();
}

double Synthetic::latency_ns(uint64_t now_ns) {
  if (count_++ == 0) begin_ns_ = now_ns;
  const double elapsed_s = static_cast<double>(now_ns - begin_ns_) / 1e9;
  const double usual_ns = 1000 * us_ * (1 - spread_ + 2 * spread_ * random_.unit());
  switch (shape_) {
    case Shape::kNoisy:
      return usual_ns;
    case Shape::kBimodal:
      return random_.unit() < share_ ? 1000 * slow_us_ : usual_ns;
    case Shape::kHeavy:
      return 1000 * us_ / (1 - random_.unit());
    case Shape::kCorrelated:
      if (last_ns_ == 0 || random_.unit() >= rho_) last_ns_ = usual_ns;
      return last_ns_;
    case Shape::kDrifting:
      return usual_ns * (1 + per_s_ * elapsed_s);
    case Shape::kWarming:
      return usual_ns * (1 + (factor_ - 1) / ((1 + elapsed_s / at_s_) * (1 + elapsed_s / at_s_)));
    case Shape::kThrottling: {
      const double factor = elapsed_s >= at_s_ ? factor_ : 1;
      VirtualClock::pace_taken_ns = static_cast<uint64_t>(EDGE_PACE_ADDS * factor);
      return usual_ns * factor;
    }
    case Shape::kStall: {
      const double periods = elapsed_s * 1000 / period_ms_;
      const double whole = static_cast<double>(static_cast<uint64_t>(periods));
      const double into_ms = (periods - whole) * period_ms_;
      // The first stall comes after the first period.
      const bool stalled = whole >= 1 && into_ms < stall_ms_;
      return usual_ns + (stalled ? (stall_ms_ - into_ms) * 1e6 : 0);
    }
    case Shape::kCrash:
      if (count_ > static_cast<uint64_t>(at_)) raise(SIGSEGV);
      return usual_ns;
    case Shape::kHang:
      while (count_ > static_cast<uint64_t>(at_)) pause();
      return usual_ns;
  }
  return usual_ns;
}

int32_t Synthetic::invoke() {
  const uint64_t begin = clock_ns();
  const uint64_t end = begin + static_cast<uint64_t>(latency_ns(begin));
  while (clock_ns() < end) {
  }
  return 0;
}

int32_t Synthetic::invoke_virtually() {
  VirtualClock::time_ns += static_cast<uint64_t>(latency_ns(VirtualClock::time_ns));
  return 0;
}

}  // namespace edge
