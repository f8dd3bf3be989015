// The signals that end a connection: noticed where it waits, never in the middle of a change.
#ifndef EDGE_STORE_SIGNALS_H
#define EDGE_STORE_SIGNALS_H

#include "store/result.h"

namespace edge::store {

// What a handler writes to, and what poll() reads: it then sees a signal however it is timed.
bool open_signal_pipe();
bool catch_signals();
// Readable once there was a signal.
int signal_fd();
bool signalled();
Result interrupted();

}  // namespace edge::store

#endif  // EDGE_STORE_SIGNALS_H
