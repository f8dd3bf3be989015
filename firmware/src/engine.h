// An Engine executes one model by one kind of runtime library.
#ifndef EDGE_ENGINE_H
#define EDGE_ENGINE_H

#include <memory>
#include <string>
#include <vector>

#include "edge.h"
#include "error.h"

namespace edge {

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

  edge_cold_start cold_start{};
  edge_delegation delegation{};
  bool nodes_known = false;            // `nodes` says which ones were delegated, not only how many
  std::vector<edge_node> nodes;        // that a delegate took
  std::vector<std::string> delegates;  // that were asked, by name
  std::string runtime_version;
  std::string runtime_log;  // what the library printed while the model was opened
  std::vector<std::string> warnings;
};

}  // namespace edge

#endif  // EDGE_ENGINE_H
