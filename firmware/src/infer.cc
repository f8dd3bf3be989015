#include "infer.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>

#include "capture.h"
#include "memory.h"
#include "quantize.h"
#include "shape.h"

namespace edge {
namespace {

constexpr const char *infer_help = R"(usage: edge-run infer --lib LIBRARY --model MODEL [flags]

Runs a model once, or once per sample, and prints a report as one JSON object.

  --input FILE         arrays for the inputs: an .npz with one array per input tensor, by name
  --input NAME=FILE    one .npy for the input tensor NAME; may be given several times
                       (without --input the inputs are zeros; FILE - is standard input)
  --each               the first axis of every array counts samples: run each, join the outputs
  --output FILE        write the outputs as an .npz, by tensor name; with - they follow the report's
                       line on standard output, and nothing else does
  --dequantize         give quantized inputs as real numbers, float32 or float64, and get quantized
                       outputs as float32
  --memory BYTES       take no more memory than that, and be what the kernel ends first if memory
                       runs out
)";

constexpr const char *about_arrays = R"(
Arrays have exactly the dtype and shape of their tensor; nothing is converted unless --dequantize
says so. An archive with a single array fits a model with a single input under any name. Save with
numpy's np.savez.
)";

std::string names_of(const std::vector<TensorInfo> &tensors) {
  std::string text;
  for (const TensorInfo &each : tensors) {
    if (!text.empty()) text += ", ";
    text += "'" + each.name + "'";
  }
  return text;
}

// The outputs of all runs, joined along the first axis.
class OutputArrays {
 public:
  explicit OutputArrays(bool real) : real_(real) {}

  Status add(edge_model *model) {
    const int32_t count = edge_model_output_count(model);
    outputs_.resize(static_cast<size_t>(count));
    for (int32_t i = 0; i < count; ++i) {
      Output &output = outputs_[static_cast<size_t>(i)];
      edge_tensor tensor;
      EDGE_TRY(Status(edge_model_output(model, i, &tensor)));
      const bool real = real_ && is_quantized(tensor);
      const std::vector<int64_t> shape = info_of(tensor).shape;
      if (runs_ == 0) {
        output.name = tensor.name;
        output.dtype = real ? static_cast<int32_t>(EDGE_FLOAT32) : tensor.dtype;
        output.shape = shape;
      } else if (shape != output.shape) {
        return fail(EDGE_RUNTIME,
                    "output '%s' changed its shape between samples from %s to %s: run them one by "
                    "one",
                    tensor.name, shape_text(output.shape).c_str(), shape_text(shape).c_str());
      }
      bytes_.resize(tensor.size_bytes);
      EDGE_TRY(Status(edge_model_get_output(model, i, bytes_.data(), bytes_.size())));
      if (real) dequantize(tensor, bytes_.data(), bytes_.size(), &reals_);
      const std::vector<uint8_t> &got = real ? reals_ : bytes_;
      output.bytes.insert(output.bytes.end(), got.begin(), got.end());
    }
    ++runs_;
    return Status();
  }

  // They point into what this object holds.
  std::vector<NamedArray> joined(bool each) const {
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
    return arrays;
  }

 private:
  struct Output {
    std::string name;
    int32_t dtype = EDGE_NOTYPE;
    std::vector<int64_t> shape;
    std::vector<uint8_t> bytes;
  };
  bool real_;
  std::vector<Output> outputs_;
  std::vector<uint8_t> bytes_;  // of one output of one run
  std::vector<uint8_t> reals_;  // the same, dequantized
  int64_t runs_ = 0;
};

struct InferFlags {
  ModelFlags model;
  std::vector<std::string> inputs;  // x.npz, x.npy or name=x.npy
  std::string output;
  uint64_t memory = 0;
  bool each = false;
  bool real = false;
};

Status invoke(edge_model *model) {
  const RuntimeCall call("invoking the model");
  return Status(edge_model_invoke(model));
}

Status infer(const InferFlags &flags) {
  if (flags.each && flags.inputs.empty()) {
    return fail(EDGE_USAGE, "infer: --each needs --input, whose first axis it counts");
  }
  const bool streamed = flags.output == "-";
  OwnOutput output;
  if (streamed) EDGE_TRY(output.take());
  if (flags.memory != 0) EDGE_TRY(Status(edge_limit_memory(flags.memory, -1)));
  ModelHandle model;
  EDGE_TRY(explain_memory(flags.model.open("infer", &model)));
  std::vector<TensorInfo> tensors;
  EDGE_TRY(read_inputs_info(model.get(), &tensors));

  InputArrays inputs;
  if (!flags.inputs.empty()) {
    EDGE_TRY(inputs.open(flags.inputs, tensors, flags.each, flags.real));
  }
  OutputArrays outputs(flags.real);
  for (uint64_t run = 0; run < inputs.runs(); ++run) {
    // Opening left zeros in the inputs; but a runtime may use their memory while it runs.
    if (!flags.inputs.empty()) EDGE_TRY(inputs.set(model.get(), run));
    EDGE_TRY(explain_memory(invoke(model.get())));
    if (!flags.output.empty()) EDGE_TRY(outputs.add(model.get()));
  }
  if (!flags.output.empty() && !streamed) {
    EDGE_TRY(write_npz(flags.output.c_str(), outputs.joined(flags.each)));
  }

  Json json;
  json.begin_object();
  EDGE_TRY(report_model(flags.model, model.get(), {}, &json));
  json.key("runs").number(inputs.runs());
  json.end_object();
  if (!streamed) return json.print();
  EDGE_TRY(json.print(output.fd()));
  return write_npz(output.fd(), "standard output", outputs.joined(flags.each));
}

}  // namespace

