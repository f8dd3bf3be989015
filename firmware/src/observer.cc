// A delegate that takes no node. A runtime asks delegates one after the other: first of all this
// one, which remembers how to read the execution plan, and the plan itself. What is missing from
// the plan later was taken by the delegates that came after.
#include <string.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "custom_ops.h"
#include "error.h"
#include "tflite_c.h"

namespace edge {
namespace {

using ReadPlan = tflite::Result(tflite::Context *, tflite::IntArray **);

struct Subgraph {
  tflite::Context *context;
  // Only during prepare does the context hold this function: afterwards one that refuses.
  ReadPlan *read_plan;
  std::vector<int32_t> nodes;
};

bool read_nodes(ReadPlan *read_plan, tflite::Context *context, std::vector<int32_t> *nodes) {
  tflite::IntArray *plan = nullptr;
  if (read_plan(context, &plan) != 0 || plan == nullptr) return false;
  // A copy: the runtime reuses the array.
  nodes->assign(plan->values, plan->values + plan->size);
  return true;
}

class Observer {
 public:
  Observer() {
    delegate_.begin.data = this;
    delegate_.begin.prepare = prepare;
    // Else the runtime would refuse dynamic tensors, and all delegates after this one.
    delegate_.flags = tflite::allow_dynamic_tensors;
  }

  void *delegate() { return &delegate_; }

  Status observe(edge_delegation *delegation, edge_node *nodes, int32_t capacity) const {
    *delegation = edge_delegation{};
    int32_t number = 0;
    for (const Subgraph &subgraph : subgraphs_) {
      std::vector<int32_t> now;
      if (!read_nodes(subgraph.read_plan, subgraph.context, &now)) {
        return fail(EDGE_RUNTIME, "the runtime does not tell the execution plan");
      }
      for (const int32_t node : subgraph.nodes) {
        if (contains(now, node)) continue;
        if (delegation->nodes_delegated < capacity) {
          nodes[delegation->nodes_delegated] = {number, node};
        }
        ++delegation->nodes_delegated;
      }
      for (const int32_t node : now) {
        if (!contains(subgraph.nodes, node)) ++delegation->partitions;
      }
      delegation->nodes_total += static_cast<int32_t>(subgraph.nodes.size());
      ++number;
    }
    delegation->applied = delegation->nodes_delegated > 0 ? 1 : 0;
    return Status();
  }

 private:
  static bool contains(const std::vector<int32_t> &nodes, int32_t node) {
    return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
  }

  // Once per subgraph, in their order; and again if the runtime applies its delegates anew, as it
  // does when an input is resized.
  static tflite::Result prepare(tflite::Context *context, tflite::Delegate *delegate) {
    auto *self = static_cast<Observer *>(delegate->data);
    Subgraph seen{context, context->get_execution_plan, {}};
    if (!read_nodes(seen.read_plan, context, &seen.nodes)) return 1;
    const auto known =
        std::find_if(self->subgraphs_.begin(), self->subgraphs_.end(),
                     [&](const Subgraph &subgraph) { return subgraph.context == context; });
    if (known != self->subgraphs_.end()) {
      *known = std::move(seen);
    } else {
      self->subgraphs_.push_back(std::move(seen));
    }
    return 0;
  }

  tflite::WholeDelegate delegate_ = {};
  std::vector<Subgraph> subgraphs_;
};

std::unique_ptr<Observer> observer;
std::vector<std::unique_ptr<CustomOps>> all_ops;

void *create_ops(const char *path, void (*report_error)(const char *)) {
  auto ops = std::make_unique<CustomOps>();
  if (!ops->load(path).ok()) {
    if (report_error != nullptr) report_error(last_error());
    return nullptr;
  }
  all_ops.push_back(std::move(ops));
  return all_ops.back()->get();
}

}  // namespace
}  // namespace edge

void *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                    void (*report_error)(const char *)) {
  if (count == 1 && strcmp(keys[0], "ops") == 0) return edge::create_ops(values[0], report_error);
  if (edge::observer != nullptr) {
    if (report_error != nullptr) report_error("edge watches one interpreter at a time");
    return nullptr;
  }
  edge::observer.reset(new (std::nothrow) edge::Observer);
  return edge::observer != nullptr ? edge::observer->delegate() : nullptr;
}

void tflite_plugin_destroy_delegate(void *delegate) {
  if (edge::observer != nullptr && edge::observer->delegate() == delegate) edge::observer.reset();
  auto &all = edge::all_ops;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](const auto &ops) { return ops->get() == delegate; }),
            all.end());
}

int32_t edge_observed(edge_delegation *delegation, edge_node *nodes, int32_t capacity) {
  if (edge::observer == nullptr) {
    *delegation = edge_delegation{};
    return edge::fail(EDGE_USAGE, "no interpreter is being watched").code();
  }
  return edge::observer->observe(delegation, nodes, capacity).code();
}
