// The record of the release that is live, verified, and whose hook has run: as long as it holds,
// deploying that release again has nothing to do.
#ifndef EDGE_STORE_SETTLED_H
#define EDGE_STORE_SETTLED_H

#include <string>

#include "store/result.h"

namespace edge::store {

constexpr char kSettled[] = "settled";
constexpr char kSettledPart[] = ".settled.part";

// The kernel's name for this boot; `-` if it doesn't say.
std::string boot_id();

// What a write to any file of the release changes: a sha256 over the path, device, inode, size and
// times of each. Cheap: nothing is read but SHA256SUMS.
struct State {
  std::string all;
  // Without the ctime, which another link to a file changes, too.
  std::string content;
};
Result state_of(int releases, const std::string &id, State *state);

// Replaces the record in the directory `root`, atomically and durably.
Result write_settled(int root, const std::string &id, const std::string &state);
// True if the record says `id`, in this state, since this boot.
bool reads_settled(int root, const std::string &id, const std::string &state);

}  // namespace edge::store

#endif  // EDGE_STORE_SETTLED_H
