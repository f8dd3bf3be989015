// The releases on a board: when they were made, what they weigh, what keeps them.
#ifndef EDGE_STORE_LISTING_H
#define EDGE_STORE_LISTING_H

#include <stdint.h>

#include <string>
#include <vector>

namespace edge::store {

struct Listed {
  std::string id;
  uint64_t created_s = 0;
  uint64_t size_bytes = 0;
  uint64_t own_bytes = 0;  // of files that no other release links
};

// Newest first, at most `limit`.
std::vector<Listed> list_releases(int releases, size_t limit);

}  // namespace edge::store

#endif  // EDGE_STORE_LISTING_H
