// SHA256SUMS: what a release consists of, in the form that `sha256sum -c` reads.
#ifndef EDGE_STORE_SUMS_H
#define EDGE_STORE_SUMS_H

#include <stdint.h>

#include <map>
#include <string>

#include "store/result.h"

namespace edge::store {

constexpr char kManifest[] = "manifest.json";
constexpr char kSums[] = "SHA256SUMS";
constexpr uint64_t kMaxLinks = 4096;

// Path in the release -> sha256.
using Links = std::map<std::string, std::string>;

bool is_release_path(const std::string &path);
std::string sums_of(const Links &links, const std::string &manifest);
// False unless `text` is what sums_of() writes; the manifest's hash stands under its name.
bool parse_sums(const std::string &text, Links *links);
// Of the release `id` in the directory `releases`.
Result read_sums(int releases, const std::string &id, std::string *sums);

}  // namespace edge::store

#endif  // EDGE_STORE_SUMS_H
