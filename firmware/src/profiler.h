// Time per operator, from what a runtime tells while it invokes a model.
#ifndef EDGE_PROFILER_H
#define EDGE_PROFILER_H

#include <stdint.h>

#include <string>
#include <vector>

#include "error.h"

namespace edge {

// Of one operator of the plan that the runtime executes.
struct OperatorTime {
  std::string name;  // as the runtime calls it
  int64_t subgraph = 0;
  int64_t node = 0;  // as the file numbers it; what a delegate added has a number beyond the file's
  std::vector<uint64_t> elapsed_ns;  // per invocation, without operators that ran inside of it
  std::vector<uint32_t> runs;        // per invocation: 0 in a branch not taken, many in a loop
};

// Operators begin and end on the thread that invokes. Memory is taken when an operator is new, and
// between invocations.
class Profiler {
 public:
  // A handle for end().
  uint32_t begin(const char *name, int64_t node, int64_t subgraph);
  void end(uint32_t handle);

  // What was told since the last call becomes one invocation, or is thrown away. EDGE_RUNTIME if
  // operators ended that never began, or the other way round.
  Status keep();
  Status forget();

  const std::vector<OperatorTime> &operators() const { return operators_; }

 private:
  struct Open {
    size_t operator_index;
    uint64_t begin_ns;
    uint64_t inner_ns;
  };
  struct Now {
    uint64_t elapsed_ns;
    uint32_t runs;
  };
  size_t index_of(const char *name, int64_t node, int64_t subgraph);
  Status check() const;
  void clear();

  std::vector<OperatorTime> operators_;  // in the order in which they ran first
  std::vector<Now> now_;                 // of the invocation that is going on, one per operator
  std::vector<Open> open_;               // the innermost last
  size_t next_ = 0;                      // the operator that follows the one before, usually
  size_t invocations_ = 0;
  bool crossed_ = false;
};

// Models opened from now on tell this profiler; nullptr: none.
void profile_with(Profiler *profiler);
Profiler *wanted_profiler();

}  // namespace edge

#endif  // EDGE_PROFILER_H
