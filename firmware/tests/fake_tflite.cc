// A runtime library that does what the tests ask for, by words in the environment variable
// EDGE_FAKE. It doubles its inputs: tensor x (float32 [1, 4]) gives y; with "two_inputs" also an
// int8 tensor q [2, 3], which gives r.
//
// Compiled in variants: FAKE_NO_XNNPACK lacks the delegate, FAKE_NO_CREATE the interpreter.
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#include "tflite_c.h"

namespace edge::tflite {

struct Model {
  int unused;
};

struct Options {
  Reporter *reporter;
  void *user_data;
  Delegate *delegate;
};

struct Tensor {
  const char *name;
  int type;
  int32_t dims[2];
  int32_t rank;
  size_t bytes;
  Quantization quantization;
  uint8_t data[64];
};

struct Interpreter {
  Reporter *reporter;
  void *user_data;
  int invocations;
  Tensor inputs[2];
  Tensor outputs[2];
};

}  // namespace edge::tflite

using namespace edge::tflite;

namespace {

bool wanted(const char *word) {
  const char *words = getenv("EDGE_FAKE");
  return words != nullptr && strstr(words, word) != nullptr;
}

void tell(Reporter *reporter, void *user_data, const char *format, ...) {
  if (reporter == nullptr) return;
  va_list arguments;
  va_start(arguments, format);
  reporter(user_data, format, arguments);
  va_end(arguments);
}

// The context of the delegate: five nodes, of which XNNPACK takes 0, 1 and 3 by nodes 5 and 6.
struct Graph {
  Context context;
  IntArray *plan;
};

[[maybe_unused]] IntArray *make_plan(const int32_t *nodes, int32_t count) {
  auto *plan = static_cast<IntArray *>(malloc(sizeof(IntArray) + sizeof(int32_t) * 8));
  plan->size = count;
  memcpy(plan->values, nodes, sizeof(int32_t) * static_cast<size_t>(count));
  return plan;
}

[[maybe_unused]] Result get_plan(Context *context, IntArray **plan) {
  *plan = reinterpret_cast<Graph *>(context)->plan;
  return 0;
}

#ifndef FAKE_NO_XNNPACK
Result prepare(Context *context, Delegate *) {
  if (wanted("delegate_none")) return 0;
  auto *graph = reinterpret_cast<Graph *>(context);
  const int32_t after[] = {5, 2, 6, 4};
  free(graph->plan);
  graph->plan = make_plan(after, 4);
  return 0;
}
#endif

}  // namespace

#define FAKE_API extern "C" __attribute__((visibility("default")))

FAKE_API const char *TfLiteVersion() {
  return "0.0.0-fake";
}

FAKE_API Model *TfLiteModelCreateFromFile(const char *) {
  if (wanted("crash")) abort();
  if (wanted("chatter")) fputs("INFO: a line nobody asked for\n", stderr);
  if (wanted("model_fails")) {
    fputs("ERROR: the model is not to my taste\n", stderr);
    return nullptr;
  }
  return new (std::nothrow) Model();
}
FAKE_API void TfLiteModelDelete(Model *model) {
  delete model;
}

FAKE_API Options *TfLiteInterpreterOptionsCreate() {
  return new (std::nothrow) Options();
}
FAKE_API void TfLiteInterpreterOptionsDelete(Options *options) {
  delete options;
}
FAKE_API void TfLiteInterpreterOptionsSetNumThreads(Options *, int32_t) {}
FAKE_API void TfLiteInterpreterOptionsSetErrorReporter(Options *options, Reporter *reporter,
                                                       void *user_data) {
  options->reporter = reporter;
  options->user_data = user_data;
}
FAKE_API void TfLiteInterpreterOptionsAddDelegate(Options *options, Delegate *delegate) {
  options->delegate = delegate;
}

