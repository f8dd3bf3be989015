"""The log of a board: lines come out as they went in, and nothing else is believed."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import history, store
from edge.history import Entry
from edge.layout import DeviceLayout
from edge.testing import FakeTransport

ROOT = PurePosixPath("/home/pi/edge")
A, B, C = "a" * 16, "b" * 16, "c" * 16
NOW = datetime.datetime(2026, 11, 21, 19, 30, 5, tzinfo=datetime.timezone.utc)


def entry(release_id: str | None, verb: str = "deploy") -> Entry:
    return Entry(NOW, release_id, "ada@desk", "rpi4", verb)


@given(
    release_id=st.none() | st.sampled_from([A, "0123456789abcdef" * 4]),
    who=st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=40),
    verb=st.sampled_from(history.VERBS),
    flags=st.lists(st.sampled_from(["--no-smoke", "--canary"]), max_size=2),
)
def test_a_line_comes_out_as_it_went_in(
    release_id: str | None, who: str, verb: str, flags: list[str]
) -> None:
    wanted = Entry(NOW, release_id, who, "rpi4-kitchen", verb, tuple(flags))
    assert wanted.line.count("\n") == 1 and wanted.line.endswith("\n")
    (found,) = history.parse(wanted.line)
    printable = "".join(c if c.isprintable() else "?" for c in who)
    assert found == Entry(NOW, release_id, printable, "rpi4-kitchen", verb, tuple(flags))


def test_a_line_of_an_older_edge() -> None:
    old = f"2026-11-20T10:00:00+00:00 {A} ada@desk board=rpi4 --no-smoke\n"
    (found,) = history.parse(old)
    assert (found.id, found.verb, found.flags) == (A, "deploy", ("--no-smoke",))


@given(st.text(max_size=200))
def test_what_is_no_line_is_passed_over(text: str) -> None:
    good = entry(A).line
    assert history.parse(f"{text}\n{good}")[-1:] == (entry(A),)


@pytest.mark.parametrize(
    "line",
    [
        f"yesterday-at-noon-or-so {A} ada@desk board=rpi4",
        f"2026-11-20T10:00:00+00:00 ../../etc ada@desk board=rpi4 {A}",
        f"2026-11-20T10:00:00+00:00 {A} ada@desk board=../x",
        f"2026-11-20T10:00:00+00:00 {A} ada@desk board=rpi4 deploy rm -rf",
        f"2026-11-20T10:00:00+00:00 {A} ada\x1b[31m board=rpi4\x1b[0m",
        f" {A}",
    ],
)
def test_lines_that_are_none(line: str) -> None:
    assert history.parse(line) == ()


def test_no_control_character_comes_out() -> None:
    (found,) = history.parse(f"2026-11-20T10:00:00+00:00 {A} ada%1B[31m%0A board=rpi4 deploy")
    assert found.who == "ada?[31m?"


def test_it_is_the_tail_that_is_read() -> None:
    device = DeviceLayout(ROOT)
    board = FakeTransport().on(["tail", "-c"], stdout=(entry(A).line + entry(B).line).encode())
    assert [found.id for found in history.read(board, device)] == [A, B]
    assert board.commands[0][-1] == str(device.log)
    board = FakeTransport().on(["tail"], exit_code=1, stdout=entry(A).line.encode())
    assert history.read(board, device) == ()


@pytest.mark.parametrize(
    ("ids", "live", "there", "found"),
    [
        ([A, B], B, {A, B}, A),
        # Going back twice leads back to where it began.
        ([A, B, A], A, {A, B}, B),
        # The last line was lost with the power.
        ([A, B], C, {A, B, C}, B),
        # It was dropped meanwhile: then the one before that.
        ([A, B, C], C, {A, C}, A),
        ([A], A, {A, B}, None),
        ([], A, {A}, None),
        ([A, B, None], None, {A, B}, B),
    ],
)
def test_what_was_live_before(
    ids: list[str | None], live: str | None, there: set[str], found: str | None
) -> None:
    assert history.before([entry(i) for i in ids], live, there) == found


def test_what_failed_is_not_gone_back_to() -> None:
    entries = [entry(A), entry(B), entry(C, "failed")]
    assert history.before(entries, B, {A, B, C}) == A


def test_who_and_when() -> None:
    before = time.time()
    found = history.entry("rpi4", A, "rollback", ["--x"])
    assert (found.who, found.board, found.verb) == (store.who(), "rpi4", "rollback")
    assert "@" in found.who and str(os.getpid()) not in found.who.split("@")[0]
    assert abs(found.time.timestamp() - before) < 60
