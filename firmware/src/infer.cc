#include "infer.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>

#include "process.h"

namespace edge {
namespace {

constexpr const char *help = R"(usage: edge-run infer --lib LIBRARY --model MODEL [flags]

Runs a model once, or once per sample, and prints a report as one JSON object.

  --lib LIBRARY        the runtime, a shared library that offers the TfLite C API
  --model MODEL        the .tflite file
  --input FILE         arrays for the inputs: an .npz with one array per input tensor, by name
  --input NAME=FILE    one .npy for the input tensor NAME; may be given several times
                       (without --input the inputs are zeros)
  --each               the first axis of every array counts samples: run each, join the outputs
  --output FILE        write the outputs as an .npz, by tensor name
  --threads N          threads for the runtime (1)
  --no-xnnpack         built-in kernels only, no XNNPACK delegate

Arrays have exactly the dtype and shape of their tensor; nothing is converted. An archive with a
single array fits a model with a single input under any name. Save with numpy's np.savez.
)";

std::vector<int64_t> shape_of(const edge_tensor &tensor) {
  return std::vector<int64_t>(tensor.dims, tensor.dims + tensor.rank);
}

std::string names_of(const std::vector<TensorInfo> &tensors) {
  std::string text;
  for (const TensorInfo &each : tensors) {
    if (!text.empty()) text += ", ";
    text += "'" + each.name + "'";
  }
  return text;
}

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

// The outputs of all runs, joined along the first axis.
class OutputArrays {
 public:
  Status add(edge_model *model) {
    const int32_t count = edge_model_output_count(model);
    outputs_.resize(static_cast<size_t>(count));
    for (int32_t i = 0; i < count; ++i) {
      Output &output = outputs_[static_cast<size_t>(i)];
      edge_tensor tensor;
      EDGE_TRY(Status(edge_model_output(model, i, &tensor)));
      const std::vector<int64_t> shape = shape_of(tensor);
      if (runs_ == 0) {
        output.name = tensor.name;
        output.dtype = tensor.dtype;
        output.shape = shape;
      } else if (shape != output.shape) {
        return fail(EDGE_RUNTIME, "output '%s' changed its shape between samples from %s to %s",
                    tensor.name, shape_text(output.shape).c_str(), shape_text(shape).c_str());
      }
      const size_t at = output.bytes.size();
      output.bytes.resize(at + tensor.size_bytes);
      EDGE_TRY(
          Status(edge_model_get_output(model, i, output.bytes.data() + at, tensor.size_bytes)));
    }
    ++runs_;
    return Status();
  }

  Status write(const char *path, bool each) {
    std::vector<NamedArray> arrays;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const Output &output = outputs_[i];
      std::vector<int64_t> shape = output.shape;
      if (each) {
        if (shape.empty()) {
          shape.push_back(runs_);
        } else {
          shape[0] *= runs_;
        }
      }
      std::string name = output.name.empty() ? "output_" + std::to_string(i) : output.name;
      // Two outputs may be the same tensor; an archive has every name once.
      for (size_t before = 0; before < i; ++before) {
        if (arrays[before].name == name) name += "_" + std::to_string(i);
      }
      arrays.push_back({name, {output.dtype, shape, output.bytes.data(), output.bytes.size()}});
    }
    return write_npz(path, arrays);
  }

 private:
  struct Output {
    std::string name;
    int32_t dtype = EDGE_NOTYPE;
    std::vector<int64_t> shape;
    std::vector<uint8_t> bytes;
  };
  std::vector<Output> outputs_;
  int64_t runs_ = 0;
};

Status infer(const ModelFlags &flags, bool each, const std::string &output) {
  if (each && flags.inputs.empty()) {
    return fail(EDGE_USAGE, "infer: --each needs --input, whose first axis it counts");
  }
  ModelHandle model;
  EDGE_TRY(flags.open("infer", &model));
  std::vector<TensorInfo> tensors;
  EDGE_TRY(read_inputs_info(model.get(), &tensors));

  InputArrays inputs;
  if (!flags.inputs.empty()) EDGE_TRY(inputs.open(flags.inputs, tensors, each));
  OutputArrays outputs;
  for (uint64_t run = 0; run < inputs.runs(); ++run) {
    // Opening left zeros in the inputs; but a runtime may use their memory while it runs.
    if (!flags.inputs.empty()) EDGE_TRY(inputs.set(model.get(), run));
    EDGE_TRY(Status(edge_model_invoke(model.get())));
    if (!output.empty()) EDGE_TRY(outputs.add(model.get()));
  }
  if (!output.empty()) EDGE_TRY(outputs.write(output.c_str(), each));

  Json json;
  json.begin_object();
  EDGE_TRY(report_model(flags, model.get(), {}, &json));
  json.key("runs").number(inputs.runs());
  json.end_object();
  return json.print();
}

}  // namespace

