#include "inspect.h"

#include "library.h"
#include "report.h"

namespace edge {
namespace {

constexpr const char *inspect_help =
    R"(usage: edge-run inspect --lib LIBRARY --model MODEL [flags]

Opens a model and allocates its tensors, but does not run it, and prints what came of it as one JSON
object: inputs and outputs as they stand, the nodes that each delegate took over, what opening cost,
and all that the runtime has to say about it (runtime_log).
)";

Status inspect(const ModelFlags &flags) {
  make_runtimes_talkative();
  ModelHandle model;
  EDGE_TRY(flags.open("inspect", &model));
  Json json;
  json.begin_object();
  EDGE_TRY(report_model(flags, model.get(), {}, &json, true));
  json.end_object();
  return json.print();
}

}  // namespace

int inspect_main(int argc, char **argv) {
  ModelFlags model;
  Flags flags;
  model.declare(&flags);
  return run_verb(argc, argv, &flags, {inspect_help, model_flags_help},
                  [&] { return inspect(model); });
}

}  // namespace edge
