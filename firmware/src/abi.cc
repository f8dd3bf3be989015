// Pins the layout that edge.h promises, and tells it to readers at run time.
#include "clock.h"
#include "edge.h"

static_assert(sizeof(edge_sample) == 32, "edge_sample is 32 bytes on every platform");
static_assert(offsetof(edge_sample, start_ns) == 0, "");
static_assert(offsetof(edge_sample, elapsed_ns) == 8, "");
static_assert(offsetof(edge_sample, iterations) == 16, "");
static_assert(offsetof(edge_sample, cpu) == 20, "");
static_assert(offsetof(edge_sample, due_ns) == 24, "");
static_assert(sizeof(edge_recording_header) == 64, "the header is 64 bytes on every platform");
static_assert(offsetof(edge_recording_header, capacity) == 24, "");
static_assert(offsetof(edge_recording_header, count) == 32, "");
static_assert(offsetof(edge_recording_header, loop_cost_ns) == 56, "");
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "samples.bin, .npy and .tflite are little-endian, and so is every board edge knows"
#endif

uint32_t edge_abi_version(void) {
  return EDGE_ABI_VERSION;
}

void edge_layout(edge_abi_layout *layout) {
  *layout = edge_abi_layout{};
  layout->abi_version = EDGE_ABI_VERSION;
  layout->sample_bytes = sizeof(edge_sample);
  layout->sample_start_ns = offsetof(edge_sample, start_ns);
  layout->sample_elapsed_ns = offsetof(edge_sample, elapsed_ns);
  layout->sample_iterations = offsetof(edge_sample, iterations);
  layout->sample_cpu = offsetof(edge_sample, cpu);
  layout->header_bytes = sizeof(edge_recording_header);
  layout->header_count = offsetof(edge_recording_header, count);
}

uint64_t edge_clock_ns(void) {
  return edge::clock_ns();
}
