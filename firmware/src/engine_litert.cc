#include "engine_litert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "capture.h"
#include "custom_ops.h"
#include "explain.h"
#include "file.h"
#include "library.h"
#include "litert_c.h"
#include "profiler.h"
#include "sha256.h"
#include "shape.h"

namespace edge {
namespace {

// Nothing in these libraries says which interface they have, and calling the wrong one crashes. So
// only libraries that were tried are called: libLiteRt.so of ai-edge-litert for Linux.
struct KnownLibrary {
  const char *sha256;
  const char *version;
};
constexpr KnownLibrary known_libraries[] = {
    {"b57687dc234d2b8b0598aef5a9c961ed24263df8f8b3f56adbee1cff618e544b", "2.3.0"},  // aarch64
    {"eec47eb35e2924b3166015887e652a58edc9af823ae38e02bf83bef2548300bb", "2.3.0"},  // x86_64
    {"fb21752e51cb9def7e154ccc65c7a12460d2c3c3116a50b4bb42e24dbc96128c", "2.2.0"},  // aarch64
    {"0eb5067e9fc86a622953fd3fb077db95b1010e5e5fd4dc5d31ec52bcd045c9fd", "2.2.0"},  // x86_64
};
constexpr const char *known_versions = "2.2.0 and 2.3.0";

Status hash_file(const char *path, std::string *sha256) {
  Descriptor file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return fail_errno(errno, "can't open %s", path);
  Sha256 hash;
  std::vector<uint8_t> chunk(1 << 16);
  ssize_t got;
  while ((got = read(file.get(), chunk.data(), chunk.size())) > 0) {
    hash.update(chunk.data(), static_cast<size_t>(got));
  }
  if (got < 0) return fail_errno(errno, "can't read %s", path);
  *sha256 = hash.hex();
  return Status();
}

Status identify(const char *path, std::string *version) {
  std::string sha256;
  EDGE_TRY(hash_file(path, &sha256));
  for (const KnownLibrary &library : known_libraries) {
    if (sha256 == library.sha256) {
      *version = library.version;
      return Status();
    }
  }
  return fail(EDGE_BAD_LIBRARY,
              "%s (sha256 %s) is no LiteRT library that edge knows how to call; it knows "
              "libLiteRt.so of ai-edge-litert %s for aarch64 and x86_64: take one of these, or "
              "--engine tflite for a library that offers the TfLite C API",
              path, sha256.c_str(), known_versions);
}

Status load_api(const Library &library, litert::Api *api) {
  EDGE_TRY(library.require("LiteRtCreateEnvironment", &api->create_environment));
  EDGE_TRY(library.require("LiteRtDestroyEnvironment", &api->destroy_environment));
  EDGE_TRY(library.require("LiteRtCreateModelFromFile", &api->create_model));
  EDGE_TRY(library.require("LiteRtDestroyModel", &api->destroy_model));
  EDGE_TRY(library.require("LiteRtGetNumModelSubgraphs", &api->subgraph_count));
  EDGE_TRY(library.require("LiteRtGetModelSubgraph", &api->subgraph));
  EDGE_TRY(library.require("LiteRtGetMainModelSubgraphIndex", &api->main_subgraph));
  EDGE_TRY(library.require("LiteRtGetNumSubgraphOps", &api->op_count));
  EDGE_TRY(library.require("LiteRtGetNumSubgraphInputs", &api->input_count));
  EDGE_TRY(library.require("LiteRtGetSubgraphInput", &api->input));
  EDGE_TRY(library.require("LiteRtGetNumSubgraphOutputs", &api->output_count));
  EDGE_TRY(library.require("LiteRtGetSubgraphOutput", &api->output));
  EDGE_TRY(library.require("LiteRtGetNumModelSignatures", &api->signature_count));
  EDGE_TRY(library.require("LiteRtGetModelSignature", &api->signature));
  EDGE_TRY(library.require("LiteRtGetSignatureKey", &api->signature_key));
  EDGE_TRY(library.require("LiteRtGetSignatureSubgraph", &api->signature_subgraph));
  EDGE_TRY(library.require("LiteRtGetNumSignatureInputs", &api->signature_input_count));
  EDGE_TRY(library.require("LiteRtGetSignatureInputName", &api->signature_input_name));
  EDGE_TRY(library.require("LiteRtGetSignatureInputTensorByIndex", &api->signature_input));
  EDGE_TRY(library.require("LiteRtGetNumSignatureOutputs", &api->signature_output_count));
  EDGE_TRY(library.require("LiteRtGetSignatureOutputName", &api->signature_output_name));
  EDGE_TRY(library.require("LiteRtGetSignatureOutputTensorByIndex", &api->signature_output));
  EDGE_TRY(library.require("LiteRtGetTensorName", &api->tensor_name));
  EDGE_TRY(library.require("LiteRtGetTensorTypeId", &api->tensor_type_id));
  EDGE_TRY(library.require("LiteRtGetRankedTensorType", &api->tensor_type));
  EDGE_TRY(library.require("LiteRtGetQuantizationTypeId", &api->tensor_quantization_id));
  EDGE_TRY(library.require("LiteRtGetPerTensorQuantization", &api->tensor_quantization));
  EDGE_TRY(library.require("LiteRtCreateOptions", &api->create_options));
  EDGE_TRY(library.require("LiteRtDestroyOptions", &api->destroy_options));
  EDGE_TRY(library.require("LiteRtSetOptionsHardwareAccelerators", &api->options_set_hardware));
  EDGE_TRY(library.require("LiteRtCreateOpaqueOptions", &api->create_opaque));
  EDGE_TRY(library.require("LiteRtAddOpaqueOptions", &api->options_add_opaque));
  EDGE_TRY(library.require("LiteRtCreateCompiledModel", &api->create_compiled));
  EDGE_TRY(library.require("LiteRtDestroyCompiledModel", &api->destroy_compiled));
  EDGE_TRY(library.require("LiteRtCompiledModelResizeInputTensorNonStrict", &api->resize_input));
  EDGE_TRY(library.require("LiteRtGetCompiledModelOutputTensorLayouts", &api->output_layouts));
  EDGE_TRY(library.require("LiteRtGetCompiledModelInputTensorLayout", &api->input_layout));
  EDGE_TRY(
      library.require("LiteRtGetCompiledModelInputBufferRequirements", &api->input_requirements));
  EDGE_TRY(
      library.require("LiteRtGetCompiledModelOutputBufferRequirements", &api->output_requirements));
  EDGE_TRY(
      library.require("LiteRtGetTensorBufferRequirementsBufferSize", &api->requirements_bytes));
  EDGE_TRY(library.require("LiteRtCreateTensorBufferFromHostMemory", &api->create_buffer));
  EDGE_TRY(library.require("LiteRtDestroyTensorBuffer", &api->destroy_buffer));
  EDGE_TRY(library.require("LiteRtRunCompiledModel", &api->run));
  EDGE_TRY(library.require("LiteRtCreateAccelerator", &api->create_accelerator));
  EDGE_TRY(library.require("LiteRtSetAcceleratorGetName", &api->set_name));
  EDGE_TRY(library.require("LiteRtSetAcceleratorGetVersion", &api->set_version));
  EDGE_TRY(library.require("LiteRtSetAcceleratorGetHardwareSupport", &api->set_hardware));
  EDGE_TRY(library.require("LiteRtSetDelegateFunction", &api->set_delegate));
  EDGE_TRY(library.require("LiteRtRegisterAccelerator", &api->register_accelerator));
  EDGE_TRY(library.require("LiteRtWrapDelegate", &api->wrap_delegate));
  return library.require("LiteRtDestroyDelegateWrapper", &api->destroy_wrapper);
}

// Sees what XNNPACK took: an accelerator that is registered after it, so that its delegate, which
// takes no node, is shown every subgraph's execution plan as XNNPACK left it. LiteRT has no log
// line or function that tells. Its callbacks are bare functions, called on the thread that
// compiles the model, which is how they find the observer. When inputs are resized, the runtime
// asks the delegate once more, so it has to live as long as the compiled model; then it looks away.
class Observer {
 public:
  Observer(const litert::Api *api, CustomOps *ops) : api_(api), ops_(ops) {
    delegate_.begin.prepare = prepare;
    delegate_.flags = tflite::allow_dynamic_tensors;
  }
  Observer(const Observer &) = delete;
  Observer &operator=(const Observer &) = delete;

