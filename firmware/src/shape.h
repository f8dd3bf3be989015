// The shapes that a model's inputs are to have.
#ifndef EDGE_SHAPE_H
#define EDGE_SHAPE_H

#include <stdint.h>

#include <string>
#include <vector>

#include "error.h"

namespace edge {

std::string shape_text(const std::vector<int32_t> &shape);  // "[1, 28, 28]"

struct InputShape {
  const char *name;
  std::vector<int32_t> present;  // as the runtime has it; every axis is known
  std::vector<int32_t> open;     // the same with -1 where the model leaves an axis open
  std::vector<int32_t> wanted;   // the result
};

// What `options` ask for, else what is there. EDGE_BAD_INPUT if it names an input that isn't there,
// has another number of axes, or more elements than the board has memory. Axes that stay open
// although nobody gave a shape are a warning.
Status choose_shapes(const edge_options &options, std::vector<InputShape> *inputs,
                     std::vector<std::string> *warnings);

}  // namespace edge

#endif  // EDGE_SHAPE_H
