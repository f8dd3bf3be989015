#include "store.h"

#include <errno.h>
#include <fcntl.h>
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
#include "lz4.h"
#include "sha256.h"
#include "store/channel.h"
#include "store/files.h"
#include "store/listing.h"
#include "store/result.h"
#include "store/settled.h"
#include "store/signals.h"
#include "store/sums.h"
#include "store/users.h"
#include "store/watch.h"
#include "store/words.h"

namespace {

using namespace edge::store;
using edge::Descriptor;
using edge::Sha256;

// Bounds on what a client may ask, so that no request makes the store grow without end.
constexpr uint64_t kMaxHave = 1024;
constexpr uint64_t kMaxManifest = 1 << 20;
constexpr uint64_t kMaxLog = 1 << 16;
constexpr uint64_t kMaxSize = uint64_t{1} << 50;
constexpr uint64_t kMaxPackedBlock = 1 << 18;
constexpr size_t kMaxListed = 512;
constexpr size_t kMaxOwner = 200;
// Files that arrived and wait, open, for their names.
constexpr size_t kMaxArrived = 256;
// From so many files on, one sync of the whole file system is quicker than one of each.
constexpr size_t kFewFiles = 8;
// A first upload that nobody finished; younger ones may be another host's, under way.
constexpr time_t kForgottenUpload_s = 24 * 3600;

constexpr char kCurrent[] = "current";
constexpr char kCurrentPart[] = ".current.part";
constexpr char kPins[] = "pins";
constexpr char kLog[] = "deployments.log";
constexpr char kLock[] = "lock";

std::string utc_now() {
  const time_t now = time(nullptr);
  tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  return std::string(text, strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

struct Flags {
  std::string root;
  std::string owner = "unknown";
  std::string install_self;
  std::string settled;
  bool list = false;
  uint64_t idle_s = 30;
};

// A part file that is complete and has the right content; it gets its name with the next release.
struct Arrival {
  Descriptor file;
  Stamp stamp;
  int watch = -1;
  bool executable = false;
};

class Store {
 public:
  explicit Store(const Flags &flags)
      : flags_(flags), channel_(static_cast<int64_t>(flags.idle_s) * 1000) {}

  int run();

 private:
  // Each answers one of the questions that need no lock and change nothing.
  int tell_settled();
  int tell_list();

  Result open_root(bool make);
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
  Result settle(const Words &words);
  Result unsettle(const Words &words);
  Result pin(const Words &words);
  Result unpin(const Words &words);
  Result drop(const Words &words);
  Result clear(const Words &words);
  Result sweep(const std::string &doing);
  std::string list();

  template <typename Take>
  Result blocks(uint64_t left, Result *result, Take take);
  Result open_part(const std::string &name, uint64_t offset, Arrival *arrival, Sha256 *hash);
  Result name_arrived();
  Result still_has(const std::string &sha, Arrival *arrival);
  Result with_space(Result result, uint64_t needed);
  Result build(const std::string &id, const Links &links, const std::string &manifest,
               const std::string &sums);
  Result replace(const std::string &id, const std::string &part);
  void trust_settled();
  Result intact(const Links &links);
  Result whole(const std::string &id, const std::string &sums, bool contents);
  Result append_log(const std::string &text);
  Result unlink_durably(const char *name);
  Result refuse_if_used(const std::string &id);
  Result remove_release(const std::string &id);
  bool settled(const std::string &id, State *state = nullptr);
  void settle_again(const std::string &id, const State &before);
  bool released(const std::string &id);
  bool pinned(const std::string &id);
  std::string current();
  bool stored(const std::string &name, struct stat *info);
  uint64_t free_bytes();

  const Flags flags_;
  Channel channel_;
  Descriptor root_;
  Descriptor store_;
  Descriptor releases_;
  Descriptor lock_;
  Watch watch_;
  // By sha256: what this connection received, and what it has hashed.
  std::map<std::string, Arrival> arrived_;
  std::map<std::string, Stamp> verified_;
  // The state of the release that this connection's last `switch` verified.
  std::string verified_state_;
  std::vector<uint8_t> packed_;
  std::vector<uint8_t> raw_;
};

uint64_t Store::free_bytes() {
  struct statvfs info = {};
  if (fstatvfs(root_.get(), &info) != 0) return 0;
  return uint64_t{info.f_bavail} * info.f_frsize;
}

Result Store::open_root(bool make) {
  if (make) STORE_TRY(make_dirs(flags_.root));
  root_ = Descriptor(open(flags_.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_.valid()) return fail_errno("can't open " + flags_.root, errno);
  STORE_TRY(open_dir(root_.get(), "store", flags_.root + "/store", make, &store_));
  return open_dir(root_.get(), "releases", flags_.root + "/releases", make, &releases_);
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
  unlinkat(root_.get(), kSettledPart, 0);
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
  char target[256];
  const ssize_t size = readlinkat(root_.get(), kCurrent, target, sizeof target);
  static const std::string kPrefix = "releases/";
  const std::string text(target, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  if (text.compare(0, kPrefix.size(), kPrefix) != 0) return "-";
  const std::string id = text.substr(kPrefix.size());
  return is_id(id) ? id : "-";
}

std::string Store::greeting() {
  return "ok edge-store 2 " + number(EDGE_ABI_VERSION) + " " + number(free_bytes()) + " " +
         current();
}

bool Store::stored(const std::string &name, struct stat *info) {
  return file_at(store_.get(), name, info);
}

bool Store::released(const std::string &id) {
  struct stat info;
  return fstatat(releases_.get(), id.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
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
    const auto arrived = arrived_.find(item[0]);
    if ((arrived != arrived_.end() && arrived->second.stamp.size == size) ||
        (stored(item[0], &info) && static_cast<uint64_t>(info.st_size) == size)) {
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
Result Store::open_part(const std::string &name, uint64_t offset, Arrival *arrival, Sha256 *hash) {
  Descriptor &file = arrival->file;
  if (offset == 0) {
    // Whatever stands there, a planted link too, goes; O_EXCL makes a file of our own.
    if (!remove_tree(store_.get(), name)) return fail_errno("can't replace store/" + name, errno);
    file = Descriptor(openat(store_.get(), name.c_str(),
                             O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.valid()) return fail_errno("can't create store/" + name, errno);
    arrival->watch = watch_.begin(file.get());
    return {};
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
  file =
      Descriptor(openat(store_.get(), name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat again;
  if (!file.valid() || fstat(file.get(), &again) != 0 || again.st_ino != info.st_ino ||
      ftruncate(file.get(), static_cast<off_t>(offset)) != 0 ||
      lseek(file.get(), 0, SEEK_END) < 0) {
    return fail_errno("can't resume store/" + name, errno);
  }
  arrival->watch = watch_.begin(file.get());
  return hash_prefix(file.get(), offset, hash);
}

// Says of a full disk how many bytes were needed, and how many are free now that they are gone.
Result Store::with_space(Result result, uint64_t needed) {
  if (result.status == EDGE_NO_SPACE) {
    result.message = "no space for " + number(needed) + " bytes in " + flags_.root + ": " +
                     number(free_bytes()) + " are free; drop old releases or free some space";
  }
  return result;
}

// Hands what the blocks of `left` bytes unpack to to `take(data, size)`, while `result` is ok. All
// of them are read, so that the next request is where it should be.
template <typename Take>
Result Store::blocks(uint64_t left, Result *result, Take take) {
  const auto checked = [&](const uint8_t *data, size_t size) {
    if (result->ok()) take(data, size);
  };
  while (left != 0) {
    std::string line;
    STORE_TRY(channel_.line(&line));
    Words words;
    uint64_t packed = 0;
    uint64_t raw = 0;
    if (!split(line, &words) || words.size() != 2 || !parse_number(words[1], left, &raw) ||
        raw == 0 || !parse_number(words[0], raw, &packed) ||
        (packed < raw && raw > kMaxPackedBlock)) {
      return lose(EDGE_USAGE, "malformed block: <packed> <raw>, raw at most what is left, and " +
                                  number(kMaxPackedBlock) + " if it is packed");
    }
    left -= raw;
    if (packed == raw) {
      STORE_TRY(channel_.bytes(raw, checked));
      continue;
    }
    packed_.clear();
    STORE_TRY(channel_.bytes(packed, [&](const uint8_t *data, size_t size) {
      packed_.insert(packed_.end(), data, data + size);
    }));
    raw_.resize(static_cast<size_t>(raw));
    if (edge::unpack_lz4(packed_.data(), packed_.size(), raw_.data(), raw_.size())) {
      checked(raw_.data(), raw_.size());
    } else if (result->ok()) {
      *result =
          fail(EDGE_CORRUPT, "a block does not unpack to " + number(raw) + " bytes: send it again");
    }
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
  const bool executable = words[4] == "555";
  const std::string part = "." + sha + ".part";
  const std::string wrong = "what arrived does not have sha256 " + sha + ": send it again";
  Result result;
  struct stat info;
  const auto arrived = arrived_.find(sha);
  if (arrived != arrived_.end()) {
    STORE_TRY(blocks(size - offset, &result, [](const uint8_t *, size_t) {}));
    if (size != arrived->second.stamp.size) return fail(EDGE_CORRUPT, wrong);
    arrived->second.executable |= executable;
    *answer = " have";
    return {};
  }
  if (stored(sha, &info) && static_cast<uint64_t>(info.st_size) == size) {
    STORE_TRY(blocks(size - offset, &result, [](const uint8_t *, size_t) {}));
    // The same content may be wanted as a program, too.
    if (executable && (info.st_mode & 0111) == 0) {
      Descriptor file(openat(store_.get(), sha.c_str(), kReadFlags));
      if (!file.valid() || fchmod(file.get(), 0555) != 0 || fsync(file.get()) != 0) {
        return fail_errno("can't make " + sha + " executable", errno);
      }
    }
    *answer = " have";
    return {};
  }
  Arrival arrival;
  arrival.executable = executable;
  Sha256 hash;
  result = open_part(part, offset, &arrival, &hash);
  if (result.lost) return result;
  // A part that could not be opened is not ours to remove.
  const bool opened = result.ok();
  STORE_TRY(blocks(size - offset, &result, [&](const uint8_t *data, size_t count) {
    if (write_all(arrival.file.get(), data, count)) {
      hash.update(data, count);
    } else {
      result = fail_errno("can't write store/" + part, errno);
    }
  }));
  if (result.ok() && hash.hex() != sha) result = fail(EDGE_CORRUPT, wrong);
  if (result.ok() && fstat(arrival.file.get(), &info) != 0) {
    result = fail_errno("can't examine store/" + part, errno);
  }
  if (result.ok()) {
    arrival.stamp = Stamp(info);
    arrived_.emplace(sha, std::move(arrival));
    // As many as this are named without waiting for a release.
    if (arrived_.size() >= kMaxArrived) STORE_TRY(name_arrived());
    *answer = " stored";
    return {};
  }
  if (opened) unlinkat(store_.get(), part.c_str(), 0);
  arrival.file = Descriptor();
  return with_space(std::move(result), size);
}

// What arrived is verified: make it durable, then give it its name, then make the names durable.
// Every step is taken for all files before the next: a disk writes many at once faster.
Result Store::name_arrived() {
  Result result;
  const auto each = [&](auto step) {
    for (auto &[sha, arrival] : arrived_) {
      if (result.ok() && !step(sha, arrival)) result = fail_errno("can't store " + sha, errno);
    }
  };
  each([](const std::string &, const Arrival &arrival) {
    return fchmod(arrival.file.get(), arrival.executable ? 0555 : 0444) == 0;
  });
  if (result.ok() && arrived_.size() > kFewFiles && syncfs(store_.get()) != 0) {
    result = fail_errno("can't store what arrived", errno);
  }
  each([](const std::string &, const Arrival &arrival) { return fsync(arrival.file.get()) == 0; });
  for (auto &[sha, arrival] : arrived_) {
    if (watch_.end(arrival.watch) && result.ok()) result = still_has(sha, &arrival);
  }
  each([&](const std::string &sha, const Arrival &arrival) {
    const std::string part = "." + sha + ".part";
    if (renameat(store_.get(), part.c_str(), store_.get(), sha.c_str()) != 0) return false;
    if (verified_.size() < kMaxLinks) verified_[sha] = arrival.stamp;
    return true;
  });
  uint64_t bytes = 0;
  for (const auto &[sha, arrival] : arrived_) {
    bytes += arrival.stamp.size;
    // A disk that failed to write may have lost any of it, and says so only once.
    if (!result.ok()) unlinkat(store_.get(), ("." + sha + ".part").c_str(), 0);
  }
  arrived_.clear();
  // Also if nothing arrived: the names may be those of a connection that was cut before it got
  // here.
  if (result.ok() && !sync_dir(store_.get())) return fail_errno("can't sync store/", errno);
  return with_space(std::move(result), bytes);
}

// Has a file that somebody else opened while it arrived its hash?
Result Store::still_has(const std::string &sha, Arrival *arrival) {
  struct stat info;
  if (fstat(arrival->file.get(), &info) != 0) return fail_errno("can't examine " + sha, errno);
  arrival->stamp = Stamp(info);
  Sha256 hash;
  STORE_TRY(hash_prefix(arrival->file.get(), static_cast<uint64_t>(info.st_size), &hash));
  if (hash.hex() == sha) return {};
  return fail(EDGE_CORRUPT, "somebody else wrote to " + sha + " as it arrived: send it again");
}

// A release that is live, settled and untouched since was hashed, all of it, since this boot: what
// its files hold need not be read again.
void Store::trust_settled() {
  const std::string live = current();
  std::string sums;
  Links links;
  if (live == "-" || !read_sums(releases_.get(), live, &sums).ok() || !parse_sums(sums, &links))
    return;
  std::map<std::string, Stamp> stamps;
  Descriptor dir(openat(releases_.get(), live.c_str(), kDirFlags));
  for (const auto &[path, sha] : links) {
    struct stat info;
    struct stat original;
    Descriptor file = open_beneath(dir.get(), path, kReadFlags);
    if (file.valid() && fstat(file.get(), &info) == 0 && stored(sha, &original) &&
        original.st_dev == info.st_dev && original.st_ino == info.st_ino) {
      stamps[sha] = Stamp(info);
    }
  }
  // Asked after the stamps were taken: what changes from here on changes them, too.
  if (settled(live)) verified_.insert(stamps.begin(), stamps.end());
}

// Has each stored file that is to be linked its hash? One that has not leaves the store, so that it
// is sent again. Found out here, before anything runs from the release.
Result Store::intact(const Links &links) {
  for (const auto &[path, sha] : links) {
    Descriptor file(openat(store_.get(), sha.c_str(), kReadFlags));
    struct stat info;
    // What is missing, build() tells.
    if (!file.valid() || fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const auto known = verified_.find(sha);
    if (known != verified_.end() && known->second == Stamp(info)) continue;
    Sha256 hash;
    STORE_TRY(hash_prefix(file.get(), static_cast<uint64_t>(info.st_size), &hash));
    if (hash.hex() != sha) {
      if (unlinkat(store_.get(), sha.c_str(), 0) == 0) (void)sync_dir(store_.get());
      return fail(EDGE_CORRUPT, path + " was damaged in the store, and removed: send it again");
    }
    if (verified_.size() < kMaxLinks) verified_[sha] = Stamp(info);
  }
  return {};
}

// Is every file of the release there, and the store's own file? With `contents` the bytes are
// hashed as well, but for those that this connection has hashed: a damaged file leaves the
// store, so that the next deploy sends it again.
Result Store::whole(const std::string &id, const std::string &sums, bool contents) {
  const std::string name = "releases/" + id;
  const std::string again = ": deploy it again";
  Links links;
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
      const auto known = verified_.find(sha);
      if (!contents || (known != verified_.end() && known->second == Stamp(info))) continue;
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
  Links links;
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
  STORE_TRY(channel_.text(bytes, &manifest));
  STORE_TRY(std::move(result));
  const std::string sums = sums_of(links, manifest);
  if (sums.compare(0, id.size(), id) != 0) {
    return fail(EDGE_CORRUPT,
                "the manifest's sha256 does not begin with " + id + ": send it again");
  }
  STORE_TRY(name_arrived());
  trust_settled();
  STORE_TRY(intact(links));
  if (released(id)) {
    std::string there;
    Result found = read_sums(releases_.get(), id, &there);
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
  const std::string live = current();
  State before;
  const bool was_settled = live != id && settled(live, &before);
  result = build(id, links, manifest, sums);
  if (!result.ok()) remove_tree(releases_.get(), "." + id + ".part");
  if (was_settled) settle_again(live, before);
  if (result.status == EDGE_NO_SPACE) {
    result.message += " (" + number(free_bytes()) + " bytes are free)";
  }
  STORE_TRY(std::move(result));
  *answer = " created";
  return {};
}

Result Store::build(const std::string &id, const Links &links, const std::string &manifest,
                    const std::string &sums) {
  const std::string part = "." + id + ".part";
  const std::string doing = "can't create release " + id;
  if (!remove_tree(releases_.get(), part) || mkdirat(releases_.get(), part.c_str(), 0755) != 0) {
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
    if (!create_file(dirs.find("")->second.get(), name, *text, 0444)) {
      return fail_errno(doing, errno);
    }
  }
  for (const auto &[path, dir] : dirs) {
    if (!sync_dir(dir.get())) return fail_errno(doing, errno);
  }
  return replace(id, part);
}

// `part` becomes the release. A damaged one of that id may be current: where the file system can,
// the two change places, so that `current` always leads somewhere.
Result Store::replace(const std::string &id, const std::string &part) {
  const std::string old = "." + id + ".old.part";
  const std::string doing = "can't create release " + id;
  if (released(id)) {
    if (exchange(releases_.get(), part, id)) {
      if (!sync_dir(releases_.get())) return fail_errno(doing, errno);
      remove_tree(releases_.get(), part);
      return {};
    }
    if (errno != EINVAL && errno != ENOSYS) return fail_errno(doing, errno);
    if (!remove_tree(releases_.get(), old) ||
        renameat(releases_.get(), id.c_str(), releases_.get(), old.c_str()) != 0) {
      return fail_errno(doing, errno);
    }
  }
  if (renameat(releases_.get(), part.c_str(), releases_.get(), id.c_str()) != 0 ||
      !sync_dir(releases_.get())) {
    return fail_errno(doing, errno);
  }
  remove_tree(releases_.get(), old);
  return {};
}

Result Store::unlink_durably(const char *name) {
  if ((unlinkat(root_.get(), name, 0) != 0 && errno != ENOENT) || !sync_dir(root_.get())) {
    return fail_errno("can't remove " + flags_.root + "/" + name, errno);
  }
  return {};
}

Result Store::switch_to(const Words &words, std::string *answer) {
  const bool off = words.size() == 2 && words[1] == "-";
  if (!off && (words.size() != 2 || !is_id(words[1]))) {
    return lose(EDGE_USAGE, "malformed: switch <id or ->");
  }
  const std::string previous = current();
  if (off) {
    STORE_TRY(unlink_durably(kCurrent));
    STORE_TRY(unlink_durably(kSettled));
    *answer = " " + previous;
    return {};
  }
  const std::string &id = words[1];
  std::string sums;
  STORE_TRY(read_sums(releases_.get(), id, &sums));
  // Taken before the contents are read: what changes after that is then seen to have changed.
  State state;
  if (!state_of(releases_.get(), id, &state).ok()) state = {};
  verified_state_.clear();
  STORE_TRY(whole(id, sums, true));
  verified_state_ = state.all;
  if (previous != id) {
    const std::string target = "releases/" + id;
    // The record is of a release that was live without a break; this one may have been before.
    if (unlinkat(root_.get(), kSettled, 0) != 0 && errno != ENOENT) {
      return fail_errno("can't remove " + flags_.root + "/" + kSettled, errno);
    }
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

Result Store::append_log(const std::string &text) {
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

Result Store::log(const Words &words) {
  uint64_t bytes = 0;
  if (words.size() != 2 || !parse_number(words[1], kMaxLog, &bytes)) {
    return lose(EDGE_USAGE, "malformed: log <bytes>, at most " + number(kMaxLog));
  }
  std::string text;
  STORE_TRY(channel_.text(bytes, &text));
  return append_log(text);
}

Result Store::settle(const Words &words) {
  uint64_t bytes = 0;
  if (words.size() != 3 || !is_id(words[1]) || !parse_number(words[2], kMaxLog, &bytes)) {
    return lose(EDGE_USAGE, "malformed: settle <id> <bytes>, at most " + number(kMaxLog));
  }
  const std::string &id = words[1];
  std::string text;
  STORE_TRY(channel_.text(bytes, &text));
  if (current() != id) {
    return fail(EDGE_USAGE, "release " + id + " is not current: switch to it first");
  }
  State state;
  STORE_TRY(state_of(releases_.get(), id, &state));
  if (state.all != verified_state_) {
    // Nothing is vouched for unseen: not another connection's switch, nor what changed since ours.
    std::string sums;
    STORE_TRY(read_sums(releases_.get(), id, &sums));
    STORE_TRY(whole(id, sums, true));
  }
  STORE_TRY(append_log(text));
  return write_settled(root_.get(), id, state.all);
}

bool Store::settled(const std::string &id, State *state) {
  State now;
  if (!is_id(id) || !state_of(releases_.get(), id, &now).ok()) return false;
  if (state != nullptr) *state = now;
  return reads_settled(root_.get(), id, now.all);
}

// A link more or less, of our own making, is a change of the files' times but not of the release.
// Without the record the next deploy has more to do, so that a failure matters to nobody.
void Store::settle_again(const std::string &id, const State &before) {
  State now;
  if (state_of(releases_.get(), id, &now).ok() && now.content == before.content) {
    (void)write_settled(root_.get(), id, now.all);
  }
}

bool Store::pinned(const std::string &id) {
  Descriptor pins(openat(root_.get(), kPins, kDirFlags));
  struct stat info;
  return pins.valid() && fstatat(pins.get(), id.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
}

Result Store::unsettle(const Words &words) {
  if (words.size() != 1) return lose(EDGE_USAGE, "malformed: unsettle");
  return unlink_durably(kSettled);
}

Result Store::pin(const Words &words) {
  if (words.size() != 2 || !is_id(words[1])) return lose(EDGE_USAGE, "malformed: pin <id>");
  const std::string &id = words[1];
  if (!released(id)) return fail(EDGE_NO_FILE, "there is no release " + id + " on the board");
  Descriptor pins;
  STORE_TRY(open_dir(root_.get(), kPins, flags_.root + "/" + kPins, true, &pins));
  if ((!pinned(id) && !create_file(pins.get(), id.c_str(), "", 0444)) || !sync_dir(pins.get())) {
    return fail_errno("can't pin release " + id, errno);
  }
  return {};
}

Result Store::unpin(const Words &words) {
  if (words.size() != 2 || !is_id(words[1])) return lose(EDGE_USAGE, "malformed: unpin <id>");
  const std::string &id = words[1];
  if (!released(id) && !pinned(id)) {
    return fail(EDGE_NO_FILE, "there is no release " + id + " on the board");
  }
  Descriptor pins;
  Result result = open_dir(root_.get(), kPins, flags_.root + "/" + kPins, false, &pins);
  if (!result.ok()) return result.status == EDGE_NO_FILE ? Result() : result;
  if ((unlinkat(pins.get(), id.c_str(), 0) != 0 && errno != ENOENT) || !sync_dir(pins.get())) {
    return fail_errno("can't unpin release " + id, errno);
  }
  return {};
}

// `id`, or any release if it is empty.
Result Store::refuse_if_used(const std::string &id) {
  for (const auto &[used, user] : users_of(releases_.get())) {
    if (!id.empty() && used != id) continue;
    return fail(EDGE_BUSY, "release " + used + " is in use by process " +
                               number(static_cast<uint64_t>(user.pid)) + " (" + user.command + ")");
  }
  return {};
}

// It goes at once, by its name; what is left of it after a cut is cleaned up at the next start.
Result Store::remove_release(const std::string &id) {
  const std::string old = "." + id + ".old.part";
  const std::string doing = "can't drop release " + id;
  if (!remove_tree(releases_.get(), old)) return fail_errno(doing, errno);
  if (renameat(releases_.get(), id.c_str(), releases_.get(), old.c_str()) != 0) {
    if (errno == ENOENT) return fail(EDGE_NO_FILE, "there is no release " + id + " on the board");
    return fail_errno(doing, errno);
  }
  if (!sync_dir(releases_.get()) || !remove_tree(releases_.get(), old)) {
    return fail_errno(doing, errno);
  }
  return {};
}

Result Store::drop(const Words &words) {
  if (words.size() != 2 || !is_id(words[1])) return lose(EDGE_USAGE, "malformed: drop <id>");
  const std::string &id = words[1];
  const std::string live = current();
  if (live == id) {
    return fail(EDGE_USAGE, "release " + id + " is current: switch to another one first");
  }
  if (pinned(id)) return fail(EDGE_USAGE, "release " + id + " is pinned: unpin it first");
  STORE_TRY(refuse_if_used(id));
  State before;
  const bool was_settled = settled(live, &before);
  Result result = remove_release(id);
  if (result.ok()) result = sweep("can't drop release " + id);
  if (was_settled) settle_again(live, before);
  return result;
}

// All that deploys made but for the log, what is live first.
Result Store::clear(const Words &words) {
  const bool force = words.size() == 2 && words[1] == "force";
  if (words.size() != 1 && !force) return lose(EDGE_USAGE, "malformed: clear, or clear force");
  if (!force) STORE_TRY(refuse_if_used(""));
  STORE_TRY(unlink_durably(kCurrent));
  STORE_TRY(unlink_durably(kSettled));
  for (const std::string &id : names_in(releases_.get())) {
    if (is_id(id)) STORE_TRY(remove_release(id));
  }
  Descriptor pins(openat(root_.get(), kPins, kDirFlags));
  if (pins.valid()) {
    for (const std::string &id : names_in(pins.get())) {
      if (is_id(id) && unlinkat(pins.get(), id.c_str(), 0) != 0) {
        return fail_errno("can't unpin release " + id, errno);
      }
    }
    if (!sync_dir(pins.get())) return fail_errno("can't sync " + flags_.root + "/" + kPins, errno);
  }
  return sweep("can't clear the store");
}

Result Store::sweep(const std::string &doing) {
  // Their names go below, with all part files.
  arrived_.clear();
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

std::string Store::list() {
  const auto users = users_of(releases_.get());
  const std::string live = current();
  std::string text;
  for (const Listed &release : list_releases(releases_.get(), kMaxListed)) {
    std::string flags;
    if (release.id == live) flags += 'c';
    if (pinned(release.id)) flags += 'p';
    if (users.count(release.id) != 0) flags += 'u';
    text += " " + release.id + ":" + number(release.created_s) + ":" + number(release.size_bytes) +
            ":" + number(release.own_bytes) + ":" + (flags.empty() ? "-" : flags);
  }
  return text;
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
  if (verb == "settle") return settle(words);
  if (verb == "unsettle") return unsettle(words);
  if (verb == "pin") return pin(words);
  if (verb == "unpin") return unpin(words);
  if (verb == "drop") return drop(words);
  if (verb == "clear") return clear(words);
  if (words.size() == 1) {
    if (verb == "ping") {
      *answer = " pong";
      return {};
    }
    if (verb == "current") {
      *answer = " " + current();
      return {};
    }
    if (verb == "list") {
      *answer = list();
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

int Store::tell_settled() {
  const std::string &id = flags_.settled;
  const bool holds = open_root(false).ok() && current() == id && settled(id);
  const std::string free = root_.valid() ? number(free_bytes()) : "-";
  return channel_.reply((holds ? "ok settled " : "ok unsettled ") + boot_id() + " " + free).status;
}

int Store::tell_list() {
  const Result result = open_root(false);
  if (result.ok()) return channel_.reply("ok" + list()).status;
  // Where nothing was deployed yet, there are no releases.
  if (result.status == EDGE_NO_FILE) return channel_.reply("ok").status;
  channel_.last_words(result);
  return result.status;
}

int Store::run() {
  if (!flags_.settled.empty()) return tell_settled();
  if (flags_.list) return tell_list();
  Result result = open_root(true);
  if (result.ok() && !flags_.install_self.empty()) result = install_self();
  if (result.ok()) result = lock();
  if (result.ok()) {
    clean_up();
    result = channel_.reply(greeting());
  }
  bool quit = false;
  while (result.ok() && !quit) {
    std::string line;
    result = signalled() ? interrupted() : channel_.line(&line);
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
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--list") {
      flags->list = true;
      continue;
    }
    if (++i == argc) return fail(EDGE_USAGE, "store: " + name + " needs a value");
    const std::string value = argv[i];
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
    } else if (name == "--settled") {
      if (!is_id(value)) return fail(EDGE_USAGE, "store: --settled takes a release's id");
      flags->settled = value;
    } else {
      return fail(EDGE_USAGE, "store: unknown flag " + name +
                                  "; flags: --root --owner --idle-timeout --install-self "
                                  "--settled --list");
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
  if (!standard_streams_open() || !open_signal_pipe() || !catch_signals()) return EDGE_INTERNAL;
  Flags flags;
  if (Result result = parse_flags(argc, argv, &flags); !result.ok()) {
    Channel(1000).last_words(result);
    return result.status;
  }
  return Store(flags).run();
}
