from __future__ import annotations

import pytest

from edge import board, cooling
from edge.cooling import Cooling
from edge.session import Session
from edge.testing import Call, FakeTransport
from edge.transport import Outcome


class Board:
    """A board whose sensors show one reading after the other; the last one stays."""

    def __init__(self, *readings: bytes, name: str = "rpi4") -> None:
        self.readings, self.asked = list(readings), 0
        self.now_s, self.said = 0.0, list[str]()
        self.session = Session(board.load(name), FakeTransport().answer(("sh",), self._answer))

    def _answer(self, call: Call) -> Outcome:
        self.asked += 1
        now = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        return Outcome(call.argv, 0, now, b"")

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def cooling(self) -> Cooling:
        return Cooling(
            self.session, self.said.append, sleep=self._sleep, clock_s=lambda: self.now_s
        )


def zones(*celsius: float) -> bytes:
    return b"".join(b"%d\n" % round(1000 * each) for each in celsius)


def test_the_hottest_zone_is_the_mark() -> None:
    assert Board(zones(41.2, 55.6, 30)).cooling().mark_c == 55.6


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"hot\n", b"999999\n", b"-273150\n", b"0x1234\n", b"9" * 99, b"\xff\xfe"]
)
def test_what_is_no_temperature_is_none(text: bytes) -> None:
    here = Board(text)
    found = here.cooling()
    assert found.mark_c is None
    found.wait()
    found.wait()
    # Said once, and the board is not asked again.
    assert here.said == ["the board shows no temperature: there is no waiting for it to cool"]
    assert (here.asked, here.now_s) == (1, 0)


def test_another_machines_sensors_are_left_alone() -> None:
    here = Board(zones(50), name="qemu-aarch64")
    assert here.cooling().mark_c is None
    assert here.asked == 0


@pytest.mark.parametrize(("celsius", "waits"), [(52.0, False), (52.1, True)])
def test_two_degrees_above_the_mark_are_near_enough(celsius: float, waits: bool) -> None:
    here = Board(zones(50), zones(celsius), zones(50))
    here.cooling().wait()
    assert (here.now_s > 0) == waits


def test_it_waits_as_long_as_it_takes_and_says_so_once() -> None:
    here = Board(*(zones(c) for c in (50, 60, 57, 54, 51.5)))
    here.cooling().wait()
    assert here.now_s == 3
    assert here.said == ["cooling: 60 °C, waiting for 52 °C"]


def test_a_board_that_stays_hot_is_waited_for_once() -> None:
    here = Board(zones(40), zones(60))
    found = here.cooling()
    found.wait()
    assert here.now_s == pytest.approx(cooling.LONGEST_S, abs=2)
    assert "after 120 s the board is at 60 °C, not at 40 °C" in here.said[-1]
    assert found.mark_c == 60
    before_s = here.now_s
    found.wait()
    assert here.now_s == before_s


def test_a_sensor_that_goes_silent_is_not_waited_for() -> None:
    here = Board(zones(40), zones(60), b"")
    here.cooling().wait()
    assert here.now_s == 1
