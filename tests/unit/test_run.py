from __future__ import annotations

import dataclasses
import re

import numpy as np
import numpy.typing as npt
import pytest

from edge import abi, report
from edge.environment import Environment
from edge.run import Plan, Run
from edge.samples import Samples

REPORT = {
    "warnings": [],
    "iterations": 1,
    "delegation": {"applied": True, "nodes_total": 5, "nodes_delegated": 4, "partitions": 1},
    "cold_start": {"library_open_ns": 2_000_000, "first_invoke_ns": 1_000_000, "rss_bytes": []},
    "peak_rss_bytes": 12_345_678,
}


def made(latency_ns: npt.ArrayLike, *, emulated: bool = False, iterations: int = 1) -> Run:
    elapsed = np.asarray(latency_ns)
    records = np.zeros(len(elapsed), abi.sample_dtype())
    records["elapsed_ns"] = elapsed
    records["iterations"] = iterations
    return Run(
        id="r",
        board="rpi4",
        target="pi@rpi4:22",
        emulated=emulated,
        model="m.tflite",
        model_sha256="a" * 64,
        runtime_sha256="b" * 64,
        runner_sha256="c" * 64,
        runtime="litert-2.1.0",
        engine="tflite",
        kernel="Linux",
        measured_at="2026-01-01T00:00:00+00:00",
        command="invoke bench --board rpi4",
        plan=Plan(),
        report=dict(REPORT),
        samples=Samples(records, 0, 19, 40, 60),
    )


def codes(run: Run) -> set[str]:
    return {reason.code for reason in run.verdict()}


def test_latency_is_per_invocation() -> None:
    assert list(made([100, 200], iterations=10).samples.latency_ns) == [10, 20]


@pytest.mark.parametrize(("count", "labels"), [(5, []), (6, ["p50"]), (368, ["p50", "p90", "p99"])])
def test_only_percentiles_that_the_count_supports(count: int, labels: list[str]) -> None:
    values = np.random.default_rng(1).permutation(count) + 1
    assert [p.label for p in made(values).percentiles()] == labels


def test_a_steady_run_on_hardware_is_trusted() -> None:
    assert codes(made(np.random.default_rng(0).normal(1e6, 1e3, 500))) == set()


def test_an_emulated_run_never_is() -> None:
    assert codes(made([1000] * 500, emulated=True)) == {"emulated"}


def test_too_few_samples() -> None:
    assert codes(made([1000] * 5)) == {"too-few-samples"}


@pytest.mark.parametrize("ends", [(1.0, 1.2), (1.2, 1.0)])
def test_a_drifting_run_is_not_trusted(ends: tuple[float, float]) -> None:
    run = made(np.linspace(*ends, 500) * 1e6)
    assert codes(run) == {"never-settled"}
    assert run.settled_at is None and report.run_json(run)["settled_at"] is None


def test_warming_up_is_left_out_of_the_percentiles() -> None:
    random = np.random.default_rng(1)
    values = random.normal(1e6, 1e3, 1000)
    values[:100] *= 3
    run = made(values)
    assert run.settled_at is not None and 95 <= run.settled_at <= 110
    p90 = next(p for p in run.percentiles() if p.label == "p90")
    assert p90.high < 1.01e6
    assert codes(run) == set()
    assert "settled after 1" in "\n".join(report.run_lines(run))


def test_a_board_that_becomes_slower_is_not_trusted() -> None:
    values = np.random.default_rng(1).normal(1e6, 1e3, 1000)
    values[300:] *= 1.5
    run = made(values)
    assert codes(run) == {"slowed"}
    assert "1.50 times as slow" in run.verdict()[0].text


def test_warnings_of_the_runtime_reach_the_verdict() -> None:
    run = made([1000] * 500)
    run.report["warnings"] = ["no XNNPACK in this library"]
    assert [reason.text for reason in run.verdict()] == ["no XNNPACK in this library"]


def test_an_emulated_run_says_so_on_every_face() -> None:
    run = made([1000] * 500, emulated=True)
    assert "emulated" in "\n".join(report.run_lines(run))
    assert report.run_json(run)["emulated"] is True


def test_the_report_says_which_percentiles_lack_samples() -> None:
    text = "\n".join(report.run_lines(made([1000] * 100)))
    assert "p99 368" in text
    assert "p50" not in text


def test_every_run_can_be_reproduced() -> None:
    last = report.run_lines(made([1000] * 500))[-1]
    assert last.startswith("reproduce: invoke bench --board rpi4")
    assert "aaaaaaaaaaaa" in last


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(5, "5.00 ns"), (999, "999 ns"), (1250, "1.25 µs"), (12_345, "12.3 µs"), (2.5e9, "2.50 s")],
)
def test_durations_have_three_digits(nanoseconds: float, text: str) -> None:
    assert report.duration(nanoseconds) == text


def watched(values: npt.ArrayLike, cpu_ns: int, **columns: list[float]) -> Run:
    """A run of ten seconds with eleven readings."""
    run = made(values)
    records = run.samples.records
    records["start_ns"] = np.linspace(0, 10e9, len(records)).astype(np.uint64)
    records["due_ns"] = records["start_ns"]
    named = {name.replace("__", "/"): np.array(v, dtype=float) for name, v in columns.items()}
    named["cost_ns"] = np.full(11, 1e5)
    seen = Environment(np.arange(11, dtype=np.int64) * 1_000_000_000, named, 100, 1000)
    return dataclasses.replace(run, environment=seen, report={**run.report, "cpu_ns": cpu_ns})


LEVEL = np.random.default_rng(0).normal(1e6, 1e3, 500)
QUIET = [100.0 * i for i in range(11)]


def test_a_board_that_had_nothing_else_to_do() -> None:
    run = watched(
        LEVEL, 10_000_000_000, busy_ticks=QUIET, throttled=[0x50000] * 11,
        clock_khz__policy0=[1.5e6] * 11, temperature_mc__z__cpu=[50e3, *([58e3] * 10)],
    )  # fmt: skip
    assert codes(run) == set()
    line = next(line for line in report.run_lines(run) if line.startswith("board: "))
    assert line == (
        "board: clock 1500 MHz; 50 °C, up to 58; other programs 0.00 of a processor; "
        "read 11 times, 100 µs each, beside the loop"
    )


@pytest.mark.parametrize(
    ("code", "columns", "said"),
    [
        ("throttled", {"throttled": [0.0] * 8 + [4.0] * 3}, "27% of the readings"),
        ("clock", {"clock_khz__policy0": [1.5e6] * 8 + [6e5] * 3}, "27% of .* down to 600 MHz"),
        ("load", {"busy_ticks": [150.0 * i for i in range(11)]}, "0.50 of a processor"),
    ],
)
def test_what_a_board_did_besides(code: str, columns: dict[str, list[float]], said: str) -> None:
    run = watched(LEVEL, 10_000_000_000, **columns)
    (reason,) = run.verdict()
    assert reason.code == code and re.search(said, reason.text)
