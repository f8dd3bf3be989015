// Memory that a model may take, and failures for want of it.
#ifndef EDGE_MEMORY_H
#define EDGE_MEMORY_H

#include <stdint.h>

#include <string>

#include "error.h"

namespace edge {

// What edge_limit_memory set; 0: no limit.
uint64_t memory_limit();

// While memory is limited: whether a failure, of which `said` is what is known in words, is one for
// want of memory. `error_number` is errno as the failing call left it.
bool is_memory_failure(int error_number, const char *said);

// The same failure; one for want of memory becomes EDGE_NO_MEMORY and names the limit. For the
// result of a call that a RuntimeCall watched, right after it.
Status explain_memory(Status failure);

// For messages, in a signal's handler too: "the model needs more than the 93 MB of memory ...",
// written into `text`.
void memory_words(char *text, size_t capacity);

}  // namespace edge

#endif  // EDGE_MEMORY_H
