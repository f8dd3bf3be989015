"""Fleet: the same work on many boards, a bounded number at a time, each failure its own."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge import session as session_module
from edge.board import Board
from edge.errors import BoardError, EdgeError, HostError, UsageError
from edge.session import Session

T = TypeVar("T")

Progress = Callable[[str], None]
Connect = Callable[[Board, Progress], AbstractContextManager[Session]]

DEFAULT_JOBS = 8

FAILED = 3
"""Exit code where boards failed for different reasons."""

INTERRUPTED = 130

_WAKE_S = 0.5
"""A wait without end may miss an interrupt: one that comes just before it, or to another thread."""

_FAREWELL_S = 30.0
"""For boards that are being worked on when the user interrupts: their connections are cut."""


@dataclass(frozen=True)
class Bounds:
    """How far a command goes.

    :ivar jobs: boards at a time; 0: :data:`DEFAULT_JOBS`.
    :ivar canary: so many of the first boards go before the others, which start only if all of these
        have held; 0: none.
    :ivar max_failures: after so many failures no further board starts; 0: all are tried.
    """

    jobs: int = 0
    canary: int = 0
    max_failures: int = 0


def check(bounds: Bounds, boards: int) -> None:
    """:raises UsageError: a bound makes no sense."""
    for flag, value in (
        ("--jobs", bounds.jobs),
        ("--canary", bounds.canary),
        ("--max-failures", bounds.max_failures),
    ):
        if value < 0:
            raise UsageError(f"{flag} {value}: must be 0 or more")
    if bounds.canary > boards:
        raise UsageError(
            f"--canary {bounds.canary}: there {'is' if boards == 1 else 'are'} only {boards} "
            f"board{'' if boards == 1 else 's'}"
        )


@dataclass(frozen=True)
class Result(Generic[T]):
    """What became of one board.

    :ivar target: where it is, such as ``pi@10.0.0.7``; its name if nobody was reached.
    :ivar outcome: what the work gave; None if it failed or never started.
    :ivar error: why it failed; None if it did not, or never started.
    :ivar skipped: why it never started; None if it did.
    :ivar seconds: from the first try to connect to the end.
    """

    board: str
    target: str
    outcome: T | None = None
    error: EdgeError | None = None
    skipped: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Fleet(Generic[T]):
    """What became of all boards, in the order in which they were named."""

    results: tuple[Result[T], ...]
    interrupted: bool = False

    @property
    def failures(self) -> tuple[Result[T], ...]:
        return tuple(result for result in self.results if result.error is not None)

    @property
    def exit_code(self) -> int:
        """0 if all went well; what all failures have in common; else 3."""
        if self.interrupted:
            return INTERRUPTED
        codes = {result.error.exit_code for result in self.results if result.error is not None}
        return (codes.pop() if len(codes) == 1 else FAILED) if codes else 0


class CutError(BoardError):
    """The user interrupted while a board was being worked on."""


def run(
    boards: Sequence[Board],
    work: Callable[[Session, Progress], T],
    progress: Callable[[str, str], None],
    *,
    bounds: Bounds = Bounds(),
    connect: Connect = session_module.connect,
    explain: Callable[[Exception], EdgeError] = lambda error: HostError(str(error)),
) -> Fleet[T]:
    """Connect to each board and do ``work`` there, in threads.

    An interrupt starts no further board and cuts the connections of those that run.

    :param progress: called with a board's name and a line, from several threads.
    :param explain: what to tell of an error that is none of ours.
    """
    check(bounds, len(boards))
    return _Run(boards, work, progress, bounds, connect, explain).go()


class _Run(Generic[T]):
    """One thread for each board that is being worked on; this one alone decides who is next."""

    def __init__(
        self,
        boards: Sequence[Board],
        work: Callable[[Session, Progress], T],
        progress: Callable[[str, str], None],
        bounds: Bounds,
        connect: Connect,
        explain: Callable[[Exception], EdgeError],
    ) -> None:
        self._boards = boards
        self._work = work
        self._progress = progress
        self._bounds = bounds
        self._connect = connect
        self._explain = explain
        self._canaries = {board.name for board in boards[: bounds.canary]}
        self._turn = threading.Condition()
        # Under it:
        self._results: dict[str, Result[T]] = {}
        self._opened: dict[str, Session] = {}
        self._over = False

    def go(self) -> Fleet[T]:
        waiting = deque(self._boards)
        begun: set[str] = set()
        interrupted = False
        reason: str | None = None
        try:
            with self._turn:
                while True:
                    reason = self._reason_to_stop()
                    while waiting and reason is None and self._may_start(begun):
                        begun.add(waiting[0].name)
                        self._start(waiting.popleft())
                    if begun <= self._results.keys():
                        break
                    self._turn.wait(_WAKE_S)
        except KeyboardInterrupt:
            interrupted, reason = True, "interrupted"
            self._cut(begun)
        with self._turn:
            found = dict(self._results)
        for board in self._boards:
            name = board.name
            if name not in begun:
                found[name] = Result(name, board.host or name, skipped=reason)
            elif name not in found:  # in the middle of something that has no end
                found[name] = Result(name, board.host or name, error=CutError(_cut_text(name)))
        return Fleet(tuple(found[board.name] for board in self._boards), interrupted)

    def _may_start(self, begun: set[str]) -> bool:
        if self._canaries <= begun and not self._canaries <= self._results.keys():
            return False  # the canaries are not all home
        return len(begun) - len(self._results) < (self._bounds.jobs or DEFAULT_JOBS)

    def _reason_to_stop(self) -> str | None:
        failed = [result.board for result in self._results.values() if result.error is not None]
        if lost := [name for name in failed if name in self._canaries]:
            return f"canary {', '.join(lost)} did not hold"
        if failed and len(failed) >= self._bounds.max_failures > 0:
            return f"--max-failures {self._bounds.max_failures}"
        return None

    def _cut(self, begun: set[str]) -> None:
        with self._turn:
            self._over = True
            opened = list(self._opened.values())
        for session in opened:
            with contextlib.suppress(EdgeError):
                session.transport.close()
        # A second interrupt waits no longer.
        with contextlib.suppress(KeyboardInterrupt), self._turn:
            self._turn.wait_for(lambda: begun <= self._results.keys(), _FAREWELL_S)

    def _start(self, board: Board) -> None:
        # A daemon: what hangs in spite of all deadlines does not keep the command from ending.
        name = f"fleet-{board.name}"
        threading.Thread(target=self._one, args=(board,), name=name, daemon=True).start()

    def _one(self, board: Board) -> None:
        began = time.monotonic()
        result: Result[T] = Result(board.name, board.host or board.name)
        done = False
        try:
            with self._connect(board, functools.partial(self._progress, board.name)) as session:
                result = dataclasses.replace(result, target=session.transport.name)
                with self._registered(board.name, session):
                    outcome = self._work(session, functools.partial(self._progress, board.name))
                    result = dataclasses.replace(result, outcome=outcome)
                    done = True
        except Exception as error:
            if not done:  # else only hanging up went wrong
                result = dataclasses.replace(result, error=self._told(error, result.target))
        with self._turn:
            seconds = time.monotonic() - began
            self._results[board.name] = dataclasses.replace(result, seconds=seconds)
            self._turn.notify()

    def _told(self, error: Exception, where: str) -> EdgeError:
        if self._over:  # whatever it says, it comes of the cut connection
            return CutError(_cut_text(where))
        return error if isinstance(error, EdgeError) else self._explain(error)

    @contextlib.contextmanager
    def _registered(self, name: str, session: Session) -> Iterator[None]:
        """While the block runs, an interrupt cuts the session's connection."""
        with self._turn:
            if self._over:
                raise CutError(_cut_text(session.transport.name))
            self._opened[name] = session
        try:
            yield
        finally:
            with self._turn:
                del self._opened[name]


def _cut_text(where: str) -> str:
    return (
        f"interrupted while {where} was worked on: its old release or the new one is live, and "
        "whole; run the command again"
    )
