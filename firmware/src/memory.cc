#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>

#include "capture.h"
#include "edge.h"
#include "file.h"

namespace edge {
namespace {

// Read by the crash handler.
std::atomic<uint64_t> limit_bytes{0};

// How libraries put it when an allocation failed.
constexpr const char *phrases[] = {
    "bad_alloc",         "out of memory",       "Out of memory",        "Cannot allocate memory",
    "ailed to allocate", "Memory allocation f", "annot allocate block", "insufficient memory",
};

// Where memory runs out all the same, this program is what the kernel ends: not the application
// that the board is there for.
void be_the_first_victim() {
  Descriptor fd(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (fd.valid()) (void)write_all(fd.get(), "1000", 4, "oom_score_adj").ok();
}

// Like strlcat; fine in a signal's handler.
void append(char *text, size_t capacity, const char *more) {
  const size_t length = strlen(text);
  const size_t count = std::min(strlen(more), capacity - length - 1);
  memcpy(text + length, more, count);
  text[length + count] = '\0';
}

}  // namespace

uint64_t memory_limit() {
  return limit_bytes.load();
}

bool is_memory_failure(int error_number, const char *said) {
  if (memory_limit() == 0) return false;
  if (error_number == ENOMEM) return true;
  for (const char *phrase : phrases) {
    if (strstr(said, phrase) != nullptr) return true;
  }
  return false;
}

Status explain_memory(Status failure) {
  if (failure.ok() || memory_limit() == 0) return failure;
  const bool ours = failure.code() == EDGE_NO_MEMORY;
  if (!ours && !is_memory_failure(RuntimeCall::error_number(), last_error())) return failure;
  char words[256];
  memory_words(words, sizeof words);
  return fail(EDGE_NO_MEMORY, "%s (%s)", words, last_error());
}

void memory_words(char *text, size_t capacity) {
  // snprintf may allocate.
  char digits[24];
  size_t at = sizeof digits;
  digits[--at] = '\0';
  uint64_t megabytes = memory_limit() / 1000000;
  do {
    digits[--at] = static_cast<char>('0' + megabytes % 10);
    megabytes /= 10;
  } while (megabytes != 0);
  text[0] = '\0';
  append(text, capacity, "the model needs more than the ");
  append(text, capacity, digits + at);
  append(text, capacity,
         " MB of memory that are free: end other programs on the board, make the model smaller, or "
         "take a board with more memory");
}

}  // namespace edge

int32_t edge_limit_memory(uint64_t bytes, int32_t message_fd) {
  if (bytes == 0) return edge::fail(EDGE_USAGE, "a limit of no bytes is none").code();
  rlimit limit = {};
  if (getrlimit(RLIMIT_DATA, &limit) != 0) {
    return edge::fail_errno(errno, "can't read the limit of memory").code();
  }
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, bytes);
  if (setrlimit(RLIMIT_DATA, &limit) != 0) {
    return edge::fail_errno(errno, "can't limit the memory").code();
  }
  edge::limit_bytes = bytes;
  edge::be_the_first_victim();
  edge::explain_crashes(message_fd);
  return EDGE_OK;
}
