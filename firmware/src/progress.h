// How far a measurement is, read off the recording that it is writing.
#ifndef EDGE_PROGRESS_H
#define EDGE_PROGRESS_H

#include <stdint.h>

#include <string>

#include "file.h"

namespace edge {

class Progress {
 public:
  explicit Progress(std::string path) : path_(std::move(path)) {}

  // Samples so far, and the median of the newest ones in nanoseconds per invocation; false if there
  // is no sample yet. By reads, not by a mapping, whose end the recorder cuts off when it is done.
  bool read(uint64_t *samples, uint64_t *median_ns);

 private:
  std::string path_;
  Descriptor file_;
};

}  // namespace edge

#endif  // EDGE_PROGRESS_H
