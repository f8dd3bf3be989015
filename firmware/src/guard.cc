#include "guard.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "clock.h"
#include "edge.h"
#include "file.h"

namespace edge {
namespace {

// The number may be another program's by now: only that one maps the file.
bool records(pid_t pid, const std::string &path) {
  const std::string maps = read_small_file(("/proc/" + std::to_string(pid) + "/maps").c_str());
  return maps.find(" " + path + "\n") != std::string::npos;
}

// A recorder that did not come to its end leaves all the room that it had reserved.
void cut(const std::string &path) {
  edge_recording_header header = {};
  const Descriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file.valid() || pread(file.get(), &header, sizeof header, 0) != sizeof header) return;
  const uint64_t count = std::min(header.count, header.capacity);
  const uint64_t bytes = header.header_bytes + count * header.sample_bytes;
  struct stat info = {};
  if (fstat(file.get(), &info) != 0 || bytes >= static_cast<uint64_t>(info.st_size)) return;
  (void)!ftruncate(file.get(), static_cast<off_t>(bytes));
}

void end(pid_t pid, const std::string &path) {
  constexpr uint64_t patience_ns = 3000000000;
  const uint64_t begin = clock_ns();
  kill(pid, SIGTERM);
  for (bool killed = false; records(pid, path); poll(nullptr, 0, 20)) {
    const uint64_t waited_ns = clock_ns() - begin;
    if (!killed && waited_ns >= patience_ns) killed = kill(pid, SIGKILL) == 0;
    // What not even that ends waits for a device.
    if (waited_ns >= 2 * patience_ns) return;
  }
}

}  // namespace

void end_recording(const std::string &path) {
  edge_recording_header header = {};
  {
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid() || pread(file.get(), &header, sizeof header, 0) != sizeof header) return;
  }
  char resolved[PATH_MAX];
  const auto pid = static_cast<pid_t>(header.pid);
  if (memcmp(header.magic, "EDGESMPL", sizeof header.magic) != 0 || pid <= 1 ||
      realpath(path.c_str(), resolved) == nullptr) {
    return;
  }
  if (records(pid, resolved)) end(pid, resolved);
  if (!records(pid, resolved)) cut(path);
}

}  // namespace edge