void ModelFlags::declare(Flags *flags) {
  flags->text("--lib", &library);
  flags->text("--model", &model);
  flags->texts("--input", &inputs);
  flags->number("--threads", 1, 1024, &threads);
  flags->on("--no-xnnpack", &no_xnnpack);
}

Status ModelFlags::open(const char *verb, ModelHandle *opened) const {
  if (library.empty()) return fail(EDGE_USAGE, "%s: --lib is missing: which runtime?", verb);
  if (model.empty()) return fail(EDGE_USAGE, "%s: --model is missing: which .tflite file?", verb);
  edge_options options = {};
  options.library_path = library.c_str();
  options.model_path = model.c_str();
  options.threads = static_cast<int32_t>(threads);
  options.use_xnnpack = no_xnnpack ? 0 : 1;
  edge_model *handle = nullptr;
  EDGE_TRY(Status(edge_model_open(&options, &handle)));
  opened->reset(handle);
  return Status();
}

Status read_inputs_info(const edge_model *model, std::vector<TensorInfo> *infos) {
  for (int32_t i = 0; i < edge_model_input_count(model); ++i) {
    edge_tensor tensor;
    EDGE_TRY(Status(edge_model_input(model, i, &tensor)));
    infos->push_back({tensor.name, tensor, shape_of(tensor)});
  }
  return Status();
}

Status read_outputs_info(const edge_model *model, std::vector<TensorInfo> *infos) {
  for (int32_t i = 0; i < edge_model_output_count(model); ++i) {
    edge_tensor tensor;
    EDGE_TRY(Status(edge_model_output(model, i, &tensor)));
    infos->push_back({tensor.name, tensor, shape_of(tensor)});
  }
  return Status();
}

Status InputArrays::open(const std::vector<std::string> &files,
                         const std::vector<TensorInfo> &tensors, bool each) {
  for (const std::string &text : files) {
    // NAME=FILE, where names may contain anything but "="; a FILE alone may too, if it exists.
    const size_t equals = text.find('=');
    const bool plain = equals == std::string::npos || access(text.c_str(), F_OK) == 0;
    const std::string path = plain ? text : text.substr(equals + 1);
    ArrayFile file;
    EDGE_TRY(file.open(path.c_str()));
    if (!plain && file.is_npz()) {
      return fail(EDGE_USAGE, "--input %s: an .npz names its arrays itself; give --input %s",
                  text.c_str(), path.c_str());
    }
    for (NamedArray array : file.arrays()) {
      if (!plain) array.name = text.substr(0, equals);
      named_.push_back(!plain || file.is_npz());
      given_.push_back(std::move(array));
    }
    files_.push_back(std::move(file));
  }
  return match(tensors, each);
}

