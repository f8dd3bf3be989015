"""The ways to run a model that are not TFLite's own, on this machine and under qemu-aarch64."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge import (
    abi,
    agreement,
    bench,
    board,
    build,
    deploy,
    layout,
    python,
    reference,
    run,
    runner,
    runtime,
    session,
    sweep,
    tiny,
)
from edge.deploy import Choice
from edge.errors import UsageError
from edge.options import DEFAULT, Options
from edge.release import Release
from edge.session import Session
from tests import tensorflow_models
from tests.integration.test_runner import sanitized_tree

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


@pytest.fixture(scope="module")
def exported() -> Path:
    """The digits models for TensorFlow: mlp.keras, mlp/ and so on."""
    return tensorflow_models.made()


def _release(opened: Session, engine: str, *paths: Path) -> Release:
    found = deploy.models(list(paths), print)
    return deploy.prepared(opened, found, print, Choice(engine=engine))


@pytest.mark.parametrize("place", ["here", "emulated_aarch64"])
def test_numpy_answers_as_the_reference_and_int8_to_the_last_bit(
    place: str, request: pytest.FixtureRequest
) -> None:
    opened: Session = request.getfixturevalue(place)
    # An emulated Python takes long to import numpy.
    pattern = "*.tflite" if place == "here" else "cnn-int8.tflite"
    paths = sorted(DIGITS.glob(pattern))
    release = _release(opened, "numpy", *paths)
    with deploy.staged(opened, release, print):
        assert len(release.models) == len(paths) > 0
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


# --- TensorFlow -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edge_run() -> list[str]:
    """The runner with TensorFlow's library, where the cache has it: it is too large to be sent."""
    chosen = runtime.load("tensorflow-2.20.0")
    library, framework = runtime.libraries(chosen, board.load("localhost"), print)
    assert framework.path.parent == library.path.parent
    program = build.runner(board.load("localhost"), print).runner.path
    return [str(program), "infer", "--engine", "tensorflow", "--lib", str(library.path)]


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", tensorflow_models.NAMES)
def test_the_c_api_of_tensorflow_answers_as_tflite(
    edge_run: list[str], exported: Path, tmp_path: Path, name: str
) -> None:
    expected = reference.compute(DIGITS / f"{name}-float32.tflite")
    words = ["--input", expected.inputs_file, "--output", tmp_path / "y.npz"]
    done = _run(*edge_run, "--model", exported / name, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runtime_version"] == "2.20.0"
    _close(tmp_path / "y.npz", expected)


def test_the_c_api_of_tensorflow_under_sanitizers(
    edge_run: list[str], exported: Path, tmp_path: Path
) -> None:
    """The runner with AddressSanitizer and UBSan: each would end it with a report."""
    program = sanitized_tree("edge-run") / "edge-run"
    expected = reference.compute(DIGITS / "mlp-float32.tflite")
    words = ["--input", expected.inputs_file, "--output", tmp_path / "y.npz"]
    # What TensorFlow itself leaves when a program ends is not ours to count.
    environment = ["env", "ASAN_OPTIONS=detect_leaks=0"]
    done = _run(*environment, program, *edge_run[1:], "--model", exported / "mlp", *words)
    assert done.returncode == 0, done.stderr
    _close(tmp_path / "y.npz", expected)
    done = _run(*environment, program, *edge_run[1:], "--model", exported / "mlp", "--batch", "5")
    assert json.loads(done.stdout)["outputs"][0]["shape"] == [5, 10], done.stderr


def _close(outputs: Path, expected: reference.Reference) -> None:
    (want,) = expected.outputs.values()
    with np.load(outputs) as archive:
        (got,) = (archive[name] for name in archive.files)
    assert got.dtype == want.dtype
    assert np.allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["--signature", "nope"],
            "no signature 'nope'; the model's are 'serving_default'",
        ),
        (["--shape", "pixels=1x65"], "input 'pixels' can't take the shape [1, 65]"),
        (["--shape", "image=1x64"], "no input 'image'"),
        (["--model", "/tmp"], "/tmp is no SavedModel: it has no saved_model.pb"),
    ],
)
def test_what_a_saved_model_has_not_is_said(
    edge_run: list[str], exported: Path, words: list[str], said: str
) -> None:
    model = [] if "--model" in words else ["--model", exported / "mlp"]
    done = _run(*edge_run, *model, *words)
    assert done.returncode != 0
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_batch_of_a_saved_model_is_open(edge_run: list[str], exported: Path) -> None:
    done = _run(*edge_run, "--model", exported / "mlp", "--batch", "5")
    assert json.loads(done.stdout)["outputs"][0]["shape"] == [5, 10], done.stderr


def test_a_damaged_saved_model_is_refused(
    edge_run: list[str], exported: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported / "mlp", tmp_path / "cut")
    graph = tmp_path / "cut/saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    done = _run(*edge_run, "--model", tmp_path / "cut")
    assert done.returncode == abi.constant("EDGE_BAD_MODEL"), done.stderr
    assert "can't load" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("engine", ["keras-predict", "keras-call", "tf-function", "tf-signature"])
