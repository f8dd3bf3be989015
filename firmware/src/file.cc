#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace edge {

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
}

Status MappedFile::open(const char *path) {
  // A pipe would keep an open() that may block waiting for its writer.
  Descriptor fd(::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return fail_errno(errno, "can't open %s", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return fail_errno(errno, "can't examine %s", path);
  if (!S_ISREG(info.st_mode)) return fail(EDGE_NO_FILE, "%s is not a regular file", path);
  if (info.st_size == 0) return Status();
  if (static_cast<uint64_t>(info.st_size) > SIZE_MAX / 2) {
    return fail(EDGE_NO_MEMORY, "%s is larger than this process can map", path);
  }
  const size_t size = static_cast<size_t>(info.st_size);
  void *mapping = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (mapping == MAP_FAILED) return fail_errno(errno, "can't map %s", path);
  data_ = static_cast<uint8_t *>(mapping);
  size_ = size;
  return Status();
}

std::string read_small_file(const char *path) {
  std::string text;
  Descriptor fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return text;
  char chunk[4096];
  while (text.size() < (1u << 20)) {
    const ssize_t got = read(fd.get(), chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(chunk, static_cast<size_t>(got));
  }
  return text;
}

Status write_all(int fd, const void *data, size_t size, const char *path) {
  const char *from = static_cast<const char *>(data);
  while (size > 0) {
    const ssize_t wrote = write(fd, from, size);
    if (wrote < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno, "can't write %s", path);
    }
    from += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return Status();
}

}  // namespace edge
