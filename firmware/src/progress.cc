#include "progress.h"

#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "edge.h"

namespace edge {
namespace {

constexpr uint64_t kNewest = 101;
// Where a record has its parts; another version may append some.
constexpr size_t kElapsedAt = 8;
constexpr size_t kIterationsAt = 16;
constexpr size_t kLeastBytes = 20;
constexpr size_t kMostBytes = 4096;

}  // namespace

bool Progress::read(uint64_t *samples, uint64_t *median_ns) {
  if (!file_.valid()) file_ = Descriptor(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  edge_recording_header header;
  if (!file_.valid() ||
      pread(file_.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header) ||
      memcmp(header.magic, "EDGESMPL", sizeof header.magic) != 0 || header.count == 0 ||
      header.sample_bytes < kLeastBytes || header.sample_bytes > kMostBytes) {
    return false;
  }
  const uint64_t wanted = std::min(header.count, kNewest);
  std::vector<uint8_t> bytes(wanted * header.sample_bytes);
  const uint64_t from = header.header_bytes + (header.count - wanted) * header.sample_bytes;
  const ssize_t got = pread(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(from));
  std::vector<uint64_t> latencies;
  for (size_t at = 0; at + header.sample_bytes <= static_cast<size_t>(std::max<ssize_t>(got, 0));
       at += header.sample_bytes) {
    uint64_t elapsed_ns = 0;
    uint32_t iterations = 0;
    memcpy(&elapsed_ns, bytes.data() + at + kElapsedAt, sizeof elapsed_ns);
    memcpy(&iterations, bytes.data() + at + kIterationsAt, sizeof iterations);
    if (iterations != 0) latencies.push_back(elapsed_ns / iterations);
  }
  if (latencies.empty()) return false;
  const auto middle = latencies.begin() + static_cast<ptrdiff_t>(latencies.size() / 2);
  std::nth_element(latencies.begin(), middle, latencies.end());
  *samples = header.count;
  *median_ns = *middle;
  return true;
}

}  // namespace edge
