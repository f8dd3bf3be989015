#include "engine_tensorflow.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "capture.h"
#include "library.h"
#include "profiler.h"
#include "saved_model.h"
#include "shape.h"
#include "tensorflow_c.h"

namespace edge {
namespace {

constexpr const char *default_signature = "serving_default";

Status load_api(const Library &library, tensorflow::Api *api) {
  EDGE_TRY(library.require("TF_Version", &api->version));
  EDGE_TRY(library.require("TF_NewStatus", &api->create_status));
  EDGE_TRY(library.require("TF_DeleteStatus", &api->destroy_status));
  EDGE_TRY(library.require("TF_GetCode", &api->code));
  EDGE_TRY(library.require("TF_Message", &api->message));
  EDGE_TRY(library.require("TF_NewBuffer", &api->create_buffer));
  EDGE_TRY(library.require("TF_DeleteBuffer", &api->destroy_buffer));
  EDGE_TRY(library.require("TF_NewGraph", &api->create_graph));
  EDGE_TRY(library.require("TF_DeleteGraph", &api->destroy_graph));
  EDGE_TRY(library.require("TF_GraphOperationByName", &api->operation));
  EDGE_TRY(library.require("TF_NewSessionOptions", &api->create_options));
  EDGE_TRY(library.require("TF_DeleteSessionOptions", &api->destroy_options));
  EDGE_TRY(library.require("TF_SetConfig", &api->configure));
  EDGE_TRY(library.require("TF_LoadSessionFromSavedModel", &api->load_saved_model));
  EDGE_TRY(library.require("TF_CloseSession", &api->close_session));
  EDGE_TRY(library.require("TF_DeleteSession", &api->destroy_session));
  EDGE_TRY(library.require("TF_SessionRun", &api->run));
  EDGE_TRY(library.require("TF_AllocateTensor", &api->create_tensor));
  EDGE_TRY(library.require("TF_DeleteTensor", &api->destroy_tensor));
  EDGE_TRY(library.require("TF_NumDims", &api->rank));
  EDGE_TRY(library.require("TF_Dim", &api->axis));
  EDGE_TRY(library.require("TF_TensorByteSize", &api->size_bytes));
  return library.require("TF_TensorData", &api->data);
}

// TensorFlow's number of a type, edge's, and bytes of an element.
struct Dtype {
  int32_t tensorflow;
  edge_dtype edge;
  uint32_t bytes;
};
constexpr Dtype dtypes[] = {
    {1, EDGE_FLOAT32, 4},  {2, EDGE_FLOAT64, 8}, {3, EDGE_INT32, 4},   {4, EDGE_UINT8, 1},
    {5, EDGE_INT16, 2},    {6, EDGE_INT8, 1},    {7, EDGE_STRING, 0},  {8, EDGE_COMPLEX64, 8},
    {9, EDGE_INT64, 8},    {10, EDGE_BOOL, 1},   {17, EDGE_UINT16, 2}, {18, EDGE_COMPLEX128, 16},
    {19, EDGE_FLOAT16, 2}, {22, EDGE_UINT32, 4}, {23, EDGE_UINT64, 8},
};

Dtype dtype_of(int32_t number) {
  for (const Dtype &dtype : dtypes) {
    if (dtype.tensorflow == number) return dtype;
  }
  return {number, EDGE_NOTYPE, 0};
}

// An input or output of the signature.
struct Port {
  SignatureTensor of;
  edge_tensor described{};
  tensorflow::Tensor *tensor = nullptr;  // an input's own; an output's since the last invoke
};

class TensorflowEngine final : public Engine {
 public:
  ~TensorflowEngine() override {
    const StderrCapture capture;
    for (std::vector<Port> *ports : {&inputs_, &outputs_}) {
      for (Port &port : *ports) {
        if (port.tensor != nullptr) api_.destroy_tensor(port.tensor);
      }
    }
    if (session_ != nullptr) {
      api_.close_session(session_, status_);
      api_.destroy_session(session_, status_);
    }
    if (graph_ != nullptr) api_.destroy_graph(graph_);
    if (status_ != nullptr) api_.destroy_status(status_);
  }

