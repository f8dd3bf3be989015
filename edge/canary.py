"""Canary: is a new release as quick on a board as the one that is live there?

Asked while both are on the board and its store is locked for us, so that nobody else measures or
switches. A glance, not a benchmark: rounds in shuffled order, one ratio with its interval.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edge import abi, bench, layout, release, runner, runtime, samples, stats
from edge.artifact import Artifact
from edge.errors import BoardError, EdgeError, UsageError
from edge.options import DEFAULT, Options
from edge.release import Manifest, Release, Script
from edge.run import Plan
from edge.session import Session
from edge.stats import Ratio

TOLERANCE = 0.10

_ROUNDS = 7
_MOST_ROUNDS = 4 * _ROUNDS
_ROUND = Plan(count=400, duration_s=0.1, warmup=3)
_ROUND_TIMEOUT_S = 120.0
_MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Comparison:
    """A model in the new release and in the one before.

    :ivar model: its file name in both.
    :ivar ratio: time of an invocation in the new release by that in the old one.
    :ivar previous_ns: of one invocation, the median of the rounds' medians; so is ``wanted_ns``.
    :ivar tolerance: how much slower it may be, 0.1 for a tenth.
    :ivar emulated: these times say nothing about a real board's speed.
    """

    model: str
    previous: str
    ratio: Ratio
    previous_ns: float
    wanted_ns: float
    tolerance: float
    emulated: bool

    @property
    def holds(self) -> bool:
        """False only if the whole interval lies above what is allowed."""
        return self.ratio.low <= 1 + self.tolerance

    @property
    def undecided(self) -> bool:
        """What is allowed lies within the interval: it holds for want of proof."""
        return self.ratio.low <= 1 + self.tolerance < self.ratio.high

    @property
    def text(self) -> str:
        label = ", emulated: no speed of a real board" if self.emulated else ""
        return (
            f"{self.model} takes {self.ratio.value:.2f} [{self.ratio.low:.2f}, "
            f"{self.ratio.high:.2f}] times as long as in release {self.previous} "
            f"(allowed {1 + self.tolerance:.2f}{label})"
            f"{'; whether that is more can not be told' if self.undecided else ''}"
        )


def tolerance(percent: float) -> float:
    """:raises UsageError: no sense in it."""
    if percent < 0:
        raise UsageError(f"--max-slowdown {percent:g}: must be 0 or more, in percent")
    return percent / 100


def compare(
    session: Session,
    previous_id: str | None,
    wanted: Release,
    library: abi.Library,
    progress: Callable[[str], None],
    *,
    options: Options = DEFAULT,
    tolerance: float = TOLERANCE,
) -> tuple[Comparison, ...]:
    """Each model that both releases have under one name; none if there is nothing to compare.

    :param library: libedge of this machine, which maps what the board recorded.
    :raises BoardError: the old release's manifest is damaged, or the new release does not run.
    """
    if previous_id is None:
        progress("no release is live here: nothing to compare with")
        return ()
    manifest = _manifest(session, previous_id)
    there = {PurePosixPath(file.path).parts[1] for file in manifest.models}
    common = [model for model in wanted.models if PurePosixPath(model.place).name in there]
    if not common:
        progress(f"release {previous_id} has no model of these names: nothing to compare")
        return ()
    try:
        previous = _release(session, previous_id, manifest)
    except UsageError as error:
        progress(f"release {previous_id} can't be compared: {error}")
        return ()
    old = replace(options, delegate=manifest.delegate)
    found = []
    with runner.work_folder(session) as folder:
        for model in common:
            name = PurePosixPath(model.place).name
            progress(f"comparing {name} with release {previous_id}: {_ROUNDS} rounds")
            sides = (
                _Side(session, previous, previous.at(model.place), old, library, folder),
                _Side(session, wanted, model, options, library, folder),
            )
            try:
                sides[0].median_ns()
            except EdgeError as error:
                # If it was the link that failed, what comes next fails too.
                progress(f"{name} of release {previous_id} can't be measured: {error}")
                sides[1].median_ns()
                continue
            made = _compared(session, previous_id, name, sides, tolerance, progress)
            progress(made.text)
            found.append(made)
    return tuple(found)


def insist(session: Session, comparisons: Sequence[Comparison]) -> None:
    """:raises BoardError: a model became too slow."""
    slow = [found.text for found in comparisons if not found.holds]
    if slow:
        raise BoardError(
            f"on {session.transport.name} {'; '.join(slow)}: the old release stays live; if that "
            "is what you want, allow more with --max-slowdown"
        )


def _compared(
    session: Session,
    previous_id: str,
    name: str,
    sides: tuple[_Side, _Side],
    tolerance: float,
    progress: Callable[[str], None],
) -> Comparison:
    times: tuple[list[float], list[float]] = ([], [])
    while True:
        for _ in range(_ROUNDS):
            # Whichever goes first finds the board cooler and its caches colder.
            for side in random.sample((0, 1), 2):
                times[side].append(sides[side].median_ns())
        made = Comparison(
            name,
            previous_id,
            stats.paired_ratio(times[1], times[0]),
            stats.median(times[0]),
            stats.median(times[1]),
            tolerance,
            session.board.emulated or session.facts.emulated,
        )
        if not made.undecided or len(times[0]) >= _MOST_ROUNDS:
            return made
        progress(f"{name}: {len(times[0])} rounds do not tell, {_ROUNDS} more")


@dataclass(frozen=True)
class _Side:
    """A model of one of the two releases."""

    session: Session
    release: Release
    model: Artifact
    options: Options
    library: abi.Library
    folder: PurePosixPath

    def median_ns(self) -> float:
        recording = self.folder / "samples.bin"
        words = runner.argv(self.session, self.release, "bench", self.model, self.options)
        runner.call(self.session, [*words, *bench.flags(recording, _ROUND)], _ROUND_TIMEOUT_S)
        with tempfile.TemporaryDirectory() as temporary:
            here = Path(temporary) / "samples.bin"
            self.session.transport.get(recording, here)
            latency = samples.load(self.library, here).latency_ns
            median = stats.median(latency) if len(latency) else 0.0
        if median <= 0:
            raise BoardError(
                f"the runner on {self.session.transport.name} recorded no times: deploy again"
            )
        return median


def _manifest(session: Session, release_id: str) -> Manifest:
    """What the board says of a release that is on it."""
    path = session.device.release(release_id) / "manifest.json"
    outcome = session.transport.run(["head", "-c", str(_MAX_MANIFEST_BYTES + 1), path])
    where = f"release {release_id} on {session.transport.name}"
    if not outcome.ok:
        raise BoardError(f"{where} has no manifest.json: deploy without --canary to replace it")
    if not hashlib.sha256(outcome.stdout).hexdigest().startswith(release_id):
        raise BoardError(
            f"{where}: manifest.json is damaged: deploy without --canary to replace it"
        )
    return release.parse_manifest(outcome.stdout)


def _release(session: Session, release_id: str, manifest: Manifest) -> Release:
    """As far as its files are run on the board; none of them is here.

    :raises UsageError: we do not know how to run it.
    """
    if manifest.engine not in runtime.ENGINES:
        raise UsageError(f"engine {manifest.engine} is none of this edge's")
    script = None
    if manifest.engine in runtime.IN_PYTHON:
        chosen = runtime.load(manifest.runtime)
        script = Script(session.python, chosen.module, chosen.native_symbol)
    files = tuple(
        Artifact(Path(file.path), file.path, file.sha256, file.size_bytes, file.executable)
        for file in manifest.files
    )
    name = layout.safe_name(release_id)
    return Release(name, files, manifest.runtime, manifest.engine, b"", script)
