/* edge.h: the C ABI of edge, and its only declaration.
 *
 * Compiled into the runner and libedge, and read by cffi on the host: the part between the marks is
 * therefore plain declarations, without preprocessor directives. All integers have a fixed width,
 * all handles are opaque, no exception crosses this boundary. Times are nanoseconds of
 * CLOCK_MONOTONIC_RAW.
 *
 * Functions that can fail return an edge_status; edge_error() then says, in one line, what happened
 * and what to do. edge-run exits with the same codes.
 */
#ifndef EDGE_H
#define EDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#error "edge runs on POSIX systems"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* libedge is compiled with hidden visibility; what is declared here is what it exports. A pragma,
 * because cffi can't read attributes between the marks. */
#pragma GCC visibility push(default)

/* edge:abi begin */

enum edge_limits {
  EDGE_ABI_VERSION = 3,
  EDGE_MAX_RANK = 8,
  EDGE_COLD_STEPS = 5,    /* of edge_cold_step */
  EDGE_PACE_ADDS = 16384, /* additions of an edge_pace */
  EDGE_MAX_PACES = 512    /* readings of it that a recorder keeps */
};

/* Results of functions, exit codes of edge-run. 0 to 31 are ours; a crash shows as 128 + signal. */
enum edge_status {
  EDGE_OK = 0,
  EDGE_INTERNAL = 1,       /* a defect in edge */
  EDGE_USAGE = 2,          /* wrong flags or arguments */
  EDGE_NO_FILE = 3,        /* a file is missing or can't be opened */
  EDGE_BAD_FILE = 4,       /* an .npy, .npz or recording that can't be read */
  EDGE_BAD_MODEL = 5,      /* not a TFLite model, or a damaged one */
  EDGE_UNSUPPORTED_OP = 6, /* the runtime lacks an operator of the model */
  EDGE_BAD_INPUT = 7,      /* wrong input name, shape, dtype or count */
  EDGE_BAD_LIBRARY = 8,    /* wrong architecture, missing symbols or dependencies */
  EDGE_NO_SPACE = 9,       /* disk full or quota reached */
  EDGE_NO_MEMORY = 10,
  EDGE_IO = 11,         /* reading or writing failed for another reason */
  EDGE_BUSY = 12,       /* another process holds the lock */
  EDGE_CORRUPT = 13,    /* content does not have the promised sha256 */
  EDGE_RUNTIME = 14,    /* the runtime library reported a failure while running */
  EDGE_INTERRUPTED = 15 /* SIGINT, SIGTERM or a lost connection */
};

/* The APIs that edge speaks to a runtime library. */
enum edge_engine {
  EDGE_ENGINE_TFLITE = 0,    /* the TfLite C API */
  EDGE_ENGINE_LITERT = 1,    /* LiteRT's CompiledModel */
  EDGE_ENGINE_TENSORFLOW = 2 /* TensorFlow's C API; the model is a SavedModel's folder */
};

/* Tensor element types: the numbers are TFLite's own. */
enum edge_dtype {
  EDGE_NOTYPE = 0,
  EDGE_FLOAT32 = 1,
  EDGE_INT32 = 2,
  EDGE_UINT8 = 3,
  EDGE_INT64 = 4,
  EDGE_STRING = 5,
  EDGE_BOOL = 6,
  EDGE_INT16 = 7,
  EDGE_COMPLEX64 = 8,
  EDGE_INT8 = 9,
  EDGE_FLOAT16 = 10,
  EDGE_FLOAT64 = 11,
  EDGE_COMPLEX128 = 12,
  EDGE_UINT64 = 13,
  EDGE_RESOURCE = 14,
  EDGE_VARIANT = 15,
  EDGE_UINT32 = 16,
  EDGE_UINT16 = 17,
  EDGE_INT4 = 18
};

/* The steps of a cold start, in order; indices into edge_cold_start's arrays. */
enum edge_cold_step {
  EDGE_COLD_LIBRARY = 0,  /* open the runtime library */
  EDGE_COLD_MODEL = 1,    /* load the model */
  EDGE_COLD_CREATE = 2,   /* create the interpreter, delegates included */
  EDGE_COLD_ALLOCATE = 3, /* allocate tensors */
  EDGE_COLD_INVOKE = 4    /* the first invoke; 0 before there was one */
};

