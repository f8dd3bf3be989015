// NumPy's .npz format: a ZIP archive of .npy members, stored without compression.
#ifndef EDGE_NPZ_H
#define EDGE_NPZ_H

#include <string>
#include <vector>

#include "file.h"
#include "npy.h"

namespace edge {

struct NamedArray {
  std::string name;
  Array array;
};

// The arrays of an .npz or the single one of an .npy, left where they are: they point into `bytes`.
// `path` is how messages call the file.
Status parse_arrays(const char *path, const uint8_t *bytes, size_t size,
                    std::vector<NamedArray> *arrays, bool *is_npz);

// The same, of a file on disk or what a stream brings.
class ArrayFile {
 public:
  Status open(const char *path);
  Status read(int fd, const char *name);
  const std::vector<NamedArray> &arrays() const { return arrays_; }
  bool is_npz() const { return is_npz_; }

 private:
  MappedFile file_;
  std::vector<NamedArray> arrays_;
  bool is_npz_ = false;
};

// The same arrays give the same bytes: members carry no time.
Status write_npz(const char *path, const std::vector<NamedArray> &arrays);
Status write_npz(int fd, const char *name, const std::vector<NamedArray> &arrays);

uint32_t crc32(uint32_t before, const void *data, size_t size);

}  // namespace edge

#endif  // EDGE_NPZ_H
