// Kernels of the user's own for a model's custom operators, as edge_op.h has them.
#ifndef EDGE_CUSTOM_OPS_H
#define EDGE_CUSTOM_OPS_H

#include <string>
#include <vector>

#include "delegate_c.h"
#include "library.h"
#include "tflite_c.h"

#define EDGE_OP_READER
#include "edge_op.h"

namespace edge {

// A delegate that takes each node whose operator has a kernel in the library, one by one. Runtimes
// let operators that they don't know stand until delegates were asked, and delegates have one
// binary interface, in plain C, in every one of them: from C, from LiteRT and from Python.
// Interpreters use it until their very end: destroy them before.
class CustomOps {
 public:
  CustomOps();
  CustomOps(const CustomOps &) = delete;
  CustomOps &operator=(const CustomOps &) = delete;

  // EDGE_BAD_LIBRARY if the library isn't one, or of another edge_op.h.
  Status load(const char *path);
  bool loaded() const { return first_ != nullptr; }
  // To be applied before any other.
  tflite::Delegate *get() { return reinterpret_cast<tflite::Delegate *>(&delegate_); }

  // Why a kernel failed, for the user; empty if none did.
  const std::string &failure() const { return failure_; }
  void forget_failure() { failure_.clear(); }
  // The name of what has which kernels, for messages.
  std::string describe() const;

 private:
  class Kernel;

  static delegate::Result prepare(delegate::Context *context, delegate::Delegate *delegate);
  const edge_op *find(const char *name) const;
  delegate::Result fail_kernel(delegate::Context *context, const std::string &text);

  Library library_{
      "it is no library of custom operators: make one of your kernels with `invoke build --ops`"};
  std::string path_;
  const edge_op *first_ = nullptr;
  delegate::Delegate delegate_ = {};
  std::string failure_;
};

// `failure` with what is known of the kernels: what one of them said comes first.
Status explain_ops(const CustomOps &ops, Status failure);

}  // namespace edge

#endif  // EDGE_CUSTOM_OPS_H
