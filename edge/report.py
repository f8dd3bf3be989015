"""Report: findings, boards, deployments and runs as text for people and JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge.board import Board

if TYPE_CHECKING:  # a table of boards should not wait for SSH and scipy to be imported
    from edge.deploy import Deployment
    from edge.preflight import Finding
    from edge.run import Run
    from edge.stats import Percentile

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "stop": "[red]stop[/]"}


_running: list[Progress] = []
"""The phase whose clock runs on the terminal: one or none."""


def progress(line: str) -> None:
    """Begin a phase: a line on standard error, so that standard output has the result alone.

    On a terminal a clock runs beside it until the next phase, or :func:`settle`.
    """
    settle()
    if not sys.stderr.isatty():
        sys.stderr.write(f"  {line}\n")
        sys.stderr.flush()
        return
    clock = Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    clock.add_task(line, total=1)
    clock.start()
    _running.append(clock)


def settle() -> None:
    """End the phase that runs; before anything else is printed."""
    while _running:
        clock = _running.pop()
        for task in clock.task_ids:
            clock.update(task, completed=1)
        clock.stop()


def print_json(value: Any) -> None:
    settle()
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")


def print_table(table: Table) -> None:
    settle()
    # A file or a pipe has no width; the usual 80 columns would cut numbers off.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    if Console(width=1000).measure(table).maximum <= console.width:
        console.print(table)
    else:
        _print_rows(console, table)


def _print_rows(console: Console, table: Table) -> None:
    """Row by row, a line a column: numbers cut off to fit a narrow terminal would be no numbers."""
    if table.title:
        console.print(table.title, soft_wrap=True)
    headers = [str(column.header) for column in table.columns]
    width = max(len(header) for header in headers)
    for row in zip(*(column.cells for column in table.columns), strict=True):
        console.print(f"\n[bold]{row[0]}[/]", soft_wrap=True)
        for header, cell in zip(headers[1:], row[1:], strict=True):
            if cell:
                console.print(f"  {escape(header):{width}}  {cell}", soft_wrap=True)
    console.print()


def print_line(line: str) -> None:
    settle()
    Console(soft_wrap=True, highlight=False, markup=False).print(line)


def table(title: str, columns: Sequence[str], *, left: int = 1) -> Table:
    """An empty table: the first ``left`` columns are text, the others numbers."""
    made = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        made.add_column(
            column,
            justify="left" if number < left else "right",
            no_wrap=True,
        )
    return made


_UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))


def duration(nanoseconds: float) -> str:
    """Three digits with a unit: ``115 µs``, ``2.04 s``."""
    unit, factor = _unit(nanoseconds)
    return f"{_three(nanoseconds / factor)} {unit}"


def _unit(nanoseconds: float) -> tuple[str, float]:
    return next((u for u in _UNITS if nanoseconds >= u[1]), _UNITS[-1])


def size(count_bytes: float) -> str:
    """Three digits with a decimal unit: ``9.21 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count_bytes >= factor:
            return f"{_three(count_bytes / factor)} {unit}"
    return f"{count_bytes:.0f} B"


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def interval(percentile: Percentile | None) -> str:
    """``115 [113, 118] µs``: the value and its bounds; blank if the count supports none."""
    if percentile is None:
        return ""
    unit, factor = _unit(percentile.value)
    value, low, high = (
        _three(number / factor) for number in (percentile.value, percentile.low, percentile.high)
    )
    return f"{value} [{low}, {high}] {unit}"


def boards_table(boards: Sequence[Board]) -> Table:
    made = table("", ["board", "system", "core", "cores", "memory", "values from"], left=3)
    for board in boards:
        made.add_row(
            board.name,
            board.description,
            f"{board.arch} {board.cpu}",
            str(board.cores),
            f"{board.memory_mib} MiB",
            board.verified,
        )
    return made


def board_json(board: Board) -> dict[str, Any]:
    return {key: getattr(board, key) for key in sorted(board.__dataclass_fields__)}


def findings_table(target: str, findings: Sequence[Finding]) -> Table:
    made = table(f"{target}", ["check", "", "found", "what to do"], left=4)
    made.columns[2].no_wrap = made.columns[3].no_wrap = False
    for finding in findings:
        made.add_row(finding.check, _MARKS[finding.level], finding.text, finding.remedy)
    return made


