// The words of a line: how they are split, and what each may be.
#ifndef EDGE_STORE_WORDS_H
#define EDGE_STORE_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

namespace edge::store {

using Words = std::vector<std::string>;

// False unless `line` is printable ASCII words between single spaces.
bool split(const std::string &line, Words *words);
std::string number(uint64_t value);
bool parse_number(const std::string &text, uint64_t limit, uint64_t *value);
bool is_sha(const std::string &text);
// The name of a release.
bool is_id(const std::string &text);
bool ends_with(const std::string &text, const std::string &end);

}  // namespace edge::store

#endif  // EDGE_STORE_WORDS_H
