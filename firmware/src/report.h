// What every verb that opens a model says about it, in JSON; and how verbs run and fail.
#ifndef EDGE_REPORT_H
#define EDGE_REPORT_H

#include <stdio.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "flags.h"
#include "json.h"
#include "model.h"
#include "model_flags.h"

namespace edge {

struct TensorInfo {
  std::string name;
  edge_tensor tensor;
  std::vector<int64_t> shape;
};

Status read_inputs_info(const edge_model *model, std::vector<TensorInfo> *infos);
Status read_outputs_info(const edge_model *model, std::vector<TensorInfo> *infos);
TensorInfo info_of(const edge_tensor &tensor);

// Members of an object that is open. `which_nodes` adds the delegates' names and what they took.
Status report_model(const ModelFlags &flags, const edge_model *model,
                    const std::vector<std::string> &warnings, Json *json, bool which_nodes = false);

// Prints `edge-run: <message>` and returns the exit code.
int exit_with(Status status);

// Parses the flags, then prints the help if that is asked for, else runs the verb. The exit code.
template <typename Run>
int run_verb(int argc, char **argv, Flags *flags, std::initializer_list<const char *> help,
             Run run) {
  bool wants_help = false;
  flags->on("--help", &wants_help);
  const Status parsed = flags->parse(argc, argv);
  if (!parsed.ok()) return exit_with(parsed);
  if (!wants_help) return exit_with(run());
  for (const char *text : help) fputs(text, stdout);
  return EDGE_OK;
}

}  // namespace edge

#endif  // EDGE_REPORT_H
