// A runtime of our own, as far as a delegate sees one: subgraphs that lend the function to read
// their plan only while a delegate prepares.
#include <vector>

#include "check.h"
#include "edge.h"
#include "tflite_c.h"

namespace edge {
namespace {

tflite::Result refuse(tflite::Context *, tflite::IntArray **) {
  return 1;
}

struct FakeSubgraph {
  tflite::Context context{0, refuse};
  std::vector<int32_t> plan;  // its size, then the nodes

  explicit FakeSubgraph(std::vector<int32_t> nodes) { set(std::move(nodes)); }
  void set(std::vector<int32_t> nodes) {
    plan = std::move(nodes);
    plan.insert(plan.begin(), static_cast<int32_t>(plan.size()));
  }
  static tflite::Result read(tflite::Context *context, tflite::IntArray **result) {
    *result = reinterpret_cast<tflite::IntArray *>(
        reinterpret_cast<FakeSubgraph *>(context)->plan.data());
    return 0;
  }
  void apply(void *delegate) {
    auto *given = static_cast<tflite::Delegate *>(delegate);
    context.get_execution_plan = read;
    CHECK(given->prepare(&context, given) == 0);
    context.get_execution_plan = refuse;
  }
};

int complaints = 0;

void complain(const char *) {
  ++complaints;
}

}  // namespace

TEST(observer, tells_which_nodes_were_taken) {
  edge_delegation delegation;
  edge_node nodes[8];
  CHECK(edge_observed(&delegation, nodes, 8) == EDGE_USAGE);
  void *delegate = tflite_plugin_create_delegate(nullptr, nullptr, 0, complain);
  CHECK(delegate != nullptr);
  FakeSubgraph main({0, 1, 2, 3}), body({0, 1});
  main.apply(delegate);
  body.apply(delegate);
  CHECK(edge_observed(&delegation, nodes, 8) == EDGE_OK);
  CHECK(delegation.nodes_total == 6 && delegation.nodes_delegated == 0);
  CHECK(delegation.applied == 0 && delegation.partitions == 0);

  main.set({4, 2, 5});  // two delegate nodes instead of 0, 1 and 3
  body.set({0, 2});
  CHECK(edge_observed(&delegation, nodes, 8) == EDGE_OK);
  CHECK(delegation.applied == 1 && delegation.nodes_total == 6);
  CHECK(delegation.nodes_delegated == 4 && delegation.partitions == 3);
  CHECK(nodes[0].subgraph == 0 && nodes[0].node == 0);
  CHECK(nodes[2].subgraph == 0 && nodes[2].node == 3);
  CHECK(nodes[3].subgraph == 1 && nodes[3].node == 1);
  tflite_plugin_destroy_delegate(delegate);
}

TEST(observer, writes_no_more_nodes_than_there_is_room_for) {
  void *delegate = tflite_plugin_create_delegate(nullptr, nullptr, 0, nullptr);
  FakeSubgraph main({0, 1, 2});
  main.apply(delegate);
  main.set({3});
  edge_delegation delegation;
  edge_node nodes[2] = {{7, 7}, {7, 7}};
  CHECK(edge_observed(&delegation, nodes, 1) == EDGE_OK);
  CHECK(delegation.nodes_delegated == 3);
  CHECK(nodes[0].subgraph == 0 && nodes[1].subgraph == 7);
  CHECK(edge_observed(&delegation, nullptr, 0) == EDGE_OK && delegation.nodes_delegated == 3);
  tflite_plugin_destroy_delegate(delegate);
}

TEST(observer, delegates_applied_anew_are_counted_once) {
  void *delegate = tflite_plugin_create_delegate(nullptr, nullptr, 0, nullptr);
  FakeSubgraph main({0, 1});
  main.apply(delegate);
  main.set({2});
  main.set({0, 1});  // an input was resized: everything is undone, and all are asked again
  main.apply(delegate);
  main.set({2});
  edge_delegation delegation;
  CHECK(edge_observed(&delegation, nullptr, 0) == EDGE_OK);
  CHECK(delegation.nodes_total == 2 && delegation.nodes_delegated == 2);
  CHECK(delegation.partitions == 1);
  tflite_plugin_destroy_delegate(delegate);
}

TEST(observer, there_is_one_at_a_time) {
  complaints = 0;
  void *first = tflite_plugin_create_delegate(nullptr, nullptr, 0, complain);
  CHECK(tflite_plugin_create_delegate(nullptr, nullptr, 0, complain) == nullptr);
  CHECK(complaints == 1);
  CHECK(tflite_plugin_create_delegate(nullptr, nullptr, 0, nullptr) == nullptr);
  tflite_plugin_destroy_delegate(nullptr);
  tflite_plugin_destroy_delegate(first);
  void *second = tflite_plugin_create_delegate(nullptr, nullptr, 0, complain);
  CHECK(second != nullptr);
  tflite_plugin_destroy_delegate(second);
}

}  // namespace edge
