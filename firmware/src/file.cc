#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

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

Status MappedFile::read(int fd, const char *name, Status (*look)(const char *, const uint8_t *)) {
  // Half of the memory is more than any model's inputs, and leaves the board alive.
  const uint64_t half = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) / 2 *
                        static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const size_t most = static_cast<size_t>(std::min<uint64_t>(half, INT32_MAX));
  MappedFile held;  // its size is what is mapped, not what is filled
  size_t size = 0;
  bool looked = false;
  for (;;) {
    if (size == held.size_) {
      const size_t wanted = std::min(std::max(2 * size, size_t{64} << 10), most);
      void *mapping = MAP_FAILED;
      if (size == 0) {
        mapping = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      } else if (wanted > size) {
        mapping = mremap(held.data_, held.size_, wanted, MREMAP_MAYMOVE);
      }
      if (mapping == MAP_FAILED) {
        return fail(EDGE_NO_MEMORY, "%s brings more than there is memory for: give less at a time",
                    name);
      }
      held.data_ = static_cast<uint8_t *>(mapping);
      held.size_ = wanted;
    }
    const ssize_t got = ::read(fd, held.data_ + size, held.size_ - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "can't read %s", name);
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (looked || size < 8) continue;
    EDGE_TRY(look(name, held.data_));
    looked = true;
  }
  if (size == 0) return fail(EDGE_BAD_FILE, "%s is empty", name);
  // The pages beyond the end go back; not by mremap, with which QEMU's user mode for 32-bit
  // programs takes away what lies behind them.
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t kept = (size + page - 1) / page * page;
  if (kept < held.size_) munmap(held.data_ + kept, held.size_ - kept);
  held.size_ = size;
  std::swap(*this, held);
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
      if (errno == EPIPE) return fail(EDGE_INTERRUPTED, "nobody reads %s any more", path);
      return fail_errno(errno, "can't write %s", path);
    }
    from += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return Status();
}

}  // namespace edge
