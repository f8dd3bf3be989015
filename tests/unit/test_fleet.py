"""Who starts when, and what is told of it; boards are in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edge import board, fleet
from edge.board import Board
from edge.errors import BoardError, EdgeError, HostError, UnreachableError, UsageError
from edge.fleet import Bounds, Fleet
from edge.testing import FakeTransport

Body = Callable[[str], str]


def boards(*names: str) -> list[Board]:
    return [dataclasses.replace(board.load("rpi4"), name=name) for name in names]


@contextlib.contextmanager
def connected(target: Board, progress: Callable[[str], None]) -> Iterator[Any]:
    progress("connecting")
    if target.name.startswith("gone"):
        raise UnreachableError(f"no board answers at {target.name}")
    yield SimpleNamespace(board=target, transport=FakeTransport(f"pi@{target.name}"))


class Boards:
    """Work that is told about, and fails on boards whose names say so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.lines: list[tuple[str, str]] = []

    def work(self, session: Any, progress: Callable[[str], None]) -> str:
        name: str = session.board.name
        self.begun.append(name)
        progress("working")
        if name.startswith("bad"):
            raise BoardError(f"{name} is full")
        if name.startswith("odd"):
            raise ZeroDivisionError("odd")
        return name.upper()

    def run(self, *names: str, **bounds: int) -> Fleet[str]:
        return fleet.run(
            boards(*names),
            self.work,
            lambda name, line: self.lines.append((name, line)),
            bounds=Bounds(**bounds),
            connect=connected,
            explain=lambda error: HostError(f"a defect: {error}"),
        )


