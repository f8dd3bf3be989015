"""Preflight and support libraries against the libraries of real systems and real runtimes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge import artifact, board, build, emulator, facts, image, preflight, runtime, support
from edge.artifact import ElfFacts
from edge.errors import UsageError
from edge.facts import Facts
from edge.transport.local import LocalTransport

DIGITS = Path(__file__).parents[2] / "examples/digits/models/mlp-float32.tflite"


@pytest.fixture(scope="session")
def bullseye() -> Path:
    return image.sysroot(image.load("bullseye-arm64"), print)


@pytest.fixture
def seen(bullseye: Path) -> Facts:
    with LocalTransport() as here:
        return facts.in_sysroot(facts.read(here, "edge"), bullseye, "aarch64", "cortex-a72")


def library(name: str) -> artifact.Artifact:
    return runtime.fetch(runtime.load(name), "aarch64", print)


def alternatives() -> list[tuple[str, ElfFacts]]:
    names = ("litert-2.3.0", "litert-2.1.0")
    return [(name, artifact.elf_facts(library(name).path)) for name in names]


def test_a_modern_runtime_is_refused_on_debian_11_and_the_one_that_fits_is_named(
    seen: Facts,
) -> None:
    assert (seen.glibc, seen.provides["GLIBCXX"]) == ((2, 31), (3, 4, 28))
    found = preflight.look(
        board.load("qemu-aarch64-bullseye"),
        seen,
        (library("litert-2.3.0"),),
        0,
        runtime="litert-2.3.0",
        alternatives=alternatives,
    )
    with pytest.raises(UsageError) as error:
        preflight.insist(found)
    assert str(error.value) == (
        "libLiteRt.so of litert-2.3.0 needs glibc 2.34 and GLIBCXX_3.4.30, the board has 2.31 and "
        "3.4.28; --runtime litert-2.1.0 fits (needs glibc 2.30 and GLIBCXX_3.4.26)"
    )
    preflight.insist(
        preflight.look(board.load("qemu-aarch64-bullseye"), seen, (library("litert-2.1.0"),), 0)
    )


def test_a_board_without_a_cxx_runtime_is_sent_one_and_runs_the_model(
    bullseye: Path, seen: Facts, tmp_path: Path
) -> None:
    """As on a minimal Yocto or Buildroot system: glibc, and no libstdc++."""
    bare = tmp_path / "bare"
    libraries = bare / "usr/lib/aarch64-linux-gnu"
    libraries.mkdir(parents=True)
    (bare / "lib").symlink_to("usr/lib")
    for path in sorted(bullseye.rglob("usr/lib/aarch64-linux-gnu/*.so.*")):
        if not path.name.startswith(("libstdc++", "libgcc_s")):
            shutil.copy(path, libraries / path.name, follow_symlinks=True)
    (bare / "usr/lib/ld-linux-aarch64.so.1").symlink_to("aarch64-linux-gnu/ld-linux-aarch64.so.1")
    if not (libraries / "ld-linux-aarch64.so.1").exists():
        shutil.copy(bullseye / "lib/ld-linux-aarch64.so.1", libraries / "ld-linux-aarch64.so.1")
    with LocalTransport() as here:
        lacking = facts.in_sysroot(facts.read(here, "edge"), bare, "aarch64", "cortex-a72")
    assert not lacking.provides

    target = board.load("qemu-aarch64-bullseye")
    program, tflite = build.runner(target, print).runner, library("litert-2.1.0")
    needs = [artifact.elf_facts(file.path) for file in (program, tflite)]
    assert support.files("aarch64", seen, needs, print) == ()
    shipped = support.files("aarch64", lacking, needs, print)
    assert [file.place for file in shipped] == ["lib/libgcc_s.so.1", "lib/libstdc++.so.6"]
    without = preflight.look(target, lacking, (program, tflite), 0)
    assert "libstdc++.so.6" in next(f.text for f in without if f.level == "stop")
    preflight.insist(preflight.look(target, lacking, (program, tflite, *shipped), 0))

    release = tmp_path / "release"
    tool = emulator.user_emulator("arm64", print)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*tool.argv, "-L", str(bare), "-cpu", "cortex-a72", str(release / program.place),
             "bench", "--model", str(DIGITS), "--lib", str(release / tflite.place),
             "--samples", str(tmp_path / "samples"), "--count", "2", "--iterations", "1"],
            env={**os.environ, **tool.env}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    for file in (program, tflite):
        (release / file.place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.path, release / file.place)
    (release / program.place).chmod(0o755)
    before = run()
    assert before.returncode != 0 and "libstdc++.so.6" in before.stderr
    for file in shipped:
        shutil.copy(file.path, release / file.place)
    after = run()
    assert after.returncode == 0, after.stderr


def test_a_new_libstdcxx_is_not_sent_where_the_c_library_is_too_old(seen: Facts) -> None:
    modern = artifact.elf_facts(library("litert-2.3.0").path)
    assert support.files("aarch64", seen, [modern], print) == ()
    bookworm = dataclasses.replace(seen, glibc=(2, 36), libc="glibc 2.36")
    [sent] = support.files("aarch64", bookworm, [modern], print)
    assert artifact.provided_version(sent.path, "GLIBCXX") == (3, 4, 30)
