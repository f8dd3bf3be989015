"""Sweep: one model at rising batch sizes, each in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge import abi, bench
from edge.artifact import Artifact
from edge.errors import UsageError
from edge.release import Release
from edge.run import Plan, Run
from edge.session import Session

_MOST = 1 << 20


@dataclass(frozen=True)
class Point:
    """A model with one batch size on one engine.

    :ivar run: None if the engine refused the batch.
    :ivar refusal: in the engine's words; empty if it ran.
    """

    model: str
    engine: str
    batch: int
    run: Run | None
    refusal: str = ""

    @property
    def samples_per_s(self) -> float | None:
        """Elements of the batch per second, invocations one after the other."""
        if self.run is None or self.run.throughput_per_s is None:
            return None
        return self.batch * self.run.throughput_per_s

    @property
    def allocate_ns(self) -> int:
        """Of resizing the inputs and allocating anew, the first time; 0 if it can't be told."""
        return self._step("allocate_tensors_ns")

    @property
    def first_invoke_ns(self) -> int:
        """Of the first invocation with this size; runtimes prepare much of it only then."""
        return self._step("first_invoke_ns")

    def _step(self, name: str) -> int:
        return int(self.run.report["cold_start"].get(name, 0)) if self.run is not None else 0


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
        sized = replace(plan, options=replace(plan.options, batch=batch))
        name, run, refusal = model.path.name, None, ""
        try:
            run = bench.measure(session, release, model, sized, library, progress, command=command)
        except UsageError as error:
            refusal = str(error).removeprefix(f"{session.transport.name}: ")
        points.append(Point(name, release.engine, batch, run, refusal))
    return tuple(points)


def insist(points: Sequence[Point]) -> None:
    """:raises UsageError: no size ran at all."""
    if points and all(point.run is None for point in points):
        raise UsageError(points[0].refusal)
