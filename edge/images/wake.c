/* Gives a machine that resumes from a saved state what it can't have kept: the time, and random
 * numbers of its own. Without it every machine that resumes from one state would draw the same.
 *
 * Standard input: "SECONDS NANOSECONDS SEED", the time since 1970 and 64 hexadecimal digits.
 * Exit code: 0, or the number of the step that failed.
 *
 * Without a C library, because it is built together with the image, for whatever that holds.
 */
#include <stdint.h>

enum { kSeedBytes = 32, kWriteOnly = 1, kRealtime = 0 };

#if defined(__aarch64__)
enum { kExit = 93, kRead = 63, kOpenAt = 56, kIoctl = 29, kClockSettime = 112 };
#elif defined(__arm__)
/* The call that takes 64-bit seconds. */
enum { kExit = 1, kRead = 3, kOpenAt = 322, kIoctl = 54, kClockSettime = 404 };
#endif

static long call(long number, long a, long b, long c) {
#if defined(__aarch64__)
  register long n __asm__("x8") = number;
  register long x __asm__("x0") = a;
  register long y __asm__("x1") = b;
  register long z __asm__("x2") = c;
  register long w __asm__("x3") = 0;
#else
  register long n __asm__("r7") = number;
  register long x __asm__("r0") = a;
  register long y __asm__("r1") = b;
  register long z __asm__("r2") = c;
  register long w __asm__("r3") = 0;
#endif
  __asm__ volatile("svc 0" : "+r"(x) : "r"(n), "r"(y), "r"(z), "r"(w) : "memory");
  return x;
}

static void leave(int code) {
  for (;;) call(kExit, code, 0, 0);
}

static const char *number(const char *text, int64_t *value) {
  *value = 0;
  while (*text >= '0' && *text <= '9') *value = *value * 10 + (*text++ - '0');
  return *text == ' ' ? text + 1 : text;
}

static int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void _start(void) {
  static char line[256];
  static int64_t now[2];
  /* As <linux/random.h> lays out what RNDADDENTROPY takes. */
  static struct {
    int32_t bits, size_bytes;
    uint8_t seed[kSeedBytes];
  } entropy = {8 * kSeedBytes, kSeedBytes, {0}};
  const long add_entropy = 0x40085203, reseed = 0x5207;

  long got = 0, length = 0;
  while (length < (long)sizeof line - 1 &&
         (got = call(kRead, 0, (long)(line + length), (long)sizeof line - 1 - length)) > 0)
    length += got;
  const char *text = number(number(line, &now[0]), &now[1]);
  for (int i = 0; i < kSeedBytes; ++i) {
    const int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);
    if (low < 0) leave(1);
    entropy.seed[i] = (uint8_t)(high << 4 | low);
  }
  if (call(kClockSettime, kRealtime, (long)now, 0) < 0) leave(2);
  const long random = call(kOpenAt, 0, (long)"/dev/urandom", kWriteOnly);
  if (random < 0) leave(3);
  if (call(kIoctl, random, add_entropy, (long)&entropy) < 0) leave(4);
  if (call(kIoctl, random, reseed, 0) < 0) leave(5);
  leave(0);
}
