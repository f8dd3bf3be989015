"""Toolchain files: which there are, and what CMake is told."""

from __future__ import annotations

import pytest

from edge import toolchain


def test_what_a_toolchain_file_includes_belongs_to_it() -> None:
    names = [path.name for path in toolchain.load("zig", "armv7l").files]
    assert names == ["zig-armv7l.cmake", "zig.cmake"]
    assert [path.name for path in toolchain.load("gnu", "aarch64").files][1] == "gnu.cmake"


@pytest.mark.parametrize("arch", ["aarch64", "armv7l"])
def test_both_compilers_serve_every_board_architecture(arch: str) -> None:
    assert {chain.name for chain in toolchain.load_all() if chain.arch == arch} == {"zig", "gnu"}


def test_tuning_is_passed_on_and_absent_when_there_is_none() -> None:
    chain = toolchain.load("zig", "aarch64")
    plain = chain.cmake_arguments(glibc="2.28", mcpu="generic")
    tuned = chain.cmake_arguments(glibc="2.28", mcpu="generic", lto=True, cflags=("-O3", "-DX=a b"))
    assert tuned[: len(plain)] == plain
    assert tuned[len(plain) :] == ("-DEDGE_LTO=ON", "-DEDGE_CFLAGS=-O3 '-DX=a b'")
