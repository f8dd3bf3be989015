"""What is said about a build before and after it; nothing is compiled here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edge import board, build, toolchain
from edge.errors import UsageError

ZIG = """\
info: available CPUs for architecture 'aarch64':
 cortex_a72
 cortex_a78ae
 generic

error: unknown CPU: 'no_such_core'
"""
GCC = """\
cc1plus: error: unknown value 'no-such-core' for '-mcpu'
cc1plus: note: valid arguments are: cortex-a72 cortex-a78ae generic; did you mean 'x'?
"""


@pytest.mark.parametrize("complaint", [ZIG, GCC])
def test_the_cores_a_compiler_knows_are_read_from_its_complaint(complaint: str) -> None:
    assert build.parse_cores(complaint) == {"cortex-a72", "cortex-a78ae", "generic"}


def test_a_compiler_that_lists_no_cores_is_believed() -> None:
    assert build.parse_cores("error: unknown argument '-mcpu'") == frozenset()
    _check(frozenset(), mcpu="cortex-a999")


def _check(known: frozenset[str], **changes: str) -> None:
    target = dataclasses.replace(board.load("rpi4"), **changes)  # type: ignore[arg-type]
    build.check_cores(target, toolchain.load("zig", "aarch64"), known)


@pytest.mark.parametrize("mcpu", ["generic", "cortex-a72", "cortex_a72", "cortex-a72+crc"])
def test_a_core_that_the_compiler_knows_is_right(mcpu: str) -> None:
    _check(build.parse_cores(ZIG), mcpu=mcpu)


@pytest.mark.parametrize("key", ["mcpu", "cpu"])
def test_an_impossible_core_names_the_board_file_and_those_near(key: str) -> None:
    with pytest.raises(UsageError) as error:
        _check(build.parse_cores(ZIG), **{key: "cortex-a77"})
    for part in ("boards/rpi4.toml", f"{key} = 'cortex-a77'", "zig knows no", "cortex-a72"):
        assert part in str(error.value)


def test_flags_are_split_as_a_shell_does() -> None:
    assert build._flags("-O3 '-DNAME=a b'") == ("-O3", "-DNAME=a b")


@pytest.mark.parametrize(
    ("text", "complaint"), [("-DX='", "No closing quotation"), ("-DX=a;b", "semicolon")]
)
def test_flags_that_can_not_be_passed_on_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build._flags(text)


def test_the_sources_hash_is_of_contents_and_names_not_of_places(tmp_path: Path) -> None:
    def tree(name: str, code: str = "int x;", file: str = "x.cc") -> str:
        root = tmp_path / name
        for folder in ("src", "include", "tests"):
            (root / folder).mkdir(parents=True)
        (root / "CMakeLists.txt").write_text("project(edge)")
        (root / "src" / file).write_text(code)
        (root / "tests" / "test.cc").write_text(name)  # is not part of the runner
        chain = root / "zig-aarch64.cmake"
        chain.write_text("set(X y)")
        return build._hash_sources(root, [chain])

    first = tree("one")
    assert tree("another/place") == first
    assert tree("other-code", "int y;") != first
    assert tree("other-name", file="y.cc") != first


def test_the_reason_cmake_gives_is_one_line_without_its_call_stack() -> None:
    output = (
        "-- x\nCMake Error at a.cmake:9 (message):\n  g++ is not installed: install it, or\n"
        "  use zig\nCall Stack (most recent call first):\n  b.cmake:3 (include)\n\n"
    )
    assert build.first_error(output) == "g++ is not installed: install it, or use zig"


def test_the_compilers_first_error_is_the_reason() -> None:
    output = "[1/2] c++ x.cc\nFAILED: x.o\nx.cc:1:1: error: no such thing\nx.cc:2:1: error: more\n"
    assert build.first_error(output) == "x.cc:1:1: error: no such thing"


def test_a_tree_whose_cmake_has_gone_is_configured_anew(tmp_path: Path) -> None:
    assert not build.configured(tmp_path)
    cmake = tmp_path / "cmake"
    (tmp_path / "CMakeCache.txt").write_text(f"A:BOOL=ON\nCMAKE_COMMAND:INTERNAL={cmake}\n")
    (tmp_path / "build.ninja").write_text("")
    assert not build.configured(tmp_path)
    cmake.write_text("")
    assert build.configured(tmp_path)
    (tmp_path / "build.ninja").unlink()
    assert not build.configured(tmp_path)
