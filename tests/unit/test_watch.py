"""What this side makes of `edge-run watch`, and what it does not believe."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import PurePosixPath
from typing import Any

import pytest

from edge import board, facts, watch
from edge.errors import BoardError
from edge.session import Session
from edge.testing import Expect, Fail, FakeTransport, Reply
from edge.watch import Tick
from tests.unit import boards

TOLD: dict[str, Any] = {
    "columns": ["time_ns", "cost_ns"],
    "ticks_per_s": 100,
    "interval_ms": 100,
    "settings": {"boost": "1"},
}
END = {"settings": {"boost": "0"}, "not_put_back": []}
FOLDER = PurePosixPath("/dev/shm/edge-x")


def line(value: Any) -> Reply:
    return Reply(json.dumps(value).encode())


def is_watch(argv: tuple[str, ...]) -> bool:
    return "watch" in argv


class Release:
    id = "0123456789abcdef"


def watched(
    *script: Any, settings: tuple[str, ...] = (), sudo: bool = False, live: Any = None
) -> tuple[watch.Watch, FakeTransport, list[str]]:
    transport = FakeTransport().on_start(is_watch, *script)
    target = dataclasses.replace(board.load("rpi4"), sudo=sudo)
    here = Session(target, transport, facts.parse(boards.RASPBERRY_PI_4, now_s=0))
    warned: list[str] = []
    release: Any = Release()
    with watch.over(
        *(here, release, FOLDER, FOLDER / "samples.bin"),
        settings=settings,
        live=live,
        warn=warned.append,
    ) as found:
        pass
    return found, transport, warned


def test_settings_before_and_after_are_kept() -> None:
    found, transport, warned = watched(line(TOLD), Expect(b"\n"), line(END))
    assert found.told == {**TOLD, "settings_after": {"boost": "0"}}
    assert warned == []
    assert "--set" not in transport.calls[-1].argv
    assert "--tell-ms" not in transport.calls[-1].argv


@pytest.mark.parametrize(
    "last",
    [
        Fail("it is gone"),
        Reply(b"\xff"),
        Reply(b"[" * 60_000),
        line({"settings": {"boost": "\x1b[2J"}, "not_put_back": []}),
        line({"settings": ["boost"], "not_put_back": []}),
    ],
)
def test_a_last_word_that_makes_no_sense_is_none(last: Any) -> None:
    found, _, _ = watched(line(TOLD), Expect(b"\n"), last, Fail("it is gone"))
    assert found.told == TOLD


@pytest.mark.parametrize("first", [Reply(b"x"), line([]), line({**TOLD, "settings": 3}), Fail("")])
def test_a_first_word_that_makes_no_sense_is_refused(first: Any) -> None:
    with pytest.raises(BoardError):
        watched(first)


SET = ("/sys/devices/system/cpu/cpufreq/boost=0", "/sys/devices/system/cpu/x=1")


@pytest.mark.parametrize("sudo", [False, True])
def test_settings_go_along_word_by_word(sudo: bool) -> None:
    script = (line(TOLD), Expect(b"\n"), line(END))
    _, transport, warned = watched(*script, settings=SET, sudo=sudo)
    words = transport.calls[-1].argv
    assert words[-5 if sudo else -4 :][:4] == ("--set", SET[0], "--set", SET[1])
    assert (words[-1] == "--sudo") == sudo
    assert warned == []


@pytest.mark.parametrize(
    "last", [line({**END, "not_put_back": ["x"]}), line({"settings": {}}), Fail("it is gone")]
)
def test_settings_that_were_perhaps_not_put_back_are_named(last: Any) -> None:
    _, _, warned = watched(line(TOLD), Expect(b"\n"), last, settings=SET)
    (text,) = warned
    assert "/sys/devices/system/cpu/cpufreq/boost, /sys/devices/system/cpu/x" in text


def test_it_is_closed_whatever_happens() -> None:
    transport = FakeTransport().on_start(is_watch, line(TOLD))
    here = Session(board.load("rpi4"), transport, facts.parse(boards.RASPBERRY_PI_4, now_s=0))
    release: Any = Release()
    with (
        pytest.raises(KeyboardInterrupt),
        watch.over(*(here, release, FOLDER, FOLDER / "samples.bin")),
    ):
        raise KeyboardInterrupt
    (process,) = transport.processes
    assert getattr(process, "closed")  # noqa: B009


# --- how far a run is ---------------------------------------------------------------------------

TICK = {"time_ns": 2_000_000_000, "samples": 700, "median_ns": 5, "clock_khz": 1_500_000}


def test_a_tick_has_what_the_board_told() -> None:
    assert watch.parse_tick(TICK) == Tick(700, None, 5, 1500, None)
    before = {**TICK, "time_ns": 1_500_000_000, "samples": 600}
    assert watch.parse_tick({**TICK, "temperature_mc": -5000}, before) == Tick(
        700, 200, 5, 1500, -5
    )
    assert watch.parse_tick({"time_ns": 1}) == Tick(None, None, None, None, None)
    # A clock that stands still, or a recording that began anew, has no rate.
    for odd in ({**TICK}, {**TICK, "time_ns": 1, "samples": 701}, {"time_ns": 1}):
        found = watch.parse_tick(TICK, odd)
        assert found is not None and found.rate_per_s is None


@pytest.mark.parametrize(
    "told",
    [
        None, [], 3, {}, {**TICK, "time_ns": None}, {**TICK, "samples": "7"},
        {**TICK, "samples": True}, {**TICK, "samples": -1}, {**TICK, "median_ns": 1 << 63},
        {**TICK, "clock_khz": 1.5}, {**TICK, "temperature_mc": {}},
    ],
)  # fmt: skip
def test_a_tick_that_makes_no_sense_is_none(told: Any) -> None:
    assert watch.parse_tick(told) is None


def test_ticks_reach_the_one_who_asked_until_the_block_ends() -> None:
    ticks: list[Tick] = []
    transport = FakeTransport().on_start(
        is_watch, line(TOLD), line(TICK), Reply(b"nonsense"), line({**TICK, "samples": 800}),
        Fail("it fell silent"), Expect(b"\n"), line(END),
    )  # fmt: skip
    here = Session(board.load("rpi4"), transport, facts.parse(boards.RASPBERRY_PI_4, now_s=0))
    release: Any = Release()
    over = threading.Event()

    def live(tick: Tick) -> None:
        ticks.append(tick)
        if len(ticks) == 2:
            over.set()

    recording = FOLDER / "samples.bin"
    with watch.over(here, release, FOLDER, recording, live=live) as found:
        assert over.wait(20)
    assert [tick.samples for tick in ticks] == [700, 800]
    assert found.told is not None
    assert str(recording) in transport.calls[-1].argv


def test_whoever_is_told_may_fail_and_the_run_goes_on() -> None:
    def live(tick: Tick) -> None:
        raise BrokenPipeError

    found, _, _ = watched(line(TOLD), line(TICK), Expect(b"\n"), line(END), live=live)
    assert found.told is not None
