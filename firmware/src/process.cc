#include "process.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "file.h"

namespace edge {

Disturbance read_disturbance() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto in_ns = [](const timeval &time) {
    return static_cast<int64_t>(time.tv_sec) * 1000000000 +
           static_cast<int64_t>(time.tv_usec) * 1000;
  };
  return {usage.ru_minflt, usage.ru_majflt, usage.ru_nvcsw, usage.ru_nivcsw,
          in_ns(usage.ru_utime) + in_ns(usage.ru_stime)};
}

uint64_t resident_bytes() {
  // statm: total, resident, ... in pages.
  const std::string text = read_small_file("/proc/self/statm");
  const size_t space = text.find(' ');
  if (space == std::string::npos) return 0;
  return strtoull(text.c_str() + space, nullptr, 10) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

uint64_t peak_resident_bytes() {
  // Not ru_maxrss: across fork and exec that one begins with the parent's.
  const std::string text = read_small_file("/proc/self/status");
  const size_t at = text.find("VmHWM:");
  if (at != std::string::npos) return strtoull(text.c_str() + at + 6, nullptr, 10) * 1024;
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace edge
