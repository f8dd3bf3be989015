// The engine for LiteRT 2.x: CompiledModel, on the CPU.
#ifndef EDGE_ENGINE_LITERT_H
#define EDGE_ENGINE_LITERT_H

#include <memory>

#include "engine.h"

namespace edge {

Status open_litert(const edge_options &options, std::unique_ptr<Engine> *engine);

}  // namespace edge

#endif  // EDGE_ENGINE_LITERT_H
