#include "profile.h"

#include <string>
#include <vector>

#include "capture.h"
#include "clock.h"
#include "infer.h"
#include "plausible.h"
#include "profiler.h"
#include "report.h"

namespace edge {
namespace {

constexpr const char *profile_help =
    R"(usage: edge-run profile --lib LIBRARY --model MODEL [flags]

Says where the time of an invocation goes: opens a model, warms up, then invokes it with the
runtime's profiler on, and prints the time of each operator in each invocation as one JSON object.
An operator's time is without that of operators which ran inside of it. The profiler costs time of
its own: measure how fast a model is with `bench`.

  --input FILE         inputs, as for `edge-run infer` (without: fixed pseudo-random values)
  --warmup N           invocations before the first that counts (10)
  --count N            invocations that count (100)
)";

struct ProfileFlags {
  ModelFlags model;
  std::vector<std::string> inputs;
  uint64_t warmup = 10;
  uint64_t count = 100;
};

Status invoke(edge_model *model, uint64_t *elapsed_ns) {
  const RuntimeCall call("invoking the model");
  const uint64_t begin = clock_ns();
  const Status status(edge_model_invoke(model));
  *elapsed_ns = clock_ns() - begin;
  return status;
}

void report_operators(const Engine &engine, const Profiler &profiler, Json *json) {
  json->key("operators").begin_array();
  for (const OperatorTime &each : profiler.operators()) {
    json->begin_object();
    json->key("name").string(each.name);
    json->key("subgraph").integer(each.subgraph);
    json->key("node").integer(each.node);
    json->key("delegate");
    const std::string *by = engine.delegate_of(each.subgraph, each.node);
    if (by == nullptr) {
      json->null();
    } else {
      json->string(*by);
    }
    json->key("elapsed_ns").begin_array();
    for (const uint64_t elapsed_ns : each.elapsed_ns) json->number(elapsed_ns);
    json->end_array();
    json->key("runs").begin_array();
    for (const uint32_t runs : each.runs) json->number(runs);
    json->end_array();
    json->end_object();
  }
  json->end_array();
}

Status profile(const ProfileFlags &flags) {
  Profiler profiler;  // outlives the model, which may tell it of its end
  profile_with(&profiler);
  ModelHandle model;
  EDGE_TRY(flags.model.open("profile", &model));
  std::vector<TensorInfo> tensors;
  EDGE_TRY(read_inputs_info(model.get(), &tensors));
  // Once, as `bench` does.
  if (flags.inputs.empty()) {
    EDGE_TRY(set_plausible_inputs(model.get(), tensors));
  } else {
    InputArrays inputs;
    EDGE_TRY(inputs.open(flags.inputs, tensors, false, false));
    EDGE_TRY(inputs.set(model.get(), 0));
  }

  // Once even without --warmup: a first invocation prepares much that no later one does.
  std::vector<uint64_t> invokes_ns;
  for (uint64_t i = 0; i < flags.warmup + 1 + flags.count; ++i) {
    uint64_t elapsed_ns = 0;
    EDGE_TRY(invoke(model.get(), &elapsed_ns));
    if (i <= flags.warmup) {
      EDGE_TRY(profiler.forget());
      continue;
    }
    EDGE_TRY(profiler.keep());
    invokes_ns.push_back(elapsed_ns);
  }
  if (profiler.operators().empty()) {
    return fail(EDGE_RUNTIME, "the runtime told its profiler of no operator: take another runtime");
  }

  Json json;
  json.begin_object();
  EDGE_TRY(report_model(flags.model, model.get(), {}, &json, true));
  json.key("invokes_ns").begin_array();
  for (const uint64_t elapsed_ns : invokes_ns) json.number(elapsed_ns);
  json.end_array();
  report_operators(*model->engine, profiler, &json);
  json.end_object();
  return json.print();
}

}  // namespace

int profile_main(int argc, char **argv) {
  ProfileFlags profile_flags;
  Flags flags;
  profile_flags.model.declare(&flags);
  flags.texts("--input", &profile_flags.inputs);
  flags.number("--warmup", 0, UINT32_MAX, &profile_flags.warmup);
  flags.number("--count", 1, 10000, &profile_flags.count);
  return run_verb(argc, argv, &flags, {profile_help, model_flags_help},
                  [&] { return profile(profile_flags); });
}

}  // namespace edge
