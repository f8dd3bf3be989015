# 64-bit ARM boards, by the distribution's cross compiler (Debian: g++-aarch64-linux-gnu).
# The result needs the glibc that this compiler was packaged with, or a newer one.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
find_program(EDGE_GNU_CXX aarch64-linux-gnu-g++)
if(NOT EDGE_GNU_CXX)
  message(FATAL_ERROR "aarch64-linux-gnu-g++ is not installed: install g++-aarch64-linux-gnu, or use toolchain zig")
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
