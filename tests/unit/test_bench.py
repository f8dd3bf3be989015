from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath
from typing import Any

import pytest

from edge import bench, board, facts
from edge.errors import UsageError
from edge.run import Plan
from edge.session import Session
from edge.testing import FakeTransport
from tests.unit import boards


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("1.5s", 1.5),
        ("10m", 600),
        ("1h", 3600),
        ("50us", 5e-5),
        ("3", 3),
        (".5", 0.5),
    ],
)
def test_times_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert bench.seconds("--idle", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "ms", "-1s", "3x", "1e3", "nan", "inf", "3 s s", "1,5s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--idle .*: write a time such as 200ms"):
        bench.seconds("--idle", text)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"count": 0}, "--count 0"),
        ({"rate_per_s": -1.0}, "--rate -1"),
        ({"rate_per_s": 1e6}, "100000 at most"),
        ({"poisson": True}, "add --rate"),
        ({"rate_per_s": 5.0, "idle_s": 1.0}, "exclude each other"),
        ({"rate_per_s": 5.0, "iterations": 4}, "--iterations 4"),
        ({"idle_s": 1.0, "iterations": 4}, "--iterations 4"),
        ({"cpus": "4-"}, "--cpus 4-: write 4-7"),
        ({"cpus": "largest"}, "or big"),
        ({"cpus": "0; reboot"}, "--cpus"),
        ({"timeout_s": 0.0}, "--timeout 0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        bench.check_plan(dataclasses.replace(Plan(), **changed))


@pytest.mark.parametrize("cpus", ["", "0", "4-7", "0,2-3,9", "big"])
def test_processors_are_numbers_and_ranges(cpus: str) -> None:
    bench.check_plan(Plan(cpus=cpus))


def test_a_plan_arrives_as_flags_of_the_runner() -> None:
    plan = Plan(rate_per_s=50, poisson=True, cpus="4-7", undisturbed=True, seed=9)
    words = " ".join(map(str, bench.flags(PurePosixPath("/dev/shm/s.bin"), plan)))
    for expected in ("--interval-us 20000", "--poisson", "--cpus 4-7", "--undisturbed", "--seed 9"):
        assert expected in words
    assert "--idle-us 200000" in " ".join(
        map(str, bench.flags(PurePosixPath("s.bin"), Plan(idle_s=0.2)))
    )
    assert not {"--interval-us", "--idle-us", "--cpus"} & set(
        bench.flags(PurePosixPath("s.bin"), Plan())
    )


def session(cpus: str) -> Session:
    text = boards.RASPBERRY_PI_4.replace("cpu=0x41 0xd08\n", "")
    parsed = facts.parse(text.replace("user=", f"{cpus}user=", 1), now_s=0)
    return Session(board.load("rpi4"), FakeTransport(), parsed)


def lines(*parts: str) -> str:
    return "".join(f"cpu=0x41 {part} {number}\n" for number, part in enumerate(parts))


@pytest.mark.parametrize(
    ("parts", "big"),
    [
        (("0xd05",) * 4 + ("0xd0b",) * 4, "4-7"),
        (("0xd05",) * 3 + ("0xd44",), "3"),
        # Cores of one kind need not lie side by side.
        (("0xd07", "0xd08", "0xd08", "0xd07"), "1-2"),
        (("0xd07", "0xd08", "0xd07", "0xd08"), "1,3"),
    ],
)
def test_the_big_cores_are_those_of_the_kind_that_the_kernel_lists_last(
    parts: tuple[str, ...], big: str
) -> None:
    here = session(lines(*parts))
    assert here.facts.big_cores == big
    assert bench.resolved(here, Plan(cpus="big")).cpus == big
    assert bench.resolved(here, Plan(cpus="0-1")).cpus == "0-1"


@pytest.mark.parametrize("cpus", ["", lines("0xd08", "0xd08"), "cpu=0x41 0xd05\ncpu=0x41 0xd0b\n"])
def test_a_board_that_does_not_tell_its_big_cores_is_told_so(cpus: str) -> None:
    with pytest.raises(UsageError, match="such as --cpus 0-3"):
        bench.resolved(session(cpus), Plan(cpus="big"))
