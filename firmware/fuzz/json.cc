// Any bytes as a name or a number: what is printed is JSON, in UTF-8, and the number that it was.
#include "json.h"

#include <math.h>
#include <string.h>

#include "fuzz.h"

using namespace edge;

namespace {

// The code point at `at`, which moves behind it; false if it is none that UTF-8 may hold.
bool take_utf8(const std::string &text, size_t *at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(*at);
  const size_t length = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (length == 0 || lead > 0xf4 || *at + length > text.size()) return false;
  uint32_t point = length == 1 ? lead : lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(*at + i) & 0xc0) != 0x80) return false;
    point = point << 6 | (byte(*at + i) & 0x3fu);
  }
  constexpr uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
    return false;
  }
  *at += length;
  return true;
}

bool is_json_string(const std::string &text) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
  const size_t end = text.size() - 1;
  for (size_t at = 1; at < end;) {
    const unsigned char c = static_cast<unsigned char>(text[at]);
    if (c < 0x20 || c == '"') return false;
    if (c != '\\') {
      if (!take_utf8(text, &at)) return false;
      continue;
    }
    const char kind = text[at + 1];
    if (kind == 'u') {
      if (at + 6 > end || text.find_first_not_of("0123456789abcdef", at + 2) < at + 6) return false;
      at += 6;
    } else if (strchr("\"\\nt", kind) != nullptr && kind != '\0') {
      at += 2;
    } else {
      return false;
    }
    if (at > end) return false;
  }
  return true;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Json json;
  json.string(std::string(reinterpret_cast<const char *>(data), size));
  REQUIRE(is_json_string(json.text()));

  float value;
  if (size < sizeof value) return 0;
  memcpy(&value, data, sizeof value);
  Json number;
  number.real(value);
  REQUIRE(isfinite(value) ? strtof(number.text().c_str(), nullptr) == value
                          : number.text() == "null");
  return 0;
}
