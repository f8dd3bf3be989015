// Who still records when nobody waits for it any more.
#ifndef EDGE_GUARD_H
#define EDGE_GUARD_H

#include <string>

namespace edge {

// Ends the program that records into `path`, if there is one: it is asked to, and after some
// seconds killed. What it has recorded stays.
void end_recording(const std::string &path);

}  // namespace edge

#endif  // EDGE_GUARD_H
