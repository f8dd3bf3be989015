// Any bytes as an .npy: an array that parses lies inside of them, and is written as it was read.
#include "npy.h"

#include <string.h>

#include "fuzz.h"

using namespace edge;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Array array;
  if (!parse_npy("x.npy", data, size, &array).ok()) {
    REQUIRE(last_error()[0] != '\0');
    return 0;
  }
  REQUIRE(array.data >= data && array.data + array.size_bytes == data + size);

  std::string bytes;
  if (!npy_header(array.dtype, array.shape, &bytes).ok()) return 0;
  bytes.append(reinterpret_cast<const char *>(array.data), array.size_bytes);
  Array again;
  REQUIRE(parse_npy("x.npy", reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size(), &again)
              .ok());
  REQUIRE(again.dtype == array.dtype && again.shape == array.shape);
  REQUIRE(again.size_bytes == array.size_bytes);
  return 0;
}
