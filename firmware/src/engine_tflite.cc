#include "engine_tflite.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "capture.h"
#include "custom_ops.h"
#include "delegate.h"
#include "delegation.h"
#include "explain.h"
#include "library.h"
#include "profiler.h"
#include "shape.h"
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
  EDGE_TRY(library.require("TfLiteInterpreterResizeInputTensor", &api->resize_input));
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
  library.find("TfLiteInterpreterOptionsSetTelemetryProfiler", &api->options_set_profiler);
  library.find("TfLiteInterpreterModifyGraphWithDelegate", &api->modify_with_delegate);
  library.find("TfLiteOpaqueTensorGetNumDimsSignature", &api->tensor_open_rank);
  library.find("TfLiteOpaqueTensorGetDimSignature", &api->tensor_open_dim);
  library.find("TfLiteXNNPackDelegateOptionsDefault", &api->xnnpack_default_options);
  library.find("TfLiteXNNPackDelegateCreate", &api->xnnpack_create);
  library.find("TfLiteXNNPackDelegateDelete", &api->xnnpack_delete);
  return Status();
}

Status load_signature_api(const Library &library, tflite::Api *api) {
  EDGE_TRY(library.require("TfLiteInterpreterGetSignatureCount", &api->signature_count));
  EDGE_TRY(library.require("TfLiteInterpreterGetSignatureKey", &api->signature_key));
  EDGE_TRY(library.require("TfLiteInterpreterGetSignatureRunner", &api->signature_runner));
  EDGE_TRY(library.require("TfLiteSignatureRunnerDelete", &api->signature_delete));
  EDGE_TRY(library.require("TfLiteSignatureRunnerAllocateTensors", &api->signature_allocate));
  EDGE_TRY(library.require("TfLiteSignatureRunnerInvoke", &api->signature_invoke));
  EDGE_TRY(library.require("TfLiteSignatureRunnerResizeInputTensor", &api->signature_resize));
  EDGE_TRY(library.require("TfLiteSignatureRunnerGetInputCount", &api->signature_input_count));
  EDGE_TRY(library.require("TfLiteSignatureRunnerGetOutputCount", &api->signature_output_count));
  EDGE_TRY(library.require("TfLiteSignatureRunnerGetInputName", &api->signature_input_name));
  EDGE_TRY(library.require("TfLiteSignatureRunnerGetOutputName", &api->signature_output_name));
  EDGE_TRY(library.require("TfLiteSignatureRunnerGetInputTensor", &api->signature_input));
  return library.require("TfLiteSignatureRunnerGetOutputTensor", &api->signature_output);
}

class TfliteEngine final : public Engine {
 public:
  ~TfliteEngine() override {
    forget_interpreter();
    if (model_ != nullptr) api_.model_delete(model_);
  }

  Status open(const edge_options &options) {
    path_ = options.model_path;
    if (options.ops_path != nullptr) EDGE_TRY(ops_.load(options.ops_path));
    EDGE_TRY(heard([&] { return load(options); }));
    return explain_ops(ops_, create(options));
  }

  int32_t input_count() const override {
    return runner_ == nullptr ? api_.input_count(interpreter_)
                              : static_cast<int32_t>(api_.signature_input_count(runner_));
  }

  int32_t output_count() const override {
    return runner_ == nullptr ? api_.output_count(interpreter_)
                              : static_cast<int32_t>(api_.signature_output_count(runner_));
  }

  Status input(int32_t index, edge_tensor *tensor) const override {
    return describe(input_name(index), input_tensor(index), tensor);
  }

  Status output(int32_t index, edge_tensor *tensor) const override {
    return describe(output_name(index), output_tensor(index), tensor);
  }

  Status set_input(int32_t index, const void *data, uint64_t size_bytes) override {
    tflite::Tensor *tensor = input_tensor(index);
    EDGE_TRY(check_size(input_name(index), api_.tensor_bytes(tensor), size_bytes));
    if (size_bytes != 0) memcpy(api_.tensor_data(tensor), data, size_bytes);
    return Status();
  }

