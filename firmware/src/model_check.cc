// A walk through the flatbuffer of a model. Runtimes trust the offsets in it: given half a file,
// they read beyond its end. Everything is checked that they follow before they run a kernel.
//
// A table begins with a signed distance back to its vtable; the vtable says at which distance from
// the table's begin each field lies, 0 for one that isn't there. Strings, vectors and tables inside
// a table are unsigned distances forward. Field numbers below are those of TFLite's schema
// version 3.
#include "model_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <vector>

#include "file.h"

namespace edge {
namespace {

struct Table {
  uint64_t at = 0;
  uint64_t vtable = 0;
  uint16_t vtable_bytes = 0;
  uint16_t table_bytes = 0;
};

struct Vector {
  uint64_t at = 0;  // of the first element
  uint64_t count = 0;
};

// What the options of operators hold besides numbers: vectors, and strings (elements of 0 bytes).
struct Member {
  uint8_t type;  // of BuiltinOptions or BuiltinOptions2
  uint8_t field;
  uint8_t element_bytes;
};

constexpr Member option_members[] = {
    {3, 1, 4},   {3, 2, 4},    // ConcatEmbeddings
    {17, 0, 4},                // Reshape
    {30, 0, 4},                // Squeeze
    {111, 0, 0}, {111, 1, 0},  // VarHandle
    {115, 0, 4},               // Bucketize
};

// StableHLO's.
constexpr Member option2_members[] = {
    {2, 0, 8},                                                   // broadcast_in_dim
    {3, 0, 8},  {3, 1, 8},  {3, 2, 8},                           // slice
    {4, 0, 8},  {4, 1, 8},  {4, 2, 8},  {4, 3, 8},  {4, 4, 1},   // convolution
    {4, 7, 8},  {4, 10, 8}, {4, 13, 8}, {4, 16, 4},              //
    {5, 0, 0},  {5, 2, 0},  {5, 4, 4},  {5, 5, 1},               // custom_call
    {6, 0, 8},                                                   // reduce
    {7, 1, 8},  {7, 2, 8},  {7, 3, 8},                           // scatter
    {9, 0, 8},                                                   // dynamic_slice
    {10, 0, 8}, {10, 1, 8}, {10, 2, 8},                          // pad
    {12, 0, 8}, {12, 1, 8}, {12, 2, 8}, {12, 3, 8}, {12, 4, 4},  // dot_general
    {13, 0, 8}, {13, 1, 8}, {13, 2, 8}, {13, 3, 8}, {13, 4, 8},  // reduce_window
    {16, 0, 8}, {16, 1, 8}, {16, 2, 8}, {16, 4, 8},              // gather
    {17, 0, 8},                                                  // transpose
    {21, 0, 0}, {21, 2, 1},                                      // composite
    {23, 0, 4},                                                  // case
};

class ModelWalk {
 public:
  ModelWalk(const char *name, const uint8_t *bytes, size_t size)
      : name_(name), bytes_(bytes), size_(size), budget_(64 + 8 * static_cast<uint64_t>(size)) {}

  Status check() {
    if (size_ < 8 || memcmp(bytes_ + 4, "TFL3", 4) != 0) {
      return fail(EDGE_BAD_MODEL, "%s is not a TFLite model (no TFL3 at its begin)", name_);
    }
    Table model;
    EDGE_TRY(table_at(load<uint32_t>(0), "the root table", &model));
    uint32_t version = 0;
    EDGE_TRY(scalar(model, 0, &version));
    if (version != 3) {
      return fail(EDGE_BAD_MODEL, "%s has schema version %u; only 3 is known: convert it again",
                  name_, version);
    }
    EDGE_TRY(check_buffers(model));
    EDGE_TRY(check_operator_codes(model));
    EDGE_TRY(check_subgraphs(model));
    EDGE_TRY(check_metadata(model));
    return check_signatures(model);
  }

 private:
  // ---- the bricks -------------------------------------------------------------------------------

  template <typename T>
  T load(uint64_t at) const {
    T value;
    memcpy(&value, bytes_ + at, sizeof value);
    return value;
  }

  bool holds(uint64_t at, uint64_t length) const { return at <= size_ && length <= size_ - at; }

  Status damaged(const char *what) const {
    return fail(EDGE_BAD_MODEL,
                "%s is cut or damaged: %s lies outside of its %llu bytes: copy the model again",
                name_, what, static_cast<unsigned long long>(size_));
  }

