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
#include "process.h"
#include "recorder.h"
#include "synthetic.h"

namespace edge {
namespace {

constexpr const char *bench_help =
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
  --interval-us US     an open loop: an invocation is due every so often, whether or not the one
                       before has ended; one a sample
  --poisson            they are due at random, that often on average
  --idle-us US         pause before each invocation; one a sample
  --seed N             of what is random (1)
  --cpus LIST          run on these processors alone, such as 4-7 or 0,2
  --undisturbed        at the highest priority and in locked memory, as far as that is permitted
  --resizes N          afterwards, change to another batch and back so often, and time that (0);
                       once at least, then no more after --duration-ms; needs --batch
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
  uint64_t interval_us = 0;
  uint64_t idle_us = 0;
  uint64_t seed = 1;
  bool poisson = false;
  std::string cpus;
  bool undisturbed = false;
  uint64_t resizes = 0;
  std::string synthetic;
  bool in_virtual_time = false;
};

edge_plan plan_of(const BenchFlags &flags) {
  edge_plan plan = {};
  plan.warmup = flags.warmup;
  plan.warmup_ns = flags.warmup_ms * 1000000;
  plan.samples = flags.count;
  plan.duration_ns = flags.duration_ms * 1000000;
  plan.iterations = static_cast<uint32_t>(flags.iterations);
  plan.interval_ns = flags.interval_us * 1000;
  plan.poisson = flags.poisson ? 1 : 0;
  plan.idle_ns = flags.idle_us * 1000;
  plan.seed = flags.seed;
  return plan;
}

bool in_memory(const std::string &path) {
  struct statfs info;
  constexpr long tmpfs = 0x01021994, ramfs = static_cast<long>(0x858458f6);
  if (statfs(path.c_str(), &info) != 0) return true;
  return static_cast<long>(info.f_type) == tmpfs || static_cast<long>(info.f_type) == ramfs;
}

// What a measurement was; the head is a copy, since the file is closed.
struct Measured {
  edge_recording_header header = {};
  MeasureReport report;
  std::vector<edge_pace> paces;
};

// `take` measures into the recorder. An interrupted run is reported like a whole one; its exit code
// tells.
template <typename Take>
Status record(const BenchFlags &flags, Take take, Measured *measured, Status *ended) {
  edge_recorder *recorder = nullptr;
  EDGE_TRY(Status(edge_recorder_open(flags.samples.c_str(), flags.count, &recorder)));
  *ended = take(recorder, &measured->report);
  const std::string message = last_error();
  measured->header = *recorder->header;
  measured->paces.assign(recorder->paces.begin(),
                         recorder->paces.begin() + recorder->paces.count());
  const Status closed(edge_recorder_close(recorder));
  if (!ended->ok()) *ended = fail(static_cast<edge_status>(ended->code()), "%s", message.c_str());
  if (!ended->ok() && ended->code() != EDGE_INTERRUPTED) return *ended;
  return closed;
}

void report_paces(const std::vector<edge_pace> &paces, Json *json) {
  json->key("pace").begin_object();
  json->key("adds").integer(EDGE_PACE_ADDS);
  json->key("time_ns").begin_array();
  for (const edge_pace &each : paces) json->number(each.time_ns);
  json->end_array();
  json->key("elapsed_ns").begin_array();
  for (const edge_pace &each : paces) json->number(each.elapsed_ns);
  json->end_array();
  json->end_object();
}

void report_measured(const Measured &measured, Json *json) {
  const edge_recording_header &header = measured.header;
  const MeasureReport &report = measured.report;
  json->key("samples").number(header.count);
  json->key("iterations").number(report.iterations);
  json->key("warmup").number(report.warmup);
  json->key("ended_by").string(report.ended_by);
  json->key("tick_ns").number(header.tick_ns);
  json->key("clock_cost_ns").number(header.clock_cost_ns);
  json->key("loop_cost_ns").number(header.loop_cost_ns);
  json->key("minor_faults").integer(report.disturbance.minor_faults);
  json->key("major_faults").integer(report.disturbance.major_faults);
  json->key("voluntary_switches").integer(report.disturbance.voluntary_switches);
  json->key("involuntary_switches").integer(report.disturbance.involuntary_switches);
  json->key("cpu_ns").integer(report.disturbance.cpu_ns);
  report_paces(measured.paces, json);
}

Status bench_synthetic(const BenchFlags &flags) {
  Synthetic synthetic;
  EDGE_TRY(Synthetic::parse(flags.synthetic, flags.seed, &synthetic));
  const edge_plan plan = plan_of(flags);
  Measured measured;
  Status ended;
  EDGE_TRY(record(
      flags,
      [&](edge_recorder *recorder, MeasureReport *report) {
        if (!flags.in_virtual_time) {
          return measure(
              recorder, plan,
              [](void *context) { return static_cast<Synthetic *>(context)->invoke(); }, &synthetic,
              report);
        }
        recorder->header->tick_ns = 1;
        recorder->header->clock_cost_ns = VirtualClock::reading_ns;
        return measure_virtually(
            recorder, plan,
            [](void *context) { return static_cast<Synthetic *>(context)->invoke_virtually(); },
            &synthetic, report);
      },
      &measured, &ended));
  Json json;
  json.begin_object();
  json.key("synthetic").string(flags.synthetic);
  json.key("virtual").boolean(flags.in_virtual_time);
  report_measured(measured, &json);
  json.end_object();
  EDGE_TRY(json.print());
  return ended;
}

// What it takes to come back from another batch while the model stays open.
struct Resizes {
  uint64_t other_batch;
  std::vector<uint64_t> resize_ns;        // inputs resized and tensors allocated
  std::vector<uint64_t> first_invoke_ns;  // the first one after it: runtimes prepare much only then
};

Status give_inputs(const BenchFlags &flags, edge_model *model, bool own) {
  std::vector<TensorInfo> tensors;
  EDGE_TRY(read_inputs_info(model, &tensors));
  if (!own || flags.inputs.empty()) return set_plausible_inputs(model, tensors);
  InputArrays inputs;
  EDGE_TRY(inputs.open(flags.inputs, tensors, false, false));
  return inputs.set(model, 0);
}

// To this batch, given inputs, invoked once. `own`: the inputs that were asked for fit it.
Status change_batch(const BenchFlags &flags, uint64_t batch, bool own, edge_model *model,
                    uint64_t *resize_ns, uint64_t *invoke_ns) {
  EDGE_TRY(Status(edge_model_resize(model, static_cast<int32_t>(batch), resize_ns)));
  EDGE_TRY(give_inputs(flags, model, own));
  const uint64_t ready = clock_ns();
  EDGE_TRY(Status(edge_model_invoke(model)));
  *invoke_ns = clock_ns() - ready;
  return Status();
}

Status take_resizes(const BenchFlags &flags, edge_model *model, Resizes *taken) {
  const RuntimeCall call("invoking the model with another batch");
  taken->other_batch = flags.model.batch == 1 ? 2 : 1;
  const uint64_t begin = clock_ns(), longest_ns = flags.duration_ms * 1000000;
  for (uint64_t i = 0; i < flags.resizes; ++i) {
    if (i > 0 && longest_ns != 0 && clock_ns() - begin >= longest_ns) break;
    uint64_t resize_ns = 0, invoke_ns = 0;
    EDGE_TRY(change_batch(flags, taken->other_batch, false, model, &resize_ns, &invoke_ns));
    EDGE_TRY(change_batch(flags, flags.model.batch, true, model, &resize_ns, &invoke_ns));
    taken->resize_ns.push_back(resize_ns);
    taken->first_invoke_ns.push_back(invoke_ns);
  }
  return Status();
}

// A model that has the batch that it came with and takes no other was measured all the same.
void report_resizes(const BenchFlags &flags, edge_model *model, Json *json) {
  Resizes taken;
  const Status status = take_resizes(flags, model, &taken);
  json->begin_object();
  json->key("other_batch").number(taken.other_batch);
  json->key("refusal");
  if (status.ok()) {
    json->null();
  } else {
    json->string(last_error());
  }
  for (const auto &[key, values] : {std::pair("resize_ns", &taken.resize_ns),
                                    std::pair("first_invoke_ns", &taken.first_invoke_ns)}) {
    json->key(key).begin_array();
    for (const uint64_t value : *values) json->number(value);
    json->end_array();
  }
  json->end_object();
}

Status bench(const BenchFlags &flags) {
  if (flags.samples.empty()) {
    return fail(EDGE_USAGE,
                "bench: --samples is missing: where to record, such as /dev/shm/s.bin?");
  }
  if (flags.poisson && flags.interval_us == 0) {
    return fail(EDGE_USAGE, "bench: --poisson needs --interval-us: how often on average?");
  }
  if (flags.interval_us != 0 && flags.idle_us != 0) {
    return fail(EDGE_USAGE, "bench: --interval-us and --idle-us exclude each other");
  }
  if (flags.iterations > 1 && flags.interval_us + flags.idle_us != 0) {
    return fail(EDGE_USAGE, "bench: with --interval-us or --idle-us a sample is one invocation");
  }
  if (flags.resizes != 0 && flags.model.batch == 0) {
    return fail(EDGE_USAGE, "bench: --resizes needs --batch: which one to come back to?");
  }
  // Before the runtime starts threads, which inherit both.
  if (!flags.cpus.empty()) EDGE_TRY(run_on(flags.cpus));
  Undisturbed undisturbed;
  if (flags.undisturbed) undisturbed = raise_priority();
  if (!flags.synthetic.empty()) return bench_synthetic(flags);

  ModelHandle model;
  EDGE_TRY(flags.model.open("bench", &model));
  EDGE_TRY(give_inputs(flags, model.get(), true));
  std::vector<std::string> warnings;
  if (!in_memory(flags.samples)) {
    warnings.push_back(
        "the samples are not on a memory disk: writing them back may disturb the run");
  }
  const edge_plan plan = plan_of(flags);
  Measured measured;
  Status ended;
  EDGE_TRY(record(
      flags,
      [&](edge_recorder *recorder, MeasureReport *report) {
        const RuntimeCall call("invoking the model");
        // Not before: a locked page was never faulted in by the model itself.
        const Status first(edge_model_invoke(model.get()));
        if (!first.ok()) return first;
        if (flags.undisturbed) lock_memory(&undisturbed);
        return measure(
            recorder, plan,
            [](void *context) { return edge_model_invoke(static_cast<edge_model *>(context)); },
            model.get(), report);
      },
      &measured, &ended));

  Json json;
  json.begin_object();
  EDGE_TRY(report_model(flags.model, model.get(), warnings, &json));
  report_measured(measured, &json);
  json.key("undisturbed");
  if (flags.undisturbed) {
    json.begin_object();
    json.key("nice").integer(undisturbed.nice);
    json.key("memory_locked").boolean(undisturbed.memory_locked);
    json.end_object();
  } else {
    json.null();
  }
  // Last, after the memory was read.
  json.key("resizes");
  if (flags.resizes != 0 && ended.ok()) {
    report_resizes(flags, model.get(), &json);
  } else {
    json.null();
  }
  json.end_object();
  EDGE_TRY(json.print());
  return ended;
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
  flags.number("--interval-us", 1, day_ms * 1000, &bench_flags.interval_us);
  flags.number("--idle-us", 1, day_ms * 1000, &bench_flags.idle_us);
  flags.number("--seed", 0, UINT64_MAX, &bench_flags.seed);
  flags.on("--poisson", &bench_flags.poisson);
  flags.text("--cpus", &bench_flags.cpus);
  flags.on("--undisturbed", &bench_flags.undisturbed);
  flags.number("--resizes", 0, 1000, &bench_flags.resizes);
  flags.text("--synthetic", &bench_flags.synthetic);
  flags.on("--virtual", &bench_flags.in_virtual_time);
  return run_verb(argc, argv, &flags, {bench_help, model_flags_help, synthetic_help}, [&] {
    if (bench_flags.duration_ms != 0 && !flags.given("--count")) bench_flags.count = 1000000;
    return bench(bench_flags);
  });
}

}  // namespace edge
