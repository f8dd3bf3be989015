// Between real numbers and the integers of a quantized tensor: real = scale * (integer - zero).
#ifndef EDGE_QUANTIZE_H
#define EDGE_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "edge.h"
#include "error.h"

namespace edge {

// int8, uint8, int16 or int32, with one scale for the whole tensor.
bool is_quantized(const edge_tensor &tensor);
// What quantize() takes.
bool is_real(int32_t dtype);

// `count` numbers of `dtype` become the tensor's integers: the nearest ones, the even one of two,
// clamped. Not a number is EDGE_BAD_INPUT.
Status quantize(const edge_tensor &tensor, int32_t dtype, const uint8_t *data, size_t count,
                std::vector<uint8_t> *integers);
// The tensor's bytes become those of float32 numbers.
void dequantize(const edge_tensor &tensor, const uint8_t *data, size_t size_bytes,
                std::vector<uint8_t> *reals);

}  // namespace edge

#endif  // EDGE_QUANTIZE_H