  __attribute__((format(printf, 2, 3))) Status wrong(const char *format, ...) const {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return fail(EDGE_BAD_MODEL, "%s is damaged: %s", name_, text);
  }

  // Shared tables make a small file into a walk without end; a real model shares little.
  Status spend(uint64_t steps) {
    if (steps > budget_) return wrong("it refers to the same content too often");
    budget_ -= steps;
    return Status();
  }

  Status table_at(uint64_t at, const char *what, Table *table) {
    EDGE_TRY(spend(1));
    if (at % 4 != 0 || !holds(at, 4)) return damaged(what);
    const int64_t vtable = static_cast<int64_t>(at) - load<int32_t>(at);
    if (vtable < 0 || vtable % 2 != 0 || !holds(static_cast<uint64_t>(vtable), 4)) {
      return damaged(what);
    }
    table->at = at;
    table->vtable = static_cast<uint64_t>(vtable);
    table->vtable_bytes = load<uint16_t>(table->vtable);
    table->table_bytes = load<uint16_t>(table->vtable + 2);
    if (table->vtable_bytes < 4 || table->vtable_bytes % 2 != 0 || table->table_bytes < 4 ||
        !holds(table->vtable, table->vtable_bytes) || !holds(at, table->table_bytes)) {
      return damaged(what);
    }
    // Fields of whatever number, known to us or not, stay inside their table.
    for (uint64_t entry = 4; entry < table->vtable_bytes; entry += 2) {
      if (load<uint16_t>(table->vtable + entry) >= table->table_bytes) return damaged(what);
    }
    return Status();
  }

  // Where the field lies; 0 if the table doesn't have it.
  Status field(const Table &table, unsigned number, unsigned bytes, uint64_t *at) const {
    *at = 0;
    const uint64_t entry = 4 + 2 * static_cast<uint64_t>(number);
    if (entry + 2 > table.vtable_bytes) return Status();
    const uint16_t distance = load<uint16_t>(table.vtable + entry);
    if (distance == 0) return Status();
    if (distance < 4 || distance + bytes > table.table_bytes ||
        (table.at + distance) % bytes != 0) {
      return damaged("a field");
    }
    *at = table.at + distance;
    return Status();
  }

  template <typename T>
  Status scalar(const Table &table, unsigned number, T *value) const {
    uint64_t at;
    EDGE_TRY(field(table, number, sizeof(T), &at));
    if (at != 0) *value = load<T>(at);
    return Status();
  }

  Status child(const Table &table, unsigned number, uint64_t *at) const {
    uint64_t offset_at;
    EDGE_TRY(field(table, number, 4, &offset_at));
    *at = offset_at == 0 ? 0 : offset_at + load<uint32_t>(offset_at);
    return Status();
  }

  Status vector(const Table &table, unsigned number, unsigned element_bytes, const char *what,
                Vector *found) {
    uint64_t at;
    EDGE_TRY(child(table, number, &at));
    *found = Vector{};
    if (at == 0) return Status();
    if (at % 4 != 0 || !holds(at, 4)) return damaged(what);
    found->at = at + 4;
    found->count = load<uint32_t>(at);
    if (!holds(found->at, found->count * element_bytes)) return damaged(what);
    if (found->count != 0 && found->at % element_bytes != 0) return damaged(what);
    return Status();
  }

  Status string(const Table &table, unsigned number, const char *what) {
    Vector text;
    EDGE_TRY(vector(table, number, 1, what, &text));
    if (text.at == 0) return Status();
    // Read as C strings: the zero after the text must be there, and be one.
    if (!holds(text.at + text.count, 1) || bytes_[text.at + text.count] != 0) return damaged(what);
    return Status();
  }

  Status element_table(const Vector &tables, uint64_t index, const char *what, Table *table) {
    const uint64_t at = tables.at + 4 * index;
    return table_at(at + load<uint32_t>(at), what, table);
  }

  // Every element of a vector of int32 is `least` or more, and less than `limit`.
  Status indices(const Table &table, unsigned number, int64_t least, uint64_t limit,
                 const char *what) {
    Vector found;
    EDGE_TRY(vector(table, number, 4, what, &found));
    EDGE_TRY(spend(found.count));
    for (uint64_t i = 0; i < found.count; ++i) {
      const int64_t index = load<int32_t>(found.at + 4 * i);
      if (index < least || index >= static_cast<int64_t>(limit)) {
        return wrong("%s refer to tensor %lld of %llu", what, static_cast<long long>(index),
                     static_cast<unsigned long long>(limit));
      }
    }
    return Status();
  }

