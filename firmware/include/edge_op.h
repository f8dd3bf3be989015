/* edge_op.h: how to write a kernel for a custom operator of a model, once, in C or C++.
 *
 *   static int prepare(edge_op_call *call) {
 *     if (call->input_count != 1) return edge_op_fail(call, "it takes one input");
 *     ... look at call->inputs, set dtype and dims of call->outputs, read call->options ...
 *     return 0;
 *   }
 *   static int eval(edge_op_call *call) { ... fill call->outputs[0].data ...; return 0; }
 *   EDGE_OP(my_op, "MyOp", prepare, eval, NULL)
 *
 * `invoke build --board B --ops DIR` makes one library of all sources in DIR. It works with every
 * runtime that edge knows, because it needs none of their headers: edge stands between.
 *
 * Shapes are static: an output's shape follows from the inputs' shapes and types, from constants
 * and from the options, never from what an input holds.
 */
#ifndef EDGE_OP_H
#define EDGE_OP_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "edge.h" /* edge_dtype and EDGE_MAX_RANK */

#ifdef __cplusplus
extern "C" {
#endif

enum { EDGE_OP_MESSAGE_BYTES = 256 };

/* An input or output. Data are dense, the last axis varies fastest. */
typedef struct edge_op_tensor {
  void *data; /* NULL in prepare, unless the model holds it as a constant; never write an input */
  uint64_t size_bytes;
  int32_t dtype; /* edge_dtype; EDGE_NOTYPE: an optional input that the model leaves out */
  int32_t rank;
  int32_t dims[8];
  /* A quantized number q stands for scale * (q - zero_point). Scale is 0 if the tensor is not
   * quantized. Per channel, scale and zero_point are those of the first one. */
  float scale;
  int32_t zero_point;
  const float *channel_scales; /* channel_count of each; NULL if not quantized per channel */
  const int32_t *channel_zero_points;
  int32_t channel_count;
  int32_t channel_axis;
} edge_op_tensor;

/* One node of a model, and what its kernel is called with. */
typedef struct edge_op_call {
  const edge_op_tensor *inputs;
  edge_op_tensor *outputs; /* in prepare: as the model's file has them */
  int32_t input_count;
  int32_t output_count;
  const void *options; /* the node's custom options, as the converter wrote them */
  uint64_t options_bytes;
  void *state;                         /* the kernel's own, NULL at first; one per node */
  char message[EDGE_OP_MESSAGE_BYTES]; /* why it fails: see edge_op_fail */
} edge_op_call;

/* 0 is success; anything else is a failure, with call->message for the user. */
typedef int (*edge_op_function)(edge_op_call *call);

typedef struct edge_op {
  uint32_t size_bytes; /* of this structure */
  const char *name;    /* as the model calls the operator */
  /* Before the first eval, and again whenever a shape has changed: checks inputs and options, sets
   * rank and dims of every output, and may put what eval needs into call->state. The place for
   * whatever takes time or memory. */
  edge_op_function prepare;
  /* Fills the outputs. It is what is measured: allocate nothing, call nothing that waits. */
  edge_op_function eval;
  /* Frees call->state, before another prepare and at the end; NULL if there is nothing to free. */
  void (*release)(void *state);
  struct edge_op *next; /* edge's own */
} edge_op;

/* What a library exports, by this name. The sizes are those of this header, as its sources were
 * compiled with it: a runner with another header refuses the library. */
typedef struct edge_op_library_head {
  uint32_t op_bytes;
  uint32_t call_bytes;
  uint32_t tensor_bytes;
  edge_op *first;
} edge_op_library_head;

#ifndef EDGE_OP_READER /* of edge itself, which reads libraries and is none */
__attribute__((weak, visibility("default"))) edge_op_library_head edge_op_library = {
    sizeof(edge_op), sizeof(edge_op_call), sizeof(edge_op_tensor), NULL};
#endif

/* `return edge_op_fail(call, "alpha is %g: must be positive", alpha);` */
__attribute__((unused, format(printf, 2, 3))) static int edge_op_fail(edge_op_call *call,
                                                                      const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(call->message, sizeof call->message, format, arguments);
  va_end(arguments);
  return 1;
}

/* Numbers in a tensor. */
__attribute__((unused)) static uint64_t edge_op_elements(const edge_op_tensor *tensor) {
  uint64_t count = 1;
  for (int32_t i = 0; i < tensor->rank; ++i) count *= (uint64_t)tensor->dims[i];
  return count;
}

/* The output is to have the shape of the input. */
__attribute__((unused)) static void edge_op_same_shape(edge_op_tensor *output,
                                                       const edge_op_tensor *input) {
  output->rank = input->rank;
  for (int32_t i = 0; i < EDGE_MAX_RANK; ++i) output->dims[i] = input->dims[i];
}

/* An unsigned number of the options; 0 if it would lie outside of them. */
__attribute__((unused)) static int edge_op_unsigned(const edge_op_call *call, uint64_t at,
                                                    uint64_t width, uint64_t *found) {
  const uint64_t bytes = call->options_bytes;
  if (width != 1 && width != 2 && width != 4 && width != 8) return 0;
  if (at > bytes || bytes - at < width) return 0;
  *found = 0;
  memcpy(found, (const uint8_t *)call->options + at, width); /* boards are little-endian */
  return 1;
}

/* Follows the offset that stands at *at, which leads back. */
__attribute__((unused)) static int edge_op_follow(const edge_op_call *call, uint64_t width,
                                                  uint64_t *at) {
  uint64_t back = 0;
  if (!edge_op_unsigned(call, *at, width, &back) || back > *at) return 0;
  *at -= back;
  return 1;
}

/* The number that stands there as a type of FlexBuffers, which also says how wide it is if it does
 * not stand there itself. */
__attribute__((unused)) static int edge_op_number(const edge_op_call *call, uint64_t at,
                                                  uint64_t width, uint64_t packed, double *value) {
  uint64_t bits = 0, type = packed >> 2;
  if (type >= 6 && type <= 8) { /* elsewhere */
    if (!edge_op_follow(call, width, &at)) return 0;
    width = (uint64_t)1 << (packed & 3);
    type -= 5;
  }
  if (!edge_op_unsigned(call, at, width, &bits)) return 0;
  if (type == 1) { /* signed */
    const uint64_t sign = (uint64_t)1 << (8 * width - 1);
    *value = (double)(int64_t)((bits ^ sign) - sign);
  } else if (type == 2 || type == 26) { /* unsigned, truth value */
    *value = (double)bits;
  } else if (type == 3 && width == sizeof(float)) {
    float single;
    memcpy(&single, &bits, sizeof single);
    *value = (double)single;
  } else if (type == 3 && width == sizeof(double)) {
    memcpy(value, &bits, sizeof *value);
  } else {
    return 0;
  }
  return 1;
}

/* The number that the options hold under a name: 1 if there is one, else 0, and *value stays. They
 * have to be what TensorFlow's converter writes, a map of FlexBuffers (its format:
 * flatbuffers.dev/internals, "FlexBuffers"). */
__attribute__((unused)) static int edge_op_option(const edge_op_call *call, const char *name,
                                                  double *value) {
  const uint64_t bytes = call->options_bytes, length = strlen(name) + 1;
  const uint8_t *options = (const uint8_t *)call->options;
  if (bytes < 3 || options[bytes - 2] >> 2 != 9) return 0; /* no map */
  const uint64_t root = options[bytes - 1], width = (uint64_t)1 << (options[bytes - 2] & 3);
  if (root > bytes - 2) return 0;
  uint64_t map = bytes - 2 - root, count = 0, key_width = 0;
  if (!edge_op_follow(call, root, &map) || map < 3 * width) return 0;
  uint64_t keys = map - 3 * width;
  if (!edge_op_unsigned(call, map - width, width, &count) || count > bytes) return 0;
  if (!edge_op_unsigned(call, map - 2 * width, width, &key_width) || key_width > 8) return 0;
  if (!edge_op_follow(call, width, &keys)) return 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t key = keys + i * key_width, packed = 0;
    if (!edge_op_follow(call, key_width, &key)) return 0;
    if (bytes - key < length || memcmp(options + key, name, length) != 0) continue;
    return edge_op_unsigned(call, map + count * width + i, 1, &packed) &&
           edge_op_number(call, map + i * width, width, packed, value);
  }
  return 0;
}

/* Enters a kernel into its library, at file scope: an identifier, and what edge_op has. The names
 * stand in a section of their own, so that the host can tell what a library for another machine
 * holds without running it. */
#define EDGE_OP(identifier, op_name, op_prepare, op_eval, op_release)                       \
  __attribute__((section("edge_op_names"))) static const char edge_op_name_##identifier[] = \
      op_name;                                                                              \
  static edge_op edge_op_##identifier = {                                                   \
      sizeof(edge_op), edge_op_name_##identifier, op_prepare, op_eval, op_release, NULL};   \
  __attribute__((constructor)) static void edge_op_enter_##identifier(void) {               \
    edge_op_##identifier.next = edge_op_library.first;                                      \
    edge_op_library.first = &edge_op_##identifier;                                          \
  }

#ifdef __cplusplus
}
#endif

#endif /* EDGE_OP_H */
