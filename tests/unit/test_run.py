from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edge import abi, layout, report
from edge import run as run_module
from edge.environment import Environment
from edge.errors import UntrustedError
from edge.options import Options
from edge.report import runs as runs_report
from edge.run import Plan, Run, unfinished
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
    assert run.settled_at is None and runs_report.run_json(run)["settled_at"] is None


def test_warming_up_is_left_out_of_the_percentiles() -> None:
    random = np.random.default_rng(1)
    values = random.normal(1e6, 1e3, 1000)
    values[:100] *= 3
    run = made(values)
    assert run.settled_at is not None and 95 <= run.settled_at <= 110
    p90 = next(p for p in run.percentiles() if p.label == "p90")
    assert p90.high < 1.01e6
    assert codes(run) == set()
    assert "settled after 1" in "\n".join(runs_report.run_lines(run))


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
    assert "emulated" in "\n".join(runs_report.run_lines(run))
    assert runs_report.run_json(run)["emulated"] is True


def test_the_report_says_which_percentiles_lack_samples() -> None:
    text = "\n".join(runs_report.run_lines(made([1000] * 100)))
    assert "p99 368" in text
    assert "p50" not in text


def test_every_run_can_be_reproduced() -> None:
    last = runs_report.run_lines(made([1000] * 500))[-1]
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
    line = next(line for line in runs_report.run_lines(run) if line.startswith("board: "))
    assert line == (
        "board: clock 1500 MHz; 50 °C, up to 58; other programs 0.00 of a processor; "
        "read 11 times, 100 µs each, beside the loop"
    )


@pytest.mark.parametrize(
    ("code", "columns", "said"),
    [
        # The last three readings are nearest to what began in the last two and a half seconds.
        ("throttled", {"throttled": [0.0] * 8 + [4.0] * 3}, "for 25 % of samples"),
        ("clock", {"clock_khz__policy0": [1.5e6] * 8 + [6e5] * 3}, "27 % of .* down to 600 MHz"),
        ("load", {"busy_ticks": [150.0 * i for i in range(11)]}, "0.50 of a processor"),
    ],
)
def test_what_a_board_did_besides(code: str, columns: dict[str, list[float]], said: str) -> None:
    run = watched(LEVEL, 10_000_000_000, **columns)
    (reason,) = run.verdict()
    assert reason.code == code and re.search(said, reason.text)


def test_a_moment_of_throttling_is_not_zero_percent() -> None:
    run = watched(np.full(5000, 1e6), 10_000_000_000, throttled=[4.0] + [0.0] * 10)
    run.samples.records["start_ns"][5:] += 1_000_000_000
    (reason,) = run.verdict()
    assert "for 0.1 % of samples" in reason.text


def set_as(run: Run, before: dict[str, str], after: dict[str, str] | None = None) -> Run:
    told = {"settings": before, **({} if after is None else {"settings_after": after})}
    return dataclasses.replace(run, watched=told)


def test_a_clock_that_fell_is_its_governors_doing_unless_that_is_performance() -> None:
    fell = watched(LEVEL, 10_000_000_000, clock_khz__policy0=[1.5e6] * 8 + [6e5] * 3)
    assert codes(set_as(fell, {"governor/policy0": "performance"})) == {"clock"}
    ruled = set_as(fell, {"governor/policy0": "ondemand"})
    assert codes(ruled) == {"governor"}
    assert "its governor is ondemand" in ruled.verdict()[0].text
    assert "--set governor=performance" in ruled.verdict()[0].remedy
    # The other cores' governor is none of its business.
    assert codes(
        set_as(fell, {"governor/policy0": "performance", "governor/policy4": "powersave"})
    ) == {"clock"}


def test_settings_that_changed_meanwhile() -> None:
    run = made(LEVEL)
    before = {"governor/policy0": "performance", "boost": "1"}
    assert codes(set_as(run, before, dict(before))) == set()
    assert codes(set_as(run, before)) == set()
    changed = set_as(run, before, {"governor/policy0": "powersave", "max_khz/policy0": "5"})
    assert codes(changed) == {"settings-changed"}
    text = changed.verdict()[0].text
    for part in ("performance to powersave", "boost from 1 to nothing", "from nothing to 5"):
        assert part in text


def test_a_model_that_runs_without_xnnpack() -> None:
    text = "XNNPACK took none of the model's nodes"
    run = made([1000] * 500)
    run.report["warnings"] = [text, "another one"]
    assert [reason.code for reason in run.verdict()] == ["runtime-warning"] * 2
    run.report["without_xnnpack"] = text
    assert [reason.code for reason in run.verdict()] == ["no-xnnpack", "runtime-warning"]


