// The flags that say which model is run how: the same for every verb that opens one.
#ifndef EDGE_MODEL_FLAGS_H
#define EDGE_MODEL_FLAGS_H

#include <stdint.h>

#include <string>
#include <vector>

#include "edge.h"
#include "flags.h"
#include "model.h"

namespace edge {

// Their part of a verb's help.
extern const char *const model_flags_help;

struct ModelFlags {
  std::string engine = "tflite";
  std::string library;
  std::string model;
  std::string signature;
  std::vector<std::string> shapes;  // name=1x224x224x3
  uint64_t batch = 0;
  std::string delegate;  // external:PATH?key=value
  std::string ops;
  uint64_t threads = 1;
  bool no_xnnpack = false;

  void declare(Flags *flags);
  Status open(const char *verb, ModelHandle *opened) const;
};

// The name ends at the last '='. `shape->name` is left alone.
Status parse_shape(const std::string &text, std::string *name, edge_shape *shape);

struct DelegateFlag {
  std::string path;
  std::vector<std::string> keys;
  std::vector<std::string> values;
};
// external:PATH?key=value&key=value, each part percent-encoded where it has to be.
Status parse_delegate(const std::string &text, DelegateFlag *delegate);

}  // namespace edge

#endif  // EDGE_MODEL_FLAGS_H
