// The verb `profile`: time per operator.
#ifndef EDGE_PROFILE_H
#define EDGE_PROFILE_H

namespace edge {

int profile_main(int argc, char **argv);

}  // namespace edge

#endif  // EDGE_PROFILE_H
