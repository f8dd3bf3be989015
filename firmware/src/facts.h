// The verb `facts`: what this board is.
#ifndef EDGE_FACTS_H
#define EDGE_FACTS_H

namespace edge {

int facts_main(int argc, char **argv);

}  // namespace edge

#endif  // EDGE_FACTS_H