  Status get_output(int32_t index, void *data, uint64_t size_bytes) override {
    const tflite::Tensor *tensor = output_tensor(index);
    EDGE_TRY(check_size(output_name(index), api_.tensor_bytes(tensor), size_bytes));
    const void *from = api_.tensor_data(tensor);
    if (size_bytes != 0 && from == nullptr) {
      return fail(EDGE_RUNTIME, "output '%s' has no data: invoke first", output_name(index));
    }
    if (size_bytes != 0) memcpy(data, from, size_bytes);
    return Status();
  }

  int32_t invoke() override {
    const tflite::Result result =
        runner_ == nullptr ? api_.invoke(interpreter_) : api_.signature_invoke(runner_);
    if (__builtin_expect(result == 0, 1)) return EDGE_OK;
    const Status status = fail(EDGE_RUNTIME, "the runtime failed to invoke the model");
    const Status told = explain(status, std::exchange(reported_, {}), path_.c_str());
    return explain_ops(ops_, told).code();
  }

  // Delegates are asked anew by the runtime itself.
  Status resize(int32_t batch) override {
    const Status status = [&] {
      EDGE_TRY(choose_batch(batch, &shapes_));
      EDGE_TRY(resize_inputs());
      EDGE_TRY(allocate());
      return zero_inputs();
    }();
    if (status.ok()) return status;
    return explain_ops(ops_, explain(status, std::exchange(reported_, {}), path_.c_str()));
  }

 private:
  // What the runtime says during the action goes into the log, and into a failure's message.
  template <typename Action>
  Status heard(Action action) {
    reported_.clear();
    StderrCapture capture;
    const Status status = action();
    const std::string printed = capture.finish();
    runtime_log += printed;
    const std::string said = std::exchange(reported_, {}) + printed;
    return status.ok() ? status : explain(status, said, path_.c_str());
  }

  Status load(const edge_options &options) {
    EDGE_TRY(step(EDGE_COLD_LIBRARY, "being loaded", [&] {
      EDGE_TRY(library_.open(options.library_path));
      EDGE_TRY(load_api(library_, &api_));
      return options.signature != nullptr ? load_signature_api(library_, &api_) : Status();
    }));
    if (wanted_profiler() != nullptr && api_.options_set_profiler == nullptr) {
      return fail(EDGE_BAD_LIBRARY,
                  "this runtime has no profiler: %s lacks "
                  "TfLiteInterpreterOptionsSetTelemetryProfiler; take libLiteRt.so of "
                  "ai-edge-litert 2.1.0 for aarch64",
                  options.library_path);
    }
    const char *version = api_.version();
    runtime_version = version != nullptr ? version : "";
    return step(EDGE_COLD_MODEL, "loading the model", [&] {
      model_ = api_.model_create_from_file_reporting != nullptr
                   ? api_.model_create_from_file_reporting(options.model_path, report, this)
                   : api_.model_create_from_file(options.model_path);
      return model_ != nullptr
                 ? Status()
                 : fail(EDGE_BAD_MODEL, "the runtime can't load %s", options.model_path);
    });
  }

  // XNNPACK may refuse a model, such as one with tensors of dynamic size: it is an optimization, so
  // the model then runs without. An external delegate was asked for: its refusal is a failure, but
  // only if the model is fine without it, else that is the failure.
  Status create(const edge_options &options) {
    bool xnnpack = options.use_xnnpack != 0;
    if (xnnpack && (api_.xnnpack_default_options == nullptr || api_.xnnpack_create == nullptr)) {
      warn_of_xnnpack("the library has no XNNPACK delegate: every kernel is a built-in one");
      xnnpack = false;
    }
    const bool external = options.delegate_path != nullptr;
    Status made = heard([&] { return make(options, external, xnnpack); });
    if (!made.ok() && xnnpack) {
      made = make_without_xnnpack(
          [&] { return heard([&] { return make(options, external, false); }); });
    }
    if (!made.ok() && external && external_ != nullptr && external_->get() != nullptr) {
      const std::string refusal = last_error();
      made = heard([&] { return make(options, false, false); });
      if (made.ok()) {
        return fail(EDGE_RUNTIME, "the delegate %s refuses the model: %s", options.delegate_path,
                    refusal.c_str());
      }
    }
    EDGE_TRY(made);
    warn_of_idle_delegates();
    warnings.insert(warnings.end(), shape_warnings_.begin(), shape_warnings_.end());
    return Status();
  }

