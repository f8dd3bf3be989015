// The smallest test framework that says what failed, and can't be compiled out.
#ifndef EDGE_TESTS_CHECK_H
#define EDGE_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>

#include "error.h"

namespace edge::test {

struct Test {
  const char *suite;
  const char *name;
  void (*run)();
  Test *next;
};

inline Test *first_test = nullptr;

struct Register {
  Register(Test *test) {
    test->next = first_test;
    first_test = test;
  }
};

// A folder of this test's own, gone when it ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/tmp/edge-test-XXXXXX";
    path_ = mkdtemp(name) != nullptr ? name : "";
  }
  ~TemporaryFolder() {
    const std::string command = "rm -rf '" + path_ + "'";
    if (!path_.empty() && system(command.c_str()) != 0) perror("rm");
  }
  std::string file(const char *name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void write_file(const std::string &path, const std::string &bytes) {
  FILE *file = fopen(path.c_str(), "wb");
  if (file == nullptr || fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size() ||
      fclose(file) != 0) {
    perror(path.c_str());
    exit(1);
  }
}

inline bool says(const char *part) {
  return strstr(last_error(), part) != nullptr;
}

}  // namespace edge::test

#define CHECK(condition)                                                                         \
  do {                                                                                           \
    if (!(condition)) {                                                                          \
      fprintf(stderr, "%s:%d: not true: %s\n  last error: %s\n", __FILE__, __LINE__, #condition, \
              ::edge::last_error());                                                             \
      exit(1);                                                                                   \
    }                                                                                            \
  } while (false)

// The failure's code, and a part of its message.
#define CHECK_FAILS(expression, expected_code, part) \
  do {                                               \
    CHECK((expression).code() == (expected_code));   \
    CHECK(::edge::test::says(part));                 \
  } while (false)

#define TEST(suite, name)                                                                   \
  static void test_##suite##_##name();                                                      \
  static ::edge::test::Test entry_##suite##_##name = {#suite, #name, test_##suite##_##name, \
                                                      nullptr};                             \
  static ::edge::test::Register register_##suite##_##name(&entry_##suite##_##name);         \
  static void test_##suite##_##name()

#endif  // EDGE_TESTS_CHECK_H
