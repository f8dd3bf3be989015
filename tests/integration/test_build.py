"""Builds by the real compilers: other bytes when tuned, other boards."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from edge import artifact, board, build, emulator, image
from edge.build import Build
from edge.errors import HostError, UsageError


@pytest.fixture(scope="module")
def plain() -> Build:
    return build.runner(board.load("qemu-aarch64"), print)


def test_the_recipe_says_what_went_in(plain: Build) -> None:
    recipe = json.loads(json.dumps(dataclasses.asdict(plain.recipe)))
    assert recipe["toolchain"] == "zig" and recipe["target"] == "aarch64-linux-gnu.2.28"
    assert recipe["compiler"].startswith("zig 0.") and "clang" in recipe["compiler"]
    assert (recipe["glibc"], recipe["mcpu"], recipe["lto"], recipe["cflags"]) == (
        "2.28", "generic", False, []
    )  # fmt: skip
    assert str(Path.cwd()) not in json.dumps(recipe)


def test_tuning_reaches_the_compiler_and_the_recipe_says_so(plain: Build) -> None:
    """All that may be tuned in one build: the linker's optimization, flags, an older C library."""
    tuned = build.runner(board.load("jetson-nano"), print, lto=True, cflags="-Os '-DNOTE=a b'")
    assert tuned.recipe == dataclasses.replace(
        plain.recipe,
        target="aarch64-linux-gnu.2.27", glibc="2.27", lto=True, cflags=("-Os", "-DNOTE=a b"),
    )  # fmt: skip
    assert tuned.runner.sha256 != plain.runner.sha256
    assert artifact.elf_facts(tuned.runner.path).versions["GLIBC"] <= (2, 27)
    assert _facts(tuned, "qemu-aarch64", "cortex-a57")["machine"] == "aarch64"

    def commands(made: Build, target: str) -> list[str]:
        argv = [build.tool("ninja"), "-C", str(made.runner.path.parent), "-t", "commands", target]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        return [line for line in said.splitlines() if " c++ " in line]

    for command in commands(tuned, "edge-run"):
        words = shlex.split(command)
        assert "-flto" in words
        if "-c" in words:
            # The last level of optimization is the one that counts.
            levels = [word for word in words if re.fullmatch(r"-O\w+", word)]
            assert levels[-1] == "-Os" and "-DNOTE=a b" in words
    assert not any("-flto" in command for command in commands(plain, "edge-run"))


@pytest.mark.parametrize("cpu", ["cortex-a7", "cortex-a8"])
def test_a_32_bit_board_runs_the_runner(cpu: str) -> None:
    built = build.runner(board.load("qemu-armv7l"), print)
    with built.runner.path.open("rb") as file:
        assert ELFFile(file)["e_flags"] & 0x400, "hard floats"
    assert _facts(built, "qemu-armv7l", cpu)["machine"] == "armv7l"


def test_a_core_that_does_not_exist_is_refused_before_anything_is_built() -> None:
    impossible = dataclasses.replace(board.load("rpi4"), mcpu="cortex-a999")
    with pytest.raises(UsageError, match=r"boards/rpi4\.toml: mcpu = 'cortex-a999'.*cortex-a7"):
        build.runner(impossible, print)


def test_a_wrong_flag_is_the_compilers_own_line() -> None:
    with pytest.raises(HostError, match="unknown warning option '-Wnonsense'"):
        build.runner(board.load("qemu-aarch64"), print, cflags="-Wnonsense")


def _facts(built: Build, name: str, cpu: str | None = None) -> dict[str, object]:
    """What ``edge-run facts`` says on an emulated board."""
    target = board.load(name)
    assert target.image is not None
    described = image.load(target.image)
    tool = emulator.user_emulator(described.architecture, print)
    sysroot = image.sysroot(described, print)
    result = subprocess.run(
        [*tool.argv, "-L", sysroot, "-cpu", cpu or target.cpu, built.runner.path, "facts"],
        env=tool.environ(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, object] = json.loads(result.stdout)
    return found
