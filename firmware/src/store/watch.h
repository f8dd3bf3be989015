// Who else opens a file while it arrives? What is hashed on its way to a file says nothing about
// what somebody else writes there, and the next write of our own hides it from the file's times.
#ifndef EDGE_STORE_WATCH_H
#define EDGE_STORE_WATCH_H

#include <set>

#include "file.h"

namespace edge::store {

class Watch {
 public:
  // Begins with the open file `fd`; who has it open already is seen when they close it. Negative if
  // the kernel can't tell.
  int begin(int fd);
  // Whether anybody but us has opened it since, or that can't be known. Ends the watch.
  bool end(int id);

 private:
  void read_events();

  Descriptor events_;
  std::set<int> touched_;
  bool lost_ = false;
};

}  // namespace edge::store

#endif  // EDGE_STORE_WATCH_H