def test_tensorflow_in_python_answers_as_tflite(
    here: Session, exported: Path, engine: str, library: abi.Library
) -> None:
    path = exported / ("mlp" if engine == "tf-signature" else "mlp.keras")
    expected = reference.compute(DIGITS / "mlp-float32.tflite")
    release = _release(here, engine, path)
    with deploy.staged(here, release, print):
        (model,) = release.models
        got, report = runner.infer(here, release, model, expected.inputs_file, each=False)
        (want,), (have,) = expected.outputs.values(), got.values()
        assert np.allclose(have, want, atol=1e-5)
        assert report["engine"] == engine and report["runtime_version"] == "2.20.0"
        if engine == "tf-function":
            plan = run.Plan(count=20, warmup=5)
            found = bench.measure(here, release, model, plan, library, print, command="bench")
            assert len(found.samples) == 20 and found.model == "mlp.keras"


def test_a_model_of_another_kind_is_refused_with_the_engines_that_run_it(
    here: Session, exported: Path
) -> None:
    with pytest.raises(UsageError, match="for --engine keras-predict, keras-call, tf-function"):
        _release(here, "numpy", exported / "mlp.keras")
    with pytest.raises(UsageError, match="for --engine tensorflow, tf-signature"):
        _release(here, "tf-function", exported / "mlp")


def test_an_engine_that_takes_no_kernels_refuses_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="engine numpy takes no kernels"):
        deploy.check(board.load("localhost"), Choice(engine="numpy", ops=tmp_path))


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, and no SavedModel"):
        deploy.models([tmp_path], print)


def test_tensorflow_in_python_is_for_this_machine(emulated_aarch64: Session) -> None:
    with pytest.raises(UsageError, match=r"1\.6 GB, which edge has here only"):
        deploy.python_for(emulated_aarch64, Choice(engine="keras-call"))


# --- LiteRT's CompiledModel in Python -------------------------------------------------------------


def test_compiled_answers_as_the_reference_with_and_without_xnnpack(here: Session) -> None:
    paths = [DIGITS / "mlp-float32.tflite", DIGITS / "cnn-int8.tflite"]
    release = _release(here, "compiled", *paths)
    with deploy.staged(here, release, print):
        for model in release.models:
            expected = reference.compute(model.path)
            for options in (DEFAULT, Options(xnnpack=False)):
                got, report = runner.infer(
                    *(here, release, model, expected.inputs_file), options=options, each=False
                )
                found = agreement.compare(model.path.name, got, expected)
                assert found.ok, found
                assert report["delegation"]["applied"] == options.xnnpack


def test_compiled_takes_batches_signatures_and_real_numbers(here: Session, tmp_path: Path) -> None:
    path = DIGITS / "mlp-int8.tflite"
    release = _release(here, "compiled", path)
    x = np.random.default_rng(1).random((4, 64), np.float32)
    reference.save(tmp_path / "x.npz", {"pixels": x})
    with deploy.staged(here, release, print):
        got, _ = runner.infer(
            *(here, release, release.models[0], tmp_path / "x.npz"),
            options=Options(signature="serving_default", batch=4),
            each=False,
            dequantize=True,
        )
    assert {name: array.shape for name, array in got.items()} == {"scores": (4, 10)}
    assert np.allclose(got["scores"].sum(axis=1), 1, atol=0.03)


def test_a_python_without_a_wheel_is_told_which_have_one() -> None:
    chosen = runtime.load("ai-edge-litert-2.3.0")
    old = python.Python("python3", "3.9", "aarch64", "cp39", "1.26.4")
    with pytest.raises(
        UsageError, match=r"ai-edge-litert 2\.3\.0 has wheels for Python 3\.10 to 3"
    ):
        runtime.fetch_packages(chosen, old, print)


# --- batches --------------------------------------------------------------------------------------


def test_a_sweep_measures_each_size_and_notes_what_is_refused(
    here: Session, library: abi.Library
) -> None:
    paths = [DIGITS / "mlp-int8.tflite", DIGITS / "cnn-int8.tflite"]
    release = _release(here, "numpy", *paths)
    plan = run.Plan(count=60, warmup=2)
    points: list[sweep.Point] = []
    with deploy.staged(here, release, print):
        for model in release.models:
            points += sweep.measure(
                here, release, model, plan, (1, 3), library, print, command="sweep"
            )
    assert [(p.model, p.batch, p.run is None) for p in points] == [
        ("mlp-int8.tflite", 1, False),
        ("mlp-int8.tflite", 3, False),
        ("cnn-int8.tflite", 1, False),
        ("cnn-int8.tflite", 3, True),
    ]
    assert points[1].run is not None
    assert points[1].run.report["outputs"][0]["shape"] == [3, 10]
    assert "can't take the shape [3, 8, 8, 1]" in points[3].refusal
    for point in points[:2]:
        assert point.resize_ns is not None and point.resize_ns > 0
        assert point.then_invoke_ns is not None and point.then_invoke_ns > 0
        assert not point.resize_refusal
    assert (points[2].resize_ns, points[3].resize_ns) == (None, None)
    assert points[2].resize_refusal.startswith("cnn-int8.tflite can't take the shape [2, 8, 8, 1]")
    assert points[3].refusal.startswith("cnn-int8.tflite can't take the shape [3, 8, 8, 1]")