/* The parts of one call of a model, from the caller's arrays to the caller's arrays. */
enum edge_phase {
  EDGE_PHASE_COPY_IN = 0,
  EDGE_PHASE_INVOKE = 1,
  EDGE_PHASE_COPY_OUT = 2,
  EDGE_PHASE_CALL = 3 /* all three */
};

/* One measurement: `iterations` invocations in a row, from start_ns for elapsed_ns. 32 bytes. */
typedef struct edge_sample {
  uint64_t start_ns;
  uint64_t elapsed_ns;
  uint32_t iterations;
  int32_t cpu;     /* core at the end of the sample; -1 if unknown */
  uint64_t due_ns; /* when it was to start, which in a closed loop is when it did */
} edge_sample;

/* How fast a core was: what EDGE_PACE_ADDS additions took, each of which needs the sum before. One
 * takes a cycle on every core that edge knows. */
typedef struct edge_pace {
  uint64_t time_ns;
  uint64_t elapsed_ns;
} edge_pace;

/* The head of samples.bin; edge_sample records follow at header_bytes. 64 bytes. */
typedef struct edge_recording_header {
  uint8_t magic[8]; /* "EDGESMPL" */
  uint32_t abi_version;
  uint32_t header_bytes;
  uint32_t sample_bytes;
  uint32_t pid;           /* of who records; 0 when it is done */
  uint64_t capacity;      /* samples the file was made for */
  uint64_t count;         /* samples complete so far */
  uint64_t tick_ns;       /* smallest step the clock was seen to make */
  uint64_t clock_cost_ns; /* median cost of one reading of the clock */
  uint64_t loop_cost_ns;  /* median elapsed_ns of a sample of an empty function, as many times */
} edge_recording_header;

/* The head of a series such as env.bin; records of `columns` int64_t follow at header_bytes, the
 * first column the time. A value that could not be read is INT64_MIN. 24 bytes. */
typedef struct edge_series_header {
  uint8_t magic[8]; /* "EDGESERI" */
  uint32_t abi_version;
  uint32_t header_bytes;
  uint32_t record_bytes;
  uint32_t columns;
} edge_series_header;

/* A recording mapped into memory, read-only. `samples` is valid until edge_recording_unmap. */
typedef struct edge_recording {
  const edge_recording_header *header;
  const edge_sample *samples;
  uint64_t count;           /* whole samples that the file holds and the header counts */
  uint64_t remainder_bytes; /* bytes of a cut record after them */
  void *mapping;
  uint64_t mapping_bytes;
} edge_recording;

/* Sizes and offsets as the library was compiled with, to be compared with the reader's own. */
typedef struct edge_abi_layout {
  uint32_t abi_version;
  uint32_t sample_bytes;
  uint32_t sample_start_ns;
  uint32_t sample_elapsed_ns;
  uint32_t sample_iterations;
  uint32_t sample_cpu;
  uint32_t header_bytes;
  uint32_t header_count;
} edge_abi_layout;

/* A shape for an input whose dimensions the model leaves open, or that is to have others. */
typedef struct edge_shape {
  const char *name; /* of the input */
  int32_t rank;
  int32_t dims[8];
} edge_shape;

typedef struct edge_options {
  const char *library_path; /* the runtime library */
  const char *model_path;
  int32_t engine;        /* edge_engine */
  int32_t threads;       /* at least 1 */
  int32_t use_xnnpack;   /* 0: built-in kernels only; 1: XNNPACK, if the library has it */
  int32_t batch;         /* first axis of every input that has no shape below; 0: as in the model */
  const char *signature; /* its key: inputs and outputs have the signature's names; NULL: the
                            primary subgraph, by the names of its tensors */
  const edge_shape *shapes;
  const char *delegate_path;        /* an external delegate's library; NULL: none */
  const char *const *delegate_keys; /* its options, delegate_option_count of each */
  const char *const *delegate_values;
  const char *ops_path; /* a library of kernels for custom operators: see edge_op.h; NULL: none */
  int32_t shape_count;
  int32_t delegate_option_count;
} edge_options;

