#include <stdlib.h>

#include <algorithm>
#include <memory>

#include "check.h"
#include "model_bytes.h"
#include "model_check.h"

namespace edge {
namespace {

// From memory of exactly the right size, so that AddressSanitizer sees a byte too far.
Status check_bytes(const std::string &bytes) {
  std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  return check_model("m.tflite", exact.get(), bytes.size());
}

}  // namespace

TEST(model_check, whole_model_passes) {
  CHECK(check_bytes(test::small_model()).ok());
}

TEST(model_check, foreign_files_are_named) {
  CHECK_FAILS(check_bytes(""), EDGE_BAD_MODEL, "not a TFLite model");
  CHECK_FAILS(check_bytes("#!/bin/sh\n"), EDGE_BAD_MODEL, "m.tflite is not a TFLite model");
  CHECK_FAILS(check_model_file("/does/not/exist"), EDGE_NO_FILE, "can't open");
}

TEST(model_check, every_cut_is_seen) {
  const std::string whole = test::small_model();
  for (size_t size = 0; size < whole.size(); ++size) {
    CHECK(check_bytes(whole.substr(0, size)).code() == EDGE_BAD_MODEL);
  }
}

TEST(model_check, damage_never_leads_outside) {
  const std::string whole = test::small_model();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(value);
      const int32_t code = check_bytes(damaged).code();
      CHECK(code == EDGE_OK || code == EDGE_BAD_MODEL);
    }
  }
  uint64_t state = 1;
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      damaged[(state >> 33) % damaged.size()] = static_cast<char>(state >> 56);
    }
    const int32_t code = check_bytes(damaged).code();
    CHECK(code == EDGE_OK || code == EDGE_BAD_MODEL);
  }
}

TEST(model_check, indices_out_of_range_are_seen) {
  std::string model = test::small_model();
  // The operator's inputs: a vector of the two values 0 and -1.
  const std::string inputs("\x02\0\0\0\0\0\0\0\xff\xff\xff\xff", 12);
  const size_t at = model.find(inputs);
  CHECK(at != std::string::npos);
  model[at + 4] = 2;
  CHECK_FAILS(check_bytes(model), EDGE_BAD_MODEL, "operator's inputs refer to tensor 2 of 2");
}

TEST(model_check, sizes_that_cannot_be_are_seen) {
  const std::string model = test::small_model();
  // A tensor's shape: two axes, 1 and 4; it is of float32, and its buffer has 16 bytes.
  const size_t shape = model.find(std::string("\2\0\0\0\1\0\0\0\4\0\0\0", 12));
  CHECK(shape != std::string::npos);
  const auto with_axes = [&](int32_t first, int32_t second) {
    std::string changed = model;
    memcpy(&changed[shape + 4], &first, 4);
    memcpy(&changed[shape + 8], &second, 4);
    return changed;
  };
  CHECK(check_bytes(with_axes(-1, 4)).ok());
  CHECK(check_bytes(with_axes(0, 0x7fffffff)).ok());
  CHECK_FAILS(check_bytes(with_axes(-2, 4)), EDGE_BAD_MODEL, "an axis of -2");
  CHECK_FAILS(check_bytes(with_axes(1, 5)), EDGE_BAD_MODEL,
              "a tensor of 20 bytes has only the 16 of buffer 1");
  CHECK_FAILS(check_bytes(with_axes(0x7fffffff, 0x7fffffff)), EDGE_BAD_MODEL,
              "a shape that no memory holds");
}

TEST(model_check, options_lead_nowhere_else) {
  // VarHandle's options, the union's type 111: a string that the table leads to.
  test::FlatBytes flat;
  const auto model = flat.table(0, {{0, 3}, {1, 0}, {2, 0}});
  const auto codes = flat.tables(model[1], 1);
  flat.table(codes[0], {{3, 142}});
  const auto subgraphs = flat.tables(model[2], 1);
  const auto subgraph = flat.table(subgraphs[0], {{3, 0}});
  const auto operators = flat.tables(subgraph[0], 1);
  const auto op = flat.table(operators[0], {{3, 111}, {4, 0}});
  const auto options = flat.table(op[1], {{1, 0}});
  flat.string(options[0], "count");
  CHECK(check_bytes(flat.bytes).ok());
  flat.bytes[options[0] + 2] = 1;
  CHECK_FAILS(check_bytes(flat.bytes), EDGE_BAD_MODEL, "an operator's options lies outside");
}

TEST(model_check, signatures_name_inputs_and_outputs) {
  std::string model = test::small_model();
  // The subgraph's inputs: tensor 0, which the signature names; then its outputs, tensor 1.
  const size_t inputs = model.find(std::string("\1\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0", 16));
  CHECK(inputs != std::string::npos);
  model[inputs + 4] = 1;
  CHECK_FAILS(check_bytes(model), EDGE_BAD_MODEL,
              "a signature's input is tensor 0, which is no input of its subgraph");
}

TEST(model_check, shared_tables_end) {
  // A list of many entries that all lead to one subgraph with a long list of its own.
  test::FlatBytes flat;
  const auto model = flat.table(0, {{0, 3}, {2, 0}});
  const auto subgraphs = flat.tables(model[1], 20000);
  const auto subgraph = flat.table(subgraphs[0], {{0, 0}});
  uint32_t first;
  memcpy(&first, &flat.bytes[subgraphs[0]], 4);
  for (size_t i = 0; i < subgraphs.size(); ++i) {
    const uint32_t offset = first - static_cast<uint32_t>(4 * i);
    memcpy(&flat.bytes[subgraphs[i]], &offset, 4);
  }
  const auto tensors = flat.tables(subgraph[0], 20000);
  flat.table(tensors[0], {});
  memcpy(&first, &flat.bytes[tensors[0]], 4);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint32_t offset = first - static_cast<uint32_t>(4 * i);
    memcpy(&flat.bytes[tensors[i]], &offset, 4);
  }
  CHECK_FAILS(check_bytes(flat.bytes), EDGE_BAD_MODEL, "too often");
}

}  // namespace edge
