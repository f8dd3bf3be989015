#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "clock.h"
#include "edge.h"
#include "file.h"
#include "flags.h"
#include "guard.h"
#include "json.h"
#include "progress.h"
#include "report.h"
#include "settings.h"

namespace edge {
namespace {

constexpr const char *watch_help = R"(usage: edge-run watch --series FILE [flags]

Reads clocks, temperatures, throttle bits, pressure and the processors' work over and over, until
its standard input ends or has something to read, or a signal comes, and appends a record to FILE
each time; what reading took is in the record. Prints lines of JSON: first which columns there are
and how the board is set, last how it is set then.

  --series FILE        where to record, best on a memory disk
  --samples FILE       the recording of the measurement that this goes along with: at the end
                       whoever still records there is ended too; and if the input ended without
                       a line, or a signal came, the files of both and their folder are removed
  --interval-ms MS     from one reading to the next (100)
  --set PATH=VALUE     a setting below /sys/devices/system/cpu for as long as this runs; may be
                       repeated; what was there before is put back at the end, whatever ends it
                       but SIGKILL
  --sudo               set, and put back, by `sudo -n tee PATH`
  --tell-ms MS         tell how far that recording is, so often (0: never)
  --below DIR          use the files of a system that is mounted there instead of this one
)";

volatile sig_atomic_t g_stop = 0;

// The first number in a text.
int64_t decimal(const char *text) {
  char *end = nullptr;
  const long long value = strtoll(text, &end, 10);
  return end == text ? INT64_MIN : value;
}

int64_t hexadecimal(const char *text) {
  char *end = nullptr;
  const long long value = strtoll(text, &end, 16);
  return end == text ? INT64_MIN : value;
}

// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`: microseconds in which somebody waited.
int64_t pressure(const char *text) {
  const char *total = strstr(text, "total=");
  return total == nullptr ? INT64_MIN : decimal(total + 6);
}

// `cpu  user nice system idle iowait irq softirq steal ...`, in ticks: all but idle and iowait.
int64_t busy(const char *text) {
  if (strncmp(text, "cpu ", 4) != 0) return INT64_MIN;
  int64_t sum = 0;
  char *at = const_cast<char *>(text) + 4;
  for (int field = 0; field < 8; ++field) {
    char *end = nullptr;
    const long long value = strtoll(at, &end, 10);
    if (end == at) break;
    at = end;
    if (field != 3 && field != 4) sum += value;
  }
  return sum;
}

int64_t switches(const char *text) {
  const char *line = strstr(text, "\nctxt ");
  return line == nullptr ? INT64_MIN : decimal(line + 6);
}

// A file that stays open, and what its text says.
struct Source {
  Descriptor file;
  std::vector<std::pair<std::string, int64_t (*)(const char *)>> columns;
};

class Sources {
 public:
  explicit Sources(const std::string &below) {
    const auto one = [&](const std::string &path, const std::string &name,
                         int64_t (*parse)(const char *)) { add(below + path, {{name, parse}}); };
    for (const std::string &policy : matching(below + "/sys/devices/system/cpu/cpufreq/policy*")) {
      add(policy + "/scaling_cur_freq", {{"clock_khz/" + last_component(policy), decimal}});
    }
    for (const std::string &zone : matching(below + "/sys/class/thermal/thermal_zone*")) {
      const std::string type = first_line(read_small_file((zone + "/type").c_str()));
      add(zone + "/temp", {{"temperature_mc/" + last_component(zone) + "/" + type, decimal}});
    }
    one("/sys/devices/platform/soc/soc:firmware/get_throttled", "throttled", hexadecimal);
    for (const char *what : {"cpu", "memory", "io"}) {
      one(std::string("/proc/pressure/") + what, std::string("pressure_us/") + what, pressure);
    }
    add(below + "/proc/stat", {{"busy_ticks", busy}, {"context_switches", switches}});
  }

  const std::vector<std::string> &names() const { return names_; }

