"""Engines `python` and `native`: the board's script, with real interpreters, on this machine."""

from __future__ import annotations

import io
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge import (
    abi,
    board,
    build,
    emulator,
    image,
    python,
    reference,
    runner,
    runtime,
    samples,
    tiny,
)
from edge.errors import BoardError
from edge.transport import Outcome, Transport
from edge.transport.emulated import EmulatedTransport
from edge.transport.local import LocalTransport

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "examples/digits/models"
LITERT, TFLITE = "ai-edge-litert-2.1.0", "tflite-runtime-2.14.0"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or sys.version_info >= (3, 12),
    reason="these tests run tflite-runtime on this machine, which ends with Python 3.11",
)


class Board:
    """A release with one runtime, and this transport's Python to run it."""

    def __init__(
        self, transport: Transport, name: str, program: str, library: Path, folder: Path
    ) -> None:
        self.runtime = runtime.load(name)
        self.transport, self.program, self.folder = transport, program, folder
        self.python = python.read(transport, program)
        for part in runtime.fetch_packages(self.runtime, self.python, print):
            target = folder / part.place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(part.path)  # as releases are made of links into the store
        (folder / "bin").mkdir()
        (folder / "lib").mkdir()
        (folder / "bin/edge_run.py").symlink_to(REPOSITORY / "edge/onboard.py")
        shutil.copy(library, folder / "lib/libedge.so")

    def argv(self, verb: str, *words: object) -> list[str]:
        argv = [self.program, str(self.folder / "bin/edge_run.py"), verb]
        argv += ["--module", self.runtime.module]
        if self.runtime.native_symbol:
            argv += ["--native-symbol", self.runtime.native_symbol]
        return [*argv, *map(str, words)]

    def run(self, verb: str, *words: object) -> Any:
        outcome = self.transport.run(self.argv(verb, *words), timeout_s=120)
        assert outcome.exit_code == 0, outcome.error_text
        assert outcome.error_text == ""
        return json.loads(outcome.text)

    def fails(self, status: str, verb: str, *words: object) -> str:
        outcome = self.transport.run(self.argv(verb, *words), timeout_s=120)
        assert outcome.exit_code == abi.constant(status), outcome.error_text
        assert outcome.text == ""
        lines = outcome.error_text.splitlines()
        assert len(lines) == 1 and lines[0].startswith("edge-run: ")
        return lines[0]

    def infer(self, model: Path, *words: object, **inputs: npt.ArrayLike) -> dict[str, Any]:
        reference.save(self.folder / "in.npz", {k: np.asarray(v) for k, v in inputs.items()})
        given = ["--input", self.folder / "in.npz"] if inputs else []
        output = ["--output", self.folder / "out.npz"]
        self.report = self.run("infer", "--model", model, *given, *output, *words)
        with np.load(self.folder / "out.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="session")
def libedge() -> Path:
    return build.runner(board.load("localhost"), print).library


@pytest.fixture(scope="session", params=[TFLITE, LITERT])
def either(
    request: pytest.FixtureRequest, libedge: Path, tmp_path_factory: pytest.TempPathFactory
) -> Board:
    folder = tmp_path_factory.mktemp("release")
    return Board(LocalTransport(), request.param, sys.executable, libedge, folder)


@pytest.fixture(scope="session")
def here(libedge: Path, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """With tflite-runtime, the one that C can call."""
    folder = tmp_path_factory.mktemp("release")
    return Board(LocalTransport(), TFLITE, sys.executable, libedge, folder)


@pytest.fixture
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(request.param)
    return path


# --- infer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp-float32", "cnn-int8"])
def test_answers_are_those_of_the_reference(either: Board, name: str) -> None:
    expected = reference.compute(MODELS / f"{name}.tflite")
    got = either.infer(MODELS / f"{name}.tflite", **expected.inputs)
    for output, array in expected.outputs.items():
        assert got[output].dtype == array.dtype
        np.testing.assert_allclose(got[output], array, atol=1 if array.dtype.kind == "i" else 1e-6)
    assert either.report["runtime_version"] == either.runtime.requirement.partition("==")[2]
    assert either.report["library"].startswith(str(either.folder / "python"))
    assert list(either.folder.rglob("__pycache__")) == []


@pytest.mark.parametrize("name", ["mlp-float32", "mlp-int8", "cnn-float32", "cnn-int8"])
def test_c_and_python_compute_the_same_bits(here: Board, name: str) -> None:
    inputs = reference.compute(MODELS / f"{name}.tflite").inputs
    by_python = here.infer(MODELS / f"{name}.tflite", **inputs)
    by_c = here.infer(MODELS / f"{name}.tflite", "--engine", "native", **inputs)
    assert here.report["engine"] == "native"
    assert {k: v.tobytes() for k, v in by_c.items()} == {
        k: v.tobytes() for k, v in by_python.items()
    }


@pytest.mark.parametrize("engine", ["python", "native"])
def test_each_sample_is_run_and_joined(here: Board, engine: str) -> None:
    pixels = np.arange(3 * 64, dtype=np.float32).reshape(3, 64) / 200
    model = MODELS / "mlp-float32.tflite"
    joined = here.infer(model, "--each", "--engine", engine, pixels=pixels)["scores"]
    assert here.report["runs"] == 3
    for row, one in zip(joined, pixels, strict=True):
        np.testing.assert_array_equal(row, here.infer(model, pixels=one[None])["scores"][0])


@pytest.mark.parametrize(
    ("model", "dtype"),
    [(tiny.elementwise(d), d) for d in tiny.DTYPES if d != "string"],
    indirect=["model"],
)
def test_every_element_type_goes_in_and_out(either: Board, model: Path, dtype: str) -> None:
    shape = reference.random_input((1, 4), dtype)
    report = either.run("infer", "--model", model)
    inputs = {each["name"]: shape.astype(each["dtype"]) for each in report["inputs"]}
    got = either.infer(model, **inputs)
    assert [str(array.dtype) for array in got.values()] == [
        each["dtype"] for each in report["outputs"]
    ]


@pytest.mark.parametrize("model", [tiny.elementwise("string")], indirect=True)
def test_strings_are_refused(either: Board, model: Path) -> None:
    assert "strings" in either.fails("EDGE_BAD_INPUT", "infer", "--model", model)


@pytest.mark.parametrize("model", [tiny.two_signatures()], indirect=True)
def test_signatures(either: Board, model: Path) -> None:
    got = either.infer(model, "--signature", "double", x=np.full((1, 4), 3, np.float32))
    np.testing.assert_array_equal(got["doubled"], np.full((1, 4), 6))
    assert either.report["signature"] == "double"
    got = either.infer(
        model,
        "--signature",
        "add",
        a=np.array([[5, 6]], np.float32),
        b=np.array([[1, 2]], np.float32),
    )
    np.testing.assert_array_equal(got["sum"], [[6, 8]])
    np.testing.assert_array_equal(got["difference"], [[4, 4]])
    words = ("--model", model, "--signature", "nope")
    assert "'double', 'add'" in either.fails("EDGE_BAD_INPUT", "infer", *words).replace(
        "'add', 'double'", "'double', 'add'"
    )


@pytest.mark.parametrize("model", [tiny.two_signatures()], indirect=True)
def test_a_graph_that_only_pythons_runner_reaches(here: Board, model: Path) -> None:
    words = ("--model", model, "--signature", "add", "--samples", here.folder / "s.bin")
    report = here.run("bench", *words, "--count", 3, "--warmup-ms", 0)
    assert any("signature runner" in text for text in report["warnings"])
    again = here.run("bench", *words, "--count", 3, "--warmup-ms", 0, "--batch", 1, "--resizes", 1)
    assert "which resizes during the call" in again["resizes"]["refusal"]
    assert "signature runner" in here.fails("EDGE_USAGE", "bench", *words, "--engine", "native")


@pytest.mark.parametrize("model", [tiny.dynamic()], indirect=True)
def test_shapes_and_batches(either: Board, model: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    got = either.infer(model, "--shape", "x=2x2x3", x=x)
    np.testing.assert_array_equal(got["y"], x * [2, 3, 4])
    got = either.infer(model, "--batch", 4, x=np.ones((4, 1, 3), np.float32))
    assert got["y"].shape == (4, 1, 3)
    report = either.run("infer", "--model", model)
    assert any("--batch" in text for text in report["warnings"])
    words = ("--model", model, "--shape")
    assert "2 axes" not in either.fails("EDGE_BAD_INPUT", "infer", *words, "x=2x2")
    assert "no input 'z'" in either.fails("EDGE_BAD_INPUT", "infer", *words, "z=1")
    assert "memory" in either.fails("EDGE_BAD_INPUT", "infer", *words, "x=2000000x2000000x3")


@pytest.mark.parametrize("model", [tiny.dynamic_output()], indirect=True)
@pytest.mark.parametrize("engine", ["python", "native"])
def test_outputs_whose_shape_only_the_model_knows(here: Board, model: Path, engine: str) -> None:
    dims = np.array([2, 3], np.int32)
    got = here.infer(model, "--engine", engine, dims=dims, value=np.float32(7))
    np.testing.assert_array_equal(got["filled"], np.full((2, 3), 7))
    words = ("--model", model, "--samples", here.folder / "s.bin")
    assert "may move" in here.fails("EDGE_USAGE", "split", *words)


@pytest.mark.parametrize("model", [tiny.counter()], indirect=True)
def test_a_fresh_process_has_fresh_variables(either: Board, model: Path) -> None:
    assert either.infer(model, step=np.array([2], np.float32))["count"] == [2]


@pytest.mark.parametrize("model", [tiny.several()], indirect=True)
def test_several_inputs_and_outputs(either: Board, model: Path) -> None:
    expected = reference.compute(model)
    got = either.infer(model, **expected.inputs)
    assert set(got) == set(expected.outputs)
    for name, array in expected.outputs.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6)


def test_real_numbers_for_a_quantized_model(here: Board) -> None:
    path = MODELS / "mlp-int8.tflite"
    tensor = here.run("infer", "--model", path)["inputs"][0]
    steps = reference.random_input((1, 64), "int8")
    reals = (steps.astype(np.float64) - tensor["zero_point"]) * tensor["scale"]
    quantized = here.infer(path, pixels=steps)["scores"]
    scores = here.report["outputs"][0]
    got = here.infer(path, "--dequantize", pixels=reals.astype(np.float32))["scores"]
    assert got.dtype == np.float32
    expected = (quantized.astype(np.float64) - scores["zero_point"]) * scores["scale"]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    reference.save(here.folder / "in.npz", {"pixels": reals.astype(np.float32)})
    words = ("--model", path, "--input", here.folder / "in.npz")
    assert "--dequantize" in here.fails("EDGE_BAD_INPUT", "infer", *words)


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [tiny.custom_op()], indirect=True)
def test_an_operator_that_is_missing(either: Board, model: Path) -> None:
    assert "NobodyHasThis" in either.fails("EDGE_UNSUPPORTED_OP", "infer", "--model", model)


def test_files_that_are_missing_or_broken(here: Board, tmp_path: Path) -> None:
    good = MODELS / "mlp-float32.tflite"
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(good.read_bytes()[:1000])
    here.fails("EDGE_NO_FILE", "infer", "--model", tmp_path / "no.tflite")
    here.fails("EDGE_BAD_MODEL", "infer", "--model", cut)
    here.fails("EDGE_NO_FILE", "infer", "--model", good, "--input", tmp_path / "no.npz")
    here.fails("EDGE_BAD_FILE", "infer", "--model", good, "--input", cut)
    here.fails("EDGE_NO_FILE", "infer", "--model", good, "--delegate", f"external:{tmp_path}/d.so")
    text = tmp_path / "text.so"
    text.write_text("no library", encoding="utf-8")
    words = ("--model", good, "--delegate", f"external:{text}?a=b")
    assert "external delegate" in here.fails("EDGE_BAD_LIBRARY", "infer", *words)
    words = ("--model", good, "--delegate", f"external:{here.folder / 'lib/libedge.so'}")
    assert "one interpreter at a time" in here.fails("EDGE_RUNTIME", "infer", *words)
    here.fails("EDGE_BAD_LIBRARY", "infer", "--model", good, "--lib", text)
    here.fails("EDGE_BAD_LIBRARY", "infer", "--model", good, "--module", "no_such_module")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"nope": np.zeros((1, 64), np.float32), "b": np.zeros(1)}, "no input 'nope'"),
        ({"pixels": np.zeros((1, 63), np.float32)}, "expects float32 [1, 64], got float32 [1, 63]"),
        ({"pixels": np.zeros((1, 64), np.int8)}, "got int8 [1, 64]"),
    ],
)
def test_inputs_that_do_not_fit(
    here: Board, arrays: dict[str, npt.NDArray[Any]], words: str
) -> None:
    reference.save(here.folder / "in.npz", arrays)
    given = ("--model", MODELS / "mlp-float32.tflite", "--input", here.folder / "in.npz")
    assert words in here.fails("EDGE_BAD_INPUT", "infer", *given)


