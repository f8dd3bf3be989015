// What TFLite says of a matrix when it asks ruy for a product.
#pragma once

namespace ruy {

enum class Order { kColMajor, kRowMajor };
enum class CachePolicy { kNeverCache, kCacheIfLargeSpeedup, kAlwaysCache };

struct Layout {
  int rows = 0;
  int cols = 0;
  Order order = Order::kColMajor;
};

inline void MakeSimpleLayout(int rows, int cols, Order order, Layout *layout) {
  *layout = {rows, cols, order};
}

template <typename Scalar>
class Matrix {
 public:
  const Layout &layout() const { return layout_; }
  Layout *mutable_layout() { return &layout_; }

  const Scalar *data() const { return data_; }
  Scalar *mutable_data() const { return writable_; }
  void set_data(const Scalar *data) { data_ = data; }
  void set_data(Scalar *data) { data_ = writable_ = data; }

  Scalar zero_point() const { return zero_point_; }
  void set_zero_point(Scalar value) { zero_point_ = value; }
  void set_cache_policy(CachePolicy) {}  // nothing is packed, so nothing is kept

  int offset(int row, int col) const {
    return layout_.order == Order::kColMajor ? col * layout_.rows + row : row * layout_.cols + col;
  }
  int step_along_row() const { return layout_.order == Order::kColMajor ? layout_.rows : 1; }
  int step_along_col() const { return layout_.order == Order::kColMajor ? 1 : layout_.cols; }

 private:
  Layout layout_;
  const Scalar *data_ = nullptr;
  Scalar *writable_ = nullptr;
  Scalar zero_point_ = 0;
};

}  // namespace ruy
