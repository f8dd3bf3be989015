// The engine for libraries that offer the TfLite C API.
#ifndef EDGE_ENGINE_TFLITE_H
#define EDGE_ENGINE_TFLITE_H

#include "engine.h"

namespace edge {

// Opens library and model and allocates, inputs zeroed. The model has been checked.
Status open_tflite(const edge_options &options, std::unique_ptr<Engine> *engine);

}  // namespace edge

#endif  // EDGE_ENGINE_TFLITE_H
