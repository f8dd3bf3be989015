// The user's kernels, and what stands between them and a runtime, against a runtime of our own that
// knows as much as a delegate sees of one. The example's kernel is tested here, too.
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <vector>

#include "check.h"
#include "custom_ops.h"
#include "model.h"

namespace edge {
namespace {

using delegate::Context;
using delegate::IntArray;
using delegate::Node;
using delegate::Registration;
using delegate::Result;
using delegate::Tensor;

// As the runtime allocates it, which takes it over and frees it.
IntArray *ints(const std::vector<int32_t> &values) {
  auto *made =
      static_cast<IntArray *>(malloc(sizeof(IntArray) + (values.size() + 1) * sizeof(int32_t)));
  made->size = static_cast<int32_t>(values.size());
  std::copy(values.begin(), values.end(), made->values);
  return made;
}

struct Free {
  void operator()(void *memory) const { free(memory); }
};
using Ints = std::unique_ptr<IntArray, Free>;

// One node of a custom operator, its tensors in the order inputs, outputs.
class FakeRuntime {
 public:
  explicit FakeRuntime(const char *op, std::string options = "") : options_(std::move(options)) {
    context_.get_execution_plan = [](Context *context, IntArray **plan) {
      *plan = self(context)->plan_.get();
      return 0;
    };
    context_.get_node = [](Context *context, int number, Node **node, Registration **found) {
      CHECK(number == 4);
      *node = &self(context)->node_;
      *found = &self(context)->registration_;
      return 0;
    };
    context_.replace_nodes = replace;
    context_.resize_tensor = [](Context *context, Tensor *tensor, IntArray *dims) {
      return self(context)->resize(tensor, dims);
    };
    context_.report_error = report;
    tensors_.reserve(8);  // they are referred to
    registration_.builtin_code = delegate::builtin_custom;
    registration_.custom_name = op;
    node_.custom_initial_data = options_.data();
    node_.custom_initial_data_size = static_cast<int32_t>(options_.size());
  }
  ~FakeRuntime() {
    if (data_ != nullptr) kernel_.free(&context_, data_);
    for (Tensor &tensor : tensors_) {
      free(tensor.dims);
      free(tensor.data);
    }
  }
  FakeRuntime(const FakeRuntime &) = delete;
  FakeRuntime &operator=(const FakeRuntime &) = delete;

  Tensor &add(bool input, int32_t type, const std::vector<int32_t> &dims, float scale = 0,
              int32_t zero_point = 0) {
    Tensor tensor = {};
    tensor.type = type;
    tensor.scale = scale;
    tensor.zero_point = zero_point;
    tensor.allocation_type = 2;
    tensors_.push_back(tensor);
    CHECK(resize(&tensors_.back(), ints(dims)) == 0);
    (input ? inputs_ : outputs_).push_back(static_cast<int32_t>(tensors_.size() - 1));
    return tensors_.back();
  }

  Result apply(CustomOps *ops) {
    context_.tensors = tensors_.data();
    context_.tensor_count = tensors_.size();
    node_input_.reset(ints(inputs_));
    node_output_.reset(ints(outputs_));
    node_.inputs = node_input_.get();
    node_.outputs = node_output_.get();
    auto *delegate = reinterpret_cast<delegate::Delegate *>(ops->get());
    return delegate->prepare(&context_, delegate);
  }
  bool taken() const { return data_ != nullptr; }
  Result prepare() {
    made_node_.user_data = data_;
    return kernel_.prepare(&context_, &made_node_);
  }
  Result invoke() { return kernel_.invoke(&context_, &made_node_); }

  Result resize(Tensor *tensor, IntArray *dims) {
    size_t count = 1;
    for (int32_t i = 0; i < dims->size; ++i) count *= static_cast<size_t>(dims->values[i]);
    free(tensor->dims);
    free(tensor->data);
    tensor->dims = dims;
    tensor->bytes = count * (tensor->type == EDGE_INT8 ? 1 : 4);
    // No more than it needs: a kernel that goes beyond is found by the address sanitizer.
    tensor->data = calloc(1, tensor->bytes);
    return 0;
  }

  template <typename Number>
  void set(size_t tensor, const std::vector<Number> &numbers) {
    CHECK(tensors_[tensor].bytes == numbers.size() * sizeof(Number));
    memcpy(tensors_[tensor].data, numbers.data(), tensors_[tensor].bytes);
  }
  template <typename Number>
  std::vector<Number> get(size_t tensor) const {
    std::vector<Number> numbers(tensors_[tensor].bytes / sizeof(Number));
    memcpy(numbers.data(), tensors_[tensor].data, tensors_[tensor].bytes);
    return numbers;
  }
  const Tensor &tensor(size_t number) const { return tensors_[number]; }
  const std::string &said() const { return said_; }

