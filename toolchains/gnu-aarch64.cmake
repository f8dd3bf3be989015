# 64-bit ARM boards, by the distribution's cross compiler (Debian: g++-aarch64-linux-gnu).
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(EDGE_GNU aarch64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/gnu.cmake")
