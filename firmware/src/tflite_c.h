// The part of the TfLite C API that edge calls, as its binary interface is, in our own words. The
// functions are looked up in whatever library the user names; no header of TFLite is involved.
#ifndef EDGE_TFLITE_C_H
#define EDGE_TFLITE_C_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

namespace edge::tflite {

struct Model;
struct Options;
struct Interpreter;
struct Tensor;
struct SignatureRunner;

using Result = int;                      // 0 is success
constexpr Result application_error = 3;  // of a delegate: it can't be applied to this model

struct IntArray {
  int32_t size;
  int32_t values[];
};

// The begin of the context that a delegate is given. What follows isn't used.
struct Context {
  size_t tensor_count;
  Result (*get_execution_plan)(Context *context, IntArray **plan);
};

// The begin of a delegate. `prepare` is called once per subgraph, to take nodes over.
struct Delegate {
  void *data;
  Result (*prepare)(Context *context, Delegate *delegate);
};

// All of it: the runtime reads the flags, and tests the callbacks that are left null.
struct WholeDelegate {
  Delegate begin;
  void *copy_from_buffer = nullptr;
  void *copy_to_buffer = nullptr;
  void *free_buffer = nullptr;
  int64_t flags = 0;
  void *opaque_builder = nullptr;
};
constexpr int64_t allow_dynamic_tensors = 1;
// The runtime tells a profiler nothing of this delegate's nodes, for the delegate does so itself.
constexpr int64_t profiles_itself = 4;

struct Quantization {
  float scale;
  int32_t zero_point;
};

// The real structure begins with the number of threads and has grown with every version. It is
// returned by value, that is through a pointer to memory of ours: that only has to be large enough.
struct XnnpackOptions {
  int32_t num_threads;
  uint8_t rest[1020];
};

using Reporter = void(void *user_data, const char *format, va_list arguments);

// Given to an interpreter, told of what it does. All of it has to be there: the runtime tests
// nothing. `begin_operator` gives a handle for `end_operator`; both are called around each operator
// of the execution plan, for a delegate's nodes too. The declaration of the runtime's own promises
// nothing to later versions; edge has called it in 1.4.0 and 2.1.0.
struct TelemetryProfiler {
  void *data;
  void (*event)(TelemetryProfiler *profiler, const char *name, uint64_t status);
  void (*operator_event)(TelemetryProfiler *profiler, const char *name, int64_t node,
                         int64_t subgraph, uint64_t status);
  void (*settings)(TelemetryProfiler *profiler, const char *name, const void *settings);
  uint32_t (*begin_operator)(TelemetryProfiler *profiler, const char *name, int64_t node,
                             int64_t subgraph);
  void (*end_operator)(TelemetryProfiler *profiler, uint32_t handle);
  // What a delegate measured itself, inside of its node.
  void (*operator_time)(TelemetryProfiler *profiler, const char *name, uint64_t elapsed_us,
                        int64_t node, int64_t subgraph);
};

struct Api {
  const char *(*version)();

  Model *(*model_create_from_file)(const char *path);
  // Newer libraries only.
  Model *(*model_create_from_file_reporting)(const char *path, Reporter *reporter, void *user_data);
  void (*model_delete)(Model *model);

  Options *(*options_create)();
  void (*options_delete)(Options *options);
  void (*options_set_threads)(Options *options, int32_t threads);
  void (*options_set_reporter)(Options *options, Reporter *reporter, void *user_data);
  void (*options_add_delegate)(Options *options, Delegate *delegate);
  // Optional.
  void (*options_set_profiler)(Options *options, TelemetryProfiler *profiler);

  Interpreter *(*interpreter_create)(const Model *model, const Options *options);
  void (*interpreter_delete)(Interpreter *interpreter);
  Result (*allocate_tensors)(Interpreter *interpreter);
  Result (*invoke)(Interpreter *interpreter);
  int32_t (*input_count)(const Interpreter *interpreter);
  int32_t (*output_count)(const Interpreter *interpreter);
  Tensor *(*input)(const Interpreter *interpreter, int32_t index);
  const Tensor *(*output)(const Interpreter *interpreter, int32_t index);
  Result (*resize_input)(Interpreter *interpreter, int32_t index, const int *dims, int32_t rank);
  // Optional. Where there is no such function, delegates are added to the options, and so see the
  // model before its inputs are resized.
  Result (*modify_with_delegate)(const Interpreter *interpreter, Delegate *delegate);

  // All or none: a library may be from before signatures.
  int32_t (*signature_count)(const Interpreter *interpreter);
  const char *(*signature_key)(const Interpreter *interpreter, int32_t index);
  SignatureRunner *(*signature_runner)(const Interpreter *interpreter, const char *key);
  void (*signature_delete)(SignatureRunner *runner);
  Result (*signature_allocate)(SignatureRunner *runner);
  Result (*signature_invoke)(SignatureRunner *runner);
  Result (*signature_resize)(SignatureRunner *runner, const char *input, const int *dims,
                             int32_t rank);
  size_t (*signature_input_count)(const SignatureRunner *runner);
  size_t (*signature_output_count)(const SignatureRunner *runner);
  const char *(*signature_input_name)(const SignatureRunner *runner, int32_t index);
  const char *(*signature_output_name)(const SignatureRunner *runner, int32_t index);
  Tensor *(*signature_input)(SignatureRunner *runner, const char *name);
  const Tensor *(*signature_output)(const SignatureRunner *runner, const char *name);

  int (*tensor_type)(const Tensor *tensor);
  int32_t (*tensor_rank)(const Tensor *tensor);
  int32_t (*tensor_dim)(const Tensor *tensor, int32_t axis);
  size_t (*tensor_bytes)(const Tensor *tensor);
  void *(*tensor_data)(const Tensor *tensor);
  const char *(*tensor_name)(const Tensor *tensor);
  Quantization (*tensor_quantization)(const Tensor *tensor);

  // Optional, both: the dimensions as the model's file has them, -1 where it leaves them open.
  Result (*tensor_open_rank)(const Tensor *tensor, int32_t *rank);
  Result (*tensor_open_dim)(const Tensor *tensor, int32_t axis, int32_t *dim);

  // All three or none: a library may be built without XNNPACK.
  XnnpackOptions (*xnnpack_default_options)();
  Delegate *(*xnnpack_create)(const XnnpackOptions *options);
  void (*xnnpack_delete)(Delegate *delegate);
};

}  // namespace edge::tflite

#endif  // EDGE_TFLITE_C_H
