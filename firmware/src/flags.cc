#include "flags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

namespace edge {

void Flags::text(const char *name, std::string *value) {
  Flag flag{name};
  flag.text = value;
  flags_.push_back(flag);
}

void Flags::texts(const char *name, std::vector<std::string> *values) {
  Flag flag{name};
  flag.texts = values;
  flags_.push_back(flag);
}

void Flags::number(const char *name, uint64_t least, uint64_t most, uint64_t *value) {
  Flag flag{name};
  flag.number = value;
  flag.least = least;
  flag.most = most;
  flags_.push_back(flag);
}

void Flags::number_or_auto(const char *name, uint64_t most, uint64_t *value) {
  number(name, 1, most, value);
  flags_.back().allow_auto = true;
}

void Flags::on(const char *name, bool *value) {
  Flag flag{name};
  flag.on = value;
  flags_.push_back(flag);
}

Status Flags::parse(int argc, char **argv) {
  const char *verb = argv[0];
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    std::string value;
    const size_t equals = name.find('=');
    const bool attached = name.compare(0, 2, "--") == 0 && equals != std::string::npos;
    if (attached) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const auto found = std::find_if(flags_.begin(), flags_.end(),
                                    [&](const Flag &flag) { return name == flag.name; });
    if (found == flags_.end()) {
      const bool dashed = name.compare(0, 1, "-") == 0;
      return fail(EDGE_USAGE, "%s: %s %s; `edge-run %s --help` lists the flags", verb,
                  dashed ? "unknown flag" : "unexpected argument", name.c_str(), verb);
    }
    found->given = true;
    if (found->on != nullptr) {
      if (attached) return fail(EDGE_USAGE, "%s: %s takes no value", verb, found->name);
      *found->on = true;
      continue;
    }
    if (!attached) {
      if (i + 1 >= argc) return fail(EDGE_USAGE, "%s: %s needs a value", verb, found->name);
      value = argv[++i];
    }
    EDGE_TRY(set(verb, &*found, value));
  }
  return Status();
}

Status Flags::set(const char *verb, Flag *flag, const std::string &value) {
  if (flag->texts != nullptr) {
    flag->texts->push_back(value);
    return Status();
  }
  if (flag->text != nullptr) {
    *flag->text = value;
    return Status();
  }
  if (flag->allow_auto && value == "auto") {
    *flag->number = 0;
    return Status();
  }
  char *end = nullptr;
  errno = 0;
  const unsigned long long parsed = strtoull(value.c_str(), &end, 10);
  // strtoull would take blanks and signs.
  const bool digits = !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || errno != 0 || parsed < flag->least || parsed > flag->most) {
    return fail(EDGE_USAGE, "%s: %s takes %sa whole number from %llu to %llu, not '%s'", verb,
                flag->name, flag->allow_auto ? "auto or " : "",
                static_cast<unsigned long long>(flag->least),
                static_cast<unsigned long long>(flag->most), value.c_str());
  }
  *flag->number = parsed;
  return Status();
}

bool Flags::given(const char *name) const {
  for (const Flag &flag : flags_) {
    if (strcmp(flag.name, name) == 0) return flag.given;
  }
  return false;
}

}  // namespace edge
