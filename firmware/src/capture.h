// Keeps what a runtime library prints, to show it only if it matters.
#ifndef EDGE_CAPTURE_H
#define EDGE_CAPTURE_H

#include <string>

#include "file.h"

namespace edge {

// Standard output for one writer alone: what libraries print there goes to standard error instead.
// It lasts to the end of the process, and a reader that is gone is an error instead of its end.
class OwnOutput {
 public:
  // -1 until take() was successful.
  int fd() const { return fd_.get(); }
  Status take();

 private:
  Descriptor fd_;
};

// While it lives, file descriptor 2 of the whole process is a memory file; descriptor 1 as well, if
// standard output has an owner. One at a time.
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

// Says for as long as it lives what a runtime library is doing, should it crash; they nest. Keeps
// errno as the library left it: ENOMEM tells why it failed where it has no words.
class RuntimeCall {
 public:
  explicit RuntimeCall(const char *what);
  ~RuntimeCall();
  // Of the last one that ended.
  static int error_number();
  RuntimeCall(const RuntimeCall &) = delete;
  RuntimeCall &operator=(const RuntimeCall &) = delete;

 private:
  const char *before_;
};

// For programs, not libraries: on a crash, say in one line which signal it was and in which call
// of the runtime, after what that had printed and was still being kept. The process then ends by
// that signal; or with EDGE_NO_MEMORY, if memory is limited and that was the cause.
// `message_fd`: where to say it, or -1: standard error, as it was before anything was captured.
void explain_crashes(int message_fd = -1);

}  // namespace edge

#endif  // EDGE_CAPTURE_H