  // ---- the model --------------------------------------------------------------------------------

  Status check_buffers(const Table &model) {
    Vector buffers;
    EDGE_TRY(vector(model, 4, 4, "the list of buffers", &buffers));
    buffers_.reserve(buffers.count);
    for (uint64_t i = 0; i < buffers.count; ++i) {
      char what[48];
      snprintf(what, sizeof what, "buffer %llu", static_cast<unsigned long long>(i));
      Table buffer;
      Vector data;
      EDGE_TRY(element_table(buffers, i, what, &buffer));
      EDGE_TRY(vector(buffer, 0, 1, what, &data));
      // Models beyond 2 GB keep the data behind the flatbuffer; offsets 0 and 1 say that they
      // don't.
      uint64_t offset = 0, bytes = 0;
      EDGE_TRY(scalar(buffer, 1, &offset));
      EDGE_TRY(scalar(buffer, 2, &bytes));
      if (offset > 1 && !holds(offset, bytes)) return damaged(what);
      buffers_.push_back(offset > 1 ? bytes : data.count);
    }
    return Status();
  }

  Status check_operator_codes(const Table &model) {
    Vector codes;
    EDGE_TRY(vector(model, 1, 4, "the list of operator codes", &codes));
    operator_codes_ = codes.count;
    for (uint64_t i = 0; i < codes.count; ++i) {
      Table code;
      EDGE_TRY(element_table(codes, i, "an operator code", &code));
      EDGE_TRY(string(code, 1, "the name of a custom operator"));
    }
    return Status();
  }

  Status check_subgraphs(const Table &model) {
    Vector subgraphs;
    EDGE_TRY(vector(model, 2, 4, "the list of subgraphs", &subgraphs));
    if (subgraphs.count == 0) return wrong("it has no subgraph");
    for (uint64_t i = 0; i < subgraphs.count; ++i) {
      Table subgraph;
      EDGE_TRY(element_table(subgraphs, i, "a subgraph", &subgraph));
      subgraphs_.push_back(subgraph);
      EDGE_TRY(check_subgraph(subgraph));
    }
    return Status();
  }

  Status check_subgraph(const Table &subgraph) {
    Vector tensors, operators;
    EDGE_TRY(vector(subgraph, 0, 4, "the list of tensors", &tensors));
    for (uint64_t i = 0; i < tensors.count; ++i) {
      Table tensor;
      EDGE_TRY(element_table(tensors, i, "a tensor", &tensor));
      EDGE_TRY(check_tensor(tensor));
    }
    EDGE_TRY(indices(subgraph, 1, 0, tensors.count, "a subgraph's inputs"));
    EDGE_TRY(indices(subgraph, 2, 0, tensors.count, "a subgraph's outputs"));
    EDGE_TRY(vector(subgraph, 3, 4, "the list of operators", &operators));
    for (uint64_t i = 0; i < operators.count; ++i) {
      Table op;
      EDGE_TRY(element_table(operators, i, "an operator", &op));
      EDGE_TRY(check_operator(op, tensors.count));
    }
    return string(subgraph, 4, "a subgraph's name");
  }

  Status check_tensor(const Table &tensor) {
    Vector shape;
    uint32_t buffer = 0;
    EDGE_TRY(vector(tensor, 0, 4, "a tensor's shape", &shape));
    EDGE_TRY(scalar(tensor, 2, &buffer));
    if (buffer != 0 && buffer >= buffers_.size()) {
      return wrong("a tensor refers to buffer %u of %zu", buffer, buffers_.size());
    }
    EDGE_TRY(check_size(tensor, shape, buffer));
    EDGE_TRY(string(tensor, 3, "a tensor's name"));
    EDGE_TRY(vector(tensor, 7, 4, "a tensor's shape signature", &shape));

    uint64_t at;
    EDGE_TRY(child(tensor, 4, &at));
    if (at != 0) {
      Table quantization;
      Vector values;
      EDGE_TRY(table_at(at, "a tensor's quantization", &quantization));
      for (const unsigned number : {0u, 1u, 2u}) {
        EDGE_TRY(vector(quantization, number, 4, "a tensor's quantization", &values));
      }
      EDGE_TRY(vector(quantization, 3, 8, "a tensor's quantization", &values));
    }
    EDGE_TRY(child(tensor, 6, &at));
    if (at != 0) EDGE_TRY(check_sparsity(at));
    return Status();
  }

