// NumPy's .npy format: one array, its dtype and shape in front.
#ifndef EDGE_NPY_H
#define EDGE_NPY_H

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "edge.h"
#include "error.h"

namespace edge {

// A C-order, little-endian array inside memory that somebody else owns.
struct Array {
  int32_t dtype = EDGE_NOTYPE;
  std::vector<int64_t> shape;
  const uint8_t *data = nullptr;
  size_t size_bytes = 0;
};

const char *dtype_name(int32_t dtype);  // "float32", as numpy and TFLite say
size_t dtype_bytes(int32_t dtype);      // 0 where elements have no fixed whole size

// `name` is how messages call the array. `array` points into `bytes`.
Status parse_npy(const char *name, const uint8_t *bytes, size_t size, Array *array);
// What goes in front of the data. EDGE_BAD_FILE if numpy has no such dtype.
Status npy_header(int32_t dtype, const std::vector<int64_t> &shape, std::string *header);

}  // namespace edge

#endif  // EDGE_NPY_H