#ifndef FAKE_NO_CREATE
FAKE_API Interpreter *TfLiteInterpreterCreate(const Model *, const Options *options) {
  if (wanted("unresolved_builtin")) {
    tell(options->reporter, options->user_data,
         "Didn't find op for builtin opcode '%s' version '%d'. An older version of this builtin "
         "might be supported.\n",
         "BATCH_MATMUL", 4);
    return nullptr;
  }
  if (wanted("create_fails")) {
    tell(options->reporter, options->user_data, "out of\npatience");
    return nullptr;
  }
  auto *made = new (std::nothrow) Interpreter();
  made->reporter = options->reporter;
  made->user_data = options->user_data;
  const Tensor x = {"x", 1, {1, 4}, 2, 16, {0.0f, 0}, {0xff, 0xff}};
  const Tensor q = {"q", 9, {2, 3}, 2, 6, {0.5f, -3}, {0xff, 0xff}};
  made->inputs[0] = made->outputs[0] = x;
  made->inputs[1] = made->outputs[1] = q;
  made->outputs[0].name = "y";
  made->outputs[1].name = "r";
  if (options->delegate != nullptr) {
    const int32_t nodes[] = {0, 1, 2, 3, 4};
    Graph graph = {{0, get_plan}, make_plan(nodes, 5)};
    options->delegate->prepare(&graph.context, options->delegate);
    free(graph.plan);
  }
  return made;
}
#endif
FAKE_API void TfLiteInterpreterDelete(Interpreter *interpreter) {
  delete interpreter;
}
FAKE_API Result TfLiteInterpreterAllocateTensors(Interpreter *interpreter) {
  if (wanted("unresolved_custom")) {
    tell(interpreter->reporter, interpreter->user_data,
         "Encountered unresolved custom op: %s.\nSee instructions.", "MyOp");
    tell(interpreter->reporter, interpreter->user_data, "Node number 0 (MyOp) failed to prepare.");
    return 1;
  }
  return wanted("allocate_fails") ? 1 : 0;
}
FAKE_API Result TfLiteInterpreterInvoke(Interpreter *interpreter) {
  if (wanted("invoke_fails") || (wanted("later_fails") && interpreter->invocations >= 3)) {
    tell(interpreter->reporter, interpreter->user_data, "gather index out of bounds");
    return 1;
  }
  if (wanted("chatter") && interpreter->invocations == 0) {
    fputs("INFO: the first invoke takes long\n", stderr);
  }
  ++interpreter->invocations;
  for (int i = 0; i < 4; ++i) {
    float value;
    memcpy(&value, interpreter->inputs[0].data + 4 * i, 4);
    value *= 2;
    memcpy(interpreter->outputs[0].data + 4 * i, &value, 4);
  }
  for (int i = 0; i < 6; ++i) {
    interpreter->outputs[1].data[i] = static_cast<uint8_t>(2 * interpreter->inputs[1].data[i]);
  }
  return 0;
}
FAKE_API int32_t TfLiteInterpreterGetInputTensorCount(const Interpreter *) {
  return wanted("two_inputs") ? 2 : 1;
}
FAKE_API int32_t TfLiteInterpreterGetOutputTensorCount(const Interpreter *) {
  return wanted("two_inputs") ? 2 : 1;
}
FAKE_API Tensor *TfLiteInterpreterGetInputTensor(const Interpreter *interpreter, int32_t index) {
  return const_cast<Tensor *>(&interpreter->inputs[index]);
}
FAKE_API const Tensor *TfLiteInterpreterGetOutputTensor(const Interpreter *interpreter,
                                                        int32_t index) {
  return &interpreter->outputs[index];
}

FAKE_API int TfLiteTensorType(const Tensor *tensor) {
  return tensor->type;
}
FAKE_API int32_t TfLiteTensorNumDims(const Tensor *tensor) {
  return tensor->rank;
}
FAKE_API int32_t TfLiteTensorDim(const Tensor *tensor, int32_t axis) {
  return tensor->dims[axis];
}
FAKE_API size_t TfLiteTensorByteSize(const Tensor *tensor) {
  return tensor->bytes;
}
FAKE_API void *TfLiteTensorData(const Tensor *tensor) {
  return const_cast<uint8_t *>(tensor->data);
}
FAKE_API const char *TfLiteTensorName(const Tensor *tensor) {
  return tensor->name;
}
FAKE_API Quantization TfLiteTensorQuantizationParams(const Tensor *tensor) {
  return tensor->quantization;
}

#ifndef FAKE_NO_XNNPACK
// Real ones are of a size of their own, smaller than what edge makes room for.
struct SmallOptions {
  int32_t num_threads;
  uint8_t rest[60];
};
FAKE_API SmallOptions TfLiteXNNPackDelegateOptionsDefault() {
  return SmallOptions();
}
FAKE_API Delegate *TfLiteXNNPackDelegateCreate(const SmallOptions *options) {
  if (options->num_threads < 1) return nullptr;
  auto *delegate = new (std::nothrow) Delegate();
  delegate->prepare = prepare;
  return delegate;
}
FAKE_API void TfLiteXNNPackDelegateDelete(Delegate *delegate) {
  delete delegate;
}
#endif