 private:
  static FakeRuntime *self(Context *context) { return reinterpret_cast<FakeRuntime *>(context); }

  static void report(Context *context, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    self(context)->said_ += text;
  }

  static Result replace(Context *context, Registration made, const IntArray *nodes,
                        delegate::Delegate *from) {
    CHECK(nodes->size == 1 && nodes->values[0] == 4);
    const Ints taken(ints({4}));
    delegate::Params params = {from, taken.get(), nullptr, nullptr};
    self(context)->kernel_ = made;
    self(context)->data_ = made.init(context, reinterpret_cast<const char *>(&params), 0);
    return 0;
  }

  Context context_ = {};  // first: the context is the runtime
  std::string said_;
  std::string options_;
  Ints plan_{ints({4})};
  Ints node_input_, node_output_;
  std::vector<Tensor> tensors_;
  std::vector<int32_t> inputs_, outputs_;
  Node node_ = {}, made_node_ = {};
  Registration registration_ = {}, kernel_ = {};
  void *data_ = nullptr;
};

// A map of FlexBuffers, as TensorFlow's converter writes the two numbers.
std::string leaky(float threshold, float slope) {
  std::string made(
      "slope\0threshold\0\x02\x11\x0c\0\x03\0\0\0\x01\0\0\0\x02\0\0\0"
      "....----\x0e\x0e\x0a\x26\x01",
      45);
  memcpy(&made[32], &slope, sizeof slope);
  memcpy(&made[36], &threshold, sizeof threshold);
  return made;
}

// What Python's flexbuffers writes of axis -3, big -70000 (elsewhere), keep true, name "x", ratio
// 0.1 (elsewhere), rows 200.
constexpr char mixed_options[] =
    "\x61\x78\x69\x73\x00\x62\x69\x67\x00\x00\x00\x00\x90\xee\xfe\xff\x6b\x65\x65\x70\x00\x6e"
    "\x61\x6d\x65\x00\x01\x78\x00\x72\x61\x74\x69\x6f\x00\x00\x00\x00\x00\x00\x9a\x99\x99\x99"
    "\x99\x99\xb9\x3f\x72\x6f\x77\x73\x00\x06\x36\x32\x28\x24\x1d\x0b\x06\x01\x06\xfd\x34\x01"
    "\x27\x1b\xc8\x04\x1a\x68\x14\x23\x08\x0c\x24\x01";

// d 0.1, s 0.5: as doubles.
constexpr char double_options[] =
    "\x64\x00\x73\x00\x02\x05\x04\x00\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00"
    "\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x9a\x99\x99\x99\x99\x99\xb9\x3f\x00\x00\x00\x00"
    "\x00\x00\xe0\x3f\x0f\x0f\x12\x27\x01";

// The number under a name, or `otherwise`.
double option(const std::string &bytes, const char *name, double otherwise) {
  // In memory of its own size, so that reading beyond its end is found.
  const std::unique_ptr<char[]> exact(new char[bytes.size()]);
  memcpy(exact.get(), bytes.data(), bytes.size());
  edge_op_call call = {};
  call.options = exact.get();
  call.options_bytes = bytes.size();
  double value = otherwise;
  const bool found = edge_op_option(&call, name, &value) != 0;
  CHECK(found || value == otherwise);
  return value;
}

// What a kernel of `odd_ops` is told for one float32 input and output.
std::string refusal(const char *op) {
  CustomOps ops;
  CHECK(ops.load(ODD_OPS).ok());
  FakeRuntime runtime(op);
  runtime.add(true, EDGE_FLOAT32, {1, 4});
  runtime.add(false, EDGE_FLOAT32, {1, 4});
  CHECK(runtime.apply(&ops) == 0 && runtime.taken());
  CHECK(runtime.prepare() != 0 || runtime.invoke() != 0);
  CHECK(runtime.said() == ops.failure());
  return runtime.said();
}

bool holds(const std::string &text, const char *part) {
  if (text.find(part) != std::string::npos) return true;
  fprintf(stderr, "in '%s' there is no '%s'\n", text.c_str(), part);
  return false;
}

}  // namespace

TEST(custom_ops, the_example_computes_float32) {
  CustomOps ops;
  CHECK(ops.load(EXAMPLE_OPS).ok());
  FakeRuntime runtime("LeakyThreshold", leaky(0.5f, 0.1f));
  runtime.add(true, EDGE_FLOAT32, {1, 5});
  runtime.add(false, EDGE_FLOAT32, {1, 5});
  CHECK(runtime.apply(&ops) == 0 && runtime.prepare() == 0);
  runtime.set<float>(0, {-1, 0, 0.5f, 0.75f, 2});
  CHECK(runtime.invoke() == 0);
  CHECK((runtime.get<float>(1) == std::vector<float>{-1 * 0.1f, 0, 0.5f * 0.1f, 0.75f, 2}));
  CHECK(ops.failure().empty());
}

TEST(custom_ops, the_example_computes_int8) {
  CustomOps ops;
  CHECK(ops.load(EXAMPLE_OPS).ok());
  FakeRuntime runtime("LeakyThreshold", leaky(1, 0.25f));
  runtime.add(true, EDGE_INT8, {256}, 0.5f, -3);
  runtime.add(false, EDGE_INT8, {256}, 0.25f, 5);
  CHECK(runtime.apply(&ops) == 0 && runtime.prepare() == 0);
  std::vector<int8_t> all(256), wanted(256);
  for (int q = -128; q < 128; ++q) {
    const float x = 0.5f * static_cast<float>(q + 3);
    const float y = roundf((x > 1 ? x : 0.25f * x) / 0.25f) + 5;
    all[static_cast<size_t>(q + 128)] = static_cast<int8_t>(q);
    wanted[static_cast<size_t>(q + 128)] = static_cast<int8_t>(fmaxf(-128, fminf(127, y)));
  }
  runtime.set(0, all);
  CHECK(runtime.invoke() == 0);
  CHECK(runtime.get<int8_t>(1) == wanted);
}

TEST(custom_ops, the_example_says_what_it_refuses) {
  CustomOps ops;
  CHECK(ops.load(EXAMPLE_OPS).ok());
  FakeRuntime without("LeakyThreshold");
  without.add(true, EDGE_FLOAT32, {1});
  without.add(false, EDGE_FLOAT32, {1});
  CHECK(without.apply(&ops) == 0 && without.prepare() != 0);
  CHECK(
      holds(without.said(), "LeakyThreshold (node 4) refuses the model: its options have to hold"));
  FakeRuntime whole("LeakyThreshold", leaky(0, 1));
  whole.add(true, EDGE_INT32, {1});
  whole.add(false, EDGE_INT32, {1});
  CHECK(whole.apply(&ops) == 0 && whole.prepare() != 0);
  CHECK(holds(whole.said(), "it takes float32 or int8 on both sides"));
  // The first failure is the one that is told.
  CHECK(holds(ops.failure(), "its options have to hold"));
}

TEST(custom_ops, options_are_numbers_by_name) {
  const std::string mixed(mixed_options, sizeof mixed_options - 1);
  CHECK(option(mixed, "axis", 9) == -3);
  CHECK(option(mixed, "big", 9) == -70000);
  CHECK(option(mixed, "keep", 9) == 1);
  CHECK(static_cast<float>(option(mixed, "ratio", 9)) == 0.1f);
  CHECK(option(mixed, "rows", 9) == 200);
  CHECK(option(mixed, "name", 9) == 9);  // no number
  CHECK(option(mixed, "row", 9) == 9 && option(mixed, "rowss", 9) == 9);
  const std::string wide(double_options, sizeof double_options - 1);
  CHECK(option(wide, "d", 9) == 0.1 && option(wide, "s", 9) == 0.5);
  CHECK(option("", "d", 9) == 9);
}

// A model is anybody's: nothing outside of the options is read, whatever they say.
TEST(custom_ops, broken_options_are_never_read_beyond) {
  for (const std::string &whole : {std::string(mixed_options, sizeof mixed_options - 1),
                                   std::string(double_options, sizeof double_options - 1)}) {
    for (size_t length = 0; length < whole.size(); ++length)
      option(whole.substr(0, length), "d", 9);
    for (size_t at = 0; at < whole.size(); ++at) {
      for (int value = 0; value < 256; ++value) {
        std::string broken = whole;
        broken[at] = static_cast<char>(value);
        option(broken, "big", 9);
        option(broken, "d", 9);
        option(broken, "rows", 9);
      }
    }
  }
}

// When a shape has changed, a kernel prepares anew; its output follows.
TEST(custom_ops, follows_a_change_of_shape) {
  CustomOps ops;
  CHECK(ops.load(EXAMPLE_OPS).ok());
  FakeRuntime runtime("LeakyThreshold", leaky(0, 0.5f));
  runtime.add(true, EDGE_FLOAT32, {1, 2});
  runtime.add(false, EDGE_FLOAT32, {1, 2});
  CHECK(runtime.apply(&ops) == 0 && runtime.prepare() == 0);
  CHECK(runtime.resize(const_cast<Tensor *>(&runtime.tensor(0)), ints({3, 2})) == 0);
  CHECK(runtime.prepare() == 0);
  CHECK(runtime.tensor(1).dims->size == 2 && runtime.tensor(1).dims->values[0] == 3);
  runtime.set<float>(0, {1, -1, 2, -2, 3, -3});
  CHECK(runtime.invoke() == 0);
  CHECK((runtime.get<float>(1) == std::vector<float>{1, -0.5f, 2, -1, 3, -1.5f}));
}

TEST(custom_ops, shapes_may_follow_from_constants) {
  CustomOps ops;
  CHECK(ops.load(ODD_OPS).ok());
  FakeRuntime runtime("Widens");
  runtime.add(true, EDGE_FLOAT32, {2, 1});
  Tensor &width = runtime.add(true, EDGE_INT32, {1});
  *static_cast<int32_t *>(width.data) = 3;
  width.allocation_type = delegate::allocated_in_model;
  runtime.add(false, EDGE_FLOAT32, {1, 1});
  CHECK(runtime.apply(&ops) == 0 && runtime.prepare() == 0);
  CHECK(runtime.invoke() == 0);
  CHECK((runtime.get<float>(2) == std::vector<float>{0, 1, 2, 3, 4, 5}));
}

TEST(custom_ops, what_a_kernel_says_is_told) {
  CHECK(holds(refusal("Refuses"), "Refuses (node 4) refuses the model: it takes 7 inputs, not 1"));
  CHECK(holds(refusal("Silent"), "refuses the model: it doesn't say why"));
  CHECK(holds(refusal("Fails"), "Fails (node 4) fails: its table is worn out"));
}

TEST(custom_ops, shapes_are_static) {
  CHECK(holds(refusal("OpenAxis"), "asks for a shape of output 0 that only eval would know"));
  CHECK(holds(refusal("ManyAxes"), "gives output 0 9 axes: 0 to 8"));
  CustomOps ops;
  CHECK(ops.load(ODD_OPS).ok());
  FakeRuntime runtime("Fails");
  runtime.add(true, EDGE_FLOAT32, {1}).allocation_type = delegate::allocated_dynamically;
  runtime.add(false, EDGE_FLOAT32, {1});
  CHECK(runtime.apply(&ops) == 0 && runtime.prepare() != 0);
  CHECK(holds(runtime.said(), "input 0 gets its shape only while the model runs"));
  FakeRuntime strings("Fails");
  strings.add(true, EDGE_STRING, {1});
  strings.add(false, EDGE_FLOAT32, {1});
  CHECK(strings.apply(&ops) == 0 && strings.prepare() != 0);
  CHECK(holds(strings.said(), "input 0 has more than 8 axes, or elements that are no numbers"));
}

TEST(custom_ops, leaves_what_it_has_no_kernel_for) {
  CustomOps ops;
  CHECK(ops.load(EXAMPLE_OPS).ok());
  FakeRuntime runtime("SomethingElse");
  runtime.add(true, EDGE_FLOAT32, {1});
  runtime.add(false, EDGE_FLOAT32, {1});
  CHECK(runtime.apply(&ops) == 0 && !runtime.taken());
  CHECK(holds(ops.describe(), "has kernels for 'LeakyThreshold'"));
}

TEST(custom_ops, libraries_that_are_none) {
  CustomOps ops;
  CHECK_FAILS(ops.load("/nowhere/libops.so"), EDGE_NO_FILE, "/nowhere/libops.so");
  CHECK_FAILS(ops.load(EXAMPLE_DELEGATE), EDGE_BAD_LIBRARY, "no library of custom operators");
  CHECK_FAILS(ops.load(ODD_OPS_ABI), EDGE_BAD_LIBRARY, "edge_op.h of another version");
  CHECK_FAILS(ops.load(ODD_OPS_EMPTY), EDGE_BAD_LIBRARY, "holds no kernel");
  CHECK_FAILS(ops.load(ODD_OPS_TWICE), EDGE_BAD_LIBRARY, "two kernels for the operator Fails");
  CHECK_FAILS(ops.load(ODD_OPS_PART), EDGE_BAD_LIBRARY, "the kernel Part is not whole");
  CHECK(!ops.loaded());
}

// As Python has it: a delegate by the plug-in interface.
TEST(custom_ops, come_as_a_plug_in) {
  char key[] = "ops", example[] = EXAMPLE_OPS, other[] = ODD_OPS_ABI;
  char *keys[] = {key}, *values[] = {example}, *others[] = {other};
  static std::string heard;
  const auto hear = [](const char *text) { heard = text; };
  void *first = tflite_plugin_create_delegate(keys, values, 1, hear);
  void *second = tflite_plugin_create_delegate(keys, values, 1, hear);
  CHECK(first != nullptr && second != nullptr && first != second && heard.empty());
  tflite_plugin_destroy_delegate(first);
  tflite_plugin_destroy_delegate(second);
  CHECK(tflite_plugin_create_delegate(keys, others, 1, hear) == nullptr);
  CHECK(holds(heard, "another version"));
}

}  // namespace edge