def test_a_recording_that_was_cut_short() -> None:
    run = made([1000] * 500)
    cut = dataclasses.replace(run, samples=dataclasses.replace(run.samples, remainder_bytes=7))
    assert codes(cut) == {"cut-short"}


def test_every_code_is_in_the_documents_table() -> None:
    source = Path(run_module.__file__).read_text(encoding="utf-8")
    used = {
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Reason"
        if isinstance(node.args[0], ast.Constant)
    }
    assert len(used) >= 12
    text = (layout.data_dir("docs") / "measuring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == used


def test_insisting_on_trust_names_each_reason_once() -> None:
    run_module.insist([made(LEVEL)])
    with pytest.raises(UntrustedError, match=r"2 of 3 runs not trusted \(emulated\)") as caught:
        run_module.insist([made(LEVEL), made(LEVEL, emulated=True), made(LEVEL, emulated=True)])
    assert caught.value.exit_code == 7


def paced(*adds_per_ns: float) -> Run:
    run = made(LEVEL)
    pace = {
        "adds": 16384,
        "time_ns": [1 + i for i in range(len(adds_per_ns))],
        "elapsed_ns": [round(16384 / each) for each in adds_per_ns],
    }
    return dataclasses.replace(run, report={**run.report, "pace": pace})


def test_a_core_that_slows_down_shows_in_its_pace() -> None:
    assert codes(paced(*[1.8] * 50)) == set()
    # One reading in fifty may be the neighbour.
    assert codes(paced(*[1.8] * 49, 0.9)) == set()
    run = paced(*[1.8] * 40, *[1.2] * 10)
    (reason,) = run.verdict()
    assert reason.code == "pace"
    assert "1.20 to 1.80 additions per ns" in reason.text and "20 % of the readings" in reason.text


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"adds": 1},
        {"adds": 16384, "time_ns": [1], "elapsed_ns": []},
        {"adds": 16384, "time_ns": [], "elapsed_ns": []},
        {"adds": 16384, "time_ns": [1], "elapsed_ns": [0]},
        {"adds": 16384, "time_ns": [1], "elapsed_ns": ["1"]},
        {"adds": 16384, "time_ns": [1], "elapsed_ns": [1 << 70]},
        {"adds": 0, "time_ns": [1], "elapsed_ns": [1]},
        {"adds": 16384, "time_ns": [1] * 5000, "elapsed_ns": [1] * 5000},
    ],
)
def test_a_pace_that_makes_no_sense_is_none(told: object) -> None:
    run = made(LEVEL)
    assert dataclasses.replace(run, report={**run.report, "pace": told}).pace is None


def test_a_run_that_was_broken_off_is_marked_and_nothing_is_made_up() -> None:
    run = dataclasses.replace(made(LEVEL), report=unfinished("m.tflite was killed"))
    (reason,) = run.verdict()
    assert reason.code == "unfinished" and "m.tflite was killed" in reason.text
    lines = "\n".join(runs_report.run_lines(run))
    assert "cold start" not in lines and "resident" not in lines
    (row,) = zip(*(c.cells for c in runs_report.runs_table([run]).columns), strict=True)
    headers = [str(c.header) for c in runs_report.runs_table([run]).columns]
    told = dict(zip(headers, row, strict=True))
    assert (told["delegated"], told["cold start"], told["peak memory"]) == ("", "", "")


def test_outliers_are_told_of_and_not_left_out() -> None:
    values = np.rint(LEVEL)
    values[[50, 300]] = 10 * values.max()
    run = made(values)
    assert run.far_out == (2, values.max())
    assert any(line.startswith("outliers: 2 samples") for line in runs_report.run_lines(run))
    assert len(run.samples.latency_ns) == len(values)
    assert made(LEVEL).far_out[0] == 0


def test_throughput_is_of_the_time_spent_in_invocations() -> None:
    run = made([1000] * 100, iterations=10)
    assert run.throughput_per_s == 1e7
    batch = dataclasses.replace(run, plan=Plan(options=Options(batch=8)))
    assert any("8e+07 items/s in batches of 8" in line for line in runs_report.run_lines(batch))
    assert dataclasses.replace(run, samples=made([]).samples).throughput_per_s is None


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(), "closed loop"),
        (Plan(rate_per_s=50), "open loop, 50 per second, evenly"),
        (Plan(rate_per_s=0.5, poisson=True), "open loop, 0.5 per second, at random times"),
        (Plan(idle_s=0.2), "a pause of 200 ms before each"),
    ],
)
def test_a_plan_says_its_scenario(plan: Plan, said: str) -> None:
    assert plan.scenario == said
