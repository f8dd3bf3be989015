// A model that is open: an engine behind the C ABI's handle.
#ifndef EDGE_MODEL_H
#define EDGE_MODEL_H

#include <memory>
#include <string>

#include "engine.h"

struct edge_model {
  std::unique_ptr<edge::Engine> engine;
  std::string path;  // for messages
  bool invoked = false;
};

namespace edge {

struct CloseModel {
  void operator()(edge_model *model) const { edge_model_close(model); }
};
using ModelHandle = std::unique_ptr<edge_model, CloseModel>;

}  // namespace edge

#endif  // EDGE_MODEL_H
