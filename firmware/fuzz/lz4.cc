// Any bytes as an LZ4 block: it unpacks to what was promised or not at all, reads nothing beyond
// its end (the sanitizer watches), and a size that it unpacks to is the only one.
#include "lz4.h"

#include <string.h>

#include <vector>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Two bytes say how much is wanted.
  if (size < 2) return 0;
  const size_t raw_size = data[0] | static_cast<size_t>(data[1]) << 8;
  // In a buffer of its own size, so that one byte too far is seen.
  const std::vector<uint8_t> packed(data + 2, data + size);
  std::vector<uint8_t> raw(raw_size);
  if (!edge::unpack_lz4(packed.data(), packed.size(), raw.data(), raw.size())) return 0;
  std::vector<uint8_t> again(raw_size, 0xa5);
  REQUIRE(edge::unpack_lz4(packed.data(), packed.size(), again.data(), again.size()));
  REQUIRE(raw == again);
  std::vector<uint8_t> more(raw_size + 1);
  REQUIRE(!edge::unpack_lz4(packed.data(), packed.size(), more.data(), more.size()));
  REQUIRE(raw_size == 0 ||
          !edge::unpack_lz4(packed.data(), packed.size(), more.data(), raw_size - 1));
  return 0;
}
