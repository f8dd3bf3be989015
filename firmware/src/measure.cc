#include "measure.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include <algorithm>
#include <array>

#include "clock.h"
#include "recorder.h"

namespace edge {
namespace {

volatile sig_atomic_t stop_signal = 0;

// While it lives, SIGINT, SIGTERM and SIGHUP only ask the loop to end. A signal that the process
// ignores (nohup) stays ignored.
class StopOnSignal {
 public:
  StopOnSignal() {
    stop_signal = 0;
    for (size_t i = 0; i < signals.size(); ++i) {
      struct sigaction action = {};
      action.sa_handler = [](int number) { stop_signal = number; };
      sigemptyset(&action.sa_mask);
      action.sa_flags = SA_RESTART;
      sigaction(signals[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) sigaction(signals[i], &action, nullptr);
    }
  }
  ~StopOnSignal() {
    for (size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &before_[i], nullptr);
  }
  StopOnSignal(const StopOnSignal &) = delete;
  StopOnSignal &operator=(const StopOnSignal &) = delete;

 private:
  static constexpr std::array<int, 3> signals{SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, 3> before_;
};

// The measured code itself. Not inlined, so that the empty function is measured by the very same
// instructions as the real one. The results are or-ed rather than tested: no branch in the loop.
template <typename Clock>
__attribute__((noinline)) int32_t take_sample(edge_invoke_fn invoke, void *context,
                                              uint32_t iterations, edge_sample *sample) {
  int32_t result = 0;
  const uint64_t start = Clock::now();
  for (uint32_t i = 0; i < iterations; ++i) result |= invoke(context);
  const uint64_t end = Clock::now();
  sample->start_ns = start;
  sample->elapsed_ns = end - start;
  sample->iterations = iterations;
  sample->cpu = Clock::cpu();
  return result;
}

int32_t do_nothing(void *) {
  return 0;
}

template <typename Clock>
uint64_t measure_loop_cost(uint32_t iterations) {
  // Through a volatile pointer, or the compiler would see that nothing is called.
  edge_invoke_fn volatile hidden = do_nothing;
  const edge_invoke_fn empty = hidden;
  std::array<uint64_t, 101> costs;
  for (uint64_t &cost : costs) {
    edge_sample sample;
    take_sample<Clock>(empty, nullptr, iterations, &sample);
    cost = sample.elapsed_ns;
  }
  std::nth_element(costs.begin(), costs.begin() + costs.size() / 2, costs.end());
  return costs[costs.size() / 2];
}

template <typename Clock>
class Measurement {
 public:
  Measurement(edge_recorder *recorder, const edge_plan &plan, edge_invoke_fn invoke, void *context,
              MeasureReport *report)
      : recorder_(recorder), plan_(plan), invoke_(invoke), context_(context), report_(report) {}

  Status run() {
    clear_error();
    StopOnSignal guard;
    EDGE_TRY(warm_up());
    EDGE_TRY(choose_iterations());
    recorder_->header->loop_cost_ns = measure_loop_cost<Clock>(report_->iterations);
    const Disturbance before = read_disturbance();
    const Status status = loop();
    report_->disturbance = read_disturbance() - before;
    return status;
  }

 private:
  void end(edge_end by) {
    constexpr const char *names[] = {"count", "duration", "capacity", "signal"};
    report_->ended_by = names[by];
    recorder_->measured.ended_by = by;
  }

  Status failed(int32_t result) {
    // What a model's invoke says is kept; a foreign function says nothing.
    if (last_error()[0] != '\0' && result > 0 && result < 32) return Status(result);
    return fail(EDGE_RUNTIME, "the measured function returned %d", result);
  }

  Status interrupted() {
    end(EDGE_END_SIGNAL);
    return fail(EDGE_INTERRUPTED, "stopped by %s after %llu samples, which are kept",
                stop_signal == SIGINT    ? "SIGINT"
                : stop_signal == SIGTERM ? "SIGTERM"
                                         : "SIGHUP",
                static_cast<unsigned long long>(recorder_->header->count));
  }

  Status invoke_untimed(uint32_t iterations, uint64_t *elapsed_ns) {
    edge_sample sample;
    const int32_t result = take_sample<Clock>(invoke_, context_, iterations, &sample);
    if (result != 0) return failed(result);
    report_->warmup += iterations;
    *elapsed_ns = sample.elapsed_ns;
    return stop_signal != 0 ? interrupted() : Status();
  }

  Status warm_up() {
    const uint64_t begin = Clock::now();
    while (report_->warmup < plan_.warmup || Clock::now() - begin < plan_.warmup_ns) {
      uint64_t elapsed = 0;
      EDGE_TRY(invoke_untimed(1, &elapsed));
    }
    return Status();
  }

  // A sample of few ticks has an error of a tick: 100 of them keep that below one percent. The
  // fastest of three trials isn't the fastest of all, hence a quarter more.
  Status choose_iterations() {
    report_->iterations = plan_.iterations;
    // Between two that are due, or after a pause, there is one.
    if (plan_.interval_ns != 0 || plan_.idle_ns != 0) report_->iterations = 1;
    if (report_->iterations != 0) return Status();
    const uint64_t wanted_ns = recorder_->header->tick_ns * 125;
    uint64_t fastest = 0;
    uint32_t tried = 1;
    for (;; tried *= 2) {
      fastest = UINT64_MAX;
      for (int trial = 0; trial < 3; ++trial) {
        uint64_t elapsed = 0;
        EDGE_TRY(invoke_untimed(tried, &elapsed));
        fastest = std::min(fastest, elapsed);
        // Slow: it won't become fast enough to matter. Once alone may be another program's turn.
        if (trial > 0 && fastest >= 10 * wanted_ns) break;
      }
      if (fastest >= wanted_ns || tried >= (1u << 30)) break;
    }
    if (fastest == 0) fastest = 1;
    const uint64_t needed = (wanted_ns * tried + fastest - 1) / fastest;
    report_->iterations = static_cast<uint32_t>(std::clamp<uint64_t>(needed, 1, tried));
    return Status();
  }

  Status loop() {
    const uint64_t begin = Clock::now();
    recorder_->schedule.clear();
    for (uint64_t taken = 0;; ++taken) {
      if (stop_signal != 0) return interrupted();
      if (taken >= plan_.samples) {
        end(EDGE_END_COUNT);
        return Status();
      }
      if (recorder_->full()) {
        end(EDGE_END_CAPACITY);
        return Status();
      }
      uint64_t due_ns = 0;
      if (!recorder_->schedule.template wait<Clock>(plan_, &recorder_->paces, &due_ns).ok()) {
        // A signal that is none of ours: the same invocation is still to come.
        if (stop_signal == 0) continue;
        return interrupted();
      }
      edge_sample sample;
      const int32_t result = take_sample<Clock>(invoke_, context_, report_->iterations, &sample);
      if (result != 0) return failed(result);
      sample.due_ns = due_ns != 0 ? due_ns : sample.start_ns;
      recorder_->append(sample);
      if (plan_.duration_ns != 0 &&
          sample.start_ns + sample.elapsed_ns - begin >= plan_.duration_ns) {
        end(EDGE_END_DURATION);
        return Status();
      }
    }
  }

  edge_recorder *recorder_;
  const edge_plan &plan_;
  edge_invoke_fn invoke_;
  void *context_;
  MeasureReport *report_;
};

template <typename Clock>
Status measure_by(edge_recorder *recorder, const edge_plan &plan, edge_invoke_fn invoke,
                  void *context, MeasureReport *report) {
  if (recorder == nullptr || invoke == nullptr) {
    return fail(EDGE_USAGE, "measuring takes a recorder and a function");
  }
  if (plan.samples == 0) return fail(EDGE_USAGE, "a plan takes 1 sample or more");
  recorder->measured = edge_measured{};
  const Status status = Measurement<Clock>(recorder, plan, invoke, context, report).run();
  edge_measured &measured = recorder->measured;
  measured.warmup = report->warmup;
  measured.iterations = report->iterations;
  measured.minor_faults = static_cast<uint64_t>(report->disturbance.minor_faults);
  measured.major_faults = static_cast<uint64_t>(report->disturbance.major_faults);
  measured.voluntary_switches = static_cast<uint64_t>(report->disturbance.voluntary_switches);
  measured.involuntary_switches = static_cast<uint64_t>(report->disturbance.involuntary_switches);
  measured.cpu_ns = static_cast<uint64_t>(report->disturbance.cpu_ns);
  return status;
}

}  // namespace

Status measure(edge_recorder *recorder, const edge_plan &plan, edge_invoke_fn invoke, void *context,
               MeasureReport *report) {
  return measure_by<RealClock>(recorder, plan, invoke, context, report);
}

Status measure_virtually(edge_recorder *recorder, const edge_plan &plan, edge_invoke_fn invoke,
                         void *context, MeasureReport *report) {
  return measure_by<VirtualClock>(recorder, plan, invoke, context, report);
}

}  // namespace edge

int32_t edge_measure(edge_recorder *recorder, const edge_plan *plan, edge_invoke_fn invoke,
                     void *context) {
  edge::MeasureReport report;
  return edge::measure(recorder, *plan, invoke, context, &report).code();
}
