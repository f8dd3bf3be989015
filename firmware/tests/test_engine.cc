#include <stdlib.h>
#include <unistd.h>

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
    edge_model *opened = nullptr;
    const Status status(edge_model_open(&options, &opened));
    handle.reset(opened);
    return status;
  }

  test::TemporaryFolder folder;
  std::string model = folder.file("m.tflite");
  int xnnpack = 1;
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
  for (const size_t size : {size_t{30}, size_t{600}, cut.size() / 2}) {
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
