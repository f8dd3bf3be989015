// The verb `infer`, and what it shares with `bench`: inputs from files.
#ifndef EDGE_INFER_H
#define EDGE_INFER_H

#include <string>
#include <vector>

#include "npz.h"
#include "report.h"

namespace edge {

int infer_main(int argc, char **argv);

// The arrays for a model's inputs, found by name in the given files.
class InputArrays {
 public:
  // Every array has a tensor and every tensor an array, with its dtype and shape. With `each`, the
  // first axis of every array counts samples: a multiple of the tensor's own first axis. With
  // `real`, arrays for quantized tensors hold real numbers instead.
  Status open(const std::vector<std::string> &files, const std::vector<TensorInfo> &tensors,
              bool each, bool real);
  uint64_t runs() const { return runs_; }
  // Copies what belongs to the given run into the model.
  Status set(edge_model *model, uint64_t run);

 private:
  Status match(bool each, bool real);
  Status check(const TensorInfo &info, const Array &array, bool each, bool real, uint64_t *runs);

  std::vector<TensorInfo> tensors_;

  std::vector<ArrayFile> files_;
  std::vector<NamedArray> given_;
  std::vector<bool> named_;        // whether the name was the user's, rather than a file's
  std::vector<Array> by_index_;    // in the order of the model's inputs
  std::vector<uint8_t> integers_;  // of one input of one run, quantized
  uint64_t runs_ = 1;
};

}  // namespace edge

#endif  // EDGE_INFER_H
