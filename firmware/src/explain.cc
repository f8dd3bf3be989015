#include "explain.h"

#include <string.h>

#include <algorithm>

namespace edge {
namespace {

// The operator that the runtime says it doesn't have; empty if it says nothing like that.
std::string unresolved_op(const std::string &said) {
  struct Phrase {
    const char *before;
    const char *after;
  };
  for (const Phrase phrase :
       {Phrase{"unresolved custom op: ", "."}, Phrase{"Didn't find op for builtin opcode '", ". "},
        Phrase{"Regular TensorFlow ops are not supported", " ("}}) {
    size_t begin = said.find(phrase.before);
    if (begin == std::string::npos) continue;
    begin += strlen(phrase.before);
    if (phrase.after[1] == '(') {
      // "... Node number 3 (FlexErf) failed to prepare"
      begin = said.find(phrase.after, begin);
      if (begin == std::string::npos) return "of TensorFlow (Flex)";
      begin += 2;
      return said.substr(begin, said.find(')', begin) - begin);
    }
    std::string op = said.substr(begin, said.find(phrase.after, begin) - begin);
    op.erase(std::remove(op.begin(), op.end(), '\''), op.end());
    return op;
  }
  return "";
}

}  // namespace

Status explain(Status failure, const std::string &said, const char *model_path) {
  std::string text = last_error();
  const char *separator = ": ";
  for (size_t begin = 0; begin < said.size();) {
    size_t end = said.find('\n', begin);
    if (end == std::string::npos) end = said.size();
    std::string line = said.substr(begin, end - begin);
    begin = end + 1;
    if (line.compare(0, 5, "INFO:") == 0) continue;
    if (line.compare(0, 7, "ERROR: ") == 0) line.erase(0, 7);
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (line.empty() || text.find(line) != std::string::npos) continue;
    text += separator + line;
    separator = "; ";
  }
  const std::string op = unresolved_op(text);
  if (!op.empty()) {
    return fail(EDGE_UNSUPPORTED_OP,
                "the runtime lacks the operator %s of %s: give a kernel for a custom operator with "
                "--ops, convert the model with operators that the runtime has, or choose another "
                "runtime",
                op.c_str(), model_path);
  }
  return fail(static_cast<edge_status>(failure.code()), "%s", text.c_str());
}

}  // namespace edge
