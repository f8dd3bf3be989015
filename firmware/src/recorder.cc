#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <new>

#include "clock.h"

namespace edge {
namespace {

Status open_recorder(const char *path, uint64_t capacity, edge_recorder **result) {
  constexpr uint64_t most = (SIZE_MAX / 2 - sizeof(edge_recording_header)) / sizeof(edge_sample);
  if (capacity == 0 || capacity > most) {
    return fail(EDGE_USAGE, "a recording holds 1 sample or more, not %llu",
                static_cast<unsigned long long>(capacity));
  }
  std::unique_ptr<edge_recorder> recorder(new (std::nothrow) edge_recorder);
  if (!recorder) return fail(EDGE_NO_MEMORY, "no memory for a recorder");

  recorder->file = Descriptor(::open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!recorder->file.valid()) return fail_errno(errno, "can't create %s", path);
  const size_t size = sizeof(edge_recording_header) + capacity * sizeof(edge_sample);
  // Reserved, not sparse: a full disk must be an error here, not a SIGBUS in the loop.
  if (const int error = posix_fallocate(recorder->file.get(), 0, static_cast<off_t>(size))) {
    unlink(path);
    return fail_errno(error, "can't reserve %zu bytes for %s", size, path);
  }
  void *mapping = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, recorder->file.get(), 0);
  if (mapping == MAP_FAILED) {
    const int error = errno;
    unlink(path);
    return fail_errno(error, "can't map %s", path);
  }
  recorder->mapping_bytes = size;
  recorder->header = static_cast<edge_recording_header *>(mapping);
  recorder->samples = reinterpret_cast<edge_sample *>(recorder->header + 1);
  // Writing, not reading, is what maps the pages for good.
  memset(mapping, 0, size);

  const ClockQuality clock = measure_clock();
  edge_recording_header &header = *recorder->header;
  header.abi_version = EDGE_ABI_VERSION;
  header.header_bytes = sizeof(edge_recording_header);
  header.sample_bytes = sizeof(edge_sample);
  header.capacity = capacity;
  header.tick_ns = clock.tick_ns;
  header.clock_cost_ns = clock.cost_ns;
  memcpy(header.magic, "EDGESMPL", sizeof header.magic);
  *result = recorder.release();
  return Status();
}

Status close_recorder(edge_recorder *recorder) {
  std::unique_ptr<edge_recorder> owner(recorder);
  const off_t size = static_cast<off_t>(sizeof(edge_recording_header) +
                                        recorder->header->count * sizeof(edge_sample));
  if (ftruncate(recorder->file.get(), size) != 0) {
    return fail_errno(errno, "can't cut the recording to its %lld bytes",
                      static_cast<long long>(size));
  }
  return Status();
}

}  // namespace
}  // namespace edge

edge_recorder::~edge_recorder() {
  if (header != nullptr) munmap(header, mapping_bytes);
}

int32_t edge_recorder_open(const char *path, uint64_t capacity, edge_recorder **recorder) {
  *recorder = nullptr;
  return edge::open_recorder(path, capacity, recorder).code();
}

int32_t edge_recorder_wait(edge_recorder *recorder, const edge_plan *plan, uint64_t *due_ns) {
  return recorder->schedule.wait<edge::RealClock>(*plan, &recorder->paces, due_ns).code();
}

int32_t edge_recorder_paces(const edge_recorder *recorder, edge_pace *paces, int32_t capacity) {
  const int32_t count = std::min(recorder->paces.count(), capacity);
  std::copy_n(recorder->paces.begin(), std::max(count, 0), paces);
  return recorder->paces.count();
}

int32_t edge_recorder_append(edge_recorder *recorder, uint64_t start_ns, uint64_t elapsed_ns,
                             uint32_t iterations, uint64_t due_ns) {
  if (recorder->full()) {
    return edge::fail(EDGE_NO_SPACE, "the recording is full: it was made for %llu samples",
                      static_cast<unsigned long long>(recorder->header->capacity))
        .code();
  }
  recorder->append(
      {start_ns, elapsed_ns, iterations, sched_getcpu(), due_ns != 0 ? due_ns : start_ns});
  return EDGE_OK;
}

void edge_recorder_set_costs(edge_recorder *recorder, uint64_t clock_cost_ns,
                             uint64_t loop_cost_ns) {
  recorder->header->clock_cost_ns = clock_cost_ns;
  recorder->header->loop_cost_ns = loop_cost_ns;
}

void edge_recorder_measured(const edge_recorder *recorder, edge_measured *measured) {
  *measured = recorder->measured;
}

int32_t edge_recorder_close(edge_recorder *recorder) {
  if (recorder == nullptr) return EDGE_OK;
  return edge::close_recorder(recorder).code();
}
