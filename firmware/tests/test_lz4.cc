#include <string>
#include <vector>

#include "check.h"
#include "lz4.h"

namespace edge {
namespace {

// Unpacks between two guards; "FAILED" where it is no such block.
std::string unpacked(const std::string &packed, size_t size) {
  // A copy of its own, so that a sanitizer sees a byte too far.
  const std::vector<uint8_t> input(packed.begin(), packed.end());
  std::vector<uint8_t> output(size + 2, '#');
  const bool done = unpack_lz4(input.data(), input.size(), output.data() + 1, size);
  CHECK(output.front() == '#' && output.back() == '#');
  return done ? std::string(output.begin() + 1, output.end() - 1) : "FAILED";
}

std::string bytes(std::initializer_list<int> values) {
  return std::string(values.begin(), values.end());
}

// The token 0xLM counts L literals and M + 4 bytes of match.
const std::string kAbc = bytes({0x30, 'a', 'b', 'c'});

}  // namespace

TEST(lz4, literals_alone) {
  CHECK(unpacked(bytes({0x00}), 0).empty());
  CHECK(unpacked(kAbc, 3) == "abc");
  const std::string text(15 + 255 + 7, 'x');
  CHECK(unpacked(bytes({0xf0, 255, 7}) + text, text.size()) == text);
  // A length that is just full still has its last byte.
  CHECK(unpacked(bytes({0xf0, 0}) + text.substr(0, 15), 15) == text.substr(0, 15));
}

TEST(lz4, matches) {
  CHECK(unpacked(bytes({0x40, 'a', 'b', 'c', 'd', 4, 0, 0x10, '.'}), 9) == "abcdabcd.");
  CHECK(unpacked(bytes({0x51, 'a', 'b', 'c', 'd', 'e', 5, 0, 0x00}), 10) == "abcdeabcde");
  const std::string text(300, 'q');
  // 256 back, so that both bytes of the distance count.
  const std::string far = bytes({0xf0, 255, 30}) + text.substr(0, 299) + "z";
  CHECK(unpacked(far + bytes({0x00, 1, 0x00}), 304) == text.substr(0, 299) + "z" + "qqqq");
}

TEST(lz4, matches_that_overlap_themselves) {
  CHECK(unpacked(bytes({0x1f, 'a', 1, 0, 255, 3, 0x00}), 1 + 19 + 258) == std::string(278, 'a'));
  CHECK(unpacked(bytes({0x23, 'a', 'b', 2, 0, 0x10, '!'}), 10) == "ababababa!");
  CHECK(unpacked(bytes({0x31, 'a', 'b', 'c', 3, 0, 0x00}), 8) == "abcabcab");
}

TEST(lz4, cut_anywhere_it_fails) {
  const std::string whole =
      bytes({0xf2, 1}) + "abcdefghijklmnop" + bytes({7, 0, 0x30, 'x', 'y', 'z'});
  CHECK(unpacked(whole, 25) == "abcdefghijklmnopjklmnoxyz");
  for (size_t size = 0; size < whole.size(); ++size) {
    for (size_t raw = 0; raw < 25; ++raw) {
      // Cut behind its first literals it is a shorter block, of another size.
      if (size == 18 && raw == 16) continue;
      CHECK(unpacked(whole.substr(0, size), raw) == "FAILED");
    }
  }
}

TEST(lz4, distances_that_lead_nowhere) {
  CHECK(unpacked(bytes({0x40, 'a', 'b', 'c', 'd', 0, 0, 0x00}), 8) == "FAILED");
  CHECK(unpacked(bytes({0x40, 'a', 'b', 'c', 'd', 5, 0, 0x00}), 8) == "FAILED");
  CHECK(unpacked(bytes({0x40, 'a', 'b', 'c', 'd', 255, 255, 0x00}), 8) == "FAILED");
  CHECK(unpacked(bytes({0x00, 1, 0, 0x00}), 4) == "FAILED");
}

TEST(lz4, sizes_that_were_not_promised) {
  for (const size_t size : {0, 1, 2, 4, 5, 1000}) CHECK(unpacked(kAbc, size) == "FAILED");
  const std::string match = bytes({0x40, 'a', 'b', 'c', 'd', 4, 0, 0x10, '.'});
  for (const size_t size : {0, 4, 5, 7, 8, 10, 64}) CHECK(unpacked(match, size) == "FAILED");
  CHECK(unpacked("", 0) == "FAILED");
  CHECK(unpacked("", 1) == "FAILED");
  // Lengths that would add up to more than a size_t holds end where the output does.
  CHECK(unpacked(bytes({0xf0}) + std::string(100000, '\xff'), 1000) == "FAILED");
  CHECK(unpacked(bytes({0x1f, 'a', 1, 0}) + std::string(100000, '\xff'), 1000) == "FAILED");
}

}  // namespace edge
