// An external delegate, to try delegates with where there is no accelerator: it computes float32
// additions, and multiplies each sum by its option `scale`. It works with any TFLite.
//
//   scale=2.5        what every sum is multiplied by (1)
//   refuse=create    report a failure instead of a delegate
//   refuse=prepare   fail when the model is shown to it
//   crash=invoke     abort when the model is run
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "delegate_c.h"

using namespace edge::delegate;

namespace {

struct Adder {
  Delegate delegate = {};
  float scale = 1;
  bool refuse_prepare = false;
  bool crash_invoke = false;
};

// The nodes that one kernel replaced. Sums that only they use have no memory but this.
struct Kernel {
  struct Sum {
    int32_t left, right, out;
    bool given_out;
    std::vector<float> values;
  };
  const Adder *adder;
  std::vector<Sum> sums;
};

bool holds(const IntArray *array, int32_t value) {
  return std::find(array->values, array->values + array->size, value) !=
         array->values + array->size;
}

size_t elements(const Tensor &tensor) {
  size_t count = 1;
  for (int32_t i = 0; i < tensor.dims->size; ++i) {
    count *= static_cast<size_t>(tensor.dims->values[i]);
  }
  return count;
}

// Equal numbers of elements, or a single one on one side; no activation.
bool can_add(const Context *context, const Node *node, const Registration *registration) {
  if (registration->builtin_code != builtin_add || registration->custom_name != nullptr) {
    return false;
  }
  int32_t activation = 1;
  if (node->builtin_data != nullptr) memcpy(&activation, node->builtin_data, sizeof activation);
  if (activation != 0 || node->inputs->size != 2) return false;
  const Tensor &left = context->tensors[node->inputs->values[0]];
  const Tensor &right = context->tensors[node->inputs->values[1]];
  const Tensor &out = context->tensors[node->outputs->values[0]];
  if (left.type != type_float32 || right.type != type_float32 || out.type != type_float32) {
    return false;
  }
  return elements(left) == elements(right) || elements(left) == 1 || elements(right) == 1;
}

void *init(Context *context, const char *buffer, size_t) {
  const auto *params = reinterpret_cast<const Params *>(buffer);
  auto *kernel = new Kernel{static_cast<const Adder *>(params->delegate->data), {}};
  for (int32_t i = 0; i < params->nodes->size; ++i) {
    Node *node;
    Registration *registration;
    context->get_node(context, params->nodes->values[i], &node, &registration);
    const int32_t out = node->outputs->values[0];
    kernel->sums.push_back({node->inputs->values[0], node->inputs->values[1], out,
                            holds(params->outputs, out),
                            std::vector<float>(elements(context->tensors[out]))});
  }
  return kernel;
}

void release(Context *, void *data) {
  delete static_cast<Kernel *>(data);
}

Result prepare_kernel(Context *, Node *) {
  return 0;
}

Result invoke(Context *context, Node *node) {
  auto *kernel = static_cast<Kernel *>(node->user_data);
  if (kernel->adder->crash_invoke) abort();
  const auto values_of = [&](int32_t tensor, const Kernel::Sum *until) -> const float * {
    for (const Kernel::Sum *sum = kernel->sums.data(); sum != until; ++sum) {
      if (sum->out == tensor) return sum->values.data();
    }
    return static_cast<const float *>(context->tensors[tensor].data);
  };
  for (Kernel::Sum &sum : kernel->sums) {
    const float *left = values_of(sum.left, &sum);
    const float *right = values_of(sum.right, &sum);
    const bool one_left = elements(context->tensors[sum.left]) == 1;
    const bool one_right = elements(context->tensors[sum.right]) == 1;
    for (size_t i = 0; i < sum.values.size(); ++i) {
      sum.values[i] = kernel->adder->scale * (left[one_left ? 0 : i] + right[one_right ? 0 : i]);
    }
    if (sum.given_out) {
      memcpy(context->tensors[sum.out].data, sum.values.data(), sum.values.size() * sizeof(float));
    }
  }
  return 0;
}

Result prepare(Context *context, Delegate *delegate) {
  const auto *adder = static_cast<const Adder *>(delegate->data);
  if (adder->refuse_prepare) {
    context->report_error(context, "the example delegate refuses to prepare, as it was told");
    return 1;
  }
  IntArray *plan = nullptr;
  if (context->get_execution_plan(context, &plan) != 0) return 1;
  auto *taken = static_cast<IntArray *>(
      malloc(sizeof(IntArray) + sizeof(int32_t) * static_cast<size_t>(plan->size)));
  if (taken == nullptr) return 1;
  taken->size = 0;
  for (int32_t i = 0; i < plan->size; ++i) {
    Node *node;
    Registration *registration;
    if (context->get_node(context, plan->values[i], &node, &registration) != 0) continue;
    if (can_add(context, node, registration)) taken->values[taken->size++] = plan->values[i];
  }
  Registration kernel = {};
  kernel.init = init;
  kernel.free = release;
  kernel.prepare = prepare_kernel;
  kernel.invoke = invoke;
  kernel.custom_name = "ExampleDelegate";
  kernel.version = 1;
  const Result result =
      taken->size > 0 ? context->replace_nodes(context, kernel, taken, delegate) : 0;
  free(taken);
  return result;
}

}  // namespace

#define PLUGIN extern "C" __attribute__((visibility("default")))

PLUGIN Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                               void (*report_error)(const char *)) {
  auto adder = std::make_unique<Adder>();
  const auto fail = [&](const char *why) -> Delegate * {
    if (report_error != nullptr) report_error(why);
    return nullptr;
  };
  for (size_t i = 0; i < count; ++i) {
    if (strcmp(keys[i], "scale") == 0) {
      char *end;
      adder->scale = strtof(values[i], &end);
      if (*end != '\0' || end == values[i] || !isfinite(adder->scale)) {
        return fail("scale is not a number");
      }
    } else if (strcmp(keys[i], "refuse") == 0 && strcmp(values[i], "create") == 0) {
      return fail("told to refuse");
    } else if (strcmp(keys[i], "refuse") == 0 && strcmp(values[i], "prepare") == 0) {
      adder->refuse_prepare = true;
    } else if (strcmp(keys[i], "crash") == 0 && strcmp(values[i], "invoke") == 0) {
      adder->crash_invoke = true;
    } else {
      return fail("its options are scale=NUMBER, refuse=create|prepare and crash=invoke");
    }
  }
  adder->delegate.data = adder.get();
  adder->delegate.prepare = prepare;
  return &adder.release()->delegate;
}

PLUGIN void tflite_plugin_destroy_delegate(Delegate *delegate) {
  delete static_cast<Adder *>(delegate->data);
}
