"""Time per operator: of the fake runtime, of the real one under QEMU's user mode, as a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge import layout
from tests.integration.test_commands import call, home, last_line
from tests.integration.test_runner import (
    MODEL,
    MODELS,
    Runner,
    board_runner,
    board_tree,
    host_tree,
    runner,
)

__all__ = ["board_runner", "board_tree", "home", "host_tree", "runner"]


def nodes(report: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    return {(each["subgraph"], each["node"]): each for each in report["operators"]}


# ---- the runner, with the fake ----------------------------------------------------------------


def test_each_node_that_the_runtime_executes_is_timed(runner: Runner) -> None:
    report = runner.report("profile", *runner.model(), "--count", "7", "--warmup", "0")
    found = nodes(report)
    # Of the five nodes the delegate took three, by two of its own.
    assert {key: each["delegate"] for key, each in found.items()} == {
        (0, 2): None,
        (0, 4): None,
        (0, 5): "XNNPACK",
        (0, 6): "XNNPACK",
    }
    assert found[0, 4]["name"] == "ADD"
    assert len(report["invokes_ns"]) == 7
    for each in found.values():
        assert len(each["elapsed_ns"]) == 7
        assert each["runs"] == [1] * 7
    for i, whole in enumerate(report["invokes_ns"]):
        assert 0 < sum(each["elapsed_ns"][i] for each in found.values()) <= whole


def test_without_delegates_each_node_is_a_built_in_kernels(runner: Runner) -> None:
    found = nodes(runner.report("profile", *runner.model(), "--no-xnnpack", "--count", "2"))
    assert [key for _, key in found] == [0, 1, 2, 3, 4]
    assert {each["delegate"] for each in found.values()} == {None}


def test_a_loops_body_counts_once_and_says_how_often_it_ran(runner: Runner) -> None:
    runner.words = "loops"
    report = runner.report("profile", *runner.model(), "--count", "3")
    found = nodes(report)
    assert found[1, 0]["runs"] == [2, 2, 2]
    assert found[0, 2]["runs"] == [1, 1, 1]
    for i, whole in enumerate(report["invokes_ns"]):
        assert sum(each["elapsed_ns"][i] for each in found.values()) <= whole


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ("loops profiler_forgets", 14, "profiler contradicts itself"),
        ("profiler_is_silent", 14, "told its profiler of no operator"),
        ("invoke_fails", 14, "gather index out of bounds"),
    ],
)
def test_nothing_is_made_up(runner: Runner, words: str, code: int, part: str) -> None:
    runner.words = words
    runner.fails(code, part, "profile", *runner.model())


def test_runtimes_without_a_profiler_are_refused(runner: Runner, host_tree: Path) -> None:
    old = host_tree / "tests/libfake_tflite_old.so"
    runner.fails(8, "this runtime has no profiler", "profile", *runner.model(library=old))
    litert = ("profile", *runner.model(), "--engine", "litert")
    runner.fails(2, "take --engine tflite", *litert)
    runner.fails(2, "--count takes a whole number", "profile", *runner.model(), "--count", "0")


def test_a_measurement_has_no_profiler(runner: Runner, tmp_path: Path) -> None:
    """With one, this fake would end it: what it tells contradicts itself."""
    runner.words = "loops profiler_forgets"
    runner.report("bench", *runner.model(), "--samples", tmp_path / "s.bin", "--count", "5")


# ---- the real runtime, emulated ---------------------------------------------------------------


def test_built_in_kernels_of_a_real_model(board_runner: Runner) -> None:
    model = board_runner.model(MODELS / "cnn-int8.tflite")
    report = board_runner.report("profile", *model, "--no-xnnpack", "--count", "5")
    names = [each["name"] for each in report["operators"]]
    assert names == [
        *("CONV_2D", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX")
    ]
    for i, whole in enumerate(report["invokes_ns"]):
        # Nearly all of it: the interpreter does little besides.
        assert whole / 2 < sum(each["elapsed_ns"][i] for each in report["operators"]) <= whole


def test_what_xnnpack_took_is_one_node(board_runner: Runner) -> None:
    model = board_runner.model(MODELS / "cnn-int8.tflite")
    found = nodes(board_runner.report("profile", *model, "--count", "5"))
    assert {key: each["delegate"] for key, each in found.items()} == {
        (0, 5): None,
        (0, 6): "XNNPACK",
    }


# ---- the command ------------------------------------------------------------------------------


def test_a_profile_follows_its_run_and_lies_beside_it(home: dict[str, str]) -> None:
    words = ["bench", "--board", "qemu-aarch64", "--model", str(MODELS / "cnn-int8.tflite")]
    result = call(*words, "--count", "20", "--profile", "--json", env=home)
    assert result.returncode == 0, result.stderr
    made = json.loads(result.stdout)
    [found], [run] = made["profiles"], made["runs"]
    assert found["emulated"]
    assert found["unprofiled_ns"] == run["median_ns"]
    assert found["invocations"] == 20
    by = {each["by"]: each for each in found["operators"]}
    assert by["XNNPACK"]["contains"]["CONV_2D"] == 2
    assert by["built-in kernel"]["name"] == "SOFTMAX"
    whole = found["operators_ns"] + found["rest_ns"]
    assert whole == pytest.approx(found["invoke_ns"])
    kept = json.loads((layout.runs_dir() / run["id"] / "profile.json").read_text())
    assert len(kept["invokes_ns"]) == 20


@pytest.mark.parametrize("engine", ["python", "litert", "native,python"])
def test_other_engines_are_refused_before_anything_is_measured(
    home: dict[str, str], engine: str
) -> None:
    words = ["bench", "--board", "localhost", "--model", str(MODEL), "--engine", engine]
    result = call(*words, "--profile", env=home)
    assert result.returncode == 2
    assert "choose --engine tflite" in last_line(result)
    assert "measuring" not in result.stderr
