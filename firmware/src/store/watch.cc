#include "store/watch.h"

#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <string>

namespace edge::store {

int Watch::begin(int fd) {
  if (!events_.valid()) events_ = Descriptor(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!events_.valid()) return -1;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return inotify_add_watch(events_.get(), path.c_str(), IN_OPEN | IN_CLOSE_WRITE);
}

bool Watch::end(int id) {
  if (id < 0) return true;
  read_events();
  inotify_rm_watch(events_.get(), id);
  return touched_.erase(id) != 0 || lost_;
}

void Watch::read_events() {
  alignas(inotify_event) char buffer[4096];
  ssize_t size;
  while ((size = read(events_.get(), buffer, sizeof buffer)) > 0) {
    inotify_event event;
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(sizeof event + event.len)) {
      memcpy(&event, buffer + at, sizeof event);
      if ((event.mask & IN_Q_OVERFLOW) != 0) lost_ = true;
      if ((event.mask & (IN_OPEN | IN_CLOSE_WRITE)) != 0) touched_.insert(event.wd);
    }
  }
}

}  // namespace edge::store
