"""Report: text for people and JSON for programs, as it is printed; numbers with their units.

What there is to say of each thing stands in the file named for it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge.errors import printable

if TYPE_CHECKING:  # a table of boards should not wait for SSH and scipy to be imported
    from edge.stats import Estimate, Percentile
    from edge.watch import Tick


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


def estimate(found: Estimate) -> str:
    """``0.71 [0.70, 0.73] µs``; the sign stays where a difference is negative."""
    unit, factor = _unit(max(abs(found.value), 1.0))
    value, low, high = (
        ("-" if number < 0 else "") + _three(abs(number) / factor)
        for number in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}] {unit}"


def title(board: str, emulated: bool) -> str:
    return f"{board} (emulated: no speed of a real board)" if emulated else board


def shape(axes: Sequence[int]) -> str:
    """``[1, ?, 3]``: a question mark for an axis that callers choose."""
    return f"[{', '.join('?' if axis < 0 else str(axis) for axis in axes)}]"


def count(number: float) -> str:
    """Three digits: ``301 M``."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{_three(number / factor)} {unit}"
    return f"{number:.0f}"
