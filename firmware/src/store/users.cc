#include "store/users.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "store/files.h"
#include "store/words.h"

namespace edge::store {
namespace {

std::string target_of(const std::string &link) {
  char target[PATH_MAX];
  const ssize_t size = readlink(link.c_str(), target, sizeof target);
  return std::string(target, static_cast<size_t>(std::max<ssize_t>(size, 0)));
}

// The release that `path` lies in, or is; empty if none. `releases` ends with a slash.
std::string release_of(const std::string &path, const std::string &releases) {
  if (path.compare(0, releases.size(), releases) != 0) return "";
  // What was removed is in no release any more, though one of its name may stand there again.
  if (ends_with(path, " (deleted)")) return "";
  const std::string id =
      path.substr(releases.size(), path.find('/', releases.size()) - releases.size());
  return is_id(id) ? id : "";
}

// Calls `found` with the release of every file that the process has mapped.
template <typename Found>
void each_mapped(const std::string &process, const std::string &releases, Found found) {
  FILE *maps = fopen((process + "/maps").c_str(), "re");
  if (maps == nullptr) return;
  char *line = nullptr;
  size_t size = 0;
  ssize_t got;
  while ((got = getline(&line, &size, maps)) > 0) {
    if (line[got - 1] == '\n') line[got - 1] = '\0';
    // Address, rights, offset, device and inode stand before the path; none has a slash.
    const char *path = strchr(line, '/');
    if (path != nullptr) found(release_of(path, releases));
  }
  free(line);
  fclose(maps);
}

std::string command_of(const std::string &process) {
  const std::string text = read_small_file((process + "/comm").c_str());
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::map<std::string, User> users_of(int releases) {
  std::map<std::string, User> users;
  // As the kernel writes it: without links, whichever way a process came to its files.
  const std::string below = target_of("/proc/self/fd/" + std::to_string(releases)) + "/";
  // By way of what only the kernel's has: in QEMU's user mode a sysroot's own /proc would hide it.
  Descriptor proc(open("/proc/self/..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!proc.valid() || below[0] != '/') return users;
  for (const std::string &name : names_in(proc.get())) {
    uint64_t pid = 0;
    if (!parse_number(name, INT_MAX, &pid) || static_cast<int>(pid) == getpid()) continue;
    const std::string process = "/proc/" + name;
    const auto found = [&](const std::string &id) {
      if (id.empty() || users.count(id) != 0) return;
      users.emplace(id, User{static_cast<int>(pid), command_of(process)});
    };
    for (const char *link : {"/exe", "/cwd"}) {
      found(release_of(target_of(process + link), below));
    }
    each_mapped(process, below, found);
  }
  return users;
}

}  // namespace edge::store
