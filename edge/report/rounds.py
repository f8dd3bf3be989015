"""Rounds: what was measured by turns, again and again, or against a baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from edge.report import duration, estimate, interval, progress, table

if TYPE_CHECKING:
    from edge.baseline import Check
    from edge.comparison import Comparison
    from edge.rounds import Measured
    from edge.run import Run


def round_begins(name: str, number: int, medians: Sequence[Sequence[float]], most: int = 0) -> None:
    """``m.tflite: round 4 of 20; so far A 25.1 µs, B 24.8 µs``, as a phase of its own."""
    from edge.stats import median

    arms = "AB" if len(medians) > 1 else " "
    told = [
        f"{arm} {duration(median(times))}".strip()
        for arm, times in zip(arms, medians, strict=True)
        if times
    ]
    so_far = f"; so far {', '.join(told)}" if told else ""
    progress(f"{name}: round {number}{f' of {most}' if most else ''}{so_far}")


def comparison_table(
    found: Comparison, a: Sequence[Run], b: Sequence[Run], title: str = ""
) -> Table:
    """An arm a row."""
    from edge import stats

    made = table(
        title,
        [
            *("arm", "flags", "model", "engine", "rounds", "median of rounds [95 % bounds]"),
            *("delegated", "cold start"),
        ],
        left=4,
    )
    for name, label, times, runs in zip(
        "AB", found.labels, (found.a_ns, found.b_ns), (a, b), strict=True
    ):
        made.add_row(
            name,
            label or "as the board has it",
            runs[0].model,
            runs[0].engine,
            str(len(times)),
            # Where rounds are alike for so long that they bound nothing, the median alone.
            interval(stats.percentile(times, 0.5)) or duration(stats.median(times)),
            runs[0].delegated,
            duration(stats.median([run.cold_start_ns for run in runs])),
        )
    return made


def comparison_lines(found: Comparison, a: Sequence[Run]) -> list[str]:
    """The sentence, what stands behind it, and how to do it again."""
    lines = [found.text, found.power_text]
    lines += [f"remark: {line}" for line in found.remarks]
    return [*lines, _group_line(a)]


def _group_line(runs: Sequence[Run]) -> str:
    """Where the rounds are, and the command."""
    folder = runs[0].id.rpartition("/")[0]
    return f"reproduce: {runs[0].command}  # rounds are kept as {folder}"


def comparison_json(found: Comparison, a: Sequence[Run], b: Sequence[Run]) -> dict[str, Any]:
    sides = zip(found.labels, (found.a_ns, found.b_ns), (a, b), strict=True)
    return {
        "arms": [
            {
                "flags": label,
                "rounds_ns": list(times),
                "model": runs[0].model,
                "model_sha256": runs[0].model_sha256,
                "engine": runs[0].engine,
                "runtime": runs[0].runtime,
                "delegated": runs[0].delegated,
                "runs": [run.id for run in runs],
            }
            for label, times, runs in sides
        ],
        "ratio": dataclasses.asdict(found.ratio),
        "differs": found.differs,
        "detectable": found.detectable,
        "emulated": found.emulated,
        "text": found.text,
        "remarks": list(found.remarks),
        "reproduce": a[0].command,
    }


def until_table(results: Sequence[Measured], title: str = "") -> Table:
    """A model a row."""
    made = table(
        title,
        ["model", "engine", "delegated", "rounds", "mean of rounds [95 %]", "±", "wanted"],
        left=2,
    )
    for each in results:
        found = each.precision
        assert found is not None
        made.add_row(
            each.runs[0].model,
            each.runs[0].engine,
            each.runs[0].delegated,
            str(found.rounds),
            estimate(found.estimate),
            f"{100 * found.found:.2g} %",
            f"{100 * found.wanted:g} %" + ("" if found.reached else ": NOT REACHED"),
        )
    return made


def until_lines(each: Measured) -> list[str]:
    """Whether it was reached, what varies most, and what weighs on the rounds."""
    from edge import precision
    from edge.comparison import troubles

    found, name = each.precision, each.runs[0].model
    assert found is not None
    lines = []
    if not found.reached:
        lines.append(
            f"{name}: ±{100 * found.wanted:g} % was not reached in {found.rounds} rounds: allow "
            "more (--rounds), or find out what disturbs the board"
        )
    between, within = found.spread, precision.within(each.runs)
    lines.append(
        f"{name}: from process to process its median spreads by {100 * between:.2g} %; one process "
        f"alone bounds its own to ±{100 * within:.2g} %"
        if within is not None
        else f"{name}: from process to process its median spreads by {100 * between:.2g} %"
    )
    lines += [f"remark: {line}" for line in troubles(each.runs, name)]
    return [*lines, _group_line(each.runs)]


def cold_table(results: Sequence[Measured], title: str = "") -> Table:
    """A step of a model's cold start a row."""
    from edge.stats import median, percentile

    made = table(
        title,
        [
            *("model", "engine", "step", "processes", "p50 [95 % bounds]", "p90 [95 % bounds]"),
            *("quickest", "slowest"),
        ],
        left=3,
    )
    for each in results:
        for step, times in _cold_steps(each).items():
            made.add_row(
                each.runs[0].model,
                each.runs[0].engine,
                step,
                str(len(times)),
                interval(percentile(times, 0.5)) or duration(median(times)),
                interval(percentile(times, 0.9)),
                duration(min(times)),
                duration(max(times)),
            )
    return made


