// A writer of JSON; there is nothing here that reads it.
#ifndef EDGE_JSON_H
#define EDGE_JSON_H

#include <stdint.h>
#include <unistd.h>

#include <string>

#include "error.h"

namespace edge {

class Json {
 public:
  // Commas are put where they belong. key() is for members of objects only.
  Json &begin_object();
  Json &end_object();
  Json &begin_array();
  Json &end_array();
  Json &key(const char *name);
  Json &string(const std::string &text);
  Json &number(uint64_t value);
  Json &integer(int64_t value);
  // Shortest text that reads back as the same float; null for what JSON can't say (inf, nan).
  Json &real(float value);
  Json &boolean(bool value);
  Json &null();

  const std::string &text() const { return text_; }
  // The whole object and a line break to standard output, or EDGE_IO.
  Status print(int fd = STDOUT_FILENO) const;

 private:
  Json &raw(const std::string &text);
  std::string text_;
  bool first_ = true;  // no comma before the next value
};

}  // namespace edge

#endif  // EDGE_JSON_H