  // Between these two it looks.
  void begin() { current = this; }
  static void end() { current = nullptr; }

  bool join(litert::Environment *environment) const { return enter(environment, name, create); }

  // The user's kernels come into a model in the same way. After XNNPACK, which knows none of their
  // operators, and after the observer, for which they are nobody's.
  bool join_ops(litert::Environment *environment) const {
    return enter(environment, ops_name, create_ops);
  }

  // Of every subgraph, in their order: the nodes left, and those of the delegates.
  const std::vector<std::vector<int32_t>> &plans() const { return plans_; }

 private:
  bool enter(litert::Environment *environment, litert::GetName *its_name,
             litert::CreateDelegate *its_create) const {
    litert::Accelerator *accelerator = nullptr;
    return api_->create_accelerator(&accelerator) == 0 &&
           api_->set_name(accelerator, its_name) == 0 &&
           api_->set_version(accelerator, version) == 0 &&
           api_->set_hardware(accelerator, hardware) == 0 &&
           api_->set_delegate(accelerator, its_create, destroy) == 0 &&
           api_->register_accelerator(environment, accelerator, nullptr, release) == 0;
  }

  static litert::Result name(litert::Accelerator *, const char **result) {
    *result = "edge observer";
    return 0;
  }
  static litert::Result ops_name(litert::Accelerator *, const char **result) {
    *result = "edge custom operators";
    return 0;
  }
  static litert::Result version(litert::Accelerator *, litert::Version *result) {
    *result = {1, 0, 0};
    return 0;
  }
  static litert::Result hardware(litert::Accelerator *, int *result) {
    *result = litert::hardware_cpu;
    return 0;
  }
  static litert::Result create(litert::RuntimeContext *, litert::Environment *,
                               litert::Accelerator *, litert::Options *,
                               litert::DelegateWrapper **wrapper) {
    return current->api_->wrap_delegate(&current->delegate_, keep, wrapper);
  }
  static litert::Result create_ops(litert::RuntimeContext *, litert::Environment *,
                                   litert::Accelerator *, litert::Options *,
                                   litert::DelegateWrapper **wrapper) {
    auto *delegate = reinterpret_cast<litert::Delegate *>(current->ops_->get());
    return current->api_->wrap_delegate(delegate, keep, wrapper);
  }
  static void destroy(litert::RuntimeContext *, litert::DelegateWrapper *wrapper) {
    current->api_->destroy_wrapper(wrapper);
  }
  static void keep(litert::Delegate *) {}
  static void release(void *) {}

