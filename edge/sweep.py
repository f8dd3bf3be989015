"""Sweep: one model at rising batch sizes, each in a process of its own."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge import abi, bench, runner
from edge.artifact import Artifact
from edge.errors import UsageError
from edge.release import Release
from edge.run import Plan, Run
from edge.session import Session

_MOST = 1 << 20
_RESIZES = 9
"""Of which the median is told."""


@dataclass(frozen=True)
class Point:
    """A model with one batch size on one engine.

    :ivar run: None if the engine refused the batch.
    :ivar refusal: in the engine's words; empty if it ran.
    :ivar resize_refusal: why the size can't be changed while the model is open; empty if it can.
    """

    model: str
    engine: str
    batch: int
    run: Run | None
    refusal: str = ""
    resize_refusal: str = ""

    @property
    def samples_per_s(self) -> float | None:
        """Elements of the batch per second, invocations one after the other."""
        if self.run is None or self.run.throughput_per_s is None:
            return None
        return self.batch * self.run.throughput_per_s

    @property
    def resize_ns(self) -> float | None:
        """Of resizing the inputs of an open model from another size, and allocating anew: median.

        None if it can't be told.
        """
        return self._median("resize_ns")

    @property
    def then_invoke_ns(self) -> float | None:
        """Of the first invocation after that, median; runtimes prepare much of it only then."""
        return self._median("first_invoke_ns")

    def _median(self, key: str) -> float | None:
        times_ns = _resizes(self.run).get(key) if self.run is not None else None
        return statistics.median(times_ns) if times_ns else None


def _resizes(run: Run) -> dict[str, Any]:
    """What it found of changing the size; a run of an earlier version has nothing of it."""
    found = run.report.get("resizes")
    return found if isinstance(found, dict) else {}


def sizes(text: str) -> tuple[int, ...]:
    """``1,2,4`` -> batch sizes.

    :raises UsageError: no such form, a size twice, or one that makes no sense.
    """
    if not re.fullmatch(r"[0-9]{1,8}(,[0-9]{1,8})*", text):
        raise UsageError(f"--batch {text}: write sizes joined by commas, such as 1,2,4,8")
    found = tuple(int(word) for word in text.split(","))
    if len(set(found)) != len(found):
        raise UsageError(f"--batch {text}: names a size twice")
    if not all(1 <= size <= _MOST for size in found):
        raise UsageError(f"--batch {text}: sizes are 1 to {_MOST}")
    return found


def measure(
    session: Session,
    release: Release,
    model: Artifact,
    plan: Plan,
    batches: Sequence[int],
    library: abi.Library,
    progress: Callable[[str], None],
    *,
    command: str,
) -> tuple[Point, ...]:
    """A point for each size. A size that the model can't take on this engine is one, too.

    :raises BoardError: as :func:`edge.bench.measure`.
    """
    points = []
    for batch in batches:
        progress(f"batch {batch}")
        sized = replace(plan, options=replace(plan.options, batch=batch), resizes=_RESIZES)
        run, refusal, stays = None, "", ""
        try:
            run = bench.measure(session, release, model, sized, library, progress, command=command)
            stays = runner.plain(session, _resizes(run).get("refusal") or "")
        except UsageError as error:
            refusal = runner.plain(session, str(error))
        points.append(Point(model.path.name, release.engine, batch, run, refusal, stays))
    return tuple(points)


def insist(points: Sequence[Point]) -> None:
    """:raises UsageError: no size ran at all."""
    if points and all(point.run is None for point in points):
        raise UsageError(points[0].refusal)
