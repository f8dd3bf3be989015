# 64-bit ARM boards, by zig. One build serves every board with glibc EDGE_GLIBC or newer.
set(EDGE_ARCH aarch64)
set(EDGE_LIBC gnu)
set(EDGE_MCPU_GENERIC baseline)
include("${CMAKE_CURRENT_LIST_DIR}/zig.cmake")