  // Everything between the model and its first invoke, anew.
  Status make(const edge_options &options, bool external, bool xnnpack) {
    forget_interpreter();
    Delegation taken;
    EDGE_TRY(step(EDGE_COLD_CREATE, "creating the interpreter", [&] {
      options_ = api_.options_create();
      if (options_ == nullptr) return fail(EDGE_NO_MEMORY, "no memory for the runtime's options");
      api_.options_set_reporter(options_, report, this);
      api_.options_set_threads(options_, options.threads);
      if (wanted_profiler() != nullptr) api_.options_set_profiler(options_, &profiler_);
      if (external) EDGE_TRY(create_external(options));
      if (xnnpack) EDGE_TRY(create_xnnpack(options.threads));
      // Before what watches the delegates: nodes of the user's kernels count as nobody's.
      if (ops_.loaded()) {
        ops_.forget_failure();
        if (api_.modify_with_delegate == nullptr) api_.options_add_delegate(options_, ops_.get());
      }
      nodes_known = true;
      for (tflite::Delegate *each : delegates_) {
        nodes_known = taken.watch(each) && nodes_known;
        if (api_.modify_with_delegate == nullptr) api_.options_add_delegate(options_, each);
      }
      interpreter_ = api_.interpreter_create(model_, options_);
      if (interpreter_ == nullptr) {
        return fail(EDGE_RUNTIME, "the runtime can't run %s", options.model_path);
      }
      if (options.signature != nullptr) EDGE_TRY(choose_signature(options.signature));
      EDGE_TRY(choose_shapes(options));
      EDGE_TRY(resize_inputs());
      if (api_.modify_with_delegate == nullptr) return Status();
      if (ops_.loaded() && api_.modify_with_delegate(interpreter_, ops_.get()) != 0) {
        return fail(EDGE_RUNTIME, "the runtime doesn't take the kernels of %s", options.ops_path);
      }
      for (tflite::Delegate *each : delegates_) {
        const tflite::Result result = api_.modify_with_delegate(interpreter_, each);
        if (result == 0) continue;
        return fail(EDGE_RUNTIME, "%s",
                    result == tflite::application_error
                        ? "the runtime doesn't show it models that have tensors of dynamic size"
                        : "it failed to prepare");
      }
      return Status();
    }));
    EDGE_TRY(step(EDGE_COLD_ALLOCATE, "allocating the tensors", [&] { return allocate(); }));
    taken.tell(this);
    return zero_inputs();
  }

  void forget_interpreter() {
    if (runner_ != nullptr) api_.signature_delete(std::exchange(runner_, nullptr));
    if (interpreter_ != nullptr) api_.interpreter_delete(std::exchange(interpreter_, nullptr));
    // The interpreter uses its delegates until its very end.
    if (xnnpack_ != nullptr && api_.xnnpack_delete != nullptr) api_.xnnpack_delete(xnnpack_);
    xnnpack_ = nullptr;
    external_.reset();
    if (options_ != nullptr) api_.options_delete(std::exchange(options_, nullptr));
    delegates_.clear();
    delegates.clear();
    delegation = {};
    shapes_.clear();
    shape_warnings_.clear();
    for (const edge_cold_step which : {EDGE_COLD_CREATE, EDGE_COLD_ALLOCATE}) {
      cold_start.elapsed_ns[which] = 0;
      cold_start.minor_faults[which] = cold_start.major_faults[which] = 0;
    }
  }

