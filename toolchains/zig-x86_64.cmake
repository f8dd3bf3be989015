# The x86-64 host, by zig: for libedge in Python, and for tests without an emulator.
set(EDGE_ARCH x86_64)
set(EDGE_LIBC gnu)
set(EDGE_MCPU_GENERIC baseline)
include("${CMAKE_CURRENT_LIST_DIR}/zig.cmake")
