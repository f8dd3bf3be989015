# Says which compiler a toolchain file chooses, one word a line, without configuring anything:
# cmake -DCMAKE_TOOLCHAIN_FILE=... [-DEDGE_...] -P compiler.cmake
include("${CMAKE_TOOLCHAIN_FILE}")
string(REPLACE ";" "\n" words "${CMAKE_CXX_COMPILER}")
message("${words}")
