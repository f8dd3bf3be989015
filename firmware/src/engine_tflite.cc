#include "engine_tflite.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "capture.h"
#include "clock.h"
#include "explain.h"
#include "library.h"
#include "process.h"
#include "tflite_c.h"

namespace edge {
namespace {

Status load_api(const Library &library, tflite::Api *api) {
  EDGE_TRY(library.require("TfLiteInterpreterCreate", &api->interpreter_create));
  EDGE_TRY(library.require("TfLiteVersion", &api->version));
  EDGE_TRY(library.require("TfLiteModelCreateFromFile", &api->model_create_from_file));
  EDGE_TRY(library.require("TfLiteModelDelete", &api->model_delete));
  EDGE_TRY(library.require("TfLiteInterpreterOptionsCreate", &api->options_create));
  EDGE_TRY(library.require("TfLiteInterpreterOptionsDelete", &api->options_delete));
  EDGE_TRY(library.require("TfLiteInterpreterOptionsSetNumThreads", &api->options_set_threads));
  EDGE_TRY(library.require("TfLiteInterpreterOptionsSetErrorReporter", &api->options_set_reporter));
  EDGE_TRY(library.require("TfLiteInterpreterOptionsAddDelegate", &api->options_add_delegate));
  EDGE_TRY(library.require("TfLiteInterpreterDelete", &api->interpreter_delete));
  EDGE_TRY(library.require("TfLiteInterpreterAllocateTensors", &api->allocate_tensors));
  EDGE_TRY(library.require("TfLiteInterpreterInvoke", &api->invoke));
  EDGE_TRY(library.require("TfLiteInterpreterGetInputTensorCount", &api->input_count));
  EDGE_TRY(library.require("TfLiteInterpreterGetOutputTensorCount", &api->output_count));
  EDGE_TRY(library.require("TfLiteInterpreterGetInputTensor", &api->input));
  EDGE_TRY(library.require("TfLiteInterpreterGetOutputTensor", &api->output));
  EDGE_TRY(library.require("TfLiteTensorType", &api->tensor_type));
  EDGE_TRY(library.require("TfLiteTensorNumDims", &api->tensor_rank));
  EDGE_TRY(library.require("TfLiteTensorDim", &api->tensor_dim));
  EDGE_TRY(library.require("TfLiteTensorByteSize", &api->tensor_bytes));
  EDGE_TRY(library.require("TfLiteTensorData", &api->tensor_data));
  EDGE_TRY(library.require("TfLiteTensorName", &api->tensor_name));
  EDGE_TRY(library.require("TfLiteTensorQuantizationParams", &api->tensor_quantization));
  library.find("TfLiteModelCreateFromFileWithErrorReporter",
               &api->model_create_from_file_reporting);
  library.find("TfLiteInterpreterResetVariableTensors", &api->reset_variables);
  library.find("TfLiteXNNPackDelegateOptionsDefault", &api->xnnpack_default_options);
  library.find("TfLiteXNNPackDelegateCreate", &api->xnnpack_create);
  library.find("TfLiteXNNPackDelegateDelete", &api->xnnpack_delete);
  return Status();
}

// Counts what a delegate takes: the execution plan before and after its own prepare, per subgraph.
// Nodes that vanished were taken, new ones are the delegate's. The delegate calls prepare on the
// thread that opens the model, which is how the hook, a bare function, finds its counter.
class NodeCounter {
 public:
  NodeCounter(tflite::Delegate *delegate, edge_delegation *delegation)
      : delegate_(delegate), inner_(delegate->prepare), delegation_(delegation) {
    if (inner_ == nullptr) return;
    current = this;
    delegate->prepare = hook;
  }
  ~NodeCounter() {
    if (inner_ == nullptr) return;
    delegate_->prepare = inner_;
    current = nullptr;
  }
  NodeCounter(const NodeCounter &) = delete;
  NodeCounter &operator=(const NodeCounter &) = delete;

 private:
  static std::vector<int32_t> plan_of(tflite::Context *context) {
    tflite::IntArray *plan = nullptr;
    if (context->get_execution_plan(context, &plan) != 0 || plan == nullptr) return {};
    // A copy: the runtime reuses the array.
    return std::vector<int32_t>(plan->values, plan->values + plan->size);
  }

  static int32_t missing(const std::vector<int32_t> &from, const std::vector<int32_t> &in) {
    return static_cast<int32_t>(std::count_if(from.begin(), from.end(), [&](int32_t node) {
      return std::find(in.begin(), in.end(), node) == in.end();
    }));
  }

