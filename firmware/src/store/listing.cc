#include "store/listing.h"

#include <algorithm>
#include <map>
#include <utility>

#include "store/files.h"
#include "store/sums.h"
#include "store/words.h"

namespace edge::store {
namespace {

// A file of a release, and how many of its names the release has.
struct Weight {
  uint64_t size = 0;
  uint64_t names = 0;
  uint64_t names_here = 0;
};

using Weights = std::map<std::pair<uint64_t, uint64_t>, Weight>;

void weigh(int dir, int depth, Weights *weights) {
  for (const std::string &name : names_in(dir)) {
    struct stat info;
    if (weights->size() > kMaxLinks + 2) return;
    if (file_at(dir, name, &info)) {
      Weight &weight = (*weights)[{info.st_dev, info.st_ino}];
      weight.size = static_cast<uint64_t>(info.st_size);
      weight.names = info.st_nlink;
      ++weight.names_here;
    } else if (depth < kMaxDepth) {
      Descriptor below(openat(dir, name.c_str(), kDirFlags));
      if (below.valid()) weigh(below.get(), depth + 1, weights);
    }
  }
}

}  // namespace

std::vector<Listed> list_releases(int releases, size_t limit) {
  std::vector<Listed> listed;
  for (const std::string &id : names_in(releases)) {
    Descriptor dir(openat(releases, id.c_str(), kDirFlags));
    if (!is_id(id) || !dir.valid()) continue;
    struct stat info;
    const bool dated = file_at(dir.get(), kManifest, &info) && info.st_mtime > 0;
    listed.push_back({id, dated ? static_cast<uint64_t>(info.st_mtime) : 0, 0, 0});
  }
  std::sort(listed.begin(), listed.end(), [](const Listed &a, const Listed &b) {
    return a.created_s != b.created_s ? a.created_s > b.created_s : a.id < b.id;
  });
  if (listed.size() > limit) listed.resize(limit);
  for (Listed &release : listed) {
    Weights weights;
    Descriptor dir(openat(releases, release.id.c_str(), kDirFlags));
    if (dir.valid()) weigh(dir.get(), 0, &weights);
    for (const auto &[file, weight] : weights) {
      release.size_bytes += weight.size * weight.names_here;
      // One name more is the store's.
      if (weight.names <= weight.names_here + 1) release.own_bytes += weight.size;
    }
  }
  return listed;
}

}  // namespace edge::store
