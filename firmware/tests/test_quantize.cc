#include <math.h>
#include <string.h>

#include <vector>

#include "check.h"
#include "quantize.h"

namespace edge {
namespace {

edge_tensor tensor_of(int32_t dtype, float scale, int32_t zero_point) {
  edge_tensor tensor = {};
  tensor.name = "x";
  tensor.dtype = dtype;
  tensor.scale = scale;
  tensor.zero_point = zero_point;
  return tensor;
}

template <typename Integer, typename Real>
std::vector<Integer> integers_of(const edge_tensor &tensor, const std::vector<Real> &reals) {
  // One byte further than any element may lie.
  std::vector<uint8_t> data(reals.size() * sizeof(Real) + 1);
  memcpy(data.data() + 1, reals.data(), reals.size() * sizeof(Real));
  std::vector<uint8_t> bytes;
  const int32_t dtype = sizeof(Real) == 4 ? EDGE_FLOAT32 : EDGE_FLOAT64;
  CHECK(quantize(tensor, dtype, data.data() + 1, reals.size(), &bytes).ok());
  std::vector<Integer> integers(reals.size());
  CHECK(bytes.size() == integers.size() * sizeof(Integer));
  memcpy(integers.data(), bytes.data(), bytes.size());
  return integers;
}

}  // namespace

TEST(quantize, rounds_to_the_nearest_even) {
  const edge_tensor tensor = tensor_of(EDGE_INT8, 0.5f, -3);
  const std::vector<float> reals = {0, 0.25f, 0.75f, 0.3f, -0.25f, -0.75f, 10};
  CHECK((integers_of<int8_t>(tensor, reals) == std::vector<int8_t>{-3, -3, -1, -2, -3, -5, 17}));
  const std::vector<double> doubles(reals.begin(), reals.end());
  CHECK(integers_of<int8_t>(tensor, doubles) == integers_of<int8_t>(tensor, reals));
}

TEST(quantize, clamps) {
  const std::vector<double> far = {-1e300, -INFINITY, 1e300, INFINITY};
  CHECK((integers_of<int8_t>(tensor_of(EDGE_INT8, 0.5f, -3), far) ==
         std::vector<int8_t>{-128, -128, 127, 127}));
  CHECK((integers_of<uint8_t>(tensor_of(EDGE_UINT8, 0.5f, 125), far) ==
         std::vector<uint8_t>{0, 0, 255, 255}));
  CHECK((integers_of<int16_t>(tensor_of(EDGE_INT16, 0.5f, 0), far) ==
         std::vector<int16_t>{-32768, -32768, 32767, 32767}));
  CHECK((integers_of<int32_t>(tensor_of(EDGE_INT32, 0.5f, 0), far) ==
         std::vector<int32_t>{INT32_MIN, INT32_MIN, INT32_MAX, INT32_MAX}));
}

TEST(quantize, refuses_what_is_no_number) {
  const float reals[] = {1, NAN};
  std::vector<uint8_t> bytes;
  CHECK_FAILS(quantize(tensor_of(EDGE_INT8, 0.5f, 0), EDGE_FLOAT32,
                       reinterpret_cast<const uint8_t *>(reals), 2, &bytes),
              EDGE_BAD_INPUT, "input 'x' is quantized, and element 1 of its array is not a number");
}

TEST(quantize, gives_back_real_numbers) {
  std::vector<uint8_t> bytes;
  const auto reals_of = [&](const edge_tensor &tensor, const void *data, size_t size) {
    dequantize(tensor, static_cast<const uint8_t *>(data), size, &bytes);
    std::vector<float> reals(bytes.size() / 4);
    memcpy(reals.data(), bytes.data(), bytes.size());
    return reals;
  };
  const int8_t small[] = {-128, -3, 127};
  CHECK((reals_of(tensor_of(EDGE_INT8, 0.5f, -3), small, 3) == std::vector<float>{-62.5f, 0, 65}));
  const uint8_t plain[] = {0, 125, 255};
  CHECK((reals_of(tensor_of(EDGE_UINT8, 2, 125), plain, 3) == std::vector<float>{-250, 0, 260}));
  const int16_t wide[] = {-32768, 1};
  CHECK((reals_of(tensor_of(EDGE_INT16, 0.25f, 0), wide, 4) == std::vector<float>{-8192, 0.25f}));
  const int32_t widest[] = {INT32_MIN, INT32_MAX};
  CHECK((reals_of(tensor_of(EDGE_INT32, 1, 1), widest, 8) ==
         std::vector<float>{-2147483648.0f, 2147483648.0f}));
}

TEST(quantize, knows_what_is_quantized) {
  for (const int32_t dtype : {EDGE_INT8, EDGE_UINT8, EDGE_INT16, EDGE_INT32}) {
    CHECK(is_quantized(tensor_of(dtype, 0.5f, 0)));
    CHECK(!is_quantized(tensor_of(dtype, 0, 0)));
  }
  CHECK(!is_quantized(tensor_of(EDGE_FLOAT32, 0.5f, 0)));
  CHECK(!is_quantized(tensor_of(EDGE_INT64, 0.5f, 0)));
  CHECK(!is_quantized(tensor_of(EDGE_INT8, NAN, 0)));
  CHECK(is_real(EDGE_FLOAT32) && is_real(EDGE_FLOAT64) && !is_real(EDGE_FLOAT16));
}

}  // namespace edge
