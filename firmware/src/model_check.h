// Is this a TFLite model, and all of it?
#ifndef EDGE_MODEL_CHECK_H
#define EDGE_MODEL_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

namespace edge {

// `name` is how messages call the model.
Status check_model(const char *name, const uint8_t *bytes, size_t size);
Status check_model_file(const char *path);

}  // namespace edge

#endif  // EDGE_MODEL_CHECK_H
