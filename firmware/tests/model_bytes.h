// Makes the bytes of a small but complete TFLite model: two tensors, one operator, one signature.
#ifndef EDGE_TESTS_MODEL_BYTES_H
#define EDGE_TESTS_MODEL_BYTES_H

#include <stdint.h>
#include <string.h>

#include <string>
#include <utility>
#include <vector>

namespace edge::test {

// Writes front to back: a table first, what it refers to after it.
class FlatBytes {
 public:
  std::string bytes = std::string(4, '\0') + "TFL3";

  void align(size_t to) {
    while (bytes.size() % to != 0) bytes += '\0';
  }
  void put32(uint32_t value) { bytes.append(reinterpret_cast<const char *>(&value), 4); }
  void put16(uint16_t value) { bytes.append(reinterpret_cast<const char *>(&value), 2); }
  // Makes the offset at `from` lead to the end of what is there so far.
  void point(size_t from) {
    const uint32_t distance = static_cast<uint32_t>(bytes.size() - from);
    memcpy(&bytes[from], &distance, 4);
  }

  // A table of 4-byte fields, given as (number, value). Returns where each field lies.
  std::vector<size_t> table(size_t from, const std::vector<std::pair<unsigned, uint32_t>> &fields) {
    unsigned count = 0;
    for (const auto &field : fields) count = std::max(count, field.first + 1);
    align(4);
    std::vector<uint16_t> vtable(2 + count, 0);
    if (vtable.size() % 2 != 0) vtable.push_back(0);
    vtable[0] = static_cast<uint16_t>(2 * vtable.size());
    vtable[1] = static_cast<uint16_t>(4 + 4 * fields.size());
    for (size_t i = 0; i < fields.size(); ++i) {
      vtable[2 + fields[i].first] = static_cast<uint16_t>(4 + 4 * i);
    }
    for (const uint16_t entry : vtable) put16(entry);
    point(from);
    put32(vtable[0]);
    std::vector<size_t> places;
    for (const auto &field : fields) {
      places.push_back(bytes.size());
      put32(field.second);
    }
    return places;
  }

  void string(size_t from, const char *text) {
    align(4);
    point(from);
    put32(static_cast<uint32_t>(strlen(text)));
    bytes.append(text, strlen(text) + 1);
  }

  void ints(size_t from, const std::vector<uint32_t> &values) {
    align(4);
    point(from);
    put32(static_cast<uint32_t>(values.size()));
    for (const uint32_t value : values) put32(value);
  }

  // A vector of tables; returns where the offset of each lies.
  std::vector<size_t> tables(size_t from, size_t count) {
    ints(from, std::vector<uint32_t>(count, 0));
    std::vector<size_t> places;
    for (size_t i = 0; i < count; ++i) places.push_back(bytes.size() - 4 * (count - i));
    return places;
  }
};

inline std::string small_model() {
  FlatBytes flat;
  const auto model = flat.table(0, {{0, 3}, {1, 0}, {2, 0}, {3, 0}, {4, 0}, {6, 0}, {7, 0}});
  const auto codes = flat.tables(model[1], 1);
  const auto code = flat.table(codes[0], {{1, 0}, {3, 32}});
  flat.string(code[0], "Custom");

  const auto subgraphs = flat.tables(model[2], 1);
  const auto subgraph = flat.table(subgraphs[0], {{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}});
  const auto tensors = flat.tables(subgraph[0], 2);
  for (const size_t each : tensors) {
    const auto tensor = flat.table(each, {{0, 0}, {2, 1}, {3, 0}, {4, 0}});
    flat.ints(tensor[0], {1, 4});
    flat.string(tensor[2], "tensor");
    const auto quantization = flat.table(tensor[3], {{2, 0}});
    flat.ints(quantization[0], {0x3f800000});
  }
  flat.ints(subgraph[1], {0});
  flat.ints(subgraph[2], {1});
  const auto operators = flat.tables(subgraph[3], 1);
  const auto op = flat.table(operators[0], {{0, 0}, {1, 0}, {2, 0}, {5, 0}});
  flat.ints(op[1], {0, 0xffffffff});
  flat.ints(op[2], {1});
  flat.string(op[3], "options");
  flat.string(subgraph[4], "main");

  flat.string(model[3], "made by a test");
  const auto buffers = flat.tables(model[4], 2);
  flat.table(buffers[0], {});
  const auto buffer = flat.table(buffers[1], {{0, 0}});
  flat.string(buffer[0], "sixteen bytes...");
  const auto metadata = flat.tables(model[5], 1);
  const auto entry = flat.table(metadata[0], {{0, 0}, {1, 1}});
  flat.string(entry[0], "min_runtime_version");
  const auto signatures = flat.tables(model[6], 1);
  const auto signature = flat.table(signatures[0], {{0, 0}, {2, 0}, {4, 0}});
  const auto names = flat.tables(signature[0], 1);
  const auto name = flat.table(names[0], {{0, 0}, {1, 0}});
  flat.string(name[0], "x");
  flat.string(signature[1], "serving_default");
  return flat.bytes;
}

}  // namespace edge::test

#endif  // EDGE_TESTS_MODEL_BYTES_H
