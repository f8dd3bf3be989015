// Stands in for ruy's: denormal numbers stay as the C library set them.
#pragma once

namespace ruy {

struct ScopedSuppressDenormals {
  ScopedSuppressDenormals() {}  // user-provided, so that a variable of it does not count as unused
};

}  // namespace ruy
