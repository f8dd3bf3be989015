#include "process.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

namespace {

// One of `4-7,9`, which begins at `*at`; false if there is none.
bool next_range(const char **at, unsigned long *first, unsigned long *last) {
  const auto number = [&](unsigned long *value) {
    if (**at < '0' || **at > '9') return false;
    char *end = nullptr;
    *value = strtoul(*at, &end, 10);
    *at = end;
    return *value < CPU_SETSIZE;
  };
  if (!number(first)) return false;
  *last = *first;
  if (**at != '-') return true;
  ++*at;
  return number(last) && *last >= *first;
}

}  // namespace

Status run_on(const std::string &cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  const char *at = cpus.c_str();
  for (bool more = true; more;) {
    unsigned long first = 0, last = 0;
    if (!next_range(&at, &first, &last) || (*at != '\0' && *at != ',')) {
      return fail(EDGE_USAGE, "--cpus takes processors such as 4-7 or 0,2, not '%s'", cpus.c_str());
    }
    for (unsigned long cpu = first; cpu <= last; ++cpu) CPU_SET(cpu, &set);
    more = *at == ',';
    if (more) ++at;
  }
  if (sched_setaffinity(0, sizeof set, &set) == 0) {
    // The kernel leaves out what is not there, as long as something is.
    cpu_set_t given;
    if (sched_getaffinity(0, sizeof given, &given) != 0 || CPU_EQUAL(&set, &given)) return Status();
  } else if (errno != EINVAL) {
    return fail_errno(errno, "can't run on processors %s", cpus.c_str());
  }
  return fail(EDGE_USAGE, "there are no processors %s here, or they are not for this program",
              cpus.c_str());
}

Undisturbed raise_priority() {
  Undisturbed made;
  for (int nice = -20; nice < 0; ++nice) {
    if (setpriority(PRIO_PROCESS, 0, nice) == 0) break;
  }
  made.nice = getpriority(PRIO_PROCESS, 0);
  return made;
}

void lock_memory(Undisturbed *undisturbed) {
  // Not what comes later, too: under a limit, any allocation could then fail.
  undisturbed->memory_locked = mlockall(MCL_CURRENT) == 0;
}

}  // namespace edge
