"""Report: findings, boards, deployments and runs as text for people and JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edge.board import Board
from edge.errors import printable

if TYPE_CHECKING:  # a table of boards should not wait for SSH and scipy to be imported
    from edge.archive import Entry
    from edge.baseline import Check
    from edge.bootstrap import Bootstrapped
    from edge.bundle import Bundle
    from edge.canary import Comparison as CanaryComparison
    from edge.comparison import Comparison
    from edge.deploy import Deployment
    from edge.environment import Environment
    from edge.fleet import Fleet, Result
    from edge.image import BuiltImage
    from edge.inspection import Contents, Delegation
    from edge.installed import Installed
    from edge.machine import Access
    from edge.preflight import Finding
    from edge.profile import Profile
    from edge.reference import Arrays
    from edge.rounds import Measured
    from edge.run import Run
    from edge.split import Split
    from edge.stats import Estimate, Percentile
    from edge.watch import Tick

_COLOURS = {"ok": "green", "warning": "yellow", "stop": "red"}


_running: list[Progress] = []
"""The phase whose clock runs on the terminal: one or none."""

_phase: list[tuple[str, float]] = []
"""The phase's line, and when it was last told how far that is: by the clock of this machine."""

_EVERY_S = 10.0
"""Where there is no terminal, from one line of how far a phase is to the next."""

_turn = threading.RLock()
"""Lines come from several threads when a command is about several boards."""


def progress(line: str) -> None:
    """Begin a phase: a line on standard error, so that standard output has the result alone.

    On a terminal a clock runs beside it until the next phase, or :func:`settle`.
    """
    with _turn:
        _begin(printable(line))


def board_progress(board: str, line: str) -> None:
    """A line of one of many boards, from any thread; they run at the same time, so without clocks.

    ``  rpi4-kitchen: sending models/m.tflite (1.20 MB)``
    """
    with _turn:
        settle()
        sys.stderr.write(f"  {printable(f'{board}: {line}')}\n")
        sys.stderr.flush()


def update(text: str) -> None:
    """How far the phase is, beside its line; where there is no terminal, a line now and then.

    From any thread. Without a phase it is nothing.
    """
    with _turn:
        if not _phase:
            return
        line, told_s = _phase[0]
        whole = f"{line}: {printable(text)}"
        if _running:
            for task in _running[0].task_ids:
                _running[0].update(task, description=whole)
        elif time.monotonic() - told_s >= _EVERY_S:
            _phase[0] = (line, time.monotonic())
            sys.stderr.write(f"  {whole}\n")
            sys.stderr.flush()


def live(tick: Tick) -> None:
    """How far a run is; see :func:`update`."""
    update(tick_text(tick))


def tick_text(tick: Tick) -> str:
    """``1,200 samples, 410 a second, now 2.31 ms, 1500 MHz, 61 °C``: what is known of these."""
    parts = []
    if tick.samples is None:
        parts.append("no sample yet")
    else:
        parts.append(f"{tick.samples:,} samples")
    if tick.rate_per_s is not None:
        parts.append(f"{tick.rate_per_s:,.0f} a second")
    if tick.median_ns is not None:
        parts.append(f"now {duration(tick.median_ns)}")
    if tick.clock_mhz is not None:
        parts.append(f"{tick.clock_mhz:.0f} MHz")
    if tick.celsius is not None:
        parts.append(f"{tick.celsius:.0f} °C")
    return ", ".join(parts)


def _begin(line: str) -> None:
    settle()
    _phase.append((line, time.monotonic()))
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
    with _turn:
        line = _phase.pop()[0] if _phase else None
        while _running:
            clock = _running.pop()
            for task in clock.task_ids:
                # What was so far is no result.
                clock.update(task, completed=1, description=line)
            clock.stop()


def print_json(value: Any) -> None:
    settle()
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")


def print_table(table: Table) -> None:
    settle()
    # A file or a pipe has no width; the usual 80 columns would cut numbers off.
    console = _console(None if sys.stdout.isatty() else 200)
    if _console(1000).measure(table).maximum <= console.width:
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
        console.print("")
        console.print(row[0], style="bold", soft_wrap=True)
        for header, cell in zip(headers[1:], row[1:], strict=True):
            if cell:
                console.print(f"  {header:{width}} ", cell, soft_wrap=True)
    console.print()


def print_line(line: str) -> None:
    settle()
    _console(None).print(printable(line), soft_wrap=True)


