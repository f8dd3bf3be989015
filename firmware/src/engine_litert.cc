#include "engine_litert.h"

namespace edge {

Status open_litert(const edge_options &, std::unique_ptr<Engine> *) {
  return fail(EDGE_USAGE, "this build has no LiteRT engine");
}

}  // namespace edge
