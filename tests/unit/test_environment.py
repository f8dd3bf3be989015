"""What is made of a board's readings, and what is not believed of them."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import environment
from edge.environment import Environment
from edge.errors import UsageError

SECOND = 1_000_000_000
NONE = -(1 << 63)
TOLD: dict[str, Any] = {
    "columns": ["time_ns", "cost_ns", "busy_ticks"],
    "ticks_per_s": 100,
    "interval_ms": 100,
}


def made(**columns: list[float]) -> Environment:
    """Readings a second apart; ``__`` in a name stands for a slash."""
    count = len(next(iter(columns.values())))
    values = {name.replace("__", "/"): np.array(v, dtype=float) for name, v in columns.items()}
    values.setdefault("cost_ns", np.full(count, 1e6))
    return Environment(np.arange(count, dtype=np.int64) * SECOND, values, 100, 1000)


def test_the_clock_is_that_of_the_cores_that_ran_the_model() -> None:
    found = made(
        clock_khz__policy0=[600e3, 600e3, 600e3], clock_khz__policy4=[2400e3, 2400e3, 1800e3]
    )
    assert found.lower_clock(frozenset({5, 6})) == pytest.approx((2400, 1800, 1 / 3))
    assert found.lower_clock(frozenset({0, 3})) == (600, 600, 0)
    # Where both kinds of core took part, the slower one counts.
    assert found.lower_clock(frozenset({3, 4})) == (600, 600, 0)
    assert made(busy_ticks=[1, 2]).lower_clock() is None
    assert made(clock_khz__policy0=[float("nan")] * 2).lower_clock() is None


def test_heat_is_that_of_the_hottest_sensor() -> None:
    found = made(temperature_mc__z0__cpu=[50e3, 61e3, 70e3], temperature_mc__z1__gpu=[55e3, 0, 0])
    assert found.celsius() == (55, 70)
    assert made(temperature_mc__z0__off=[float("nan")] * 2).celsius() is None


def test_only_bits_of_this_moment_count_as_throttled() -> None:
    assert made(throttled=[0x50000, 0x50005, 0x50000, 0x4]).throttled() == 0.5
    assert made(throttled=[0x50000] * 2).throttled() == 0
    assert made(busy_ticks=[1, 2]).throttled() is None


def test_a_sample_is_throttled_as_the_reading_next_to_it() -> None:
    found = made(throttled=[0.0, 4.0, 0.0])
    at_ns = np.array([0.4, 0.6, 1.3, 1.4, 5.0]) * SECOND
    assert found.throttled(at_ns.astype(np.int64)) == pytest.approx(3 / 5)
    assert found.throttled(np.array([], dtype=np.int64)) is None


def test_governors_are_those_of_the_cores_that_ran_the_model() -> None:
    told = {"governor/policy0": "powersave", "governor/policy4": "performance", "boost": "1"}
    assert environment.governors(told, frozenset({5})) == ["performance"]
    assert environment.governors(told, frozenset({3, 4})) == ["powersave", "performance"]
    assert environment.governors(told) == ["powersave", "performance"]
    assert environment.governors({}) == []


@pytest.mark.parametrize(
    "settings",
    [
        *(
            [],
            "x",
            {"a": 1},
            {"a": "\x1b[2J"},
            {"a": ""},
            {"": "b"},
            {"a": "x" * 201},
            {"a\n": "b"},
        ),
        {str(number): "x" for number in range(1001)},
    ],
)
def test_settings_that_make_no_sense_are_no_report(settings: Any) -> None:
    assert environment.parse_told({**TOLD, "settings": settings}) is None
    assert environment.parse_settings(settings) is None
    fine = {**TOLD, "settings": {"governor/policy0": "performance"}}
    assert environment.parse_told(fine) == fine


def test_others_are_what_is_neither_the_model_nor_the_watching() -> None:
    # A processor's worth of work by all; 0.5 of it the model's, 1 ms a second the watching's.
    found = made(busy_ticks=[100.0 * i for i in range(11)])
    assert found.others(0, 10 * SECOND, 5 * SECOND) == pytest.approx(0.499 - 4 / 100 / 10)
    assert found.others(0, 10 * SECOND, 20 * SECOND) == 0
    # What came before the span, warming up for one, does not count.
    busy_before = made(busy_ticks=[0.0, 500.0, 550.0, 600.0, 650.0, 1150.0])
    span = (SECOND // 2, 4 * SECOND + SECOND // 2)
    assert busy_before.others(*span, 2 * SECOND) == 0
    assert busy_before.others(*span, 0) == pytest.approx(0.5 - 0.001 - 4 / 100 / 3)


def test_a_run_of_a_moment_tells_a_busy_processor_from_ticks_that_are_rounded() -> None:
    times_ns = np.arange(4) * SECOND // 10
    span = (0, 3 * SECOND // 10)
    busy = dataclasses.replace(
        made(busy_ticks=[0.0, 20.0, 40.0, 60.0], cost_ns=[0.0] * 4), times_ns=times_ns
    )
    assert busy.others(*span, 3 * SECOND // 10) == pytest.approx(1 - 4 / 100 / 0.3)
    rounded = dataclasses.replace(
        made(busy_ticks=[0.0, 11.0, 22.0, 33.0], cost_ns=[0.0] * 4), times_ns=times_ns
    )
    assert rounded.others(*span, 3 * SECOND // 10) == 0


@pytest.mark.parametrize("span", [(0, SECOND // 2), (5 * SECOND, 5 * SECOND), (90 * SECOND,) * 2])
def test_a_short_time_says_nothing_of_others(span: tuple[int, int]) -> None:
    assert made(busy_ticks=[100.0 * i for i in range(11)]).others(*span, 0) is None
    assert made(throttled=[0.0] * 11).others(0, 10 * SECOND, 0) is None
    assert made(busy_ticks=[float("nan")] * 11).others(0, 10 * SECOND, 0) is None


def test_between_takes_a_reading_on_either_side() -> None:
    found = made(busy_ticks=list(range(10))).between(int(2.5 * SECOND), int(4.5 * SECOND))
    assert list(found.times_ns // SECOND) == [2, 3, 4, 5]
    assert list(found.values["busy_ticks"]) == [2, 3, 4, 5]
    assert len(made(busy_ticks=list(range(10))).between(-5, 100 * SECOND)) == 10


def series(*records: tuple[int, ...], columns: int = 3, magic: bytes = b"EDGESERI") -> bytes:
    head = magic + struct.pack("<IIII", 2, 24, 8 * columns, columns)
    return head + b"".join(struct.pack(f"<{columns}q", *record) for record in records)


def test_what_could_not_be_read_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "env.bin").write_bytes(series((5, 6, 7), (15, 6, NONE)) + b"cut")
    found = environment.load(tmp_path / "env.bin", TOLD)
    assert list(found.times_ns) == [5, 15]
    assert found.values["busy_ticks"][0] == 7 and np.isnan(found.values["busy_ticks"][1])


@pytest.mark.parametrize(
    "content",
    [b"", b"EDGESERI", series(magic=b"EDGESMPL"), series(columns=4), series()[:20]],
)
def test_no_series(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "env.bin").write_bytes(content)
    with pytest.raises(UsageError, match="measure again"):
        environment.load(tmp_path / "env.bin", TOLD)
    with pytest.raises(UsageError, match="can't be read"):
        environment.load(tmp_path / "missing", TOLD)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": ["time_ns"]},
        {"columns": ["cost_ns", "time_ns"]},
        {"columns": ["time_ns", "cost_ns", "a", "a"]},
        {"columns": ["time_ns", "cost_ns", "a\x1b[2J"]},
        {"columns": ["time_ns", "cost_ns", *map(str, range(2000))]},
        {"columns": "time_ns"},
        {"ticks_per_s": 0},
        {"ticks_per_s": True},
        {"interval_ms": 1 << 40},
        {"interval_ms": None},
    ],
)
def test_what_a_board_says_of_its_readings_is_looked_at(change: dict[str, Any]) -> None:
    assert environment.parse_told(TOLD) == TOLD
    assert environment.parse_told({**TOLD, "more": 1}) == TOLD
    assert environment.parse_told({**TOLD, **change}) is None
    assert environment.parse_told([]) is None