def _cold_steps(each: Measured) -> dict[str, list[float]]:
    """Nanoseconds of each step in each process, then of all together."""
    steps = {
        key.removesuffix("_ns").replace("_", " "): [
            float(run.report["cold_start"].get(key, 0)) for run in each.runs
        ]
        for key in each.runs[0].report["cold_start"]
        if key.endswith("_ns")
    }
    steps = {step: times for step, times in steps.items() if any(times)}
    return {**steps, "in all": [run.cold_start_ns for run in each.runs]}


def cold_lines(each: Measured) -> list[str]:
    first = f"{each.runs[0].model}, engine {each.runs[0].engine}"
    return [
        f"{first}: each process opened the model and ran it once; what it reads from the disk was "
        "in the board's memory from the second process on, if not before",
        _group_line(each.runs),
    ]


def in_rounds_json(each: Measured) -> dict[str, Any]:
    """Of bench --until and --cold."""
    from edge.stats import median, percentile

    first, found = each.runs[0], each.precision
    made: dict[str, Any] = {
        "model": first.model,
        "model_sha256": first.model_sha256,
        "engine": first.engine,
        "runtime": first.runtime,
        "board": first.board,
        "emulated": first.emulated,
        "runs": [run.id for run in each.runs],
        "reproduce": first.command,
    }
    if found is not None:
        made |= dataclasses.asdict(found) | {"reached": found.reached}
        return made | {"rounds_ns": [run.median_ns for run in each.runs]}
    steps = {}
    for step, times in _cold_steps(each).items():
        p50 = percentile(times, 0.5)
        steps[step] = {
            "median_ns": median(times),
            "p50": None if p50 is None else dataclasses.asdict(p50),
            "all_ns": times,
        }
    return made | {"cold_start": steps}


def checks_table(checks: Sequence[Check], title: str = "") -> Table:
    """A model a row."""
    from edge.stats import median

    made = table(
        title,
        ["model", "outcome", "baseline", "now", "now / baseline [99 %]", "allowed"],
        left=2,
    )
    for each in checks:
        ratio = each.ratio
        made.add_row(
            each.now.model,
            each.outcome,
            f"{duration(median(each.then.rounds_ns))} ({len(each.then.rounds_ns)} rounds)",
            f"{duration(median(each.now.rounds_ns))} ({len(each.now.rounds_ns)} rounds)",
            f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
            f"{1 + each.then.tolerance:g}",
        )
    return made


def check_lines(each: Check, runs: Sequence[Run]) -> list[str]:
    return [each.text, *(f"remark: {line}" for line in each.remarks), _group_line(runs)]


def updated_lines(path: str, runs: Sequence[Run]) -> list[str]:
    """What went into a baseline, and what weighs on it."""
    from edge.comparison import troubles
    from edge.stats import median

    first = runs[0]
    label = ", emulated: no speed of a real board" if first.emulated else ""
    lines = [
        f"{path}: {first.model} on {first.board}, median of {len(runs)} rounds "
        f"{duration(median([run.median_ns for run in runs]))}{label}"
    ]
    lines += [f"remark: {line}" for line in troubles(runs, first.model)]
    return [*lines, _group_line(runs)]


def check_json(each: Check) -> dict[str, Any]:
    return {
        "outcome": each.outcome,
        "text": each.text,
        "ratio": dataclasses.asdict(each.ratio),
        "baseline": dataclasses.asdict(each.then),
        "now": dataclasses.asdict(each.now),
        "remarks": list(each.remarks),
    }