  static tflite::Result prepare(tflite::Context *context, tflite::Delegate *) {
    tflite::IntArray *plan = nullptr;
    if (current == nullptr || context->get_execution_plan(context, &plan) != 0) return 0;
    current->plans_.emplace_back(plan->values, plan->values + plan->size);
    return 0;
  }

  static thread_local Observer *current;

  const litert::Api *api_;
  CustomOps *ops_;
  litert::Delegate delegate_{};
  std::vector<std::vector<int32_t>> plans_;
};

thread_local Observer *Observer::current = nullptr;

struct Free {
  void operator()(void *memory) const { free(memory); }
};

// An input or output, and the memory that the runtime reads it from or writes it to.
struct Port {
  litert::Tensor *tensor = nullptr;
  edge_tensor described{};
  void *memory = nullptr;
};

class LitertEngine final : public Engine {
 public:
  ~LitertEngine() override {
    // A talkative runtime takes leave, too.
    const StderrCapture capture;
    forget();
  }

  Status open(const edge_options &options) {
    StderrCapture capture;
    const Status status = open_steps(options);
    runtime_log = capture.finish();
    return status.ok() ? status
                       : explain_ops(ops_, explain(status, runtime_log, options.model_path));
  }

  int32_t input_count() const override { return static_cast<int32_t>(inputs_.size()); }
  int32_t output_count() const override { return static_cast<int32_t>(outputs_.size()); }

