# What the zig toolchains share. Include it after setting EDGE_ARCH (the first part of the target
# triple), EDGE_LIBC (the last, such as "gnu") and EDGE_MCPU_GENERIC (zig's -mcpu for "generic").
#
#   EDGE_GLIBC   the oldest glibc the result must run on; zig links against exactly that version
#   EDGE_MCPU    the core, as GCC spells it, such as "generic" or "cortex-a72"; after a "+", features
#                as zig spells them
#   EDGE_ZIG     the zig command, a list: "/path/to/zig" or "<python>;-m;ziglang"
#   EDGE_PYTHON  the Python that has the `ziglang` wheel, used when EDGE_ZIG is not given

set(EDGE_GLIBC "2.28" CACHE STRING "Oldest glibc to run on")
set(EDGE_MCPU "generic" CACHE STRING "CPU to generate code for, in GCC's spelling")
set(EDGE_ZIG "" CACHE STRING "The zig command, as a list")
set(EDGE_PYTHON "" CACHE FILEPATH "A Python with the ziglang wheel")

set(edge_zig ${EDGE_ZIG})
if(NOT edge_zig AND EDGE_PYTHON)
  set(edge_zig "${EDGE_PYTHON};-m;ziglang")
endif()
if(NOT edge_zig)
  find_program(EDGE_ZIG_PROGRAM NAMES zig python-zig)
  if(NOT EDGE_ZIG_PROGRAM)
    message(FATAL_ERROR "no zig found: give -DEDGE_PYTHON=<a python with the ziglang wheel> "
                        "or -DEDGE_ZIG=<path of zig>")
  endif()
  set(edge_zig "${EDGE_ZIG_PROGRAM}")
endif()

# zig writes the cores' names with underscores.
string(REGEX REPLACE "[+].*" "" edge_core "${EDGE_MCPU}")
string(REGEX MATCH "[+].*" edge_features "${EDGE_MCPU}")
string(REPLACE "-" "_" edge_mcpu "${edge_core}")
string(REGEX REPLACE "^generic$" "${EDGE_MCPU_GENERIC}" edge_mcpu "${edge_mcpu}")
string(APPEND edge_mcpu "${edge_features}")

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR "${EDGE_ARCH}")
set(edge_target -target "${EDGE_ARCH}-linux-${EDGE_LIBC}.${EDGE_GLIBC}" "-mcpu=${edge_mcpu}")
set(CMAKE_C_COMPILER ${edge_zig} cc ${edge_target})
set(CMAKE_CXX_COMPILER ${edge_zig} c++ ${edge_target})

# What CMake would find out by running zig half a dozen times: it is clang, and it works.
foreach(lang C CXX)
  set(CMAKE_${lang}_COMPILER_ID Clang)
  set(CMAKE_${lang}_COMPILER_ID_RUN TRUE)
  set(CMAKE_${lang}_COMPILER_VERSION 20.0)
  set(CMAKE_${lang}_COMPILER_FORCED TRUE)
endforeach()

# Spare everyone the compilation of the whole libc++: see firmware/src/cxx_runtime.cc.
set(EDGE_OWN_CXX_RUNTIME ON)

set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