@pytest.mark.parametrize(
    "words",
    [
        ["--threads", "0"],
        ["--frobnicate"],
        ["--engine", "tflite"],
        ["--shape", "x"],
        ["--each"],
        ["--delegate", "gpu"],
    ],
)
def test_wrong_flags(here: Board, words: list[str]) -> None:
    here.fails("EDGE_USAGE", "infer", "--model", MODELS / "mlp-float32.tflite", *words)


def test_only_the_interpreters_own_method_is_called(libedge: Path, tmp_path: Path) -> None:
    other = Board(LocalTransport(), LITERT, sys.executable, libedge, tmp_path)
    words = ("--model", MODELS / "mlp-float32.tflite", "--engine", "native")
    symbol = runtime.load(TFLITE).native_symbol
    said = other.fails("EDGE_BAD_LIBRARY", "infer", *words, "--native-symbol", symbol)
    assert "tflite-runtime" in said


# --- infer as a pipe ------------------------------------------------------------------------------


def piped(board: Board, given: bytes, *words: object, model: Path | None = None) -> Outcome:
    source = model or MODELS / "mlp-float32.tflite"
    argv = board.argv("infer", "--model", source, "--input", "-", "--output", "-", *words)
    return board.transport.run(argv, stdin=given, timeout_s=120)