def _console(width: int | None) -> Console:
    """Takes words as they are: boards write some of them, in brackets if they like."""
    return Console(width=width, highlight=False, markup=False, emoji=False)


# --- a board's first login ----------------------------------------------------------------------


def bootstrap_lines(done: Bootstrapped) -> list[str]:
    file = f"{done.known_hosts}, as {done.target.host_key_names[0]}"
    recorded = f"recorded in {file}" if done.recorded else f"known already ({file})"
    keys = [f"{key.kind} {key.fingerprint}" for key in done.host_keys]
    added = "added to" if done.key_added else "was already in"
    return [
        f"{done.board.name} answers at {done.target.address}: {done.facts.system}",
        *(f"  host key:  {key}, read over {done.serial}" for key in keys),
        f"             {recorded}",
        f"  your key:  {done.key.path} {done.key.key.fingerprint} {added} ~{done.target.user}/.ssh/"
        "authorized_keys",
        f"  {done.lab}: [boards.{done.board.name}] host = {done.host}"
        + ("" if done.lab_changed else " (as before)"),
        f"next: invoke deploy --board {done.board.name} --model FILE.tflite",
    ]


def bootstrap_json(done: Bootstrapped) -> dict[str, Any]:
    return {
        "board": done.board.name,
        "host": done.host,
        "address": done.target.address,
        "serial": done.serial,
        "host_keys": [{"type": key.kind, "fingerprint": key.fingerprint} for key in done.host_keys],
        "known_hosts": {
            "path": str(done.known_hosts),
            "name": done.target.host_key_names[0],
            "added": done.recorded,
        },
        "key": {
            "path": str(done.key.path),
            "fingerprint": done.key.key.fingerprint,
            "added": done.key_added,
        },
        "lab": {"path": str(done.lab), "changed": done.lab_changed},
        "facts": {
            name: getattr(done.facts, name) for name in ("model", "system", "kernel", "machine")
        },
    }


# --- emulated boards ----------------------------------------------------------------------------


def machine_json(access: Access) -> dict[str, Any]:
    return dataclasses.asdict(access)


def machine_lines(access: Access, board: str) -> list[str]:
    """How a machine is used, after it was started."""
    known = f"-o UserKnownHostsFile={shlex.quote(access.known_hosts_file)}"
    key = f"-i {shlex.quote(access.identity_file)}"
    where = f"-p {access.ssh_port} {access.user}@{access.ssh_host}"
    named = f"--board {board}" + ("" if access.name == board else f" --host {access.name}")
    again = f"--board {board}" if access.name == board else f"--name {access.name}"
    use = (
        f"invoke bootstrap --board {board} --serial {access.console_url} "
        f"--address {access.ssh_host}:{access.ssh_port} --user {access.user}"
        if access.blank
        else f"invoke deploy {named} --model FILE.tflite"
    )
    return [
        f"{access.name} is up (image {access.image}, {access.cpu}, emulated)",
        f"  use it:  {use}",
        *([] if access.blank else [f"  log in:  ssh {key} {known} {where}"]),
        f"  console: invoke console --board {board} --serial {access.console_url}",
        f"  end it:  invoke qemu.down {again}",
    ]


def machines_table(found: Sequence[tuple[str, Access | None]]) -> Table:
    made = table("emulated boards", ["machine", "state", "image", "SSH", "serial line"], left=5)
    for column in ("since", "memory used", "process"):
        made.add_column(column, justify="right", no_wrap=True)
    for name, access in found:
        if access is None:
            made.add_row(name, "comes up or goes down")
            continue
        made.add_row(
            name,
            "up" if access.kept else f"up, for process {access.owner_pid}",
            access.image + (" (blank)" if access.blank else ""),
            f"{access.user}@{access.ssh_host}:{access.ssh_port}",
            access.console_url,
            _since(access.started_s),
            size(resident_bytes) if (resident_bytes := _resident_bytes(access.pid)) else "",
            str(access.pid),
        )
    return made


def _since(started_s: float) -> str:
    return str(datetime.timedelta(seconds=round(time.time() - started_s)))


