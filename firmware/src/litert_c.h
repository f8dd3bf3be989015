// The part of LiteRT's C API that edge calls, as its binary interface is in 2.2 and 2.3, in our own
// words. The interface changes between minor versions: see the list of libraries in
// engine_litert.cc. No header of LiteRT is involved.
#ifndef EDGE_LITERT_C_H
#define EDGE_LITERT_C_H

#include <stddef.h>
#include <stdint.h>

#include "tflite_c.h"

namespace edge::litert {

struct Environment;
struct Model;
struct Subgraph;
struct Signature;
struct Tensor;
struct Options;
struct OpaqueOptions;
struct CompiledModel;
struct BufferRequirements;
struct TensorBuffer;
struct Accelerator;
struct DelegateWrapper;
struct RuntimeContext;

using Result = int;  // 0 is success

constexpr int hardware_cpu = 1;

// What an environment is created with. Values are tagged unions; edge gives whole numbers only.
constexpr int option_accelerators = 24;  // those to register, a set of bits: hardware_cpu or none
constexpr int option_min_severity = 25;
constexpr int any_whole_number = 2;
constexpr int severity_verbose = 0;
constexpr int severity_warning = 2;

struct EnvironmentOption {
  int tag;
  struct {
    int type;
    int64_t number;
  } value;
};
static_assert(sizeof(EnvironmentOption) == 24, "as LiteRT has it on 64-bit machines");

// Dimensions that the model leaves open are negative.
struct Layout {
  uint8_t rank : 7;
  uint8_t has_strides : 1;
  int32_t dims[8];
  uint32_t strides[8];
};

struct RankedType {
  int element_type;  // numbered as edge_dtype
  Layout layout;
};
static_assert(sizeof(RankedType) == 72 && offsetof(RankedType, layout) == 4, "as LiteRT has it");

constexpr int type_ranked = 0;
constexpr int quantization_per_tensor = 1;

struct Quantization {
  float scale;
  int64_t zero_point;
};

// Of buffers that LiteRT takes over from a caller.
constexpr size_t buffer_alignment = 64;

// A delegate as a whole: the runtime reads the flags, and tests the callbacks that are left null.
using Delegate = tflite::WholeDelegate;

struct Version {
  int major;
  int minor;
  int patch;
};

using GetName = Result(Accelerator *accelerator, const char **name);
using GetVersion = Result(Accelerator *accelerator, Version *version);
using GetHardware = Result(Accelerator *accelerator, int *hardware);
using CreateDelegate = Result(RuntimeContext *context, Environment *environment,
                              Accelerator *accelerator, Options *options,
                              DelegateWrapper **wrapper);
using DestroyDelegate = void(RuntimeContext *context, DelegateWrapper *wrapper);

constexpr const char *made_up_key = "<placeholder signature>";

struct Api {
  Result (*create_environment)(int count, const EnvironmentOption *options,
                               Environment **environment);
  void (*destroy_environment)(Environment *environment);

  Result (*create_model)(Environment *environment, const char *path, Model **model);
  void (*destroy_model)(Model *model);
  Result (*subgraph_count)(Model *model, size_t *count);
  Result (*subgraph)(Model *model, size_t index, Subgraph **subgraph);
  Result (*main_subgraph)(Model *model, size_t *index);
  Result (*op_count)(Subgraph *subgraph, size_t *count);
  Result (*input_count)(Subgraph *subgraph, size_t *count);
  Result (*input)(Subgraph *subgraph, size_t index, Tensor **tensor);
  Result (*output_count)(Subgraph *subgraph, size_t *count);
  Result (*output)(Subgraph *subgraph, size_t index, Tensor **tensor);

  // A model without signatures is given one, by made_up_key, for its main subgraph.
  Result (*signature_count)(Model *model, size_t *count);
  Result (*signature)(Model *model, size_t index, Signature **signature);
  Result (*signature_key)(Signature *signature, const char **key);
  Result (*signature_subgraph)(Signature *signature, Subgraph **subgraph);
  Result (*signature_input_count)(Signature *signature, size_t *count);
  Result (*signature_input_name)(Signature *signature, size_t index, const char **name);
  Result (*signature_input)(Signature *signature, size_t index, Tensor **tensor);
  Result (*signature_output_count)(Signature *signature, size_t *count);
  Result (*signature_output_name)(Signature *signature, size_t index, const char **name);
  Result (*signature_output)(Signature *signature, size_t index, Tensor **tensor);

  Result (*tensor_name)(Tensor *tensor, const char **name);
  Result (*tensor_type_id)(Tensor *tensor, int *type_id);
  Result (*tensor_type)(Tensor *tensor, RankedType *type);
  Result (*tensor_quantization_id)(Tensor *tensor, int *quantization_id);
  Result (*tensor_quantization)(Tensor *tensor, Quantization *quantization);

  Result (*create_options)(Options **options);
  void (*destroy_options)(Options *options);
  Result (*options_set_hardware)(Options *options, int hardware);
  // `payload` is TOML, released by `destroy` when the options are.
  Result (*create_opaque)(const char *identifier, void *payload, void (*destroy)(void *),
                          OpaqueOptions **opaque);
  Result (*options_add_opaque)(Options *options, OpaqueOptions *opaque);

  // Inputs and outputs below are numbered as the signature's subgraph has them, not as the
  // signature lists their names.
  Result (*create_compiled)(Environment *environment, Model *model, Options *options,
                            CompiledModel **compiled);
  void (*destroy_compiled)(CompiledModel *compiled);
  // Also for dimensions that the model fixes.
  Result (*resize_input)(CompiledModel *compiled, size_t signature, size_t input, const int *dims,
                         size_t rank);
  // Allocates tensors if `allocate` is true.
  Result (*output_layouts)(CompiledModel *compiled, size_t signature, size_t count, Layout *layouts,
                           bool allocate);
  Result (*input_layout)(CompiledModel *compiled, size_t signature, size_t input, Layout *layout);
  Result (*input_requirements)(CompiledModel *compiled, size_t signature, size_t input,
                               BufferRequirements **requirements);
  Result (*output_requirements)(CompiledModel *compiled, size_t signature, size_t output,
                                BufferRequirements **requirements);
  Result (*requirements_bytes)(BufferRequirements *requirements, size_t *bytes);
  Result (*create_buffer)(const RankedType *type, void *memory, size_t bytes,
                          void (*release)(void *), TensorBuffer **buffer);
  void (*destroy_buffer)(TensorBuffer *buffer);
  Result (*run)(CompiledModel *compiled, size_t signature, size_t input_count,
                TensorBuffer **inputs, size_t output_count, TensorBuffer **outputs);

  // A registered accelerator belongs to the environment.
  Result (*create_accelerator)(Accelerator **accelerator);
  Result (*set_name)(Accelerator *accelerator, GetName *get);
  Result (*set_version)(Accelerator *accelerator, GetVersion *get);
  Result (*set_hardware)(Accelerator *accelerator, GetHardware *get);
  Result (*set_delegate)(Accelerator *accelerator, CreateDelegate *create,
                         DestroyDelegate *destroy);
  Result (*register_accelerator)(Environment *environment, Accelerator *accelerator, void *data,
                                 void (*release)(void *));
  Result (*wrap_delegate)(Delegate *delegate, void (*destroy)(Delegate *),
                          DelegateWrapper **wrapper);
  void (*destroy_wrapper)(DelegateWrapper *wrapper);
};

}  // namespace edge::litert

#endif  // EDGE_LITERT_C_H
