// SHA-256 (FIPS 180-4), incremental.
#ifndef EDGE_SRC_SHA256_H
#define EDGE_SRC_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include <string>

namespace edge {

class Sha256 {
 public:
  Sha256();
  void update(const void *data, size_t size);
  // The digest in lower-case hexadecimal; ends the computation.
  std::string hex();

 private:
  void blocks(const uint8_t *data, size_t count);

  uint32_t state_[8];
  uint64_t total_ = 0;
  uint8_t pending_[64];
};

}  // namespace edge

#endif  // EDGE_SRC_SHA256_H
