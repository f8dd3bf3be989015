#include "model.h"

#include <new>

#include "capture.h"
#include "clock.h"
#include "engine_litert.h"
#include "engine_tensorflow.h"
#include "engine_tflite.h"
#include "explain.h"
#include "model_check.h"
#include "process.h"

namespace edge {
namespace {

Status check_shape(const edge_shape &shape) {
  if (shape.name == nullptr) return fail(EDGE_USAGE, "a shape needs the name of its input");
  if (shape.rank < 0 || shape.rank > EDGE_MAX_RANK) {
    return fail(EDGE_USAGE, "the shape for '%s' has %d axes; edge knows up to %d", shape.name,
                shape.rank, EDGE_MAX_RANK);
  }
  for (int32_t i = 0; i < shape.rank; ++i) {
    if (shape.dims[i] < 1) {
      return fail(EDGE_USAGE, "the shape for '%s' has an axis of %d: every axis is 1 or more",
                  shape.name, shape.dims[i]);
    }
  }
  return Status();
}

// Whether arrays have elements like the tensor's.
Status check_dtype(const char *what, const edge_tensor &tensor) {
  switch (tensor.dtype) {
    case EDGE_STRING:
      return fail(EDGE_BAD_INPUT,
                  "%s '%s' is made of strings, which edge doesn't carry: take the "
                  "part of the model that works on numbers",
                  what, tensor.name);
    case EDGE_NOTYPE:
    case EDGE_RESOURCE:
    case EDGE_VARIANT:
    case EDGE_INT4:
      return fail(EDGE_BAD_INPUT, "%s '%s' has a type that no array has (%d)", what, tensor.name,
                  tensor.dtype);
    default:
      if (tensor.dtype < EDGE_INT4) return Status();
      return fail(EDGE_BAD_INPUT, "%s '%s' has a type that edge doesn't know (%d)", what,
                  tensor.name, tensor.dtype);
  }
}

Status check_dtypes(const Engine &engine) {
  edge_tensor tensor;
  for (int32_t i = 0; i < engine.input_count(); ++i) {
    EDGE_TRY(engine.input(i, &tensor));
    EDGE_TRY(check_dtype("input", tensor));
  }
  for (int32_t i = 0; i < engine.output_count(); ++i) {
    EDGE_TRY(engine.output(i, &tensor));
    EDGE_TRY(check_dtype("output", tensor));
  }
  return Status();
}

Status open_engine(const edge_options &options, std::unique_ptr<Engine> *engine) {
  const RuntimeCall call("opening the model");
  switch (options.engine) {
    case EDGE_ENGINE_TFLITE:
      return open_tflite(options, engine);
    case EDGE_ENGINE_LITERT:
      return open_litert(options, engine);
    case EDGE_ENGINE_TENSORFLOW:
      return open_tensorflow(options, engine);
    default:
      return fail(EDGE_USAGE, "there is no engine %d", options.engine);
  }
}

Status open_model(const edge_options *options, edge_model **result) {
  if (options->library_path == nullptr || options->model_path == nullptr) {
    return fail(EDGE_USAGE, "opening a model takes a library and a model");
  }
  if (options->threads < 1) return fail(EDGE_USAGE, "a model runs on 1 thread or more");
  if (options->batch < 0) return fail(EDGE_USAGE, "a batch has 1 sample or more");
  for (int32_t i = 0; i < options->shape_count; ++i) EDGE_TRY(check_shape(options->shapes[i]));
  // First, because runtimes read beyond the end of a cut file.
  EDGE_TRY(options->engine == EDGE_ENGINE_TENSORFLOW ? check_saved_model(options->model_path)
                                                     : check_model_file(options->model_path));
  std::unique_ptr<edge_model> model(new (std::nothrow) edge_model);
  if (!model) return fail(EDGE_NO_MEMORY, "no memory for a model");
  model->path = options->model_path;
  EDGE_TRY(open_engine(*options, &model->engine));
  EDGE_TRY(check_dtypes(*model->engine));
  *result = model.release();
  return Status();
}

// Runtimes prepare much on their first run, and print while they do.
int32_t first_invoke(edge_model *model) {
  Engine &engine = *model->engine;
  const RuntimeCall call("invoking the model for the first time");
  StderrCapture capture;
  const Status status = [&] {
    const ColdStep taken(&engine.cold_start, EDGE_COLD_INVOKE);
    return Status(engine.invoke());
  }();
  const std::string said = capture.finish();
  engine.runtime_log += said;
  if (!status.ok()) return explain(status, said, model->path.c_str()).code();
  model->invoked = true;
  return EDGE_OK;
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
  const edge::RuntimeCall call("closing the model");
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
  const edge::RuntimeCall call("taking an input");
  const edge::Status status = edge::check_input(model, index);
  return status.ok() ? model->engine->set_input(index, data, size_bytes).code() : status.code();
}

int32_t edge_model_get_output(edge_model *model, int32_t index, void *data, uint64_t size_bytes) {
  const edge::RuntimeCall call("giving an output");
  const edge::Status status = edge::check_output(model, index);
  return status.ok() ? model->engine->get_output(index, data, size_bytes).code() : status.code();
}

int32_t edge_model_invoke(edge_model *model) {
  if (__builtin_expect(!model->invoked, 0)) return edge::first_invoke(model);
  return model->engine->invoke();
}

int32_t edge_model_resize(edge_model *model, int32_t batch, uint64_t *elapsed_ns) {
  if (batch < 1) return edge::fail(EDGE_USAGE, "a batch has 1 sample or more").code();
  const edge::RuntimeCall call("resizing the inputs");
  edge::StderrCapture capture;
  const uint64_t begin = edge::clock_ns();
  const edge::Status status = model->engine->resize(batch);
  *elapsed_ns = edge::clock_ns() - begin;
  const std::string said = capture.finish();
  model->engine->runtime_log += said;
  return status.ok() ? EDGE_OK : edge::explain(status, said, model->path.c_str()).code();
}

void edge_model_cold_start(const edge_model *model, edge_cold_start *cold_start) {
  *cold_start = model->engine->cold_start;
}

void edge_model_delegation(const edge_model *model, edge_delegation *delegation) {
  *delegation = model->engine->delegation;
}
