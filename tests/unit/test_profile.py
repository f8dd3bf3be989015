from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edge import model, profile, report
from edge.errors import BoardError, UsageError
from edge.profile import Profile
from edge.report import runs as runs_report
from tests.unit.test_run import REPORT, made

MODEL = Path(__file__).parents[2] / "examples/digits/models/cnn-int8.tflite"

# XNNPACK took nodes 0 to 4 by a node 6 of its own; node 5 is left to a built-in kernel.
TOLD: dict[str, Any] = {
    **REPORT,
    "delegation": {**REPORT["delegation"], "nodes": [[0, n] for n in range(5)]},  # type: ignore[dict-item]
    "invokes_ns": [1000, 1100, 5000],
    "operators": [
        {
            "name": "SOFTMAX",
            "subgraph": 0,
            "node": 5,
            "delegate": None,
            "elapsed_ns": [90, 100, 400],
            "runs": [1, 1, 1],
        },
        {
            "name": "TfLiteXNNPackDelegate",
            "subgraph": 0,
            "node": 6,
            "delegate": "XNNPACK",
            "elapsed_ns": [850, 900, 4000],
            "runs": [1, 1, 1],
        },
    ],
}


def parsed(told: dict[str, Any] = TOLD, *, emulated: bool = False) -> Profile:
    return profile.parse(told, model.read(MODEL), made([1000] * 10, emulated=emulated))


def changed(**members: Any) -> dict[str, Any]:
    told = copy.deepcopy(TOLD)
    told["operators"][0].update(members)
    return told


def test_the_slowest_operator_comes_first_with_who_ran_it() -> None:
    first, second = parsed().operators
    assert (first.by, first.median_ns, first.delegated) == ("XNNPACK", 900, True)
    assert (second.name, second.by, second.median_ns) == ("SOFTMAX", "built-in kernel", 100)


def test_a_delegates_only_node_says_which_of_the_models_it_stands_for() -> None:
    assert parsed().operators[0].contains == {
        "CONV_2D": 2,
        "MAX_POOL_2D": 1,
        "RESHAPE": 1,
        "FULLY_CONNECTED": 1,
    }


def test_of_two_nodes_of_a_delegate_nobody_knows_which_took_what() -> None:
    told = copy.deepcopy(TOLD)
    told["operators"].append({**told["operators"][1], "node": 7})
    delegated = [each for each in parsed(told).operators if each.delegated]
    assert [each.contains for each in delegated] == [{}, {}]


def test_names_are_the_files_and_not_the_runtimes() -> None:
    assert parsed(changed(name="a kernel of another name")).operators[1].name == "SOFTMAX"


def test_operators_and_the_rest_make_up_the_invocation() -> None:
    found = parsed()
    assert (found.invoke_ns, found.operators_ns, found.rest_ns) == (1100, 1000, 100)
    assert found.cost == pytest.approx(0.1)


def test_the_table_shows_each_share_the_rest_and_what_profiling_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = parsed(emulated=True)
    report.print_table(runs_report.profile_table(found))
    table = capsys.readouterr().out
    assert "emulated" in table
    rows = [line.split() for line in table.splitlines() if line.strip()]
    assert any(row[0] == "SOFTMAX" and row[-1] == "%" and row[-2] == "9.1" for row in rows)
    assert any(row[:2] == ["the", "rest:"] and row[-2] == "9.1" for row in rows)
    assert any(row[:2] == ["the", "invocation"] and row[-2] == "100.0" for row in rows)
    lines = "\n".join(runs_report.profile_lines(found))
    assert "without it 1.00 µs: +10.0 %" in lines
    assert "timed as a whole" in lines


def test_built_in_kernels_alone_need_no_word_about_delegates() -> None:
    told = copy.deepcopy(TOLD)
    del told["operators"][1]
    assert "delegate" not in "\n".join(runs_report.profile_lines(parsed(told)))


@pytest.mark.parametrize(
    "told",
    [
        {**TOLD, "invokes_ns": []},
        {**TOLD, "invokes_ns": None},
        {**TOLD, "invokes_ns": [1, 2, -3]},
        {**TOLD, "invokes_ns": [1, 2, True]},
        {**TOLD, "operators": []},
        {**TOLD, "operators": [None]},
        {**TOLD, "operators": {}},
        {**TOLD, "delegation": {"nodes": [[0]]}},
        {key: value for key, value in TOLD.items() if key != "operators"},
        changed(elapsed_ns=[1, 2]),
        changed(elapsed_ns=[1, 2, 1 << 70]),
        changed(elapsed_ns="123"),
        changed(runs=[1]),
        changed(node=-1),
        changed(node="0"),
        changed(subgraph=[]),
        changed(node=99, name="two\nlines"),
        changed(node=99, name="x" * 1000),
        changed(delegate="\x1b[2J"),
        changed(delegate=7),
    ],
)
def test_a_damaged_report_is_the_boards_failure(told: dict[str, Any]) -> None:
    with pytest.raises(BoardError, match="profile is damaged"):
        parsed(told)


def test_every_time_is_kept_in_a_file(tmp_path: Path) -> None:
    found = parsed()
    profile.save(found, tmp_path)
    kept = json.loads((tmp_path / "profile.json").read_text())
    assert kept.pop("schema") == 1
    assert kept == json.loads(json.dumps(dataclasses.asdict(found)))
    assert kept["operators"][1]["elapsed_ns"] == [90, 100, 400]


@pytest.mark.parametrize("engine", ["litert", "python", "native"])
def test_engines_without_a_profiler_are_refused_with_one_that_has_it(engine: str) -> None:
    with pytest.raises(UsageError, match=f"engine {engine} can't.*choose --engine tflite"):
        profile.check(engine)