  Status input(int32_t index, edge_tensor *tensor) const override {
    *tensor = inputs_[static_cast<size_t>(index)].described;
    return Status();
  }

  Status output(int32_t index, edge_tensor *tensor) const override {
    *tensor = outputs_[static_cast<size_t>(index)].described;
    return Status();
  }

  Status set_input(int32_t index, const void *data, uint64_t size_bytes) override {
    const Port &port = inputs_[static_cast<size_t>(index)];
    EDGE_TRY(check_size(port.described.name, port.described.size_bytes, size_bytes));
    if (size_bytes != 0) memcpy(port.memory, data, size_bytes);
    return Status();
  }

  Status get_output(int32_t index, void *data, uint64_t size_bytes) override {
    const Port &port = outputs_[static_cast<size_t>(index)];
    EDGE_TRY(check_size(port.described.name, port.described.size_bytes, size_bytes));
    if (size_bytes != 0) memcpy(data, port.memory, size_bytes);
    return Status();
  }

  int32_t invoke() override {
    const litert::Result result =
        api_.run(compiled_, signature_, input_buffers_.size(), input_buffers_.data(),
                 output_buffers_.size(), output_buffers_.data());
    if (__builtin_expect(result == 0, 1)) return EDGE_OK;
    const Status status =
        fail(EDGE_RUNTIME, "the runtime failed to invoke the model (LiteRT status %d)%s", result,
             open_output_hint_.c_str());
    return explain_ops(ops_, status).code();
  }

  // Delegates are asked anew by the runtime itself.
  Status resize(int32_t batch) override {
    unbind();
    EDGE_TRY(choose_batch(batch, &shapes_));
    return explain_ops(ops_, bind_all());
  }

 private:
  Status open_steps(const edge_options &options) {
    path_ = options.model_path;
    if (options.ops_path != nullptr) EDGE_TRY(ops_.load(options.ops_path));
    if (options.delegate_path != nullptr) {
      return fail(EDGE_USAGE, "external delegates are for --engine tflite; LiteRT takes none");
    }
    if (wanted_profiler() != nullptr) {
      return fail(
          EDGE_USAGE,
          "there is no time per operator with --engine litert, whose profiler edge does not "
          "call: take --engine tflite, with libLiteRt.so of ai-edge-litert 2.1.0 for "
          "aarch64");
    }
    EDGE_TRY(step(EDGE_COLD_LIBRARY, "being loaded",
                  [&] { return library_.open(options.library_path); }));
    // After it, so that the pages that the loader needs aren't read by us before.
    EDGE_TRY(identify(options.library_path, &runtime_version));
    EDGE_TRY(step(EDGE_COLD_LIBRARY, "being loaded", [&] { return load_api(library_, &api_); }));
    Status made = make(options, options.use_xnnpack != 0);
    if (!made.ok() && options.use_xnnpack != 0 && options_ != nullptr) {
      made = make_without_xnnpack([&] { return make(options, false); });
    }
    EDGE_TRY(made);
    warn_of_idle_delegates();
    if (delegation.applied == 0 && options.threads > 1) {
      warnings.push_back("without XNNPACK, LiteRT runs on one thread, whatever --threads asks for");
    }
    return Status();
  }

  // Everything between the library and the first invoke, anew.
  Status make(const edge_options &options, bool xnnpack) {
    forget();
    EDGE_TRY(step(EDGE_COLD_MODEL, "loading the model", [&] {
      EDGE_TRY(start(xnnpack));
      return api_.create_model(environment_, options.model_path, &model_) == 0
                 ? Status()
                 : fail(EDGE_BAD_MODEL, "the runtime can't load %s", options.model_path);
    }));
    EDGE_TRY(choose_signature(options));
    EDGE_TRY(compile(options, xnnpack));
    return step(EDGE_COLD_ALLOCATE, "allocating tensors", [&] { return allocate(options); });
  }

