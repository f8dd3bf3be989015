#include "store/settled.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "store/files.h"
#include "store/sums.h"
#include "store/words.h"

namespace edge::store {
namespace {

std::string record_of(const std::string &id, const std::string &state) {
  return "release " + id + "\nboot " + boot_id() + "\nstate " + state + "\n";
}

}  // namespace

std::string boot_id() {
  const std::string text = read_small_file("/proc/sys/kernel/random/boot_id");
  Words words;
  const bool known = split(text.substr(0, text.find('\n')), &words) && words.size() == 1;
  return known ? words[0] : "-";
}

Result state_of(int releases, const std::string &id, State *state) {
  std::string sums;
  STORE_TRY(read_sums(releases, id, &sums));
  Links links;
  if (!parse_sums(sums, &links)) {
    return fail(EDGE_CORRUPT, "releases/" + id + "/" + kSums + " is damaged: deploy it again");
  }
  links.emplace(kSums, "");
  Descriptor dir(openat(releases, id.c_str(), kDirFlags));
  Sha256 all;
  Sha256 content;
  for (const auto &[path, sha] : links) {
    Descriptor file = open_beneath(dir.get(), path, kReadFlags);
    struct stat info;
    if (!file.valid() || fstat(file.get(), &info) != 0) {
      return fail_errno("can't open releases/" + id + "/" + path, errno);
    }
    const Stamp stamp(info);
    const std::string line = path + " " + number(stamp.device) + " " + number(stamp.inode) + " " +
                             number(stamp.size) + " " + std::to_string(stamp.changed_ns) + " ";
    const std::string more = std::to_string(in_ns(info.st_ctim)) + "\n";
    content.update(line.data(), line.size());
    all.update(line.data(), line.size());
    all.update(more.data(), more.size());
  }
  *state = {all.hex(), content.hex()};
  return {};
}

Result write_settled(int root, const std::string &id, const std::string &state) {
  unlinkat(root, kSettledPart, 0);
  if (!create_file(root, kSettledPart, record_of(id, state), 0644) ||
      renameat(root, kSettledPart, root, kSettled) != 0 || !sync_dir(root)) {
    const int error = errno;
    unlinkat(root, kSettledPart, 0);
    return fail_errno(std::string("can't write ") + kSettled, error);
  }
  return {};
}

bool reads_settled(int root, const std::string &id, const std::string &state) {
  std::string text;
  // A power cut may take back what the times of files promise.
  return boot_id() != "-" && read_text(root, kSettled, 1000, &text).ok() &&
         text == record_of(id, state);
}

}  // namespace edge::store
