"""Runs: what one measured, what its parts took, and those that are kept."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from edge.report import duration, estimate, interval, size, table, title

if TYPE_CHECKING:
    from edge.archive import Entry
    from edge.comparison import Comparison
    from edge.environment import Environment
    from edge.profile import Profile
    from edge.run import Run
    from edge.split import Split

_PHASES = {"copy_in": "copy in", "invoke": "invoke", "copy_out": "copy out", "call": "whole call"}


def runs_table(runs: Sequence[Run], title: str = "") -> Table:
    """Latency per run; a percentile that no run supports has no column."""
    from edge.run import QUANTILES

    found = {run.id: {p.quantile: p for p in run.percentiles()} for run in runs}
    quantiles = [q for q in QUANTILES if any(q in found[run.id] for run in runs)]
    labels = [f"p{100 * q:g} [95 % bounds]" for q in quantiles]
    made = table(
        title,
        ["model", "engine", "delegated", "samples", *labels, "cold start", "peak memory"],
        left=2,
    )
    for run in runs:
        made.add_row(
            run.model,
            run.engine,
            run.delegated,
            str(len(run.samples)),
            *(interval(found[run.id].get(q)) for q in quantiles),
            duration(run.cold_start_ns) if run.report["cold_start"] else "",
            "" if run.report["peak_rss_bytes"] is None else size(run.report["peak_rss_bytes"]),
        )
    return made


def archive_table(found: Sequence[Entry]) -> Table:
    """What is kept, a row each."""
    made = table("", ["run", "when", "what", "board", "model", "engine"], left=6)
    for column in ("samples", "median"):
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    for entry in found:
        when = datetime.datetime.fromisoformat(entry.measured_at).astimezone(datetime.timezone.utc)
        many = f"{entry.kind}, {len(entry.runs)} runs" if entry.grouped else entry.kind
        made.add_row(
            entry.id,
            f"{when:%Y-%m-%d %H:%M} UTC",
            many,
            title(entry.board, emulated=False) + (" (emulated)" if entry.emulated else ""),
            entry.model,
            entry.engine,
            str(entry.samples) if entry.samples else "",
            "" if entry.median_ns is None else duration(entry.median_ns),
            "damaged" if entry.damage else "trusted" if entry.trusted else _doubts(entry),
        )
    return made


def _doubts(entry: Entry) -> str:
    return f"not trusted: {', '.join(entry.reasons)}"


def archive_lines(found: Sequence[Entry]) -> list[str]:
    """Why some can't be read."""
    return [f"damaged: {entry.id}: {entry.damage}" for entry in found if entry.damage]


def entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "kind": entry.kind,
        "folder": str(entry.folder),
        "measured_at": entry.measured_at,
        "board": entry.board,
        "model": entry.model,
        "engine": entry.engine,
        "emulated": entry.emulated,
        "samples": entry.samples,
        "median_ns": entry.median_ns,
        "trusted": entry.trusted,
        "reasons": list(entry.reasons),
        "damage": entry.damage or None,
        "runs": [entry_json(each) for each in entry.runs],
    }


def side_by_side(runs: Sequence[Run]) -> Table:
    """Single runs under each other. No difference is claimed: they did not take turns."""
    return runs_table(runs, "they did not take turns: no difference is claimed")


def group_lines(arms: Mapping[str, Mapping[str, float]], found: Comparison | None) -> list[str]:
    """What a group's rounds came to.

    :param arms: arm -> round -> median, in nanoseconds.
    :param found: if the group was there to compare them.
    """
    lines = [
        f"arm {arm}: {len(rounds)} round{'' if len(rounds) == 1 else 's'}, medians from "
        f"{duration(min(rounds.values()))} to {duration(max(rounds.values()))}"
        for arm, rounds in sorted(arms.items())
    ]
    return lines if found is None else [*lines, found.text, found.power_text]


