"""Builds by the real compilers: the same bytes anywhere, other bytes when tuned, other boards."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from edge import artifact, board, build, emulator, image, layout
from edge.build import Build
from edge.errors import HostError, UsageError


@pytest.fixture(scope="module")
def plain() -> Build:
    return build.runner(board.load("qemu-aarch64"), print)


def test_a_build_elsewhere_has_the_same_bytes(
    plain: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "a checkout with a longer name" / "firmware"
    shutil.copytree(layout.firmware_dir(), checkout)
    # What zig compiles of its own C library is shared: it takes longer than everything else.
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(layout.builds_dir() / "zig"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(layout, "firmware_dir", lambda: checkout)

    again = build.runner(board.load("qemu-aarch64"), print)
    assert again.compiled and again.runner.path != plain.runner.path
    assert again.recipe == plain.recipe
    assert again.runner.sha256 == plain.runner.sha256
    assert artifact.hash_file(again.library) == artifact.hash_file(plain.library)
    for place in (str(tmp_path), str(Path.home())):
        assert place.encode() not in again.runner.path.read_bytes()


def test_the_recipe_says_what_went_in(plain: Build) -> None:
    recipe = json.loads(json.dumps(dataclasses.asdict(plain.recipe)))
    assert recipe["toolchain"] == "zig" and recipe["target"] == "aarch64-linux-gnu.2.28"
    assert recipe["compiler"].startswith("zig 0.") and "clang" in recipe["compiler"]
    assert (recipe["glibc"], recipe["mcpu"], recipe["lto"], recipe["cflags"]) == (
        "2.28", "generic", False, []
    )  # fmt: skip
    assert str(Path.cwd()) not in json.dumps(recipe)


@pytest.mark.parametrize(("lto", "cflags"), [(True, None), (None, "-Os '-DNOTE=a b'")])
def test_tuning_changes_the_bytes_and_the_recipe_says_so(
    plain: Build, lto: bool | None, cflags: str | None
) -> None:
    tuned = build.runner(board.load("qemu-aarch64"), print, lto=lto, cflags=cflags)
    assert tuned.recipe == dataclasses.replace(
        plain.recipe, lto=bool(lto), cflags=("-Os", "-DNOTE=a b") if cflags else ()
    )
    assert tuned.runner.sha256 != plain.runner.sha256
    assert _facts(tuned, "qemu-aarch64")["machine"] == "aarch64"


@pytest.mark.parametrize("cpu", ["cortex-a7", "cortex-a8"])
def test_a_32_bit_board_runs_the_runner(cpu: str) -> None:
    built = build.runner(board.load("qemu-armv7l"), print)
    with built.runner.path.open("rb") as file:
        assert ELFFile(file)["e_flags"] & 0x400, "hard floats"
    assert _facts(built, "qemu-armv7l", cpu)["machine"] == "armv7l"


def test_a_board_with_an_older_c_library_gets_a_runner_for_it() -> None:
    built = build.runner(board.load("jetson-nano"), print)
    assert built.recipe.target.endswith(".2.27")
    assert artifact.elf_facts(built.runner.path).versions["GLIBC"] <= (2, 27)
    assert _facts(built, "qemu-aarch64", "cortex-a57")["machine"] == "aarch64"


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
