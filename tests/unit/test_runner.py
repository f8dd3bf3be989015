"""edge-run's answers as a board may give them, the wrong ones too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from edge import board, runner
from edge.errors import BoardError, UsageError
from edge.session import Session
from edge.testing import FakeTransport
from tests.unit.test_preflight import FACTS

ARGV = ["/r/bin/edge-run", "bench"]
REPORT = {"delegation": {}, "cold_start": {}, "peak_rss_bytes": 1, "warnings": []}


def session(transport: FakeTransport) -> Session:
    here = dataclasses.replace(FACTS, root=PurePosixPath("/r"))
    return Session(board.load("rpi4"), transport, here)


def test_a_report_is_what_was_printed() -> None:
    transport = FakeTransport("pi@rpi4")
    transport.on(ARGV, stdout=json.dumps(REPORT).encode())
    assert runner.call(session(transport), ARGV, 1.0) == REPORT


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", "{", "[" * 100_000, '{"delegation": {}}'])
def test_anything_else_is_the_boards_failure(text: str) -> None:
    transport = FakeTransport("pi@rpi4")
    transport.on(ARGV, stdout=text.encode())
    with pytest.raises(BoardError, match="edge-run bench on pi@rpi4 printed no report"):
        runner.call(session(transport), ARGV, 1.0)


@pytest.mark.parametrize(
    ("exit_code", "kind", "text"),
    [
        (5, UsageError, r"^pi@rpi4: m\.tflite is no model$"),
        (9, BoardError, r"^pi@rpi4: m\.tflite is no model$"),
        (132, BoardError, "ended by signal 4"),
        (139, BoardError, "ended by signal 11"),
    ],
)
def test_exit_codes(exit_code: int, kind: type[Exception], text: str) -> None:
    transport = FakeTransport("pi@rpi4")
    transport.on(ARGV, exit_code=exit_code, stderr=b"noise\nedge-run: m.tflite is no model\n")
    with pytest.raises(kind, match=text):
        runner.call(session(transport), ARGV, 1.0)


def test_a_crash_is_the_runtimes_or_ours_as_the_runner_says() -> None:
    words = "the runtime crashed by SIGSEGV while loading the model: it can't cope with it"
    transport = FakeTransport("pi@rpi4")
    transport.on(ARGV, exit_code=139, stderr=f"noise\nedge-run: {words}\nmore".encode())
    with pytest.raises(BoardError) as raised:
        runner.call(session(transport), ARGV, 1.0)
    assert str(raised.value) == f"pi@rpi4: {words}"


def test_inputs_are_read_here_before_they_go_anywhere(tmp_path: Path) -> None:
    array, archive = tmp_path / "x.npy", tmp_path / "x.npz"
    np.save(array, np.zeros((1, 64), np.float32))
    np.savez(archive, x=np.zeros(3))
    assert runner.inputs_file(array) == array
    assert runner.inputs_file(archive) == archive
    for path in (array, archive):
        for keep in (0, 100, path.stat().st_size - 1):
            cut = tmp_path / f"cut{path.suffix}"
            cut.write_bytes(path.read_bytes()[:keep])
            with pytest.raises(UsageError, match=r"cut\.np. can't be read"):
                runner.inputs_file(cut)
    np.save(array, np.array([{}], dtype=object))
    with pytest.raises(UsageError, match="can't be read"):
        runner.inputs_file(array)
    with pytest.raises(UsageError, match="no file"):
        runner.inputs_file(tmp_path / "missing.npz")
    with pytest.raises(UsageError, match=r"as \.npz or \.npy"):
        runner.inputs_file(tmp_path)


def test_outputs_have_a_place_before_anything_runs(tmp_path: Path) -> None:
    assert runner.outputs_file(tmp_path / "y.npz") == tmp_path / "y.npz"
    with pytest.raises(UsageError, match=r"no folder .*nowhere: make it first"):
        runner.outputs_file(tmp_path / "nowhere" / "y.npz")
    with pytest.raises(UsageError, match="name a file in it"):
        runner.outputs_file(tmp_path)


def test_a_work_folder_goes_even_if_its_making_was_interrupted() -> None:
    transport = FakeTransport("pi@rpi4")
    transport.on(["sh"], raises=KeyboardInterrupt())
    transport.on(["rm"], stdout=b"")
    with pytest.raises(KeyboardInterrupt), runner.work_folder(session(transport)):
        raise AssertionError("not reached")
    asked = [call.argv for call in transport.calls]
    assert asked[-1][:2] == ("rm", "-rf")
    assert {PurePosixPath(path).parent for path in asked[-1][2:]} == {
        PurePosixPath("/dev/shm"),
        PurePosixPath("/r/runs"),
    }


def test_a_work_folder_that_a_board_makes_up_is_refused() -> None:
    transport = FakeTransport("pi@rpi4")
    transport.on(["sh"], stdout=b"/etc\n")
    transport.on(["rm"], stdout=b"")
    with (
        pytest.raises(BoardError, match="no room for a work folder"),
        runner.work_folder(session(transport)),
    ):
        raise AssertionError("not reached")
