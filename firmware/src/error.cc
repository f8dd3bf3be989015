#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

namespace edge {
namespace {

thread_local char message[1024];

void flatten(char *text) {
  for (char *c = text; *c != '\0'; ++c) {
    if (static_cast<unsigned char>(*c) < 0x20 || *c == 0x7f) *c = ' ';
  }
  size_t length = strlen(text);
  while (length > 0 && text[length - 1] == ' ') text[--length] = '\0';
}

edge_status code_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EROFS:
      return EDGE_NO_FILE;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return EDGE_NO_SPACE;
    case ENOMEM:
      return EDGE_NO_MEMORY;
    default:
      return EDGE_IO;
  }
}

}  // namespace

// Both format into a second buffer first, because an argument may be last_error() itself.
Status fail(edge_status code, const char *format, ...) {
  char text[sizeof message];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  memcpy(message, text, sizeof message);
  flatten(message);
  return Status(code);
}

Status fail_errno(int error_number, const char *format, ...) {
  char text[sizeof message - 128];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  snprintf(message, sizeof message, "%s: %s", text, strerror(error_number));
  flatten(message);
  return Status(code_of(error_number));
}

std::string quoted(const std::vector<std::string> &names) {
  std::string text;
  for (const std::string &name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

const char *last_error() {
  return message;
}

void clear_error() {
  message[0] = '\0';
}

}  // namespace edge

const char *edge_error(void) {
  return edge::last_error();
}