Status InputArrays::open(const std::vector<std::string> &files,
                         const std::vector<TensorInfo> &tensors, bool each, bool real) {
  tensors_ = tensors;
  for (const std::string &text : files) {
    // NAME=FILE, where names may contain anything but "="; a FILE alone may too, if it exists.
    const size_t equals = text.find('=');
    const bool plain = equals == std::string::npos || access(text.c_str(), F_OK) == 0;
    const std::string path = plain ? text : text.substr(equals + 1);
    ArrayFile file;
    if (path == "-") {
      EDGE_TRY(file.read(STDIN_FILENO, "standard input"));
    } else {
      EDGE_TRY(file.open(path.c_str()));
    }
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
  return match(each, real);
}

Status InputArrays::match(bool each, bool real) {
  by_index_.assign(tensors_.size(), Array());
  std::vector<bool> filled(tensors_.size(), false);
  for (size_t i = 0; i < given_.size(); ++i) {
    NamedArray &given = given_[i];
    auto found = std::find_if(tensors_.begin(), tensors_.end(),
                              [&](const TensorInfo &info) { return info.name == given.name; });
    if (found == tensors_.end() && tensors_.size() == 1 && given_.size() == 1) {
      found = tensors_.begin();
    }
    if (found == tensors_.end()) {
      return fail(EDGE_BAD_INPUT, "%s; the model's inputs are %s",
                  named_[i] ? ("there is no input '" + given.name + "'").c_str()
                            : "an .npy alone fits a model with one input: give --input NAME=FILE",
                  names_of(tensors_).c_str());
    }
    const size_t index = static_cast<size_t>(found - tensors_.begin());
    if (filled[index]) {
      return fail(EDGE_BAD_INPUT, "input '%s' is given twice", found->name.c_str());
    }
    filled[index] = true;
    by_index_[index] = given.array;
  }

  bool have_runs = false;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorInfo &info = tensors_[i];
    if (!filled[i]) {
      return fail(EDGE_BAD_INPUT, "no array for input '%s' (%s %s); the model's inputs are %s",
                  info.name.c_str(), dtype_name(info.tensor.dtype), shape_text(info.shape).c_str(),
                  names_of(tensors_).c_str());
    }
    uint64_t runs = 1;
    EDGE_TRY(check(info, by_index_[i], each, real, &runs));
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

// Whether the array is what the tensor takes, and how many runs it is for.
Status InputArrays::check(const TensorInfo &info, const Array &array, bool each, bool real,
                          uint64_t *runs) {
  const bool quantized = real && is_quantized(info.tensor);
  bool fits = quantized ? is_real(array.dtype) : array.dtype == info.tensor.dtype;
  if (!each) {
    fits = fits && array.shape == info.shape;
  } else {
    // A tensor without axes or of no samples can't be counted.
    fits = fits && !info.shape.empty() && info.shape[0] > 0 &&
           array.shape.size() == info.shape.size() &&
           std::equal(array.shape.begin() + 1, array.shape.end(), info.shape.begin() + 1) &&
           array.shape[0] % info.shape[0] == 0;
    if (fits) *runs = static_cast<uint64_t>(array.shape[0] / info.shape[0]);
  }
  if (fits) return Status();
  std::string expected = shape_text(info.shape);
  if (each && !info.shape.empty()) {
    const size_t first = std::to_string(info.shape[0]).size();
    expected.replace(1, first, info.shape[0] == 1 ? "n" : "n*" + std::to_string(info.shape[0]));
  }
  return fail(EDGE_BAD_INPUT, "input '%s' expects %s %s, got %s %s%s", info.name.c_str(),
              quantized ? "float32 or float64" : dtype_name(info.tensor.dtype), expected.c_str(),
              dtype_name(array.dtype), shape_text(array.shape).c_str(),
              !real && is_quantized(info.tensor) && is_real(array.dtype)
                  ? "; --dequantize takes real numbers"
                  : "");
}

Status InputArrays::set(edge_model *model, uint64_t run) {
  for (size_t i = 0; i < by_index_.size(); ++i) {
    const Array &array = by_index_[i];
    const uint8_t *data = array.data + run * (array.size_bytes / runs_);
    uint64_t bytes = array.size_bytes / runs_;
    if (array.dtype != tensors_[i].tensor.dtype) {
      EDGE_TRY(quantize(tensors_[i].tensor, array.dtype, data, bytes / dtype_bytes(array.dtype),
                        &integers_));
      data = integers_.data();
      bytes = integers_.size();
    }
    EDGE_TRY(Status(edge_model_set_input(model, static_cast<int32_t>(i), data, bytes)));
  }
  return Status();
}

int infer_main(int argc, char **argv) {
  InferFlags infer_flags;
  Flags flags;
  infer_flags.model.declare(&flags);
  flags.texts("--input", &infer_flags.inputs);
  flags.on("--each", &infer_flags.each);
  flags.text("--output", &infer_flags.output);
  flags.on("--dequantize", &infer_flags.real);
  flags.number("--memory", 1, INT64_MAX, &infer_flags.memory);
  return run_verb(argc, argv, &flags, {infer_help, model_flags_help, about_arrays},
                  [&] { return infer(infer_flags); });
}

}  // namespace edge
