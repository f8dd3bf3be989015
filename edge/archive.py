"""Archive: the runs that are kept on this machine, found again."""

from __future__ import annotations

import datetime
import fnmatch
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge import abi, comparison, group, layout, run
from edge.comparison import Comparison
from edge.errors import UsageError
from edge.group import Group
from edge.run import Run
from edge.transport.hostfile import appearing

_CHUNK = 10_000
"""Samples that are turned into text at a time."""


@dataclass(frozen=True)
class Entry:
    """A run, or a group of runs, as its files tell it; no sample is read.

    :ivar id: below the folder of all runs: ``20261122-031500-5c9a1e``, in a group with ``/001-a``.
    :ivar kind: ``run``, or what the group is for.
    :ivar measured_at: ISO 8601, of the first run; by the folder, where that can't be read.
    :ivar samples: of all its runs.
    :ivar median_ns: of a run alone, per invocation; None for a group.
    :ivar reasons: why it is not trusted, codes.
    :ivar runs: those of a group.
    :ivar damage: why it can't be read; empty if it can.
    """

    id: str
    folder: Path
    kind: str
    measured_at: str
    board: str = ""
    model: str = ""
    engine: str = ""
    emulated: bool = False
    samples: int = 0
    median_ns: float | None = None
    reasons: tuple[str, ...] = ()
    runs: tuple[Entry, ...] = ()
    damage: str = ""

    @property
    def trusted(self) -> bool:
        return not self.reasons and not self.damage

    @property
    def grouped(self) -> bool:
        return self.kind != "run"


def entries() -> tuple[Entry, ...]:
    """Everything that is there, the newest last, what can't be read too."""
    found = [_entry(folder) for folder in _folders(layout.runs_dir())]
    return tuple(sorted(found, key=lambda entry: (_time(entry.measured_at), entry.id)))


def select(
    found: Sequence[Entry],
    *,
    board: str | None = None,
    model: str | None = None,
    engine: str | None = None,
    kind: str | None = None,
    trusted: bool = False,
    since: str | None = None,
    last: int = 0,
) -> tuple[Entry, ...]:
    """Those of ``found`` that fit; what can't be read may be anything, and is never left out.

    :param board: a shell pattern, as ``model`` and ``engine`` are.
    :param kind: ``run``, or that of a group.
    :param since: a date or time in ISO 8601, or ``7d`` or ``12h`` before now.
    :param last: so many, the newest; 0: all.
    :raises UsageError: ``since`` is no time.
    """
    begin = None if since is None else moment(since)
    chosen = [
        entry
        for entry in found
        if entry.damage
        or (
            _fits(board, entry.board)
            and _fits(model, entry.model)
            and _fits(engine, entry.engine)
            and (kind is None or entry.kind == kind)
            and (entry.trusted or not trusted)
            and (begin is None or _time(entry.measured_at) >= begin)
        )
    ]
    return tuple(chosen[-last:] if last else chosen)


def _fits(pattern: str | None, names: str) -> bool:
    """A group may have several names."""
    return pattern is None or any(fnmatch.fnmatch(name, pattern) for name in names.split(", "))


def moment(text: str) -> datetime.datetime:
    """:raises UsageError: neither ISO 8601 nor ``7d`` nor ``12h``."""
    if found := re.fullmatch(r"([0-9]{1,5})([dh])", text):
        ago = datetime.timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})
        return datetime.datetime.now(datetime.timezone.utc) - ago
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text}: give a date or time such as 2026-11-22 or 2026-11-22T18:30, or 7d or "
            "12h for so long ago"
        ) from None