def run_lines(run: Run) -> list[str]:
    """Cold start step by step, the clock, the verdict, and how to do it again."""
    from edge.run import QUANTILES
    from edge.runtime import WHOLE_CALL
    from edge.stats import needed

    steps = [
        f"{key.removesuffix('_ns').replace('_', ' ')} {duration(value)}"
        for key, value in run.report["cold_start"].items()
        if key.endswith("_ns") and value  # 0: this engine can't tell that step from the next
    ]
    clock = run.samples
    lines = ["cold start: " + ", ".join(steps)] if steps else []
    lines += _memory_lines(run)
    lines.append(
        f"clock: tick {clock.tick_ns} ns, reading it {clock.clock_cost_ns} ns, empty sample "
        f"{clock.loop_cost_ns} ns (not subtracted)"
        + (
            f"; invocations a sample: {run.report['iterations']}"
            if run.report["iterations"]
            else ""
        )
    )
    if run.engine in WHOLE_CALL:
        lines.append("a sample is a whole call, from NumPy arrays to NumPy arrays")
    lines += _scenario_lines(run)
    if run.meanwhile is not None:
        lines.append(f"board: {_meanwhile(run, run.meanwhile)}")
    if run.settled_at:
        lines.append(
            f"settled after {run.settled_at} of {len(clock)} samples: percentiles are of the rest"
        )
    count, longest = run.far_out
    if count:
        lines.append(
            f"outliers: {count} samples lie far above the others (Tukey's outer fence), the "
            f"longest {duration(longest)}; they are in every figure"
        )
    missing = [q for q in QUANTILES if q not in {p.quantile for p in run.percentiles()}]
    if missing:
        counts = ", ".join(f"p{100 * q:g} {needed(q)}" for q in missing)
        lines.append(
            "not shown, for lack of samples (needed, were they independent of each other): "
            f"{counts}"
        )
    lines += verdict_lines(run)
    lines.append(
        f"reproduce: {run.command}  # model {run.model_sha256[:12]}, "
        f"runtime {run.runtime_sha256[:12]}, runner {run.runner_sha256[:12]}"
    )
    return lines


def verdict_lines(run: Run) -> list[str]:
    found = [f"not trusted: {reason.text}; {reason.remedy}" for reason in run.verdict()]
    return found or ["verdict: trusted"]


def _memory_lines(run: Run) -> list[str]:
    """What the steps of a cold start came to in memory, as far as the runner says."""
    cold = run.report["cold_start"]
    resident, peak, minor, major = (
        cold.get(key) for key in ("rss_bytes", "peak_rss_bytes", "minor_faults", "major_faults")
    )
    if not resident or not (peak and minor and major):
        return []
    names = ("library", "model", "interpreter", "tensors", "first invoke")
    steps = ", ".join(
        f"{name} {size(there)}" for name, there in zip(names, resident, strict=False) if there
    )
    return [
        f"resident after each step: {steps}; peak {size(max(peak))}; page faults: {sum(minor)}, of "
        f"the disk {sum(major)}"
    ]


def _scenario_lines(run: Run) -> list[str]:
    """When invocations began, how many there were, and how fast the cores were."""
    lines = []
    plan, per_s = run.plan, run.throughput_per_s
    if plan.rate_per_s or plan.idle_s:
        text = plan.scenario
        if plan.rate_per_s and len(run.samples):
            waited, behind = run.samples.queued_ns, run.samples.late
            text += (
                f"; latency from when it was due: {behind:.1%} began late, the longest wait "
                f"{duration(float(waited.max()))}"
            )
        lines.append(f"scenario: {text}")
    elif per_s is not None:
        batch = run.plan.options.batch
        items = f", {per_s * batch:,.4g} items/s in batches of {batch}" if batch > 1 else ""
        lines.append(f"throughput: {per_s:,.4g} invocations/s, one after the other{items}")
    if plan.cpus:
        lines.append(f"ran on processors {plan.cpus}")
    if (asked := run.report.get("undisturbed")) is not None:
        locked = "locked" if asked["memory_locked"] else "not locked: that is not permitted"
        lines.append(f"undisturbed: nice {asked['nice']}, memory {locked}")
    if (pace := run.pace) is not None:
        lines.append(
            f"pace: {pace.usual:.2f} dependent additions per ns (GHz, at one a cycle), "
            f"{len(pace.times_ns)} readings, lowest {float(pace.adds_per_ns.min()):.2f}"
        )
    return lines


def _meanwhile(run: Run, seen: Environment) -> str:
    """How the board was, as far as it can say."""
    parts = []
    if (clock := seen.lower_clock(run.cpus)) is not None:
        parts.append(f"clock {_range(clock[1], clock[0])} MHz")
    if (heat := seen.celsius()) is not None:
        parts.append(f"{heat[0]:.0f} °C, up to {heat[1]:.0f}")
    if (others := run.others) is not None:
        parts.append(f"other programs {others:.2f} of a processor")
    parts.append(f"read {len(seen)} times, {duration(seen.reading_ns)} each, beside the loop")
    return "; ".join(parts)


def _meanwhile_json(run: Run, seen: Environment) -> dict[str, Any]:
    clock, heat = seen.lower_clock(run.cpus), seen.celsius()
    return {
        "readings": len(seen),
        "reading_ns": seen.reading_ns,
        "clock_mhz": None if clock is None else {"highest": clock[0], "lowest": clock[1]},
        "celsius": None if heat is None else {"first": heat[0], "highest": heat[1]},
        "throttled": run.throttled,
        "others": run.others,
    }


def _range(low: float, high: float) -> str:
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"


