// Files: descriptors that close themselves, mappings that unmap themselves, whole writes.
#ifndef EDGE_FILE_H
#define EDGE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "error.h"

namespace edge {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor &operator=(Descriptor &&other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// A regular file, mapped read-only, or what came from a stream. An empty one maps to no bytes.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile &operator=(MappedFile &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile();

  Status open(const char *path);
  // All that comes from `fd` to its end, held in memory. `name` is how messages call it. `look` is
  // shown the first 8 bytes as soon as they are there: if it refuses them, nothing more is read.
  Status read(int fd, const char *name, Status (*look)(const char *name, const uint8_t *bytes));
  const uint8_t *data() const { return data_; }
  size_t size() const { return size_; }
  // The caller unmaps from now on.
  uint8_t *release() {
    size_ = 0;
    return std::exchange(data_, nullptr);
  }

 private:
  uint8_t *data_ = nullptr;
  size_t size_ = 0;
};

// Reads a small file whose size is unknown beforehand, such as those in /proc. Empty on failure.
std::string read_small_file(const char *path);
Status write_all(int fd, const void *data, size_t size, const char *path);

}  // namespace edge

#endif  // EDGE_FILE_H
