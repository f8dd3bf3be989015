#include <time.h>

#include "check.h"
#include "clock.h"
#include "profiler.h"

namespace edge {
namespace {

void spend(uint64_t ns) {
  const uint64_t begin = clock_ns();
  while (clock_ns() - begin < ns) {
  }
}

constexpr uint64_t ms = 1000000;

}  // namespace

TEST(profiler, keeps_each_invocation_apart) {
  Profiler profiler;
  for (int i = 0; i < 3; ++i) {
    const uint32_t handle = profiler.begin("CONV_2D", 0, 0);
    spend(i == 1 ? 2 * ms : 0);
    profiler.end(handle);
    profiler.end(profiler.begin("ADD", 1, 0));
    CHECK(profiler.keep().ok());
  }
  CHECK(profiler.operators().size() == 2);
  const OperatorTime &convolution = profiler.operators()[0];
  CHECK(convolution.name == "CONV_2D" && convolution.node == 0);
  CHECK(convolution.elapsed_ns.size() == 3);
  CHECK(convolution.elapsed_ns[1] >= 2 * ms);
  CHECK(profiler.operators()[1].elapsed_ns[1] < convolution.elapsed_ns[1]);
}

TEST(profiler, counts_what_runs_inside_only_once) {
  Profiler profiler;
  const uint64_t begin = clock_ns();
  const uint32_t loop = profiler.begin("WHILE", 0, 0);
  for (int i = 0; i < 3; ++i) {
    const uint32_t body = profiler.begin("MUL", 0, 1);
    spend(ms);
    profiler.end(body);
  }
  profiler.end(loop);
  const uint64_t whole = clock_ns() - begin;
  CHECK(profiler.keep().ok());
  const OperatorTime &outer = profiler.operators()[0], &inner = profiler.operators()[1];
  CHECK(inner.runs[0] == 3 && inner.elapsed_ns[0] >= 3 * ms);
  CHECK(outer.runs[0] == 1);
  CHECK(outer.elapsed_ns[0] + inner.elapsed_ns[0] <= whole);
}

TEST(profiler, forgets_the_warm_up_but_not_its_operators) {
  Profiler profiler;
  profiler.end(profiler.begin("CONV_2D", 0, 0));
  CHECK(profiler.forget().ok());
  CHECK(profiler.operators().size() == 1 && profiler.operators()[0].elapsed_ns.empty());
  // A branch that is taken later than the first time.
  CHECK(profiler.keep().ok());
  profiler.end(profiler.begin("ADD", 1, 0));
  CHECK(profiler.keep().ok());
  const OperatorTime &late = profiler.operators()[1];
  CHECK(late.runs.size() == 2 && late.runs[0] == 0 && late.runs[1] == 1);
  CHECK(late.elapsed_ns[0] == 0);
}

TEST(profiler, believes_no_operators_that_end_out_of_order) {
  Profiler profiler;
  const uint32_t outer = profiler.begin("WHILE", 0, 0);
  profiler.begin("MUL", 0, 1);
  profiler.end(outer);
  CHECK(profiler.keep().code() == EDGE_RUNTIME);
  CHECK(test::says("contradicts itself"));
  Profiler other;
  other.end(1);
  CHECK(other.forget().code() == EDGE_RUNTIME);
  // What was wrong is gone with its invocation.
  other.end(other.begin("ADD", 1, 0));
  CHECK(other.keep().ok());
}

}  // namespace edge
