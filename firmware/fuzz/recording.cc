// Any bytes as a recording: the samples that are promised are there.
#include "edge.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static edge::fuzz::MemoryFile file;
  file.fill(data, size);
  edge_recording recording;
  const int32_t code = edge_recording_map(file.path(), &recording);
  if (code != EDGE_OK) {
    REQUIRE(code == EDGE_BAD_FILE && edge_error()[0] != '\0');
    REQUIRE(recording.mapping == nullptr);
    return 0;
  }
  REQUIRE(recording.mapping_bytes == size);
  const uint8_t *base = static_cast<const uint8_t *>(recording.mapping);
  const uint8_t *end = reinterpret_cast<const uint8_t *>(recording.samples + recording.count);
  REQUIRE(reinterpret_cast<const uint8_t *>(recording.samples) >=
          base + sizeof(edge_recording_header));
  REQUIRE(end <= base + size && recording.count <= recording.header->count);
  REQUIRE(recording.remainder_bytes < sizeof(edge_sample));
  uint64_t sum = 0;
  for (uint64_t i = 0; i < recording.count; ++i) sum += recording.samples[i].elapsed_ns;
  [[maybe_unused]] volatile uint64_t used = sum;
  edge_recording_unmap(&recording);
  return 0;
}
