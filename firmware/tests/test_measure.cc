#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "measure.h"
#include "recorder.h"

namespace edge {
namespace {

struct Counter {
  int calls = 0;
  int fail_at = -1;
  int signal_at = -1;
  int signal = SIGTERM;
  long sleep_ns = 0;
  int sleep_at = 0;  // this call alone; 0: each one
};

int32_t count(void *context) {
  auto *counter = static_cast<Counter *>(context);
  ++counter->calls;
  if (counter->calls == counter->signal_at) raise(counter->signal);
  if (counter->sleep_ns > 0 && (counter->sleep_at == 0 || counter->calls == counter->sleep_at)) {
    const timespec pause = {0, counter->sleep_ns};
    nanosleep(&pause, nullptr);
  }
  return counter->calls == counter->fail_at ? 99 : 0;
}

off_t size_of(const std::string &path) {
  struct stat info = {};
  stat(path.c_str(), &info);
  return info.st_size;
}

edge_recorder *open_recorder(const std::string &path, uint64_t capacity) {
  edge_recorder *recorder = nullptr;
  CHECK(edge_recorder_open(path.c_str(), capacity, &recorder) == EDGE_OK);
  return recorder;
}

edge_plan plan_of(uint64_t samples, uint32_t iterations) {
  edge_plan plan = {};
  plan.warmup = 3;
  plan.samples = samples;
  plan.iterations = iterations;
  return plan;
}

}  // namespace

TEST(clock, moves) {
  const ClockQuality quality = measure_clock();
  CHECK(quality.tick_ns > 0 && quality.tick_ns < 10000000);
  const uint64_t before = edge_clock_ns();
  CHECK(edge_clock_ns() >= before);
}

TEST(measure, records_every_sample) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("s.bin");
  edge_recorder *recorder = open_recorder(path, 100);
  CHECK(size_of(path) == 64 + 100 * 32);
  Counter counter;
  const edge_plan plan = plan_of(20, 5);
  CHECK(edge_measure(recorder, &plan, count, &counter) == EDGE_OK);
  CHECK(counter.calls == 3 + 20 * 5);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
  CHECK(size_of(path) == 64 + 20 * 32);

  edge_recording recording;
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_OK);
  CHECK(recording.count == 20 && recording.remainder_bytes == 0);
  CHECK(recording.header->capacity == 100 && recording.header->tick_ns > 0);
  CHECK(recording.header->loop_cost_ns > 0);
  uint64_t last = 0;
  for (uint64_t i = 0; i < recording.count; ++i) {
    CHECK(recording.samples[i].start_ns >= last);
    CHECK(recording.samples[i].iterations == 5);
    CHECK(recording.samples[i].cpu >= -1);
    last = recording.samples[i].start_ns + recording.samples[i].elapsed_ns;
  }
  edge_recording_unmap(&recording);
}

TEST(measure, short_functions_are_batched) {
  test::TemporaryFolder folder;
  edge_recorder *recorder = open_recorder(folder.file("s.bin"), 10);
  Counter counter;
  const edge_plan plan = plan_of(10, 0);
  MeasureReport report;
  CHECK(measure(recorder, plan, count, &counter, &report).ok());
  CHECK(report.iterations > 1);
  CHECK(strcmp(report.ended_by, "count") == 0);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
}

TEST(measure, a_trial_that_was_interrupted_does_not_decide) {
  test::TemporaryFolder folder;
  edge_recorder *recorder = open_recorder(folder.file("s.bin"), 10);
  Counter counter;
  counter.sleep_ns = 5000000;
  counter.sleep_at = 4;  // the first one after warming up
  const edge_plan plan = plan_of(10, 0);
  MeasureReport report;
  CHECK(measure(recorder, plan, count, &counter, &report).ok());
  CHECK(report.iterations > 1);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
}

TEST(measure, long_functions_are_not) {
  test::TemporaryFolder folder;
  edge_recorder *recorder = open_recorder(folder.file("s.bin"), 10);
  Counter counter;
  counter.sleep_ns = 2000000;
  edge_plan plan = plan_of(1000, 0);
  plan.duration_ns = 15000000;
  MeasureReport report;
  CHECK(measure(recorder, plan, count, &counter, &report).ok());
  // An emulated or very coarse clock may have ticks of a microsecond and more.
  CHECK(report.iterations <= 1 + recorder->header->tick_ns * 125 / 2000000);
  CHECK(strcmp(report.ended_by, "duration") == 0 || strcmp(report.ended_by, "capacity") == 0);
  CHECK(recorder->header->count > 0);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
}

