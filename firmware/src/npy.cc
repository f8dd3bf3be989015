#include "npy.h"

#include <string.h>

#include <algorithm>

#include "shape.h"

namespace edge {
namespace {

struct Dtype {
  int32_t dtype;
  const char *name;
  const char *descr;  // numpy's, without byte order; nullptr if numpy has none
  size_t bytes;
};

constexpr Dtype dtypes[] = {
    {EDGE_FLOAT32, "float32", "f4", 4},    {EDGE_INT32, "int32", "i4", 4},
    {EDGE_UINT8, "uint8", "u1", 1},        {EDGE_INT64, "int64", "i8", 8},
    {EDGE_STRING, "string", nullptr, 0},   {EDGE_BOOL, "bool", "b1", 1},
    {EDGE_INT16, "int16", "i2", 2},        {EDGE_COMPLEX64, "complex64", "c8", 8},
    {EDGE_INT8, "int8", "i1", 1},          {EDGE_FLOAT16, "float16", "f2", 2},
    {EDGE_FLOAT64, "float64", "f8", 8},    {EDGE_COMPLEX128, "complex128", "c16", 16},
    {EDGE_UINT64, "uint64", "u8", 8},      {EDGE_RESOURCE, "resource", nullptr, 0},
    {EDGE_VARIANT, "variant", nullptr, 0}, {EDGE_UINT32, "uint32", "u4", 4},
    {EDGE_UINT16, "uint16", "u2", 2},      {EDGE_INT4, "int4", nullptr, 0},
};

const Dtype *find_dtype(int32_t dtype) {
  for (const Dtype &each : dtypes) {
    if (each.dtype == dtype) return &each;
  }
  return nullptr;
}

// The header is a Python dict literal of strings, booleans and one tuple of integers.
class HeaderParser {
 public:
  HeaderParser(const char *name, const char *text, size_t size)
      : name_(name), at_(text), end_(text + size) {}

  Status parse(std::string *descr, bool *fortran, std::vector<int64_t> *shape) {
    bool have_descr = false, have_fortran = false, have_shape = false;
    if (!take('{')) return damaged();
    while (!take('}')) {
      std::string key;
      if (!take_string(&key) || !take(':')) return damaged();
      if (key == "descr") {
        if (peek() == '[') {
          return fail(EDGE_BAD_FILE, "%s has a structured dtype: save each field as its own array",
                      name_);
        }
        if (!take_string(descr)) return damaged();
        have_descr = true;
      } else if (key == "fortran_order") {
        if (take_word("True")) {
          *fortran = true;
        } else if (take_word("False")) {
          *fortran = false;
        } else {
          return damaged();
        }
        have_fortran = true;
      } else if (key == "shape") {
        if (have_shape || !take_shape(shape)) return damaged();
        have_shape = true;
      } else {
        return damaged();
      }
      if (!take(',') && peek() != '}') return damaged();
    }
    return have_descr && have_fortran && have_shape ? Status() : damaged();
  }

 private:
  Status damaged() { return fail(EDGE_BAD_FILE, "%s: its .npy header is damaged", name_); }

  char peek() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\n')) ++at_;
    return at_ < end_ ? *at_ : '\0';
  }
  bool take(char wanted) {
    if (peek() != wanted || at_ >= end_) return false;
    ++at_;
    return true;
  }
  bool take_word(const char *word) {
    peek();
    const size_t length = strlen(word);
    if (static_cast<size_t>(end_ - at_) < length || memcmp(at_, word, length) != 0) return false;
    at_ += length;
    return true;
  }
  bool take_string(std::string *text) {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return false;
    const char *begin = ++at_;
    while (at_ < end_ && *at_ != quote) ++at_;
    if (at_ >= end_) return false;
    text->assign(begin, at_++);
    return true;
  }
  bool take_shape(std::vector<int64_t> *shape) {
    if (!take('(')) return false;
    while (!take(')')) {
      if (peek() < '0' || peek() > '9' || shape->size() >= 32) return false;
      int64_t value = 0;
      while (at_ < end_ && *at_ >= '0' && *at_ <= '9') {
        if (value > INT64_MAX / 10 - 1) return false;
        value = value * 10 + (*at_++ - '0');
      }
      take_word("L");  // Python 2 wrote (3L,)
      shape->push_back(value);
      if (!take(',') && peek() != ')') return false;
    }
    return true;
  }

