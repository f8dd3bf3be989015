// Stands in for ruy's: products are computed in the caller's thread.
#pragma once

namespace ruy {

struct Context {
  void set_max_num_threads(int) {}
  void ClearPrepackedCache() {}  // nothing is kept from product to product
};

}  // namespace ruy
