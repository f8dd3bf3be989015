// Command-line flags: `--name value`, `--name=value`, `--switch`.
#ifndef EDGE_FLAGS_H
#define EDGE_FLAGS_H

#include <string>
#include <vector>

#include "error.h"

namespace edge {

class Flags {
 public:
  // All pointers stay valid until parse(); they hold the defaults before.
  void text(const char *name, std::string *value);
  void texts(const char *name, std::vector<std::string> *values);
  void number(const char *name, uint64_t least, uint64_t most, uint64_t *value);
  // A number, or the word "auto", which stands for 0.
  void number_or_auto(const char *name, uint64_t most, uint64_t *value);
  void on(const char *name, bool *value);

  // argv[0] is the verb. Unknown flags, missing values and stray words are EDGE_USAGE.
  Status parse(int argc, char **argv);
  bool given(const char *name) const;

 private:
  struct Flag {
    const char *name;
    std::string *text = nullptr;
    std::vector<std::string> *texts = nullptr;
    uint64_t *number = nullptr;
    bool *on = nullptr;
    uint64_t least = 0;
    uint64_t most = 0;
    bool allow_auto = false;
    bool given = false;
  };
  static Status set(const char *verb, Flag *flag, const std::string &value);

  std::vector<Flag> flags_;
};

}  // namespace edge

#endif  // EDGE_FLAGS_H
