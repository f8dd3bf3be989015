#include "quantize.h"

#include <math.h>
#include <string.h>

#include <limits>

namespace edge {
namespace {

// Elements lie wherever their file has them, aligned or not.
template <typename T>
T element(const uint8_t *data, size_t index) {
  T value;
  memcpy(&value, data + index * sizeof value, sizeof value);
  return value;
}

template <typename T>
Status quantize_as(const edge_tensor &tensor, int32_t dtype, const uint8_t *data, size_t count,
                   std::vector<uint8_t> *integers) {
  constexpr double least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  integers->resize(count * sizeof(T));
  for (size_t i = 0; i < count; ++i) {
    const double real = dtype == EDGE_FLOAT64 ? element<double>(data, i)
                                              : static_cast<double>(element<float>(data, i));
    if (isnan(real)) {
      return fail(EDGE_BAD_INPUT,
                  "input '%s' is quantized, and element %zu of its array is not a "
                  "number",
                  tensor.name, i);
    }
    const double integer = nearbyint(real / static_cast<double>(tensor.scale)) + tensor.zero_point;
    const T clamped = static_cast<T>(integer < least ? least : integer > most ? most : integer);
    memcpy(integers->data() + i * sizeof clamped, &clamped, sizeof clamped);
  }
  return Status();
}

template <typename T>
void dequantize_as(const edge_tensor &tensor, const uint8_t *data, size_t count, uint8_t *reals) {
  for (size_t i = 0; i < count; ++i) {
    const double steps = static_cast<double>(element<T>(data, i)) - tensor.zero_point;
    const float real = static_cast<float>(steps * static_cast<double>(tensor.scale));
    memcpy(reals + i * sizeof real, &real, sizeof real);
  }
}

}  // namespace

bool is_quantized(const edge_tensor &tensor) {
  if (!(tensor.scale > 0)) return false;
  return tensor.dtype == EDGE_INT8 || tensor.dtype == EDGE_UINT8 || tensor.dtype == EDGE_INT16 ||
         tensor.dtype == EDGE_INT32;
}

bool is_real(int32_t dtype) {
  return dtype == EDGE_FLOAT32 || dtype == EDGE_FLOAT64;
}

Status quantize(const edge_tensor &tensor, int32_t dtype, const uint8_t *data, size_t count,
                std::vector<uint8_t> *integers) {
  switch (tensor.dtype) {
    case EDGE_INT8:
      return quantize_as<int8_t>(tensor, dtype, data, count, integers);
    case EDGE_UINT8:
      return quantize_as<uint8_t>(tensor, dtype, data, count, integers);
    case EDGE_INT16:
      return quantize_as<int16_t>(tensor, dtype, data, count, integers);
    default:
      return quantize_as<int32_t>(tensor, dtype, data, count, integers);
  }
}

void dequantize(const edge_tensor &tensor, const uint8_t *data, size_t size_bytes,
                std::vector<uint8_t> *reals) {
  const size_t bytes = tensor.dtype == EDGE_INT16 ? 2 : tensor.dtype == EDGE_INT32 ? 4 : 1;
  const size_t count = size_bytes / bytes;
  reals->resize(count * sizeof(float));
  switch (tensor.dtype) {
    case EDGE_INT8:
      return dequantize_as<int8_t>(tensor, data, count, reals->data());
    case EDGE_UINT8:
      return dequantize_as<uint8_t>(tensor, data, count, reals->data());
    case EDGE_INT16:
      return dequantize_as<int16_t>(tensor, data, count, reals->data());
    default:
      return dequantize_as<int32_t>(tensor, data, count, reals->data());
  }
}

}  // namespace edge
