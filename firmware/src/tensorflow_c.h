// The part of TensorFlow's C API that edge calls, in our own words. It has kept its binary
// interface since TensorFlow 1; no header of TensorFlow is involved.
#ifndef EDGE_TENSORFLOW_C_H
#define EDGE_TENSORFLOW_C_H

#include <stddef.h>
#include <stdint.h>

namespace edge::tensorflow {

struct Status;
struct Graph;
struct Operation;
struct Session;
struct SessionOptions;
struct Tensor;

// Bytes that the library hands out or is given.
struct Buffer {
  const void *data;
  size_t length;
  void (*release)(void *data, size_t length);
};

// An output of a node of the graph, whether it is read or fed.
struct Output {
  Operation *operation;
  int index;
};

struct Api {
  const char *(*version)();
  Status *(*create_status)();
  void (*destroy_status)(Status *);
  int (*code)(const Status *);  // 0 is success
  const char *(*message)(const Status *);
  Buffer *(*create_buffer)();
  void (*destroy_buffer)(Buffer *);
  Graph *(*create_graph)();
  void (*destroy_graph)(Graph *);
  Operation *(*operation)(Graph *, const char *name);
  SessionOptions *(*create_options)();
  void (*destroy_options)(SessionOptions *);
  // Settings as a serialized ConfigProto.
  void (*configure)(SessionOptions *, const void *proto, size_t length, Status *);
  Session *(*load_saved_model)(const SessionOptions *, const Buffer *run_options,
                               const char *folder, const char *const *tags, int tag_count, Graph *,
                               Buffer *meta_graph, Status *);
  void (*close_session)(Session *, Status *);
  void (*destroy_session)(Session *, Status *);
  void (*run)(Session *, const Buffer *run_options, const Output *inputs, Tensor *const *values,
              int input_count, const Output *outputs, Tensor **results, int output_count,
              const Operation *const *targets, int target_count, Buffer *run_metadata, Status *);
  Tensor *(*create_tensor)(int dtype, const int64_t *dims, int rank, size_t size_bytes);
  void (*destroy_tensor)(Tensor *);
  int (*rank)(const Tensor *);
  int64_t (*axis)(const Tensor *, int);
  size_t (*size_bytes)(const Tensor *);
  void *(*data)(const Tensor *);
};

}  // namespace edge::tensorflow

#endif  // EDGE_TENSORFLOW_C_H
