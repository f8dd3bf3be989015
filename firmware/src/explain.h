// Turns what a runtime said while it failed into one line that says what to do.
#ifndef EDGE_EXPLAIN_H
#define EDGE_EXPLAIN_H

#include <string>

#include "error.h"

namespace edge {

// The last failure, with the runtime's own words added as far as it doesn't have them: `said` is
// what it printed, line by line. An operator that it lacks makes it EDGE_UNSUPPORTED_OP.
Status explain(Status failure, const std::string &said, const char *model_path);

}  // namespace edge

#endif  // EDGE_EXPLAIN_H