  static tflite::Result hook(tflite::Context *context, tflite::Delegate *delegate) {
    NodeCounter *counter = current;
    const std::vector<int32_t> before = plan_of(context);
    const tflite::Result result = counter->inner_(context, delegate);
    const std::vector<int32_t> after = plan_of(context);
    counter->delegation_->nodes_total += static_cast<int32_t>(before.size());
    counter->delegation_->nodes_delegated += missing(before, after);
    counter->delegation_->partitions += missing(after, before);
    return result;
  }

  static thread_local NodeCounter *current;

  tflite::Delegate *delegate_;
  tflite::Result (*inner_)(tflite::Context *, tflite::Delegate *);
  edge_delegation *delegation_;
};

thread_local NodeCounter *NodeCounter::current = nullptr;

class TfliteEngine final : public Engine {
 public:
  ~TfliteEngine() override {
    if (interpreter_ != nullptr) api_.interpreter_delete(interpreter_);
    // The interpreter uses the delegate until its very end.
    if (delegate_ != nullptr && api_.xnnpack_delete != nullptr) api_.xnnpack_delete(delegate_);
    if (options_ != nullptr) api_.options_delete(options_);
    if (model_ != nullptr) api_.model_delete(model_);
  }

  Status open(const edge_options &options) {
    path_ = options.model_path;
    StderrCapture capture;
    const Status status = open_steps(options);
    runtime_log = capture.finish();
    const std::string said = std::exchange(reported_, {}) + runtime_log;
    return status.ok() ? status : explain(status, said, options.model_path);
  }

  int32_t input_count() const override { return api_.input_count(interpreter_); }
  int32_t output_count() const override { return api_.output_count(interpreter_); }

  Status input(int32_t index, edge_tensor *tensor) const override {
    return describe(api_.input(interpreter_, index), tensor);
  }

  Status output(int32_t index, edge_tensor *tensor) const override {
    return describe(api_.output(interpreter_, index), tensor);
  }

  Status set_input(int32_t index, const void *data, uint64_t size_bytes) override {
    tflite::Tensor *tensor = api_.input(interpreter_, index);
    EDGE_TRY(check_size(tensor, size_bytes));
    if (size_bytes != 0) memcpy(api_.tensor_data(tensor), data, size_bytes);
    return Status();
  }

  Status get_output(int32_t index, void *data, uint64_t size_bytes) override {
    const tflite::Tensor *tensor = api_.output(interpreter_, index);
    EDGE_TRY(check_size(tensor, size_bytes));
    const void *from = api_.tensor_data(tensor);
    if (size_bytes != 0 && from == nullptr) {
      return fail(EDGE_RUNTIME, "output '%s' has no data: invoke first", api_.tensor_name(tensor));
    }
    if (size_bytes != 0) memcpy(data, from, size_bytes);
    return Status();
  }

  int32_t invoke() override {
    if (__builtin_expect(api_.invoke(interpreter_) == 0, 1)) return EDGE_OK;
    const Status status = fail(EDGE_RUNTIME, "the runtime failed to invoke the model");
    return explain(status, std::exchange(reported_, {}), path_.c_str()).code();
  }

 private:
  // One step of the cold start, timed; memory is read outside of the time.
  template <typename Action>
  Status step(edge_cold_step which, Action action) {
    const uint64_t begin = clock_ns();
    const Status status = action();
    cold_start.elapsed_ns[which] = clock_ns() - begin;
    cold_start.rss_bytes[which] = resident_bytes();
    return status;
  }

  Status open_steps(const edge_options &options) {
    EDGE_TRY(step(EDGE_COLD_LIBRARY, [&] {
      EDGE_TRY(library_.open(options.library_path));
      return load_api(library_, &api_);
    }));
    const char *version = api_.version();
    runtime_version = version != nullptr ? version : "";
    EDGE_TRY(step(EDGE_COLD_MODEL, [&] {
      model_ = api_.model_create_from_file_reporting != nullptr
                   ? api_.model_create_from_file_reporting(options.model_path, report, this)
                   : api_.model_create_from_file(options.model_path);
      return model_ != nullptr
                 ? Status()
                 : fail(EDGE_BAD_MODEL, "the runtime can't load %s", options.model_path);
    }));
    EDGE_TRY(create(options));
    return zero_inputs();
  }

