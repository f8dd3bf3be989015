// The verb `inspect`: what a model becomes on this board, without running it.
#ifndef EDGE_INSPECT_H
#define EDGE_INSPECT_H

namespace edge {

int inspect_main(int argc, char **argv);

}  // namespace edge

#endif  // EDGE_INSPECT_H
