// What became of a request to the store.
#ifndef EDGE_STORE_RESULT_H
#define EDGE_STORE_RESULT_H

#include <stdint.h>

#include <string>

#include "edge.h"

namespace edge::store {

// `lost`: the two sides no longer agree where the next request begins, or there will be none, so
// that the connection has to end.
struct [[nodiscard]] Result {
  int32_t status = EDGE_OK;
  std::string message;
  bool lost = false;
  bool ok() const { return status == EDGE_OK; }
};

Result fail(edge_status status, std::string message);
Result lose(edge_status status, std::string message);
Result fail_errno(const std::string &doing, int error);

#define STORE_TRY(expression)                                                        \
  do {                                                                               \
    if (::edge::store::Result result_ = (expression); !result_.ok()) return result_; \
  } while (false)

}  // namespace edge::store

#endif  // EDGE_STORE_RESULT_H