def said(outcome: Outcome, status: str) -> str:
    """The one line of a failure."""
    assert outcome.exit_code == abi.constant(status), outcome.error_text
    assert outcome.stdout == b""
    lines = outcome.error_text.splitlines()
    assert len(lines) == 1 and lines[0].startswith("edge-run: ")
    return lines[0]


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("engine", ["python", "native"])
def test_arrays_come_and_go_by_pipe(here: Board, engine: str) -> None:
    model = MODELS / "mlp-float32.tflite"
    pixels = np.random.default_rng(3).random((5, 64), np.float32)
    expected = here.infer(model, "--each", pixels=pixels)
    outcome = piped(here, npz(pixels=pixels), "--each", "--engine", engine)
    assert (outcome.exit_code, outcome.stderr) == (0, b"")
    line, _, archive = outcome.stdout.partition(b"\n")
    assert json.loads(line)["runs"] == 5
    assert list(runner._arrays(archive, "here")) == list(expected)
    for name, array in runner._arrays(archive, "here").items():
        np.testing.assert_array_equal(array, expected[name])


def test_what_a_library_prints_disturbs_nothing(libedge: Path, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy.py"
    noisy.write_text(
        "import ctypes, os\n"
        "from tflite_runtime import interpreter\n"
        "os.write(1, b'one thought')\n"
        "print('another')\n"
        "ctypes.CDLL(None).puts(b'a third')  # which C keeps to the end\n"
        "globals().update(vars(interpreter))\n"
    )
    folder = tmp_path / "release"
    folder.mkdir()
    env = {"PYTHONPATH": str(tmp_path)}
    board = Board(LocalTransport("here", env), TFLITE, sys.executable, libedge, folder)
    pixels = np.zeros((1, 64), np.float32)
    outcome = piped(board, npz(pixels=pixels), "--module", "noisy")
    assert outcome.exit_code == 0, outcome.error_text
    line, _, archive = outcome.stdout.partition(b"\n")
    assert "one thought" in "".join(json.loads(line)["runtime_log"])
    assert list(runner._arrays(archive, "here")) == ["scores"]


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        (b"", "EDGE_BAD_FILE", "standard input is empty"),
        (b"garbage of any length", "EDGE_BAD_FILE", "brings neither an .npy nor an .npz"),
        (b"PK", "EDGE_BAD_FILE", "standard input"),
        (npz(pixels=np.zeros((1, 64), np.float32))[:-1], "EDGE_BAD_FILE", "standard input"),
        (npz(pixels=np.zeros((1, 9), np.float32)), "EDGE_BAD_INPUT", "got float32 [1, 9]"),
    ],
)
def test_wrong_input_by_pipe_is_one_line(here: Board, given: bytes, status: str, text: str) -> None:
    assert text in said(piped(here, given), status)


