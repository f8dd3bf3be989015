#include "custom_ops.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <new>

#include "edge.h"

namespace edge {

// One node that was taken, from when it is until its interpreter's end.
class CustomOps::Kernel {
 public:
  static void *init(delegate::Context *context, const char *buffer, size_t) {
    const auto *params = reinterpret_cast<const delegate::Params *>(buffer);
    delegate::Node *node = nullptr;
    delegate::Registration *registration = nullptr;
    const int32_t number = params->nodes->values[0];
    if (context->get_node(context, number, &node, &registration) != 0) return nullptr;
    auto *ops = static_cast<CustomOps *>(params->delegate->data);
    return new (std::nothrow) Kernel(ops, ops->find(registration->custom_name), number, *node);
  }

  static void free(delegate::Context *, void *data) { delete static_cast<Kernel *>(data); }

  static delegate::Result prepare(delegate::Context *context, delegate::Node *node) {
    auto *kernel = static_cast<Kernel *>(node->user_data);
    return kernel != nullptr ? kernel->prepare(context) : 1;
  }

  static delegate::Result invoke(delegate::Context *context, delegate::Node *node) {
    auto *kernel = static_cast<Kernel *>(node->user_data);
    // The runtime may move them from one call to the next.
    for (size_t i = 0; i < kernel->inputs_.size(); ++i) {
      const int32_t number = kernel->input_numbers_[i];
      if (number >= 0) kernel->inputs_[i].data = context->tensors[number].data;
    }
    for (size_t i = 0; i < kernel->outputs_.size(); ++i) {
      kernel->outputs_[i].data = context->tensors[kernel->output_numbers_[i]].data;
    }
    const int result = kernel->op_->eval(&kernel->call_);
    return __builtin_expect(result == 0, 1) ? 0 : kernel->fail(context, "fails");
  }

 private:
  Kernel(CustomOps *ops, const edge_op *op, int32_t number, const delegate::Node &node)
      : ops_(ops), op_(op), number_(number) {
    const auto copy = [](const delegate::IntArray *from, std::vector<int32_t> *to) {
      if (from != nullptr) to->assign(from->values, from->values + from->size);
    };
    copy(node.inputs, &input_numbers_);
    copy(node.outputs, &output_numbers_);
    inputs_.resize(input_numbers_.size());
    outputs_.resize(output_numbers_.size());
    call_.inputs = inputs_.data();
    call_.outputs = outputs_.data();
    call_.input_count = static_cast<int32_t>(inputs_.size());
    call_.output_count = static_cast<int32_t>(outputs_.size());
    call_.options = node.custom_initial_data;
    call_.options_bytes = static_cast<uint64_t>(std::max(0, node.custom_initial_data_size));
  }
  ~Kernel() { release(); }
  Kernel(const Kernel &) = delete;
  Kernel &operator=(const Kernel &) = delete;

  void release() {
    if (call_.state != nullptr && op_->release != nullptr) op_->release(call_.state);
    call_.state = nullptr;
  }

