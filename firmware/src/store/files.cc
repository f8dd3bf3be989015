#include "store/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "store/signals.h"

namespace edge::store {

bool write_all(int fd, const void *data, size_t size) {
  const char *at = static_cast<const char *>(data);
  while (size != 0) {
    const ssize_t wrote = write(fd, at, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    at += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return true;
}

bool sync_dir(int fd) {
  return fsync(fd) == 0 || errno == EINVAL;
}

bool create_file(int dir, const char *name, const std::string &text, mode_t mode) {
  Descriptor file(openat(dir, name, kCreateFlags, mode));
  return file.valid() && write_all(file.get(), text.data(), text.size()) && fsync(file.get()) == 0;
}

bool exchange(int dir, const std::string &name, const std::string &other) {
#if __GLIBC_PREREQ(2, 28)
  return renameat2(dir, name.c_str(), dir, other.c_str(), RENAME_EXCHANGE) == 0;
#else
  constexpr unsigned kExchange = 2;
  return syscall(SYS_renameat2, dir, name.c_str(), dir, other.c_str(), kExchange) == 0;
#endif
}

Result read_text(int dir, const char *name, size_t limit, std::string *text) {
  Descriptor file(openat(dir, name, kReadFlags));
  struct stat info;
  if (!file.valid() || fstat(file.get(), &info) != 0) {
    return fail_errno(std::string("can't read ") + name, errno);
  }
  if (!S_ISREG(info.st_mode) || static_cast<uint64_t>(info.st_size) > limit) {
    return fail(EDGE_CORRUPT, std::string(name) + " is not a file of ours");
  }
  text->resize(static_cast<size_t>(info.st_size));
  size_t at = 0;
  while (at < text->size()) {
    const ssize_t got = read(file.get(), text->data() + at, text->size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(std::string("can't read ") + name, errno);
    if (got == 0) break;
    at += static_cast<size_t>(got);
  }
  text->resize(at);
  return {};
}

Result hash_prefix(int fd, uint64_t size, Sha256 *hash) {
  std::vector<uint8_t> buffer(1 << 18);
  uint64_t at = 0;
  while (at < size) {
    if (signalled()) return interrupted();
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), size - at));
    const ssize_t got = pread(fd, buffer.data(), wanted, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("can't read a file back", errno);
    if (got == 0) return fail(EDGE_CORRUPT, "a file became shorter while it was read");
    hash->update(buffer.data(), static_cast<size_t>(got));
    at += static_cast<uint64_t>(got);
  }
  return {};
}

Result open_dir(int dir, const char *name, const std::string &path, bool make, Descriptor *opened) {
  if (make && mkdirat(dir, name, 0755) == 0) {
    if (!sync_dir(dir)) return fail_errno("can't sync the directory of " + path, errno);
  } else if (make && errno != EEXIST) {
    return fail_errno("can't create " + path, errno);
  }
  *opened = Descriptor(openat(dir, name, kDirFlags));
  struct stat info;
  if (!opened->valid() || fstat(opened->get(), &info) != 0) {
    if (errno == ENOENT) return fail(EDGE_NO_FILE, path + " is missing");
    return fail(EDGE_IO, path + " is not a directory: remove it, or name another root");
  }
  // Whoever may write there could put other content in place of what was verified.
  if (info.st_uid != geteuid() || (info.st_mode & S_IWOTH) != 0) {
    return fail(EDGE_IO, path + " can be changed by other users: name another root");
  }
  return {};
}

std::vector<std::string> components(const std::string &path) {
  std::vector<std::string> parts(1);
  for (char c : path) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

Descriptor open_beneath(int dir, const std::string &path, int flags) {
  const auto parts = components(path);
  Descriptor at;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    at = Descriptor(openat(i == 0 ? dir : at.get(), parts[i].c_str(), kDirFlags));
    if (!at.valid()) return at;
  }
  return Descriptor(openat(at.valid() ? at.get() : dir, parts.back().c_str(), flags));
}

bool file_at(int dir, const std::string &name, struct stat *info) {
  return fstatat(dir, name.c_str(), info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info->st_mode);
}

Descriptor open_self(struct stat *info) {
  // Opened, not stat()ed: QEMU's user mode knows this file by open() alone, and would describe
  // itself.
  Descriptor self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (self.valid() && fstat(self.get(), info) != 0) return Descriptor();
  return self;
}

std::vector<std::string> names_in(int dir) {
  std::vector<std::string> names;
  Descriptor copy(openat(dir, ".", kDirFlags));
  DIR *stream = copy.valid() ? fdopendir(copy.get()) : nullptr;
  if (stream == nullptr) return names;
  copy.release();
  while (const dirent *entry = readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(stream);
  return names;
}

bool remove_tree(int dir, const std::string &name, int depth) {
  if (unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return true;
  if ((errno != EISDIR && errno != EPERM) || depth > kMaxDepth) return false;
  Descriptor inner(openat(dir, name.c_str(), kDirFlags));
  if (!inner.valid()) return false;
  for (const std::string &below : names_in(inner.get())) {
    if (!remove_tree(inner.get(), below, depth + 1)) return false;
  }
  return unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0;
}

Result make_dirs(const std::string &path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), 0755) == 0) {
      const size_t slash = part.find_last_of('/');
      const std::string parent = slash == std::string::npos ? "."
                                 : slash == 0               ? "/"
                                                            : part.substr(0, slash);
      Descriptor dir(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      // A parent that may be passed through but not read can't be synced; what holds is then less.
      if (dir.valid() && !sync_dir(dir.get())) return fail_errno("can't sync " + parent, errno);
    } else if (errno != EEXIST) {
      struct stat info;
      const int error = errno;
      // A read-only file system says EROFS even for a directory that is there.
      if (stat(part.c_str(), &info) != 0) return fail_errno("can't create " + part, error);
    }
    if (end == std::string::npos) return {};
  }
}

int64_t in_ns(const timespec &time) {
  return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec;
}

Stamp::Stamp(const struct stat &info)
    : device(info.st_dev),
      inode(info.st_ino),
      size(static_cast<uint64_t>(info.st_size)),
      changed_ns(in_ns(info.st_mtim)) {}

bool Stamp::operator==(const Stamp &other) const {
  return device == other.device && inode == other.inode && size == other.size &&
         changed_ns == other.changed_ns;
}

}  // namespace edge::store
