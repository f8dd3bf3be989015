// Any words, between zeros or line breaks, as a command line with the flags of `infer` and `bench`.
#include "flags.h"

#include <memory>

#include "fuzz.h"
#include "model_flags.h"

using namespace edge;

namespace {

void check_shape(const std::string &text) {
  std::string name;
  edge_shape shape = {};
  if (!parse_shape(text, &name, &shape).ok()) return;
  REQUIRE(!name.empty() && shape.rank >= 1 && shape.rank <= EDGE_MAX_RANK);
  for (int32_t i = 0; i < shape.rank; ++i) REQUIRE(shape.dims[i] >= 1);
}

void check_delegate(const std::string &text) {
  DelegateFlag delegate;
  if (!parse_delegate(text, &delegate).ok()) return;
  REQUIRE(!delegate.path.empty() && delegate.path.find('\0') == std::string::npos);
  REQUIRE(delegate.keys.size() == delegate.values.size());
  for (const std::string &key : delegate.keys) REQUIRE(!key.empty());
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Each word in memory of its own, so that a byte read too far is seen.
  std::vector<std::unique_ptr<char[]>> words;
  for (size_t at = 0; at < size;) {
    size_t end = at;
    while (end < size && data[end] != '\0' && data[end] != '\n') ++end;
    words.emplace_back(new char[end - at + 1]());
    std::copy(data + at, data + end, words.back().get());
    at = end + 1;
  }
  if (words.empty()) return 0;
  std::vector<char *> argv;
  for (const auto &word : words) argv.push_back(word.get());

  ModelFlags model;
  bool each = false, wants_help = false;
  std::string output;
  std::vector<std::string> inputs;
  uint64_t iterations = 0, memory = 1;
  Flags flags;
  model.declare(&flags);
  flags.texts("--input", &inputs);
  flags.on("--each", &each);
  flags.text("--output", &output);
  flags.number_or_auto("--iterations", 1000000, &iterations);
  flags.number("--memory", 1, INT64_MAX, &memory);
  flags.on("--help", &wants_help);
  const Status status = flags.parse(static_cast<int>(argv.size()), argv.data());
  REQUIRE(status.ok() || (status.code() == EDGE_USAGE && last_error()[0] != '\0'));
  for (const std::string &shape : model.shapes) check_shape(shape);
  check_delegate(model.delegate);
  REQUIRE(model.threads >= 1 && model.threads <= 1024 && iterations <= 1000000);
  REQUIRE(model.batch <= INT32_MAX && memory >= 1 && memory <= INT64_MAX);
  return 0;
}
