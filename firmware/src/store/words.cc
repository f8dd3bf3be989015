#include "store/words.h"

#include <algorithm>

namespace edge::store {
namespace {

bool is_hex(const std::string &text, size_t least, size_t most) {
  return text.size() >= least && text.size() <= most &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

bool split(const std::string &line, Words *words) {
  words->assign(1, "");
  for (char c : line) {
    if (c == ' ') {
      words->emplace_back();
    } else if (c > ' ' && c <= '~') {
      words->back() += c;
    } else {
      return false;
    }
  }
  return std::none_of(words->begin(), words->end(), [](const auto &w) { return w.empty(); });
}

std::string number(uint64_t value) {
  return std::to_string(value);
}

bool parse_number(const std::string &text, uint64_t limit, uint64_t *value) {
  if (text.empty() || text.size() > 18 || (text.size() > 1 && text[0] == '0')) return false;
  *value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    *value = *value * 10 + static_cast<uint64_t>(c - '0');
  }
  return *value <= limit;
}

bool is_sha(const std::string &text) {
  return is_hex(text, 64, 64);
}

bool is_id(const std::string &text) {
  return is_hex(text, 16, 64);
}

bool ends_with(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace edge::store