  void read(std::vector<int64_t> *values) {
    values->clear();
    for (const Source &source : sources_) {
      const ssize_t size = pread(source.file.get(), buffer_.data(), buffer_.size() - 1, 0);
      buffer_[static_cast<size_t>(std::max<ssize_t>(size, 0))] = '\0';
      for (const auto &[name, parse] : source.columns) values->push_back(parse(buffer_.data()));
    }
  }

 private:
  void add(const std::string &path,
           std::vector<std::pair<std::string, int64_t (*)(const char *)>> columns) {
    Source source{Descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC)), std::move(columns)};
    char byte = 0;
    // A sensor that is switched off can be opened and not read.
    if (!source.file.valid() || pread(source.file.get(), &byte, 1, 0) != 1) return;
    for (const auto &[name, parse] : source.columns) names_.push_back(name);
    sources_.push_back(std::move(source));
  }

  std::vector<Source> sources_;
  std::vector<std::string> names_;
  std::vector<char> buffer_ = std::vector<char>(1 << 16);
};

enum class Woken { kInTime, kAsked, kAbandoned };

// Until `deadline_ns`, or until it is time to end: somebody asks for it, or is gone.
Woken rest_until(uint64_t deadline_ns) {
  for (;;) {
    if (g_stop != 0) return Woken::kAbandoned;
    const uint64_t now = clock_ns();
    if (now >= deadline_ns) return Woken::kInTime;
    const uint64_t left_ns = deadline_ns - now;
    const timespec timeout = {static_cast<time_t>(left_ns / 1000000000),
                              static_cast<long>(left_ns % 1000000000)};
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (ppoll(&input, 1, &timeout, nullptr) <= 0) continue;
    char byte;
    const ssize_t got = read(STDIN_FILENO, &byte, 1);
    if (got > 0) return Woken::kAsked;
    if (got == 0 || (errno != EINTR && errno != EAGAIN)) return Woken::kAbandoned;
  }
}

struct WatchFlags {
  std::string series;
  std::string samples;
  std::string below;
  std::vector<std::string> settings;
  bool sudo = false;
  uint64_t interval_ms = 100;
  uint64_t tell_ms = 0;
};

// Nobody is there to fetch what is in it. Only what a measurement leaves there is removed.
void remove_folder(const WatchFlags &flags) {
  unlink(flags.series.c_str());
  unlink(flags.samples.c_str());
  for (const std::string &path : matching(flags.samples + ".*")) unlink(path.c_str());
  rmdir(flags.samples.substr(0, flags.samples.rfind('/')).c_str());
}

void report_settings(const std::string &below, Json *told) {
  told->key("settings").begin_object();
  for (const auto &[name, value] : read_settings(below)) told->key(name.c_str()).string(value);
  told->end_object();
}

// Not if whoever reads it is behind: recording must not wait for that.
Status print_if_read(const Json &told) {
  pollfd output = {STDOUT_FILENO, POLLOUT, 0};
  return poll(&output, 1, 0) > 0 ? told.print() : Status();
}

// How far the recording is, and what was just read of the board.
Status tell(Progress *progress, const Sources &sources, const std::vector<int64_t> &values) {
  int64_t clock_khz = INT64_MIN, temperature_mc = INT64_MIN;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string &name = sources.names()[i];
    if (values[i] == INT64_MIN) continue;
    if (name.compare(0, strlen("clock_khz/"), "clock_khz/") == 0) {
      clock_khz = clock_khz == INT64_MIN ? values[i] : std::min(clock_khz, values[i]);
    } else if (name.compare(0, strlen("temperature_mc/"), "temperature_mc/") == 0) {
      temperature_mc = std::max(temperature_mc, values[i]);
    }
  }
  Json told;
  told.begin_object();
  told.key("time_ns").number(clock_ns());
  uint64_t samples = 0, median_ns = 0;
  if (progress->read(&samples, &median_ns)) {
    told.key("samples").number(samples);
    told.key("median_ns").number(median_ns);
  }
  if (clock_khz != INT64_MIN) told.key("clock_khz").integer(clock_khz);
  if (temperature_mc != INT64_MIN) told.key("temperature_mc").integer(temperature_mc);
  told.end_object();
  return print_if_read(told);
}

