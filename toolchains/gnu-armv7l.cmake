# 32-bit ARM boards with hard floats, by the distribution's cross compiler (Debian: g++-arm-linux-gnueabihf).
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(EDGE_GNU arm-linux-gnueabihf)
include("${CMAKE_CURRENT_LIST_DIR}/gnu.cmake")