  void forget() {
    unbind();
    inputs_.clear();
    outputs_.clear();
    shapes_.clear();
    if (compiled_ != nullptr) api_.destroy_compiled(std::exchange(compiled_, nullptr));
    observer_.reset();
    if (options_ != nullptr) api_.destroy_options(std::exchange(options_, nullptr));
    if (model_ != nullptr) api_.destroy_model(std::exchange(model_, nullptr));
    if (environment_ != nullptr) api_.destroy_environment(std::exchange(environment_, nullptr));
    for (const edge_cold_step which : {EDGE_COLD_MODEL, EDGE_COLD_CREATE, EDGE_COLD_ALLOCATE}) {
      cold_start.elapsed_ns[which] = 0;
      cold_start.minor_faults[which] = cold_start.major_faults[which] = 0;
    }
    delegation = edge_delegation{};
    delegates.clear();
    warnings.clear();
    without_xnnpack.clear();
    nodes.clear();
    nodes_known = false;
  }

  // Accelerators are XNNPACK or none: with none, kernels are the built-in ones. LiteRT would
  // otherwise search the board for those of GPUs and NPUs.
  Status start(bool xnnpack) {
    const litert::EnvironmentOption chosen[] = {
        {litert::option_accelerators,
         {litert::any_whole_number, xnnpack ? litert::hardware_cpu : 0}},
        // Below warnings there are lines for every invoke.
        {litert::option_min_severity,
         {litert::any_whole_number,
          runtimes_are_talkative() ? litert::severity_verbose : litert::severity_warning}},
    };
    return api_.create_environment(2, chosen, &environment_) == 0
               ? Status()
               : fail(EDGE_RUNTIME, "the runtime can't start");
  }

  // Without a key, the one of the primary subgraph, by the names of its tensors.
  Status choose_signature(const edge_options &options) {
    size_t count = 0, primary = 0;
    litert::Subgraph *main_subgraph = nullptr;
    if (api_.signature_count(model_, &count) != 0 || api_.main_subgraph(model_, &primary) != 0 ||
        api_.subgraph(model_, primary, &main_subgraph) != 0) {
      return unreadable(options);
    }
    std::vector<std::string> keys;
    for (size_t i = 0; i < count; ++i) {
      litert::Signature *signature = nullptr;
      litert::Subgraph *subgraph = nullptr;
      const char *key = nullptr;
      if (api_.signature(model_, i, &signature) != 0 ||
          api_.signature_subgraph(signature, &subgraph) != 0 ||
          api_.signature_key(signature, &key) != 0) {
        return unreadable(options);
      }
      const bool made_up = strcmp(key, litert::made_up_key) == 0;
      if (options.signature == nullptr ? subgraph == main_subgraph
                                       : !made_up && strcmp(key, options.signature) == 0) {
        signature_ = i;
        return read_ports(options, signature, subgraph);
      }
      if (!made_up) keys.emplace_back(key);
    }
    if (options.signature != nullptr) return no_signature(options.signature, keys);
    return fail(EDGE_BAD_INPUT,
                "no signature of %s is for its primary subgraph, and LiteRT runs signatures only: "
                "choose one with --signature: %s",
                options.model_path, quoted(keys).c_str());
  }

  static Status unreadable(const edge_options &options) {
    return fail(EDGE_BAD_MODEL, "the runtime can't read the signatures of %s", options.model_path);
  }

  Status read_ports(const edge_options &options, litert::Signature *signature,
                    litert::Subgraph *subgraph) {
    const bool named = options.signature != nullptr;
    EDGE_TRY(read_side(options, subgraph, api_.input_count, api_.input, &inputs_));
    EDGE_TRY(read_side(options, subgraph, api_.output_count, api_.output, &outputs_));
    if (!named) return Status();
    EDGE_TRY(rename(options, signature, api_.signature_input_count, api_.signature_input_name,
                    api_.signature_input, &inputs_));
    return rename(options, signature, api_.signature_output_count, api_.signature_output_name,
                  api_.signature_output, &outputs_);
  }

