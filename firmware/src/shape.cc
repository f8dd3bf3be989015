#include "shape.h"

#include <string.h>
#include <unistd.h>

#include <algorithm>

namespace edge {
namespace {

std::string names_of(const std::vector<InputShape> &inputs) {
  std::vector<std::string> names;
  for (const InputShape &input : inputs) names.emplace_back(input.name);
  return quoted(names);
}

// The file may say nothing else of an axis than that it is open.
std::vector<int32_t> closed(std::vector<int32_t> shape) {
  std::replace_if(shape.begin(), shape.end(), [](int32_t axis) { return axis < 0; }, 1);
  return shape;
}

Status check(const InputShape &input) {
  const std::string text = shape_text(input.wanted);
  // A kernel may trust the number of axes; only a tensor of none may have any number.
  if (!input.present.empty() && input.present.size() != input.wanted.size()) {
    return fail(EDGE_BAD_INPUT, "input '%s' has %zu axes, %s: it can't have the shape %s",
                input.name, input.present.size(), shape_text(closed(input.present)).c_str(),
                text.c_str());
  }
  double bytes = 1;
  for (const int32_t axis : input.wanted) bytes *= axis;
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (bytes <= memory) return Status();
  return fail(EDGE_BAD_INPUT, "input '%s' of the shape %s is more than this board's memory",
              input.name, text.c_str());
}

Status set_batch(int32_t batch, std::vector<InputShape> *inputs) {
  bool any = false;
  for (InputShape &input : *inputs) {
    if (!input.batched) continue;
    input.wanted[0] = batch;
    any = true;
  }
  if (any) return Status();
  return fail(EDGE_BAD_INPUT, "there is no input left whose first axis the batch could be");
}

bool leaves_open(const InputShape &input, size_t covered) {
  return input.open.size() > covered &&
         std::find(input.open.begin() + static_cast<ptrdiff_t>(covered), input.open.end(), -1) !=
             input.open.end();
}

}  // namespace

Status choose_shapes(const edge_options &options, std::vector<InputShape> *inputs,
                     std::vector<std::string> *warnings) {
  for (InputShape &input : *inputs) {
    input.wanted = closed(input.present);
    input.batched = !input.wanted.empty();
  }
  for (int32_t i = 0; i < options.shape_count; ++i) {
    const edge_shape &shape = options.shapes[i];
    const auto found = std::find_if(inputs->begin(), inputs->end(), [&](const InputShape &input) {
      return strcmp(input.name, shape.name) == 0;
    });
    if (found == inputs->end()) {
      return fail(EDGE_BAD_INPUT,
                  "there is no input '%s' to give a shape; the model's inputs are %s", shape.name,
                  names_of(*inputs).c_str());
    }
    found->batched = false;
    found->wanted.assign(shape.dims, shape.dims + shape.rank);
  }
  if (options.batch != 0) EDGE_TRY(set_batch(options.batch, inputs));
  for (const InputShape &input : *inputs) {
    EDGE_TRY(check(input));
    if (!input.batched || !leaves_open(input, options.batch != 0 ? 1 : 0)) continue;
    warnings->push_back(std::string("the model leaves axes of input '") + input.name + "' open, " +
                        shape_text(input.open) + ": it runs with " + shape_text(input.wanted) +
                        "; give --batch or --shape for others");
  }
  return Status();
}

Status choose_batch(int32_t batch, std::vector<InputShape> *inputs) {
  for (InputShape &input : *inputs) input.present = input.wanted;
  EDGE_TRY(set_batch(batch, inputs));
  for (const InputShape &input : *inputs) EDGE_TRY(check(input));
  return Status();
}

Status refuse_shape(const InputShape &input) {
  return fail(EDGE_BAD_INPUT, "input '%s' can't take the shape %s", input.name,
              shape_text(input.wanted).c_str());
}

Status refuse_shapes(const char *model_path, const std::vector<InputShape> &inputs) {
  std::string resized;
  for (const InputShape &input : inputs) {
    if (input.wanted == input.present) continue;
    resized += (resized.empty() ? "" : " and ") + shape_text(input.wanted) + " of input '" +
               input.name + "'";
  }
  if (!resized.empty()) {
    return fail(EDGE_BAD_INPUT, "%s can't take the shape %s", model_path, resized.c_str());
  }
  return fail(EDGE_RUNTIME, "the runtime can't allocate the tensors of %s", model_path);
}

}  // namespace edge
