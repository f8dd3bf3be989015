#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "file.h"

namespace edge {
namespace {

// Length of the well-formed UTF-8 character at `at`, or 0.
size_t utf8_length(const std::string &text, size_t at) {
  const auto byte = [&](size_t i) -> unsigned {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
  };
  const auto follows = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return follows(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!follows(1) || !follows(2)) return 0;
    if (lead == 0xe0 && byte(1) < 0xa0) return 0;   // overlong
    if (lead == 0xed && byte(1) >= 0xa0) return 0;  // surrogate
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if (lead == 0xf0 && byte(1) < 0x90) return 0;
    if (lead == 0xf4 && byte(1) >= 0x90) return 0;
    return 4;
  }
  return 0;
}

std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[at]);
    const size_t length = utf8_length(text, at);
    if (length == 0) {
      out += "\\ufffd";
      ++at;
      continue;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += text[at];
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f) {
      char escape[8];
      snprintf(escape, sizeof escape, "\\u%04x", c);
      out += escape;
    } else {
      out.append(text, at, length);
    }
    at += length;
  }
  return out + '"';
}

}  // namespace

Json &Json::raw(const std::string &text) {
  if (!first_) text_ += ',';
  first_ = false;
  text_ += text;
  return *this;
}

Json &Json::begin_object() {
  raw("{");
  first_ = true;
  return *this;
}

Json &Json::end_object() {
  text_ += '}';
  first_ = false;
  return *this;
}

Json &Json::begin_array() {
  raw("[");
  first_ = true;
  return *this;
}

Json &Json::end_array() {
  text_ += ']';
  first_ = false;
  return *this;
}

Json &Json::key(const char *name) {
  raw(quoted(name));
  text_ += ':';
  first_ = true;
  return *this;
}

Json &Json::string(const std::string &text) {
  return raw(quoted(text));
}

Json &Json::number(uint64_t value) {
  return raw(std::to_string(value));
}

Json &Json::integer(int64_t value) {
  return raw(std::to_string(value));
}

Json &Json::real(float value) {
  if (!isfinite(value)) return null();
  char text[32];
  for (int digits = 6; digits <= 9; ++digits) {
    snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
    if (strtof(text, nullptr) == value) break;
  }
  return raw(text);
}

Json &Json::boolean(bool value) {
  return raw(value ? "true" : "false");
}

Json &Json::null() {
  return raw("null");
}

Status Json::print(int fd) const {
  const std::string line = text_ + '\n';
  return write_all(fd, line.data(), line.size(), "standard output");
}

}  // namespace edge