def test_a_reader_that_is_gone_is_said(here: Board) -> None:
    read, write = os.pipe()
    os.close(read)
    argv = here.argv("infer", "--model", MODELS / "mlp-float32.tflite", "--output", "-")
    result = subprocess.run(
        argv, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=120
    )
    os.close(write)
    assert result.stderr == "edge-run: nobody reads standard output any more\n"
    assert result.returncode == abi.constant("EDGE_INTERRUPTED")


def test_a_model_that_needs_more_memory_fails_by_itself(either: Board, tmp_path: Path) -> None:
    model = tmp_path / "large.tflite"
    model.write_bytes(tiny.greedy(3 << 30))
    given = npz(x=np.ones(1, np.float32))
    outcome = piped(either, given, "--memory", 2_000_000_000, model=model)
    assert outcome.exit_code == abi.constant("EDGE_NO_MEMORY"), outcome.error_text
    last = outcome.error_text.splitlines()[-1]
    assert last.startswith("edge-run: the model needs more than the 2000 MB of memory that are")
    model.write_bytes(tiny.greedy(1 << 20))
    outcome = piped(either, given, "--memory", 2_000_000_000, model=model)
    assert outcome.exit_code == 0, outcome.error_text


# --- bench and split ------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["python", "native"])
def test_bench_records_and_reports(here: Board, library: abi.Library, engine: str) -> None:
    path = here.folder / "s.bin"
    model = MODELS / "mlp-float32.tflite"
    words = ("--engine", engine, "--count", 40, "--warmup", 5, "--warmup-ms", 0)
    report = here.run("bench", "--model", model, "--samples", path, *words)
    assert report["samples"] == 40 and report["ended_by"] == "count"
    recorded = samples.load(library, path)
    assert len(recorded) == 40 and recorded.remainder_bytes == 0
    assert set(recorded.records["iterations"]) == {report["iterations"]}
    assert report["loop_cost_ns"] == recorded.loop_cost_ns > 0
    assert report["cold_start"]["first_invoke_ns"] > 0
    assert report["warmup"] >= 5
    assert math.isfinite(float(np.median(recorded.latency_ns)))


