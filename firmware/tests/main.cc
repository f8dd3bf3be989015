// Runs the tests of one suite, or all.
#include "check.h"

int main(int argc, char **argv) {
  int count = 0;
  for (const edge::test::Test *test = edge::test::first_test; test != nullptr; test = test->next) {
    if (argc > 1 && strcmp(argv[1], test->suite) != 0) continue;
    fprintf(stderr, "%s: %s\n", test->suite, test->name);
    test->run();
    ++count;
  }
  if (count == 0) fprintf(stderr, "no test ran\n");
  return count == 0 ? 1 : 0;
}