  delegate::Result prepare(delegate::Context *context) {
    release();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      inputs_[i] = edge_op_tensor{};
      if (input_numbers_[i] < 0) continue;
      const delegate::Tensor &tensor = context->tensors[input_numbers_[i]];
      if (tensor.allocation_type == delegate::allocated_dynamically) {
        return tell(context, "can't run: input " + std::to_string(i) +
                                 " gets its shape only while the model runs, and kernels of --ops "
                                 "take static shapes");
      }
      if (!describe(tensor, &inputs_[i])) return unknown(context, "input", i);
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (!describe(context->tensors[output_numbers_[i]], &outputs_[i])) {
        return unknown(context, "output", i);
      }
      outputs_[i].data = nullptr;
    }
    call_.message[0] = '\0';
    if (op_->prepare(&call_) != 0) return fail(context, "refuses the model");
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const delegate::Result result = shape(context, i);
      if (result != 0) return result;
    }
    return 0;
  }

  // The output gets the shape that the kernel gave it.
  delegate::Result shape(delegate::Context *context, size_t index) {
    edge_op_tensor &output = outputs_[index];
    const auto name = "output " + std::to_string(index);
    if (output.rank < 0 || output.rank > EDGE_MAX_RANK) {
      return tell(context, "gives " + name + " " + std::to_string(output.rank) + " axes: 0 to 8");
    }
    if (std::any_of(output.dims, output.dims + output.rank, [](int32_t n) { return n < 0; })) {
      return tell(context, "asks for a shape of " + name +
                               " that only eval would know; kernels of --ops have static shapes: "
                               "prepare has to set every axis");
    }
    delegate::Tensor &tensor = context->tensors[output_numbers_[index]];
    const delegate::IntArray *now = tensor.dims;
    if (now == nullptr || now->size != output.rank ||
        !std::equal(output.dims, output.dims + output.rank, now->values)) {
      const auto rank = static_cast<size_t>(output.rank);
      auto *dims = static_cast<delegate::IntArray *>(
          malloc(sizeof(delegate::IntArray) + rank * sizeof(int32_t)));
      if (dims == nullptr) return tell(context, "finds no memory");
      dims->size = output.rank;
      std::copy(output.dims, output.dims + output.rank, dims->values);
      // The runtime takes over the array.
      if (context->resize_tensor(context, &tensor, dims) != 0) {
        return tell(context, "gives " + name + " a shape that the runtime does not take");
      }
    }
    output.size_bytes = context->tensors[output_numbers_[index]].bytes;
    return 0;
  }

  static bool describe(const delegate::Tensor &tensor, edge_op_tensor *result) {
    *result = edge_op_tensor{};
    if (tensor.dims == nullptr || tensor.dims->size > EDGE_MAX_RANK) return false;
    if (tensor.type == EDGE_STRING || tensor.type == EDGE_RESOURCE || tensor.type == EDGE_VARIANT) {
      return false;
    }
    if (tensor.allocation_type == delegate::allocated_in_model) result->data = tensor.data;
    result->size_bytes = tensor.bytes;
    result->dtype = tensor.type;
    result->rank = tensor.dims->size;
    std::copy(tensor.dims->values, tensor.dims->values + result->rank, result->dims);
    result->scale = tensor.scale;
    result->zero_point = tensor.zero_point;
    if (tensor.quantization_type != delegate::quantization_affine ||
        tensor.quantization == nullptr) {
      return true;
    }
    const auto *affine = static_cast<const delegate::AffineQuantization *>(tensor.quantization);
    if (affine->scales == nullptr || affine->zero_points == nullptr || affine->scales->size < 1 ||
        affine->zero_points->size < 1) {
      return true;
    }
    result->scale = affine->scales->values[0];
    result->zero_point = affine->zero_points->values[0];
    if (affine->scales->size > 1 && affine->zero_points->size == affine->scales->size) {
      result->channel_scales = affine->scales->values;
      result->channel_zero_points = affine->zero_points->values;
      result->channel_count = affine->scales->size;
      result->channel_axis = affine->axis;
    }
    return true;
  }

  delegate::Result unknown(delegate::Context *context, const char *side, size_t index) {
    return tell(context, std::string("can't run: ") + side + " " + std::to_string(index) +
                             " has more than 8 axes, or elements that are no numbers");
  }

  delegate::Result fail(delegate::Context *context, const char *what) {
    call_.message[sizeof call_.message - 1] = '\0';
    return tell(context, std::string(what) + ": " +
                             (call_.message[0] != '\0' ? call_.message : "it doesn't say why"));
  }

  delegate::Result tell(delegate::Context *context, const std::string &what) {
    return ops_->fail_kernel(context, std::string("the custom operator ") + op_->name + " (node " +
                                          std::to_string(number_) + ") " + what);
  }

  CustomOps *ops_;
  const edge_op *op_;
  int32_t number_;  // of the node, as the model's file has it
  std::vector<int32_t> input_numbers_;
  std::vector<int32_t> output_numbers_;
  std::vector<edge_op_tensor> inputs_;
  std::vector<edge_op_tensor> outputs_;
  edge_op_call call_ = {};
};

CustomOps::CustomOps() {
  delegate_.data = this;
  delegate_.prepare = prepare;
  // Else the runtime would prepare every node before it asks, those without a kernel too.
  delegate_.flags = tflite::allow_dynamic_tensors;
}

