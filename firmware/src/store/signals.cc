#include "store/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace edge::store {
namespace {

// Ours, and the handler's end.
int g_pipe[2] = {-1, -1};
volatile sig_atomic_t g_signalled = 0;

void on_signal(int) {
  const int saved = errno;
  g_signalled = 1;
  // If the pipe is full, it has already woken poll().
  if (write(g_pipe[1], "", 1) < 0) errno = saved;
  errno = saved;
}

}  // namespace

bool open_signal_pipe() {
  return pipe2(g_pipe, O_CLOEXEC | O_NONBLOCK) == 0;
}

bool catch_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  for (int which : {SIGTERM, SIGHUP, SIGINT}) {
    if (sigaction(which, &action, nullptr) != 0) return false;
  }
  action.sa_handler = SIG_IGN;
  // A lost reader or a file-size limit is an error code here, not a death.
  return sigaction(SIGPIPE, &action, nullptr) == 0 && sigaction(SIGXFSZ, &action, nullptr) == 0;
}

int signal_fd() {
  return g_pipe[0];
}

bool signalled() {
  return g_signalled != 0;
}

Result interrupted() {
  return lose(EDGE_INTERRUPTED, "stopped by a signal: connect again to go on");
}

}  // namespace edge::store
