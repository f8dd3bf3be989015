#include "engine.h"

namespace edge {

void Engine::warn_of_idle_delegates() {
  if (!nodes_known || !nodes.empty()) return;
  for (const std::string &name : delegates) {
    const std::string text = name + " took none of the model's nodes";
    if (name == "XNNPACK") {
      warn_of_xnnpack(text);
    } else {
      warnings.push_back(text);
    }
  }
}

void Engine::warn_of_xnnpack(const std::string &text) {
  warnings.push_back(text);
  without_xnnpack = text;
}

const std::string *Engine::delegate_of(int64_t subgraph, int64_t node) const {
  for (const DelegateNode &each : delegate_nodes) {
    if (each.subgraph == subgraph && each.node == node) return &delegates[each.delegate];
  }
  return nullptr;
}

Status no_signature(const char *key, const std::vector<std::string> &known) {
  return fail(EDGE_BAD_INPUT, "there is no signature '%s'; %s%s", key,
              known.empty() ? "the model has none" : "the model's are ", quoted(known).c_str());
}

Status check_size(const char *tensor, uint64_t expected, uint64_t size_bytes) {
  if (size_bytes == expected) return Status();
  return fail(EDGE_BAD_INPUT, "tensor '%s' has %llu bytes, not %llu", tensor,
              static_cast<unsigned long long>(expected),
              static_cast<unsigned long long>(size_bytes));
}

}  // namespace edge