  Status read_side(const edge_options &options, litert::Subgraph *subgraph,
                   litert::Result (*count_of)(litert::Subgraph *, size_t *),
                   litert::Result (*tensor_of)(litert::Subgraph *, size_t, litert::Tensor **),
                   std::vector<Port> *ports) {
    size_t count = 0;
    if (count_of(subgraph, &count) != 0) return unreadable(options);
    ports->resize(count);
    for (size_t i = 0; i < count; ++i) {
      Port &port = (*ports)[i];
      if (tensor_of(subgraph, i, &port.tensor) != 0) return unreadable(options);
      EDGE_TRY(describe(port.tensor, &port.described));
    }
    return Status();
  }

  // By the tensors, because a signature lists its names in an order of its own.
  static Status rename(const edge_options &options, litert::Signature *signature,
                       litert::Result (*count_of)(litert::Signature *, size_t *),
                       litert::Result (*name_of)(litert::Signature *, size_t, const char **),
                       litert::Result (*tensor_of)(litert::Signature *, size_t, litert::Tensor **),
                       std::vector<Port> *ports) {
    size_t count = 0;
    if (count_of(signature, &count) != 0) return unreadable(options);
    for (size_t i = 0; i < count; ++i) {
      const char *name = nullptr;
      litert::Tensor *tensor = nullptr;
      if (name_of(signature, i, &name) != 0 || tensor_of(signature, i, &tensor) != 0) {
        return unreadable(options);
      }
      for (Port &port : *ports) {
        if (port.tensor == tensor) port.described.name = name;
      }
    }
    return Status();
  }

  Status describe(litert::Tensor *tensor, edge_tensor *result) const {
    int type_id = 0, quantization_id = 0;
    litert::RankedType type{};
    if (api_.tensor_name(tensor, &result->name) != 0 || result->name == nullptr) result->name = "";
    if (api_.tensor_type_id(tensor, &type_id) != 0 || type_id != litert::type_ranked ||
        api_.tensor_type(tensor, &type) != 0) {
      return fail(EDGE_BAD_MODEL, "tensor '%s' has no fixed number of axes", result->name);
    }
    result->dtype = type.element_type;
    set_dims(type.layout, result);
    litert::Quantization quantization{};
    if (api_.tensor_quantization_id(tensor, &quantization_id) == 0 &&
        quantization_id == litert::quantization_per_tensor &&
        api_.tensor_quantization(tensor, &quantization) == 0) {
      result->scale = quantization.scale;
      result->zero_point = static_cast<int32_t>(quantization.zero_point);
    }
    return Status();
  }

  static void set_dims(const litert::Layout &layout, edge_tensor *tensor) {
    tensor->rank = layout.rank;
    std::copy(layout.dims, layout.dims + std::min<int32_t>(tensor->rank, EDGE_MAX_RANK),
              tensor->dims);
  }

  Status compile(const edge_options &options, bool xnnpack) {
    observer_ = std::make_unique<Observer>(&api_, &ops_);
    observer_->begin();
    const Status compiled = step(EDGE_COLD_CREATE, "compiling the model", [&] {
      EDGE_TRY(make_options(options.threads));
      if (xnnpack && !observer_->join(environment_)) {
        warnings.push_back("can't see what XNNPACK takes");
      }
      ops_.forget_failure();
      if (ops_.loaded() && !observer_->join_ops(environment_)) {
        return fail(EDGE_RUNTIME, "the runtime doesn't take the kernels of %s", options.ops_path);
      }
      return api_.create_compiled(environment_, model_, options_, &compiled_) == 0
                 ? Status()
                 : fail(EDGE_RUNTIME, "the runtime can't run %s", options.model_path);
    });
    Observer::end();
    if (compiled.ok() && xnnpack) count(observer_->plans());
    return compiled;
  }

  Status make_options(int32_t threads) {
    litert::OpaqueOptions *cpu = nullptr;
    std::unique_ptr<char, Free> toml(static_cast<char *>(malloc(32)));
    if (toml == nullptr) return fail(EDGE_NO_MEMORY, "no memory for the runtime's options");
    snprintf(toml.get(), 32, "num_threads = %d\n", threads);
    if (api_.create_options(&options_) != 0 ||
        api_.options_set_hardware(options_, litert::hardware_cpu) != 0 ||
        api_.create_opaque("xnnpack", toml.get(), free, &cpu) != 0) {
      return fail(EDGE_RUNTIME, "the runtime does not take its options");
    }
    static_cast<void>(toml.release());
    return api_.options_add_opaque(options_, cpu) == 0
               ? Status()
               : fail(EDGE_RUNTIME, "the runtime does not take the number of threads");
  }