def test_another_batch_and_back(either: Board) -> None:
    engines = ["python", "native"] if either.runtime.native_symbol else ["python"]
    for engine in engines:
        changes_batch(either, engine)


def changes_batch(either: Board, engine: str) -> None:
    few = ("--count", 5, "--warmup-ms", 0, "--resizes", 3, "--samples", either.folder / "r.bin")
    words = ("bench", "--engine", engine, *few)
    report = either.run(*words, "--model", MODELS / "mlp-int8.tflite", "--batch", 4)
    resizes = report["resizes"]
    assert (resizes["other_batch"], resizes["refusal"]) == (1, None)
    assert report["inputs"][0]["shape"] == [4, 64]
    assert [len(resizes[key]) for key in ("resize_ns", "first_invoke_ns")] == [3, 3]
    assert all(time_ns > 0 for time_ns in resizes["resize_ns"] + resizes["first_invoke_ns"])
    brief = ("--model", MODELS / "mlp-int8.tflite", "--batch", 4, "--duration-ms", 1)
    assert len(either.run(*words, *brief, "--resizes", 1000)["resizes"]["resize_ns"]) < 1000
    fixed = ("--model", MODELS / "cnn-int8.tflite")
    resizes = either.run(*words, *fixed, "--batch", 1)["resizes"]
    assert (resizes["other_batch"], resizes["resize_ns"]) == (2, [])
    assert "can't take the shape [2, 8, 8, 1]" in resizes["refusal"]
    assert "--resizes needs --batch" in either.fails("EDGE_USAGE", *words, *fixed)


