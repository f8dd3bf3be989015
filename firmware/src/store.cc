#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "edge.h"
#include "file.h"
#include "sha256.h"

namespace {

using edge::Descriptor;
using edge::Sha256;

// Bounds on what a client may ask, so that no request makes the store grow without end.
constexpr size_t kMaxLine = 4096;
constexpr uint64_t kMaxHave = 1024;
constexpr uint64_t kMaxLinks = 4096;
constexpr uint64_t kMaxManifest = 1 << 20;
constexpr uint64_t kMaxLog = 1 << 16;
constexpr uint64_t kMaxSize = uint64_t{1} << 50;
constexpr size_t kMaxPath = 1024;
constexpr uint64_t kMaxSums = (kMaxLinks + 1) * (kMaxPath + 67);
constexpr size_t kMaxName = 255;
constexpr int kMaxDepth = 32;
constexpr size_t kMaxOwner = 200;
constexpr size_t kMaxMessage = 1000;
constexpr size_t kChunk = 1 << 16;
// A first upload that nobody finished; younger ones may be another host's, under way.
constexpr time_t kForgottenUpload_s = 24 * 3600;

constexpr char kManifest[] = "manifest.json";
constexpr char kSums[] = "SHA256SUMS";
constexpr char kCurrent[] = "current";
constexpr char kCurrentPart[] = ".current.part";
constexpr char kLog[] = "deployments.log";
constexpr char kLock[] = "lock";

// What became of a request. `lost`: the two sides no longer agree where the next request begins, or
// there will be none, so that the connection has to end.
struct [[nodiscard]] Result {
  int32_t status = EDGE_OK;
  std::string message;
  bool lost = false;
  bool ok() const { return status == EDGE_OK; }
};

Result fail(edge_status status, std::string message) {
  return {status, std::move(message), false};
}

Result lose(edge_status status, std::string message) {
  return {status, std::move(message), true};
}

#define STORE_TRY(expression)                                         \
  do {                                                                \
    if (Result result_ = (expression); !result_.ok()) return result_; \
  } while (false)

std::string number(uint64_t value) {
  return std::to_string(value);
}

bool no_space(int error) {
  return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

Result fail_errno(const std::string &doing, int error) {
  if (no_space(error))
    return fail(EDGE_NO_SPACE, doing + ": no space left: free some on the board");
  if (error == ENOMEM) return fail(EDGE_NO_MEMORY, doing + ": out of memory");
  if (error == ELOOP) return fail(EDGE_IO, doing + ": a symbolic link stands there: remove it");
  return fail(error == ENOENT ? EDGE_NO_FILE : EDGE_IO, doing + ": " + strerror(error));
}

// ---- signals -----------------------------------------------------------------------------------

// The handler's end of a pipe, and ours: poll() then sees a signal however it is timed.
int g_signal_pipe[2] = {-1, -1};
volatile sig_atomic_t g_signalled = 0;

void on_signal(int) {
  const int saved = errno;
  g_signalled = 1;
  // If the pipe is full, it has already woken poll().
  if (write(g_signal_pipe[1], "", 1) < 0) errno = saved;
  errno = saved;
}

Result interrupted() {
  return lose(EDGE_INTERRUPTED, "stopped by a signal: connect again to go on");
}

bool set_up_signals() {
  if (pipe2(g_signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  for (int which : {SIGTERM, SIGHUP, SIGINT}) {
    if (sigaction(which, &action, nullptr) != 0) return false;
  }
  action.sa_handler = SIG_IGN;
  // A lost reader or a file-size limit is an error code here, not a death.
  return sigaction(SIGPIPE, &action, nullptr) == 0 && sigaction(SIGXFSZ, &action, nullptr) == 0;
}

// ---- the channel -------------------------------------------------------------------------------

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
    pollfd fds[2] = {{fd, events, 0}, {g_signal_pipe[0], POLLIN, 0}};
    const int64_t left = deadline - now_ms();
    const int ready = poll(fds, 2, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (ready > 0 && fds[0].revents != 0 && (events == POLLOUT || !g_signalled)) return true;
    if (g_signalled) return false;
    if (ready == 0 && left <= 0) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

class Channel {
 public:
  explicit Channel(int64_t idle_ms) : idle_ms_(idle_ms), buffer_(kChunk) {}

  // The next line, without its newline.
  Result line(std::string *text) {
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

  // Hands the next `count` bytes to `take(data, size)`, piece by piece.
  template <typename Take>
  Result bytes(uint64_t count, Take take) {
    while (count != 0) {
      if (begin_ == end_) STORE_TRY(fill());
      const size_t size = static_cast<size_t>(std::min<uint64_t>(end_ - begin_, count));
      take(buffer_.data() + begin_, size);
      begin_ += size;
      count -= size;
    }
    return {};
  }

  Result reply(const std::string &text) { return send(text + "\n", idle_ms_); }

  // The last line of a connection that ends early: sent if it goes at once, for nobody may listen.
  void last_words(const Result &result) { (void)send(error_line(result) + "\n", 200); }

  static std::string error_line(const Result &result) {
    std::string text = "err " + std::to_string(result.status) + " ";
    for (char c : result.message.substr(0, kMaxMessage)) text += c >= ' ' && c <= '~' ? c : '?';
    return text;
  }

  bool ended() const { return ended_; }

 private:
  Result fill() {
    for (;;) {
      if (g_signalled) return interrupted();
      if (!wait_for(STDIN_FILENO, POLLIN, idle_ms_)) {
        if (g_signalled) return interrupted();
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

  Result send(const std::string &text, int64_t timeout_ms) {
    size_t sent = 0;
    while (sent < text.size()) {
      if (!wait_for(STDOUT_FILENO, POLLOUT, timeout_ms)) {
        return g_signalled ? interrupted() : lose(EDGE_INTERRUPTED, "nobody reads the replies");
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

  const int64_t idle_ms_;
  std::vector<uint8_t> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool ended_ = false;
};

// ---- words -------------------------------------------------------------------------------------

using Words = std::vector<std::string>;

// False unless `line` is printable ASCII words between single spaces.
bool split(const std::string &line, Words *words) {
  words->assign(1, "");
  for (char c : line) {
    if (c == ' ') {
      words->emplace_back();
    } else if (c > ' ' && c <= '~') {
      words->back() += c;
    } else {
      return false;
    }
  }
  return std::none_of(words->begin(), words->end(), [](const auto &w) { return w.empty(); });
}

bool parse_number(const std::string &text, uint64_t limit, uint64_t *value) {
  if (text.empty() || text.size() > 18 || (text.size() > 1 && text[0] == '0')) return false;
  *value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    *value = *value * 10 + static_cast<uint64_t>(c - '0');
  }
  return *value <= limit;
}

bool is_hex(const std::string &text, size_t least, size_t most) {
  return text.size() >= least && text.size() <= most &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_sha(const std::string &text) {
  return is_hex(text, 64, 64);
}

bool is_id(const std::string &text) {
  return is_hex(text, 16, 64);
}

std::vector<std::string> components(const std::string &path) {
  std::vector<std::string> parts(1);
  for (char c : path) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

bool is_release_path(const std::string &path) {
  static constexpr char kAllowed[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-/";
  if (path.size() > kMaxPath || path.find_first_not_of(kAllowed) != std::string::npos) return false;
  const auto parts = components(path);
  return parts.size() < kMaxDepth && parts[0] != kManifest && parts[0] != kSums &&
         std::none_of(
             parts.begin(), parts.end(),
             [](const std::string &part) {
               return part.empty() || part == "." || part == ".." || part.size() > kMaxName;
             });
}

std::string utc_now() {
  const time_t now = time(nullptr);
  tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  return std::string(text, strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

// ---- files -------------------------------------------------------------------------------------

constexpr int kReadFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

bool write_all(int fd, const void *data, size_t size) {
  const char *at = static_cast<const char *>(data);
  while (size != 0) {
    const ssize_t wrote = write(fd, at, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    at += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return true;
}

// Durable names: a rename or link survives a power cut only once its directory was synced.
bool sync_dir(int fd) {
  return fsync(fd) == 0 || errno == EINVAL;
}

Result read_text(int dir, const char *name, size_t limit, std::string *text) {
  Descriptor file(openat(dir, name, kReadFlags));
  struct stat info;
  if (!file.valid() || fstat(file.get(), &info) != 0) {
    return fail_errno(std::string("can't read ") + name, errno);
  }
  if (!S_ISREG(info.st_mode) || static_cast<uint64_t>(info.st_size) > limit) {
    return fail(EDGE_CORRUPT, std::string(name) + " is not a file of ours");
  }
  text->resize(static_cast<size_t>(info.st_size));
  size_t at = 0;
  while (at < text->size()) {
    const ssize_t got = read(file.get(), text->data() + at, text->size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(std::string("can't read ") + name, errno);
    if (got == 0) break;
    at += static_cast<size_t>(got);
  }
  text->resize(at);
  return {};
}

// Hashes the first `size` bytes; a signal stops it.
Result hash_prefix(int fd, uint64_t size, Sha256 *hash) {
  std::vector<uint8_t> buffer(kChunk * 4);
  uint64_t at = 0;
  while (at < size) {
    if (g_signalled) return interrupted();
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), size - at));
    const ssize_t got = pread(fd, buffer.data(), wanted, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("can't read a file back", errno);
    if (got == 0) return fail(EDGE_CORRUPT, "a file became shorter while it was read");
    hash->update(buffer.data(), static_cast<size_t>(got));
    at += static_cast<uint64_t>(got);
  }
  return {};
}

// Opens `path` below `dir`, following no link in any component.
Descriptor open_beneath(int dir, const std::string &path, int flags) {
  const auto parts = components(path);
  Descriptor at;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    at = Descriptor(openat(i == 0 ? dir : at.get(), parts[i].c_str(), kDirFlags));
    if (!at.valid()) return at;
  }
  return Descriptor(openat(at.valid() ? at.get() : dir, parts.back().c_str(), flags));
}

// The program that runs. Opened, not stat()ed: QEMU's user mode knows this file by open() alone,
// and would describe itself.
Descriptor open_self(struct stat *info) {
  Descriptor self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (self.valid() && fstat(self.get(), info) != 0) return Descriptor();
  return self;
}

// The names in a directory. `dir` stays open.
std::vector<std::string> names_in(int dir) {
  std::vector<std::string> names;
  Descriptor copy(openat(dir, ".", kDirFlags));
  DIR *stream = copy.valid() ? fdopendir(copy.get()) : nullptr;
  if (stream == nullptr) return names;
  copy.release();
  while (const dirent *entry = readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(stream);
  return names;
}

// Removes what is called `name`, all of it, without following links.
bool remove_tree(int dir, const std::string &name, int depth = 0) {
  if (unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return true;
  if ((errno != EISDIR && errno != EPERM) || depth > kMaxDepth) return false;
  Descriptor inner(openat(dir, name.c_str(), kDirFlags));
  if (!inner.valid()) return false;
  for (const std::string &below : names_in(inner.get())) {
    if (!remove_tree(inner.get(), below, depth + 1)) return false;
  }
  return unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0;
}

bool ends_with(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// `mkdir -p`, each new name durable.
Result make_dirs(const std::string &path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), 0755) == 0) {
      const size_t slash = part.find_last_of('/');
      const std::string parent = slash == std::string::npos ? "."
                                 : slash == 0               ? "/"
                                                            : part.substr(0, slash);
      Descriptor dir(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      // A parent that may be passed through but not read can't be synced; what holds is then less.
      if (dir.valid() && !sync_dir(dir.get())) return fail_errno("can't sync " + parent, errno);
    } else if (errno != EEXIST) {
      struct stat info;
      const int error = errno;
      // A read-only file system says EROFS even for a directory that is there.
      if (stat(part.c_str(), &info) != 0) return fail_errno("can't create " + part, error);
    }
    if (end == std::string::npos) return {};
  }
}

// ---- the store ---------------------------------------------------------------------------------

struct Flags {
  std::string root;
  std::string owner = "unknown";
  std::string install_self;
  uint64_t idle_s = 30;
};

class Store {
 public:
  explicit Store(const Flags &flags)
      : flags_(flags), channel_(static_cast<int64_t>(flags.idle_s) * 1000) {}

  int run();

 private:
  Result open_root();
  Result install_self();
  Result lock();
  void clean_up();
  std::string greeting();
  Result serve(const std::string &line, std::string *answer, bool *quit);

  Result have(const Words &words, std::string *answer);
  Result put(const Words &words, std::string *answer);
  Result release(const Words &words, std::string *answer);
  Result switch_to(const Words &words, std::string *answer);
  Result log(const Words &words);
  Result drop(const Words &words);
  Result sweep(const std::string &doing);

  Result open_part(const std::string &name, uint64_t offset, Descriptor *file, Sha256 *hash);
  Result finish_part(const std::string &sha, const std::string &mode, int file);
  Result build(const std::string &id, const std::map<std::string, std::string> &links,
               const std::string &manifest, const std::string &sums);
  Result read_sums(const std::string &id, std::string *sums);
  Result whole(const std::string &id, const std::string &sums, bool contents);
  std::string current();
  bool stored(const std::string &sha, struct stat *info);
  uint64_t free_bytes();

  const Flags flags_;
  Channel channel_;
  Descriptor root_;
  Descriptor store_;
  Descriptor releases_;
  Descriptor lock_;
};

uint64_t Store::free_bytes() {
  struct statvfs info = {};
  if (fstatvfs(root_.get(), &info) != 0) return 0;
  return uint64_t{info.f_bavail} * info.f_frsize;
}

Result Store::open_root() {
  STORE_TRY(make_dirs(flags_.root));
  root_ = Descriptor(open(flags_.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_.valid()) return fail_errno("can't open " + flags_.root, errno);
  const std::pair<const char *, Descriptor *> below[] = {{"store", &store_},
                                                         {"releases", &releases_}};
  for (const auto &[name, fd] : below) {
    const std::string path = flags_.root + "/" + name;
    if (mkdirat(root_.get(), name, 0755) == 0) {
      if (!sync_dir(root_.get())) return fail_errno("can't sync " + flags_.root, errno);
    } else if (errno != EEXIST) {
      return fail_errno("can't create " + path, errno);
    }
    *fd = Descriptor(openat(root_.get(), name, kDirFlags));
    struct stat info;
    if (!fd->valid() || fstat(fd->get(), &info) != 0) {
      return fail(EDGE_IO, path + " is not a directory: remove it, or name another root");
    }
    // Whoever may write there could put other content in place of what was verified.
    if (info.st_uid != geteuid() || (info.st_mode & S_IWOTH) != 0) {
      return fail(EDGE_IO, path + " can be changed by other users: name another root");
    }
  }
  return {};
}

// The program that runs is a file in store/, uploaded without the store's help: see that it is what
// the host sent, and give it its name.
Result Store::install_self() {
  const std::string &sha = flags_.install_self;
  struct stat info;
  Descriptor self = open_self(&info);
  if (!self.valid()) return fail_errno("can't read /proc/self/exe", errno);
  // By its inode, not by the path it was started with: that is what was hashed.
  std::string name;
  for (const std::string &candidate : names_in(store_.get())) {
    struct stat there;
    if (fstatat(store_.get(), candidate.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        there.st_dev == info.st_dev && there.st_ino == info.st_ino) {
      name = candidate;
    }
  }
  if (name == sha) return {};
  if (name.empty() || name[0] != '.') {
    return fail(EDGE_USAGE, "--install-self: this program does not run from an upload in " +
                                flags_.root + "/store");
  }
  Sha256 hash;
  STORE_TRY(hash_prefix(self.get(), static_cast<uint64_t>(info.st_size), &hash));
  if (hash.hex() != sha) {
    unlinkat(store_.get(), name.c_str(), 0);
    return fail(EDGE_CORRUPT, "the runner arrived damaged and was removed: try again");
  }
  // Another host may have been faster, and a release may link its file: then that one stays.
  struct stat other;
  const bool there = stored(sha, &other) && other.st_size == info.st_size;
  const bool done = there
                        ? fchmodat(store_.get(), sha.c_str(), 0555, 0) == 0 &&
                              unlinkat(store_.get(), name.c_str(), 0) == 0
                        : fchmod(self.get(), 0555) == 0 && fsync(self.get()) == 0 &&
                              renameat(store_.get(), name.c_str(), store_.get(), sha.c_str()) == 0;
  if (!done || !sync_dir(store_.get())) {
    const int error = errno;
    unlinkat(store_.get(), name.c_str(), 0);
    return fail_errno("can't install the runner", error);
  }
  return {};
}

Result Store::lock() {
  lock_ = Descriptor(
      openat(root_.get(), kLock, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644));
  struct stat info;
  if (!lock_.valid() || fstat(lock_.get(), &info) != 0) {
    return fail_errno("can't open " + flags_.root + "/" + kLock, errno);
  }
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
    return fail(EDGE_IO, flags_.root + "/" + kLock + " is not a file of ours: remove it");
  }
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno("can't lock " + flags_.root, errno);
    char text[kMaxOwner + 64];
    const ssize_t got = pread(lock_.get(), text, sizeof text, 0);
    std::string holder(text, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    holder = holder.substr(0, holder.find('\n'));
    Words words;
    if (!split(holder, &words) || words.size() != 2) words = {"unknown", "unknown"};
    return fail(EDGE_BUSY, "held by " + words[0] + " since " + words[1]);
  }
  const std::string text = flags_.owner + " " + utc_now() + "\n";
  // On a full disk nobody learns who holds it; held it is.
  const bool written =
      ftruncate(lock_.get(), 0) == 0 && write_all(lock_.get(), text.data(), text.size());
  (void)written;
  return {};
}

// What an interrupted connection left and nobody resumes. Failures matter to nobody: the names are
// made anew where they are needed.
void Store::clean_up() {
  unlinkat(root_.get(), kCurrentPart, 0);
  for (const std::string &name : names_in(releases_.get())) {
    if (name[0] == '.' && ends_with(name, ".part")) remove_tree(releases_.get(), name);
  }
  for (const std::string &name : names_in(store_.get())) {
    // First uploads have a longer name than the parts that `put` resumes.
    if (name[0] != '.' || !ends_with(name, ".part") || name.size() <= 64 + 6) continue;
    struct stat info;
    if (fstatat(store_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        time(nullptr) - info.st_mtime > kForgottenUpload_s) {
      unlinkat(store_.get(), name.c_str(), 0);
    }
  }
}

std::string Store::current() {
  char target[kMaxName];
  const ssize_t size = readlinkat(root_.get(), kCurrent, target, sizeof target);
  static const std::string kPrefix = "releases/";
  const std::string text(target, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  if (text.compare(0, kPrefix.size(), kPrefix) != 0) return "-";
  const std::string id = text.substr(kPrefix.size());
  return is_id(id) ? id : "-";
}

std::string Store::greeting() {
  return "ok edge-store 1 " + number(EDGE_ABI_VERSION) + " " + number(free_bytes()) + " " +
         current();
}

bool Store::stored(const std::string &sha, struct stat *info) {
  return fstatat(store_.get(), sha.c_str(), info, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISREG(info->st_mode);
}

Result Store::have(const Words &words, std::string *answer) {
  uint64_t count = 0;
  if (words.size() != 2 || !parse_number(words[1], kMaxHave, &count)) {
    return lose(EDGE_USAGE, "malformed: have <n>, n at most " + number(kMaxHave));
  }
  Result result;
  for (uint64_t i = 0; i < count; ++i) {
    std::string line;
    STORE_TRY(channel_.line(&line));
    Words item;
    uint64_t size = 0;
    if (!split(line, &item) || item.size() != 2 || !is_sha(item[0]) ||
        !parse_number(item[1], kMaxSize, &size)) {
      result = fail(EDGE_USAGE, "malformed line after have: <sha256> <size>");
      continue;
    }
    struct stat info;
    if (stored(item[0], &info) && static_cast<uint64_t>(info.st_size) == size) {
      *answer += " have";
    } else if (stored("." + item[0] + ".part", &info) && info.st_nlink == 1 && info.st_size > 0 &&
               static_cast<uint64_t>(info.st_size) <= size) {
      *answer += " part:" + number(static_cast<uint64_t>(info.st_size));
    } else {
      *answer += " none";
    }
  }
  return result;
}

// Opens the part file `name` to append at `offset`; `hash` then knows what stands before it.
Result Store::open_part(const std::string &name, uint64_t offset, Descriptor *file, Sha256 *hash) {
  if (offset == 0) {
    // Whatever stands there, a planted link too, goes; O_EXCL makes a file of our own.
    if (!remove_tree(store_.get(), name)) return fail_errno("can't replace store/" + name, errno);
    *file = Descriptor(openat(store_.get(), name.c_str(),
                              O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    return file->valid() ? Result() : fail_errno("can't create store/" + name, errno);
  }
  Descriptor reader(openat(store_.get(), name.c_str(), kReadFlags));
  struct stat info;
  if (!reader.valid() || fstat(reader.get(), &info) != 0) {
    return fail_errno("can't resume store/" + name, errno);
  }
  // A second name means that it is not ours alone: it could be a file outside of the store.
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
    return fail(EDGE_IO, "store/" + name + " is not a file of ours: start over at offset 0");
  }
  if (static_cast<uint64_t>(info.st_size) < offset) {
    return fail(EDGE_USAGE, "store/" + name + " has only " +
                                number(static_cast<uint64_t>(info.st_size)) + " bytes");
  }
  // Cut between its final mode and its final name, it may be read-only.
  if ((info.st_mode & S_IWUSR) == 0 && fchmod(reader.get(), 0600) != 0) {
    return fail_errno("can't resume store/" + name, errno);
  }
  *file =
      Descriptor(openat(store_.get(), name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat again;
  if (!file->valid() || fstat(file->get(), &again) != 0 || again.st_ino != info.st_ino ||
      ftruncate(file->get(), static_cast<off_t>(offset)) != 0 ||
      lseek(file->get(), 0, SEEK_END) < 0) {
    return fail_errno("can't resume store/" + name, errno);
  }
  return hash_prefix(file->get(), offset, hash);
}

// The content is verified: make it durable, then give it its name, then make the name durable.
Result Store::finish_part(const std::string &sha, const std::string &mode, int file) {
  const std::string part = "." + sha + ".part";
  if (fchmod(file, mode == "555" ? 0555 : 0444) != 0 || fsync(file) != 0 ||
      renameat(store_.get(), part.c_str(), store_.get(), sha.c_str()) != 0 ||
      !sync_dir(store_.get())) {
    return fail_errno("can't store " + sha, errno);
  }
  return {};
}

Result Store::put(const Words &words, std::string *answer) {
  uint64_t size = 0;
  uint64_t offset = 0;
  if (words.size() != 5 || !is_sha(words[1]) || !parse_number(words[2], kMaxSize, &size) ||
      !parse_number(words[3], size, &offset) || (words[4] != "444" && words[4] != "555")) {
    return lose(EDGE_USAGE, "malformed: put <sha256> <size> <offset> <444 or 555>");
  }
  const std::string &sha = words[1];
  const std::string part = "." + sha + ".part";
  struct stat info;
  if (stored(sha, &info) && static_cast<uint64_t>(info.st_size) == size) {
    STORE_TRY(channel_.bytes(size - offset, [](const uint8_t *, size_t) {}));
    // The same content may be wanted as a program, too.
    if (words[4] == "555" && (info.st_mode & 0111) == 0 &&
        fchmodat(store_.get(), sha.c_str(), 0555, 0) != 0) {
      return fail_errno("can't make " + sha + " executable", errno);
    }
    *answer = " have";
    return {};
  }
  Descriptor file;
  Sha256 hash;
  Result result = open_part(part, offset, &file, &hash);
  if (result.lost) return result;
  // A part that could not be opened is not ours to remove.
  const bool opened = result.ok();
  STORE_TRY(channel_.bytes(size - offset, [&](const uint8_t *data, size_t count) {
    if (!result.ok()) return;
    if (write_all(file.get(), data, count)) {
      hash.update(data, count);
    } else {
      result = fail_errno("can't write store/" + part, errno);
    }
  }));
  if (result.ok() && hash.hex() != sha) {
    result = fail(EDGE_CORRUPT, "what arrived does not have sha256 " + sha + ": send it again");
  }
  if (result.ok()) result = finish_part(sha, words[4], file.get());
  if (result.ok()) {
    *answer = " stored";
    return {};
  }
  if (opened) unlinkat(store_.get(), part.c_str(), 0);
  if (result.status == EDGE_NO_SPACE) {
    file = Descriptor();
    result.message = "no space for " + number(size) + " bytes in " + flags_.root + ": " +
                     number(free_bytes()) + " are free; drop old releases or free some space";
  }
  return result;
}

// What a release consists of, in the form that `sha256sum -c` reads.
std::string sums_of(const std::map<std::string, std::string> &links, const std::string &manifest) {
  Sha256 hash;
  hash.update(manifest.data(), manifest.size());
  std::string text = hash.hex() + "  " + kManifest + "\n";
  for (const auto &[path, sha] : links) text += sha + "  " + path + "\n";
  return text;
}

// False unless `text` is what sums_of() writes; the manifest's hash stands under its name.
bool parse_sums(const std::string &text, std::map<std::string, std::string> *links) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos || end - at < 64 + 3 || text.compare(at + 64, 2, "  ") != 0) {
      return false;
    }
    const std::string sha = text.substr(at, 64);
    const std::string path = text.substr(at + 66, end - at - 66);
    if (!is_sha(sha) || (path != kManifest && !is_release_path(path))) return false;
    if (!links->emplace(path, sha).second) return false;
    at = end + 1;
  }
  return links->count(kManifest) == 1;
}

Result Store::read_sums(const std::string &id, std::string *sums) {
  const std::string name = "releases/" + id;
  Descriptor dir(openat(releases_.get(), id.c_str(), kDirFlags));
  if (!dir.valid() && errno == ENOENT) {
    return fail(EDGE_NO_FILE, "there is no release " + id + " on the board");
  }
  if (!dir.valid() && (errno == ENOTDIR || errno == ELOOP)) {
    return fail(EDGE_CORRUPT, name + " is not a directory: deploy it again");
  }
  if (!dir.valid()) return fail_errno("can't open " + name, errno);
  Result result = read_text(dir.get(), kSums, kMaxSums, sums);
  if (result.status != EDGE_NO_FILE) return result;
  return fail(EDGE_CORRUPT, name + "/" + kSums + " is missing: deploy it again");
}

// Is every file of the release there, and the store's own file? With `contents` the bytes are
// hashed as well: a damaged file leaves the store, so that the next deploy sends it again.
Result Store::whole(const std::string &id, const std::string &sums, bool contents) {
  const std::string name = "releases/" + id;
  const std::string again = ": deploy it again";
  std::map<std::string, std::string> links;
  if (!parse_sums(sums, &links) || links[kManifest].compare(0, id.size(), id) != 0)
    return fail(EDGE_CORRUPT, name + "/" + kSums + " is damaged" + again);
  Descriptor dir(openat(releases_.get(), id.c_str(), kDirFlags));
  if (!dir.valid()) return fail_errno("can't open " + name, errno);
  for (const auto &[path, sha] : links) {
    Descriptor file = open_beneath(dir.get(), path, kReadFlags);
    struct stat info;
    if (!file.valid() && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
      return fail(EDGE_CORRUPT, name + "/" + path + " is missing" + again);
    }
    if (!file.valid() || fstat(file.get(), &info) != 0) {
      return fail_errno("can't open " + name + "/" + path, errno);
    }
    const bool linked = path != kManifest;
    if (linked) {
      struct stat original;
      if (!stored(sha, &original) || original.st_dev != info.st_dev ||
          original.st_ino != info.st_ino) {
        return fail(EDGE_CORRUPT, name + "/" + path + " is not the store's file" + again);
      }
      if (!contents) continue;
    }
    if (!S_ISREG(info.st_mode))
      return fail(EDGE_CORRUPT, name + "/" + path + " is no file" + again);
    Sha256 hash;
    STORE_TRY(hash_prefix(file.get(), static_cast<uint64_t>(info.st_size), &hash));
    if (hash.hex() != sha) {
      if (linked && unlinkat(store_.get(), sha.c_str(), 0) == 0) (void)sync_dir(store_.get());
      return fail(EDGE_CORRUPT, name + "/" + path + " is damaged" + again);
    }
  }
  return {};
}

Result Store::release(const Words &words, std::string *answer) {
  uint64_t count = 0;
  uint64_t bytes = 0;
  if (words.size() != 4 || !is_id(words[1]) || !parse_number(words[2], kMaxLinks, &count) ||
      !parse_number(words[3], kMaxManifest, &bytes)) {
    return lose(EDGE_USAGE, "malformed: release <id> <n> <bytes>, n at most " + number(kMaxLinks) +
                                ", bytes at most " + number(kMaxManifest));
  }
  const std::string &id = words[1];
  std::map<std::string, std::string> links;
  Result result;
  for (uint64_t i = 0; i < count; ++i) {
    std::string line;
    STORE_TRY(channel_.line(&line));
    Words item;
    if (!split(line, &item) || item.size() != 2 || !is_sha(item[1])) {
      result = fail(EDGE_USAGE, "malformed line after release: <path> <sha256>");
    } else if (!is_release_path(item[0])) {
      result = fail(EDGE_USAGE, "a release can't hold the path '" + item[0] + "'");
    } else if (!links.emplace(item[0], item[1]).second) {
      result = fail(EDGE_USAGE, "a release can't hold '" + item[0] + "' twice");
    }
  }
  std::string manifest;
  STORE_TRY(channel_.bytes(bytes, [&](const uint8_t *data, size_t size) {
    manifest.append(reinterpret_cast<const char *>(data), size);
  }));
  STORE_TRY(std::move(result));
  const std::string sums = sums_of(links, manifest);
  if (sums.compare(0, id.size(), id) != 0) {
    return fail(EDGE_CORRUPT,
                "the manifest's sha256 does not begin with " + id + ": send it again");
  }
  struct stat info;
  if (fstatat(releases_.get(), id.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    std::string there;
    Result found = read_sums(id, &there);
    if (found.ok()) found = whole(id, there, false);
    if (found.ok() && there != sums) {
      return fail(EDGE_CORRUPT, "release " + id + " is on the board with other links");
    }
    if (found.ok()) {
      *answer = " have";
      return {};
    }
    // Damaged, it is made anew; one that only could not be looked at is left alone.
    if (found.status != EDGE_CORRUPT) return found;
  }
  result = build(id, links, manifest, sums);
  if (!result.ok()) {
    remove_tree(releases_.get(), "." + id + ".part");
    if (result.status == EDGE_NO_SPACE) {
      result.message += " (" + number(free_bytes()) + " bytes are free)";
    }
    return result;
  }
  *answer = " created";
  return {};
}

Result Store::build(const std::string &id, const std::map<std::string, std::string> &links,
                    const std::string &manifest, const std::string &sums) {
  const std::string part = "." + id + ".part";
  const std::string old = "." + id + ".old.part";
  const std::string doing = "can't create release " + id;
  if (!remove_tree(releases_.get(), part) || !remove_tree(releases_.get(), old) ||
      mkdirat(releases_.get(), part.c_str(), 0755) != 0) {
    return fail_errno(doing, errno);
  }
  Descriptor top(openat(releases_.get(), part.c_str(), kDirFlags));
  if (!top.valid()) return fail_errno(doing, errno);
  // Every directory made, by path; "" is the release itself.
  std::map<std::string, Descriptor> dirs;
  dirs.emplace("", std::move(top));
  for (const auto &[path, sha] : links) {
    std::string at;
    size_t begin = 0;
    for (size_t slash; (slash = path.find('/', begin)) != std::string::npos; begin = slash + 1) {
      const std::string name = path.substr(begin, slash - begin);
      const std::string next = path.substr(0, slash);
      if (dirs.count(next) == 0) {
        const int parent = dirs.find(at)->second.get();
        Descriptor dir;
        if (mkdirat(parent, name.c_str(), 0755) == 0) {
          dir = Descriptor(openat(parent, name.c_str(), kDirFlags));
        }
        if (!dir.valid()) {
          if (errno == EEXIST)
            return fail(EDGE_USAGE, "'" + next + "' is both a file and a directory");
          return fail_errno(doing, errno);
        }
        dirs.emplace(next, std::move(dir));
      }
      at = next;
    }
    struct stat info;
    if (!stored(sha, &info)) return fail(EDGE_NO_FILE, "the store lacks " + sha + ": put it first");
    const int dir = dirs.find(at)->second.get();
    if (linkat(store_.get(), sha.c_str(), dir, path.substr(begin).c_str(), 0) != 0) {
      if (errno == EEXIST) return fail(EDGE_USAGE, "'" + path + "' is both a file and a directory");
      if (errno == EPERM || errno == EOPNOTSUPP) {
        return fail(EDGE_IO, "the file system of " + flags_.root +
                                 " has no hard links: name a root on ext4, f2fs or tmpfs");
      }
      return fail_errno(doing, errno);
    }
  }
  const std::pair<const char *, const std::string *> own[] = {{kManifest, &manifest},
                                                              {kSums, &sums}};
  for (const auto &[name, text] : own) {
    Descriptor file(openat(dirs.find("")->second.get(), name,
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444));
    if (!file.valid() || !write_all(file.get(), text->data(), text->size()) ||
        fsync(file.get()) != 0) {
      return fail_errno(doing, errno);
    }
  }
  for (const auto &[path, dir] : dirs) {
    if (!sync_dir(dir.get())) return fail_errno(doing, errno);
  }
  // A directory can't replace a full one. What stands here is damaged, so that nothing good is away
  // between the two renames.
  if (renameat(releases_.get(), id.c_str(), releases_.get(), old.c_str()) != 0 && errno != ENOENT) {
    return fail_errno(doing, errno);
  }
  if (renameat(releases_.get(), part.c_str(), releases_.get(), id.c_str()) != 0 ||
      !sync_dir(releases_.get())) {
    return fail_errno(doing, errno);
  }
  remove_tree(releases_.get(), old);
  return {};
}

Result Store::switch_to(const Words &words, std::string *answer) {
  if (words.size() != 2 || !is_id(words[1])) return lose(EDGE_USAGE, "malformed: switch <id>");
  const std::string &id = words[1];
  std::string sums;
  STORE_TRY(read_sums(id, &sums));
  STORE_TRY(whole(id, sums, true));
  const std::string previous = current();
  if (previous != id) {
    const std::string target = "releases/" + id;
    unlinkat(root_.get(), kCurrentPart, 0);
    if (symlinkat(target.c_str(), root_.get(), kCurrentPart) != 0) {
      return fail_errno("can't create the link " + std::string(kCurrentPart), errno);
    }
    // ext4 keeps a target below 60 bytes in the inode; a longer one is data that only this syncs.
    const bool synced = target.size() < 60 || syncfs(root_.get()) == 0;
    if (!synced || renameat(root_.get(), kCurrentPart, root_.get(), kCurrent) != 0) {
      const int error = errno;
      unlinkat(root_.get(), kCurrentPart, 0);
      return fail_errno("can't replace " + flags_.root + "/" + kCurrent, error);
    }
  }
  // Also when nothing changed: the rename may be that of a connection that died before it got here.
  if (!sync_dir(root_.get())) return fail_errno("can't sync " + flags_.root, errno);
  *answer = " " + previous;
  return {};
}

Result Store::log(const Words &words) {
  uint64_t bytes = 0;
  if (words.size() != 2 || !parse_number(words[1], kMaxLog, &bytes)) {
    return lose(EDGE_USAGE, "malformed: log <bytes>, at most " + number(kMaxLog));
  }
  std::string text;
  STORE_TRY(channel_.bytes(bytes, [&](const uint8_t *data, size_t size) {
    text.append(reinterpret_cast<const char *>(data), size);
  }));
  const std::string doing = "can't write " + flags_.root + "/" + kLog;
  Descriptor file(openat(root_.get(), kLog,
                         O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                         0644));
  struct stat info;
  if (!file.valid() || fstat(file.get(), &info) != 0) return fail_errno(doing, errno);
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
    return fail(EDGE_IO, doing + ": it is not a file of ours: remove it");
  }
  if (!write_all(file.get(), text.data(), text.size()) || fsync(file.get()) != 0 ||
      !sync_dir(root_.get())) {
    const int error = errno;
    // Half a line would join the next one; that this may fail too changes nothing for the caller.
    if (ftruncate(file.get(), info.st_size) != 0) return fail_errno(doing, error);
    return fail_errno(doing, error);
  }
  return {};
}

Result Store::drop(const Words &words) {
  if (words.size() != 2 || !is_id(words[1])) return lose(EDGE_USAGE, "malformed: drop <id>");
  const std::string &id = words[1];
  if (current() == id) {
    return fail(EDGE_USAGE, "release " + id + " is current: switch to another one first");
  }
  const std::string old = "." + id + ".old.part";
  const std::string doing = "can't drop release " + id;
  if (!remove_tree(releases_.get(), old)) return fail_errno(doing, errno);
  // It goes at once, by its name; what is left of it after a cut is cleaned up at the next start.
  if (renameat(releases_.get(), id.c_str(), releases_.get(), old.c_str()) != 0) {
    if (errno == ENOENT) return fail(EDGE_NO_FILE, "there is no release " + id + " on the board");
    return fail_errno(doing, errno);
  }
  if (!sync_dir(releases_.get())) return fail_errno(doing, errno);
  if (!remove_tree(releases_.get(), old)) return fail_errno(doing, errno);
  return sweep(doing);
}

Result Store::sweep(const std::string &doing) {
  // A file that no release links has one name left. The program that runs stays, linked or not.
  struct stat self = {};
  const bool known = open_self(&self).valid();
  for (const std::string &name : names_in(store_.get())) {
    struct stat info;
    const bool blob = is_sha(name);
    // A part that a `put` left: whoever wants to resume it has had the chance.
    const bool part = name.size() == 64 + 6 && name[0] == '.' && ends_with(name, ".part");
    if (!(blob || part) || !stored(name, &info) || info.st_nlink != 1) continue;
    if (known && info.st_dev == self.st_dev && info.st_ino == self.st_ino) continue;
    if (unlinkat(store_.get(), name.c_str(), 0) != 0) return fail_errno(doing, errno);
  }
  return sync_dir(store_.get()) ? Result() : fail_errno(doing, errno);
}

Result Store::serve(const std::string &line, std::string *answer, bool *quit) {
  Words words;
  if (!split(line, &words)) return lose(EDGE_USAGE, "malformed: words, single spaces, ASCII");
  const std::string &verb = words[0];
  if (verb == "have") return have(words, answer);
  if (verb == "put") return put(words, answer);
  if (verb == "release") return release(words, answer);
  if (verb == "switch") return switch_to(words, answer);
  if (verb == "log") return log(words);
  if (verb == "drop") return drop(words);
  if (words.size() == 1) {
    if (verb == "ping") {
      *answer = " pong";
      return {};
    }
    if (verb == "current") {
      *answer = " " + current();
      return {};
    }
    if (verb == "sweep") return sweep("can't remove what no release links");
    if (verb == "quit") {
      *answer = " bye";
      *quit = true;
      return {};
    }
  }
  return lose(EDGE_USAGE, "malformed: no such request");
}

int Store::run() {
  Result result = open_root();
  if (result.ok() && !flags_.install_self.empty()) result = install_self();
  if (result.ok()) result = lock();
  if (result.ok()) {
    clean_up();
    result = channel_.reply(greeting());
  }
  bool quit = false;
  while (result.ok() && !quit) {
    std::string line;
    result = g_signalled ? interrupted() : channel_.line(&line);
    if (channel_.ended() && line.empty()) return EDGE_OK;
    if (!result.ok()) break;
    std::string answer;
    result = serve(line, &answer, &quit);
    if (result.lost) break;
    result = channel_.reply(result.ok() ? "ok" + answer : Channel::error_line(result));
  }
  if (!result.ok()) channel_.last_words(result);
  return result.status;
}

Result parse_flags(int argc, char **argv, Flags *flags) {
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) return fail(EDGE_USAGE, "store: " + name + " needs a value");
    const std::string value = argv[i + 1];
    if (name == "--root") {
      flags->root = value;
    } else if (name == "--owner") {
      Words words;
      if (!split(value, &words) || words.size() != 1 || value.size() > kMaxOwner) {
        return fail(EDGE_USAGE, "store: --owner takes one word of at most " + number(kMaxOwner) +
                                    " printable ASCII characters, percent-encoded");
      }
      flags->owner = value;
    } else if (name == "--idle-timeout") {
      if (!parse_number(value, 86400, &flags->idle_s) || flags->idle_s == 0) {
        return fail(EDGE_USAGE, "store: --idle-timeout takes seconds, 1 to 86400");
      }
    } else if (name == "--install-self") {
      if (!is_sha(value)) return fail(EDGE_USAGE, "store: --install-self takes a sha256");
      flags->install_self = value;
    } else {
      return fail(EDGE_USAGE, "store: unknown flag " + name +
                                  "; flags: --root --owner --idle-timeout --install-self");
    }
  }
  if (flags->root.empty()) return fail(EDGE_USAGE, "store: --root DIR is missing");
  return {};
}

// A closed standard stream would give its number to the next file opened, and content a reply.
bool standard_streams_open() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return false;
  }
  return true;
}

}  // namespace

int store_main(int argc, char **argv) {
  umask(022);
  if (!standard_streams_open() || !set_up_signals()) return EDGE_INTERNAL;
  Flags flags;
  if (Result result = parse_flags(argc, argv, &flags); !result.ok()) {
    Channel(1000).last_words(result);
    return result.status;
  }
  return Store(flags).run();
}
