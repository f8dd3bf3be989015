// An Engine executes one model by one kind of runtime library.
#ifndef EDGE_ENGINE_H
#define EDGE_ENGINE_H

#include <memory>
#include <string>
#include <vector>

#include "capture.h"
#include "clock.h"
#include "edge.h"
#include "error.h"
#include "process.h"

namespace edge {

// A step of a cold start, or a part of one, while it lives: only the time is taken at once.
class ColdStep {
 public:
  ColdStep(edge_cold_start *cold_start, edge_cold_step which)
      : cold_start_(cold_start), which_(which), before_(read_disturbance()), begin_(clock_ns()) {}
  ~ColdStep() {
    cold_start_->elapsed_ns[which_] += clock_ns() - begin_;
    const Disturbance during = read_disturbance() - before_;
    cold_start_->minor_faults[which_] += static_cast<uint64_t>(during.minor_faults);
    cold_start_->major_faults[which_] += static_cast<uint64_t>(during.major_faults);
    cold_start_->rss_bytes[which_] = resident_bytes();
    cold_start_->peak_bytes[which_] = peak_resident_bytes();
  }
  ColdStep(const ColdStep &) = delete;
  ColdStep &operator=(const ColdStep &) = delete;

 private:
  edge_cold_start *cold_start_;
  edge_cold_step which_;
  Disturbance before_;
  uint64_t begin_;
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual int32_t input_count() const = 0;
  virtual int32_t output_count() const = 0;
  // The index is valid.
  virtual Status input(int32_t index, edge_tensor *tensor) const = 0;
  virtual Status output(int32_t index, edge_tensor *tensor) const = 0;
  virtual Status set_input(int32_t index, const void *data, uint64_t size_bytes) = 0;
  virtual Status get_output(int32_t index, void *data, uint64_t size_bytes) = 0;
  // On the measured path: no allocation, no system call of its own. The first call is timed, and
  // its noise captured, by the model that owns the engine.
  virtual int32_t invoke() = 0;
  // The batch is 1 or more. Afterwards inputs are zeroes.
  virtual Status resize(int32_t batch) = 0;

  edge_cold_start cold_start{};
  edge_delegation delegation{};
  bool nodes_known = false;            // `nodes` says which ones were delegated, not only how many
  std::vector<edge_node> nodes;        // that a delegate took
  std::vector<std::string> delegates;  // that were asked, by name
  // Nodes that stand for what a delegate took; `delegate` counts in `delegates`.
  struct DelegateNode {
    int32_t subgraph;
    int32_t node;
    size_t delegate;
  };
  std::vector<DelegateNode> delegate_nodes;
  // nullptr if the node is no delegate's.
  const std::string *delegate_of(int64_t subgraph, int64_t node) const;
  std::string runtime_version;
  std::string runtime_log;  // what the library printed while the model was opened
  std::vector<std::string> warnings;
  // The warning that the model runs without XNNPACK though it was asked for; empty: it does not.
  std::string without_xnnpack;

 protected:
  // One step of the cold start, or a part of one, timed.
  template <typename Action>
  Status step(edge_cold_step which, const char *doing, Action action) {
    const RuntimeCall call(doing);
    ColdStep taken(&cold_start, which);
    return action();
  }

  // XNNPACK is an optimization: a model that it has just refused runs without.
  template <typename Make>
  Status make_without_xnnpack(Make make) {
    const std::string refusal = last_error();
    const Status made = make();
    if (made.ok()) {
      warn_of_xnnpack("XNNPACK can't be used, every kernel is a built-in one: " + refusal);
    }
    return made;
  }

  void warn_of_idle_delegates();
  void warn_of_xnnpack(const std::string &text);
};

Status no_signature(const char *key, const std::vector<std::string> &known);
Status check_size(const char *tensor, uint64_t expected, uint64_t size_bytes);

}  // namespace edge

#endif  // EDGE_ENGINE_H
