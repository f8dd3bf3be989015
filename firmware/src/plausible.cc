#include "plausible.h"

#include <string.h>

#include <vector>

namespace edge {
namespace {

// Neither zeros, which some kernels skip, nor denormals, which slow some CPUs down; the same on
// every board and in every run. Integers that may be indices stay at 0 and 1.
class PlausibleValues {
 public:
  void fill(int32_t dtype, std::vector<uint8_t> *bytes) {
    uint8_t *at = bytes->data();
    const size_t size = bytes->size();
    switch (dtype) {
      case EDGE_FLOAT32:
      case EDGE_COMPLEX64:
        fill_as<float>(at, size, [&] { return 0.1f + 0.9f * unit(); });
        break;
      case EDGE_FLOAT64:
      case EDGE_COMPLEX128:
        fill_as<double>(at, size, [&] { return 0.1 + 0.9 * static_cast<double>(unit()); });
        break;
      case EDGE_FLOAT16:
        // Exponent of 0.5, any mantissa: 0.5 to 1.
        fill_as<uint16_t>(at, size,
                          [&] { return static_cast<uint16_t>(0x3800u | (next() >> 22)); });
        break;
      case EDGE_INT8:
      case EDGE_UINT8:
        fill_as<uint8_t>(at, size, [&] { return static_cast<uint8_t>(next() >> 24); });
        break;
      case EDGE_INT16:
      case EDGE_UINT16:
        fill_as<uint16_t>(at, size, [&] { return static_cast<uint16_t>(next() >> 20); });
        break;
      case EDGE_BOOL:
        fill_as<uint8_t>(at, size, [&] { return static_cast<uint8_t>(next() >> 31); });
        break;
      case EDGE_INT32:
      case EDGE_UINT32:
        fill_as<uint32_t>(at, size, [&] { return next() >> 31; });
        break;
      case EDGE_INT64:
      case EDGE_UINT64:
        fill_as<uint64_t>(at, size, [&] { return static_cast<uint64_t>(next() >> 31); });
        break;
      default:
        break;
    }
  }

 private:
  template <typename T, typename Make>
  static void fill_as(uint8_t *at, size_t size, Make make) {
    for (size_t i = 0; i + sizeof(T) <= size; i += sizeof(T)) {
      const T value = make();
      memcpy(at + i, &value, sizeof value);
    }
  }
  // A 64-bit linear congruential generator; its high half.
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  float unit() { return static_cast<float>(next() >> 8) / 16777216.0f; }

  uint64_t state_ = 1;
};

}  // namespace

Status set_plausible_inputs(edge_model *model, const std::vector<TensorInfo> &tensors) {
  PlausibleValues values;
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < tensors.size(); ++i) {
    bytes.assign(tensors[i].tensor.size_bytes, 0);
    values.fill(tensors[i].tensor.dtype, &bytes);
    EDGE_TRY(
        Status(edge_model_set_input(model, static_cast<int32_t>(i), bytes.data(), bytes.size())));
  }
  return Status();
}

}  // namespace edge
