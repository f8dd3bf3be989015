// Keeps what a runtime library prints to standard error, to show it only if it matters.
#ifndef EDGE_CAPTURE_H
#define EDGE_CAPTURE_H

#include <string>

#include "file.h"

namespace edge {

// While it lives, file descriptor 2 of the whole process is a memory file. One at a time.
class StderrCapture {
 public:
  StderrCapture();
  ~StderrCapture();
  StderrCapture(const StderrCapture &) = delete;
  StderrCapture &operator=(const StderrCapture &) = delete;

  // Gives standard error back and returns what came meanwhile.
  std::string finish();

 private:
  Descriptor memory_;
  Descriptor original_;
};

// Says for as long as it lives what a runtime library is doing, should it crash; they nest.
class RuntimeCall {
 public:
  explicit RuntimeCall(const char *what);
  ~RuntimeCall();
  RuntimeCall(const RuntimeCall &) = delete;
  RuntimeCall &operator=(const RuntimeCall &) = delete;

 private:
  const char *before_;
};

// For programs, not libraries: on a crash, say in one line which signal it was and in which call
// of the runtime, after what that had printed and was still being kept. The process then ends by
// that signal.
void explain_crashes();

}  // namespace edge

#endif  // EDGE_CAPTURE_H