  Status create_external(const edge_options &options) {
    const RuntimeCall call("creating the external delegate");
    external_ = std::make_unique<ExternalDelegate>();
    EDGE_TRY(external_->create(options));
    add_delegate(external_->get(), options.delegate_path);
    return Status();
  }

  Status create_xnnpack(int32_t threads) {
    tflite::XnnpackOptions xnnpack = api_.xnnpack_default_options();
    xnnpack.num_threads = threads;
    xnnpack_ = api_.xnnpack_create(&xnnpack);
    if (xnnpack_ == nullptr) return fail(EDGE_RUNTIME, "the library can't create it");
    add_delegate(xnnpack_, "XNNPACK");
    return Status();
  }

  void add_delegate(tflite::Delegate *delegate, const char *name) {
    // What a delegate would tell itself, XNNPACK first of all, doesn't come through the C API. So
    // its nodes are timed by the runtime, each as a whole.
    if (wanted_profiler() != nullptr) {
      reinterpret_cast<tflite::WholeDelegate *>(delegate)->flags &= ~tflite::profiles_itself;
    }
    delegates_.push_back(delegate);
    delegates.push_back(name);
    delegation.applied = 1;
  }

  Status choose_signature(const char *key) {
    std::vector<std::string> known;
    for (int32_t i = 0; i < api_.signature_count(interpreter_); ++i) {
      const char *each = api_.signature_key(interpreter_, i);
      if (each == nullptr) continue;
      if (strcmp(each, key) == 0) {
        runner_ = api_.signature_runner(interpreter_, key);
        return runner_ != nullptr
                   ? Status()
                   : fail(EDGE_RUNTIME, "the runtime can't run the signature '%s'", key);
      }
      known.emplace_back(each);
    }
    return no_signature(key, known);
  }

  Status allocate() {
    const tflite::Result result =
        runner_ == nullptr ? api_.allocate_tensors(interpreter_) : api_.signature_allocate(runner_);
    return result == 0 ? Status() : refuse_shapes(path_.c_str(), shapes_);
  }

  Status choose_shapes(const edge_options &options) {
    for (int32_t i = 0; i < input_count(); ++i) {
      const tflite::Tensor *tensor = input_tensor(i);
      if (tensor == nullptr) return fail(EDGE_BAD_MODEL, "%s lacks input %d", path_.c_str(), i);
      shapes_.push_back({input_name(i), dims_of(tensor), open_dims_of(tensor), {}});
    }
    return edge::choose_shapes(options, &shapes_, &shape_warnings_);
  }

  Status resize_inputs() {
    int32_t index = 0;
    for (const InputShape &input : shapes_) {
      const int32_t i = index++;
      if (input.wanted == input.present) continue;
      const int32_t rank = static_cast<int32_t>(input.wanted.size());
      const tflite::Result result =
          runner_ == nullptr
              ? api_.resize_input(interpreter_, i, input.wanted.data(), rank)
              : api_.signature_resize(runner_, input.name, input.wanted.data(), rank);
      if (result != 0) return refuse_shape(input);
    }
    return Status();
  }

  // Fresh tensors hold whatever was in memory, which may be out of range for a lookup.
  Status zero_inputs() {
    for (int32_t i = 0; i < input_count(); ++i) {
      tflite::Tensor *tensor = input_tensor(i);
      if (api_.tensor_type(tensor) == EDGE_STRING) continue;
      void *data = api_.tensor_data(tensor);
      const size_t bytes = api_.tensor_bytes(tensor);
      if (bytes == 0) continue;
      // Allocating may claim success and leave a tensor without memory.
      if (data == nullptr) {
        return fail(EDGE_NO_MEMORY, "the runtime has no memory for the %zu bytes of input '%s'",
                    bytes, input_name(i));
      }
      memset(data, 0, bytes);
    }
    return Status();
  }

