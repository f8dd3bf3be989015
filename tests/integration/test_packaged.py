"""Debian's own TFLite, with what it needs, on a system new enough and on one too old."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from edge import agreement, artifact, board, deploy, layout, reference, runner, runtime, session
from edge.deploy import Choice
from edge.errors import UsageError
from examples.digits import dataset

NAME = "debian-tflite-2.14.1"
MODELS = [m.path for m in dataset.models() if m.name in ("cnn-float32", "cnn-int8")]


def a_board(name: str, image: str) -> board.Board:
    target = dataclasses.replace(board.load(name), name=f"test-packaged-{image}", image=image)
    shutil.rmtree(layout.machines_dir() / target.name, ignore_errors=True)
    return target


def test_all_that_it_needs_stands_beside_it() -> None:
    for arch, count in (("aarch64", 29), ("armv7l", 31)):
        target = dataclasses.replace(board.load("rpi4"), arch=arch)
        files = runtime.libraries(runtime.load(NAME), target, print)
        assert len(files) == count and files[0].place == runtime.PLACE
        there = {file.path.name for file in files}
        needed = {name for file in files for name in artifact.elf_facts(file.path).needed}
        beyond = {name.partition(".")[0] for name in needed - there}
        assert beyond <= {"libc", "libm", "ld-linux-aarch64", "ld-linux-armhf"}


@pytest.mark.parametrize(
    ("name", "image"), [("qemu-aarch64", "trixie-arm64"), ("qemu-armv7l", "trixie-armhf")]
)
def test_it_computes_on_a_system_that_is_new_enough(name: str, image: str) -> None:
    with session.connect(a_board(name, image), print) as opened:
        found = deploy.models(MODELS, print)
        wanted = deploy.prepared(opened, found, print, Choice(runtime=NAME))
        with deploy.staged(opened, wanted, print):
            for item in wanted.models:
                expected = reference.compute(item.path)
                got, told = runner.infer(opened, wanted, item, expected.inputs_file, each=False)
                assert agreement.compare(item.path.name, got, expected).ok
                assert "no XNNPACK delegate" in told["without_xnnpack"]


@pytest.mark.parametrize(
    ("name", "image"), [("qemu-aarch64", "bookworm-arm64"), ("qemu-armv7l", "bookworm-armhf")]
)
def test_an_older_system_is_told_before_anything_is_sent(name: str, image: str) -> None:
    with session.connect(a_board(name, image), print) as opened:
        found = deploy.models(MODELS[:1], print)
        wanted = deploy.prepared(opened, found, print, Choice(runtime=NAME))
        with (
            pytest.raises(UsageError, match=r"needs glibc 2\.38.* the board has 2\.36"),
            deploy.staged(opened, wanted, print),
        ):
            pass
