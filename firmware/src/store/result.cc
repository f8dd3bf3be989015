#include "store/result.h"

#include <errno.h>
#include <string.h>

#include <utility>

namespace edge::store {

Result fail(edge_status status, std::string message) {
  return {status, std::move(message), false};
}

Result lose(edge_status status, std::string message) {
  return {status, std::move(message), true};
}

Result fail_errno(const std::string &doing, int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return fail(EDGE_NO_SPACE, doing + ": no space left: free some on the board");
    case ENOMEM:
      return fail(EDGE_NO_MEMORY, doing + ": out of memory");
    case ELOOP:
      return fail(EDGE_IO, doing + ": a symbolic link stands there: remove it");
    case EROFS:
      return fail(EDGE_IO, doing +
                               ": the file system is read-only: remount it (mount -o remount,rw "
                               "...) or look at dmesg for why");
    case ENOENT:
      return fail(EDGE_NO_FILE, doing + ": " + strerror(error));
    default:
      return fail(EDGE_IO, doing + ": " + strerror(error));
  }
}

}  // namespace edge::store
