// Any bytes as a client of the store: whatever it says, a file in the store has the content that
// its name promises, the current release is whole, and nothing outside of the root changes. Its
// inside, beside the runner's own: how words are split, how trees are removed.
#define store_main fuzzed_store_main
#include "../src/store.cc"

#include <signal.h>

#include "fuzz.h"

namespace {

struct Home {
  Home() {
    char name[] = "/dev/shm/edge-fuzz-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
    // The store's signals would be libFuzzer's own, but for the pipe that it waits for.
    REQUIRE(open_signal_pipe());
    signal(SIGPIPE, SIG_IGN);
    REQUIRE(dup2(input.fd(), STDIN_FILENO) == STDIN_FILENO);
    REQUIRE(dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO) == STDOUT_FILENO);
    flags.root = path + "/root";
  }
  ~Home() { remove_tree(AT_FDCWD, path); }

  edge::fuzz::MemoryFile input;
  std::string path;
  ::Flags flags;
};

void check_store(int store) {
  for (const std::string &name : names_in(store)) {
    if (!is_sha(name)) continue;
    std::string text;
    REQUIRE(read_text(store, name.c_str(), 1 << 24, &text).ok());
    Sha256 hash;
    hash.update(text.data(), text.size());
    REQUIRE(hash.hex() == name);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static Home home;
  home.input.fill(data, size);
  const int status = Store(home.flags).run();
  REQUIRE(status >= 0 && status <= EDGE_INTERRUPTED);

  Descriptor top(open(home.path.c_str(), kDirFlags));
  const std::vector<std::string> names = names_in(top.get());
  REQUIRE(names.size() == 1 && names[0] == "root");
  Descriptor root(openat(top.get(), "root", kDirFlags));
  Descriptor store(openat(root.get(), "store", kDirFlags));
  REQUIRE(store.valid());
  check_store(store.get());
  struct stat info;
  if (fstatat(root.get(), kCurrent, &info, AT_SYMLINK_NOFOLLOW) == 0) {
    REQUIRE(faccessat(root.get(), "current/manifest.json", R_OK, 0) == 0);
  }
  REQUIRE(remove_tree(top.get(), "root"));
  return 0;
}
