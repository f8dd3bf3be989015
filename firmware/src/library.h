// A runtime library, or a plug-in of one: opened once, never closed.
#ifndef EDGE_LIBRARY_H
#define EDGE_LIBRARY_H

#include <string>

#include "error.h"

namespace edge {

class Library {
 public:
  // `advice` ends the message about a symbol that the library lacks.
  explicit Library(const char *advice = "choose another one") : advice_(advice) {}

  // Opens those of libgcc_s and libstdc++ first that stand beside it: boards may have none, or too
  // old ones. EDGE_NO_FILE if there is none, EDGE_BAD_LIBRARY with reason and remedy if it can't be
  // loaded.
  Status open(const char *path);

  // EDGE_BAD_LIBRARY if the library lacks the symbol.
  template <typename Function>
  Status require(const char *symbol, Function **function) const {
    *function = reinterpret_cast<Function *>(find(symbol));
    return *function != nullptr ? Status() : lacks(symbol);
  }
  // The same for a variable.
  template <typename Data>
  Status require_data(const char *symbol, Data **data) const {
    *data = static_cast<Data *>(find(symbol));
    return *data != nullptr ? Status() : lacks(symbol);
  }
  // nullptr if the library lacks the symbol.
  template <typename Function>
  void find(const char *symbol, Function **function) const {
    *function = reinterpret_cast<Function *>(find(symbol));
  }

 private:
  void *find(const char *symbol) const;
  void raise_log_level() const;
  Status lacks(const char *symbol) const;

  const char *advice_;
  std::string path_;
  // Never closed: runtimes leave threads and thread-local destructors behind.
  void *handle_ = nullptr;
};

// Runtimes opened from now on log all they have to say.
void make_runtimes_talkative();
bool runtimes_are_talkative();

}  // namespace edge

#endif  // EDGE_LIBRARY_H
