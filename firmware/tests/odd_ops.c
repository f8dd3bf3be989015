/* Kernels that do what they must not, to see what becomes of it. */
#if defined(ODD_ABI)
/* As a library made with another edge_op.h looks. */
__attribute__((visibility("default"))) unsigned edge_op_library[6] = {8, 8, 8};
#else
#include "edge_op.h"
#ifndef ODD_EMPTY

static int take(edge_op_call *call) {
  edge_op_same_shape(&call->outputs[0], &call->inputs[0]);
  return 0;
}

static int open_axis(edge_op_call *call) {
  call->outputs[0].rank = 2;
  call->outputs[0].dims[0] = -1;
  return 0;
}

static int many_axes(edge_op_call *call) {
  call->outputs[0].rank = 9;
  return 0;
}

static int refuse(edge_op_call *call) {
  return edge_op_fail(call, "it takes %d inputs, not %d", 7, (int)call->input_count);
}

static int keep_silent(edge_op_call *call) {
  (void)call;
  return 1;
}

static int fail(edge_op_call *call) {
  return edge_op_fail(call, "its table is worn out");
}

/* An output of its own shape, from a constant: [rows of x, constant]. */
static int widen(edge_op_call *call) {
  if (call->inputs[1].data == NULL) return edge_op_fail(call, "the width has to be a constant");
  call->outputs[0].rank = 2;
  call->outputs[0].dims[0] = call->inputs[0].dims[0];
  call->outputs[0].dims[1] = *(const int32_t *)call->inputs[1].data;
  return 0;
}

static int fill(edge_op_call *call) {
  float *to = (float *)call->outputs[0].data;
  for (uint64_t i = 0; i < edge_op_elements(&call->outputs[0]); ++i) to[i] = (float)i;
  return 0;
}

EDGE_OP(open_axis, "OpenAxis", open_axis, fail, NULL)
EDGE_OP(many_axes, "ManyAxes", many_axes, fail, NULL)
EDGE_OP(refuses, "Refuses", refuse, fail, NULL)
EDGE_OP(silent, "Silent", keep_silent, fail, NULL)
EDGE_OP(fails, "Fails", take, fail, NULL)
EDGE_OP(widens, "Widens", widen, fill, NULL)
#ifdef ODD_TWICE
EDGE_OP(again, "Fails", take, fail, NULL)
#endif
#ifdef ODD_PART
EDGE_OP(part, "Part", take, NULL, NULL)
#endif
#endif
#endif
