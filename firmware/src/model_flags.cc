#include "model_flags.h"

#include <algorithm>

namespace edge {

const char *const model_flags_help = R"(
  --engine NAME        the API that the library is spoken to by: tflite, the TfLite C API (default),
                       litert, LiteRT's CompiledModel, or tensorflow, TensorFlow's C API
  --lib LIBRARY        the runtime, a shared library that offers this API
  --model MODEL        the .tflite file; with tensorflow, the folder of a SavedModel
  --signature KEY      run this signature, its inputs and outputs named as it names them
                       (without: the primary subgraph, by the names of its tensors)
  --shape NAME=2x224x224x3
                       the shape of the input NAME; may be given several times
  --batch N            first axis of every input that has no --shape
  --delegate external:PATH?key=value&key=value
                       let the plug-in at PATH take over what it can, with these options; write
                       %XX for ?, &, = and % inside of a part
  --ops LIBRARY        kernels for the model's custom operators: a library that `invoke build --ops`
                       made
  --threads N          threads for the runtime (1)
  --no-xnnpack         built-in kernels only, no XNNPACK delegate
)";

namespace {

// False if a % is not followed by two hexadecimal digits, or hides a zero byte.
bool percent_decode(const std::string &text, std::string *decoded) {
  decoded->clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      *decoded += text[i];
      continue;
    }
    int value = 0;
    for (const size_t at : {i + 1, i + 2}) {
      const char digit = at < text.size() ? text[at] : '\0';
      int nibble;
      if (digit >= '0' && digit <= '9') {
        nibble = digit - '0';
      } else if (digit >= 'a' && digit <= 'f') {
        nibble = digit - 'a' + 10;
      } else if (digit >= 'A' && digit <= 'F') {
        nibble = digit - 'A' + 10;
      } else {
        return false;
      }
      value = value * 16 + nibble;
    }
    if (value == 0) return false;
    *decoded += static_cast<char>(value);
    i += 2;
  }
  return true;
}

}  // namespace

Status parse_shape(const std::string &text, std::string *name, edge_shape *shape) {
  const auto wrong = [&] {
    return fail(EDGE_USAGE,
                "--shape %s: must be NAME=1x224x224x3, of at most %d axes, each from 1 to 2^31-1",
                text.c_str(), EDGE_MAX_RANK);
  };
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) return wrong();
  *name = text.substr(0, equals);
  shape->rank = 0;
  int64_t axis = 0;
  bool digits = false;
  for (size_t i = equals + 1; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : 'x';
    if (c >= '0' && c <= '9') {
      axis = axis * 10 + (c - '0');
      digits = true;
      if (axis > INT32_MAX) return wrong();
    } else if (c == 'x' && digits && axis > 0 && shape->rank < EDGE_MAX_RANK) {
      shape->dims[shape->rank++] = static_cast<int32_t>(axis);
      axis = 0;
      digits = false;
    } else {
      return wrong();
    }
  }
  return Status();
}

Status parse_delegate(const std::string &text, DelegateFlag *delegate) {
  const auto wrong = [&](const char *why) {
    return fail(EDGE_USAGE, "--delegate %s: %s: must be external:PATH?key=value&key=value",
                text.c_str(), why);
  };
  const std::string kind = "external:";
  if (text.compare(0, kind.size(), kind) != 0) return wrong("only external delegates are known");
  const size_t question = std::min(text.find('?'), text.size());
  const std::string path = text.substr(kind.size(), question - kind.size());
  if (!percent_decode(path, &delegate->path)) return wrong("a % needs two hexadecimal digits");
  if (delegate->path.empty()) return wrong("the path is missing");
  for (size_t begin = question + 1; begin < text.size();) {
    const size_t end = std::min(text.find('&', begin), text.size());
    const size_t equals = text.find('=', begin);
    if (equals >= end || equals == begin) return wrong("an option is not key=value");
    std::string key, value;
    if (!percent_decode(text.substr(begin, equals - begin), &key) ||
        !percent_decode(text.substr(equals + 1, end - equals - 1), &value)) {
      return wrong("a % needs two hexadecimal digits");
    }
    delegate->keys.push_back(key);
    delegate->values.push_back(value);
    begin = end + 1;
  }
  return Status();
}

void ModelFlags::declare(Flags *flags) {
  flags->text("--engine", &engine);
  flags->text("--lib", &library);
  flags->text("--model", &model);
  flags->text("--signature", &signature);
  flags->texts("--shape", &shapes);
  flags->number("--batch", 1, INT32_MAX, &batch);
  flags->text("--delegate", &delegate);
  flags->text("--ops", &ops);
  flags->number("--threads", 1, 1024, &threads);
  flags->on("--no-xnnpack", &no_xnnpack);
}

Status ModelFlags::open(const char *verb, ModelHandle *opened) const {
  if (library.empty()) return fail(EDGE_USAGE, "%s: --lib is missing: which runtime?", verb);
  if (model.empty()) return fail(EDGE_USAGE, "%s: --model is missing: which .tflite file?", verb);
  edge_options options = {};
  if (engine == "tflite") {
    options.engine = EDGE_ENGINE_TFLITE;
  } else if (engine == "litert") {
    options.engine = EDGE_ENGINE_LITERT;
  } else if (engine == "tensorflow") {
    options.engine = EDGE_ENGINE_TENSORFLOW;
  } else {
    return fail(EDGE_USAGE, "%s: --engine is tflite, litert or tensorflow, not '%s'", verb,
                engine.c_str());
  }
  options.library_path = library.c_str();
  options.model_path = model.c_str();
  options.threads = static_cast<int32_t>(threads);
  options.use_xnnpack = no_xnnpack ? 0 : 1;
  options.batch = static_cast<int32_t>(batch);
  if (!signature.empty()) options.signature = signature.c_str();

  std::vector<std::string> names(shapes.size());
  std::vector<edge_shape> parsed(shapes.size());
  for (size_t i = 0; i < shapes.size(); ++i) {
    EDGE_TRY(parse_shape(shapes[i], &names[i], &parsed[i]));
    if (std::find(names.begin(), names.begin() + static_cast<ptrdiff_t>(i), names[i]) !=
        names.begin() + static_cast<ptrdiff_t>(i)) {
      return fail(EDGE_USAGE, "%s: --shape is given twice for '%s'", verb, names[i].c_str());
    }
    parsed[i].name = names[i].c_str();
  }
  options.shapes = parsed.data();
  options.shape_count = static_cast<int32_t>(parsed.size());

  DelegateFlag plugin;
  std::vector<const char *> keys, values;
  if (!delegate.empty()) {
    EDGE_TRY(parse_delegate(delegate, &plugin));
    for (const std::string &key : plugin.keys) keys.push_back(key.c_str());
    for (const std::string &value : plugin.values) values.push_back(value.c_str());
    options.delegate_path = plugin.path.c_str();
    options.delegate_keys = keys.data();
    options.delegate_values = values.data();
    options.delegate_option_count = static_cast<int32_t>(keys.size());
  }
  if (!ops.empty()) options.ops_path = ops.c_str();
  edge_model *handle = nullptr;
  EDGE_TRY(Status(edge_model_open(&options, &handle)));
  opened->reset(handle);
  return Status();
}

}  // namespace edge