  // What is missing from the plans was taken; what the file does not have is a delegate's.
  void count(const std::vector<std::vector<int32_t>> &plans) {
    delegation.applied = 1;
    delegates = {"XNNPACK"};
    size_t subgraphs = 0;
    static_cast<void>(api_.subgraph_count(model_, &subgraphs));
    // Subgraphs that only others call may be passed over: then which is which is not known.
    nodes_known = plans.size() == subgraphs;
    if (!nodes_known) {
      delegation = {1, -1, -1, -1};
      return;
    }
    for (size_t i = 0; i < subgraphs; ++i) {
      litert::Subgraph *subgraph = nullptr;
      size_t ops = 0;
      static_cast<void>(api_.subgraph(model_, i, &subgraph) == 0 &&
                        api_.op_count(subgraph, &ops) == 0);
      const auto total = static_cast<int32_t>(ops);
      delegation.nodes_total += total;
      for (int32_t node = 0; node < total; ++node) {
        if (std::find(plans[i].begin(), plans[i].end(), node) != plans[i].end()) continue;
        nodes.push_back({static_cast<int32_t>(i), node});
      }
      delegation.partitions += static_cast<int32_t>(
          std::count_if(plans[i].begin(), plans[i].end(), [&](int32_t n) { return n >= total; }));
    }
    delegation.nodes_delegated = static_cast<int32_t>(nodes.size());
  }

  Status allocate(const edge_options &options) {
    // Those are refused in a moment, by the model that owns the engine.
    for (const std::vector<Port> *ports : {&inputs_, &outputs_}) {
      for (const Port &port : *ports) {
        if (port.described.dtype == EDGE_STRING) return Status();
      }
    }
    EDGE_TRY(choose_shapes(options));
    return bind_all();
  }

  // For the shapes that are wanted.
  Status bind_all() {
    EDGE_TRY(resize_inputs());
    std::vector<litert::Layout> layouts(outputs_.size());
    if (!outputs_.empty() &&
        api_.output_layouts(compiled_, signature_, outputs_.size(), layouts.data(), true) != 0) {
      return refuse_shapes(path_.c_str(), shapes_);
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      edge_tensor &tensor = outputs_[i].described;
      if (std::any_of(tensor.dims, tensor.dims + tensor.rank, [](int32_t n) { return n < 0; })) {
        open_output_hint_ = std::string("; if the shape of output '") + tensor.name +
                            "' depends on what the inputs hold, take --engine tflite";
      }
      set_dims(layouts[i], &tensor);
    }
    for (size_t i = 0; i < inputs_.size(); ++i) {
      EDGE_TRY(bind(&inputs_[i], i, api_.input_requirements, &input_buffers_));
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      EDGE_TRY(bind(&outputs_[i], i, api_.output_requirements, &output_buffers_));
    }
    return Status();
  }

  void unbind() {
    for (litert::TensorBuffer *buffer : input_buffers_) api_.destroy_buffer(buffer);
    for (litert::TensorBuffer *buffer : output_buffers_) api_.destroy_buffer(buffer);
    input_buffers_.clear();
    output_buffers_.clear();
    for (std::vector<Port> *ports : {&inputs_, &outputs_}) {
      for (Port &port : *ports) port.memory = nullptr;
    }
    memories_.clear();
  }

  Status choose_shapes(const edge_options &options) {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const edge_tensor &tensor = inputs_[i].described;
      litert::Layout layout{};
      if (api_.input_layout(compiled_, signature_, i, &layout) != 0) {
        return fail(EDGE_RUNTIME, "the runtime does not tell the shape of input '%s'", tensor.name);
      }
      shapes_.push_back({tensor.name,
                         {layout.dims, layout.dims + layout.rank},
                         {tensor.dims, tensor.dims + tensor.rank},
                         {}});
    }
    return edge::choose_shapes(options, &shapes_, &warnings);
  }