Status InputArrays::match(const std::vector<TensorInfo> &tensors, bool each) {
  by_index_.assign(tensors.size(), Array());
  std::vector<bool> filled(tensors.size(), false);
  for (size_t i = 0; i < given_.size(); ++i) {
    NamedArray &given = given_[i];
    auto found = std::find_if(tensors.begin(), tensors.end(),
                              [&](const TensorInfo &info) { return info.name == given.name; });
    if (found == tensors.end() && tensors.size() == 1 && given_.size() == 1) {
      found = tensors.begin();
    }
    if (found == tensors.end()) {
      return fail(EDGE_BAD_INPUT, "%s; the model's inputs are %s",
                  named_[i] ? ("there is no input '" + given.name + "'").c_str()
                            : "an .npy alone fits a model with one input: give --input NAME=FILE",
                  names_of(tensors).c_str());
    }
    const size_t index = static_cast<size_t>(found - tensors.begin());
    if (filled[index]) {
      return fail(EDGE_BAD_INPUT, "input '%s' is given twice", found->name.c_str());
    }
    filled[index] = true;
    by_index_[index] = given.array;
  }

  bool have_runs = false;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo &info = tensors[i];
    const Array &array = by_index_[i];
    if (!filled[i]) {
      return fail(EDGE_BAD_INPUT, "no array for input '%s' (%s %s); the model's inputs are %s",
                  info.name.c_str(), dtype_name(info.tensor.dtype), shape_text(info.shape).c_str(),
                  names_of(tensors).c_str());
    }
    bool fits = array.dtype == info.tensor.dtype;
    uint64_t runs = 1;
    if (!each) {
      fits = fits && array.shape == info.shape;
    } else {
      // A tensor without axes or of no samples can't be counted.
      fits = fits && !info.shape.empty() && info.shape[0] > 0 &&
             array.shape.size() == info.shape.size() &&
             std::equal(array.shape.begin() + 1, array.shape.end(), info.shape.begin() + 1) &&
             array.shape[0] % info.shape[0] == 0;
      if (fits) runs = static_cast<uint64_t>(array.shape[0] / info.shape[0]);
    }
    if (!fits) {
      std::string expected = shape_text(info.shape);
      if (each && !info.shape.empty()) {
        const size_t first = std::to_string(info.shape[0]).size();
        expected.replace(1, first, info.shape[0] == 1 ? "n" : "n*" + std::to_string(info.shape[0]));
      }
      return fail(EDGE_BAD_INPUT, "input '%s' expects %s %s, got %s %s", info.name.c_str(),
                  dtype_name(info.tensor.dtype), expected.c_str(), dtype_name(array.dtype),
                  shape_text(array.shape).c_str());
    }
    if (have_runs && runs != runs_) {
      return fail(EDGE_BAD_INPUT, "input '%s' has %llu samples, the inputs before it have %llu",
                  info.name.c_str(), static_cast<unsigned long long>(runs),
                  static_cast<unsigned long long>(runs_));
    }
    runs_ = runs;
    have_runs = true;
  }
  if (runs_ == 0) return fail(EDGE_BAD_INPUT, "the input arrays hold no sample");
  return Status();
}

Status InputArrays::set(edge_model *model, uint64_t run) const {
  for (size_t i = 0; i < by_index_.size(); ++i) {
    const uint64_t bytes = by_index_[i].size_bytes / runs_;
    EDGE_TRY(Status(edge_model_set_input(model, static_cast<int32_t>(i),
                                         by_index_[i].data + run * bytes, bytes)));
  }
  return Status();
}

Status report_model(const ModelFlags &flags, const edge_model *model,
                    const std::vector<std::string> &warnings, Json *json) {
  const Engine &engine = *model->engine;
  std::vector<TensorInfo> inputs, outputs;
  EDGE_TRY(read_inputs_info(model, &inputs));
  EDGE_TRY(read_outputs_info(model, &outputs));

  json->key("edge_version").string(EDGE_VERSION);
  json->key("abi_version").integer(EDGE_ABI_VERSION);
  json->key("library").string(flags.library);
  json->key("runtime_version").string(engine.runtime_version);
  json->key("model").string(flags.model);
  json->key("threads").number(flags.threads);
  report_tensors("inputs", inputs, json);
  report_tensors("outputs", outputs, json);

  json->key("delegation").begin_object();
  json->key("applied").boolean(engine.delegation.applied != 0);
  json->key("nodes_total").integer(engine.delegation.nodes_total);
  json->key("nodes_delegated").integer(engine.delegation.nodes_delegated);
  json->key("partitions").integer(engine.delegation.partitions);
  json->end_object();

  constexpr const char *steps[EDGE_COLD_STEPS] = {"library_open_ns", "model_load_ns",
                                                  "interpreter_create_ns", "allocate_tensors_ns",
                                                  "first_invoke_ns"};
  json->key("cold_start").begin_object();
  for (int i = 0; i < EDGE_COLD_STEPS; ++i) {
    json->key(steps[i]).number(engine.cold_start.elapsed_ns[i]);
  }
  json->key("rss_bytes").begin_array();
  for (const uint64_t bytes : engine.cold_start.rss_bytes) json->number(bytes);
  json->end_array();
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
  if (!status.ok()) fprintf(stderr, "edge-run: %s\n", last_error());
  return status.code();
}

int infer_main(int argc, char **argv) {
  ModelFlags model;
  bool each = false, wants_help = false;
  std::string output;
  Flags flags;
  model.declare(&flags);
  flags.on("--each", &each);
  flags.text("--output", &output);
  flags.on("--help", &wants_help);
  const Status parsed = flags.parse(argc, argv);
  if (!parsed.ok()) return exit_with(parsed);
  if (wants_help) {
    fputs(help, stdout);
    return EDGE_OK;
  }
  return exit_with(infer(model, each, output));
}

}  // namespace edge
