# What the GNU toolchains share. Include it after setting CMAKE_SYSTEM_PROCESSOR and EDGE_GNU (the
# target that the compilers' names begin with).
#
#   EDGE_MCPU    what GCC's -mcpu takes, such as "cortex-a72"; "generic" is the compiler's own choice
#
# The result needs the glibc that the compiler was packaged with, or a newer one.
set(EDGE_MCPU "generic" CACHE STRING "CPU to generate code for")

find_program(EDGE_GNU_CXX ${EDGE_GNU}-g++)
if(NOT EDGE_GNU_CXX)
  message(FATAL_ERROR "${EDGE_GNU}-g++ is not installed: install g++-${EDGE_GNU}, or use toolchain zig")
endif()
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER ${EDGE_GNU}-gcc)
set(CMAKE_CXX_COMPILER ${EDGE_GNU}-g++)
if(NOT EDGE_MCPU STREQUAL "generic")
  list(APPEND CMAKE_C_COMPILER "-mcpu=${EDGE_MCPU}")
  list(APPEND CMAKE_CXX_COMPILER "-mcpu=${EDGE_MCPU}")
endif()

set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
