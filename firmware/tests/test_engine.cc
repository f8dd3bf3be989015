#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "check.h"
#include "file.h"
#include "model.h"
#include "model_bytes.h"
#include "tflite_c.h"

namespace edge {
namespace {

// A model file and the fake's instructions, for as long as a test runs.
class Setting {
 public:
  explicit Setting(const char *words) {
    setenv("EDGE_FAKE", words, 1);
    test::write_file(model, test::small_model());
  }
  ~Setting() { unsetenv("EDGE_FAKE"); }

  Status open(const char *library = FAKE_TFLITE) {
    edge_options options = {};
    options.library_path = library;
    options.model_path = model.c_str();
    options.threads = 1;
    options.use_xnnpack = xnnpack;
    options.signature = signature;
    options.shapes = shapes.data();
    options.shape_count = static_cast<int32_t>(shapes.size());
    options.batch = batch;
    options.delegate_path = delegate;
    options.delegate_keys = &delegate_key;
    options.delegate_values = &delegate_value;
    options.delegate_option_count = delegate_key != nullptr ? 1 : 0;
    edge_model *opened = nullptr;
    const Status status(edge_model_open(&options, &opened));
    handle.reset(opened);
    return status;
  }

  test::TemporaryFolder folder;
  std::string model = folder.file("m.tflite");
  int xnnpack = 1;
  const char *signature = nullptr;
  std::vector<edge_shape> shapes;
  int batch = 0;
  const char *delegate = nullptr;
  const char *delegate_key = nullptr;
  const char *delegate_value = nullptr;
  ModelHandle handle;
};

}  // namespace

TEST(engine, runs_a_model) {
  Setting setting("two_inputs");
  CHECK(setting.open().ok());
  edge_model *model = setting.handle.get();
  CHECK(edge_model_input_count(model) == 2 && edge_model_output_count(model) == 2);
  edge_tensor tensor;
  CHECK(edge_model_input(model, 1, &tensor) == EDGE_OK);
  CHECK(strcmp(tensor.name, "q") == 0 && tensor.dtype == EDGE_INT8 && tensor.rank == 2);
  CHECK(tensor.dims[0] == 2 && tensor.dims[1] == 3 && tensor.size_bytes == 6);
  CHECK(tensor.scale == 0.5f && tensor.zero_point == -3);

  const float in[4] = {1, 2, 3, 4};
  float out[4] = {};
  edge_cold_start cold;
  edge_model_cold_start(model, &cold);
  CHECK(cold.elapsed_ns[EDGE_COLD_INVOKE] == 0);  // opening runs nothing
  CHECK(edge_model_set_input(model, 0, in, sizeof in) == EDGE_OK);
  CHECK(edge_model_invoke(model) == EDGE_OK);
  CHECK(edge_model_get_output(model, 0, out, sizeof out) == EDGE_OK);
  CHECK(out[0] == 2 && out[3] == 8);

  CHECK(edge_model_set_input(model, 0, in, 12) == EDGE_BAD_INPUT);
  CHECK(test::says("'x' has 16 bytes, not 12"));
  CHECK(edge_model_get_output(model, 2, out, 16) == EDGE_BAD_INPUT);
  CHECK(test::says("there is no output 2"));
  CHECK(edge_model_input(model, -1, &tensor) == EDGE_BAD_INPUT);

  edge_model_cold_start(model, &cold);
  for (int i = 0; i < EDGE_COLD_STEPS; ++i) CHECK(cold.elapsed_ns[i] > 0 && cold.rss_bytes[i] > 0);
}

TEST(engine, counts_what_the_delegate_takes) {
  Setting setting("");
  CHECK(setting.open().ok());
  edge_delegation delegation;
  edge_model_delegation(setting.handle.get(), &delegation);
  CHECK(delegation.applied == 1 && delegation.nodes_total == 5);
  CHECK(delegation.nodes_delegated == 3 && delegation.partitions == 2);
  CHECK(setting.handle->engine->warnings.empty());
  CHECK(setting.handle->engine->nodes_known);
  CHECK(setting.handle->engine->delegates == std::vector<std::string>{"XNNPACK"});
  const std::vector<edge_node> &nodes = setting.handle->engine->nodes;
  CHECK(nodes.size() == 3 && nodes[0].node == 0 && nodes[1].node == 1 && nodes[2].node == 3);
  for (const edge_node &each : nodes) CHECK(each.subgraph == 0);
}

TEST(engine, counts_the_same_where_delegates_are_options) {
  Setting setting("");
  CHECK(setting.open(FAKE_TFLITE_OLD).ok());
  CHECK(setting.handle->engine->delegation.nodes_delegated == 3);
  CHECK(setting.handle->engine->delegation.partitions == 2);
}

TEST(engine, does_without_a_delegate_that_refuses) {
  for (const char *library : {FAKE_TFLITE, FAKE_TFLITE_OLD}) {
    Setting setting("xnnpack_refuses");
    CHECK(setting.open(library).ok());
    CHECK(edge_model_invoke(setting.handle.get()) == EDGE_OK);
    const Engine &engine = *setting.handle->engine;
    CHECK(engine.delegation.applied == 0 && engine.delegates.empty());
    CHECK(engine.warnings.size() == 1);
    CHECK(engine.warnings[0].find("dynamic tensors are not for me") != std::string::npos);
  }
}

TEST(engine, external_delegates) {
  for (const char *library : {FAKE_TFLITE, FAKE_TFLITE_OLD}) {
    Setting setting("");
    setting.delegate = EXAMPLE_DELEGATE;
    setting.xnnpack = 0;
    CHECK(setting.open(library).ok());
    const Engine &engine = *setting.handle->engine;
    CHECK(engine.delegates == std::vector<std::string>{EXAMPLE_DELEGATE});
    CHECK(engine.delegation.applied == 1 && engine.delegation.nodes_total == 5);
    // The example takes additions: node 4.
    CHECK(engine.nodes.size() == 1 && engine.nodes[0].node == 4);
    CHECK(engine.delegation.partitions == 1);
  }
}

TEST(engine, external_delegates_come_first) {
  Setting setting("");
  setting.delegate = EXAMPLE_DELEGATE;
  CHECK(setting.open().ok());
  const Engine &engine = *setting.handle->engine;
  CHECK((engine.delegates == std::vector<std::string>{EXAMPLE_DELEGATE, "XNNPACK"}));
  CHECK(engine.delegation.nodes_total == 5 && engine.delegation.nodes_delegated == 4);
  CHECK(engine.delegation.partitions == 3);
}

TEST(engine, external_delegates_that_fail) {
  Setting setting("");
  setting.delegate = EXAMPLE_DELEGATE;
  setting.delegate_key = "refuse";
  setting.delegate_value = "create";
  CHECK_FAILS(setting.open(), EDGE_RUNTIME, "creates no delegate: told to refuse");
  for (const char *library : {FAKE_TFLITE, FAKE_TFLITE_OLD}) {
    for (const int xnnpack : {0, 1}) {
      setting.xnnpack = xnnpack;
      setting.delegate_value = "prepare";
      CHECK_FAILS(setting.open(library), EDGE_RUNTIME, "refuses the model");
      CHECK(test::says("the example delegate refuses to prepare, as it was told"));
    }
  }
  setting.delegate_key = "colour";
  CHECK_FAILS(setting.open(), EDGE_RUNTIME, "its options are");
  setting.delegate_key = nullptr;
  setting.delegate = FAKE_TFLITE;
  CHECK_FAILS(setting.open(), EDGE_BAD_LIBRARY, "lacks tflite_plugin_create_delegate");
  setting.delegate = setting.model.c_str();
  CHECK_FAILS(setting.open(), EDGE_BAD_LIBRARY, "not a shared library");
}

// A model that fails without the delegate too is not the delegate's failure.
TEST(engine, a_broken_model_is_not_the_delegates_fault) {
  Setting setting("unresolved_custom");
  setting.delegate = EXAMPLE_DELEGATE;
  CHECK_FAILS(setting.open(), EDGE_UNSUPPORTED_OP, "lacks the operator MyOp");
}

TEST(engine, signatures) {
  Setting setting("signatures two_inputs");
  setting.signature = "double";
  setting.shapes = {{"in_q", 2, {4, 3}}};
  CHECK(setting.open().ok());
  edge_model *model = setting.handle.get();
  edge_tensor tensor;
  CHECK(edge_model_input_count(model) == 2 && edge_model_output_count(model) == 2);
  CHECK(edge_model_input(model, 0, &tensor) == EDGE_OK && strcmp(tensor.name, "in_x") == 0);
  CHECK(edge_model_input(model, 1, &tensor) == EDGE_OK && strcmp(tensor.name, "in_q") == 0);
  CHECK(tensor.dims[0] == 4 && tensor.size_bytes == 12);
  CHECK(edge_model_output(model, 1, &tensor) == EDGE_OK && strcmp(tensor.name, "out_r") == 0);
  const float in[4] = {1, 2, 3, 4};
  float out[4] = {};
  CHECK(edge_model_set_input(model, 0, in, sizeof in) == EDGE_OK);
  CHECK(edge_model_invoke(model) == EDGE_OK);
  CHECK(edge_model_get_output(model, 0, out, sizeof out) == EDGE_OK);
  CHECK(out[3] == 8);

  setting.signature = "triple";
  CHECK_FAILS(setting.open(), EDGE_BAD_INPUT, "no signature 'triple'; the model's are 'double'");
  CHECK_FAILS(setting.open(FAKE_TFLITE_OLD), EDGE_BAD_LIBRARY, "lacks TfLiteInterpreterGetSig");
  setenv("EDGE_FAKE", "", 1);
  CHECK_FAILS(setting.open(), EDGE_BAD_INPUT, "no signature 'triple'; the model has none");
}

TEST(engine, shapes) {
  Setting setting("two_inputs");
  setting.shapes = {{"x", 2, {3, 4}}};
  setting.batch = 4;
  CHECK(setting.open().ok());
  edge_tensor tensor;
  CHECK(edge_model_input(setting.handle.get(), 0, &tensor) == EDGE_OK && tensor.dims[0] == 3);
  CHECK(edge_model_input(setting.handle.get(), 1, &tensor) == EDGE_OK && tensor.dims[0] == 4);
  // An output's size is known when it has been computed.
  const float in[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  float out[12] = {};
  CHECK(edge_model_set_input(setting.handle.get(), 0, in, sizeof in) == EDGE_OK);
  CHECK(edge_model_invoke(setting.handle.get()) == EDGE_OK);
  CHECK(edge_model_output(setting.handle.get(), 0, &tensor) == EDGE_OK && tensor.dims[0] == 3);
  CHECK(edge_model_get_output(setting.handle.get(), 0, out, sizeof out) == EDGE_OK);
  CHECK(out[11] == 24);

  const struct {
    edge_shape shape;
    int32_t code;
    const char *part;
  } wrong[] = {
      {{"z", 1, {4}}, EDGE_BAD_INPUT, "no input 'z' to give a shape; the model's inputs are 'x'"},
      {{"x", 1, {4}}, EDGE_BAD_INPUT, "input 'x' has 2 axes, [1, 4]: it can't have the shape [4]"},
      {{"x", 2, {9, 4}}, EDGE_BAD_INPUT, "'x' can't take the shape [9, 4]: I don't stretch"},
      {{"x", 2, {INT32_MAX, INT32_MAX}}, EDGE_BAD_INPUT, "more than this board's memory"},
      {{"x", 9, {1}}, EDGE_USAGE, "has 9 axes; edge knows up to 8"},
      {{"x", 2, {0, 4}}, EDGE_USAGE, "every axis is 1 or more"},
  };
  for (const auto &each : wrong) {
    setting.shapes = {each.shape};
    CHECK_FAILS(setting.open(), each.code, each.part);
  }
  setting.batch = 0;
  setenv("EDGE_FAKE", "misfit", 1);
  setting.shapes = {{"x", 2, {2, 4}}};
  CHECK_FAILS(setting.open(), EDGE_BAD_INPUT,
              "can't take the shape [2, 4] of input 'x': num_elements != 4");
}

TEST(engine, another_batch_while_the_model_is_open) {
  uint64_t elapsed_ns = 0;
  for (const char *signature : {static_cast<const char *>(nullptr), "double"}) {
    Setting setting("two_inputs signatures");
    setting.signature = signature;
    setting.shapes = {{signature != nullptr ? "in_q" : "q", 2, {3, 3}}};
    CHECK(setting.open().ok());
    edge_model *model = setting.handle.get();
    float in[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    float out[16] = {};
    CHECK(edge_model_set_input(model, 0, in, 16) == EDGE_OK);
    CHECK(edge_model_resize(model, 4, &elapsed_ns) == EDGE_OK && elapsed_ns > 0);
    edge_tensor tensor;
    CHECK(edge_model_input(model, 0, &tensor) == EDGE_OK && tensor.dims[0] == 4);
    // A shape that was asked for stays.
    CHECK(edge_model_input(model, 1, &tensor) == EDGE_OK && tensor.dims[0] == 3);
    CHECK(edge_model_invoke(model) == EDGE_OK);
    CHECK(edge_model_get_output(model, 0, out, sizeof out) == EDGE_OK && out[0] == 0);
    CHECK(edge_model_set_input(model, 0, in, sizeof in) == EDGE_OK);
    CHECK(edge_model_invoke(model) == EDGE_OK);
    CHECK(edge_model_get_output(model, 0, out, sizeof out) == EDGE_OK && out[15] == 32);
    CHECK(edge_model_resize(model, 2, &elapsed_ns) == EDGE_OK);
    CHECK(edge_model_input(model, 0, &tensor) == EDGE_OK && tensor.size_bytes == 32);

    CHECK_FAILS(Status(edge_model_resize(model, 0, &elapsed_ns)), EDGE_USAGE,
                "a batch has 1 sample or more");
    CHECK_FAILS(Status(edge_model_resize(model, 9, &elapsed_ns)), EDGE_BAD_INPUT,
                "can't take the shape [9, 4]: I don't stretch that far");
  }
  Setting setting("");
  setting.shapes = {{"x", 2, {1, 4}}};
  CHECK(setting.open().ok());
  CHECK_FAILS(Status(edge_model_resize(setting.handle.get(), 2, &elapsed_ns)), EDGE_BAD_INPUT,
              "no input left whose first axis the batch could be");
}

TEST(engine, open_axes_are_named) {
  Setting setting("open_axes");
  CHECK(setting.open().ok());
  CHECK(setting.handle->engine->warnings.size() == 1);
  CHECK(setting.handle->engine->warnings[0] ==
        "the model leaves axes of input 'x' open, [-1, 4]: it runs with [1, 4]; give --batch or "
        "--shape for others");
  setting.batch = 1;
  CHECK(setting.open().ok());
  CHECK(setting.handle->engine->warnings.empty());
  setting.batch = 0;
  setting.shapes = {{"x", 2, {1, 4}}};
  CHECK(setting.open().ok());
  CHECK(setting.handle->engine->warnings.empty());
}

TEST(engine, strings_are_refused) {
  Setting inputs("string_input");
  CHECK_FAILS(inputs.open(), EDGE_BAD_INPUT, "input 'x' is made of strings");
  Setting outputs("string_output");
  CHECK_FAILS(outputs.open(), EDGE_BAD_INPUT, "output 'y' is made of strings");
}

TEST(engine, inputs_without_memory_are_refused) {
  Setting setting("no_data");
  CHECK_FAILS(setting.open(), EDGE_NO_MEMORY, "no memory for the 16 bytes of input 'x'");
}

TEST(engine, unknown_engines_are_refused) {
  Setting setting("");
  edge_options options = {};
  options.library_path = FAKE_TFLITE;
  options.model_path = setting.model.c_str();
  options.threads = 1;
  options.engine = 7;
  edge_model *model = nullptr;
  CHECK(edge_model_open(&options, &model) == EDGE_USAGE && model == nullptr);
}

TEST(engine, warns_if_the_delegate_does_nothing) {
  Setting setting("delegate_none");
  CHECK(setting.open().ok());
  edge_delegation delegation;
  edge_model_delegation(setting.handle.get(), &delegation);
  CHECK(delegation.applied == 1 && delegation.nodes_delegated == 0 && delegation.nodes_total == 5);
  CHECK(setting.handle->engine->warnings.size() == 1);
}

TEST(engine, works_without_the_delegate) {
  for (const bool asked : {false, true}) {
    Setting setting("");
    setting.xnnpack = asked ? 1 : 0;
    CHECK(setting.open(asked ? FAKE_TFLITE_NO_XNNPACK : FAKE_TFLITE).ok());
    edge_delegation delegation;
    edge_model_delegation(setting.handle.get(), &delegation);
    CHECK(delegation.applied == 0 && delegation.nodes_total == 0);
    CHECK(setting.handle->engine->warnings.size() == (asked ? 1u : 0u));
  }
}

TEST(engine, failures_have_code_and_cause) {
  const struct {
    const char *words;
    int32_t code;
    const char *part;
  } cases[] = {
      {"model_fails", EDGE_BAD_MODEL, "the model is not to my taste"},
      {"unresolved_builtin", EDGE_UNSUPPORTED_OP, "lacks the operator BATCH_MATMUL version 4 of"},
      {"unresolved_custom", EDGE_UNSUPPORTED_OP, "lacks the operator MyOp of"},
      {"create_fails", EDGE_RUNTIME, "out of patience"},
      {"allocate_fails", EDGE_RUNTIME, "can't allocate the tensors"},
      {"invoke_fails", EDGE_RUNTIME, "gather index out of bounds"},
  };
  for (const auto &each : cases) {
    Setting setting(each.words);
    const Status opened = setting.open();
    if (opened.ok()) CHECK(edge_model_invoke(setting.handle.get()) == each.code);
    CHECK(opened.ok() || (opened.code() == each.code && !setting.handle));
    CHECK(test::says(each.part));
    CHECK(strchr(last_error(), '\n') == nullptr);
  }
}

TEST(engine, later_failure_says_why) {
  Setting setting("later_fails");
  CHECK(setting.open().ok());
  for (int i = 0; i < 3; ++i) CHECK(edge_model_invoke(setting.handle.get()) == EDGE_OK);
  CHECK(edge_model_invoke(setting.handle.get()) == EDGE_RUNTIME);
  CHECK(test::says("gather index out of bounds"));
}

TEST(engine, keeps_the_chatter) {
  Setting setting("chatter");
  CHECK(setting.open().ok());
  CHECK(setting.handle->engine->runtime_log == "INFO: a line nobody asked for\n");
  CHECK(edge_model_invoke(setting.handle.get()) == EDGE_OK);
  CHECK(edge_model_invoke(setting.handle.get()) == EDGE_OK);
  CHECK(setting.handle->engine->runtime_log ==
        "INFO: a line nobody asked for\nINFO: the first invoke takes long\n");
}

TEST(engine, bad_libraries_say_why) {
  Setting setting("");
  CHECK_FAILS(setting.open("/does/not/exist.so"), EDGE_NO_FILE, "can't open");
  CHECK_FAILS(setting.open(setting.model.c_str()), EDGE_BAD_LIBRARY, "not a shared library");
  CHECK_FAILS(setting.open(FAKE_TFLITE_NO_CREATE), EDGE_BAD_LIBRARY,
              "lacks TfLiteInterpreterCreate");

  // This program itself, for another machine.
  std::string elf = read_small_file("/proc/self/exe");
  elf.resize(64);
  elf[18] = static_cast<char>(elf[18] == 22 ? 40 : 22);
  const std::string foreign = setting.folder.file("foreign.so");
  test::write_file(foreign, elf);
  CHECK_FAILS(setting.open(foreign.c_str()), EDGE_BAD_LIBRARY, "this runner is for");

  // The right machine, but cut short.
  std::string cut = read_small_file(FAKE_TFLITE);
  for (const size_t size : {size_t{30}, size_t{600}, cut.size() / 5}) {
    test::write_file(foreign, cut.substr(0, size));
    CHECK_FAILS(setting.open(foreign.c_str()), EDGE_BAD_LIBRARY, "is cut");
  }
}

TEST(engine, models_are_checked_first) {
  Setting setting("crash");
  test::write_file(setting.model, test::small_model().substr(0, 300));
  CHECK_FAILS(setting.open(), EDGE_BAD_MODEL, "cut or damaged");
}

}  // namespace edge
