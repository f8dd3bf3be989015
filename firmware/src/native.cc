// An interpreter that another language built, called from C: the same object and the same method,
// so that nothing differs but the language of the loop around it.
#include <string.h>

#include <memory>
#include <new>
#include <vector>

#include "measure.h"

struct edge_native {
  struct Copy {
    void *to;
    const void *from;
    size_t size_bytes;
  };

  edge_invoke_fn invoke;
  void *interpreter;
  std::vector<Copy> inputs;
  std::vector<Copy> outputs;
};

namespace edge {
namespace {

void copy(const std::vector<edge_native::Copy> &copies) {
  for (const edge_native::Copy &each : copies) memcpy(each.to, each.from, each.size_bytes);
}

int32_t copy_in(void *context) {
  copy(static_cast<edge_native *>(context)->inputs);
  return EDGE_OK;
}

int32_t copy_out(void *context) {
  copy(static_cast<edge_native *>(context)->outputs);
  return EDGE_OK;
}

int32_t call(void *context) {
  auto *native = static_cast<edge_native *>(context);
  copy(native->inputs);
  const int32_t result = native->invoke(native->interpreter);
  copy(native->outputs);
  return result;
}

// What a phase runs. The invoke is the runtime's own method, with no function of ours around it.
struct Action {
  edge_invoke_fn function;
  void *context;
};

Status action_of(edge_native *native, int32_t phase, Action *action) {
  if (native == nullptr) return fail(EDGE_USAGE, "there is no interpreter to run");
  switch (phase) {
    case EDGE_PHASE_COPY_IN:
      *action = {copy_in, native};
      return Status();
    case EDGE_PHASE_INVOKE:
      *action = {native->invoke, native->interpreter};
      return Status();
    case EDGE_PHASE_COPY_OUT:
      *action = {copy_out, native};
      return Status();
    case EDGE_PHASE_CALL:
      *action = {call, native};
      return Status();
    default:
      return fail(EDGE_USAGE, "there is no phase %d of a call", phase);
  }
}

Status run(edge_native *native, int32_t phase) {
  Action action = {};
  EDGE_TRY(action_of(native, phase, &action));
  const int32_t result = action.function(action.context);
  if (result == 0) return Status();
  return fail(EDGE_RUNTIME, "the interpreter failed with status %d", result);
}

Status measure_phase(edge_native *native, int32_t phase, edge_recorder *recorder,
                     const edge_plan &plan) {
  Action action = {};
  EDGE_TRY(action_of(native, phase, &action));
  MeasureReport report;
  return measure(recorder, plan, action.function, action.context, &report);
}

Status add(edge_native *native, std::vector<edge_native::Copy> edge_native::*copies, void *to,
           const void *from, uint64_t size_bytes) {
  if (native == nullptr) return fail(EDGE_USAGE, "there is no interpreter to copy for");
  if (size_bytes != 0 && (to == nullptr || from == nullptr)) {
    return fail(EDGE_BAD_INPUT, "a copy of %llu bytes has no memory to go to or come from",
                static_cast<unsigned long long>(size_bytes));
  }
  // Of a tensor without elements there is nothing to copy, and memcpy takes no null pointer.
  if (size_bytes != 0) (native->*copies).push_back({to, from, static_cast<size_t>(size_bytes)});
  return Status();
}

}  // namespace
}  // namespace edge

int32_t edge_native_open(edge_invoke_fn invoke, void *interpreter, edge_native **native) {
  *native = nullptr;
  if (invoke == nullptr || interpreter == nullptr) {
    return edge::fail(EDGE_USAGE, "an interpreter is an object and its method to invoke").code();
  }
  std::unique_ptr<edge_native> opened(new (std::nothrow) edge_native{invoke, interpreter, {}, {}});
  if (!opened) return edge::fail(EDGE_NO_MEMORY, "no memory for an interpreter's handle").code();
  *native = opened.release();
  return EDGE_OK;
}

void edge_native_close(edge_native *native) {
  delete native;
}

int32_t edge_native_add_input(edge_native *native, void *tensor, const void *array,
                              uint64_t size_bytes) {
  return edge::add(native, &edge_native::inputs, tensor, array, size_bytes).code();
}

int32_t edge_native_add_output(edge_native *native, void *array, const void *tensor,
                               uint64_t size_bytes) {
  return edge::add(native, &edge_native::outputs, array, tensor, size_bytes).code();
}

int32_t edge_native_run(edge_native *native, int32_t phase) {
  return edge::run(native, phase).code();
}

int32_t edge_native_measure(edge_native *native, int32_t phase, edge_recorder *recorder,
                            uint64_t warmup, uint64_t samples, uint32_t iterations) {
  edge_plan plan = {};
  plan.warmup = warmup;
  plan.samples = samples;
  plan.iterations = iterations;
  return edge::measure_phase(native, phase, recorder, plan).code();
}
