/* LeakyThreshold: y = x where x > threshold, else slope * x, element by element.
 *
 * A leaky ReLU whose knee is not at zero. From built-in operators it takes three (greater, mul,
 * select) and two tensors between them; here it is one pass.
 *
 * Options: threshold and slope, numbers. Takes float32, and int8 with a scale, where the 256 values
 * that there are become a table. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "edge_op.h"

struct options {
  float threshold;
  float slope;
};

static int read_options(edge_op_call *call, struct options *options) {
  double threshold, slope;
  if (!edge_op_option(call, "threshold", &threshold) || !edge_op_option(call, "slope", &slope)) {
    return edge_op_fail(call, "its options have to hold the numbers threshold and slope");
  }
  options->threshold = (float)threshold;
  options->slope = (float)slope;
  if (!isfinite(options->threshold) || !isfinite(options->slope)) {
    return edge_op_fail(call, "threshold %g and slope %g have to be finite",
                        (double)options->threshold, (double)options->slope);
  }
  return 0;
}

static float apply(const struct options *options, float x) {
  return x > options->threshold ? x : options->slope * x;
}

/* The table of int8: what each input value becomes. */
static void tabulate(const struct options *options, const edge_op_tensor *x,
                     const edge_op_tensor *y, int8_t *table) {
  for (int q = -128; q < 128; ++q) {
    const float real = apply(options, x->scale * (float)(q - x->zero_point));
    const float wanted = roundf(real / y->scale) + (float)y->zero_point;
    table[q + 128] = (int8_t)(wanted < -128.0f ? -128.0f : wanted > 127.0f ? 127.0f : wanted);
  }
}

static int prepare(edge_op_call *call) {
  if (call->input_count != 1 || call->output_count != 1) {
    return edge_op_fail(call, "it has one input and one output, not %d and %d",
                        (int)call->input_count, (int)call->output_count);
  }
  const edge_op_tensor *x = &call->inputs[0];
  edge_op_tensor *y = &call->outputs[0];
  struct options options;
  if (read_options(call, &options) != 0) return 1;
  if (x->dtype != y->dtype || (x->dtype != EDGE_FLOAT32 && x->dtype != EDGE_INT8)) {
    return edge_op_fail(call, "it takes float32 or int8 on both sides");
  }
  const int quantized = x->dtype == EDGE_INT8;
  if (quantized && !(x->scale > 0.0f && y->scale > 0.0f)) {
    return edge_op_fail(call, "int8 needs a scale on both sides");
  }
  edge_op_same_shape(y, x);
  call->state = malloc(quantized ? 256 : sizeof options);
  if (call->state == NULL) return edge_op_fail(call, "no memory");
  if (quantized) {
    tabulate(&options, x, y, (int8_t *)call->state);
  } else {
    memcpy(call->state, &options, sizeof options);
  }
  return 0;
}

static int eval(edge_op_call *call) {
  const uint64_t count = edge_op_elements(&call->inputs[0]);
  if (call->inputs[0].dtype == EDGE_INT8) {
    const int8_t *table = (const int8_t *)call->state;
    const int8_t *x = (const int8_t *)call->inputs[0].data;
    int8_t *y = (int8_t *)call->outputs[0].data;
    for (uint64_t i = 0; i < count; ++i) y[i] = table[x[i] + 128];
    return 0;
  }
  const struct options options = *(const struct options *)call->state;
  const float *x = (const float *)call->inputs[0].data;
  float *y = (float *)call->outputs[0].data;
  for (uint64_t i = 0; i < count; ++i) y[i] = apply(&options, x[i]);
  return 0;
}

EDGE_OP(leaky_threshold, "LeakyThreshold", prepare, eval, free)
