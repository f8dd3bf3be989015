// A finished (or broken off) recording, mapped for reading.
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "edge.h"
#include "file.h"

namespace edge {
namespace {

Status map_recording(const char *path, edge_recording *recording) {
  MappedFile file;
  EDGE_TRY(file.open(path));
  if (file.size() < sizeof(edge_recording_header)) {
    return fail(EDGE_BAD_FILE, "%s is no recording: %zu bytes are fewer than its header has", path,
                file.size());
  }
  edge_recording_header header;
  memcpy(&header, file.data(), sizeof header);
  if (memcmp(header.magic, "EDGESMPL", sizeof header.magic) != 0) {
    return fail(EDGE_BAD_FILE, "%s is no recording: it doesn't begin with EDGESMPL", path);
  }
  if (header.abi_version != EDGE_ABI_VERSION || header.sample_bytes != sizeof(edge_sample) ||
      header.header_bytes < sizeof header || header.header_bytes % alignof(edge_sample) != 0 ||
      header.header_bytes > file.size()) {
    return fail(EDGE_BAD_FILE,
                "%s was recorded with ABI version %u (header %u, sample %u bytes), this is version "
                "%d: record again, or read it with the edge that wrote it",
                path, header.abi_version, header.header_bytes, header.sample_bytes,
                EDGE_ABI_VERSION);
  }
  const uint64_t room = file.size() - header.header_bytes;
  recording->count = std::min(header.count, room / sizeof(edge_sample));
  recording->remainder_bytes = recording->count < header.count ? room % sizeof(edge_sample) : 0;
  recording->mapping_bytes = file.size();
  uint8_t *base = file.release();
  recording->mapping = base;
  recording->header = reinterpret_cast<const edge_recording_header *>(base);
  recording->samples = reinterpret_cast<const edge_sample *>(base + header.header_bytes);
  return Status();
}

}  // namespace
}  // namespace edge

int32_t edge_recording_map(const char *path, edge_recording *recording) {
  *recording = edge_recording{};
  return edge::map_recording(path, recording).code();
}

void edge_recording_unmap(edge_recording *recording) {
  if (recording->mapping != nullptr) munmap(recording->mapping, recording->mapping_bytes);
  *recording = edge_recording{};
}
