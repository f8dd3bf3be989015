#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "file.h"

extern "C" char **environ;

namespace edge {
namespace {

constexpr char kPlace[] = "/sys/devices/system/cpu/";
constexpr size_t kLongest = 100;

// What a file says in its first line, fit to be shown.
std::string told(const std::string &path) {
  std::string text = first_line(read_small_file(path.c_str())).substr(0, kLongest);
  for (char &c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// Of `always [madvise] never`, the one that holds.
std::string chosen(const std::string &text) {
  const size_t begin = text.find('['), end = text.find(']');
  return begin == std::string::npos || end == std::string::npos || end < begin
             ? text
             : text.substr(begin + 1, end - begin - 1);
}

// A Jetson's mode: its number, and its name where the configuration has it as
// `< POWER_MODEL ID=2 NAME=MODE_15W >`.
std::string power_mode(const std::string &below) {
  const std::string status = told(below + "/var/lib/nvpmodel/status");
  const size_t at = status.find("pmode:");
  if (at == std::string::npos) return status;
  const long number = strtol(status.c_str() + at + strlen("pmode:"), nullptr, 10);
  const std::string config = read_small_file((below + "/etc/nvpmodel.conf").c_str());
  const std::string wanted = "POWER_MODEL ID=" + std::to_string(number) + " NAME=";
  const size_t found = config.find(wanted);
  if (found == std::string::npos) return std::to_string(number);
  std::string name = config.substr(found + wanted.size(), kLongest);
  const auto plain = [](char c) { return c > ' ' && c <= '~' && c != '>'; };
  name.resize(
      static_cast<size_t>(std::find_if_not(name.begin(), name.end(), plain) - name.begin()));
  return std::to_string(number) + " " + name;
}

std::string c_library() {
#if defined(_CS_GNU_LIBC_VERSION)
  char text[64] = "";
  if (confstr(_CS_GNU_LIBC_VERSION, text, sizeof text) > 0) return text;
#endif
  return "";
}

// `sudo -n tee PATH`, the value on its standard input. No shell.
Status put_by_sudo(const std::string &path, const std::string &value) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "can't make a pipe for sudo");
  Descriptor input(ends[0]), output(ends[1]);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input.get(), STDIN_FILENO);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A group of its own: the signal that ends us must not end what puts the settings back.
  sigset_t reset;
  sigemptyset(&reset);
  sigaddset(&reset, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &reset);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  std::string words[] = {"sudo", "-n", "tee", path};
  char *argv[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  pid_t child = -1;
  const int error = posix_spawnp(&child, "sudo", &files, &attributes, argv, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return fail_errno(error, "can't start sudo to set %s", path.c_str());
  const std::string line = value + "\n";
  // If it takes none of this, its exit code says why.
  (void)write_all(output.get(), line.data(), line.size(), "sudo");
  output = Descriptor();
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return Status();
  return fail(EDGE_IO,
              "sudo could not set %s to '%s': check the value; `invoke doctor` has the line that "
              "permits it",
              path.c_str(), value.c_str());
}

}  // namespace

std::vector<std::string> matching(const std::string &pattern) {
  std::vector<std::string> paths;
  glob_t found = {};
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) paths.push_back(found.gl_pathv[i]);
  }
  globfree(&found);
  return paths;
}

std::string first_line(const std::string &text) {
  return text.substr(0, text.find('\n'));
}

std::string last_component(const std::string &path) {
  return path.substr(path.rfind('/') + 1);
}

std::vector<std::pair<std::string, std::string>> read_settings(const std::string &below) {
  std::vector<std::pair<std::string, std::string>> found;
  const auto add = [&](const std::string &name, const std::string &value) {
    if (!value.empty()) found.emplace_back(name, value);
  };
  const std::string cpu = below + kPlace;
  for (const std::string &policy : matching(cpu + "cpufreq/policy*")) {
    const std::string name = last_component(policy);
    add("governor/" + name, told(policy + "/scaling_governor"));
    add("min_khz/" + name, told(policy + "/scaling_min_freq"));
    add("max_khz/" + name, told(policy + "/scaling_max_freq"));
  }
  add("boost", told(cpu + "cpufreq/boost"));
  add("no_turbo", told(cpu + "intel_pstate/no_turbo"));
  add("isolated_cpus", told(cpu + "isolated"));
  add("power_mode", power_mode(below));
  add("transparent_hugepages", chosen(told(below + "/sys/kernel/mm/transparent_hugepage/enabled")));
  add("kernel", told(below + "/proc/sys/kernel/osrelease"));
  add("libc", c_library());
  return found;
}

HeldSettings::~HeldSettings() {
  if (before_.empty()) return;
  const std::string said = last_error();
  (void)restore();
  (void)fail(EDGE_IO, "%s", said.c_str());
}

Status HeldSettings::set(const std::string &text) {
  const size_t at = text.find('=');
  const std::string path = text.substr(0, at);
  if (at == std::string::npos || path.compare(0, strlen(kPlace), kPlace) != 0 ||
      path.find("..") != std::string::npos) {
    return fail(EDGE_USAGE, "watch: --set takes %s...=VALUE, not '%s'", kPlace, text.c_str());
  }
  const std::string old = first_line(read_small_file((below_ + path).c_str()));
  if (old.empty()) return fail(EDGE_NO_FILE, "watch: can't read %s", path.c_str());
  before_.emplace_back(path, old);
  const Status status = put(path, text.substr(at + 1));
  // What refused a value still has its old one.
  if (!status.ok()) before_.pop_back();
  return status;
}

std::vector<std::string> HeldSettings::restore() {
  std::vector<std::string> failed;
  while (!before_.empty()) {
    const auto [path, value] = before_.back();
    before_.pop_back();
    if (!put(path, value).ok()) failed.push_back(path);
  }
  return failed;
}

Status HeldSettings::put(const std::string &path, const std::string &value) const {
  const std::string whole = below_ + path;
  if (sudo_) return put_by_sudo(whole, value);
  Descriptor file(open(whole.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!file.valid()) return fail_errno(errno, "can't set %s", path.c_str());
  return write_all(file.get(), value.data(), value.size(), path.c_str());
}

}  // namespace edge
