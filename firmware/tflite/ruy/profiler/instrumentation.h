// Stands in for ruy's profiler, which is not compiled: a label that does nothing.
#pragma once

namespace ruy::profiler {

struct ScopeLabel {
  template <typename... Arguments>
  explicit ScopeLabel(Arguments...) {}
};

}  // namespace ruy::profiler
