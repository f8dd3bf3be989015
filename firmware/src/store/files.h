// Files and directories by name, below an open directory and without following links.
#ifndef EDGE_STORE_FILES_H
#define EDGE_STORE_FILES_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "file.h"
#include "sha256.h"
#include "store/result.h"

namespace edge::store {

constexpr int kReadFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
constexpr int kCreateFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr int kMaxDepth = 32;

bool write_all(int fd, const void *data, size_t size);
// Durable names: a rename or link survives a power cut only once its directory was synced.
bool sync_dir(int fd);
// A new file, its content durable; its name is not yet.
bool create_file(int dir, const char *name, const std::string &text, mode_t mode);
// Two names change places at once. False where a file system can't; errno is EINVAL or ENOSYS.
bool exchange(int dir, const std::string &name, const std::string &other);

Result read_text(int dir, const char *name, size_t limit, std::string *text);
// Hashes the first `size` bytes; a signal stops it.
Result hash_prefix(int fd, uint64_t size, Sha256 *hash);
// A directory below `dir` that nobody else may write to; made if `make` says so.
Result open_dir(int dir, const char *name, const std::string &path, bool make, Descriptor *opened);

std::vector<std::string> components(const std::string &path);
Descriptor open_beneath(int dir, const std::string &path, int flags);
bool file_at(int dir, const std::string &name, struct stat *info);
// The program that runs.
Descriptor open_self(struct stat *info);
// The names in a directory. `dir` stays open.
std::vector<std::string> names_in(int dir);
// Removes what is called `name`, all of it.
bool remove_tree(int dir, const std::string &name, int depth = 0);
// `mkdir -p`, each new name durable.
Result make_dirs(const std::string &path);

// What changes when a file does: equal stamps, equal content, as long as nobody forges times.
struct Stamp {
  Stamp() = default;
  explicit Stamp(const struct stat &info);
  bool operator==(const Stamp &other) const;

  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t changed_ns = 0;  // mtime
};

int64_t in_ns(const timespec &time);

}  // namespace edge::store

#endif  // EDGE_STORE_FILES_H
