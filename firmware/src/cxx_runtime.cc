// The little of a C++ runtime that edge needs, for builds by zig.
//
// zig ships libc++ as sources and compiles all of it before the first program links: a minute and
// more of processor time per architecture, several times what edge itself takes. But edge uses
// hardly more of it than headers, and no exceptions; what is left is memory, strings and the ends
// of programs that are broken. If edge comes to use more, the linker will name what is missing
// here.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <new>
#include <string>

// The headers only declare these for `char`, because libc++ has them compiled.
template class std::basic_string<char>;
template std::string std::operator+
    <char, std::char_traits<char>, std::allocator<char>>(const char *, const std::string &);

namespace {

void *allocate(size_t size) {
  return malloc(size != 0 ? size : 1);
}

}  // namespace

void *operator new(size_t size) {
  void *memory = allocate(size);
  if (memory == nullptr) {
    fputs("edge: out of memory\n", stderr);
    abort();
  }
  return memory;
}

void *operator new(size_t size, const std::nothrow_t &) noexcept {
  return allocate(size);
}
void *operator new[](size_t size) {
  return operator new(size);
}
void *operator new[](size_t size, const std::nothrow_t &) noexcept {
  return allocate(size);
}
void operator delete(void *memory) noexcept {
  free(memory);
}
void operator delete(void *memory, size_t) noexcept {
  free(memory);
}
void operator delete[](void *memory) noexcept {
  free(memory);
}
void operator delete[](void *memory, size_t) noexcept {
  free(memory);
}

const std::nothrow_t std::nothrow;

// What libc++ calls instead of throwing.
_LIBCPP_BEGIN_NAMESPACE_STD
void __libcpp_verbose_abort(const char *format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  abort();
}

string to_string(int value) {
  return to_string(static_cast<long long>(value));
}

string to_string(long value) {
  return to_string(static_cast<long long>(value));
}

string to_string(long long value) {
  char text[24];
  snprintf(text, sizeof text, "%lld", value);
  return text;
}

string to_string(unsigned value) {
  return to_string(static_cast<unsigned long long>(value));
}

string to_string(unsigned long value) {
  return to_string(static_cast<unsigned long long>(value));
}

string to_string(unsigned long long value) {
  char text[24];
  snprintf(text, sizeof text, "%llu", value);
  return text;
}
_LIBCPP_END_NAMESPACE_STD

extern "C" void __cxa_pure_virtual() {
  abort();
}
