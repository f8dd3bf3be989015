"""Rounds: arms measured by turns, each time in a process of its own.

What changes slowly (the room, the board's other work) then meets every arm alike, and what differs
from process to process (where memory came to lie) shows as the spread from round to round.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge import abi, bench, group, precision
from edge.artifact import Artifact
from edge.cooling import Cooling
from edge.errors import BoardError, EdgeError, UnreachableError
from edge.group import Group
from edge.precision import Goal, Precision
from edge.release import Release
from edge.run import Plan, Run
from edge.session import Session

Progress = Callable[[str], None]
Medians = list[list[float]]
"""Per arm, in nanoseconds, those of the rounds so far."""

Begin = Callable[[int, Medians], None]
"""Called as a round begins, with its number from 1, and the medians so far."""

Turn = Callable[[int, int], None]
"""Called before each process, with the round's number and the arm."""

LeaveOut = Callable[[int, EdgeError], None]
"""Told of an arm that failed, and why."""


@dataclass(frozen=True)
class Contender:
    """What an arm runs: a model of a release that is whole on the board."""

    release: Release
    model: Artifact
    plan: Plan


def measure(
    session: Session,
    runs_of: Group,
    contenders: Sequence[Contender],
    library: abi.Library,
    progress: Progress,
    *,
    count: int,
    seed: int = 1,
    begin: Begin,
    enough: Callable[[Medians], bool] = lambda medians: False,
    watched: bool = True,
    families: Sequence[object] = (),
    turn: Turn = lambda number, arm: None,
    leave_out: LeaveOut | None = None,
) -> tuple[tuple[Run, ...], ...]:
    """Up to ``count`` rounds; the runs of each contender, in the order of the rounds.

    Within a round the order is random. Before each process the board cools to what it was at first.
    An interrupt or an error leaves in the group what was measured, and says where that is.

    :param seed: of the orders.
    :param enough: asked after each round; True: it was the last.
    :param watched: read clock, temperature and load meanwhile.
    :param families: one for each contender; those of one family, which are compared with each
        other, follow each other within a round. Empty: they are all of one.
    :param leave_out: with it, an arm that fails has no further turn, and is no error; what it has
        until then is returned.
    :raises EdgeError: as :func:`bench.measure`; with several contenders it names the arm.
    """
    order, found = random.Random(seed), [list[Run]() for _ in contenders]
    medians: Medians = [[] for _ in contenders]
    failed = set[int]()
    with _kept(runs_of, progress):
        # What this board has no cores or settings for is told before anything is measured.
        planned = [
            _resolved(session, each, _arm(i, contenders)) for i, each in enumerate(contenders)
        ]
        cooling = Cooling(session, progress)
        for number in range(1, count + 1):
            begin(number, medians)
            for arm in _shuffled(order, families or [None] * len(contenders)):
                if arm in failed:
                    continue
                turn(number, arm)
                cooling.wait()
                try:
                    with _named(_arm(arm, contenders)):
                        run = _one(session, runs_of, planned[arm], library, number, arm, watched)
                except UnreachableError:
                    raise
                except EdgeError as error:
                    if leave_out is None:
                        raise
                    failed.add(arm)
                    leave_out(arm, error)
                    continue
                found[arm].append(run)
                medians[arm].append(run.median_ns)
            if enough(medians):
                break
    return tuple(map(tuple, found))


def _shuffled(order: random.Random, families: Sequence[object]) -> list[int]:
    """Arms in random order, family by family, the families in random order too."""
    kinds = list(dict.fromkeys(families))
    found = []
    for kind in order.sample(kinds, len(kinds)):
        arms = [arm for arm, family in enumerate(families) if family == kind]
        found += order.sample(arms, len(arms))
    return found


@dataclass(frozen=True)
class Measured:
    """One model in rounds.

    :ivar precision: what the rounds bound the time of an invocation to; None: not asked for.
    """

    runs: tuple[Run, ...]
    precision: Precision | None = None


def until(
    session: Session,
    contender: Contender,
    library: abi.Library,
    progress: Progress,
    goal: Goal,
    *,
    command: str,
    begin: Begin,
) -> Measured:
    """Rounds until the time of an invocation is known as well as ``goal`` says, or it gives up.

    :raises EdgeError: as :func:`measure`.
    """

    def enough(medians: Medians) -> bool:
        own = medians[0]
        return len(own) > 1 and precision.of_medians(own, goal.share).reached

    (runs,) = measure(
        *(session, group.create("until", command), [contender], library, progress),
        count=goal.most,
        begin=begin,
        enough=enough,
    )
    return Measured(runs, precision.of_medians([run.median_ns for run in runs], goal.share))


def cold(
    session: Session,
    contender: Contender,
    library: abi.Library,
    progress: Progress,
    count: int,
    *,
    command: str,
    begin: Begin,
) -> Measured:
    """Open the model in ``count`` fresh processes, with nothing else beside them.

    :raises EdgeError: as :func:`measure`.
    """
    plan = dataclasses.replace(contender.plan, count=1, duration_s=0.0, warmup=0, iterations=1)
    (runs,) = measure(
        *(session, group.create("cold", command), [dataclasses.replace(contender, plan=plan)]),
        *(library, progress),
        count=count,
        begin=begin,
        watched=False,
    )
    return Measured(runs)


def _arm(number: int, contenders: Sequence[Contender]) -> str:
    """What messages call it; empty if it is the only one."""
    return group.arm_name(number).upper() if len(contenders) > 1 else ""


def _resolved(session: Session, contender: Contender, arm: str) -> Contender:
    with _named(arm):
        return dataclasses.replace(contender, plan=bench.resolved(session, contender.plan))


def _one(
    session: Session,
    runs_of: Group,
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
        command=runs_of.command,
        folder=runs_of.place(number, arm),
        watched=watched,
    )
    if not len(run.samples) or not run.median_ns > 0:
        raise BoardError(
            f"the runner on {session.transport.name} recorded no times in round {number}: "
            "give it longer (--duration), or deploy again"
        )
    return run


@contextlib.contextmanager
def _kept(runs_of: Group, progress: Progress) -> Iterator[None]:
    """Say where the runs are if the block is cut off; a group without any is removed."""
    try:
        yield
    except BaseException:
        runs = len(list(runs_of.folder.glob("*/run.json")))
        if runs:
            progress(f"what was measured until then, {runs} runs, stays in {runs_of.folder}")
        else:
            shutil.rmtree(runs_of.folder, ignore_errors=True)
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
