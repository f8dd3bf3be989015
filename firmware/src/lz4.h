// LZ4 blocks, unpacked: the raw block format, without a frame and without a size in front.
#ifndef EDGE_SRC_LZ4_H
#define EDGE_SRC_LZ4_H

#include <stddef.h>
#include <stdint.h>

namespace edge {

// True if `packed` is one whole block that unpacks to exactly `raw_size` bytes. Reads and writes
// nothing outside of the two buffers, whatever they hold; they must not overlap.
bool unpack_lz4(const uint8_t *packed, size_t packed_size, uint8_t *raw, size_t raw_size);

}  // namespace edge

#endif  // EDGE_SRC_LZ4_H
