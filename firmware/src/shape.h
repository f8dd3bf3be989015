// The shapes that a model's inputs are to have.
#ifndef EDGE_SHAPE_H
#define EDGE_SHAPE_H

#include <stdint.h>

#include <string>
#include <vector>

#include "error.h"

namespace edge {

// "[1, 28, 28]"
template <typename Integer>
std::string shape_text(const std::vector<Integer> &shape) {
  std::string text = "[";
  for (const Integer axis : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(axis);
  return text + "]";
}

struct InputShape {
  const char *name;
  std::vector<int32_t> present;  // as the runtime has it; -1, an axis it knows nothing of, means 1
  std::vector<int32_t> open;     // the same with -1 where the model leaves an axis open
  std::vector<int32_t> wanted;   // the result: if it isn't `present`, the runtime has to resize
  bool batched = false;          // its first axis is the batch: no shape was asked for
};

// What `options` ask for, else what is there. EDGE_BAD_INPUT if it names an input that isn't there,
// has another number of axes, or more elements than the board has memory. Axes that stay open
// although nobody gave a shape are a warning.
Status choose_shapes(const edge_options &options, std::vector<InputShape> *inputs,
                     std::vector<std::string> *warnings);

// Another batch than was wanted last, which now is what is present. EDGE_BAD_INPUT if no input has
// one, or not the memory.
Status choose_batch(int32_t batch, std::vector<InputShape> *inputs);

// The runtime does not resize this input.
Status refuse_shape(const InputShape &input);
// The runtime resizes every input, but can't allocate the tensors then.
Status refuse_shapes(const char *model_path, const std::vector<InputShape> &inputs);

}  // namespace edge

#endif  // EDGE_SHAPE_H