Status record(const WatchFlags &flags, Sources *sources, int file, bool *abandoned) {
  const uint64_t interval_ns = flags.interval_ms * 1000000, tell_ns = flags.tell_ms * 1000000;
  Progress progress(flags.samples);
  std::vector<int64_t> values;
  std::vector<int64_t> line;
  uint64_t tell_due = clock_ns() + tell_ns;
  for (uint64_t due = clock_ns();;) {
    const uint64_t begin = clock_ns();
    sources->read(&values);
    const uint64_t end = clock_ns();
    // In the middle of the reading, which may take a while where firmware is asked.
    line = {static_cast<int64_t>(begin + (end - begin) / 2), static_cast<int64_t>(end - begin)};
    line.insert(line.end(), values.begin(), values.end());
    EDGE_TRY(write_all(file, line.data(), line.size() * sizeof(int64_t), flags.series.c_str()));
    if (tell_ns != 0 && end >= tell_due) {
      EDGE_TRY(tell(&progress, *sources, values));
      tell_due = end + tell_ns;
    }
    due = std::max(due + interval_ns, end);
    const Woken woken = rest_until(due);
    *abandoned = woken == Woken::kAbandoned;
    if (woken != Woken::kInTime) return Status();
  }
}

Status watch(const WatchFlags &flags) {
  if (flags.series.empty()) return fail(EDGE_USAGE, "watch: --series is missing: where to record?");
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {};
    action.sa_handler = [](int) { g_stop = 1; };
    sigaction(number, &action, nullptr);
  }
  signal(SIGPIPE, SIG_IGN);
  HeldSettings settings(flags.below, flags.sudo);
  for (const std::string &setting : flags.settings) EDGE_TRY(settings.set(setting));
  Sources sources(flags.below);
  Descriptor file(
      open(flags.series.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file.valid()) return fail_errno(errno, "can't create %s", flags.series.c_str());
  edge_series_header header = {};
  memcpy(header.magic, "EDGESERI", sizeof header.magic);
  header.abi_version = EDGE_ABI_VERSION;
  header.header_bytes = sizeof header;
  // The time, what the reading cost, and the sources' own.
  header.columns = static_cast<uint32_t>(2 + sources.names().size());
  header.record_bytes = header.columns * static_cast<uint32_t>(sizeof(int64_t));
  EDGE_TRY(write_all(file.get(), &header, sizeof header, flags.series.c_str()));

  Json told;
  told.begin_object();
  told.key("interval_ms").number(flags.interval_ms);
  told.key("ticks_per_s").number(static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
  told.key("columns").begin_array().string("time_ns").string("cost_ns");
  for (const std::string &name : sources.names()) told.string(name);
  told.end_array();
  report_settings(flags.below, &told);
  told.end_object();
  EDGE_TRY(told.print());

  bool abandoned = false;
  const Status recorded = record(flags, &sources, file.get(), &abandoned);
  // Before anything is put back, which is to hold as long as it runs.
  if (!flags.samples.empty()) end_recording(flags.samples);
  if (!flags.samples.empty() && abandoned) remove_folder(flags);
  EDGE_TRY(recorded);
  Json last;
  last.begin_object();
  // As they were while it lasted: before ours are taken back.
  report_settings(flags.below, &last);
  last.key("not_put_back").begin_array();
  for (const std::string &path : settings.restore()) last.string(path);
  last.end_array().end_object();
  // Whoever was reading may be gone; everything is put back all the same.
  (void)print_if_read(last);
  return Status();
}

}  // namespace

int watch_main(int argc, char **argv) {
  WatchFlags watch_flags;
  Flags flags;
  flags.text("--series", &watch_flags.series);
  flags.text("--below", &watch_flags.below);
  flags.texts("--set", &watch_flags.settings);
  flags.on("--sudo", &watch_flags.sudo);
  flags.text("--samples", &watch_flags.samples);
  flags.number("--tell-ms", 1, 3600000, &watch_flags.tell_ms);
  flags.number("--interval-ms", 1, 3600000, &watch_flags.interval_ms);
  return run_verb(argc, argv, &flags, {watch_help}, [&] { return watch(watch_flags); });
}

}  // namespace edge
