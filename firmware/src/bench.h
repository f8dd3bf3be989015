// The verb `bench`: many runs of a model, recorded one by one.
#ifndef EDGE_BENCH_H
#define EDGE_BENCH_H

namespace edge {

int bench_main(int argc, char **argv);

}  // namespace edge

#endif  // EDGE_BENCH_H
