#include "report.h"

#include <stdio.h>

#include "npy.h"
#include "process.h"

namespace edge {
namespace {

void report_tensors(const char *key, const std::vector<TensorInfo> &infos, Json *json) {
  json->key(key).begin_array();
  for (const TensorInfo &info : infos) {
    json->begin_object();
    json->key("name").string(info.name);
    json->key("dtype").string(dtype_name(info.tensor.dtype));
    json->key("shape").begin_array();
    for (const int64_t axis : info.shape) json->integer(axis);
    json->end_array();
    json->key("scale").real(info.tensor.scale);
    json->key("zero_point").integer(info.tensor.zero_point);
    json->end_object();
  }
  json->end_array();
}

void report_nodes(const Engine &engine, Json *json) {
  json->key("delegates").begin_array();
  for (const std::string &name : engine.delegates) json->string(name);
  json->end_array();
  json->key("nodes");
  if (!engine.nodes_known) {
    json->null();
    return;
  }
  json->begin_array();
  for (const edge_node &each : engine.nodes) {
    json->begin_array();
    json->integer(each.subgraph);
    json->integer(each.node);
    json->end_array();
  }
  json->end_array();
}

}  // namespace

TensorInfo info_of(const edge_tensor &tensor) {
  return {tensor.name, tensor, std::vector<int64_t>(tensor.dims, tensor.dims + tensor.rank)};
}

Status read_inputs_info(const edge_model *model, std::vector<TensorInfo> *infos) {
  for (int32_t i = 0; i < edge_model_input_count(model); ++i) {
    edge_tensor tensor;
    EDGE_TRY(Status(edge_model_input(model, i, &tensor)));
    infos->push_back(info_of(tensor));
  }
  return Status();
}

Status read_outputs_info(const edge_model *model, std::vector<TensorInfo> *infos) {
  for (int32_t i = 0; i < edge_model_output_count(model); ++i) {
    edge_tensor tensor;
    EDGE_TRY(Status(edge_model_output(model, i, &tensor)));
    infos->push_back(info_of(tensor));
  }
  return Status();
}

Status report_model(const ModelFlags &flags, const edge_model *model,
                    const std::vector<std::string> &warnings, Json *json, bool which_nodes) {
  const Engine &engine = *model->engine;
  std::vector<TensorInfo> inputs, outputs;
  EDGE_TRY(read_inputs_info(model, &inputs));
  EDGE_TRY(read_outputs_info(model, &outputs));

  json->key("edge_version").string(EDGE_VERSION);
  json->key("abi_version").integer(EDGE_ABI_VERSION);
  json->key("engine").string(flags.engine);
  json->key("library").string(flags.library);
  json->key("runtime_version").string(engine.runtime_version);
  json->key("model").string(flags.model);
  json->key("signature");
  if (flags.signature.empty()) {
    json->null();
  } else {
    json->string(flags.signature);
  }
  json->key("threads").number(flags.threads);
  report_tensors("inputs", inputs, json);
  report_tensors("outputs", outputs, json);

  json->key("delegation").begin_object();
  json->key("applied").boolean(engine.delegation.applied != 0);
  json->key("nodes_total").integer(engine.delegation.nodes_total);
  json->key("nodes_delegated").integer(engine.delegation.nodes_delegated);
  json->key("partitions").integer(engine.delegation.partitions);
  if (which_nodes) report_nodes(engine, json);
  json->end_object();

  constexpr const char *steps[EDGE_COLD_STEPS] = {"library_open_ns", "model_load_ns",
                                                  "interpreter_create_ns", "allocate_tensors_ns",
                                                  "first_invoke_ns"};
  json->key("cold_start").begin_object();
  for (int i = 0; i < EDGE_COLD_STEPS; ++i) {
    json->key(steps[i]).number(engine.cold_start.elapsed_ns[i]);
  }
  const auto per_step = [&](const char *key, const uint64_t (&values)[EDGE_COLD_STEPS]) {
    json->key(key).begin_array();
    for (const uint64_t value : values) json->number(value);
    json->end_array();
  };
  per_step("rss_bytes", engine.cold_start.rss_bytes);
  per_step("peak_rss_bytes", engine.cold_start.peak_bytes);
  per_step("minor_faults", engine.cold_start.minor_faults);
  per_step("major_faults", engine.cold_start.major_faults);
  json->end_object();
  json->key("peak_rss_bytes").number(peak_resident_bytes());

  json->key("warnings").begin_array();
  for (const std::string &text : engine.warnings) json->string(text);
  for (const std::string &text : warnings) json->string(text);
  json->end_array();

  json->key("runtime_log").begin_array();
  for (size_t begin = 0; begin < engine.runtime_log.size();) {
    size_t end = engine.runtime_log.find('\n', begin);
    if (end == std::string::npos) end = engine.runtime_log.size();
    if (end > begin) json->string(engine.runtime_log.substr(begin, end - begin));
    begin = end + 1;
  }
  json->end_array();
  return Status();
}

int exit_with(Status status) {
  // What a library printed and the C library still holds: the failure's line is the last.
  fflush(stdout);
  if (!status.ok()) fprintf(stderr, "edge-run: %s\n", last_error());
  return status.code();
}

}  // namespace edge
