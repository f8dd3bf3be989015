#include "sha256.h"

#include <string.h>

namespace edge {
namespace {

// Fractional parts of the cube roots of the first 64 primes.
constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

inline uint32_t rotate(uint32_t x, int n) {
  return (x >> n) | (x << (32 - n));
}

inline uint32_t load(const uint8_t *p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

// One round; the caller renames the variables instead of moving them.
inline void round(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f,
                  uint32_t g, uint32_t *h, uint32_t constant_and_word) {
  const uint32_t t =
      *h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + constant_and_word;
  *d += t;
  *h = t + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
}

}  // namespace

Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::blocks(const uint8_t *data, size_t count) {
  uint32_t w[64];
  for (; count != 0; --count, data += 64) {
    for (int i = 0; i < 16; ++i) w[i] = load(data + 4 * i);
    for (int i = 16; i < 64; ++i) {
      const uint32_t x = w[i - 15];
      const uint32_t y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (rotate(x, 7) ^ rotate(x, 18) ^ (x >> 3)) +
             (rotate(y, 17) ^ rotate(y, 19) ^ (y >> 10));
    }
    uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3];
    uint32_t e = state_[4], f = state_[5], g = state_[6], h = state_[7];
    for (int i = 0; i < 64; i += 8) {
      round(a, b, c, &d, e, f, g, &h, kRound[i] + w[i]);
      round(h, a, b, &c, d, e, f, &g, kRound[i + 1] + w[i + 1]);
      round(g, h, a, &b, c, d, e, &f, kRound[i + 2] + w[i + 2]);
      round(f, g, h, &a, b, c, d, &e, kRound[i + 3] + w[i + 3]);
      round(e, f, g, &h, a, b, c, &d, kRound[i + 4] + w[i + 4]);
      round(d, e, f, &g, h, a, b, &c, kRound[i + 5] + w[i + 5]);
      round(c, d, e, &f, g, h, a, &b, kRound[i + 6] + w[i + 6]);
      round(b, c, d, &e, f, g, h, &a, kRound[i + 7] + w[i + 7]);
    }
    state_[0] += a;
    state_[1] += b;
    state_[2] += c;
    state_[3] += d;
    state_[4] += e;
    state_[5] += f;
    state_[6] += g;
    state_[7] += h;
  }
}

void Sha256::update(const void *data, size_t size) {
  const uint8_t *bytes = static_cast<const uint8_t *>(data);
  const size_t filled = total_ % 64;
  total_ += size;
  if (filled != 0) {
    const size_t wanted = 64 - filled;
    if (size < wanted) {
      if (size != 0) memcpy(pending_ + filled, bytes, size);
      return;
    }
    memcpy(pending_ + filled, bytes, wanted);
    blocks(pending_, 1);
    bytes += wanted;
    size -= wanted;
  }
  blocks(bytes, size / 64);
  if (size % 64 != 0) memcpy(pending_, bytes + size / 64 * 64, size % 64);
}

std::string Sha256::hex() {
  const uint64_t bits = total_ * 8;
  static constexpr uint8_t kPadding[64] = {0x80};
  update(kPadding, 1 + (119 - total_ % 64) % 64);
  uint8_t length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  update(length, sizeof length);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) text += kDigits[word >> shift & 15];
  }
  return text;
}

}  // namespace edge
