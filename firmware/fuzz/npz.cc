// Any bytes as an .npz: arrays that are found lie inside of them, and an archive written from them
// holds the same.
#include "npz.h"

#include <string.h>

#include "fuzz.h"

using namespace edge;

namespace {

void write_and_read(const std::vector<NamedArray> &arrays) {
  static fuzz::MemoryFile file;
  // Names too long for an archive, of files that are .npy by content.
  if (!write_npz(file.path(), arrays).ok()) return;
  ArrayFile again;
  REQUIRE(again.open(file.path()).ok());
  REQUIRE(again.is_npz() && again.arrays().size() == arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    const NamedArray &before = arrays[i], &after = again.arrays()[i];
    REQUIRE(after.name == before.name && after.array.dtype == before.array.dtype);
    REQUIRE(after.array.shape == before.array.shape);
    REQUIRE(after.array.size_bytes == before.array.size_bytes);
    REQUIRE(before.array.size_bytes == 0 ||
            memcmp(after.array.data, before.array.data, before.array.size_bytes) == 0);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::vector<NamedArray> arrays;
  bool is_npz = false;
  if (!parse_arrays("x.npz", data, size, &arrays, &is_npz).ok()) {
    REQUIRE(last_error()[0] != '\0');
    return 0;
  }
  size_t sum = 0;
  for (const NamedArray &each : arrays) {
    const Array &array = each.array;
    REQUIRE(array.data >= data && array.data + array.size_bytes <= data + size);
    sum += array.size_bytes;
  }
  // Members don't share their bytes: reading costs no more than the file is long.
  REQUIRE(sum <= size);
  write_and_read(arrays);
  return 0;
}
