"""A dataset through a model on a board: real digits, real programs, each prediction beside here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge import dataset, deploy, evaluation, layers
from edge.errors import UsageError
from edge.scoring import Classes
from edge.session import Session
from examples.digits import dataset as digits
from tests import worker

CNN = digits.FOLDER / "models/cnn-int8.tflite"
HELDOUT = digits.FOLDER / digits.HELDOUT_FILE


def test_a_board_of_another_processor(emulated: Session, tmp_path: Path) -> None:
    asked = evaluation.question(CNN, dataset.load(HELDOUT, limit=200), None)
    layers.expose(CNN, asked.read, tmp_path / "layers.tflite")
    files = deploy.models([CNN, tmp_path / "layers.tflite"], print)
    wanted = deploy.prepared(emulated, files, print)
    with deploy.staged(emulated, wanted, print):
        found, there = evaluation.evaluate(emulated, wanted, wanted.models[0], asked, print)
        parting = evaluation.part(emulated, wanted, wanted.models[1], asked, found, there, print)
    assert found.emulated and found.samples == 200  # in two pieces
    assert isinstance(found.score, Classes) and found.score.top1 >= 0.96
    like = found.likeness
    assert like.same is not None and like.same >= 198
    assert found.step is not None and like.largest_difference <= 4 * found.step
    assert like.exact == 200 - len(like.differing)
    # Kernels that this model needs give the same on both; from the first that does not, on.
    nodes = [layer.node for layer in parting.layers]
    assert nodes == sorted(nodes) and len(parting.layers) == len(asked.read.subgraphs[0].operators)
    assert parting.layers[-1].unequal == 0 or parting.first is not None
    assert parting.as_model == len(parting.samples) == 8


def test_a_model_that_is_another_there(emulated: Session) -> None:
    """The host is asked about one network, the board has another: it must be seen, and where."""
    other = digits.FOLDER / "models/cnn-dynamic.tflite"
    asked = evaluation.question(
        digits.FOLDER / "models/cnn-float32.tflite", dataset.load(HELDOUT, limit=50), None
    )
    wanted = deploy.prepared(emulated, deploy.models([other], print), print)
    with deploy.staged(emulated, wanted, print):
        found, _ = evaluation.evaluate(emulated, wanted, wanted.models[0], asked, print)
    assert found.likeness.exact < 50
    assert found.likeness.largest_difference > 1e-3
    assert found.likeness.differing[0].largest_difference >= (
        found.likeness.differing[-1].largest_difference
    )


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """This machine with a device root of its own: others may deploy to it meanwhile."""
    path = tmp_path / "lab.toml"
    worker.keep_apart(path, tmp_path / "root")
    return path


def call(lab: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("invoke"), "evaluate", "--board", "localhost", *words],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "EDGE_LAB": str(lab)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_on_this_machine(lab: Path) -> None:
    done = call(lab, "--model", str(CNN), "--data", str(HELDOUT), "--samples", "40", "--layers")
    assert done.returncode == 0, done.stderr
    assert "cnn-int8.tflite on localhost" in done.stdout
    assert "top-1 " in done.stdout and "label (row), prediction (column)" in done.stdout
    assert "with every result fetched, the outputs are those of the model itself" in done.stdout


@pytest.mark.parametrize(
    "words, said",
    [
        (("--data", "{wrong}"), "samples of 5x5 don't fit the model's input 'image'"),
        (("--data", "{far}"), "labels 0 to 99 do not go with 10 scores"),
    ],
)
def test_what_does_not_fit_ends_before_the_board(
    words: tuple[str, ...], said: str, tmp_path: Path, lab: Path
) -> None:
    np.savez(tmp_path / "wrong.npz", image=np.zeros((3, 5, 5)))
    np.savez(tmp_path / "far.npz", image=np.zeros((2, 8, 8, 1)), label=np.array([0, 99]))
    files = {"wrong": tmp_path / "wrong.npz", "far": tmp_path / "far.npz"}
    done = call(lab, "--model", str(CNN), *(word.format(**files) for word in words))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "sending" not in done.stderr


def test_no_interpreter_here_runs_it(tmp_path: Path) -> None:
    (tmp_path / "none.tflite").write_bytes(b"no model")
    with pytest.raises(UsageError, match="no TFLite model"):
        evaluation.question(tmp_path / "none.tflite", dataset.load(HELDOUT), None)
