// The loop that measures.
#ifndef EDGE_MEASURE_H
#define EDGE_MEASURE_H

#include "edge.h"
#include "error.h"
#include "process.h"

namespace edge {

struct MeasureReport {
  uint64_t warmup = 0;      // invocations before the first sample, those that chose iterations too
  uint32_t iterations = 0;  // invocations per sample
  Disturbance disturbance;  // during the loop
  const char *ended_by = "";
};

Status measure(edge_recorder *recorder, const edge_plan &plan, edge_invoke_fn invoke, void *context,
               MeasureReport *report);

// By VirtualClock, which `invoke` moves on.
Status measure_virtually(edge_recorder *recorder, const edge_plan &plan, edge_invoke_fn invoke,
                         void *context, MeasureReport *report);

}  // namespace edge

#endif  // EDGE_MEASURE_H
