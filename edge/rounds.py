"""Rounds: arms measured by turns, each time in a process of its own.

What changes slowly (the room, the board's other work) then meets every arm alike, and what differs
from process to process (where memory came to lie) shows as the spread from round to round.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge import abi, bench
from edge.artifact import Artifact
from edge.cooling import Cooling
from edge.errors import BoardError, EdgeError, UnreachableError
from edge.group import ARMS, Group
from edge.release import Release
from edge.run import Plan, Run
from edge.session import Session

Progress = Callable[[str], None]
Medians = list[list[float]]
"""Per arm, in nanoseconds, those of the rounds so far."""


@dataclass(frozen=True)
class Contender:
    """What an arm runs: a model of a release that is whole on the board."""

    release: Release
    model: Artifact
    plan: Plan


def measure(
    session: Session,
    group: Group,
    contenders: Sequence[Contender],
    library: abi.Library,
    progress: Progress,
    *,
    count: int,
    seed: int,
    begin: Callable[[int, Medians], None],
    enough: Callable[[Medians], bool] = lambda medians: False,
    watched: bool = True,
) -> tuple[tuple[Run, ...], ...]:
    """Up to ``count`` rounds; the runs of each contender, in the order of the rounds.

    Within a round the order is random. Before each process the board cools to what it was at first.
    An interrupt or an error leaves in the group what was measured, and says where that is.

    :param seed: of the orders.
    :param begin: called as a round begins, with its number from 1, and the medians so far.
    :param enough: asked after each round; True: it was the last.
    :param watched: read clock, temperature and load meanwhile.
    :raises EdgeError: as :func:`bench.measure`; with several contenders it names the arm.
    """
    order, found = random.Random(seed), [list[Run]() for _ in contenders]
    medians: Medians = [[] for _ in contenders]
    with _kept(group, progress):
        cooling = Cooling(session, progress)
        for number in range(1, count + 1):
            begin(number, medians)
            for arm in order.sample(range(len(contenders)), len(contenders)):
                cooling.wait()
                with _named(ARMS[arm].upper() if len(contenders) > 1 else ""):
                    run = _one(session, group, contenders[arm], library, number, arm, watched)
                found[arm].append(run)
                medians[arm].append(run.median_ns)
            if enough(medians):
                break
    return tuple(map(tuple, found))


def _one(
    session: Session,
    group: Group,
    contender: Contender,
    library: abi.Library,
    number: int,
    arm: int,
    watched: bool,
) -> Run:
    run = bench.measure(
        session,
        contender.release,
        contender.model,
        contender.plan,
        library,
        lambda line: None,
        command=group.command,
        folder=group.place(number, arm),
        watched=watched,
    )
    if not len(run.samples) or not run.median_ns > 0:
        raise BoardError(
            f"the runner on {session.transport.name} recorded no times in round {number}: "
            "give it longer (--duration), or deploy again"
        )
    return run


@contextlib.contextmanager
def _kept(group: Group, progress: Progress) -> Iterator[None]:
    """Say where the runs are if the block is cut off; a group without any is removed."""
    try:
        yield
    except BaseException:
        runs = len(list(group.folder.glob("*/run.json")))
        if runs:
            progress(f"what was measured until then, {runs} runs, stays in {group.folder}")
        else:
            shutil.rmtree(group.folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _named(arm: str) -> Iterator[None]:
    """Errors in the block say which arm it was."""
    try:
        yield
    except UnreachableError:
        raise
    except EdgeError as error:
        if not arm:
            raise
        raise type(error)(f"arm {arm}: {error}") from error
