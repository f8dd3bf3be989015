#include "store/sums.h"

#include <errno.h>

#include <algorithm>

#include "store/files.h"
#include "store/words.h"

namespace edge::store {
namespace {

constexpr size_t kMaxPath = 1024;
constexpr size_t kMaxName = 255;
constexpr uint64_t kMaxSums = (kMaxLinks + 1) * (kMaxPath + 67);

}  // namespace

bool is_release_path(const std::string &path) {
  static constexpr char kAllowed[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-/";
  if (path.size() > kMaxPath || path.find_first_not_of(kAllowed) != std::string::npos) return false;
  const auto parts = components(path);
  return parts.size() < kMaxDepth && parts[0] != kManifest && parts[0] != kSums &&
         std::none_of(
             parts.begin(), parts.end(),
             [](const std::string &part) {
               return part.empty() || part == "." || part == ".." || part.size() > kMaxName;
             });
}

std::string sums_of(const Links &links, const std::string &manifest) {
  Sha256 hash;
  hash.update(manifest.data(), manifest.size());
  std::string text = hash.hex() + "  " + kManifest + "\n";
  for (const auto &[path, sha] : links) text += sha + "  " + path + "\n";
  return text;
}

bool parse_sums(const std::string &text, Links *links) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos || end - at < 64 + 3 || text.compare(at + 64, 2, "  ") != 0) {
      return false;
    }
    const std::string sha = text.substr(at, 64);
    const std::string path = text.substr(at + 66, end - at - 66);
    if (!is_sha(sha) || (path != kManifest && !is_release_path(path))) return false;
    if (!links->emplace(path, sha).second) return false;
    at = end + 1;
  }
  return links->count(kManifest) == 1;
}

Result read_sums(int releases, const std::string &id, std::string *sums) {
  const std::string name = "releases/" + id;
  Descriptor dir(openat(releases, id.c_str(), kDirFlags));
  if (!dir.valid() && errno == ENOENT) {
    return fail(EDGE_NO_FILE, "there is no release " + id + " on the board");
  }
  if (!dir.valid() && (errno == ENOTDIR || errno == ELOOP)) {
    return fail(EDGE_CORRUPT, name + " is not a directory: deploy it again");
  }
  if (!dir.valid()) return fail_errno("can't open " + name, errno);
  Result result = read_text(dir.get(), kSums, kMaxSums, sums);
  if (result.status != EDGE_NO_FILE) return result;
  return fail(EDGE_CORRUPT, name + "/" + kSums + " is missing: deploy it again");
}

}  // namespace edge::store
