# 32-bit ARM boards with hard floats (Debian's and Raspberry Pi OS's armhf), by zig.
set(EDGE_ARCH arm)
set(EDGE_LIBC gnueabihf)
# What armhf asks for and no more: ARMv7-A with VFPv3-D16. zig's own baseline adds NEON.
set(EDGE_MCPU_GENERIC baseline-neon-d32)
include("${CMAKE_CURRENT_LIST_DIR}/zig.cmake")