TEST(measure, warms_up_for_the_time_asked) {
  test::TemporaryFolder folder;
  edge_recorder *recorder = open_recorder(folder.file("s.bin"), 1);
  Counter counter;
  counter.sleep_ns = 1000000;
  edge_plan plan = plan_of(1, 1);
  plan.warmup = 0;
  plan.warmup_ns = 20000000;
  const uint64_t begin = edge_clock_ns();
  MeasureReport report;
  CHECK(measure(recorder, plan, count, &counter, &report).ok());
  CHECK(edge_clock_ns() - begin >= 20000000);
  CHECK(report.warmup >= 1 && report.warmup <= 20);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
}

TEST(measure, signals_end_it_and_keep_the_samples) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    test::TemporaryFolder folder;
    const std::string path = folder.file("s.bin");
    edge_recorder *recorder = open_recorder(path, 100);
    Counter counter;
    counter.signal_at = 3 + 7;
    counter.signal = number;
    const edge_plan plan = plan_of(100, 1);
    CHECK(edge_measure(recorder, &plan, count, &counter) == EDGE_INTERRUPTED);
    CHECK(test::says("after 7 samples"));
    CHECK(edge_recorder_close(recorder) == EDGE_OK);
    CHECK(size_of(path) == 64 + 7 * 32);
    struct sigaction now;
    sigaction(number, nullptr, &now);
    CHECK(now.sa_handler == SIG_DFL);
  }
}

TEST(measure, failure_ends_it) {
  test::TemporaryFolder folder;
  edge_recorder *recorder = open_recorder(folder.file("s.bin"), 100);
  Counter counter;
  counter.fail_at = 3 + 4;
  const edge_plan plan = plan_of(100, 1);
  CHECK(edge_measure(recorder, &plan, count, &counter) == EDGE_RUNTIME);
  CHECK(test::says("returned 99"));
  CHECK(recorder->header->count == 3);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);

  CHECK(edge_measure(nullptr, &plan, count, &counter) == EDGE_USAGE);
}

TEST(recorder, says_why_not) {
  test::TemporaryFolder folder;
  edge_recorder *recorder = nullptr;
  CHECK(edge_recorder_open(folder.file("no/s").c_str(), 1, &recorder) == EDGE_NO_FILE);
  CHECK(edge_recorder_open(folder.file("s").c_str(), 0, &recorder) == EDGE_USAGE);
  CHECK(edge_recorder_open(folder.file("s").c_str(), UINT64_MAX / 24, &recorder) != EDGE_OK);
  CHECK(edge_recorder_open(folder.file("s").c_str(), UINT64_C(1) << 50, &recorder) ==
        EDGE_NO_SPACE);
  CHECK(recorder == nullptr);
  CHECK(access(folder.file("s").c_str(), F_OK) != 0);
  CHECK(edge_recorder_close(nullptr) == EDGE_OK);
}

TEST(recording, is_readable_while_it_grows) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("s.bin");
  edge_recorder *recorder = open_recorder(path, 10);
  edge_recording recording;
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_OK);
  CHECK(recording.count == 0);
  edge_recording_unmap(&recording);
  recorder->append({1, 2, 3, 4, 1});
  recorder->append({5, 6, 7, 8, 5});
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_OK);
  CHECK(recording.count == 2 && recording.samples[1].iterations == 7);
  CHECK(recording.remainder_bytes == 0);
  edge_recording_unmap(&recording);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);

  // Cut in the middle of the second sample.
  CHECK(truncate(path.c_str(), 64 + 32 + 10) == 0);
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_OK);
  CHECK(recording.count == 1 && recording.remainder_bytes == 10);
  edge_recording_unmap(&recording);

  CHECK(truncate(path.c_str(), 63) == 0);
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_BAD_FILE);
  CHECK(recording.mapping == nullptr);
}

TEST(recording, foreign_files_are_refused) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("s.bin");
  edge_recording recording;
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_NO_FILE);
  test::write_file(path, std::string(100, 'x'));
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_BAD_FILE);
  edge_recorder *recorder = open_recorder(path, 1);
  recorder->header->abi_version = 77;
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_BAD_FILE);
  CHECK(test::says("77"));
  edge_recording_unmap(&recording);
}

TEST(abi, layout_is_what_the_header_says) {
  edge_abi_layout layout;
  edge_layout(&layout);
  CHECK(layout.abi_version == edge_abi_version());
  CHECK(layout.sample_bytes == 32 && layout.header_bytes == 64 && layout.header_count == 32);
}

}  // namespace edge
