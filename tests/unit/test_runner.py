"""edge-run's answers as a board may give them, the wrong ones too."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import agreement, board, runner
from edge import release as release_module
from edge.artifact import Artifact
from edge.errors import BoardError, EdgeError, UnreachableError, UsageError
from edge.reference import Reference
from edge.release import Release
from edge.session import Session
from edge.testing import FakeTransport
from tests.unit.test_preflight import FACTS

ARGV = ["/r/bin/edge-run", "bench"]
DELEGATION = {"applied": True, "nodes_total": 4, "nodes_delegated": 3, "partitions": 1}
REPORT = {
    "delegation": DELEGATION,
    "cold_start": {"library_open_ns": 5, "rss_bytes": [1, 2]},
    "peak_rss_bytes": 1,
    "warnings": ["slow"],
}


def session(transport: FakeTransport) -> Session:
    here = dataclasses.replace(FACTS, root=PurePosixPath("/r"))
    return Session(board.load("rpi4"), transport, here)


def test_a_report_is_what_was_printed() -> None:
    transport = FakeTransport("pi@rpi4")
    transport.on(ARGV, stdout=json.dumps(REPORT).encode())
    assert runner.call(session(transport), ARGV, 1.0) == REPORT


@pytest.mark.parametrize(
    "changed",
    [
        {"delegation": 1},
        {"delegation": {**DELEGATION, "applied": 1}},
        {"delegation": {**DELEGATION, "nodes_total": "4"}},
        {"delegation": {**DELEGATION, "partitions": 10**30}},
        {"cold_start": []},
        {"cold_start": {"library_open_ns": None}},
        {"cold_start": {"library_open_ns": 1.5}},
        {"peak_rss_bytes": True},
        {"peak_rss_bytes": float("nan")},
        {"warnings": 5},
        {"warnings": [{}]},
        {"iterations": "4"},
        {"other": float("inf")},
    ],
)
def test_a_report_of_another_shape_is_none(changed: dict[str, object]) -> None:
    transport = FakeTransport("pi@rpi4")
    transport.on(ARGV, stdout=json.dumps(REPORT | changed).encode())
    with pytest.raises(BoardError, match="edge-run bench on pi@rpi4 printed no report"):
        runner.call(session(transport), ARGV, 1.0)


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


# --- infer ----------------------------------------------------------------------------------------


def release() -> Release:
    files = [
        Artifact(Path(f"/here/{place}"), place, f"{number:064x}", 1)
        for number, place in enumerate(("bin/edge-run", "lib/libtflite.so"))
    ]
    model = Artifact(Path("/here/m.tflite"), "models/m.tflite", f"{7:064x}", 1)
    return release_module.make(
        "aarch64", files, [model], runtime_name="litert-2.1.0", engine="tflite", recipe={}
    )


def archive(**arrays: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


Y = np.array([[2, 4]], np.float32)
GOOD = json.dumps(REPORT).encode() + b"\n" + archive(y=Y, empty=np.zeros((0, 3), np.int8))


def infer(transport: FakeTransport, tmp_path: Path, **flags: Any) -> tuple[Any, dict[str, Any]]:
    given = tmp_path / "x.npy"
    np.save(given, np.array([[1, 2]], np.float32))
    wanted = release()
    return runner.infer(session(transport), wanted, wanted.models[0], given, **flags)


def answering(**outcome: Any) -> FakeTransport:
    return FakeTransport("pi@rpi4").on(lambda argv: "infer" in argv, **outcome)


def test_infer_is_one_program_that_is_given_all(tmp_path: Path) -> None:
    transport = answering(stdout=GOOD)
    outputs, report = infer(transport, tmp_path, each=False, memory_bytes=12345678)
    assert report == REPORT
    assert list(outputs) == ["y", "empty"]
    assert outputs["y"].dtype == Y.dtype
    assert outputs["y"].tolist() == Y.tolist()
    assert outputs["empty"].shape == (0, 3)
    outputs["y"] += 1  # the caller's own
    (call,) = transport.calls
    assert call.verb == "run"
    assert call.stdin == (tmp_path / "x.npy").read_bytes()
    assert call.argv[-6:] == ("--input", "-", "--output", "-", "--memory", "12345678")
    infer(transport, tmp_path, each=True, dequantize=True)
    assert transport.calls[-1].argv[-2:] == ("--each", "--dequantize")


def test_a_slow_link_has_time_for_the_inputs(tmp_path: Path) -> None:
    transport = answering(stdout=GOOD)
    wanted, large = release(), tmp_path / "large.npy"
    np.save(large, np.zeros(5_000_000, np.int8))
    runner.infer(session(transport), wanted, wanted.models[0], large, timeout_s=7)
    assert transport.calls[0].timeout_s == pytest.approx(107, abs=0.1)


def member(content: bytes, **flags: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **flags) as made:
        made.writestr("y.npy", content)
    return stream.getvalue()


def npy(text: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    header = text.encode() + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


def overlapping() -> bytes:
    """A thousand members that are all the same million bytes."""
    whole = member(
        npy("{'descr': '|i1', 'fortran_order': False, 'shape': (1000000,)}", bytes(10**6))
    )
    at = whole.rfind(b"PK\1\2")
    entry, end = whole[at : whole.rfind(b"PK\5\6")], bytearray(whole[whole.rfind(b"PK\5\6") :])
    end[8:10] = end[10:12] = (1000).to_bytes(2, "little")
    end[12:16] = (1000 * len(entry)).to_bytes(4, "little")
    return whole[:at] + entry * 1000 + bytes(end)


BROKEN = {
    "nothing": lambda: b"",
    "cut": lambda: archive(y=Y)[:-1],
    "damaged": lambda: archive(y=Y).replace(Y.tobytes(), b"12345678"),
    "no archive": lambda: b"hello",
    "a pickle": lambda: member(pickle.dumps([1])),
    "objects": lambda: archive(y=np.array([{}], dtype=object)),
    "compressed": lambda: member(
        npy("{'descr': '|i1', 'fortran_order': False, 'shape': (3,)}", b"abc"),
        compression=zipfile.ZIP_DEFLATED,
    ),
    "overlapping": overlapping,
    "an archive inside": lambda: member(archive(y=Y)),
    "another version": lambda: member(
        npy("{'descr': '|i1', 'fortran_order': False, 'shape': (3,)}", b"abc", b"\2\0")
    ),
    "no header": lambda: member(npy("{")),
    "a huge shape": lambda: member(
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}")
    ),
    "beyond counting": lambda: member(
        npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**80},)}}")
    ),
    "a negative shape": lambda: member(
        npy("{'descr': '|i1', 'fortran_order': False, 'shape': (-1,)}", b"abc")
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_outputs_that_are_none_are_the_boards_failure(what: str, tmp_path: Path) -> None:
    make: Callable[[], bytes] = BROKEN[what]
    transport = answering(stdout=json.dumps(REPORT).encode() + b"\n" + make())
    with pytest.raises(BoardError, match=r"^m\.tflite: pi@rpi4 gave outputs that are no \.npz"):
        infer(transport, tmp_path)


@given(st.data())
def test_whatever_a_board_sends_is_arrays_or_its_failure(data: st.DataObject) -> None:
    sent = bytearray(archive(y=Y, z=np.arange(12, dtype=np.int16).reshape(3, 4)))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = runner._arrays(bytes(sent), "pi@rpi4")
    except BoardError:
        return
    assert sum(array.nbytes for array in found.values()) <= len(sent)


def test_a_board_that_never_stops_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "OUTPUTS_LIMIT_BYTES", 1 << 20)
    with pytest.raises(
        BoardError, match=r"^m\.tflite: 'edge-run' on pi@rpi4 wrote more than 1 MiB"
    ):
        infer(answering(stdout=GOOD + bytes(1 << 20)), tmp_path)


FAILURES: dict[str, tuple[dict[str, Any], type[EdgeError], str]] = {
    "crash": (
        {"exit_code": 139, "stderr": b"edge-run: the runtime crashed by SIGSEGV while invoking the "
         b"model: it can't cope with this model, input or delegate; try another runtime\n"},
        BoardError,
        "m.tflite: pi@rpi4: the runtime crashed by SIGSEGV while invoking the model: it can't cope "
        "with this model, input or delegate; try another runtime",
    ),
    "operator": (
        {"exit_code": 6, "stderr": b"edge-run: the runtime lacks the operator MyOp of /r/m.tflite: "
         b"convert the model\nmore of the library's\n"},
        UsageError,
        "pi@rpi4: the runtime lacks the operator MyOp of /r/m.tflite: convert the model",
    ),
    "memory": (
        {"exit_code": 10, "stderr": b"edge-run: the model needs more than the 93 MB of memory that "
         b"are free: end other programs on the board\n"},
        BoardError,
        "m.tflite: pi@rpi4: the model needs more than the 93 MB of memory that are free: end other "
        "programs on the board",
    ),
    "killed": (
        {"exit_code": 137},
        BoardError,
        "m.tflite: infer on pi@rpi4 was killed: the board ran out of memory; end other programs on "
        "it, make the model smaller, or take a board with more memory",
    ),
    "timeout": (
        {"raises": BoardError("'edge-run' on pi@rpi4 did not end in 300 s: it was killed")},
        BoardError,
        "m.tflite: 'edge-run' on pi@rpi4 did not end in 300 s: it was killed",
    ),
    "no report": (
        {"stdout": b"hello\n" + archive(y=Y)},
        BoardError,
        "m.tflite: edge-run infer on pi@rpi4 printed no report: 'hello'; deploy again",
    ),
    "no link": ({"raises": UnreachableError("the link is gone")}, UnreachableError,
                "the link is gone"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_is_one_line_that_names_model_and_cause(what: str, tmp_path: Path) -> None:
    outcome, kind, text = FAILURES[what]
    with pytest.raises(kind) as raised:
        infer(answering(**outcome), tmp_path)
    assert type(raised.value) is kind
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("want", "text"),
    [
        (np.zeros((1, 3), np.float32), "is float32 [1, 2], on this machine it is float32 [1, 3]"),
        (np.zeros((1, 2), np.int8), "is float32 [1, 2], on this machine it is int8 [1, 2]"),
    ],
)
def test_a_wrong_shape_or_type_says_both(want: npt.NDArray[Any], text: str, tmp_path: Path) -> None:
    outputs, _ = infer(answering(stdout=GOOD), tmp_path)
    expected = Reference(tmp_path / "x.npz", {}, {"y": want}, "x")
    with pytest.raises(BoardError, match=re.escape(f"m.tflite: the board's output 'y' {text}")):
        agreement.compare("m.tflite", outputs, expected)
