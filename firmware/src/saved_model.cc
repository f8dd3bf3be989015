#include "saved_model.h"

#include <algorithm>

namespace edge {
namespace {

// A field of a protocol buffer message; the wire format is documented at protobuf.dev.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;  // of a varint
  const uint8_t *data = nullptr;
  size_t size = 0;  // of what has a length

  std::string text() const { return std::string(reinterpret_cast<const char *>(data), size); }
};

class Message {
 public:
  Message(const uint8_t *data, size_t size) : at_(data), end_(data + size) {}
  explicit Message(const Field &field) : Message(field.data, field.size) {}

  // False at the end, or at the first byte that makes no sense: `damaged` tells which.
  bool next(Field *field) {
    *field = Field();
    if (at_ == end_) return false;
    uint64_t tag = 0;
    if (!varint(&tag)) return false;
    field->number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        return varint(&field->value);
      case 1:
        return skip(8);
      case 2: {
        uint64_t size = 0;
        if (!varint(&size)) return false;
        field->data = at_;
        field->size = static_cast<size_t>(size);
        return skip(size);
      }
      case 5:
        return skip(4);
      default:
        return fail();
    }
  }
  bool damaged() const { return damaged_; }

 private:
  bool varint(uint64_t *value) {
    for (unsigned shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const uint8_t byte = *at_++;
      *value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return fail();
  }
  bool skip(uint64_t size) {
    if (size > static_cast<uint64_t>(end_ - at_)) return fail();
    at_ += size;
    return true;
  }
  bool fail() {
    damaged_ = true;
    return false;
  }

  const uint8_t *at_;
  const uint8_t *end_;
  bool damaged_ = false;
};

// The numbers of the fields, of tensorflow/core/protobuf/meta_graph.proto and its neighbours.
constexpr uint32_t map_key = 1, map_value = 2;
constexpr uint32_t meta_graph_signatures = 5;
constexpr uint32_t signature_inputs = 1, signature_outputs = 2;
constexpr uint32_t tensor_name = 1, tensor_dtype = 2, tensor_shape = 3;
constexpr uint32_t shape_axis = 2, shape_unknown_rank = 3;
constexpr uint32_t axis_size = 1;

bool read_shape(const Field &of, SignatureTensor *tensor) {
  Message shape(of);
  for (Field field; shape.next(&field);) {
    if (field.number == shape_unknown_rank) tensor->unknown_rank = field.value != 0;
    if (field.number != shape_axis) continue;
    Message axis(field);
    int64_t size = 0;
    for (Field part; axis.next(&part);) {
      if (part.number == axis_size) size = static_cast<int64_t>(part.value);
    }
    if (axis.damaged()) return false;
    tensor->dims.push_back(size);
  }
  return !shape.damaged();
}

bool read_tensor(const Field &entry, std::vector<SignatureTensor> *tensors) {
  SignatureTensor tensor;
  Message pair(entry);
  for (Field field; pair.next(&field);) {
    if (field.number == map_key) tensor.name = field.text();
    if (field.number != map_value) continue;
    Message info(field);
    for (Field part; info.next(&part);) {
      if (part.number == tensor_name) tensor.node = part.text();
      if (part.number == tensor_dtype) tensor.dtype = static_cast<int32_t>(part.value);
      if (part.number == tensor_shape && !read_shape(part, &tensor)) return false;
    }
    if (info.damaged()) return false;
  }
  tensors->push_back(std::move(tensor));
  return !pair.damaged();
}

bool read_signature(const Field &entry, Signature *signature) {
  Message pair(entry);
  for (Field field; pair.next(&field);) {
    if (field.number == map_key) signature->key = field.text();
    if (field.number != map_value) continue;
    Message body(field);
    for (Field part; body.next(&part);) {
      std::vector<SignatureTensor> *side = part.number == signature_inputs    ? &signature->inputs
                                           : part.number == signature_outputs ? &signature->outputs
                                                                              : nullptr;
      if (side != nullptr && !read_tensor(part, side)) return false;
    }
    if (body.damaged()) return false;
  }
  // A map has no order of its own.
  for (std::vector<SignatureTensor> *side : {&signature->inputs, &signature->outputs}) {
    std::sort(side->begin(), side->end(),
              [](const auto &a, const auto &b) { return a.name < b.name; });
  }
  return !pair.damaged();
}

}  // namespace

Status read_signatures(const uint8_t *data, size_t size, std::vector<Signature> *signatures) {
  Message meta_graph(data, size);
  bool whole = true;
  for (Field field; whole && meta_graph.next(&field);) {
    if (field.number != meta_graph_signatures) continue;
    Signature signature;
    whole = read_signature(field, &signature);
    signatures->push_back(std::move(signature));
  }
  std::sort(signatures->begin(), signatures->end(),
            [](const Signature &a, const Signature &b) { return a.key < b.key; });
  return whole && !meta_graph.damaged()
             ? Status()
             : fail(EDGE_BAD_MODEL, "the SavedModel's signatures can't be read: export it again");
}

}  // namespace edge