  Status resize_inputs() {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const InputShape &input = shapes_[i];
      edge_tensor &tensor = inputs_[i].described;
      tensor.rank = static_cast<int32_t>(input.wanted.size());
      std::copy(input.wanted.begin(), input.wanted.end(), tensor.dims);
      if (input.wanted == input.present) continue;
      if (api_.resize_input(compiled_, signature_, i, input.wanted.data(), input.wanted.size()) !=
          0) {
        return refuse_shape(input);
      }
    }
    return Status();
  }

  Status bind(Port *port, size_t index,
              litert::Result (*requirements_of)(litert::CompiledModel *, size_t, size_t,
                                                litert::BufferRequirements **),
              std::vector<litert::TensorBuffer *> *buffers) {
    edge_tensor &tensor = port->described;
    litert::BufferRequirements *requirements = nullptr;
    size_t bytes = 0;
    if (requirements_of(compiled_, signature_, index, &requirements) != 0 ||
        api_.requirements_bytes(requirements, &bytes) != 0) {
      return fail(EDGE_RUNTIME, "the runtime does not tell the size of '%s'", tensor.name);
    }
    tensor.size_bytes = bytes;
    port->memory = memory_of(port->tensor, bytes);
    if (port->memory == nullptr) {
      return fail(EDGE_NO_MEMORY, "no memory for '%s' of %zu bytes", tensor.name, bytes);
    }
    litert::RankedType type{};
    type.element_type = tensor.dtype;
    type.layout.rank = static_cast<uint8_t>(tensor.rank & 0x7f);
    std::copy(tensor.dims, tensor.dims + tensor.rank, type.layout.dims);
    litert::TensorBuffer *buffer = nullptr;
    if (api_.create_buffer(&type, port->memory, bytes, nullptr, &buffer) != 0) {
      return fail(EDGE_RUNTIME, "the runtime takes no buffer for '%s'", tensor.name);
    }
    buffers->push_back(buffer);
    return Status();
  }

  // Zeros, since whatever was in memory may be out of range for a lookup. A tensor that is both an
  // input and an output has one memory, or the runtime would read where nothing was written.
  void *memory_of(litert::Tensor *tensor, size_t bytes) {
    for (const std::vector<Port> *ports : {&inputs_, &outputs_}) {
      for (const Port &port : *ports) {
        if (port.tensor == tensor && port.memory != nullptr) return port.memory;
      }
    }
    // Vector kernels read up to a vector beyond the end.
    const size_t whole = (bytes / litert::buffer_alignment + 2) * litert::buffer_alignment;
    void *memory = nullptr;
    if (posix_memalign(&memory, litert::buffer_alignment, whole) != 0) return nullptr;
    memset(memory, 0, whole);
    memories_.emplace_back(memory);
    return memory;
  }

  Library library_{"take libLiteRt.so of ai-edge-litert 2.3.0"};
  litert::Api api_{};
  CustomOps ops_;
  litert::Environment *environment_ = nullptr;
  litert::Model *model_ = nullptr;
  litert::Options *options_ = nullptr;
  litert::CompiledModel *compiled_ = nullptr;
  std::unique_ptr<Observer> observer_;
  size_t signature_ = 0;
  std::string path_;
  std::string open_output_hint_;  // LiteRT takes no output whose shape only invoke knows
  std::vector<Port> inputs_;      // both in the order of the subgraph
  std::vector<Port> outputs_;
  std::vector<InputShape> shapes_;  // of the inputs
  std::vector<std::unique_ptr<void, Free>> memories_;
  std::vector<litert::TensorBuffer *> input_buffers_;
  std::vector<litert::TensorBuffer *> output_buffers_;
};

}  // namespace

Status open_litert(const edge_options &options, std::unique_ptr<Engine> *engine) {
  auto opened = std::make_unique<LitertEngine>();
  EDGE_TRY(opened->open(options));
  *engine = std::move(opened);
  return Status();
}

}  // namespace edge
