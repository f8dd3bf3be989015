// The program that anybody would write around LiteRT's CompiledModel: open, warm up, time each
// invocation with two readings of the clock, write the times as 64-bit numbers of nanoseconds.
//
//   bare_litert LIBRARY MODEL COUNT WARMUP_MS FILE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vector>

#include "litert_c.h"

using namespace edge::litert;

namespace {

void *library = nullptr;

template <typename Function>
void find(Function **function, const char *name) {
  *function = reinterpret_cast<Function *>(dlsym(library, name));
  if (*function != nullptr) return;
  fprintf(stderr, "bare_litert: no %s\n", name);
  exit(1);
}

void check(Result result, const char *what) {
  if (result == 0) return;
  fprintf(stderr, "bare_litert: %s: status %d\n", what, result);
  exit(1);
}

uint64_t now_ns() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

Api load() {
  Api api{};
  find(&api.create_environment, "LiteRtCreateEnvironment");
  find(&api.create_model, "LiteRtCreateModelFromFile");
  find(&api.signature, "LiteRtGetModelSignature");
  find(&api.signature_subgraph, "LiteRtGetSignatureSubgraph");
  find(&api.input_count, "LiteRtGetNumSubgraphInputs");
  find(&api.input, "LiteRtGetSubgraphInput");
  find(&api.output_count, "LiteRtGetNumSubgraphOutputs");
  find(&api.output, "LiteRtGetSubgraphOutput");
  find(&api.tensor_type, "LiteRtGetRankedTensorType");
  find(&api.create_options, "LiteRtCreateOptions");
  find(&api.options_set_hardware, "LiteRtSetOptionsHardwareAccelerators");
  find(&api.create_opaque, "LiteRtCreateOpaqueOptions");
  find(&api.options_add_opaque, "LiteRtAddOpaqueOptions");
  find(&api.create_compiled, "LiteRtCreateCompiledModel");
  find(&api.input_requirements, "LiteRtGetCompiledModelInputBufferRequirements");
  find(&api.output_requirements, "LiteRtGetCompiledModelOutputBufferRequirements");
  find(&api.requirements_bytes, "LiteRtGetTensorBufferRequirementsBufferSize");
  find(&api.create_buffer, "LiteRtCreateTensorBufferFromHostMemory");
  find(&api.run, "LiteRtRunCompiledModel");
  return api;
}

TensorBuffer *buffer_of(const Api &api, Tensor *tensor, BufferRequirements *requirements) {
  RankedType type{};
  size_t bytes = 0;
  check(api.tensor_type(tensor, &type), "type");
  check(api.requirements_bytes(requirements, &bytes), "size");
  // Axes that the model leaves open are 1 unless somebody resizes them; a buffer has to say so.
  for (int i = 0; i < type.layout.rank; ++i) {
    if (type.layout.dims[i] < 0) type.layout.dims[i] = 1;
  }
  void *memory = nullptr;
  if (posix_memalign(&memory, buffer_alignment, bytes + 2 * buffer_alignment) != 0) exit(1);
  // Any values but zeros and denormals: 0.74 as float32, 61 as int8.
  memset(memory, 0x3d, bytes);
  TensorBuffer *buffer = nullptr;
  check(api.create_buffer(&type, memory, bytes, nullptr, &buffer), "buffer");
  return buffer;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 6) {
    fputs("usage: bare_litert LIBRARY MODEL COUNT WARMUP_MS FILE\n", stderr);
    return 2;
  }
  library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    fprintf(stderr, "bare_litert: %s\n", dlerror());
    return 1;
  }
  const Api api = load();
  const EnvironmentOption chosen[] = {
      {option_accelerators, {any_whole_number, hardware_cpu}},
      {option_min_severity, {any_whole_number, severity_warning}},
  };
  Environment *environment = nullptr;
  Model *model = nullptr;
  Signature *signature = nullptr;
  Subgraph *subgraph = nullptr;
  Options *options = nullptr;
  CompiledModel *compiled = nullptr;
  check(api.create_environment(2, chosen, &environment), "environment");
  check(api.create_model(environment, argv[2], &model), "model");
  check(api.signature(model, 0, &signature), "signature");
  check(api.signature_subgraph(signature, &subgraph), "subgraph");
  check(api.create_options(&options), "options");
  check(api.options_set_hardware(options, hardware_cpu), "hardware");
  OpaqueOptions *one_thread = nullptr;
  check(api.create_opaque("xnnpack", strdup("num_threads = 1\n"), free, &one_thread), "threads");
  check(api.options_add_opaque(options, one_thread), "threads");
  check(api.create_compiled(environment, model, options, &compiled), "compile");

  size_t input_count = 0, output_count = 0;
  check(api.input_count(subgraph, &input_count), "inputs");
  check(api.output_count(subgraph, &output_count), "outputs");
  std::vector<TensorBuffer *> inputs, outputs;
  Tensor *tensor = nullptr;
  BufferRequirements *requirements = nullptr;
  for (size_t i = 0; i < input_count; ++i) {
    check(api.input(subgraph, i, &tensor), "input");
    check(api.input_requirements(compiled, 0, i, &requirements), "input");
    inputs.push_back(buffer_of(api, tensor, requirements));
  }
  for (size_t i = 0; i < output_count; ++i) {
    check(api.output(subgraph, i, &tensor), "output");
    check(api.output_requirements(compiled, 0, i, &requirements), "output");
    outputs.push_back(buffer_of(api, tensor, requirements));
  }

  std::vector<uint64_t> elapsed_ns(strtoull(argv[3], nullptr, 10));
  const uint64_t warm_ns = strtoull(argv[4], nullptr, 10) * 1000000, begin_ns = now_ns();
  do {
    check(api.run(compiled, 0, input_count, inputs.data(), output_count, outputs.data()), "run");
  } while (now_ns() - begin_ns < warm_ns);
  for (uint64_t &elapsed : elapsed_ns) {
    const uint64_t start_ns = now_ns();
    const Result result =
        api.run(compiled, 0, input_count, inputs.data(), output_count, outputs.data());
    elapsed = now_ns() - start_ns;
    check(result, "run");
  }
  FILE *file = fopen(argv[5], "wb");
  if (file == nullptr ||
      fwrite(elapsed_ns.data(), sizeof(uint64_t), elapsed_ns.size(), file) != elapsed_ns.size() ||
      fclose(file) != 0) {
    perror(argv[5]);
    return 1;
  }
  return 0;
}