  // A tensor whose elements have a size is one that memory can hold; a constant one has all its
  // bytes. An axis of -1 is open.
  Status check_size(const Table &tensor, const Vector &shape, uint32_t buffer) {
    // By TensorType: float32, float16, int32, uint8, int64, string, bool, int16, complex64, int8,
    // float64, complex128, uint64, resource, variant, uint32, uint16. Later ones are packed.
    constexpr uint8_t element_bytes[] = {4, 2, 4, 1, 8, 0, 1, 2, 8, 1, 8, 16, 8, 0, 0, 4, 2};
    uint8_t type = 0;
    uint64_t sparsity;
    EDGE_TRY(scalar(tensor, 1, &type));
    EDGE_TRY(child(tensor, 6, &sparsity));
    EDGE_TRY(spend(shape.count));
    uint64_t bytes = type < sizeof element_bytes ? element_bytes[type] : 0;
    for (uint64_t i = 0; i < shape.count; ++i) {
      const int32_t axis = load<int32_t>(shape.at + 4 * i);
      if (axis < -1) return wrong("a tensor has an axis of %d", axis);
      if (axis > 0 && bytes > INT64_MAX / static_cast<uint64_t>(axis)) {
        return wrong("a tensor has a shape that no memory holds");
      }
      bytes *= axis < 0 ? 1 : static_cast<uint64_t>(axis);
    }
    if (buffer == 0 || buffers_[buffer] == 0 || sparsity != 0 || bytes <= buffers_[buffer]) {
      return Status();
    }
    return wrong("a tensor of %llu bytes has only the %llu of buffer %u",
                 static_cast<unsigned long long>(bytes),
                 static_cast<unsigned long long>(buffers_[buffer]), buffer);
  }

  Status check_sparsity(uint64_t at) {
    const char *what = "a tensor's sparsity";
    Table sparsity;
    Vector values, axes;
    EDGE_TRY(table_at(at, what, &sparsity));
    EDGE_TRY(vector(sparsity, 0, 4, what, &values));
    EDGE_TRY(vector(sparsity, 1, 4, what, &values));
    EDGE_TRY(vector(sparsity, 2, 4, what, &axes));
    for (uint64_t i = 0; i < axes.count; ++i) {
      Table axis;
      EDGE_TRY(element_table(axes, i, what, &axis));
      // Two unions of a table with one vector, of 4, 2 or 1 bytes an element by the union's type.
      for (const unsigned number : {2u, 4u}) {
        uint8_t type = 0;
        EDGE_TRY(scalar(axis, number, &type));
        EDGE_TRY(child(axis, number + 1, &at));
        if (at == 0) continue;
        Table index;
        EDGE_TRY(table_at(at, what, &index));
        EDGE_TRY(vector(index, 0, type == 1 ? 4 : type == 2 ? 2 : 1, what, &values));
      }
    }
    return Status();
  }

  Status check_operator(const Table &op, uint64_t tensors) {
    uint32_t code = 0;
    EDGE_TRY(scalar(op, 0, &code));
    if (code >= operator_codes_) {
      return wrong("an operator refers to operator code %u of %llu", code,
                   static_cast<unsigned long long>(operator_codes_));
    }
    // -1: an optional tensor that isn't given.
    EDGE_TRY(indices(op, 1, -1, tensors, "an operator's inputs"));
    EDGE_TRY(indices(op, 2, -1, tensors, "an operator's outputs"));
    EDGE_TRY(indices(op, 8, -1, tensors, "an operator's intermediates"));
    Vector bytes;
    EDGE_TRY(vector(op, 5, 1, "an operator's custom options", &bytes));
    EDGE_TRY(vector(op, 7, 1, "an operator's list of variables", &bytes));
    uint64_t offset = 0, size = 0;
    EDGE_TRY(scalar(op, 9, &offset));
    EDGE_TRY(scalar(op, 10, &size));
    if (offset > 1 && !holds(offset, size)) return damaged("an operator's custom options");

    EDGE_TRY(check_options(op, 3, option_members, sizeof option_members / sizeof(Member)));
    return check_options(op, 11, option2_members, sizeof option2_members / sizeof(Member));
  }