  Status open(const edge_options &options) {
    StderrCapture capture;
    const Status status = open_steps(options);
    runtime_log = capture.finish();
    return status;
  }

  int32_t input_count() const override { return static_cast<int32_t>(inputs_.size()); }
  int32_t output_count() const override { return static_cast<int32_t>(outputs_.size()); }

  Status input(int32_t index, edge_tensor *tensor) const override {
    *tensor = inputs_[static_cast<size_t>(index)].described;
    return Status();
  }

  // Before the first invoke, as the signature has it: only running tells more.
  Status output(int32_t index, edge_tensor *tensor) const override {
    const Port &port = outputs_[static_cast<size_t>(index)];
    *tensor = port.described;
    if (port.tensor == nullptr) return Status();
    const int rank = api_.rank(port.tensor);
    if (rank > EDGE_MAX_RANK) return too_many_axes("output", port.of.name, rank);
    tensor->rank = rank;
    for (int i = 0; i < rank; ++i)
      tensor->dims[i] = static_cast<int32_t>(api_.axis(port.tensor, i));
    tensor->size_bytes = api_.size_bytes(port.tensor);
    return Status();
  }

  Status set_input(int32_t index, const void *data, uint64_t size_bytes) override {
    const Port &port = inputs_[static_cast<size_t>(index)];
    EDGE_TRY(check_size(port.described.name, port.described.size_bytes, size_bytes));
    if (size_bytes != 0) memcpy(api_.data(port.tensor), data, size_bytes);
    return Status();
  }

  Status get_output(int32_t index, void *data, uint64_t size_bytes) override {
    const Port &port = outputs_[static_cast<size_t>(index)];
    if (port.tensor == nullptr) {
      return fail(EDGE_RUNTIME, "output '%s' is there only after the model ran",
                  port.of.name.c_str());
    }
    EDGE_TRY(check_size(port.described.name, api_.size_bytes(port.tensor), size_bytes));
    if (size_bytes != 0) memcpy(data, api_.data(port.tensor), size_bytes);
    return Status();
  }

  // Outputs are tensors of TensorFlow's own, new ones each time: making and freeing them is part of
  // what a call costs.
  int32_t invoke() override {
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (results_[i] != nullptr) api_.destroy_tensor(results_[i]);
      results_[i] = outputs_[i].tensor = nullptr;
    }
    api_.run(session_, nullptr, feeds_.data(), values_.data(), static_cast<int>(feeds_.size()),
             fetches_.data(), results_.data(), static_cast<int>(fetches_.size()), nullptr, 0,
             nullptr, status_);
    for (size_t i = 0; i < outputs_.size(); ++i) outputs_[i].tensor = results_[i];
    if (__builtin_expect(api_.code(status_) == 0, 1)) return EDGE_OK;
    return failed(EDGE_RUNTIME, "the runtime failed to invoke the model").code();
  }

  Status resize(int32_t batch) override {
    EDGE_TRY(choose_batch(batch, &shapes_));
    return make_inputs();
  }

 private:
  Status failed(edge_status code, const char *what) const {
    const std::string message = api_.message(status_);
    return fail(code, "%s: %s", what, message.c_str());
  }

  static Status too_many_axes(const char *what, const std::string &name, int rank) {
    return fail(EDGE_BAD_INPUT, "%s '%s' has %d axes; edge knows up to %d", what, name.c_str(),
                rank, EDGE_MAX_RANK);
  }

  Status open_steps(const edge_options &options) {
    if (options.delegate_path != nullptr) {
      return fail(EDGE_USAGE, "external delegates are for --engine tflite; TensorFlow takes none");
    }
    if (wanted_profiler() != nullptr) {
      return fail(EDGE_USAGE,
                  "there is no time per operator with --engine tensorflow: take --engine tflite");
    }
    EDGE_TRY(step(EDGE_COLD_LIBRARY, "being loaded", [&] {
      EDGE_TRY(library_.open(options.library_path));
      return load_api(library_, &api_);
    }));
    runtime_version = api_.version();
    status_ = api_.create_status();
    graph_ = api_.create_graph();
    std::vector<Signature> signatures;
    EDGE_TRY(
        step(EDGE_COLD_MODEL, "loading the model", [&] { return load(options, &signatures); }));
    EDGE_TRY(choose_signature(options, signatures));
    return step(EDGE_COLD_ALLOCATE, "allocating tensors", [&] { return allocate(options); });
  }

