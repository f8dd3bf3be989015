"""Environment: how a board was while it was measured, as `edge-run watch` recorded it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import abi
from edge.errors import UsageError

Values = npt.NDArray[np.float64]

_MAGIC = b"EDGESERI"
_COLUMNS = 1000
_THROTTLED_NOW = 0b1111
"""Of the Raspberry Pi firmware's bits: low voltage, clock capped, throttled, soft temperature
limit; at this moment. (Those from 16 on say that it once was so.)"""
_ERROR_TICKS = 4
"""What counting in ticks may be off by: user and system programs, rounded at both ends."""
_LEAST_S = 0.1
_LOWER = 0.97
"""A clock below so much of its highest is a lower one."""


@dataclass(frozen=True)
class Environment:
    """Readings, one after the other.

    :ivar times_ns: shape ``[n]``, of the clock that samples have.
    :ivar values: column -> shape ``[n]``, NaN where nothing could be read. ``cost_ns``: what the
        reading took; ``clock_khz/policyN``, ``temperature_mc/zone/type``, ``throttled`` (bits),
        ``pressure_us/cpu`` (in which somebody waited, since boot), ``busy_ticks`` (of all
        processors, since boot), ``context_switches`` (since boot).
    :ivar ticks_per_s: of ``busy_ticks``.
    """

    times_ns: npt.NDArray[np.int64]
    values: Mapping[str, Values]
    ticks_per_s: int
    interval_ms: int

    def __len__(self) -> int:
        return len(self.times_ns)

    def between(self, begin_ns: int, end_ns: int) -> Environment:
        """The readings of a span of time, with the last one before it and the first one after."""
        first = max(0, int(np.searchsorted(self.times_ns, begin_ns, "right")) - 1)
        last = int(np.searchsorted(self.times_ns, end_ns, "left")) + 1
        return Environment(
            self.times_ns[first:last],
            {name: values[first:last] for name, values in self.values.items()},
            self.ticks_per_s,
            self.interval_ms,
        )

    def clock_mhz(self, cpus: frozenset[int] = frozenset()) -> Values | None:
        """Shape ``[n]``: the lowest clock of the groups of cores that ``cpus`` belong to.

        A group is called after its first core. No ``cpus``: of all groups. None: none was read.
        """
        groups = {
            int(found[1]): values / 1000
            for name, values in self.values.items()
            if (found := re.fullmatch(r"clock_khz/policy([0-9]{1,4})", name))
        }
        clocks = [groups[group] for group in _groups(groups, cpus)]
        return np.asarray(np.min(np.array(clocks), axis=0)) if clocks else None

    def lower_clock(self, cpus: frozenset[int] = frozenset()) -> tuple[float, float, float] | None:
        """Highest and lowest clock in MHz, and the share of readings clearly below the highest."""
        clock = self.clock_mhz(cpus)
        if clock is None or np.all(np.isnan(clock)):
            return None
        highest = float(np.nanmax(clock))
        return highest, float(np.nanmin(clock)), float(np.mean(clock < _LOWER * highest))

    def celsius(self) -> tuple[float, float] | None:
        """Where the hottest sensor began, and the hottest that any was."""
        zones = [v / 1000 for name, v in self.values.items() if name.startswith("temperature_mc/")]
        read = np.array(zones)
        if not read.size or np.all(np.isnan(read)):
            return None
        hottest = np.nanmax(np.where(np.isnan(read), -np.inf, read), axis=0)
        return float(hottest[0]), float(np.max(hottest))

    def throttled(self, at_ns: npt.NDArray[np.int64] | None = None) -> float | None:
        """Share of moments in which a Raspberry Pi was throttled; None: the board can't say.

        :param at_ns: the moments, each as in the reading next to it; None: the readings' own.
        """
        bits = self.values.get("throttled")
        if bits is None or np.all(np.isnan(bits)):
            return None
        flags = np.nan_to_num(bits).astype(np.int64) & _THROTTLED_NOW != 0
        if at_ns is not None:
            between = (self.times_ns[1:] + self.times_ns[:-1]) // 2
            flags = flags[np.searchsorted(between, at_ns)]
        return float(np.mean(flags)) if len(flags) else None

    def others(self, begin_ns: int, end_ns: int, own_cpu_ns: int) -> float | None:
        """Processors' worth of work that other programs did on average in a span of time, at least.

        Between the first reading in it and the last; None if those are less than a tenth of a
        second apart: the kernel counts in ticks of a hundredth or so.

        :param own_cpu_ns: what the program that was measured took in the whole span.
        """
        ticks = self.values.get("busy_ticks")
        within = np.flatnonzero((self.times_ns >= begin_ns) & (self.times_ns <= end_ns))
        if ticks is None or not len(within):
            return None
        first, last = within[0], within[-1]
        elapsed_s = float(self.times_ns[last] - self.times_ns[first]) / 1e9
        busy_s = float(ticks[last] - ticks[first] - _ERROR_TICKS) / self.ticks_per_s
        if elapsed_s < _LEAST_S or np.isnan(busy_s):
            return None
        watching_s = float(np.sum(self.values["cost_ns"][first:last])) / 1e9
        own = own_cpu_ns / (end_ns - begin_ns)
        return max(0.0, (busy_s - watching_s) / elapsed_s - own)

    @property
    def reading_ns(self) -> float:
        """What one reading took, the median."""
        return float(np.median(self.values["cost_ns"]))


def governors(settings: Mapping[str, str], cpus: frozenset[int] = frozenset()) -> list[str]:
    """Those of the groups of cores that ``cpus`` belong to, each once; no ``cpus``: of all groups.

    :param settings: as :func:`parse_settings` gave them.
    """
    groups = {
        int(found[1]): value
        for name, value in settings.items()
        if (found := re.fullmatch(r"governor/policy([0-9]{1,4})", name))
    }
    return list(dict.fromkeys(groups[group] for group in _groups(groups, cpus)))


def _groups(groups: Iterable[int], cpus: frozenset[int]) -> list[int]:
    """The groups of cores, each called after its first core, that ``cpus`` belong to; else all."""
    known = set(groups)
    chosen = {max((g for g in known if g <= cpu), default=-1) for cpu in cpus} & known
    return sorted(chosen or known)


def parse_settings(told: Any) -> dict[str, str] | None:
    """How the board says that it is set, by name; None: it makes no sense."""
    if not isinstance(told, dict) or len(told) > _COLUMNS:
        return None
    pairs = [*told.keys(), *told.values()]
    if not all(isinstance(text, str) and re.fullmatch(r"[ -~]{1,200}", text) for text in pairs):
        return None
    return dict(told)


def parse_told(told: Any) -> dict[str, Any] | None:
    """What the board said of its readings, if it makes sense; nobody has to believe it before.

    ``settings`` and ``settings_after`` are in it if the board told them.
    """
    if not isinstance(told, dict):
        return None
    columns = told.get("columns")
    if not isinstance(columns, list) or not 2 <= len(columns) <= _COLUMNS:
        return None
    if not all(isinstance(c, str) and re.fullmatch(r"[ -~]{1,200}", c) for c in columns):
        return None
    if columns[:2] != ["time_ns", "cost_ns"] or len(set(columns)) != len(columns):
        return None
    numbers = {key: told.get(key) for key in ("ticks_per_s", "interval_ms")}
    if not all(type(n) is int and 0 < n < 1 << 31 for n in numbers.values()):
        return None
    named = {key: told[key] for key in ("settings", "settings_after") if key in told}
    settings = {key: parse_settings(value) for key, value in named.items()}
    if None in settings.values():
        return None
    return {"columns": columns, **numbers, **settings}


def load(path: Path, told: Mapping[str, Any]) -> Environment:
    """Read ``env.bin``; a cut record at its end is left out.

    :param told: what :func:`parse_told` gave.
    :raises UsageError: it is no series of these columns.
    """
    f, size = abi.ffi(), abi.ffi().sizeof("edge_series_header")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    columns = list(told["columns"])
    header = f.new("edge_series_header *")
    if len(content) >= size:
        f.memmove(header, content[:size], size)
    if bytes(f.buffer(header.magic)) != _MAGIC or header.header_bytes < size:
        raise UsageError(f"{path} is no series: measure again")
    if header.columns != len(columns) or header.record_bytes != 8 * len(columns):
        raise UsageError(
            f"{path} has {header.columns} columns, its run tells of {len(columns)}: measure again"
        )
    count = (len(content) - header.header_bytes) // header.record_bytes
    records = np.frombuffer(content, "<i8", max(0, count) * len(columns), header.header_bytes)
    table = records.reshape(-1, len(columns))
    values = {
        name: np.where(table[:, i] == np.iinfo(np.int64).min, np.nan, table[:, i].astype(float))
        for i, name in enumerate(columns)
        if i > 0
    }
    return Environment(table[:, 0].copy(), values, told["ticks_per_s"], told["interval_ms"])