def test_a_sample_may_be_a_whole_call(here: Board, library: abi.Library) -> None:
    model, path = MODELS / "mlp-float32.tflite", here.folder / "call.bin"
    words = ("bench", "--model", model, "--samples", path, "--count", 40, "--warmup-ms", 0)
    assert here.run(*words, "--call")["samples"] == len(samples.load(library, path)) == 40
    here.fails("EDGE_USAGE", *words, "--call", "--engine", "native")


def test_the_collector_runs_only_if_it_may(here: Board) -> None:
    model, given = MODELS / "mlp-float32.tflite", ("--count", 40, "--warmup-ms", 0)
    words = ("bench", "--model", model, "--samples", here.folder / "gc.bin", *given)
    assert here.run(*words, "--gc", "on")["collections"] >= 0
    assert "collections" not in here.run(*words, "--gc", "off")
    here.fails("EDGE_USAGE", *words, "--gc", "sometimes")
    here.fails("EDGE_USAGE", *words, "--gc", "on", "--engine", "native")


def test_reports_have_the_keys_of_edge_run(here: Board, tmp_path: Path) -> None:
    runner = build.runner(board.load("localhost"), print).runner.path
    library = runtime.fetch(runtime.load("litert-2.3.0"), "x86_64", print).path
    model = MODELS / "mlp-float32.tflite"
    for verb, extra in (
        ("infer", []),
        ("inspect", []),
        ("bench", ["--samples", str(tmp_path / "s.bin"), "--count", "3", "--warmup-ms", "0"]),
    ):
        words = [str(runner), verb, "--engine", "litert", "--lib", str(library)]
        found = subprocess.run(
            [*words, "--model", str(model), *extra], capture_output=True, check=True
        )
        theirs, ours = json.loads(found.stdout), here.run(verb, "--model", model, *extra)
        assert list(ours) == list(theirs)
        for key in ("delegation", "cold_start"):
            assert set(ours[key]) == set(theirs[key])
        assert ours["inputs"] == theirs["inputs"]


def test_a_signal_ends_a_bench_and_keeps_its_samples(here: Board, library: abi.Library) -> None:
    path = here.folder / "signalled.bin"
    for engine in ("python", "native"):
        path.unlink(missing_ok=True)
        words = ("--engine", engine, "--duration-ms", 60000, "--samples", path)
        argv = here.argv("bench", "--model", MODELS / "mlp-float32.tflite", *words)
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not _has_samples(path) and time.monotonic() < deadline:
            assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        stdout, stderr = child.communicate(timeout=60)
        assert child.returncode == abi.constant("EDGE_INTERRUPTED"), stderr
        assert json.loads(stdout)["ended_by"] == "signal"
        assert len(samples.load(library, path)) == json.loads(stdout)["samples"] > 0


def _has_samples(path: Path) -> bool:
    return path.exists() and path.read_bytes()[32:40].strip(b"\0") != b""


@pytest.mark.parametrize("name", ["mlp-int8", "mlp-float32"])
def test_split_measures_the_parts_of_a_call(here: Board, library: abi.Library, name: str) -> None:
    path = here.folder / "split.bin"
    words = ("--count", 60, "--rounds", 7, "--warmup-ms", 0, "--samples", path)
    report = here.run("split", "--model", MODELS / f"{name}.tflite", *words)
    split = report["split"]
    assert split["identical"] is True
    assert split["engines"] == ["native", "python"]
    parts = {
        f"{e}.{p}" for e in split["engines"] for p in ("copy_in", "invoke", "copy_out", "call")
    }
    assert set(split["files"]) == set(split["iterations"]) == parts
    medians = {}
    for part, file in split["files"].items():
        recorded = samples.load(library, Path(file))
        assert file == f"{path}.{part}" and len(recorded) == 60
        assert set(recorded.records["iterations"]) == {split["iterations"][part]}
        medians[part] = float(np.median(recorded.latency_ns))
    # memcpy of some hundred bytes against a call of Python: no noise turns that round.
    assert medians["native.copy_in"] < medians["python.copy_in"]
    assert not list(here.folder.glob("*.trial"))


