#include "facts.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "clock.h"
#include "edge.h"
#include "file.h"
#include "flags.h"
#include "infer.h"
#include "json.h"

namespace edge {
namespace {

constexpr const char *facts_help = R"(usage: edge-run facts [--path DIR]

Prints what this board is as one JSON object: machine, kernel, C library, CPUs and their features,
memory, clock.

  --path DIR           also the free space of DIR (or of the folder it would be made in), the kind
                       of its file system, and whether programs can run from there
)";

std::string trimmed(const std::string &text) {
  // Files of the device tree end in a zero byte.
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string::npos) return "";
  const size_t end = text.find_last_not_of(std::string(" \t\n\0", 4));
  return text.substr(begin, end - begin + 1);
}

// All values of a key in /proc/cpuinfo or /proc/meminfo, each once, in order.
std::vector<std::string> values_of(const std::string &text, const char *key) {
  std::vector<std::string> values;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t colon = line.find(':');
    if (colon == std::string::npos || trimmed(line.substr(0, colon)) != key) continue;
    const std::string value = trimmed(line.substr(colon + 1));
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  return values;
}

#if defined(__aarch64__)
// The kernel's own names, by bit. "" is a bit without a name.
constexpr const char *hwcap_names[] = {
    "fp",      "asimd", "evtstrm", "aes",   "pmull",    "sha1",   "sha2", "crc32",
    "atomics", "fphp",  "asimdhp", "cpuid", "asimdrdm", "jscvt",  "fcma", "lrcpc",
    "dcpop",   "sha3",  "sm3",     "sm4",   "asimddp",  "sha512", "sve",  "asimdfhm",
    "dit",     "uscat", "ilrcpc",  "flagm", "ssbs",     "sb",     "paca", "pacg"};
constexpr const char *hwcap2_names[] = {"dcpodp",   "sve2",     "sveaes",  "svepmull", "svebitperm",
                                        "svesha3",  "svesm4",   "flagm2",  "frint",    "svei8mm",
                                        "svef32mm", "svef64mm", "svebf16", "i8mm",     "bf16",
                                        "dgh",      "rng",      "bti",     "mte"};
#elif defined(__arm__)
constexpr const char *hwcap_names[] = {
    "swp",   "half",   "thumb",  "26bit",   "fastmult", "fpa",    "vfp",      "edsp",
    "java",  "iwmmxt", "crunch", "thumbee", "neon",     "vfpv3",  "vfpv3d16", "tls",
    "vfpv4", "idiva",  "idivt",  "vfpd32",  "lpae",     "evtstrm"};
constexpr const char *hwcap2_names[] = {"aes", "pmull", "sha1", "sha2", "crc32"};
#endif