def interrupt() -> None:
    """As the kernel does with ctrl-C: the main thread gets it."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def states(found: Fleet[str]) -> str:
    """One letter a board: live, failed, skipped."""
    return "".join(
        "s" if result.skipped else "f" if result.error else "l" for result in found.results
    )


def test_every_board_has_its_own_result_in_the_order_named() -> None:
    here = Boards()
    found = here.run("b", "bad", "a", "gone", "odd")
    assert states(found) == "lflff"
    assert [result.outcome for result in found.results] == ["B", None, "A", None, None]
    assert [result.target for result in found.results[:3]] == ["pi@b", "pi@bad", "pi@a"]
    assert [str(result.error) for result in found.failures] == [
        "bad is full",
        "no board answers at gone",
        "a defect: odd",
    ]
    assert ("b", "connecting") in here.lines
    assert ("a", "working") in here.lines
    assert not found.interrupted


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("a", "b"), 0),
        (("a", "bad1", "bad2"), 3),
        (("gone1", "gone2", "a"), 5),
        (("odd", "a"), 4),
        (("gone", "bad", "odd"), 3),
        (("gone", "odd"), 3),
    ],
)
def test_the_exit_code_is_the_failures_own_if_they_share_one(
    names: tuple[str, ...], code: int
) -> None:
    assert Boards().run(*names).exit_code == code


def test_no_more_boards_at_a_time_than_jobs() -> None:
    turn = threading.Condition()
    running, most = set[str](), 0
    full = threading.Event()

    def work(session: Any, _: Any) -> None:
        nonlocal most
        with turn:
            running.add(session.board.name)
            most = max(most, len(running))
            if len(running) == 3:
                full.set()
        assert full.wait(10)  # three do run at a time
        with turn:
            running.discard(session.board.name)

    found = fleet.run(
        boards(*"abcdefghi"),
        work,
        lambda *_: None,
        bounds=Bounds(jobs=3),
        connect=connected,
    )
    assert (most, found.exit_code) == (3, 0)


def test_work_that_gives_nothing_is_done_all_the_same() -> None:
    found = fleet.run(boards("a"), lambda *_: None, lambda *_: None, connect=connected)
    assert (found.exit_code, found.results[0].error) == (0, None)


def test_a_board_that_went_live_stays_so_when_hanging_up_fails() -> None:
    @contextlib.contextmanager
    def rude(target: Board, progress: Any) -> Iterator[Any]:
        with connected(target, progress) as session:
            yield session
        raise BoardError("the connection is gone")

    found = fleet.run(boards("a"), lambda *_: "live", lambda *_: None, connect=rude)
    assert (found.results[0].outcome, found.results[0].error) == ("live", None)


def test_after_so_many_failures_no_further_board_starts() -> None:
    here = Boards()
    found = here.run("bad1", "a", "bad2", "b", "c", jobs=1, max_failures=2)
    assert states(found) == "flfss"
    assert here.begun == ["bad1", "a", "bad2"]
    assert found.results[-1].skipped == "--max-failures 2"
    assert states(Boards().run("bad1", "bad2", "bad3", "a", jobs=1)) == "fffl"


def test_the_canaries_go_first_and_the_rest_after_all_of_them() -> None:
    events: list[tuple[str, str]] = []
    other = threading.Event()

    def work(session: Any, _: Any) -> None:
        name = session.board.name
        events.append(("begin", name))
        if name == "a":
            assert other.wait(10)  # b, a canary too, runs beside it
        other.set()
        events.append(("end", name))

    fleet.run(
        boards(*"abcd"),
        work,
        lambda *_: None,
        bounds=Bounds(jobs=4, canary=2),
        connect=connected,
    )
    assert {name for _, name in events[:4]} == {"a", "b"}
    assert {name for _, name in events[4:]} == {"c", "d"}


def test_nothing_follows_a_canary_that_did_not_hold() -> None:
    here = Boards()
    found = here.run("a", "bad", "c", "d", canary=2)
    assert states(found) == "lfss"
    assert found.results[2].skipped == "canary bad did not hold"
    assert (found.exit_code, sorted(here.begun)) == (3, ["a", "bad"])


def test_a_failure_behind_the_canaries_stops_nobody() -> None:
    assert states(Boards().run("a", "bad", "c", canary=1, jobs=1)) == "lfl"


def test_an_interrupt_cuts_those_that_run_and_starts_no_other() -> None:
    cut = threading.Event()
    here = []

    def work(session: Any, _: Any) -> str:
        if session.board.name == "done":
            return "live"
        transport = session.transport
        here.append(transport)
        interrupt()
        assert cut.wait(10)
        raise BoardError("the connection is gone")

    class Transport(FakeTransport):
        def close(self) -> None:
            cut.set()

    @contextlib.contextmanager
    def reach(target: Board, progress: Any) -> Iterator[Any]:
        yield SimpleNamespace(board=target, transport=Transport(f"pi@{target.name}"))

    found = fleet.run(
        boards("done", "slow", "never"),
        work,
        lambda *_: None,
        bounds=Bounds(jobs=1),
        connect=reach,
    )
    assert states(found) == "lfs"
    assert "old release or the new one is live" in str(found.results[1].error)
    assert found.results[2].skipped == "interrupted"
    assert (found.interrupted, found.exit_code) == (True, 130)


def test_a_board_that_is_reached_after_the_interrupt_is_left_at_once() -> None:
    begun = []
    interrupted = threading.Event()

    @contextlib.contextmanager
    def slow(target: Board, progress: Any) -> Iterator[Any]:
        interrupt()
        assert interrupted.wait(10)
        yield SimpleNamespace(board=target, transport=FakeTransport())

    class Cut(fleet._Run[Any]):
        def _cut(self, begun: set[str]) -> None:
            with self._turn:
                self._over = True
            interrupted.set()
            super()._cut(begun)

    found = Cut(
        boards("a"), lambda s, p: begun.append(s), lambda *_: None, Bounds(), slow, _never
    ).go()
    assert begun == []
    assert isinstance(found.results[0].error, fleet.CutError)


def _never(error: Exception) -> EdgeError:
    raise AssertionError(error)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(jobs=-1), "--jobs -1"),
        (Bounds(canary=-1), "--canary -1"),
        (Bounds(max_failures=-1), "--max-failures -1"),
        (Bounds(canary=3), "only 2 boards"),
    ],
)
def test_a_bound_that_makes_no_sense_is_refused(bounds: Bounds, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fleet.check(bounds, 2)
