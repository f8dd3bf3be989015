#include "check.h"
#include "npy.h"

namespace edge {
namespace {

std::string npy(const std::string &dict, const std::string &data) {
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(dict.size() & 0xff);
  bytes += static_cast<char>(dict.size() >> 8);
  return bytes + dict + data;
}

Status parse(const std::string &bytes, Array *array) {
  return parse_npy("a.npy", reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size(), array);
}

}  // namespace

TEST(npy, reads_what_it_writes) {
  for (const int32_t dtype : {EDGE_FLOAT32, EDGE_INT8, EDGE_BOOL, EDGE_INT64, EDGE_COMPLEX128}) {
    for (const std::vector<int64_t> &shape :
         {std::vector<int64_t>{}, {3}, {2, 3}, {0, 5}, {1, 2, 3, 4, 5, 6}}) {
      std::string header;
      CHECK(npy_header(dtype, shape, &header).ok());
      CHECK(header.size() % 64 == 0);
      size_t size = dtype_bytes(dtype);
      for (const int64_t axis : shape) size *= static_cast<size_t>(axis);
      const std::string bytes = header + std::string(size, 'd');
      Array array;
      CHECK(parse(bytes, &array).ok());
      CHECK(array.dtype == dtype && array.shape == shape && array.size_bytes == size);
    }
  }
}

TEST(npy, reads_other_spellings) {
  Array array;
  const std::string bytes =
      npy("{\"shape\":(2L,), \"fortran_order\": False , 'descr' : '|u1'}  \n", "ab");
  CHECK(parse(bytes, &array).ok());
  CHECK(array.dtype == EDGE_UINT8 && array.shape == std::vector<int64_t>{2});
  CHECK(memcmp(array.data, "ab", 2) == 0);
}

TEST(npy, says_why_not) {
  Array array;
  CHECK_FAILS(parse("PK", &array), EDGE_BAD_FILE, "a.npy is not an .npy array");
  CHECK_FAILS(parse(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", "abcd"), &array),
              EDGE_BAD_FILE, "big-endian (>f4): save it as a.astype('<f4')");
  CHECK_FAILS(
      parse(npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1)}", "abcd"), &array),
      EDGE_BAD_FILE, "np.ascontiguousarray");
  CHECK_FAILS(parse(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", ""), &array),
              EDGE_BAD_FILE, "Python objects");
  CHECK_FAILS(
      parse(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", ""), &array),
      EDGE_BAD_FILE, "structured");
  CHECK_FAILS(parse(npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}", ""), &array),
              EDGE_BAD_FILE, "which no tensor has");
  CHECK_FAILS(parse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "abcd"), &array),
              EDGE_BAD_FILE, "the file is cut");
  CHECK_FAILS(
      parse(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'shape': (2,)}", "ab"),
            &array),
      EDGE_BAD_FILE, "header is damaged");
  CHECK_FAILS(
      parse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775806, 9)}",
                "abcd"),
            &array),
      EDGE_BAD_FILE, "a.npy");
}

TEST(npy, damage_never_leads_outside) {
  const std::string whole = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "abcd");
  Array array;
  for (size_t size = 0; size < whole.size(); ++size) {
    CHECK(!parse(std::string(whole.begin(), whole.begin() + static_cast<long>(size)), &array).ok());
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(value);
      const Status status = parse(damaged, &array);
      CHECK(status.ok() || status.code() == EDGE_BAD_FILE);
    }
  }
}

}  // namespace edge
