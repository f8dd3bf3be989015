// The verb `infer`, and what it shares with `bench`: inputs from files, the report in JSON.
#ifndef EDGE_INFER_H
#define EDGE_INFER_H

#include <string>
#include <vector>

#include "edge.h"
#include "flags.h"
#include "json.h"
#include "model.h"
#include "npz.h"

namespace edge {

int infer_main(int argc, char **argv);

// The flags that say which model is run how.
struct ModelFlags {
  std::string library;
  std::string model;
  std::vector<std::string> inputs;  // x.npz, x.npy or name=x.npy
  uint64_t threads = 1;
  bool no_xnnpack = false;

  void declare(Flags *flags);
  Status open(const char *verb, ModelHandle *opened) const;
};

struct TensorInfo {
  std::string name;
  edge_tensor tensor;
  std::vector<int64_t> shape;
};

Status read_inputs_info(const edge_model *model, std::vector<TensorInfo> *infos);
Status read_outputs_info(const edge_model *model, std::vector<TensorInfo> *infos);

// The arrays for a model's inputs, found by name in the given files.
class InputArrays {
 public:
  // Every array has a tensor and every tensor an array, with its dtype and shape. With `each`, the
  // first axis of every array counts samples: a multiple of the tensor's own first axis.
  Status open(const std::vector<std::string> &files, const std::vector<TensorInfo> &tensors,
              bool each);
  uint64_t runs() const { return runs_; }
  // Copies what belongs to the given run into the model.
  Status set(edge_model *model, uint64_t run) const;

 private:
  Status match(const std::vector<TensorInfo> &tensors, bool each);

  std::vector<ArrayFile> files_;
  std::vector<NamedArray> given_;
  std::vector<bool> named_;      // whether the name was the user's, rather than a file's
  std::vector<Array> by_index_;  // in the order of the model's inputs
  uint64_t runs_ = 1;
};

// The members of the report that every run of a model has, into an object that is open.
Status report_model(const ModelFlags &flags, const edge_model *model,
                    const std::vector<std::string> &warnings, Json *json);

// Prints `edge-run: <message>` and returns the exit code.
int exit_with(Status status);

}  // namespace edge

#endif  // EDGE_INFER_H
