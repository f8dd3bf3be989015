// How a board is set: governors, limits, modes; and settings of ours for as long as they are held.
#ifndef EDGE_SETTINGS_H
#define EDGE_SETTINGS_H

#include <string>
#include <utility>
#include <vector>

#include "error.h"

namespace edge {

// Paths that match a shell pattern, in order.
std::vector<std::string> matching(const std::string &pattern);
std::string first_line(const std::string &text);
std::string last_component(const std::string &path);

// Names and values of what the board tells, `governor/policy0` and `performance` for one.
// `below`: where the system's files are, empty for this one's.
std::vector<std::pair<std::string, std::string>> read_settings(const std::string &below);

// Values that files below /sys/devices/system/cpu have for as long as this lives.
class HeldSettings {
 public:
  // By `sudo -n tee`, if `sudo`.
  HeldSettings(std::string below, bool sudo) : below_(std::move(below)), sudo_(sudo) {}
  // What was said of the failure that ends it all stays said.
  ~HeldSettings();

  // `PATH=VALUE`; what was there before is remembered first.
  Status set(const std::string &text);
  // Puts everything back, the last one first; the paths for which that failed.
  std::vector<std::string> restore();

 private:
  Status put(const std::string &path, const std::string &value) const;

  std::string below_;
  bool sudo_;
  std::vector<std::pair<std::string, std::string>> before_;
};

}  // namespace edge

#endif  // EDGE_SETTINGS_H