def find(name: str) -> Entry:
    """The entry of that id, or of the only id that begins so; ``last``: the newest.

    :param name: a run of a group is ``GROUP/001-a``, where GROUP may be a beginning too.
    :raises UsageError: there is none, or there are several, or it can't be read.
    """
    beginning, _, part = name.partition("/")
    names = [folder.name for folder in _folders(layout.runs_dir())]
    if beginning == "last":
        matching = [entry.id for entry in entries()][-1:]
    else:
        matching = [each for each in names if each == beginning] or [
            each for each in names if beginning and each.startswith(beginning)
        ]
    if not matching:
        raise UsageError(f"no run '{name}': `invoke runs` lists them")
    if len(matching) > 1:
        raise UsageError(
            f"'{beginning}' begins the ids of {len(matching)} runs, {', '.join(matching[:3])} for "
            "some: write more of it"
        )
    found = _entry(layout.runs_dir() / matching[0])
    if part:
        inner = [entry for entry in found.runs if entry.id == f"{found.id}/{part}"]
        if not inner:
            raise UsageError(f"{found.id} has no run '{part}': `invoke runs.show {found.id}`")
        found = inner[0]
    if found.damage and not found.grouped:
        raise UsageError(found.damage)
    return found


def comparable(first: Entry, second: Entry) -> None:
    """:raises UsageError: one was emulated and the other was not."""
    if first.emulated != second.emulated:
        emulated, real = (first, second) if first.emulated else (second, first)
        raise UsageError(
            f"{emulated.id} was emulated, {real.id} was not: emulated times say nothing about a "
            "real board's; compare runs of one sort"
        )