  Status create(const edge_options &options) {
    std::unique_ptr<NodeCounter> counter;
    EDGE_TRY(step(EDGE_COLD_CREATE, [&] {
      options_ = api_.options_create();
      if (options_ == nullptr) return fail(EDGE_NO_MEMORY, "no memory for the runtime's options");
      api_.options_set_reporter(options_, report, this);
      api_.options_set_threads(options_, options.threads);
      if (options.use_xnnpack != 0) counter = add_xnnpack(options.threads);
      interpreter_ = api_.interpreter_create(model_, options_);
      return interpreter_ != nullptr
                 ? Status()
                 : fail(EDGE_RUNTIME, "the runtime can't run %s", options.model_path);
    }));
    EDGE_TRY(step(EDGE_COLD_ALLOCATE, [&] {
      return api_.allocate_tensors(interpreter_) == 0
                 ? Status()
                 : fail(EDGE_RUNTIME, "the runtime can't allocate the tensors of %s",
                        options.model_path);
    }));
    if (delegation.applied != 0 && delegation.nodes_delegated == 0) {
      warnings.push_back("XNNPACK took none of the model's nodes: every kernel is a built-in one");
    }
    return Status();
  }

  std::unique_ptr<NodeCounter> add_xnnpack(int32_t threads) {
    if (api_.xnnpack_default_options == nullptr || api_.xnnpack_create == nullptr) {
      warnings.push_back("the library has no XNNPACK delegate: every kernel is a built-in one");
      return nullptr;
    }
    tflite::XnnpackOptions xnnpack = api_.xnnpack_default_options();
    xnnpack.num_threads = threads;
    delegate_ = api_.xnnpack_create(&xnnpack);
    if (delegate_ == nullptr) {
      warnings.push_back("the library can't create its XNNPACK delegate");
      return nullptr;
    }
    delegation.applied = 1;
    api_.options_add_delegate(options_, delegate_);
    return std::make_unique<NodeCounter>(delegate_, &delegation);
  }

  // Fresh tensors hold whatever was in memory, which may be out of range for a lookup.
  Status zero_inputs() {
    for (int32_t i = 0; i < input_count(); ++i) {
      tflite::Tensor *tensor = api_.input(interpreter_, i);
      if (api_.tensor_type(tensor) == EDGE_STRING) {
        return fail(EDGE_BAD_MODEL, "input '%s' takes strings, which edge can't give",
                    api_.tensor_name(tensor));
      }
      void *data = api_.tensor_data(tensor);
      if (data != nullptr) memset(data, 0, api_.tensor_bytes(tensor));
    }
    return Status();
  }

  Status check_size(const tflite::Tensor *tensor, uint64_t size_bytes) const {
    const size_t expected = api_.tensor_bytes(tensor);
    if (size_bytes == expected) return Status();
    return fail(EDGE_BAD_INPUT, "tensor '%s' has %zu bytes, not %llu", api_.tensor_name(tensor),
                expected, static_cast<unsigned long long>(size_bytes));
  }

  Status describe(const tflite::Tensor *tensor, edge_tensor *result) const {
    *result = edge_tensor{};
    const char *name = api_.tensor_name(tensor);
    result->name = name != nullptr ? name : "";
    result->dtype = api_.tensor_type(tensor);
    result->rank = api_.tensor_rank(tensor);
    if (result->rank > EDGE_MAX_RANK) {
      return fail(EDGE_BAD_MODEL, "tensor '%s' has %d axes; edge knows up to %d", result->name,
                  result->rank, EDGE_MAX_RANK);
    }
    for (int32_t i = 0; i < result->rank; ++i) result->dims[i] = api_.tensor_dim(tensor, i);
    result->size_bytes = api_.tensor_bytes(tensor);
    const tflite::Quantization quantization = api_.tensor_quantization(tensor);
    result->scale = quantization.scale;
    result->zero_point = quantization.zero_point;
    return Status();
  }

  // What the runtime says when something fails, a line each; all of it belongs to one message.
  static void report(void *user_data, const char *format, va_list arguments) {
    char text[512];
    vsnprintf(text, sizeof text, format, arguments);
    std::string *reported = &static_cast<TfliteEngine *>(user_data)->reported_;
    if (reported->size() > 4096) return;
    for (char *c = text; *c != '\0'; ++c) {
      if (*c == '\n') *c = ' ';
    }
    *reported += text;
    *reported += '\n';
  }

  Library library_;
  tflite::Api api_{};
  tflite::Model *model_ = nullptr;
  tflite::Options *options_ = nullptr;
  tflite::Delegate *delegate_ = nullptr;
  tflite::Interpreter *interpreter_ = nullptr;
  std::string path_;
  std::string reported_;
};

}  // namespace

Status open_tflite(const edge_options &options, std::unique_ptr<Engine> *engine) {
  auto opened = std::make_unique<TfliteEngine>();
  EDGE_TRY(opened->open(options));
  *engine = std::move(opened);
  return Status();
}

}  // namespace edge