  // A union: its type in one field, its table in the next.
  Status check_options(const Table &op, unsigned number, const Member *members, size_t count) {
    constexpr const char *what = "an operator's options";
    uint8_t type = 0;
    uint64_t at;
    EDGE_TRY(scalar(op, number, &type));
    EDGE_TRY(child(op, number + 1, &at));
    if (at == 0) return Status();
    Table options;
    EDGE_TRY(table_at(at, what, &options));
    for (size_t i = 0; i < count; ++i) {
      const Member &member = members[i];
      if (member.type != type) continue;
      Vector values;
      EDGE_TRY(member.element_bytes == 0
                   ? string(options, member.field, what)
                   : vector(options, member.field, member.element_bytes, what, &values));
    }
    return Status();
  }

  Status check_metadata(const Table &model) {
    Vector entries;
    EDGE_TRY(vector(model, 6, 4, "the list of metadata", &entries));
    for (uint64_t i = 0; i < entries.count; ++i) {
      Table entry;
      uint32_t buffer = 0;
      EDGE_TRY(element_table(entries, i, "a metadata entry", &entry));
      EDGE_TRY(string(entry, 0, "a metadata entry's name"));
      EDGE_TRY(scalar(entry, 1, &buffer));
      if (buffer != 0 && buffer >= buffers_.size()) {
        return wrong("a metadata entry refers to buffer %u of %zu", buffer, buffers_.size());
      }
    }
    return string(model, 3, "the description");
  }

  Status check_signatures(const Table &model) {
    Vector signatures;
    EDGE_TRY(vector(model, 7, 4, "the list of signatures", &signatures));
    for (uint64_t i = 0; i < signatures.count; ++i) {
      Table signature;
      uint32_t subgraph = 0;
      EDGE_TRY(element_table(signatures, i, "a signature", &signature));
      EDGE_TRY(string(signature, 2, "a signature's key"));
      EDGE_TRY(scalar(signature, 4, &subgraph));
      if (subgraph >= subgraphs_.size()) {
        return wrong("a signature refers to subgraph %u of %zu", subgraph, subgraphs_.size());
      }
      EDGE_TRY(check_names(signature, 0, subgraphs_[subgraph], 1, "input"));
      EDGE_TRY(check_names(signature, 1, subgraphs_[subgraph], 2, "output"));
    }
    return Status();
  }

  // A signature gives names to inputs and outputs of its subgraph, and to no other tensors: those
  // have no memory of their own when the model has run.
  Status check_names(const Table &signature, unsigned number, const Table &subgraph,
                     unsigned subgraph_number, const char *side) {
    Vector names, tensors;
    EDGE_TRY(vector(signature, number, 4, "a signature's tensors", &names));
    EDGE_TRY(vector(subgraph, subgraph_number, 4, "a subgraph's tensors", &tensors));
    for (uint64_t i = 0; i < names.count; ++i) {
      Table name;
      uint32_t index = 0;
      EDGE_TRY(element_table(names, i, "a signature's tensor", &name));
      EDGE_TRY(string(name, 0, "the name of a signature's tensor"));
      EDGE_TRY(scalar(name, 1, &index));
      EDGE_TRY(spend(tensors.count));
      uint64_t at = 0;
      while (at < tensors.count && load<uint32_t>(tensors.at + 4 * at) != index) ++at;
      if (at == tensors.count) {
        return wrong("a signature's %s is tensor %u, which is no %s of its subgraph", side, index,
                     side);
      }
    }
    return Status();
  }

  const char *name_;
  const uint8_t *bytes_;
  uint64_t size_;
  uint64_t budget_;
  std::vector<uint64_t> buffers_;  // the size of each
  uint64_t operator_codes_ = 0;
  std::vector<Table> subgraphs_;
};

}  // namespace

Status check_model(const char *name, const uint8_t *bytes, size_t size) {
  return ModelWalk(name, bytes, size).check();
}

Status check_model_file(const char *path) {
  MappedFile file;
  EDGE_TRY(file.open(path));
  return check_model(path, file.data(), file.size());
}

}  // namespace edge

int32_t edge_model_check(const char *model_path) {
  return edge::check_model_file(model_path).code();
}
