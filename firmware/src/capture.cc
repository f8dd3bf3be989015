#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "memory.h"

namespace edge {
namespace {

// For the crash handler, which may call nothing but read and write.
std::atomic<int> kept_fd{-1};
std::atomic<int> original_fd{-1};
std::atomic<const char *> current_call{nullptr};
std::atomic<int> message_fd{-1};

bool output_is_owned = false;
int last_error_number = 0;

void say(int fd, const char *text) {
  const ssize_t ignored = write(fd, text, strlen(text));
  (void)ignored;
}

const char *name_of(int number) {
  switch (number) {
    case SIGILL:
      return "SIGILL";
    case SIGABRT:
      return "SIGABRT";
    case SIGBUS:
      return "SIGBUS";
    case SIGFPE:
      return "SIGFPE";
    default:
      return "SIGSEGV";
  }
}

// Standard output, while it has an owner, goes where standard error goes.
void redirect_output() {
  if (!output_is_owned) return;
  fflush(stdout);
  dup2(STDERR_FILENO, STDOUT_FILENO);
}

void on_crash(int number) {
  const int error_number = errno;
  const int kept = kept_fd.load();
  const int given = message_fd.load();
  const int out = given >= 0 ? given : kept >= 0 ? original_fd.load() : STDERR_FILENO;
  bool no_memory = is_memory_failure(error_number, "");
  if (kept >= 0) {
    char chunk[513];
    off_t at = 0;
    for (ssize_t got; (got = pread(kept, chunk, sizeof chunk - 1, at)) > 0; at += got) {
      chunk[got] = '\0';
      no_memory = no_memory || is_memory_failure(0, chunk);
      const ssize_t ignored = write(out, chunk, static_cast<size_t>(got));
      (void)ignored;
    }
  }
  const char *call = current_call.load();
  if (no_memory) {
    char words[256];
    memory_words(words, sizeof words);
    say(out, "edge-run: ");
    say(out, words);
    say(out, "\n");
    _exit(EDGE_NO_MEMORY);
  }
  if (call == nullptr && given >= 0) {
    // The program is another one's, which does not say what it calls.
    say(out, "edge-run: the runtime crashed by ");
    say(out, name_of(number));
    say(out, "; try another runtime, model or delegate\n");
  } else if (call == nullptr) {
    say(out, "edge-run: crashed by ");
    say(out, name_of(number));
    say(out, " outside of the runtime: a defect in edge, report it\n");
  } else {
    say(out, "edge-run: the runtime crashed by ");
    say(out, name_of(number));
    say(out, " while ");
    say(out, call);
    say(out, number == SIGILL   ? ": it used an instruction that this CPU lacks; choose one built "
                                  "for it\n"
             : number == SIGBUS ? ": a file shrank or the memory disk is full\n"
                                : ": it can't cope with this model, input or delegate; try another "
                                  "runtime\n");
  }
  // The handler was for one time: now the signal does what it does.
  raise(number);
}

}  // namespace

Status OwnOutput::take() {
  fflush(stdout);
  Descriptor kept(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!kept.valid()) return fail_errno(errno, "can't write standard output");
  signal(SIGPIPE, SIG_IGN);
  output_is_owned = true;
  redirect_output();
  fd_ = std::move(kept);
  return Status();
}

StderrCapture::StderrCapture() {
  Descriptor memory(memfd_create("edge-stderr", MFD_CLOEXEC));
  Descriptor original(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  // Without a memory file (old kernel, seccomp) the library just prints.
  if (!memory.valid() || !original.valid()) return;
  fflush(stderr);
  if (dup2(memory.get(), STDERR_FILENO) < 0) return;
  redirect_output();
  original_fd = original.get();
  kept_fd = memory.get();
  memory_ = std::move(memory);
  original_ = std::move(original);
}

StderrCapture::~StderrCapture() {
  finish();
}

std::string StderrCapture::finish() {
  std::string text;
  if (!memory_.valid()) return text;
  fflush(stderr);
  kept_fd = -1;
  dup2(original_.get(), STDERR_FILENO);
  redirect_output();
  char chunk[4096];
  off_t at = 0;
  for (ssize_t got; (got = pread(memory_.get(), chunk, sizeof chunk, at)) > 0; at += got) {
    text.append(chunk, static_cast<size_t>(got));
  }
  memory_ = Descriptor();
  original_ = Descriptor();
  return text;
}

RuntimeCall::RuntimeCall(const char *what) : before_(current_call.exchange(what)) {
  if (before_ == nullptr) errno = 0;
}

RuntimeCall::~RuntimeCall() {
  last_error_number = errno;
  current_call = before_;
}

int RuntimeCall::error_number() {
  return last_error_number;
}

void explain_crashes(int fd) {
  message_fd = fd;
  // A stack that ran over is no place for a handler.
  static char stack[64 * 1024];
  stack_t alternate = {};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_handler = on_crash;
  // Reset, so that raise() in the handler ends the process; not deferred, so that it does so at
  // once.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER | SA_ONSTACK);
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV}) {
    sigaction(number, &action, nullptr);
  }
}

}  // namespace edge
