// The store as a program of its own, started like edge-run, with faults on demand: every call that
// changes the disk is one step, and a test can end or fail any of them.
//
//   EDGE_STORE_FAULT=kill:N    die by SIGKILL in front of step N (counted from 1)
//   EDGE_STORE_FAULT=stop:N    wait there for a SIGCONT
//   EDGE_STORE_FAULT=<errno>:N fail step N, and nothing else, with that error number
//   EDGE_STORE_TRACE=FILE      append a line per step: its name and the paths, in order
//
// tests/integration/test_store.py builds and drives it. The functions below stand in front of
// libc's own because a program's symbols come first.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "store.h"

#ifndef EDGE_STORE_NO_FAULTS
namespace {

std::string path_of(int fd) {
  if (fd == AT_FDCWD) return ".";
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  char target[PATH_MAX];
  const ssize_t size = readlink(link, target, sizeof target);
  return size < 0 ? "?" : std::string(target, static_cast<size_t>(size));
}

std::string at(int dir, const char *name) {
  return path_of(dir) + "/" + name;
}

// True if the step is to fail; errno says how.
bool step(const char *name, const std::string &what) {
  static int trace = -2;
  static long fault_at = 0;
  static int fault = 0;
  static long count = 0;
  if (trace == -2) {
    const char *file = getenv("EDGE_STORE_TRACE");
    trace = file == nullptr ? -1
                            : static_cast<int>(syscall(SYS_openat, AT_FDCWD, file,
                                                       O_WRONLY | O_CREAT | O_APPEND, 0600));
    if (const char *wanted = getenv("EDGE_STORE_FAULT")) {
      const char *colon = strchr(wanted, ':');
      const bool stops = strncmp(wanted, "stop", 4) == 0;
      fault = strncmp(wanted, "kill", 4) == 0 ? -SIGKILL : stops ? -SIGSTOP : atoi(wanted);
      fault_at = colon == nullptr ? 0 : atol(colon + 1);
    }
  }
  const std::string line = std::string(name) + " " + what + "\n";
  if (trace >= 0 && syscall(SYS_write, trace, line.data(), line.size()) < 0) abort();
  if (++count != fault_at) return false;
  if (fault < 0) {
    kill(getpid(), -fault);
    return false;
  }
  errno = fault;
  return true;
}

int result(long value) {
  return static_cast<int>(value);
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void *data, size_t size) {
  struct stat info;
  const bool disk = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (disk && step("write", path_of(fd))) return -1;
  return syscall(SYS_write, fd, data, size);
}

int fsync(int fd) {
  return step("fsync", path_of(fd)) ? -1 : result(syscall(SYS_fsync, fd));
}

int syncfs(int fd) __THROW {
  return step("syncfs", path_of(fd)) ? -1 : result(syscall(SYS_syncfs, fd));
}

int ftruncate(int fd, off_t size) __THROW {
  return step("ftruncate", path_of(fd)) ? -1 : result(syscall(SYS_ftruncate, fd, size));
}

int fchmodat(int dir, const char *name, mode_t mode, int) __THROW {
  return step("fchmod", at(dir, name)) ? -1 : result(syscall(SYS_fchmodat, dir, name, mode));
}

int fchmod(int fd, mode_t mode) __THROW {
  return step("fchmod", path_of(fd)) ? -1 : result(syscall(SYS_fchmod, fd, mode));
}

int openat(int dir, const char *name, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
    if (step("create", at(dir, name))) return -1;
  }
  return result(syscall(SYS_openat, dir, name, flags, mode));
}

int mkdirat(int dir, const char *name, mode_t mode) __THROW {
  return step("mkdir", at(dir, name)) ? -1 : result(syscall(SYS_mkdirat, dir, name, mode));
}

int unlinkat(int dir, const char *name, int flags) __THROW {
  return step("unlink", at(dir, name)) ? -1 : result(syscall(SYS_unlinkat, dir, name, flags));
}

int linkat(int from, const char *name, int to, const char *other, int flags) __THROW {
  if (step("link", at(from, name) + " " + at(to, other))) return -1;
  return result(syscall(SYS_linkat, from, name, to, other, flags));
}

int symlinkat(const char *target, int dir, const char *name) __THROW {
  if (step("symlink", target + (" " + at(dir, name)))) return -1;
  return result(syscall(SYS_symlinkat, target, dir, name));
}

int renameat(int from, const char *name, int to, const char *other) __THROW {
  if (step("rename", at(from, name) + " " + at(to, other))) return -1;
  return result(syscall(SYS_renameat2, from, name, to, other, 0));
}

int renameat2(int from, const char *name, int to, const char *other, unsigned flags) __THROW {
  if (step("exchange", at(from, name) + " " + at(to, other))) return -1;
  return result(syscall(SYS_renameat2, from, name, to, other, flags));
}

}  // extern "C"
#endif  // EDGE_STORE_NO_FAULTS

int main(int argc, char **argv) {
  if (argc < 2 || strcmp(argv[1], "store") != 0) return 2;
  return store_main(argc - 1, argv + 1);
}
