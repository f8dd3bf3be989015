// What a delegate sees of TFLite, as its binary interface is, in our own words: of each structure
// the part that has stayed since 2.4, and of a registration the whole of it.
#ifndef EDGE_DELEGATE_C_H
#define EDGE_DELEGATE_C_H

#include <stddef.h>
#include <stdint.h>

namespace edge::delegate {

using Result = int;  // 0 is success

constexpr int32_t type_float32 = 1;
constexpr int32_t builtin_add = 0;
constexpr int32_t builtin_custom = 32;
// Where a tensor's data are: in the model's file, or wherever an invoke puts them.
constexpr int32_t allocated_in_model = 1;
constexpr int32_t allocated_dynamically = 4;
constexpr int32_t quantization_affine = 1;

struct IntArray {
  int32_t size;
  int32_t values[];
};

struct FloatArray {
  int32_t size;
  float values[];
};

// One scale and zero point, or one per index of the axis.
struct AffineQuantization {
  FloatArray *scales;
  IntArray *zero_points;
  int32_t axis;
};

struct Context;
struct Delegate;

struct Tensor {
  int32_t type;
  void *data;
  IntArray *dims;
  float scale;
  int32_t zero_point;
  int32_t allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int32_t buffer_handle;
  bool data_is_stale;
  bool is_variable;
  int32_t quantization_type;
  void *quantization;  // an AffineQuantization, by its type
  void *sparsity;
  const IntArray *dims_signature;
};

struct Node {
  IntArray *inputs;
  IntArray *outputs;
  IntArray *intermediates;
  IntArray *temporaries;
  void *user_data;
  void *builtin_data;  // of ADD: begins with its fused activation, an int
  const void *custom_initial_data;
  int32_t custom_initial_data_size;
  Delegate *delegate;
};

struct Registration {
  void *(*init)(Context *context, const char *buffer, size_t length);
  void (*free)(Context *context, void *data);
  Result (*prepare)(Context *context, Node *node);
  Result (*invoke)(Context *context, Node *node);
  const char *(*profiling_string)(const Context *context, const Node *node);
  int32_t builtin_code;
  const char *custom_name;
  int32_t version;
  void *external;
  void *async_kernel;
  uint64_t inplace_operator;
};
// It is handed over by value: where that means registers and stack, its size is part of the call.
static_assert(sizeof(Registration) == (sizeof(void *) == 8 ? 88 : 48), "as since 2.14");

// What the registration's init is given as its buffer.
struct Params {
  Delegate *delegate;
  IntArray *nodes;
  IntArray *inputs;
  IntArray *outputs;
};

struct Context {
  size_t tensor_count;
  Result (*get_execution_plan)(Context *context, IntArray **plan);
  Tensor *tensors;
  void *impl;
  Result (*resize_tensor)(Context *context, Tensor *tensor, IntArray *dims);
  void (*report_error)(Context *context, const char *format, ...);
  Result (*add_tensors)(Context *context, int count, int *first);
  Result (*get_node)(Context *context, int index, Node **node, Registration **registration);
  Result (*replace_nodes)(Context *context, Registration registration, const IntArray *nodes,
                          Delegate *delegate);
};

struct Delegate {
  void *data;
  Result (*prepare)(Context *context, Delegate *delegate);
  void *copy_from_buffer;
  void *copy_to_buffer;
  void *free_buffer;
  int64_t flags;
  void *opaque_builder;
};

}  // namespace edge::delegate

#endif  // EDGE_DELEGATE_C_H
