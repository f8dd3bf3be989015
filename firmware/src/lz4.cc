#include "lz4.h"

#include <string.h>

namespace edge {
namespace {

// A block is a row of sequences. Each is a token, literals, and a match: a copy of what stands some
// bytes back in the output. The token's upper half counts the literals, its lower half the match,
// less the four bytes that every match has; a half that is full goes on in the bytes that follow,
// up to one that is not 255. The last sequence ends behind its literals.
constexpr size_t kFull = 15;
constexpr size_t kLeastMatch = 4;

class Input {
 public:
  Input(const uint8_t *data, size_t size) : at_(data), left_(size) {}

  bool empty() const { return left_ == 0; }

  bool byte(uint8_t *value) {
    if (left_ == 0) return false;
    *value = *at_++;
    --left_;
    return true;
  }

  // `half` of a token, and what follows a full one. No more than `limit`: it can't overflow.
  bool length(size_t half, size_t limit, size_t *value) {
    *value = half;
    uint8_t more = half == kFull ? 255 : 0;
    while (more == 255) {
      if (!byte(&more)) return false;
      *value += more;
      if (*value > limit) return false;
    }
    return *value <= limit;
  }

  bool copy(uint8_t *to, size_t size) {
    if (size > left_) return false;
    if (size != 0) memcpy(to, at_, size);
    at_ += size;
    left_ -= size;
    return true;
  }

 private:
  const uint8_t *at_;
  size_t left_;
};

}  // namespace

bool unpack_lz4(const uint8_t *packed, size_t packed_size, uint8_t *raw, size_t raw_size) {
  Input input(packed, packed_size);
  size_t done = 0;
  for (;;) {
    uint8_t token = 0;
    size_t size = 0;
    if (!input.byte(&token) || !input.length(token >> 4, raw_size - done, &size) ||
        !input.copy(raw + done, size)) {
      return false;
    }
    done += size;
    if (input.empty()) return done == raw_size;

    uint8_t low = 0;
    uint8_t high = 0;
    if (!input.byte(&low) || !input.byte(&high)) return false;
    const size_t back = low | static_cast<size_t>(high) << 8;
    if (back == 0 || back > done || raw_size - done < kLeastMatch ||
        !input.length(token & kFull, raw_size - done - kLeastMatch, &size)) {
      return false;
    }
    size += kLeastMatch;
    if (back >= size) {
      memcpy(raw + done, raw + done - back, size);
    } else {
      // The match reaches into what it writes: byte by byte it repeats itself.
      for (size_t i = 0; i < size; ++i) raw[done + i] = raw[done + i - back];
    }
    done += size;
  }
}

}  // namespace edge
