// What a SavedModel says of its signatures: the few fields of MetaGraphDef that edge needs.
#ifndef EDGE_SAVED_MODEL_H
#define EDGE_SAVED_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "error.h"

namespace edge {

struct SignatureTensor {
  std::string name;  // as callers say it
  std::string node;  // "serving_default_x:0"
  int32_t dtype = 0;
  bool unknown_rank = false;
  std::vector<int64_t> dims;  // -1: open
};

struct Signature {
  std::string key;
  std::vector<SignatureTensor> inputs;  // by name
  std::vector<SignatureTensor> outputs;
};

// EDGE_BAD_MODEL if these bytes are no serialized MetaGraphDef.
Status read_signatures(const uint8_t *data, size_t size, std::vector<Signature> *signatures);

}  // namespace edge

#endif  // EDGE_SAVED_MODEL_H
