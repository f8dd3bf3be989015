#include "model.h"

#include <new>

#include "engine_tflite.h"
#include "model_check.h"

namespace edge {
namespace {

Status open_model(const edge_options *options, edge_model **result) {
  if (options->library_path == nullptr || options->model_path == nullptr) {
    return fail(EDGE_USAGE, "opening a model takes a library and a model");
  }
  if (options->threads < 1) return fail(EDGE_USAGE, "a model runs on 1 thread or more");
  // First, because runtimes read beyond the end of a cut file.
  EDGE_TRY(check_model_file(options->model_path));
  std::unique_ptr<edge_model> model(new (std::nothrow) edge_model);
  if (!model) return fail(EDGE_NO_MEMORY, "no memory for a model");
  EDGE_TRY(open_tflite(*options, &model->engine));
  *result = model.release();
  return Status();
}

Status check_index(const char *what, int32_t index, int32_t count) {
  if (index >= 0 && index < count) return Status();
  return fail(EDGE_BAD_INPUT, "the model has %d %ss, there is no %s %d", count, what, what, index);
}

Status check_input(const edge_model *model, int32_t index) {
  return check_index("input", index, model->engine->input_count());
}

Status check_output(const edge_model *model, int32_t index) {
  return check_index("output", index, model->engine->output_count());
}

}  // namespace
}  // namespace edge

int32_t edge_model_open(const edge_options *options, edge_model **model) {
  *model = nullptr;
  return edge::open_model(options, model).code();
}

void edge_model_close(edge_model *model) {
  delete model;
}

int32_t edge_model_input_count(const edge_model *model) {
  return model->engine->input_count();
}

int32_t edge_model_output_count(const edge_model *model) {
  return model->engine->output_count();
}

int32_t edge_model_input(const edge_model *model, int32_t index, edge_tensor *tensor) {
  const edge::Status status = edge::check_input(model, index);
  return status.ok() ? model->engine->input(index, tensor).code() : status.code();
}

int32_t edge_model_output(const edge_model *model, int32_t index, edge_tensor *tensor) {
  const edge::Status status = edge::check_output(model, index);
  return status.ok() ? model->engine->output(index, tensor).code() : status.code();
}

int32_t edge_model_set_input(edge_model *model, int32_t index, const void *data,
                             uint64_t size_bytes) {
  const edge::Status status = edge::check_input(model, index);
  return status.ok() ? model->engine->set_input(index, data, size_bytes).code() : status.code();
}

int32_t edge_model_get_output(edge_model *model, int32_t index, void *data, uint64_t size_bytes) {
  const edge::Status status = edge::check_output(model, index);
  return status.ok() ? model->engine->get_output(index, data, size_bytes).code() : status.code();
}

int32_t edge_model_invoke(edge_model *model) {
  return model->engine->invoke();
}

void edge_model_cold_start(const edge_model *model, edge_cold_start *cold_start) {
  *cold_start = model->engine->cold_start;
}

void edge_model_delegation(const edge_model *model, edge_delegation *delegation) {
  *delegation = model->engine->delegation;
}
