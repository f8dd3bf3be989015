// Stands in for pthreadpool: TFLite names a pool that only XNNPACK would ask for.
#pragma once

#include <cstddef>

using pthreadpool_t = struct pthreadpool *;

inline pthreadpool_t pthreadpool_create(size_t) {
  return nullptr;
}
inline void pthreadpool_destroy(pthreadpool_t) {}
