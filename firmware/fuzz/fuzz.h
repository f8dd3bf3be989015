// What the fuzz targets share. Each is one file that defines LLVMFuzzerTestOneInput; clang links it
// with libFuzzer, every other compiler with replay.cc. docs/fuzzing.md says how they are run.
#ifndef EDGE_FUZZ_H
#define EDGE_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A property that no input may break.
#define REQUIRE(condition)                                                      \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                  \
    }                                                                           \
  } while (false)

namespace edge::fuzz {

// One file in memory for the whole run, for functions that take a path.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("edge-fuzz", MFD_CLOEXEC)) {
    REQUIRE(fd_ >= 0);
    path_ = "/proc/self/fd/" + std::to_string(fd_);
  }
  void fill(const uint8_t *data, size_t size) {
    REQUIRE(ftruncate(fd_, 0) == 0);
    REQUIRE(pwrite(fd_, data, size, 0) == static_cast<ssize_t>(size));
    REQUIRE(lseek(fd_, 0, SEEK_SET) == 0);
  }
  int fd() const { return fd_; }
  const char *path() const { return path_.c_str(); }

 private:
  const int fd_;
  std::string path_;
};

}  // namespace edge::fuzz

#endif  // EDGE_FUZZ_H