typedef struct edge_cold_start {
  uint64_t elapsed_ns[5]; /* per edge_cold_step */
  uint64_t rss_bytes[5];  /* resident memory after each step */
  uint64_t peak_bytes[5]; /* the most that it was until then */
  uint64_t minor_faults[5];
  uint64_t major_faults[5];
} edge_cold_start;

/* A node of the model, as the .tflite file numbers its operators. */
typedef struct edge_node {
  int32_t subgraph;
  int32_t node;
} edge_node;

/* What delegates took, summed over all subgraphs. */
typedef struct edge_delegation {
  int32_t applied;         /* 1: a delegate was created and asked */
  int32_t nodes_total;     /* nodes before delegation */
  int32_t nodes_delegated; /* nodes that it took */
  int32_t partitions;      /* delegate nodes that replaced them */
} edge_delegation;

typedef struct edge_tensor {
  const char *name; /* valid while the model is open */
  int32_t dtype;    /* edge_dtype */
  int32_t rank;
  int32_t dims[8];
  uint64_t size_bytes;
  float scale; /* quantization; 0 if none */
  int32_t zero_point;
} edge_tensor;

typedef struct edge_model edge_model;

/* An interpreter that another language built, called from C. */
typedef struct edge_native edge_native;

/* How to measure. */
typedef struct edge_plan {
  uint64_t warmup;      /* invocations before the first sample, at least */
  uint64_t warmup_ns;   /* and for at least this long */
  uint64_t samples;     /* samples to take, at most */
  uint64_t duration_ns; /* and for at most this long; 0: no limit */
  uint32_t iterations;  /* invocations per sample; 0: as many as 100 ticks take */
  uint32_t poisson;     /* 1: invocations are due at random, every interval_ns on average */
  uint64_t interval_ns; /* from one invocation due to the next: an open loop; 0: a closed one */
  uint64_t idle_ns;     /* pause before each invocation */
  uint64_t seed;
} edge_plan;

/* Why a measurement ended. */
enum edge_end {
  EDGE_END_COUNT = 0,
  EDGE_END_DURATION = 1,
  EDGE_END_CAPACITY = 2,
  EDGE_END_SIGNAL = 3
};

/* What a measurement was, beside its samples. */
typedef struct edge_measured {
  uint64_t warmup;       /* invocations before the first sample */
  uint64_t minor_faults; /* these five: of the whole process while samples were taken */
  uint64_t major_faults;
  uint64_t voluntary_switches;
  uint64_t involuntary_switches;
  uint64_t cpu_ns;
  uint32_t iterations; /* invocations per sample */
  int32_t ended_by;    /* edge_end */
} edge_measured;

/* One invocation; returns 0 on success. */
typedef int32_t (*edge_invoke_fn)(void *context);

/* A recording being written; its file is mapped, so what was recorded outlives the process. */
typedef struct edge_recorder edge_recorder;

uint32_t edge_abi_version(void);
void edge_layout(edge_abi_layout *layout);
/* The last failure on this thread, one line, never NULL. */
const char *edge_error(void);

uint64_t edge_clock_ns(void);

/* Reads as much of a .tflite as its offsets need to be trusted; else EDGE_BAD_MODEL. */
int32_t edge_model_check(const char *model_path);

/* Runs nothing: the first invoke is the caller's, so that it leaves no state of ours behind. */
int32_t edge_model_open(const edge_options *options, edge_model **model);
void edge_model_close(edge_model *model);
int32_t edge_model_input_count(const edge_model *model);
int32_t edge_model_output_count(const edge_model *model);
int32_t edge_model_input(const edge_model *model, int32_t index, edge_tensor *tensor);
int32_t edge_model_output(const edge_model *model, int32_t index, edge_tensor *tensor);
/* `size_bytes` must be the tensor's own. */
int32_t edge_model_set_input(edge_model *model, int32_t index, const void *data,
                             uint64_t size_bytes);
int32_t edge_model_get_output(edge_model *model, int32_t index, void *data, uint64_t size_bytes);
int32_t edge_model_invoke(edge_model *model);
/* Another first axis, 1 or more, for every input that got no shape of its own, and tensors
 * allocated anew: inputs are zeroes then. `elapsed_ns` is what that took. After a failure the model
 * can only be closed. */