  const char *name_;
  const char *at_;
  const char *end_;
};

Status dtype_of(const char *name, const std::string &descr, int32_t *dtype) {
  if (descr.size() >= 2 && descr[0] == '>') {
    return fail(EDGE_BAD_FILE, "%s is big-endian (%s): save it as a.astype('<%s')", name,
                descr.c_str(), descr.c_str() + 1);
  }
  if (descr.size() >= 2 && descr[1] == 'O') {
    return fail(EDGE_BAD_FILE, "%s holds Python objects: save it with a numeric dtype", name);
  }
  if (descr.size() >= 2 && (descr[0] == '<' || descr[0] == '|' || descr[0] == '=')) {
    for (const Dtype &each : dtypes) {
      if (each.descr != nullptr && descr.compare(1, std::string::npos, each.descr) == 0) {
        *dtype = each.dtype;
        return Status();
      }
    }
  }
  return fail(EDGE_BAD_FILE, "%s has dtype '%s', which no tensor has", name, descr.c_str());
}

}  // namespace

const char *dtype_name(int32_t dtype) {
  const Dtype *found = find_dtype(dtype);
  return found != nullptr ? found->name : "unknown";
}

size_t dtype_bytes(int32_t dtype) {
  const Dtype *found = find_dtype(dtype);
  return found != nullptr ? found->bytes : 0;
}

Status parse_npy(const char *name, const uint8_t *bytes, size_t size, Array *array) {
  if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) {
    return fail(EDGE_BAD_FILE, "%s is not an .npy array", name);
  }
  const unsigned major = bytes[6];
  size_t header_at = 10;
  size_t header_size = bytes[8] | bytes[9] << 8;
  if (major == 2 || major == 3) {
    if (size < 12) return fail(EDGE_BAD_FILE, "%s is cut within its header", name);
    header_at = 12;
    uint32_t wide;
    memcpy(&wide, bytes + 8, sizeof wide);
    header_size = wide;
  } else if (major != 1) {
    return fail(EDGE_BAD_FILE, "%s is .npy version %u; versions 1 to 3 are known", name, major);
  }
  if (header_size > size - header_at) {
    return fail(EDGE_BAD_FILE, "%s is cut within its header", name);
  }

  std::string descr;
  bool fortran = false;
  Array found;
  HeaderParser parser(name, reinterpret_cast<const char *>(bytes) + header_at, header_size);
  EDGE_TRY(parser.parse(&descr, &fortran, &found.shape));
  EDGE_TRY(dtype_of(name, descr, &found.dtype));
  if (fortran) {
    return fail(EDGE_BAD_FILE, "%s is in Fortran order: save np.ascontiguousarray(a)", name);
  }

  const size_t room = size - header_at - header_size;
  size_t needed = dtype_bytes(found.dtype);
  for (const int64_t axis : found.shape) {
    if (axis != 0 && needed > SIZE_MAX / 2 / static_cast<uint64_t>(axis)) {
      return fail(EDGE_BAD_FILE, "%s claims the shape %s, which no memory holds", name,
                  shape_text(found.shape).c_str());
    }
    needed *= static_cast<size_t>(axis);
  }
  if (needed != room) {
    return fail(EDGE_BAD_FILE, "%s holds %zu bytes of data, but %s %s has %zu: the file is %s",
                name, room, dtype_name(found.dtype), shape_text(found.shape).c_str(), needed,
                room < needed ? "cut" : "damaged");
  }
  found.data = bytes + header_at + header_size;
  found.size_bytes = needed;
  *array = found;
  return Status();
}

Status npy_header(int32_t dtype, const std::vector<int64_t> &shape, std::string *header) {
  const Dtype *found = find_dtype(dtype);
  if (found == nullptr || found->descr == nullptr) {
    return fail(EDGE_BAD_FILE, "numpy has no dtype for %s", dtype_name(dtype));
  }
  std::string dict = "{'descr': '";
  dict += found->bytes == 1 ? '|' : '<';
  dict += found->descr;
  dict += "', 'fortran_order': False, 'shape': (";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) dict += ", ";
    dict += std::to_string(shape[i]);
  }
  if (shape.size() == 1) dict += ',';
  dict += "), }";
  // numpy maps .npy files: the data begins at a multiple of 64.
  constexpr size_t prefix = 10;
  dict.append(63 - (prefix + dict.size()) % 64, ' ');
  dict += '\n';
  header->assign("\x93NUMPY\x01\x00", 8);
  *header += static_cast<char>(dict.size() & 0xff);
  *header += static_cast<char>(dict.size() >> 8);
  *header += dict;
  return Status();
}

}  // namespace edge