def split_table(split: Split, *, emulated: bool) -> Table:
    """What a call is made of, from C and from Python."""
    label = ", emulated" if emulated else ""
    made = table(
        f"{split.model}: one call, from C and from Python{label}",
        ["", "native [95 %]", "python [95 %]", "binding [95 %]"],
    )
    for part in split.parts:
        made.add_row(
            _PHASES[part.phase],
            *(estimate(value) for value in (part.native, part.python, part.binding)),
        )
    return made


def split_lines(split: Split) -> list[str]:
    same = "native and python gave the same outputs, bit for bit"
    if split.identical is None:
        same = "the model keeps state: outputs of native and python were not compared"
    elif not split.identical:
        same = "native and python gave DIFFERENT outputs"
    return [
        f"{same}; {split.rounds} rounds by turns; binding is what python "
        "takes longer, round by round",
    ]


def split_json(split: Split) -> dict[str, Any]:
    return dataclasses.asdict(split)


def profile_table(profile: Profile) -> Table:
    """Operators, the slowest first; their sum, what is left of the invocation, and the whole."""
    label = ", emulated" if profile.emulated else ""
    made = table(
        f"{profile.model}: one invocation with the profiler on, by operators{label}",
        ["operator", "node", "run by", "runs", "median", "share"],
        left=3,
    )

    def row(*words: str, ns: float) -> None:
        signed = ("-" if ns < 0 else "") + duration(abs(ns))
        made.add_row(*words, signed, f"{100 * ns / profile.invoke_ns:.1f} %")

    for each in profile.operators:
        inside = ", ".join(f"{number} {name}" for name, number in each.contains.items())
        row(
            inside or each.name,
            f"{each.subgraph}:{each.node}" if each.subgraph else str(each.node),
            each.by,
            f"{each.median_runs:g}",
            ns=each.median_ns,
        )
    made.add_section()
    row("all operators", "", "", "", ns=profile.operators_ns)
    row("the rest: the interpreter, and the profiler", "", "", "", ns=profile.rest_ns)
    row("the invocation", "", "", "", ns=profile.invoke_ns)
    return made


def profile_lines(profile: Profile) -> list[str]:
    """What the profiler cost, and what the table can't say."""
    lines = [
        f"with the profiler {duration(profile.invoke_ns)} (median of {len(profile.invokes_ns)}), "
        f"without it {duration(profile.unprofiled_ns)}: {100 * profile.cost:+.1f} %; shares are of "
        "the first"
    ]
    if any(each.delegated for each in profile.operators):
        lines.append(
            "a delegate's node is timed as a whole, for the runtime tells nothing from inside; "
            "--no-xnnpack shows the same operators as built-in kernels, which take other times"
        )
    return lines


def profile_json(profile: Profile) -> dict[str, Any]:
    """Without each single time, which profile.json has."""
    return {
        "model": profile.model,
        "engine": profile.engine,
        "emulated": profile.emulated,
        "invocations": len(profile.invokes_ns),
        "invoke_ns": profile.invoke_ns,
        "unprofiled_ns": profile.unprofiled_ns,
        "operators_ns": profile.operators_ns,
        "rest_ns": profile.rest_ns,
        "operators": [
            {
                "name": each.name,
                "subgraph": each.subgraph,
                "node": each.node,
                "by": each.by,
                "contains": each.contains,
                "runs": each.median_runs,
                "median_ns": each.median_ns,
                "share": each.median_ns / profile.invoke_ns,
            }
            for each in profile.operators
        ],
    }


def run_json(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "board": run.board,
        "target": run.target,
        "emulated": run.emulated,
        "model": run.model,
        "model_sha256": run.model_sha256,
        "runtime_sha256": run.runtime_sha256,
        "runner_sha256": run.runner_sha256,
        "runtime": run.runtime,
        "engine": run.engine,
        "kernel": run.kernel,
        "measured_at": run.measured_at,
        "samples": len(run.samples),
        "settled_at": run.settled_at,
        "median_ns": run.median_ns if len(run.samples) else None,
        "scenario": run.plan.scenario,
        "throughput_per_s": run.throughput_per_s,
        "outliers": {"count": run.far_out[0], "longest_ns": run.far_out[1]},
        "pace": None if run.pace is None else {"usual": run.pace.usual, "slow": run.pace.slow},
        "environment": None if run.meanwhile is None else _meanwhile_json(run, run.meanwhile),
        "percentiles_ns": {
            p.label: {"value": p.value, "low": p.low, "high": p.high, "confidence": p.confidence}
            for p in run.percentiles()
        },
        "verdict": [{"code": r.code, "text": r.text, "remedy": r.remedy} for r in run.verdict()],
        "report": run.report,
        "reproduce": run.command,
        "settings": (run.watched or {}).get("settings"),
    }
