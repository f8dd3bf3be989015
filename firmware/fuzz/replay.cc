// Runs a fuzz target on the files and folders named, each once: what libFuzzer's own main does with
// -runs=0, for compilers that have no libFuzzer.
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "file.h"
#include "fuzz.h"

namespace {

std::vector<std::string> files_at(const char *path) {
  DIR *folder = opendir(path);
  if (folder == nullptr) return {path};
  std::vector<std::string> files;
  while (const dirent *entry = readdir(folder)) {
    if (entry->d_name[0] != '.') files.push_back(std::string(path) + "/" + entry->d_name);
  }
  closedir(folder);
  std::sort(files.begin(), files.end());
  return files;
}

bool replay(const std::string &path) {
  edge::MappedFile file;
  if (!file.open(path.c_str()).ok()) {
    fprintf(stderr, "%s\n", edge::last_error());
    return false;
  }
  // A crash says which input it was; memory of exactly its size shows a byte read too far.
  fprintf(stderr, "%s\n", path.c_str());
  std::unique_ptr<uint8_t[]> exact(new uint8_t[file.size()]);
  if (file.size() > 0) memcpy(exact.get(), file.data(), file.size());
  LLVMFuzzerTestOneInput(exact.get(), file.size());
  return true;
}

}  // namespace

int main(int argc, char **argv) {
  size_t count = 0;
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] == '-') continue;  // libFuzzer's flags
    for (const std::string &path : files_at(argv[i])) {
      if (!replay(path)) return 1;
      ++count;
    }
  }
  fprintf(stderr, "%zu inputs\n", count);
  // A corpus that went missing must not look like one that passed.
  return count > 0 ? 0 : 1;
}
