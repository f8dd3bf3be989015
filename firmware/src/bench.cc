#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include <algorithm>
#include <memory>

#include "capture.h"
#include "infer.h"
#include "measure.h"
#include "plausible.h"
#include "recorder.h"

namespace edge {
namespace {

constexpr const char *help =
    R"(usage: edge-run bench --lib LIBRARY --model MODEL --samples FILE [flags]

Measures a model: opens it, warms up, then records every sample into FILE, and prints a report as
one JSON object. FILE belongs on a memory disk such as /dev/shm; it is readable at any instant, also
after a crash. SIGINT, SIGTERM and SIGHUP end the run early and keep what was recorded (exit 15).

  --samples FILE       the recording to write
  --input FILE         inputs, as for `edge-run infer` (without: fixed pseudo-random values)
  --warmup N           invocations before the first sample, at least (10)
  --warmup-ms MS       and for at least this long (200)
  --count N            samples, at most (1000; a million if only --duration-ms is given)
  --duration-ms MS     and for at most this long (0: as long as it takes)
  --iterations N|auto  invocations per sample (auto: as many as 100 ticks of the clock take)
)";

struct BenchFlags {
  ModelFlags model;
  std::vector<std::string> inputs;
  std::string samples;
  uint64_t warmup = 10;
  uint64_t warmup_ms = 200;
  uint64_t count = 1000;
  uint64_t duration_ms = 0;
  uint64_t iterations = 0;
};

bool in_memory(const std::string &path) {
  struct statfs info;
  constexpr long tmpfs = 0x01021994, ramfs = static_cast<long>(0x858458f6);
  if (statfs(path.c_str(), &info) != 0) return true;
  return static_cast<long>(info.f_type) == tmpfs || static_cast<long>(info.f_type) == ramfs;
}

Status bench(const BenchFlags &flags) {
  if (flags.samples.empty()) {
    return fail(EDGE_USAGE,
                "bench: --samples is missing: where to record, such as /dev/shm/s.bin?");
  }
  ModelHandle model;
  EDGE_TRY(flags.model.open("bench", &model));
  std::vector<TensorInfo> tensors;
  EDGE_TRY(read_inputs_info(model.get(), &tensors));
  if (flags.inputs.empty()) {
    EDGE_TRY(set_plausible_inputs(model.get(), tensors));
  } else {
    InputArrays inputs;
    EDGE_TRY(inputs.open(flags.inputs, tensors, false, false));
    EDGE_TRY(inputs.set(model.get(), 0));
  }

  edge_recorder *recorder = nullptr;
  EDGE_TRY(Status(edge_recorder_open(flags.samples.c_str(), flags.count, &recorder)));
  std::vector<std::string> warnings;
  if (!in_memory(flags.samples)) {
    warnings.push_back(
        "the samples are not on a memory disk: writing them back may disturb the run");
  }
  edge_plan plan = {};
  plan.warmup = flags.warmup;
  plan.warmup_ns = flags.warmup_ms * 1000000;
  plan.samples = flags.count;
  plan.duration_ns = flags.duration_ms * 1000000;
  plan.iterations = static_cast<uint32_t>(flags.iterations);
  MeasureReport report;
  const Status measured = [&] {
    const RuntimeCall call("invoking the model");
    return measure(
        recorder, plan,
        [](void *context) { return edge_model_invoke(static_cast<edge_model *>(context)); },
        model.get(), &report);
  }();
  const std::string message = last_error();
  const edge_recording_header header = *recorder->header;
  const Status closed(edge_recorder_close(recorder));
  // An interrupted run is reported like a whole one; its exit code tells.
  if (!measured.ok() && measured.code() != EDGE_INTERRUPTED) {
    return fail(static_cast<edge_status>(measured.code()), "%s", message.c_str());
  }
  EDGE_TRY(closed);

  Json json;
  json.begin_object();
  EDGE_TRY(report_model(flags.model, model.get(), warnings, &json));
  json.key("samples").number(header.count);
  json.key("iterations").number(report.iterations);
  json.key("warmup").number(report.warmup);
  json.key("ended_by").string(report.ended_by);
  json.key("tick_ns").number(header.tick_ns);
  json.key("clock_cost_ns").number(header.clock_cost_ns);
  json.key("loop_cost_ns").number(header.loop_cost_ns);
  json.key("minor_faults").integer(report.disturbance.minor_faults);
  json.key("major_faults").integer(report.disturbance.major_faults);
  json.key("voluntary_switches").integer(report.disturbance.voluntary_switches);
  json.key("involuntary_switches").integer(report.disturbance.involuntary_switches);
  json.key("cpu_ns").integer(report.disturbance.cpu_ns);
  json.end_object();
  EDGE_TRY(json.print());
  if (measured.ok()) return Status();
  return fail(EDGE_INTERRUPTED, "%s", message.c_str());
}

}  // namespace

int bench_main(int argc, char **argv) {
  BenchFlags bench_flags;
  Flags flags;
  bench_flags.model.declare(&flags);
  constexpr uint64_t day_ms = 86400000;
  flags.texts("--input", &bench_flags.inputs);
  flags.text("--samples", &bench_flags.samples);
  flags.number("--warmup", 0, UINT32_MAX, &bench_flags.warmup);
  flags.number("--warmup-ms", 0, day_ms, &bench_flags.warmup_ms);
  flags.number("--count", 1, 100000000, &bench_flags.count);
  flags.number("--duration-ms", 0, day_ms, &bench_flags.duration_ms);
  flags.number_or_auto("--iterations", UINT32_MAX, &bench_flags.iterations);
  return run_verb(argc, argv, &flags, {help, model_flags_help}, [&] {
    if (bench_flags.duration_ms != 0 && !flags.given("--count")) bench_flags.count = 1000000;
    return bench(bench_flags);
  });
}

}  // namespace edge
