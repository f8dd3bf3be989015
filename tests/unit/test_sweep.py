"""A model at several batch sizes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge import sweep
from edge.errors import UsageError
from edge.report import sweep as sweep_report
from edge.sweep import Point
from tests.unit import test_run


@pytest.fixture
def points() -> tuple[Point, ...]:
    run = test_run.made(np.full(200, 2000.0))
    run.report["resizes"] = {"refusal": None, "resize_ns": [6000, 5000, 90000]}
    run.report["resizes"]["first_invoke_ns"] = [7000, 6000, 90000]
    refused = Point("m.tflite", "tflite", 8, None, "can't take the shape [8, 4]")
    return (Point("m.tflite", "tflite", 4, run), refused)


def test_throughput_counts_the_elements_of_a_batch(points: tuple[Point, ...]) -> None:
    assert points[0].samples_per_s == pytest.approx(4 / 2e-6)
    assert points[1].samples_per_s is None


def test_coming_from_another_size_costs_the_median(points: tuple[Point, ...]) -> None:
    assert (points[0].resize_ns, points[0].then_invoke_ns) == (6000, 7000)
    assert (points[1].resize_ns, points[1].then_invoke_ns) == (None, None)
    table = sweep_report.sweep_table(points, "board")
    columns = {str(each.header): list(each.cells) for each in table.columns}
    assert (columns["resize"], columns["then invoke"]) == (["6.00 µs", ""], ["7.00 µs", ""])
    ran, refused = sweep_report.sweep_json(points)
    assert (ran["resize_ns"], ran["then_invoke_ns"]) == (6000, 7000)
    assert (refused["resize_ns"], refused["then_invoke_ns"]) == (None, None)


def test_a_size_that_stays_once_a_model_is_open(points: tuple[Point, ...]) -> None:
    assert points[0].run is not None
    points[0].run.report["resizes"] = {"resize_ns": [], "first_invoke_ns": []}
    stays = dataclasses.replace(points[0], resize_refusal="can't take the shape [1, 4]")
    assert stays.resize_ns is None
    said = "not resized: can't take the shape [1, 4]: m.tflite, tflite, batch 4"
    assert said in sweep_report.sweep_lines([stays])


def test_an_earlier_run_knows_nothing_of_resizing(points: tuple[Point, ...]) -> None:
    assert points[0].run is not None
    del points[0].run.report["resizes"]
    assert (points[0].resize_ns, points[0].then_invoke_ns) == (None, None)


def test_a_size_that_was_refused_is_a_row_without_figures(points: tuple[Point, ...]) -> None:
    table = sweep_report.sweep_table(points, "board")
    columns = {str(each.header): list(each.cells) for each in table.columns}
    assert columns["batch"] == ["4", "8"]
    assert columns["p50 / batch"] == ["500 ns", ""]
    assert columns["samples/s"] == ["2e+06", ""]
    assert columns["p50 [95 % bounds]"][1] == "refused"
    lines = sweep_report.sweep_lines(points)
    assert "refused: can't take the shape [8, 4]: m.tflite, tflite, batch 8" in lines


def test_programs_get_both(points: tuple[Point, ...]) -> None:
    ran, refused = sweep_report.sweep_json(points)
    assert ran["samples_per_s"] == pytest.approx(2e6) and ran["refusal"] is None
    assert ran["run"]["engine"] and refused["run"] is None
    assert refused["refusal"] == "can't take the shape [8, 4]"


def test_nothing_but_refusals_is_a_failure(points: tuple[Point, ...]) -> None:
    sweep.insist(points)
    with pytest.raises(UsageError, match="can't take the shape"):
        sweep.insist(points[1:])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write sizes joined by commas"),
        ("1,,2", "write sizes joined by commas"),
        ("1,x", "write sizes joined by commas"),
        ("2,2", "names a size twice"),
        ("0,1", "sizes are 1 to"),
        ("9999999", "sizes are 1 to"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep.sizes(text)


def test_sizes_keep_their_order() -> None:
    assert sweep.sizes("8,1,64") == (8, 1, 64)