int32_t edge_model_resize(edge_model *model, int32_t batch, uint64_t *elapsed_ns);
void edge_model_cold_start(const edge_model *model, edge_cold_start *cold_start);
void edge_model_delegation(const edge_model *model, edge_delegation *delegation);

/* Creates the file with room for `capacity` samples and touches every page of it. */
int32_t edge_recorder_open(const char *path, uint64_t capacity, edge_recorder **recorder);
/* For callers that read the clock themselves: returns when the next sample may start, and when it
 * was due, which is for edge_recorder_append. EDGE_INTERRUPTED after any signal. */
int32_t edge_recorder_wait(edge_recorder *recorder, const edge_plan *plan, uint64_t *due_ns);
/* EDGE_NO_SPACE if the recording is full. */
int32_t edge_recorder_append(edge_recorder *recorder, uint64_t start_ns, uint64_t elapsed_ns,
                             uint32_t iterations, uint64_t due_ns);
/* Readings of the core's pace between samples, some hundred at most, evenly over the whole run. */
int32_t edge_recorder_paces(const edge_recorder *recorder, edge_pace *paces, int32_t capacity);
/* What a reading of the clock costs the same callers, and a sample around an empty function. */
void edge_recorder_set_costs(edge_recorder *recorder, uint64_t clock_cost_ns,
                             uint64_t loop_cost_ns);
/* Cuts the file to what was recorded. */
int32_t edge_recorder_close(edge_recorder *recorder);
/* Warms up, then records: between two readings of the clock there is nothing but the invocations.
 * SIGINT, SIGTERM and SIGHUP end it early with EDGE_INTERRUPTED; what was recorded stays. */
int32_t edge_measure(edge_recorder *recorder, const edge_plan *plan, edge_invoke_fn invoke,
                     void *context);
/* The last edge_measure or edge_native_measure into this recorder. */
void edge_recorder_measured(const edge_recorder *recorder, edge_measured *measured);

/* `invoke` is the runtime's own method, `interpreter` its object; both must outlive the handle.
 * Functions below take plain addresses and numbers only, so that any language can call them. */
int32_t edge_native_open(edge_invoke_fn invoke, void *interpreter, edge_native **native);
void edge_native_close(edge_native *native);
/* What copying in and copying out mean: memory of tensors, and arrays of the caller's. */
int32_t edge_native_add_input(edge_native *native, void *tensor, const void *array,
                              uint64_t size_bytes);
int32_t edge_native_add_output(edge_native *native, void *array, const void *tensor,
                               uint64_t size_bytes);
/* One edge_phase, once. */
int32_t edge_native_run(edge_native *native, int32_t phase);
/* One edge_phase, recorded as edge_measure records; may be called again for the next round. */
int32_t edge_native_measure(edge_native *native, int32_t phase, edge_recorder *recorder,
                            uint64_t warmup, uint64_t samples, uint32_t iterations);

/* The plug-in interface of external delegates. Without keys: a delegate that takes no node and only
 * watches which ones the delegates after it take; one at a time, for the interpreter it is given
 * to. With the key "ops", whose value is a library of kernels as edge_op.h has them: a delegate
 * that runs them for the model's custom operators; it has to be the first. */
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                    void (*report_error)(const char *));
void tflite_plugin_destroy_delegate(void *delegate);
/* What was taken by now; at most `capacity` of the nodes are written, all are counted. */
int32_t edge_observed(edge_delegation *delegation, edge_node *nodes, int32_t capacity);

/* For a program that is there to run one model. Its data take `bytes` at most, so that a model that
 * needs more fails by itself; where memory runs out all the same, the kernel ends this program
 * first. Crashes are explained in one line on `message_fd` (-1: standard error), and those for want
 * of memory end the program with EDGE_NO_MEMORY. */
int32_t edge_limit_memory(uint64_t bytes, int32_t message_fd);

int32_t edge_recording_map(const char *path, edge_recording *recording);
void edge_recording_unmap(edge_recording *recording);

/* edge:abi end */

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* EDGE_H */
