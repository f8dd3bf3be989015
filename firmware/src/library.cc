#include "library.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "memory.h"

namespace edge {
namespace {

const char *machine_name(unsigned machine, unsigned elf_class) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_386:
      return "32-bit x86";
    case EM_AARCH64:
      return elf_class == ELFCLASS32 ? "aarch64 (ilp32)" : "aarch64";
    case EM_ARM:
      return "32-bit ARM";
    case 243:
      return elf_class == ELFCLASS32 ? "32-bit RISC-V" : "64-bit RISC-V";
    default:
      return "another machine";
  }
}

constexpr unsigned own_machine =
#if defined(__x86_64__)
    EM_X86_64;
#elif defined(__aarch64__)
    EM_AARCH64;
#elif defined(__arm__)
    EM_ARM;
#elif defined(__riscv)
    243;
#elif defined(__i386__)
    EM_386;
#else
    EM_NONE;
#endif
constexpr unsigned own_class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;

// The loader maps what the headers promise and dies by SIGBUS where the file ends before that.
Status check_segments(const char *path, const MappedFile &file) {
  const auto cut = [&] {
    return fail(EDGE_BAD_LIBRARY, "%s is cut (%zu bytes): copy it again", path, file.size());
  };
  ElfW(Ehdr) head;
  if (file.size() < sizeof head) return cut();
  memcpy(&head, file.data(), sizeof head);
  for (unsigned i = 0; i < head.e_phnum; ++i) {
    ElfW(Phdr) segment;
    const uint64_t at = head.e_phoff + uint64_t{i} * sizeof segment;
    if (at > file.size() || sizeof segment > file.size() - at) return cut();
    memcpy(&segment, file.data() + at, sizeof segment);
    if (segment.p_offset > file.size() || segment.p_filesz > file.size() - segment.p_offset) {
      return cut();
    }
  }
  return Status();
}

Status check_elf(const char *path) {
  MappedFile file;
  EDGE_TRY(file.open(path));
  const uint8_t *bytes = file.data();
  if (file.size() < 20 || memcmp(bytes, ELFMAG, SELFMAG) != 0) {
    return fail(EDGE_BAD_LIBRARY, "%s is not a shared library: give an .so file", path);
  }
  const unsigned elf_class = bytes[EI_CLASS];
  const unsigned machine = bytes[18] | bytes[19] << 8;
  if (machine != own_machine || elf_class != own_class) {
    return fail(EDGE_BAD_LIBRARY, "%s is for %s, this runner is for %s: take the one for %s", path,
                machine_name(machine, elf_class), machine_name(own_machine, own_class),
                machine_name(own_machine, own_class));
  }
  return check_segments(path, file);
}

const char *remedy_for(const char *reason) {
  if (strstr(reason, "GLIBC_") != nullptr) {
    return "the board's C library is too old for it: choose a runtime built for an older one";
  }
  if (strstr(reason, "GLIBCXX_") != nullptr || strstr(reason, "CXXABI_") != nullptr) {
    return "the board's libstdc++ is too old for it: choose an older runtime";
  }
  if (strstr(reason, "cannot open shared object file") != nullptr) {
    return "install what it needs on the board, or choose another runtime";
  }
  if (strstr(reason, "failed to map segment") != nullptr) {
    // The loader says the same of both; but this program was started from such a folder too.
    if (memory_limit() != 0) return "out of memory";
    return "its folder is on a file system mounted noexec";
  }
  if (strstr(reason, "undefined symbol") != nullptr) {
    return "it needs another library beside it, or is a Python extension";
  }
  return "copy it again";
}

Status load(const char *path, int flags, void **handle) {
  EDGE_TRY(check_elf(path));
  *handle = dlopen(path, RTLD_NOW | flags);
  if (*handle != nullptr) return Status();
  const char *reason = dlerror();
  if (reason == nullptr) reason = "no reason given";
  return fail(EDGE_BAD_LIBRARY, "can't load %s: %s: %s", path, reason, remedy_for(reason));
}

bool talkative = false;

}  // namespace

void make_runtimes_talkative() {
  talkative = true;
}

bool runtimes_are_talkative() {
  return talkative;
}

Status Library::open(const char *path) {
  // Without a slash dlopen would search the system's folders for another file of that name.
  path_ = strchr(path, '/') != nullptr ? path : std::string("./") + path;
  const std::string folder = path_.substr(0, path_.rfind('/') + 1);
  for (const char *name : {"libgcc_s.so.1", "libstdc++.so.6"}) {
    const std::string sibling = folder + name;
    void *ignored;
    if (access(sibling.c_str(), F_OK) == 0) EDGE_TRY(load(sibling.c_str(), RTLD_GLOBAL, &ignored));
  }
  // Runtimes have threads. Before glibc 2.34 those live in a library of their own, and it is better
  // there from the start than brought in by dlopen; naming a function of it makes it so.
  [[maybe_unused]] void *volatile threads = reinterpret_cast<void *>(&pthread_create);
  EDGE_TRY(load(path_.c_str(), RTLD_LOCAL, &handle_));
  if (talkative) raise_log_level();
  return Status();
}

void Library::raise_log_level() const {
  // tflite::logging_internal::MinimalLogger::SetMinimumLogSeverity; 0 is VERBOSE.
  int (*set_severity)(int) = nullptr;
  find("_ZN6tflite16logging_internal13MinimalLogger21SetMinimumLogSeverityENS_11LogSeverityE",
       &set_severity);
  if (set_severity != nullptr) set_severity(0);
}

void *Library::find(const char *symbol) const {
  return dlsym(handle_, symbol);
}

Status Library::lacks(const char *symbol) const {
  return fail(EDGE_BAD_LIBRARY, "%s lacks %s: %s", path_.c_str(), symbol, advice_);
}

}  // namespace edge