  const char *input_name(int32_t index) const {
    const char *name = runner_ == nullptr ? api_.tensor_name(api_.input(interpreter_, index))
                                          : api_.signature_input_name(runner_, index);
    return name != nullptr ? name : "";
  }

  const char *output_name(int32_t index) const {
    const char *name = runner_ == nullptr ? api_.tensor_name(api_.output(interpreter_, index))
                                          : api_.signature_output_name(runner_, index);
    return name != nullptr ? name : "";
  }

  tflite::Tensor *input_tensor(int32_t index) const {
    return runner_ == nullptr ? api_.input(interpreter_, index)
                              : api_.signature_input(runner_, input_name(index));
  }

  const tflite::Tensor *output_tensor(int32_t index) const {
    return runner_ == nullptr ? api_.output(interpreter_, index)
                              : api_.signature_output(runner_, output_name(index));
  }

  std::vector<int32_t> dims_of(const tflite::Tensor *tensor) const {
    std::vector<int32_t> dims;
    for (int32_t i = 0; i < api_.tensor_rank(tensor); ++i) {
      dims.push_back(api_.tensor_dim(tensor, i));
    }
    return dims;
  }

  // As the model's file has them, -1 where it leaves them open; none if it doesn't tell.
  std::vector<int32_t> open_dims_of(const tflite::Tensor *tensor) const {
    std::vector<int32_t> dims;
    if (api_.tensor_open_rank == nullptr || api_.tensor_open_dim == nullptr) return dims;
    int32_t rank = 0;
    if (api_.tensor_open_rank(tensor, &rank) != 0) return dims;
    for (int32_t i = 0; i < rank; ++i) {
      dims.push_back(0);
      if (api_.tensor_open_dim(tensor, i, &dims.back()) != 0) return {};
    }
    return dims;
  }

  Status describe(const char *name, const tflite::Tensor *tensor, edge_tensor *result) const {
    *result = edge_tensor{};
    result->name = name;
    if (tensor == nullptr) return fail(EDGE_BAD_MODEL, "%s lacks tensor '%s'", path_.c_str(), name);
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

  // Bare functions: the profiler is their structure's data.
  static tflite::TelemetryProfiler telling(Profiler *profiler) {
    using Telemetry = tflite::TelemetryProfiler;
    return {
        profiler,
        [](Telemetry *, const char *, uint64_t) {},
        [](Telemetry *, const char *, int64_t, int64_t, uint64_t) {},
        [](Telemetry *, const char *, const void *) {},
        [](Telemetry *self, const char *name, int64_t node, int64_t subgraph) {
          return static_cast<Profiler *>(self->data)->begin(name, node, subgraph);
        },
        [](Telemetry *self, uint32_t handle) { static_cast<Profiler *>(self->data)->end(handle); },
        [](Telemetry *, const char *, uint64_t, int64_t, int64_t) {}};
  }

  Library library_{
      "it doesn't offer the TfLite C API that edge speaks: take a library that does, such as "
      "libLiteRt.so of ai-edge-litert 2.1.0 for aarch64"};
  tflite::Api api_{};
  tflite::TelemetryProfiler profiler_ = telling(wanted_profiler());
  tflite::Model *model_ = nullptr;
  tflite::Options *options_ = nullptr;
  CustomOps ops_;
  std::unique_ptr<ExternalDelegate> external_;
  tflite::Delegate *xnnpack_ = nullptr;
  std::vector<tflite::Delegate *> delegates_;  // in the order in which they see the model
  tflite::Interpreter *interpreter_ = nullptr;
  tflite::SignatureRunner *runner_ = nullptr;  // of the signature; nullptr: the primary subgraph
  std::string path_;
  std::vector<InputShape> shapes_;
  std::vector<std::string> shape_warnings_;
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
