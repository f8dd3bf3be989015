// Processes that use a release: they run from it, have a file of it mapped, or work in its folder.
#ifndef EDGE_STORE_USERS_H
#define EDGE_STORE_USERS_H

#include <map>
#include <string>

namespace edge::store {

struct User {
  int pid = 0;
  std::string command;
};

// Release id -> one process that uses it, other than this one. What the kernel doesn't show of
// others' processes is passed over.
std::map<std::string, User> users_of(int releases);

}  // namespace edge::store

#endif  // EDGE_STORE_USERS_H
