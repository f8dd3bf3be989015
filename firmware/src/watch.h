// How the board is while something else is measured on it: clocks, temperatures, other programs.
#ifndef EDGE_WATCH_H
#define EDGE_WATCH_H

namespace edge {

int watch_main(int argc, char **argv);

}  // namespace edge

#endif  // EDGE_WATCH_H
