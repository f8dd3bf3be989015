/* The loop that anybody would write: two readings of the clock around one call. */
#include <stdint.h>
#include <time.h>

typedef int32_t (*invoke_fn)(void *context);

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int32_t bare_loop(invoke_fn invoke, void *context, uint64_t count, uint64_t *elapsed_ns) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t start = now_ns();
    const int32_t status = invoke(context);
    elapsed_ns[i] = now_ns() - start;
    if (status != 0) return status;
  }
  return 0;
}
