// Which nodes of a model its delegates take.
#ifndef EDGE_DELEGATION_H
#define EDGE_DELEGATION_H

#include <utility>
#include <vector>

#include "engine.h"
#include "tflite_c.h"

namespace edge {

// Reads the execution plan of every subgraph before and after each delegate prepares: nodes that
// vanished were taken, new ones are the delegate's. Subgraphs count in the order in which the
// runtime offers them, which is the file's. One at a time on a thread.
class Delegation {
 public:
  Delegation();
  // The delegates prepare unwatched again.
  ~Delegation();
  Delegation(const Delegation &) = delete;
  Delegation &operator=(const Delegation &) = delete;

  // False if the delegate has no prepare to watch, as those of the opaque kind.
  bool watch(tflite::Delegate *delegate);
  // What was taken so far.
  void tell(Engine *engine) const;

 private:
  using Prepare = tflite::Result(tflite::Context *, tflite::Delegate *);
  struct Watched {
    tflite::Delegate *delegate;
    Prepare *inner;
  };
  struct Subgraph {
    tflite::Context *context;
    std::vector<int32_t> before;
    std::vector<int32_t> after;
    std::vector<std::pair<int32_t, size_t>> made;  // nodes, and by which of those watched
  };
  static Prepare hook;
  static thread_local Delegation *current;

  std::vector<Watched> watched_;
  std::vector<Subgraph> subgraphs_;
};

}  // namespace edge

#endif  // EDGE_DELEGATION_H
