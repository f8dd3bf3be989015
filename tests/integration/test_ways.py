"""The ways to run a model that are not TFLite's own, on this machine and under qemu-aarch64."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import agreement, board, deploy, layout, reference, runner, session, tiny
from edge.deploy import Choice
from edge.errors import UsageError
from edge.release import Release
from edge.session import Session

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits/models"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="this machine's board is for Linux on x86_64",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = str(tmp_path_factory.mktemp("root"))
    with session.connect(dataclasses.replace(board.load("localhost"), root=root), print) as opened:
        yield opened


@pytest.fixture(scope="module")
def emulated_aarch64() -> Iterator[Session]:
    target = dataclasses.replace(board.load("qemu-aarch64"), name="test-ways-aarch64")
    shutil.rmtree(layout.machines_dir() / target.name, ignore_errors=True)
    with session.connect(target, print) as opened:
        yield opened


def _release(opened: Session, engine: str, *paths: Path) -> Release:
    found = deploy.models(list(paths), print)
    return deploy.prepared(opened, found, print, Choice(engine=engine))


@pytest.mark.parametrize("place", ["here", "emulated_aarch64"])
def test_numpy_answers_as_the_reference_and_int8_to_the_last_bit(
    place: str, request: pytest.FixtureRequest
) -> None:
    opened: Session = request.getfixturevalue(place)
    # An emulated Python takes long to import numpy.
    pattern = "*.tflite" if place == "here" else "*-int8.tflite"
    paths = sorted(DIGITS.glob(pattern))
    release = _release(opened, "numpy", *paths)
    with deploy.staged(opened, release, print):
        assert len(release.models) == len(paths) >= 2
        for model in release.models:
            expected = reference.compute(model.path)
            got, report = runner.infer(opened, release, model, expected.inputs_file, each=False)
            found = agreement.compare(model.path.name, got, expected)
            assert found.ok, found
            if "int8" in model.path.name:
                assert found.largest_difference == 0
            elif "dynamic" not in model.path.name:
                assert found.largest_difference < 1e-5
            assert report["engine"] == "numpy" and report["warnings"] == []


def test_an_operator_that_numpy_has_not_is_refused_before_anything_is_sent(
    here: Session, tmp_path: Path
) -> None:
    path = tmp_path / "branches.tflite"
    path.write_bytes(tiny.branches())
    with pytest.raises(UsageError, match="can't run node 3, DIV"):
        _release(here, "numpy", path)
