// A runtime library: opened once, never closed.
#ifndef EDGE_LIBRARY_H
#define EDGE_LIBRARY_H

#include <string>

#include "error.h"

namespace edge {

class Library {
 public:
  // EDGE_NO_FILE if there is none, EDGE_BAD_LIBRARY with reason and remedy if it can't be loaded.
  Status open(const char *path);

  // EDGE_BAD_LIBRARY if the library lacks the symbol.
  template <typename Function>
  Status require(const char *symbol, Function **function) const {
    *function = reinterpret_cast<Function *>(find(symbol));
    return *function != nullptr ? Status() : lacks(symbol);
  }
  // nullptr if the library lacks the symbol.
  template <typename Function>
  void find(const char *symbol, Function **function) const {
    *function = reinterpret_cast<Function *>(find(symbol));
  }

 private:
  void *find(const char *symbol) const;
  Status lacks(const char *symbol) const;

  std::string path_;
  // Never closed: runtimes leave threads and thread-local destructors behind.
  void *handle_ = nullptr;
};

}  // namespace edge

#endif  // EDGE_LIBRARY_H