  Status load(const edge_options &options, std::vector<Signature> *signatures) {
    const auto destroy_options = [this](tensorflow::SessionOptions *o) { api_.destroy_options(o); };
    const std::unique_ptr<tensorflow::SessionOptions, decltype(destroy_options)> session(
        api_.create_options(), destroy_options);
    // A ConfigProto: intra_op_parallelism_threads (2) and inter_op_parallelism_threads (5).
    std::string config;
    for (const char tag : {'\x10', '\x28'}) {
      config += tag;
      for (auto left = static_cast<uint32_t>(options.threads);; left >>= 7) {
        config += static_cast<char>((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        if (left <= 0x7f) break;
      }
    }
    api_.configure(session.get(), config.data(), config.size(), status_);
    if (api_.code(status_) != 0) {
      return failed(EDGE_RUNTIME, "the runtime does not take the number of threads");
    }
    const auto destroy_buffer = [this](tensorflow::Buffer *b) { api_.destroy_buffer(b); };
    const std::unique_ptr<tensorflow::Buffer, decltype(destroy_buffer)> meta_graph(
        api_.create_buffer(), destroy_buffer);
    const char *const tags[] = {"serve"};
    session_ = api_.load_saved_model(session.get(), nullptr, options.model_path, tags, 1, graph_,
                                     meta_graph.get(), status_);
    if (session_ == nullptr || api_.code(status_) != 0) {
      const std::string what = std::string("the runtime can't load ") + options.model_path;
      return failed(EDGE_BAD_MODEL, what.c_str());
    }
    return read_signatures(static_cast<const uint8_t *>(meta_graph->data), meta_graph->length,
                           signatures);
  }

  Status choose_signature(const edge_options &options, const std::vector<Signature> &signatures) {
    const std::string key = options.signature == nullptr ? default_signature : options.signature;
    std::vector<std::string> known;
    for (const Signature &signature : signatures) {
      // What Keras and TensorFlow keep for themselves has a name in underscores.
      if (signature.key.compare(0, 2, "__") != 0) known.push_back(signature.key);
      if (signature.key != key) continue;
      EDGE_TRY(find(signature.inputs, &inputs_, &feeds_));
      return find(signature.outputs, &outputs_, &fetches_);
    }
    return no_signature(key.c_str(), known);
  }

  // The nodes of the graph that a signature names.
  Status find(const std::vector<SignatureTensor> &tensors, std::vector<Port> *ports,
              std::vector<tensorflow::Output> *nodes) {
    for (const SignatureTensor &tensor : tensors) {
      const size_t colon = tensor.node.rfind(':');
      const std::string node = tensor.node.substr(0, colon);
      const int index = colon == std::string::npos ? 0 : atoi(tensor.node.c_str() + colon + 1);
      tensorflow::Operation *operation = api_.operation(graph_, node.c_str());
      if (operation == nullptr || index < 0) {
        return fail(EDGE_BAD_MODEL, "the SavedModel has no node '%s', which its '%s' names",
                    tensor.node.c_str(), tensor.name.c_str());
      }
      nodes->push_back({operation, index});
      ports->emplace_back();
      ports->back().of = tensor;
    }
    return Status();
  }

  Status allocate(const edge_options &options) {
    for (const Port &port : inputs_) {
      const SignatureTensor &of = port.of;
      if (of.unknown_rank) {
        return fail(EDGE_BAD_INPUT, "input '%s' has any number of axes: export the model with some",
                    of.name.c_str());
      }
      if (of.dims.size() > EDGE_MAX_RANK) {
        return too_many_axes("input", of.name, static_cast<int>(of.dims.size()));
      }
      std::vector<int32_t> open(of.dims.begin(), of.dims.end());
      // The batch is open in every SavedModel: 1 is nothing to warn of.
      if (!open.empty() && open[0] < 0) open[0] = 1;
      std::vector<int32_t> present = open;
      for (int32_t &axis : present) axis = axis < 0 ? 1 : axis;
      shapes_.push_back({of.name.c_str(), present, open, {}});
    }
    EDGE_TRY(choose_shapes(options, &shapes_, &warnings));
    EDGE_TRY(make_inputs());
    for (Port &port : outputs_) {
      std::vector<int32_t> dims(port.of.dims.begin(), port.of.dims.end());
      if (dims.size() > EDGE_MAX_RANK) {
        return too_many_axes("output", port.of.name, static_cast<int>(dims.size()));
      }
      for (int32_t &axis : dims) axis = axis < 0 ? 1 : axis;
      describe(port.of, dims, &port.described);
    }
    results_.resize(outputs_.size());
    return Status();
  }

  // Tensors of the shapes that are wanted.
  Status make_inputs() {
    values_.clear();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      Port &port = inputs_[i];
      const InputShape &shape = shapes_[i];
      for (size_t axis = 0; axis < shape.wanted.size(); ++axis) {
        const int64_t exported = port.of.dims[axis];
        if (exported >= 0 && exported != shape.wanted[axis]) return refuse_shape(shape);
      }
      describe(port.of, shape.wanted, &port.described);
      if (port.tensor != nullptr) api_.destroy_tensor(std::exchange(port.tensor, nullptr));
      const std::vector<int64_t> dims(shape.wanted.begin(), shape.wanted.end());
      port.tensor = api_.create_tensor(port.of.dtype, dims.data(), static_cast<int>(dims.size()),
                                       static_cast<size_t>(port.described.size_bytes));
      if (port.tensor == nullptr) {
        return fail(EDGE_NO_MEMORY, "no memory for input '%s'", port.of.name.c_str());
      }
      memset(api_.data(port.tensor), 0, static_cast<size_t>(port.described.size_bytes));
      values_.push_back(port.tensor);
    }
    return Status();
  }

  static void describe(const SignatureTensor &of, const std::vector<int32_t> &dims,
                       edge_tensor *tensor) {
    const Dtype dtype = dtype_of(of.dtype);
    tensor->name = of.name.c_str();
    tensor->dtype = dtype.edge;
    tensor->rank = static_cast<int32_t>(dims.size());
    std::copy(dims.begin(), dims.end(), tensor->dims);
    tensor->size_bytes = dtype.bytes;
    for (const int32_t axis : dims) tensor->size_bytes *= static_cast<uint64_t>(axis);
  }

  Library library_{"take libtensorflow_cc.so.2 of tensorflow 2.20.0"};
  tensorflow::Api api_{};
  tensorflow::Status *status_ = nullptr;
  tensorflow::Graph *graph_ = nullptr;
  tensorflow::Session *session_ = nullptr;
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  std::vector<InputShape> shapes_;  // of the inputs
  std::vector<tensorflow::Output> feeds_;
  std::vector<tensorflow::Output> fetches_;
  std::vector<tensorflow::Tensor *> values_;
  std::vector<tensorflow::Tensor *> results_;
};

}  // namespace

Status check_saved_model(const char *folder) {
  const std::string graph = std::string(folder) + "/saved_model.pb";
  if (access(graph.c_str(), R_OK) == 0) return Status();
  return fail(access(folder, F_OK) == 0 ? EDGE_BAD_MODEL : EDGE_NO_FILE,
              "%s is no SavedModel: it has no saved_model.pb", folder);
}

Status open_tensorflow(const edge_options &options, std::unique_ptr<Engine> *engine) {
  auto opened = std::make_unique<TensorflowEngine>();
  EDGE_TRY(opened->open(options));
  *engine = std::move(opened);
  return Status();
}

}  // namespace edge
