"""The gate of a deploy: what keeps a release from going live, and what is said of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from edge import board, deploy, runner, tiny
from edge.errors import BoardError, EdgeError, UsageError
from edge.machine import Machine
from edge.release import Release
from edge.session import Session
from tests.conftest import connect

X = np.ones((1, 4), np.float32)


def prepared(*files: Path) -> Release:
    return deploy.prepare(board.load("qemu-virt"), deploy.models(list(files), print), print)


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f"{name}.tflite"
    path.write_bytes(content)
    return path


def given(folder: Path, **arrays: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Path:
    np.savez(folder / "in.npz", **arrays)
    return folder / "in.npz"


def live(opened: Session) -> str | None:
    outcome = opened.transport.run(["readlink", opened.device.current])
    return PurePosixPath(outcome.text.strip()).name if outcome.ok else None


def held(opened: Session) -> set[str]:
    outcome = opened.transport.run(["find", opened.device.root, "!", "-type", "d"])
    return set(outcome.text.splitlines())


# --- on a machine whose memory ends ---------------------------------------------------------------


def test_a_model_that_needs_more_memory_than_there_is_keeps_the_old_release(
    guest: Machine, tmp_path: Path
) -> None:
    small = written(tmp_path, "small", tiny.delegable())
    large = written(tmp_path, "large", tiny.greedy(1536 << 20))
    one, two = prepared(small), prepared(small, large)
    with connect(guest) as opened:
        deploy.deploy(opened, one, print)
        before = held(opened)
        with pytest.raises(BoardError, match=r"^large\.tflite.* memory"):
            deploy.deploy(opened, two, print)
        assert live(opened) == one.id
        assert held(opened) == before
        # The board lives, and so does what is on it.
        outputs, _ = runner.infer(opened, one, one.models[0], given(tmp_path, x=X), each=False)
        np.testing.assert_array_equal(outputs["y3"], X + 3)


def test_a_run_takes_no_more_memory_than_it_may(guest: Machine, tmp_path: Path) -> None:
    wanted = prepared(written(tmp_path, "large", tiny.greedy(300 << 20)))
    inputs = given(tmp_path, x=X[0, :1])
    with connect(guest) as opened, deploy.staged(opened, wanted, print):
        with pytest.raises(BoardError) as raised:
            runner.infer(
                opened, wanted, wanted.models[0], inputs, each=False, memory_bytes=200_000_000
            )
        assert str(raised.value).startswith(
            f"large.tflite: {opened.transport.name}: the model needs more than the 200 MB of "
            "memory that are free: end other programs on the board"
        )
        outputs, _ = runner.infer(
            opened, wanted, wanted.models[0], inputs, each=False, memory_bytes=600_000_000
        )
        assert outputs["y"].tolist() == [1]


# --- what the runtime does, under QEMU's user mode ------------------------------------------------


def fails(opened: Session, wanted: Release, inputs: Path, **flags: float) -> EdgeError:
    """What is said of the first model; nothing of the run is left on the board."""
    with deploy.staged(opened, wanted, print):
        before = held(opened)
        with pytest.raises(EdgeError) as raised:
            runner.infer(opened, wanted, wanted.models[0], inputs, each=False, **flags)  # type: ignore[arg-type]
        assert held(opened) == before
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_missing_operator_is_named(emulated: Session, tmp_path: Path) -> None:
    wanted = prepared(written(tmp_path, "strange", tiny.custom_op("NobodyHasThis")))
    error = fails(emulated, wanted, given(tmp_path, x=X))
    assert isinstance(error, UsageError)
    assert "the runtime lacks the operator NobodyHasThis of" in str(error)
    assert "strange.tflite" in str(error)


def test_a_run_that_does_not_end_is_ended(emulated: Session, tmp_path: Path) -> None:
    wanted = prepared(written(tmp_path, "slow", tiny.delegable()))
    error = fails(emulated, wanted, given(tmp_path, x=X), timeout_s=0.001)
    assert isinstance(error, BoardError)
    assert str(error).startswith("slow.tflite: ")
    assert f" on {emulated.transport.name} did not end in" in str(error)


def test_wrong_inputs_are_said_with_the_model(emulated: Session, tmp_path: Path) -> None:
    wanted = prepared(written(tmp_path, "plain", tiny.delegable()))
    error = fails(emulated, wanted, given(tmp_path, x=X[:, :3]))
    assert isinstance(error, UsageError)
    assert str(error) == (
        f"plain.tflite: {emulated.transport.name}: input 'x' expects float32 [1, 4], "
        "got float32 [1, 3]"
    )