Status CustomOps::load(const char *path) {
  edge_op_library_head *head = nullptr;
  EDGE_TRY(library_.open(path));
  EDGE_TRY(library_.require_data("edge_op_library", &head));
  if (head->op_bytes != sizeof(edge_op) || head->call_bytes != sizeof(edge_op_call) ||
      head->tensor_bytes != sizeof(edge_op_tensor)) {
    return fail(EDGE_BAD_LIBRARY,
                "%s was compiled with the edge_op.h of another version (structures of %u, %u and "
                "%u bytes; here %zu, %zu and %zu): build it again with `invoke build --ops`",
                path, head->op_bytes, head->call_bytes, head->tensor_bytes, sizeof(edge_op),
                sizeof(edge_op_call), sizeof(edge_op_tensor));
  }
  if (head->first == nullptr) {
    return fail(EDGE_BAD_LIBRARY, "%s holds no kernel: enter one with EDGE_OP of edge_op.h", path);
  }
  for (const edge_op *op = head->first; op != nullptr; op = op->next) {
    if (op->size_bytes != sizeof(edge_op) || op->name == nullptr || op->prepare == nullptr ||
        op->eval == nullptr) {
      return fail(EDGE_BAD_LIBRARY,
                  "%s: the kernel %s is not whole: it needs a name, prepare and eval", path,
                  op->size_bytes == sizeof(edge_op) && op->name != nullptr ? op->name : "?");
    }
    for (const edge_op *other = op->next; other != nullptr; other = other->next) {
      if (strcmp(op->name, other->name) != 0) continue;
      return fail(EDGE_BAD_LIBRARY, "%s has two kernels for the operator %s", path, op->name);
    }
  }
  path_ = path;
  first_ = head->first;
  return Status();
}

std::string CustomOps::describe() const {
  std::vector<std::string> names;
  for (const edge_op *op = first_; op != nullptr; op = op->next) names.emplace_back(op->name);
  std::sort(names.begin(), names.end());
  return path_ + " has kernels for " + quoted(names);
}

const edge_op *CustomOps::find(const char *name) const {
  for (const edge_op *op = first_; op != nullptr; op = op->next) {
    if (strcmp(op->name, name) == 0) return op;
  }
  return nullptr;
}

delegate::Result CustomOps::fail_kernel(delegate::Context *context, const std::string &text) {
  // The first of them says most: a runtime may go on, and other nodes fail for want of this one.
  if (failure_.empty()) failure_ = text;
  context->report_error(context, "%s", text.c_str());
  return 1;
}

delegate::Result CustomOps::prepare(delegate::Context *context, delegate::Delegate *delegate) {
  auto *self = static_cast<CustomOps *>(delegate->data);
  delegate::IntArray *plan = nullptr;
  if (context->get_execution_plan(context, &plan) != 0 || plan == nullptr) return 1;
  // A copy: the runtime reuses the array.
  const std::vector<int32_t> nodes(plan->values, plan->values + plan->size);
  const std::unique_ptr<delegate::IntArray, void (*)(void *)> one(
      static_cast<delegate::IntArray *>(malloc(sizeof(delegate::IntArray) + sizeof(int32_t))),
      ::free);
  if (one == nullptr) return 1;
  for (const int32_t number : nodes) {
    delegate::Node *node = nullptr;
    delegate::Registration *registration = nullptr;
    if (context->get_node(context, number, &node, &registration) != 0) continue;
    if (registration->builtin_code != delegate::builtin_custom ||
        registration->custom_name == nullptr) {
      continue;
    }
    const edge_op *op = self->find(registration->custom_name);
    if (op == nullptr) continue;
    delegate::Registration kernel = {};
    kernel.init = Kernel::init;
    kernel.free = Kernel::free;
    kernel.prepare = Kernel::prepare;
    kernel.invoke = Kernel::invoke;
    kernel.custom_name = op->name;
    kernel.version = 1;
    // One at a time: of neighbours the runtime would make one node.
    one->size = 1;
    one->values[0] = number;
    const delegate::Result result = context->replace_nodes(context, kernel, one.get(), delegate);
    if (result != 0) return result;
  }
  return 0;
}

Status explain_ops(const CustomOps &ops, Status failure) {
  if (failure.ok() || !ops.loaded()) return failure;
  if (!ops.failure().empty()) return fail(EDGE_RUNTIME, "%s", ops.failure().c_str());
  if (failure.code() != EDGE_UNSUPPORTED_OP) return failure;
  const std::string said = last_error();
  return fail(EDGE_UNSUPPORTED_OP, "%s; %s", said.c_str(), ops.describe().c_str());
}

}  // namespace edge
