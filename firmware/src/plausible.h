// Inputs for a model that is measured without any of the user's.
#ifndef EDGE_PLAUSIBLE_H
#define EDGE_PLAUSIBLE_H

#include <vector>

#include "report.h"

namespace edge {

Status set_plausible_inputs(edge_model *model, const std::vector<TensorInfo> &tensors);

}  // namespace edge

#endif  // EDGE_PLAUSIBLE_H
