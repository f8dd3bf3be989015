"""Baseline: rounds' medians that were measured once, kept in a file that git can show changes of.

What is measured later is held against them by Welch's ratio: baseline and check did not take turns.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import __version__, stats, toml
from edge.errors import HostError, RegressionError, UsageError
from edge.run import Plan, Run
from edge.stats import Ratio

CONFIDENCE = 0.99
"""The whole interval must lie above what is allowed: one in two hundred checks of a model that is
exactly as slow as allowed says that it is slower."""

TOLERANCE = 0.05
"""Of a new entry, if nothing else is asked for."""

LEAST_ROUNDS = 3
_MOST_ROUNDS = 10_000
_SHOWN = 40
"""Characters of a hash or a name in a message."""
_HEAD = "# Written by `invoke check --update`: docs/comparing.md says how it is read.\n"


@dataclass(frozen=True)
class Entry:
    """A model on a board, opened and run in one way.

    :ivar flags: how it was opened and run, as flags; with board and model, what an entry is found
        by.
    :ivar tolerance: how much slower it may become, 0.05 for 5 %.
    :ivar rounds_ns: the median of each round, in nanoseconds per invocation.
    """

    board: str
    model: str
    flags: str
    model_sha256: str
    engine: str
    runtime: str
    emulated: bool
    kernel: str
    edge: str
    date: str
    tolerance: float
    rounds_ns: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.board, self.model, self.flags


@dataclass(frozen=True)
class Check:
    """A model now, against its baseline.

    :ivar ratio: time of an invocation now by that of the baseline.
    :ivar remarks: what a reader should know of the rounds.
    """

    then: Entry
    now: Entry
    ratio: Ratio
    remarks: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """``regressed``, ``passed``, or ``undecided``: the interval holds what is allowed."""
        allowed = 1 + self.then.tolerance
        if self.ratio.low > allowed:
            return "regressed"
        return "passed" if self.ratio.high <= allowed else "undecided"

    @property
    def text(self) -> str:
        ratio, then = self.ratio, self.then
        label = "; emulated: no speed of a real board" if then.emulated else ""
        said = {
            "regressed": "REGRESSED",
            "passed": "passed",
            "undecided": "no regression can be claimed, nor ruled out: take more --rounds",
        }[self.outcome]
        return (
            f"{then.model} on {then.board} takes {ratio.value:.3f} [{ratio.low:.3f}, "
            f"{ratio.high:.3f}] times as long as on {then.date} (allowed {1 + then.tolerance:g}, "
            f"{100 * ratio.confidence:g} % confidence{label}): {said}"
        )


def entry(runs: Sequence[Run], tolerance: float, given: str | None = None) -> Entry:
    """What the rounds of one model would be as a baseline.

    :param runs: of one model on one board, at least one.
    :param given: the flags as they were asked for; a run's own plan says what the board made of
        them.
    """
    first = runs[0]
    return Entry(
        first.board,
        first.model,
        flags(first.plan) if given is None else given,
        first.model_sha256,
        first.engine,
        first.runtime,
        first.emulated,
        first.kernel,
        __version__,
        first.measured_at[:10],
        tolerance,
        tuple(round(run.median_ns, 1) for run in runs),
    )


def flags(plan: Plan) -> str:
    """What of a plan changes how long an invocation takes; how many are taken does not."""
    words = plan.options.argv()
    if plan.cpus:
        words += ["--cpus", plan.cpus]
    if plan.undisturbed:
        words.append("--undisturbed")
    if plan.rate_per_s:
        words += ["--rate", f"{plan.rate_per_s:g}"]
    if plan.poisson:
        words.append("--poisson")
    if plan.idle_s:
        words += ["--idle", f"{plan.idle_s:g}"]
    for setting in plan.settings:
        words += ["--set", setting]
    return shlex.join(words)


def find(entries: Sequence[Entry], path: Path, key: tuple[str, str, str]) -> Entry:
    """The entry of a board, a model and flags.

    :raises UsageError: there is none.
    """
    board, model, flags = key
    for each in entries:
        if each.key == key:
            return each
    near = [each.flags for each in entries if (each.board, each.model) == (board, model)]
    others = f" (it has {', '.join(f'`{text}`' for text in near)})" if near else ""
    raise UsageError(
        f"{path} has no baseline of {model} on {board} with `{flags}`{others}: measure one with "
        "--update"
    )


def insist_same(
    then: Entry, *, model_sha256: str, engine: str, runtime: str, emulated: bool
) -> None:
    """Is it what the baseline is of?

    :raises UsageError: it is something else, so that nothing can be said.
    """
    differing = [
        f"{what} was {before[:_SHOWN]}, is {after[:_SHOWN]}"
        for what, before, after in (
            ("the model's sha256", then.model_sha256, model_sha256),
            ("the engine", then.engine, engine),
            ("the runtime", then.runtime, runtime),
            ("the board", _kind(then.emulated), _kind(emulated)),
        )
        if before != after
    ]
    if differing:
        raise UsageError(
            f"{then.model} on {then.board} is not what its baseline is of: {'; '.join(differing)}; "
            "nothing was compared: measure a new baseline with --update"
        )


def _kind(emulated: bool) -> str:
    return "emulated" if emulated else "a real one"


def check(then: Entry, now: Entry, remarks: Sequence[str] = ()) -> Check:
    """Compare.

    :raises UsageError: as :func:`insist_same`.
    """
    insist_same(
        then,
        model_sha256=now.model_sha256,
        engine=now.engine,
        runtime=now.runtime,
        emulated=now.emulated,
    )
    told = list(remarks)
    if then.kernel != now.kernel:
        told.append(f"the baseline's kernel was {then.kernel}, this one is {now.kernel}")
    ratio = stats.ratio(now.rounds_ns, then.rounds_ns, CONFIDENCE)
    return Check(then, now, ratio, tuple(told))


def insist(checks: Sequence[Check]) -> None:
    """:raises RegressionError: a model regressed."""
    slow = [each.text for each in checks if each.outcome == "regressed"]
    if slow:
        raise RegressionError(f"{'; '.join(slow)}; if that is what you want, --update the baseline")


# --- the file -------------------------------------------------------------------------------------

_TYPES: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Entry)}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def load(path: Path, *, create: bool = False) -> tuple[Entry, ...]:
    """What the file has; nothing, if it is to be created and is not there.

    :raises UsageError: the file is missing or damaged, or has no folder to be created in.
    """
    if create and not path.exists():
        if not path.parent.is_dir():
            raise UsageError(f"--baseline {path}: there is no folder {path.parent}: make it first")
        return ()
    if not path.is_file():
        raise UsageError(f"no baseline {path}: measure one with --update")
    table = toml.read(path)
    try:
        if table.keys() != {"entry"} or not isinstance(table["entry"], list):
            raise ValueError("it has not [[entry]] alone")
        found = tuple(_entry(number, values) for number, values in enumerate(table["entry"], 1))
        if len({each.key for each in found}) != len(found):
            raise ValueError("two entries are of one board, model and flags")
    except ValueError as error:
        raise UsageError(
            f"{path} is damaged: {error}; restore it, or remove it and --update"
        ) from None
    return found


def _entry(number: int, values: Any) -> Entry:
    if not isinstance(values, dict) or values.keys() != _TYPES.keys():
        raise ValueError(f"entry {number} has not exactly {', '.join(_TYPES)}")
    for name, value in values.items():
        kind = {"bool": bool, "float": float, "tuple[float, ...]": list}.get(_TYPES[name], str)
        if type(value) is not kind:
            raise ValueError(f"entry {number}: {name} is of the wrong kind")
    if not _SHA256.fullmatch(values["model_sha256"]):
        raise ValueError(f"entry {number}: model_sha256 is no hash")
    if not 0 < values["tolerance"] <= 0.5:
        raise ValueError(f"entry {number}: tolerance is not above 0 and at most 0.5")
    rounds = values["rounds_ns"]
    if not LEAST_ROUNDS <= len(rounds) <= _MOST_ROUNDS or not all(
        type(each) is float and 0 < each < math.inf for each in rounds
    ):
        raise ValueError(f"entry {number}: rounds_ns is no list of {LEAST_ROUNDS} or more times")
    return Entry(**{**values, "rounds_ns": tuple(rounds)})


def save(path: Path, entries: Sequence[Entry]) -> None:
    """Write the file in one go; a new order of entries is no change.

    :raises HostError: it can't be written.
    """
    text = _HEAD + "".join(map(_text, sorted(entries, key=lambda each: each.key)))
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise HostError(f"can't write {path}: {error.strerror}") from None


def updated(entries: Sequence[Entry], new: Sequence[Entry]) -> tuple[Entry, ...]:
    """``entries``, each of ``new`` in the place of the one of its key."""
    replaced = {each.key for each in new}
    return (*(each for each in entries if each.key not in replaced), *new)


def tolerance(entries: Sequence[Entry], key: tuple[str, str, str], given: float | None) -> float:
    """Of a new entry: what is asked for, what the old one of this key has, or the usual."""
    if given is not None:
        return given
    return next((each.tolerance for each in entries if each.key == key), TOLERANCE)


def _text(each: Entry) -> str:
    lines = ["", "[[entry]]"]
    for name, value in dataclasses.asdict(each).items():
        if isinstance(value, bool):
            written = str(value).lower()
        elif isinstance(value, float):
            written = repr(value)
        elif isinstance(value, tuple):
            written = "[\n" + "".join(f"  {time!r},\n" for time in value) + "]"
        else:
            written = toml.quoted(value)
        lines.append(f"{name} = {written}")
    return "\n".join(lines) + "\n"