def _resident_bytes(pid: int) -> int:
    """Memory of a process of this machine; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def image_json(made: BuiltImage) -> dict[str, Any]:
    return {
        "name": made.image.name,
        "path": str(made.directory),
        "packages": len(made.image.lock),
        "size_bytes": _disk_bytes(made),
    }


def image_line(made: BuiltImage) -> str:
    return (
        f"{made.directory}  {size(_disk_bytes(made))}, {len(made.image.lock)} packages of Debian "
        f"{made.image.suite}, {made.image.architecture}"
    )


def _disk_bytes(made: BuiltImage) -> int:
    """What it takes on this machine's disk: most of an image's files are holes."""
    files = [path for path in made.directory.rglob("*") if path.is_file()]
    return sum(path.stat().st_blocks * 512 for path in files)


# --- tables -------------------------------------------------------------------------------------


class _Table(Table):
    """Whatever its cells are made of, they are one line each and stay in their places."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        kept = (" ".join(printable(c).split("\n")) if isinstance(c, str) else c for c in cells)
        super().add_row(*kept, **options)


def table(title: str, columns: Sequence[str], *, left: int = 1) -> Table:
    """An empty table: the first ``left`` columns are text, the others numbers."""
    made = _Table(
        title=printable(title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
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
    """One row each; a column for what units are, if there are any."""
    units = any(board.kind for board in boards)
    columns = ["board", *(["kind"] if units else []), "system", "core"]
    made = table("", [*columns, "cores", "memory", "values from"], left=len(columns))
    for board in boards:
        made.add_row(
            board.name,
            *([board.kind or ""] if units else []),
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
        made.add_row(
            finding.check,
            Text(finding.level, _COLOURS[finding.level]),
            finding.text,
            finding.remedy,
        )
    return made


def deployment_lines(done: Deployment) -> list[str]:
    """What happened, for people."""
    wanted = done.release
    plural = "" if done.sent_files == 1 else "s"
    sent = f"{done.sent_files} file{plural}, {size(done.sent_bytes)} sent"
    if not done.sent_files:
        sent = "nothing to send"
    live = "is live" if done.changed else "is live already"
    lines = [
        f"{done.board} ({done.target}): release {wanted.id} {live}, "
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


def bundle_lines(made: Bundle) -> list[str]:
    wanted = made.release
    models = f"{len(wanted.models)} model{'' if len(wanted.models) == 1 else 's'}"
    return [
        f"{made.path}: release {wanted.id}, {models}, {wanted.runtime}, {size(made.size_bytes)}",
        f"sha256 {made.sha256}",
    ]


def bundle_json(made: Bundle) -> dict[str, Any]:
    return {
        "path": str(made.path),
        "release": made.release.id,
        "runtime": made.release.runtime,
        "models": [model.path.name for model in made.release.models],
        "size_bytes": made.size_bytes,
        "sha256": made.sha256,
        "tar_sha256": made.tar_sha256,
    }


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


def fleet_table(made: Fleet[Deployment]) -> Table:
    """A line a board; why some failed stands in :func:`fleet_lines`."""
    found = table("", ["board", "target", "release", "before", "sent", "time", "result"], left=4)
    found.columns[-1].justify = "left"
    for result in made.results:
        done = result.outcome
        found.add_row(
            result.board,
            result.target,
            done.release.id if done else "",
            (done.previous or "none" if done.changed else "the same") if done else "",
            size(done.sent_bytes) if done else "",
            duration(result.seconds * 1e9) if result.skipped is None else "",
            Text(_state(result), _STATES[_state(result)]),
        )
    return found


_STATES = {"live": "green", "failed": "red", "unknown": "red", "not started": "yellow"}


def _state(result: Result[Any]) -> str:
    from edge.fleet import CutError

    if result.skipped is not None:
        return "not started"
    if isinstance(result.error, CutError):
        return "unknown"
    return "failed" if result.error else "live"


def fleet_lines(made: Fleet[Any]) -> list[str]:
    """Each failure in a line, why others did not start, and how many of each."""
    lines = [f"{result.board}: {_one_line(result.error)}" for result in made.failures]
    skipped: dict[str, list[str]] = {}
    for result in made.results:
        if result.skipped is not None:
            skipped.setdefault(result.skipped, []).append(result.board)
    lines += [f"not started ({why}): {', '.join(names)}" for why, names in skipped.items()]
    states = [_state(result) for result in made.results]
    counts = [f"{states.count(state)} {state}" for state in _STATES if state in states]
    return [*lines, f"{len(states)} boards: {', '.join(counts)}"]


def fleet_json(
    made: Fleet[Deployment], compared: Mapping[str, Sequence[CanaryComparison]]
) -> dict[str, Any]:
    return {
        "interrupted": made.interrupted,
        "exit_code": made.exit_code,
        "boards": [
            {
                "board": result.board,
                "target": result.target,
                "state": _state(result),
                "seconds": result.seconds,
                "error": result.error and _one_line(result.error),
                "skipped": result.skipped,
                "deployment": result.outcome and deployment_json(result.outcome),
                "canary": [dataclasses.asdict(found) for found in compared.get(result.board, ())],
            }
            for result in made.results
        ],
    }


def _one_line(error: Exception | None) -> str:
    return " ".join(str(error).split("\n"))


def releases_table(target: str, found: Sequence[Installed]) -> Table:
    """What is on a board."""
    made = table(
        f"releases on {target}", ["release", "", "last live", "by", "models", "runs with"], left=6
    )
    for column in ("size", "frees"):
        made.add_column(column, justify="right", no_wrap=True)
    for one in found:
        stored, last = one.stored, one.last
        marks = {"live": stored.live, "pinned": stored.pinned, "in use": stored.in_use}
        when = stored.created if last is None else last.time
        made.add_row(
            stored.id,
            ", ".join(name for name, true in marks.items() if true),
            f"{when:%Y-%m-%d %H:%M} UTC" + ("" if last else " (made)"),
            "" if last is None else " ".join([last.who, *last.flags]),
            "damaged" if one.manifest is None else ", ".join(one.models),
            "" if one.manifest is None else f"{one.manifest.engine}, {one.manifest.runtime}",
            size(stored.size_bytes),
            size(stored.own_bytes),
        )
    return made


def installed_json(one: Installed) -> dict[str, Any]:
    stored, last = one.stored, one.last
    return {
        "release": stored.id,
        "live": stored.live,
        "pinned": stored.pinned,
        "in_use": stored.in_use,
        "created": stored.created.isoformat(),
        "size_bytes": stored.size_bytes,
        "own_bytes": stored.own_bytes,
        "models": None if one.manifest is None else list(one.models),
        "engine": None if one.manifest is None else one.manifest.engine,
        "runtime": None if one.manifest is None else one.manifest.runtime,
        "last": None
        if last is None
        else {
            "time": last.time.isoformat(),
            "who": last.who,
            "board": last.board,
            "verb": last.verb,
            "flags": list(last.flags),
        },
    }


def title(board: str, emulated: bool) -> str:
    return f"{board} (emulated: no speed of a real board)" if emulated else board


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


_PHASES = {"copy_in": "copy in", "invoke": "invoke", "copy_out": "copy out", "call": "whole call"}


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


def estimate(found: Estimate) -> str:
    """``0.71 [0.70, 0.73] µs``; the sign stays where a difference is negative."""
    unit, factor = _unit(max(abs(found.value), 1.0))
    value, low, high = (
        ("-" if number < 0 else "") + _three(abs(number) / factor)
        for number in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}] {unit}"


# --- rounds -------------------------------------------------------------------------------------


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


def contents_lines(contents: Contents) -> list[str]:
    """What a model is, in a few lines."""
    weights = ", ".join(f"{size(count)} {dtype}" for dtype, count in contents.weights.items())
    work = sum(graph.multiply_accumulates for graph in contents.graphs)
    nodes = sum(graph.nodes for graph in contents.graphs)
    arenas = [graph.arena_bytes for graph in contents.graphs if graph.arena_bytes is not None]
    lines = [
        f"{size(contents.file_bytes)}, {nodes} node{'s' if nodes != 1 else ''} in "
        f"{len(contents.graphs)} subgraph{'s' if len(contents.graphs) != 1 else ''}, "
        f"{count(work)} multiply-accumulates",
        f"weights: {weights or 'none'}",
    ]
    if arenas:
        lines.append(
            f"tensor arena: about {size(sum(arenas))}, without the kernels' own scratch buffers"
        )
    if contents.description:
        lines.append(f"description: {contents.description}")
    if contents.min_runtime_version:
        lines.append(f"needs TFLite {contents.min_runtime_version} or newer, as its file says")
    if contents.about is not None:
        said = contents.about
        lines.append(
            f"converted from {said.source} (sha256 {said.source_sha256}) to {said.variant} by "
            f"{said.made_by}"
        )
        if said.preprocessing is not None:
            lines.append(f"preprocessing: {said.preprocessing}")
        if said.labels:
            lines.append(f"labels: {', '.join(said.labels)}")
    if contents.metadata:
        listed = ", ".join(f"{name} ({size(each)})" for name, each in contents.metadata.items())
        lines.append(f"metadata: {listed}")
    if contents.largest_weights:
        largest = ", ".join(
            f"{weight.name} ({weight.dtype} {shape(weight.shape)}, {size(weight.bytes)})"
            for weight in contents.largest_weights[:3]
        )
        lines.append(f"largest weights: {largest}")
    return [*lines, *(f"note: {text}" for text in contents.warnings)]


def ports_table(contents: Contents) -> Table:
    """Inputs and outputs of every way into the model."""
    made = table("", ["way in", "", "name", "type", "shape", "quantization"], left=6)
    for entry in contents.entries:
        name = "tensors" if entry.signature is None else f"--signature {entry.signature}"
        for kind, ports in (("input", entry.inputs), ("output", entry.outputs)):
            for port in ports:
                found = port.quantization
                quantized = ""
                if found is not None and len(found.scales) == 1:
                    quantized = f"{found.scales[0]:.6g} * (q - {found.zero_points[0]})"
                    quantized = quantized.replace("- -", "+ ").replace(" - 0)", ")")
                elif found is not None and found.scales:
                    quantized = f"{len(found.scales)} scales"
                made.add_row(name, kind, port.name, port.dtype, shape(port.shape), quantized)
                name = ""
    return made


def kinds_table(contents: Contents) -> Table:
    """Operators, the most work first."""
    made = table("", ["operator", "version", "nodes", "multiply-accumulates"], left=2)
    for kind in contents.kinds:
        made.add_row(
            kind.operator + (" (custom)" if kind.custom else ""),
            ", ".join(map(str, kind.versions)),
            str(kind.nodes),
            count(kind.multiply_accumulates) if kind.multiply_accumulates else "",
        )
    return made


def delegation_table(told: Sequence[tuple[str, Delegation]]) -> Table:
    """What each engine's delegates took; ``told`` has the runtime's name with each."""
    made = table(
        "",
        ["engine", "runtime", "delegates", "nodes", "delegated", "partitions", "built-in kernels"],
        left=3,
    )
    for name, found in told:
        made.add_row(
            found.engine,
            name,
            ", ".join(found.delegates) or "none",
            str(found.nodes_total),
            "?" if found.nodes_delegated is None else str(found.nodes_delegated),
            "?" if found.partitions is None else str(found.partitions),
            "" if found.builtin_share is None else f"{100 * found.builtin_share:.0f} % of the work",
        )
    return made


def delegation_lines(name: str, found: Delegation) -> list[str]:
    """Why nodes stayed behind, what the runtime's own log says, and warnings."""
    from edge.inspection import causes

    head = f"{found.engine}, {name}:"
    lines = []
    for cause in causes(found):
        operators = ", ".join(f"{each} {operator}" for operator, each in cause.operators.items())
        lines.append(f"left to built-in kernels: {operators}: {cause.reason}")
    if found.left is None and found.nodes_delegated is not None:
        lines.append("this engine tells how many nodes were delegated, not which")
    if found.agrees is not None:
        verdict = "agrees" if found.agrees else "DISAGREES"
        lines.append(f"the runtime's own log {verdict}: {found.logged} nodes delegated")
    lines += [f"warning: {text}" for text in found.warnings]
    return [f"{head} {line}" for line in lines]


def inspection_json(contents: Contents, told: Sequence[tuple[str, Delegation]]) -> dict[str, Any]:
    return {
        **dataclasses.asdict(contents),
        "delegation": [{"runtime": name, **dataclasses.asdict(found)} for name, found in told],
    }


def shape(axes: Sequence[int]) -> str:
    """``[1, ?, 3]``: a question mark for an axis that callers choose."""
    return f"[{', '.join('?' if axis < 0 else str(axis) for axis in axes)}]"


def count(number: float) -> str:
    """Three digits: ``301 M``."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{_three(number / factor)} {unit}"
    return f"{number:.0f}"


def inference_lines(outputs: Arrays, told: dict[str, Any], path: str) -> list[str]:
    """What came back, and where it is."""
    lines = [
        f"{name}: {array.dtype} [{', '.join(map(str, array.shape))}]"
        for name, array in outputs.items()
    ]
    lines += [f"warning: {text}" for text in told["warnings"]]
    return [*lines, f"written to {path}"]


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
