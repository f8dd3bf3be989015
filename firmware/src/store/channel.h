// The two standard streams as a connection: lines and bytes in, lines out, no wait without an end.
#ifndef EDGE_STORE_CHANNEL_H
#define EDGE_STORE_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <string>
#include <vector>

#include "store/result.h"

namespace edge::store {

class Channel {
 public:
  explicit Channel(int64_t idle_ms);

  // The next line, without its newline.
  Result line(std::string *text);

  // Hands the next `count` bytes to `take(data, size)`, piece by piece.
  template <typename Take>
  Result bytes(uint64_t count, Take take) {
    while (count != 0) {
      if (begin_ == end_) STORE_TRY(fill());
      const size_t size = static_cast<size_t>(std::min<uint64_t>(end_ - begin_, count));
      take(buffer_.data() + begin_, size);
      begin_ += size;
      count -= size;
    }
    return {};
  }
  Result text(uint64_t count, std::string *text);

  Result reply(const std::string &text) { return send(text + "\n", idle_ms_); }
  // The last line of a connection that ends early: sent if it goes at once, for nobody may listen.
  void last_words(const Result &result) { (void)send(error_line(result) + "\n", 200); }
  static std::string error_line(const Result &result);

  // True once the client closed its side.
  bool ended() const { return ended_; }

 private:
  Result fill();
  Result send(const std::string &text, int64_t timeout_ms);

  const int64_t idle_ms_;
  std::vector<uint8_t> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool ended_ = false;
};

}  // namespace edge::store

#endif  // EDGE_STORE_CHANNEL_H