def arms(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Of a group's runs: arm -> round -> the run's median, in nanoseconds per invocation."""
    medians: dict[str, dict[str, float]] = {}
    for each in runs:
        number, _, arm = each.id.rpartition("/")[2].partition("-")
        if len(each.samples):
            medians.setdefault(arm, {})[number] = each.median_ns
    return medians


def compared(entry: Entry, runs: Sequence[Run]) -> Comparison | None:
    """What a group of kind ``compare`` came to; None for others, and for one that was cut short.

    :param runs: of the entry, as :func:`load` gives them. A round with one arm alone is left out.
    """
    if entry.kind != "compare":
        return None
    rounds: dict[str, dict[str, Run]] = {}
    for each in runs:
        number, _, arm = each.id.rpartition("/")[2].partition("-")
        if len(each.samples):
            rounds.setdefault(number, {})[arm] = each
    whole = [pair for _, pair in sorted(rounds.items()) if pair.keys() == {"a", "b"}]
    labels = group.load(entry.folder).arms
    if len(whole) < comparison.LEAST_ROUNDS or len(labels) != 2:
        return None
    return comparison.of_runs(
        [pair["a"] for pair in whole], [pair["b"] for pair in whole], (labels[0], labels[1])
    )


def load(entry: Entry, library: abi.Library) -> tuple[Run, ...]:
    """Its runs, with all samples; of a group those that can be read.

    :raises UsageError: a run's samples are missing or damaged.
    """
    folders = [each.folder for each in entry.runs if not each.damage] or [entry.folder]
    return tuple(run.load(folder, library) for folder in folders)


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _entry(folder: Path) -> Entry:
    if not (folder / group.FILE).exists():
        return _run_entry(folder, folder.name)
    try:
        return _group_entry(group.load(folder), folder)
    except UsageError as error:
        return _damaged(folder, folder.name, "group", str(error))


def _group_entry(found: Group, folder: Path) -> Entry:
    runs = tuple(_run_entry(each, f"{folder.name}/{each.name}") for each in _folders(folder))
    whole = [entry for entry in runs if not entry.damage]
    damaged = [entry.damage for entry in runs if entry.damage]
    if not whole:
        damaged = damaged or [f"{folder} has no run: it was broken off, or is still going on"]

    def names(key: str) -> str:
        return ", ".join(dict.fromkeys(getattr(entry, key) for entry in whole))

    return Entry(
        id=folder.name,
        folder=folder,
        kind=str(found.kind),
        measured_at=min((entry.measured_at for entry in whole), default=_made_at(folder)),
        board=names("board"),
        model=names("model"),
        engine=names("engine"),
        emulated=any(entry.emulated for entry in whole),
        samples=sum(entry.samples for entry in whole),
        reasons=tuple(dict.fromkeys(code for entry in whole for code in entry.reasons)),
        runs=runs,
        damage=damaged[0] if damaged else "",
    )


def _run_entry(folder: Path, name: str) -> Entry:
    try:
        values = run.read(folder)
        summary = values["summary"]
        texts = {key: values[key] for key in ("board", "model", "engine", "measured_at")}
        samples, median_ns = summary["samples"], summary["median_ns"]
        reasons = summary["reasons"]
        if not all(isinstance(text, str) for text in [*texts.values(), *reasons]):
            raise ValueError("a text is none")
        if type(samples) is not int or not isinstance(median_ns, (int, float, type(None))):
            raise ValueError("a number is none")
        _time(texts["measured_at"])
        return Entry(
            id=name,
            folder=folder,
            kind="run",
            **texts,
            emulated=bool(values["emulated"]),
            samples=samples,
            median_ns=median_ns,
            reasons=tuple(reasons),
            damage="" if (folder / "samples.bin").is_file() else f"{folder} has no samples.bin",
        )
    except UsageError as error:
        return _damaged(folder, name, "run", str(error))
    except (KeyError, TypeError, ValueError) as error:
        text = f"{folder}/run.json is damaged ({error}): measure again"
        return _damaged(folder, name, "run", text)


def _damaged(folder: Path, name: str, kind: str, text: str) -> Entry:
    return Entry(name, folder, kind, _made_at(folder), damage=text)


def _made_at(folder: Path) -> str:
    """When a folder last changed, ISO 8601."""
    try:
        seconds = folder.stat().st_mtime
    except OSError:
        seconds = 0.0
    made = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return made.isoformat(timespec="seconds")


def _time(text: str) -> datetime.datetime:
    """:raises ValueError: it is no time."""
    found = datetime.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


# --- for other programs -------------------------------------------------------------------------


def output_file(entry: Entry, path: Path) -> Path:
    """``path``, if a run can be written there.

    :raises UsageError: it has another ending, or no folder; or the entry is a group.
    """
    if entry.grouped:
        inner = next((each.id for each in entry.runs), f"{entry.id}/001-a")
        raise UsageError(f"{entry.id} is a group: name one of its runs, such as {inner}")
    if path.suffix not in (".csv", ".json"):
        raise UsageError(f"--output {path}: name a .csv or a .json file")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"--output {path}: name a file in a folder that is there")
    return path


def export(found: Run, told: dict[str, Any], path: Path) -> tuple[Path, ...]:
    """Write a run as ``.csv``, every sample as it was recorded, or ``.json``, samples and all.

    Beside ``x.csv`` the readings of the board are ``x.env.csv``. Times are nanoseconds of the
    board's CLOCK_MONOTONIC_RAW.

    :param told: the run without its samples, for ``.json``.
    :param path: as :func:`output_file` gave it.
    :returns: the files.
    :raises HostError: it can't be written.
    """
    if path.suffix == ".json":
        _write_json(found, told, path)
        return (path,)
    records = found.samples.records
    _write_csv(path, records.dtype.names or (), records)
    if found.environment is None:
        return (path,)
    series = path.with_suffix(".env.csv")
    _write_csv(series, *_readings(found))
    return (path, series)


def _write_csv(path: Path, names: Sequence[str], records: Any) -> None:
    with appearing(path) as raw:
        raw.write((",".join(_cell(name) for name in names) + "\n").encode())
        for begin in range(0, len(records), _CHUNK):
            rows = records[begin : begin + _CHUNK].tolist()
            text = "\n".join(",".join("" if v is None else str(v) for v in row) for row in rows)
            raw.write((text + "\n").encode())


def _cell(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name


def _readings(found: Run) -> tuple[list[str], Any]:
    seen = found.environment
    assert seen is not None
    columns = [seen.times_ns.astype(object)]
    for values in seen.values.values():
        whole = np.nan_to_num(values).astype(np.int64).astype(object)
        whole[np.isnan(values)] = None
        columns.append(whole)
    return ["time_ns", *seen.values], np.array(columns, dtype=object).T


def _write_json(found: Run, told: dict[str, Any], path: Path) -> None:
    records = found.samples.records
    value: dict[str, Any] = {
        "run": told,
        "samples": {name: records[name].tolist() for name in records.dtype.names or ()},
        "readings": None,
    }
    if found.environment is not None:
        names, rows = _readings(found)
        value["readings"] = dict(zip(names, rows.T.tolist(), strict=True))
    with appearing(path) as raw:
        raw.write((json.dumps(value, sort_keys=True) + "\n").encode())