def deployment_lines(done: Deployment) -> list[str]:
    """What happened, for people."""
    wanted = done.release
    plural = "" if done.sent_files == 1 else "s"
    sent = f"{done.sent_files} file{plural}, {size(done.sent_bytes)} sent"
    if not done.sent_files:
        sent = "nothing to send"
    lines = [
        f"{done.board} ({done.target}): release {wanted.id} is live, "
        f"{len(wanted.models)} model{'s' if len(wanted.models) != 1 else ''}, {sent}"
    ]
    if done.previous and done.changed:
        lines.append(f"before: {done.previous}")
    lines += [
        f"checked {a.model}: largest difference from this machine {a.largest_difference:.3g} "
        f"(allowed {a.bound:.3g})"
        for a in done.smoke
    ]
    return lines


def deployment_json(done: Deployment) -> dict[str, Any]:
    return {
        "board": done.board,
        "target": done.target,
        "release": done.release.id,
        "previous": done.previous,
        "changed": done.changed,
        "runtime": done.release.runtime,
        "models": [a.path.name for a in done.release.models],
        "sent_bytes": done.sent_bytes,
        "sent_files": done.sent_files,
        "smoke": [
            {
                "model": a.model,
                "largest_difference": a.largest_difference,
                "bound": a.bound,
            }
            for a in done.smoke
        ],
    }


def runs_table(runs: Sequence[Run], title: str = "") -> Table:
    """Latency per run; a percentile that no run supports has no column."""
    from edge.run import QUANTILES

    found = {run.id: {p.quantile: p for p in run.percentiles()} for run in runs}
    quantiles = [q for q in QUANTILES if any(q in found[run.id] for run in runs)]
    labels = [f"p{100 * q:g} [95 % bounds]" for q in quantiles]
    made = table(title, ["model", "delegated", "samples", *labels, "cold start", "peak memory"])
    for run in runs:
        made.add_row(
            run.model,
            delegation(run),
            str(len(run.samples)),
            *(interval(found[run.id].get(q)) for q in quantiles),
            duration(cold_start_ns(run)),
            size(run.report["peak_rss_bytes"]),
        )
    return made


def delegation(run: Run) -> str:
    """``4/5``: nodes that the delegate took, of all."""
    taken = run.report["delegation"]
    return f"{taken['nodes_delegated']}/{taken['nodes_total']}" if taken["applied"] else "off"


def cold_start_ns(run: Run) -> float:
    """Library open to the end of the first invoke."""
    return float(sum(v for k, v in run.report["cold_start"].items() if k.endswith("_ns")))


def run_lines(run: Run) -> list[str]:
    """Cold start step by step, the clock, the verdict, and how to do it again."""
    from edge.run import QUANTILES
    from edge.stats import needed

    steps = [
        f"{key.removesuffix('_ns').replace('_', ' ')} {duration(value)}"
        for key, value in run.report["cold_start"].items()
        if key.endswith("_ns")
    ]
    clock = run.samples
    lines = [
        "cold start: " + ", ".join(steps),
        f"clock: tick {clock.tick_ns} ns, reading it {clock.clock_cost_ns} ns, empty sample "
        f"{clock.loop_cost_ns} ns (not subtracted); "
        f"invocations a sample: {run.report['iterations']}",
    ]
    missing = [q for q in QUANTILES if q not in {p.quantile for p in run.percentiles()}]
    if missing:
        counts = ", ".join(f"p{100 * q:g} {needed(q)}" for q in missing)
        lines.append(f"not shown, for lack of samples (samples needed): {counts}")
    reasons = run.verdict()
    if reasons:
        lines += [f"not trusted: {reason.text}; {reason.remedy}" for reason in reasons]
    else:
        lines.append("verdict: trusted")
    lines.append(
        f"reproduce: {run.command}  # model {run.model_sha256[:12]}, "
        f"runtime {run.library_sha256[:12]}, runner {run.runner_sha256[:12]}"
    )
    return lines


def run_json(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "board": run.board,
        "target": run.target,
        "emulated": run.emulated,
        "model": run.model,
        "model_sha256": run.model_sha256,
        "library_sha256": run.library_sha256,
        "runner_sha256": run.runner_sha256,
        "runtime": run.runtime,
        "kernel": run.kernel,
        "measured_at": run.measured_at,
        "samples": len(run.samples),
        "percentiles_ns": {
            p.label: {"value": p.value, "low": p.low, "high": p.high, "confidence": p.confidence}
            for p in run.percentiles()
        },
        "verdict": [{"code": r.code, "text": r.text, "remedy": r.remedy} for r in run.verdict()],
        "report": run.report,
        "reproduce": run.command,
    }
