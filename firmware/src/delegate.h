// An external delegate: a plug-in library that takes over parts of a model.
#ifndef EDGE_DELEGATE_H
#define EDGE_DELEGATE_H

#include <stddef.h>

#include "edge.h"
#include "library.h"
#include "tflite_c.h"

namespace edge {

class ExternalDelegate {
 public:
  ExternalDelegate() = default;
  // Interpreters use their delegates until their very end: destroy them before.
  ~ExternalDelegate();
  ExternalDelegate(const ExternalDelegate &) = delete;
  ExternalDelegate &operator=(const ExternalDelegate &) = delete;

  // By options.delegate_path and its keys and values. EDGE_BAD_LIBRARY if the library isn't a
  // delegate for this machine, EDGE_RUNTIME with its own words if it creates none.
  Status create(const edge_options &options);
  tflite::Delegate *get() const { return delegate_; }

 private:
  Library library_{"it is not an external delegate of TFLite: give the plug-in's .so file"};
  void (*destroy_)(tflite::Delegate *delegate) = nullptr;
  tflite::Delegate *delegate_ = nullptr;
};

}  // namespace edge

#endif  // EDGE_DELEGATE_H
