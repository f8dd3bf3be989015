// edge-run: the verbs that a board is asked for.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "capture.h"
#include "error.h"
#include "facts.h"
#include "infer.h"
#include "inspect.h"
#include "profile.h"
#include "store.h"
#include "watch.h"

namespace {

constexpr const char *main_help = R"(usage: edge-run VERB [flags]

  infer    run a model on given inputs
  bench    measure a model, sample by sample
  profile  say which operators a model's time goes to
  inspect  say what a model becomes here, without running it
  facts    say what this board is
  watch    record how this board is, for as long as something else is measured
  store    keep releases on this board, for `invoke deploy`

`edge-run VERB --help` explains the flags. Reports are one JSON object on standard output, failures
one line on standard error. Exit codes are those of edge_status in edge.h: 0 success, 2 wrong flags,
3 file missing, 4 bad file, 5 bad model, 6 operator missing in the runtime, 7 bad input,
8 bad library, 9 no space, 10 no memory, 11 I/O, 12 busy, 13 wrong checksum, 14 runtime failure,
15 interrupted.
)";

// Here and not in store.cc, whose standard output is a protocol from the first byte.
constexpr const char *store_help = R"(usage: edge-run store --root DIR [flags]

Keeps releases below DIR: receives files by their hash, verifies them, switches between releases.
It talks to its client on standard input and output, in the lines that docs/store-protocol.md
describes; people call `invoke deploy`.

  --root DIR           the folder of the releases
  --owner TEXT         who is told to others while this client holds the lock, percent-encoded
  --idle-timeout S     let go of the lock after S seconds of silence (30)
  --install-self HASH  first make this very program durable in the store, if it has that sha256

Two questions, answered in one line without taking the lock and without changing anything:

  --settled ID         is this release live, unchanged since it was verified, and its hook run?
  --list               which releases are there?
)";

struct Verb {
  const char *name;
  int (*run)(int argc, char **argv);
};

constexpr Verb verbs[] = {
    {"infer", edge::infer_main},     {"bench", edge::bench_main}, {"profile", edge::profile_main},
    {"inspect", edge::inspect_main}, {"facts", edge::facts_main}, {"watch", edge::watch_main},
    {"store", store_main},
};

}  // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    return edge::exit_with(edge::fail(EDGE_USAGE, "which verb? `edge-run --help` lists them"));
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
    fputs(main_help, stdout);
    return EDGE_OK;
  }
  if (argc == 3 && strcmp(argv[1], "store") == 0 && strcmp(argv[2], "--help") == 0) {
    fputs(store_help, stdout);
    return EDGE_OK;
  }
  edge::explain_crashes();
  for (const Verb &verb : verbs) {
    if (strcmp(argv[1], verb.name) != 0) continue;
    const int code = verb.run(argc - 1, argv + 1);
    // What is left to run is what runtimes and delegates leave behind for the end.
    const edge::RuntimeCall call("the program ended");
    exit(code);
  }
  return edge::exit_with(
      edge::fail(EDGE_USAGE, "unknown verb '%s'; `edge-run --help` lists them", argv[1]));
}
