// The verb `store`: releases on this board, spoken to by docs/store-protocol.md.
#ifndef EDGE_SRC_STORE_H
#define EDGE_SRC_STORE_H

// argv[0] is "store", the rest are its flags. Returns an edge_status, the process's exit code.
int store_main(int argc, char **argv);

#endif  // EDGE_SRC_STORE_H