@pytest.mark.parametrize("model", [tiny.counter()], indirect=True)
def test_a_model_with_state_is_not_called_different(here: Board, model: Path) -> None:
    words = ("--count", 5, "--warmup-ms", 0, "--samples", here.folder / "state.bin")
    report = here.run("split", "--model", model, *words)
    assert report["split"]["identical"] is None
    assert any("state" in text for text in report["warnings"])


# --- inspect --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp-float32", "cnn-float32"])
def test_what_was_taken_is_what_the_library_says(here: Board, name: str) -> None:
    report = here.run("inspect", "--model", MODELS / f"{name}.tflite")
    taken = report["delegation"]
    said = [line for line in report["runtime_log"] if "Replacing" in line]
    count = f"Replacing {taken['nodes_delegated']} out of {taken['nodes_total']} node(s)"
    assert len(said) == 1 and count in said[0]
    assert f"yielding {taken['partitions']} partitions" in said[0]
    assert len(taken["nodes"]) == taken["nodes_delegated"] > 0
    assert taken["delegates"] == ["XNNPACK"]


def test_an_int8_model_is_taken_by_litert_and_not_by_tflite_runtime(either: Board) -> None:
    report = either.run("inspect", "--model", MODELS / "cnn-int8.tflite")
    taken = report["delegation"]
    if either.runtime.name == LITERT:
        assert taken["nodes"] == [[0, node] for node in range(5)]
        assert report["without_xnnpack"] is None
    else:
        assert taken["nodes"] == [] and not taken["applied"]
        assert "XNNPACK was not asked" in report["without_xnnpack"]
        assert report["without_xnnpack"] in report["warnings"]


def test_without_xnnpack_nothing_is_taken(either: Board) -> None:
    report = either.run("inspect", "--model", MODELS / "cnn-float32.tflite", "--no-xnnpack")
    assert report["delegation"]["nodes_delegated"] == 0
    assert report["delegation"]["delegates"] == []
    assert report["warnings"] == [] and report["without_xnnpack"] is None


# --- other Pythons and boards ---------------------------------------------------------------------


def _emulated(name: str, folder: Path, runtime_name: str) -> Board:
    target = board.load(name)
    assert target.image is not None
    described = image.load(target.image)
    sysroot = image.sysroot(described, print)
    tool = emulator.user_emulator(described.architecture, print)
    transport = EmulatedTransport(
        (*tool.argv, "-L", str(sysroot), "-cpu", target.cpu), tool.env, (PurePosixPath("/"),), name
    )
    library = build.runner(target, print).library
    return Board(transport, runtime_name, str(sysroot / "usr/bin/python3"), library, folder)


@pytest.mark.parametrize(
    ("name", "runtime_name", "machine"),
    [
        ("qemu-aarch64", TFLITE, "aarch64"),
        ("qemu-aarch64", LITERT, "aarch64"),
        ("qemu-armv7l", TFLITE, "armv7l"),
    ],
)
def test_under_the_emulator(tmp_path: Path, name: str, runtime_name: str, machine: str) -> None:
    emulated = _emulated(name, tmp_path, runtime_name)
    assert emulated.python.machine == machine
    expected = reference.compute(MODELS / "mlp-int8.tflite")
    engine = "native" if emulated.runtime.native_symbol else "python"
    got = emulated.infer(MODELS / "mlp-int8.tflite", "--engine", engine, **expected.inputs)
    np.testing.assert_allclose(
        got["scores"].astype(int), expected.outputs["scores"].astype(int), atol=1
    )


def test_a_board_without_python() -> None:
    with pytest.raises(BoardError, match="install Python 3"):
        python.read(LocalTransport(), "no-such-python")
