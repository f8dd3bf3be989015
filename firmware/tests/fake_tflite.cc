// A runtime library that does what the tests ask for, by words in the environment variable
// EDGE_FAKE. It doubles its inputs: tensor x (float32 [1, 4]) gives y; with "two_inputs" also an
// int8 tensor q [2, 3], which gives r. Of these, the first axis may be up to four times as large.
// With "signatures" there is one, "double", which calls them in_x and so on.
//
// Compiled in variants: FAKE_NO_XNNPACK lacks the delegate, FAKE_NO_CREATE the interpreter,
// FAKE_OLD signatures and a way to apply delegates to an interpreter.
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <vector>

#include "delegate_c.h"
#include "tflite_c.h"

namespace edge::tflite {

struct Model {
  int unused;
};

struct Options {
  Reporter *reporter;
  void *user_data;
  std::vector<Delegate *> delegates;
  TelemetryProfiler *profiler;
};

struct Tensor {
  const char *name;
  int type;
  int32_t dims[2];
  int32_t rank;
  size_t bytes;
  Quantization quantization;
  uint8_t data[64];
  bool open;  // the file leaves the first axis open
};

template <size_t count>
struct FewInts {
  int32_t size;
  int32_t values[count];
};

// Five nodes of one subgraph, of which XNNPACK takes 0, 1 and 3 by the nodes 5 and 6.
// Node 4 is an addition, for others to take.
struct Graph {
  edge::delegate::Context context;
  edge::delegate::Tensor tensors[2];
  FewInts<1> dims = {1, {4}};
  std::vector<int32_t> nodes;
  const WholeDelegate *xnnpack;  // that took some
  IntArray *plan;                // of them, while it is shown to a delegate
};

struct Interpreter {
  Reporter *reporter;
  void *user_data;
  TelemetryProfiler *profiler;
  int invocations;
  Tensor inputs[2];
  Tensor outputs[2];
  Graph graph;
};

struct SignatureRunner {
  Interpreter *interpreter;
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

// What some libraries print where a protocol may be spoken.
void talk() {
  if (!wanted("talks")) return;
  printf("a thought of the library's\n");
  const ssize_t ignored = write(STDOUT_FILENO, "PK\3\4 and no archive\n", 20);
  (void)ignored;
}

[[maybe_unused]] Graph *graph_of(void *context) {
  return reinterpret_cast<Graph *>(context);  // the context is its first member
}

// The runtime reuses one array, and so frees the one before.
[[maybe_unused]] Result get_plan(edge::delegate::Context *context,
                                 edge::delegate::IntArray **plan) {
  Graph *graph = graph_of(context);
  free(graph->plan);
  const size_t bytes = sizeof(int32_t) * graph->nodes.size();
  graph->plan = static_cast<IntArray *>(malloc(sizeof(IntArray) + bytes));
  graph->plan->size = static_cast<int32_t>(graph->nodes.size());
  memcpy(graph->plan->values, graph->nodes.data(), bytes);
  *plan = reinterpret_cast<edge::delegate::IntArray *>(graph->plan);
  return 0;
}

[[maybe_unused]] Result get_node(edge::delegate::Context *, int index, edge::delegate::Node **node,
                                 edge::delegate::Registration **registration) {
  static FewInts<2> inputs = {2, {0, 0}};
  static FewInts<1> outputs = {1, {1}};
  static int32_t no_activation = 0;
  static edge::delegate::Registration registrations[2];
  static edge::delegate::Node nodes[2];
  for (edge::delegate::Node &each : nodes) {
    each.inputs = reinterpret_cast<edge::delegate::IntArray *>(&inputs);
    each.outputs = reinterpret_cast<edge::delegate::IntArray *>(&outputs);
    each.builtin_data = &no_activation;
  }
  registrations[0].builtin_code = 99;
  registrations[1].builtin_code = edge::delegate::builtin_add;
  *node = &nodes[index == 4];
  *registration = &registrations[index == 4];
  return 0;
}

// The new node is not run: this runtime computes nothing but its doubles.
[[maybe_unused]] Result replace_nodes(edge::delegate::Context *context,
                                      edge::delegate::Registration,
                                      const edge::delegate::IntArray *taken,
                                      edge::delegate::Delegate *) {
  std::vector<int32_t> &nodes = graph_of(context)->nodes;
  for (int32_t i = 0; i < taken->size; ++i) {
    nodes.erase(std::remove(nodes.begin(), nodes.end(), taken->values[i]), nodes.end());
  }
  nodes.push_back(7);
  return 0;
}

[[maybe_unused]] Result apply(Interpreter *interpreter, Delegate *delegate) {
  Graph &graph = interpreter->graph;
  const Result result =
      delegate->prepare(reinterpret_cast<edge::tflite::Context *>(&graph.context), delegate);
  free(graph.plan);
  graph.plan = nullptr;
  return result;
}

[[maybe_unused]] void report_error(edge::delegate::Context *, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("ERROR: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

#ifndef FAKE_NO_XNNPACK
Result prepare(edge::tflite::Context *context, Delegate *delegate) {
  if (wanted("xnnpack_refuses")) {
    fputs("ERROR: dynamic tensors are not for me\n", stderr);
    return 1;
  }
  if (wanted("delegate_none")) return 0;
  std::vector<int32_t> &nodes = graph_of(context)->nodes;
  for (const int32_t taken : {0, 1, 3}) {
    nodes.erase(std::remove(nodes.begin(), nodes.end(), taken), nodes.end());
  }
  nodes.insert(nodes.end(), {5, 6});
  graph_of(context)->xnnpack = reinterpret_cast<const WholeDelegate *>(delegate);
  return 0;
}
#endif

}  // namespace

#define FAKE_API extern "C" __attribute__((visibility("default")))

FAKE_API const char *TfLiteVersion() {
  return "0.0.0-fake";
}

FAKE_API Model *TfLiteModelCreateFromFile(const char *) {
  talk();
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
  options->delegates.push_back(delegate);
}

#ifndef FAKE_OLD
FAKE_API void TfLiteInterpreterOptionsSetTelemetryProfiler(Options *options,
                                                           TelemetryProfiler *profiler) {
  options->profiler = profiler;
}
#endif

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
  made->profiler = options->profiler;
  const Tensor x = {"x", 1, {1, 4}, 2, 16, {0.0f, 0}, {0xff, 0xff}, wanted("open_axes")};
  const Tensor q = {"q", 9, {2, 3}, 2, 6, {0.5f, -3}, {0xff, 0xff}, false};
  made->inputs[0] = made->outputs[0] = x;
  made->inputs[1] = made->outputs[1] = q;
  made->outputs[0].name = "y";
  made->outputs[1].name = "r";
  if (wanted("string_input")) made->inputs[0].type = 5;
  if (wanted("string_output")) made->outputs[0].type = 5;
  made->graph.nodes = {0, 1, 2, 3, 4};
  made->graph.context.get_execution_plan = get_plan;
  made->graph.context.report_error = report_error;
  made->graph.context.get_node = get_node;
  made->graph.context.replace_nodes = replace_nodes;
  made->graph.context.tensors = made->graph.tensors;
  for (edge::delegate::Tensor &tensor : made->graph.tensors) {
    tensor.type = edge::delegate::type_float32;
    tensor.dims = reinterpret_cast<edge::delegate::IntArray *>(&made->graph.dims);
  }
  for (Delegate *delegate : options->delegates) {
    if (apply(made, delegate) == 0) continue;
    delete made;
    return nullptr;
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
  if (wanted("misfit") && interpreter->inputs[0].dims[0] != 1) {
    tell(interpreter->reporter, interpreter->user_data, "num_elements != 4");
    return 1;
  }
  if (wanted("arena")) {
    char *volatile arena = static_cast<char *>(malloc(512u << 20));
    // As runtimes do: one checks, one throws what nobody catches, one does neither.
    if (wanted("arena_checked") && arena == nullptr) return 1;
    if (wanted("arena_thrown") && arena == nullptr) {
      fputs("terminate called after throwing an instance of 'std::bad_alloc'\n", stderr);
      abort();
    }
    arena[1u << 20] = 1;
    free(arena);
  }
  return wanted("allocate_fails") ? 1 : 0;
}

namespace {

void spend_100_us() {
  timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - begin.tv_sec) * 1000000000L + now.tv_nsec - begin.tv_nsec < 100000);
}

// Tells the profiler of each node that it runs. The nodes take no time, except that node 2 runs
// node 0 of a second subgraph twice, if "loops" is wanted, as a loop does.
void run_nodes(Interpreter *interpreter) {
  TelemetryProfiler *profiler = interpreter->profiler;
  if (profiler == nullptr || wanted("profiler_is_silent")) return;
  profiler->event(profiler, "Invoke", 0);
  for (const int32_t node : interpreter->graph.nodes) {
    const bool xnnpacks = node == 5 || node == 6;
    if (xnnpacks && (interpreter->graph.xnnpack->flags & profiles_itself) != 0) continue;
    const char *name = node == 4 ? "ADD" : node < 5 ? "CONV_2D" : "FakeDelegate";
    const uint32_t handle = profiler->begin_operator(profiler, name, node, 0);
    for (int i = 0; i < 2 && node == 2 && wanted("loops"); ++i) {
      const uint32_t inner = profiler->begin_operator(profiler, "MUL", 0, 1);
      spend_100_us();
      if (!wanted("profiler_forgets")) profiler->end_operator(profiler, inner);
    }
    if (node > 4) profiler->operator_time(profiler, "inside of a delegate", 7, 0, 0);
    profiler->end_operator(profiler, handle);
  }
}

}  // namespace

FAKE_API Result TfLiteInterpreterInvoke(Interpreter *interpreter) {
  run_nodes(interpreter);
  if (wanted("invoke_fails") || (wanted("later_fails") && interpreter->invocations >= 3)) {
    tell(interpreter->reporter, interpreter->user_data, "gather index out of bounds");
    return 1;
  }
  if (wanted("chatter") && interpreter->invocations == 0) {
    fputs("INFO: the first invoke takes long\n", stderr);
  }
  ++interpreter->invocations;
  talk();
  if (wanted("invoke_aborts")) abort();
  if (wanted("invoke_uses_new_instructions")) raise(SIGILL);
  if (wanted("invoke_goes_astray")) raise(SIGSEGV);
  if (wanted("invoke_sleeps")) pause();
  Tensor &x = interpreter->inputs[0], &y = interpreter->outputs[0];
  memcpy(y.dims, x.dims, sizeof y.dims);
  y.bytes = x.bytes;
  for (size_t i = 0; i < x.bytes / 4; ++i) {
    float value;
    memcpy(&value, x.data + 4 * i, 4);
    value *= 2;
    memcpy(y.data + 4 * i, &value, 4);
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

FAKE_API Result TfLiteInterpreterResizeInputTensor(Interpreter *interpreter, int32_t index,
                                                   const int *dims, int32_t rank) {
  Tensor &tensor = interpreter->inputs[index];
  const int32_t first = index == 0 ? 1 : 2;
  if (rank != 2 || dims[1] != tensor.dims[1] || dims[0] > 4 * first) {
    tell(interpreter->reporter, interpreter->user_data, "I don't stretch that far");
    return 1;
  }
  tensor.dims[0] = dims[0];
  tensor.bytes = static_cast<size_t>(dims[0] * dims[1]) * (index == 0 ? 4 : 1);
  return 0;
}

FAKE_API Result TfLiteOpaqueTensorGetNumDimsSignature(const Tensor *tensor, int32_t *rank) {
  *rank = tensor->open ? tensor->rank : -1;
  return 0;
}
FAKE_API Result TfLiteOpaqueTensorGetDimSignature(const Tensor *tensor, int32_t axis,
                                                  int32_t *dim) {
  *dim = axis == 0 ? -1 : tensor->dims[axis];
  return 0;
}

#ifndef FAKE_OLD
FAKE_API Result TfLiteInterpreterModifyGraphWithDelegate(Interpreter *interpreter,
                                                         Delegate *delegate) {
  return apply(interpreter, delegate);
}

FAKE_API int32_t TfLiteInterpreterGetSignatureCount(const Interpreter *) {
  return wanted("signatures") ? 1 : 0;
}
FAKE_API const char *TfLiteInterpreterGetSignatureKey(const Interpreter *, int32_t) {
  return "double";
}
FAKE_API SignatureRunner *TfLiteInterpreterGetSignatureRunner(Interpreter *interpreter,
                                                              const char *) {
  return new (std::nothrow) SignatureRunner{interpreter};
}
FAKE_API void TfLiteSignatureRunnerDelete(SignatureRunner *runner) {
  delete runner;
}
FAKE_API size_t TfLiteSignatureRunnerGetInputCount(const SignatureRunner *) {
  return wanted("two_inputs") ? 2 : 1;
}
FAKE_API size_t TfLiteSignatureRunnerGetOutputCount(const SignatureRunner *) {
  return wanted("two_inputs") ? 2 : 1;
}
FAKE_API const char *TfLiteSignatureRunnerGetInputName(const SignatureRunner *, int32_t index) {
  return index == 0 ? "in_x" : "in_q";
}
FAKE_API const char *TfLiteSignatureRunnerGetOutputName(const SignatureRunner *, int32_t index) {
  return index == 0 ? "out_y" : "out_r";
}
FAKE_API Tensor *TfLiteSignatureRunnerGetInputTensor(SignatureRunner *runner, const char *name) {
  return &runner->interpreter->inputs[strcmp(name, "in_x") == 0 ? 0 : 1];
}
FAKE_API const Tensor *TfLiteSignatureRunnerGetOutputTensor(const SignatureRunner *runner,
                                                            const char *name) {
  return &runner->interpreter->outputs[strcmp(name, "out_y") == 0 ? 0 : 1];
}
FAKE_API Result TfLiteSignatureRunnerResizeInputTensor(SignatureRunner *runner, const char *name,
                                                       const int *dims, int32_t rank) {
  return TfLiteInterpreterResizeInputTensor(runner->interpreter, strcmp(name, "in_x") == 0 ? 0 : 1,
                                            dims, rank);
}
FAKE_API Result TfLiteSignatureRunnerAllocateTensors(SignatureRunner *runner) {
  return TfLiteInterpreterAllocateTensors(runner->interpreter);
}
FAKE_API Result TfLiteSignatureRunnerInvoke(SignatureRunner *runner) {
  return TfLiteInterpreterInvoke(runner->interpreter);
}
#endif

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
  return wanted("no_data") ? nullptr : const_cast<uint8_t *>(tensor->data);
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
  auto *delegate = new (std::nothrow) WholeDelegate();
  delegate->begin.prepare = prepare;
  delegate->flags = profiles_itself;
  return &delegate->begin;
}
FAKE_API void TfLiteXNNPackDelegateDelete(Delegate *delegate) {
  delete reinterpret_cast<WholeDelegate *>(delegate);
}
#endif
