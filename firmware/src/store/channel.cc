#include "store/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/signals.h"
#include "store/words.h"

namespace edge::store {
namespace {

constexpr size_t kBuffer = 1 << 16;
constexpr size_t kMaxLine = 4096;
constexpr size_t kMaxMessage = 1000;

int64_t now_ms() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

// True when `fd` is ready for `events`; false after `timeout_ms` or at a signal. A signal comes
// before input, or a busy client would outrun it, but after output: what was done is reported.
bool wait_for(int fd, short events, int64_t timeout_ms) {
  const int64_t deadline = now_ms() + timeout_ms;
  for (;;) {
    pollfd fds[2] = {{fd, events, 0}, {signal_fd(), POLLIN, 0}};
    const int64_t left = deadline - now_ms();
    const int ready = poll(fds, 2, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (ready > 0 && fds[0].revents != 0 && (events == POLLOUT || !signalled())) return true;
    if (signalled()) return false;
    if (ready == 0 && left <= 0) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace

Channel::Channel(int64_t idle_ms) : idle_ms_(idle_ms), buffer_(kBuffer) {}

Result Channel::line(std::string *text) {
  text->clear();
  for (;;) {
    const uint8_t *from = buffer_.data() + begin_;
    const size_t there = end_ - begin_;
    const void *newline = memchr(from, '\n', there);
    const size_t size = newline == nullptr
                            ? there
                            : static_cast<size_t>(static_cast<const uint8_t *>(newline) - from);
    if (text->size() + size >= kMaxLine) {
      return lose(EDGE_USAGE, "a line is longer than " + number(kMaxLine) + " bytes");
    }
    text->append(reinterpret_cast<const char *>(from), size);
    begin_ += size;
    if (newline != nullptr) {
      ++begin_;
      return {};
    }
    STORE_TRY(fill());
  }
}

Result Channel::text(uint64_t count, std::string *text) {
  return bytes(count, [&](const uint8_t *data, size_t size) {
    text->append(reinterpret_cast<const char *>(data), size);
  });
}

std::string Channel::error_line(const Result &result) {
  std::string text = "err " + std::to_string(result.status) + " ";
  for (char c : result.message.substr(0, kMaxMessage)) text += c >= ' ' && c <= '~' ? c : '?';
  return text;
}

Result Channel::fill() {
  for (;;) {
    if (signalled()) return interrupted();
    if (!wait_for(STDIN_FILENO, POLLIN, idle_ms_)) {
      if (signalled()) return interrupted();
      return lose(EDGE_INTERRUPTED, "no byte for " +
                                        number(static_cast<uint64_t>(idle_ms_) / 1000) +
                                        " s: let go of the lock; connect again to go on");
    }
    const ssize_t got = read(STDIN_FILENO, buffer_.data(), buffer_.size());
    if (got > 0) {
      begin_ = 0;
      end_ = static_cast<size_t>(got);
      return {};
    }
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    ended_ = got == 0;
    return lose(EDGE_INTERRUPTED, "the connection ended: connect again to go on");
  }
}

Result Channel::send(const std::string &text, int64_t timeout_ms) {
  size_t sent = 0;
  while (sent < text.size()) {
    if (!wait_for(STDOUT_FILENO, POLLOUT, timeout_ms)) {
      return signalled() ? interrupted() : lose(EDGE_INTERRUPTED, "nobody reads the replies");
    }
    // No more than a pipe that is ready surely takes: write() must not block.
    const size_t size = std::min<size_t>(text.size() - sent, 4096);
    const ssize_t wrote = write(STDOUT_FILENO, text.data() + sent, size);
    if (wrote < 0 && errno != EINTR && errno != EAGAIN) {
      return lose(EDGE_INTERRUPTED, "the connection ended: connect again to go on");
    }
    if (wrote > 0) sent += static_cast<size_t>(wrote);
  }
  return {};
}

}  // namespace edge::store