std::vector<std::string> cpu_features(const std::string &cpuinfo) {
  std::vector<std::string> features;
#if defined(__aarch64__) || defined(__arm__)
  // From the auxiliary vector: under user-mode emulation /proc/cpuinfo is the host's.
  (void)cpuinfo;
  unsigned bit = 0;
  for (const char *name : hwcap_names) {
    if ((getauxval(AT_HWCAP) >> bit++) & 1) features.push_back(name);
  }
  bit = 0;
  for (const char *name : hwcap2_names) {
    if ((getauxval(AT_HWCAP2) >> bit++) & 1) features.push_back(name);
  }
#else
  for (const std::string &line : values_of(cpuinfo, "flags")) {
    for (size_t begin = 0; begin < line.size();) {
      size_t end = line.find(' ', begin);
      if (end == std::string::npos) end = line.size();
      features.push_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
    break;
  }
#endif
  return features;
}

const char *file_system_name(long type) {
  switch (static_cast<unsigned long>(type) & 0xffffffffu) {
    case 0xef53:
      return "ext4";
    case 0x01021994:
      return "tmpfs";
    case 0x858458f6:
      return "ramfs";
    case 0x794c7630:
      return "overlay";
    case 0x9123683e:
      return "btrfs";
    case 0x58465342:
      return "xfs";
    case 0xf2f52010:
      return "f2fs";
    case 0x73717368:
      return "squashfs";
    case 0x4d44:
      return "vfat";
    case 0x6969:
      return "nfs";
    case 0x24051905:
      return "ubifs";
    case 0x72b6:
      return "jffs2";
    case 0x01021997:
      return "9p";
    default:
      return "other";
  }
}

Status report_path(std::string path, Json *json) {
  // The folder need not exist yet: what counts is where it would be made.
  while (access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) {
      path = ".";
    } else if (slash == 0) {
      path = "/";
    } else {
      path.resize(slash);
    }
  }
  struct statvfs space;
  struct statfs kind;
  if (statvfs(path.c_str(), &space) != 0 || statfs(path.c_str(), &kind) != 0) {
    return fail_errno(errno, "can't examine %s", path.c_str());
  }
  json->key("path").begin_object();
  json->key("examined").string(path);
  json->key("free_bytes").number(static_cast<uint64_t>(space.f_bavail) * space.f_frsize);
  json->key("file_system").string(file_system_name(static_cast<long>(kind.f_type)));
  json->key("noexec").boolean((space.f_flag & ST_NOEXEC) != 0);
  json->key("writable").boolean(access(path.c_str(), W_OK) == 0);
  json->end_object();
  return Status();
}

Status report_facts(const std::string &path) {
  utsname system;
  if (uname(&system) != 0) return fail_errno(errno, "can't ask the kernel for its name");
  const std::string cpuinfo = read_small_file("/proc/cpuinfo");
  const std::string meminfo = read_small_file("/proc/meminfo");
  const auto memory = [&](const char *key) {
    const std::vector<std::string> found = values_of(meminfo, key);
    return found.empty() ? uint64_t{0} : strtoull(found[0].c_str(), nullptr, 10) * 1024;
  };
  const ClockQuality clock = measure_clock();

  Json json;
  json.begin_object();
  json.key("edge_version").string(EDGE_VERSION);
  json.key("abi_version").integer(EDGE_ABI_VERSION);
  json.key("machine").string(system.machine);
  json.key("kernel").string(std::string(system.sysname) + " " + system.release);
  // The runner is linked against glibc: where it runs, that is what there is.
  json.key("libc").begin_object();
  json.key("kind").string("glibc");
  json.key("version").string(gnu_get_libc_version());
  json.end_object();
  json.key("board").string(trimmed(read_small_file("/proc/device-tree/model")));
  json.key("cpus_online").integer(sysconf(_SC_NPROCESSORS_ONLN));
  const std::vector<std::string> models = values_of(cpuinfo, "model name");
  json.key("cpu_model").string(models.empty() ? "" : models[0]);
  json.key("cpu_parts").begin_array();
  for (const std::string &part : values_of(cpuinfo, "CPU part")) json.string(part);
  json.end_array();
  json.key("cpu_features").begin_array();
  for (const std::string &feature : cpu_features(cpuinfo)) json.string(feature);
  json.end_array();
  json.key("mem_total_bytes").number(memory("MemTotal"));
  json.key("mem_available_bytes").number(memory("MemAvailable"));
  json.key("page_bytes").integer(sysconf(_SC_PAGESIZE));
  json.key("tick_ns").number(clock.tick_ns);
  json.key("clock_cost_ns").number(clock.cost_ns);
  json.key("shm_writable").boolean(access("/dev/shm", W_OK) == 0);
  if (!path.empty()) EDGE_TRY(report_path(path, &json));
  json.end_object();
  return json.print();
}

}  // namespace

int facts_main(int argc, char **argv) {
  std::string path;
  Flags flags;
  flags.text("--path", &path);
  return run_verb(argc, argv, &flags, {facts_help}, [&] { return report_facts(path); });
}

}  // namespace edge
