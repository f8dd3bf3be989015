#include "delegation.h"

#include <algorithm>

namespace edge {
namespace {

std::vector<int32_t> plan_of(tflite::Context *context) {
  tflite::IntArray *plan = nullptr;
  if (context->get_execution_plan(context, &plan) != 0 || plan == nullptr) return {};
  // A copy: the runtime reuses the array.
  return std::vector<int32_t>(plan->values, plan->values + plan->size);
}

bool holds(const std::vector<int32_t> &nodes, int32_t node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

}  // namespace

// Delegates prepare on the thread that opens the model, which is how the hook, a bare function,
// finds what it belongs to.
thread_local Delegation *Delegation::current = nullptr;

Delegation::Delegation() {
  current = this;
}

Delegation::~Delegation() {
  for (const Watched &each : watched_) each.delegate->prepare = each.inner;
  current = nullptr;
}

bool Delegation::watch(tflite::Delegate *delegate) {
  if (delegate->prepare == nullptr) return false;
  watched_.push_back({delegate, delegate->prepare});
  delegate->prepare = hook;
  return true;
}

tflite::Result Delegation::hook(tflite::Context *context, tflite::Delegate *delegate) {
  const auto watched = std::find_if(current->watched_.begin(), current->watched_.end(),
                                    [&](const Watched &each) { return each.delegate == delegate; });
  std::vector<Subgraph> &subgraphs = current->subgraphs_;
  auto subgraph = std::find_if(subgraphs.begin(), subgraphs.end(),
                               [&](const Subgraph &each) { return each.context == context; });
  if (subgraph == subgraphs.end()) {
    subgraph = subgraphs.insert(subgraphs.end(), {context, plan_of(context), {}, {}});
    subgraph->after = subgraph->before;
  }
  const tflite::Result result = watched->inner(context, delegate);
  const std::vector<int32_t> earlier = std::exchange(subgraph->after, plan_of(context));
  for (const int32_t node : subgraph->after) {
    if (holds(earlier, node)) continue;
    subgraph->made.emplace_back(node, static_cast<size_t>(watched - current->watched_.begin()));
  }
  return result;
}

void Delegation::tell(Engine *engine) const {
  engine->delegation.nodes_total = 0;
  engine->delegation.nodes_delegated = 0;
  engine->delegation.partitions = 0;
  engine->nodes.clear();
  engine->delegate_nodes.clear();
  int32_t number = 0;
  for (const Subgraph &subgraph : subgraphs_) {
    for (const int32_t node : subgraph.before) {
      if (!holds(subgraph.after, node)) engine->nodes.push_back({number, node});
    }
    for (const int32_t node : subgraph.after) {
      if (!holds(subgraph.before, node)) ++engine->delegation.partitions;
    }
    for (const auto &[node, delegate] : subgraph.made) {
      engine->delegate_nodes.push_back({number, node, delegate});
    }
    engine->delegation.nodes_total += static_cast<int32_t>(subgraph.before.size());
    ++number;
  }
  engine->delegation.nodes_delegated = static_cast<int32_t>(engine->nodes.size());
}

}  // namespace edge
