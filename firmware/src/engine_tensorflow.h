// The engine for TensorFlow's C API: a signature of a SavedModel.
#ifndef EDGE_ENGINE_TENSORFLOW_H
#define EDGE_ENGINE_TENSORFLOW_H

#include <memory>

#include "engine.h"

namespace edge {

// Whether the folder holds a SavedModel, as far as its names tell.
Status check_saved_model(const char *folder);

Status open_tensorflow(const edge_options &options, std::unique_ptr<Engine> *engine);

}  // namespace edge

#endif  // EDGE_ENGINE_TENSORFLOW_H
