// Failures: a code for the caller, and one line for the person.
#ifndef EDGE_ERROR_H
#define EDGE_ERROR_H

#include <string>
#include <vector>

#include "edge.h"

namespace edge {

class [[nodiscard]] Status {
 public:
  Status() = default;
  explicit Status(int32_t code) : code_(code) {}
  bool ok() const { return code_ == EDGE_OK; }
  int32_t code() const { return code_; }

 private:
  int32_t code_ = EDGE_OK;
};

// Sets this thread's message and returns the code. Line breaks and control characters in the
// formatted text become spaces: a failure is one line wherever it is printed.
__attribute__((format(printf, 2, 3))) Status fail(edge_status code, const char *format, ...);
// The same, followed by ": " and what `error_number` means; picks the code from it.
__attribute__((format(printf, 2, 3))) Status fail_errno(int error_number, const char *format, ...);

// For messages: "'a', 'b'".
std::string quoted(const std::vector<std::string> &names);

const char *last_error();
void clear_error();

}  // namespace edge

#define EDGE_TRY(expression)                                                                 \
  do {                                                                                       \
    if (::edge::Status edge_status_ = (expression); !edge_status_.ok()) return edge_status_; \
  } while (false)

#endif  // EDGE_ERROR_H
