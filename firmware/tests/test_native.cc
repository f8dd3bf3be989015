#include <string.h>

#include <vector>

#include "check.h"
#include "edge.h"

namespace edge {
namespace {

// An interpreter that adds one.
struct Adder {
  float input = 0;
  float output = 0;
  int invocations = 0;
  int32_t result = 0;
};

int32_t add_one(void *context) {
  auto *adder = static_cast<Adder *>(context);
  adder->output = adder->input + 1;
  ++adder->invocations;
  return adder->result;
}

struct NativeAdder {
  Adder adder;
  float given = 41;
  float got = 0;
  edge_native *handle = nullptr;

  NativeAdder() {
    CHECK(edge_native_open(add_one, &adder, &handle) == EDGE_OK);
    CHECK(edge_native_add_input(handle, &adder.input, &given, sizeof given) == EDGE_OK);
    CHECK(edge_native_add_output(handle, &got, &adder.output, sizeof got) == EDGE_OK);
  }
  ~NativeAdder() { edge_native_close(handle); }
};

}  // namespace

TEST(native, each_phase_is_a_part_of_the_call) {
  NativeAdder native;
  CHECK(edge_native_run(native.handle, EDGE_PHASE_COPY_IN) == EDGE_OK);
  CHECK(native.adder.input == 41 && native.adder.invocations == 0);
  CHECK(edge_native_run(native.handle, EDGE_PHASE_INVOKE) == EDGE_OK);
  CHECK(native.adder.output == 42 && native.got == 0);
  CHECK(edge_native_run(native.handle, EDGE_PHASE_COPY_OUT) == EDGE_OK);
  CHECK(native.got == 42);
  native.given = 1;
  CHECK(edge_native_run(native.handle, EDGE_PHASE_CALL) == EDGE_OK);
  CHECK(native.got == 2 && native.adder.invocations == 2);
}

TEST(native, records_round_after_round) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("s.bin");
  edge_recorder *recorder = nullptr;
  CHECK(edge_recorder_open(path.c_str(), 30, &recorder) == EDGE_OK);
  NativeAdder native;
  for (int round = 0; round < 3; ++round) {
    CHECK(edge_native_measure(native.handle, EDGE_PHASE_CALL, recorder, 2, 10, 5) == EDGE_OK);
    edge_measured measured;
    edge_recorder_measured(recorder, &measured);
    CHECK(measured.warmup == 2 && measured.iterations == 5);
    CHECK(measured.ended_by == EDGE_END_COUNT);
  }
  CHECK(native.adder.invocations == 3 * (2 + 10 * 5));
  CHECK(edge_native_measure(native.handle, EDGE_PHASE_CALL, recorder, 0, 10, 5) == EDGE_OK);
  edge_measured measured;
  edge_recorder_measured(recorder, &measured);
  CHECK(measured.ended_by == EDGE_END_CAPACITY);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
  edge_recording recording;
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_OK);
  CHECK(recording.count == 30 && recording.samples[29].iterations == 5);
  edge_recording_unmap(&recording);
}

TEST(native, a_failing_interpreter_is_a_failure) {
  NativeAdder native;
  native.adder.result = 1;
  CHECK(edge_native_run(native.handle, EDGE_PHASE_INVOKE) == EDGE_RUNTIME &&
        test::says("status 1"));
  CHECK(edge_native_run(native.handle, EDGE_PHASE_CALL) == EDGE_RUNTIME);
  CHECK(edge_native_run(native.handle, EDGE_PHASE_COPY_IN) == EDGE_OK);
}

TEST(native, wrong_calls_are_refused) {
  edge_native *handle = nullptr;
  CHECK(edge_native_open(nullptr, &handle, &handle) == EDGE_USAGE && handle == nullptr);
  CHECK(edge_native_open(add_one, nullptr, &handle) == EDGE_USAGE);
  CHECK(edge_native_run(nullptr, EDGE_PHASE_INVOKE) == EDGE_USAGE);
  CHECK(edge_native_add_input(nullptr, &handle, &handle, 1) == EDGE_USAGE);
  NativeAdder native;
  CHECK(edge_native_run(native.handle, 4) == EDGE_USAGE && test::says("phase 4"));
  CHECK(edge_native_add_input(native.handle, nullptr, &native.given, 4) == EDGE_BAD_INPUT);
  CHECK(edge_native_add_output(native.handle, nullptr, nullptr, 0) == EDGE_OK);
  CHECK(edge_native_measure(native.handle, EDGE_PHASE_CALL, nullptr, 0, 1, 1) == EDGE_USAGE);
  edge_native_close(nullptr);
}

TEST(recorder, takes_samples_of_other_clocks) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("s.bin");
  edge_recorder *recorder = nullptr;
  CHECK(edge_recorder_open(path.c_str(), 2, &recorder) == EDGE_OK);
  CHECK(edge_recorder_append(recorder, 1000, 10, 3, 0) == EDGE_OK);
  CHECK(edge_recorder_append(recorder, 2000, 20, 4, 1900) == EDGE_OK);
  CHECK(edge_recorder_append(recorder, 3000, 30, 5, 0) == EDGE_NO_SPACE && test::says("2 samples"));
  edge_recorder_set_costs(recorder, 5, 7);
  CHECK(edge_recorder_close(recorder) == EDGE_OK);
  edge_recording recording;
  CHECK(edge_recording_map(path.c_str(), &recording) == EDGE_OK);
  CHECK(recording.count == 2 && recording.header->loop_cost_ns == 7);
  CHECK(recording.header->clock_cost_ns == 5);
  CHECK(recording.samples[1].start_ns == 2000 && recording.samples[1].elapsed_ns == 20);
  CHECK(recording.samples[1].iterations == 4 && recording.samples[1].cpu >= -1);
  edge_recording_unmap(&recording);
}

}  // namespace edge
