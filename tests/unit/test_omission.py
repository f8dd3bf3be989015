"""What benchmarks.omission takes for the truth."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import omission


def test_before_the_first_stall_every_request_takes_its_half_millisecond() -> None:
    first = omission.truth(2)[: omission.PERIOD_MS * 1000 // omission.INTERVAL_US]
    assert np.all(first == pytest.approx(500_000))


def test_a_stall_delays_all_that_fall_due_in_it_and_the_queue_behind() -> None:
    latency_ms = omission.truth(2) / 1e6
    at = omission.PERIOD_MS * 1000 // omission.INTERVAL_US
    assert latency_ms[at] == pytest.approx(100.5)
    # 5 ms later due, and half a millisecond later done.
    assert latency_ms[at + 1] == pytest.approx(96.0)
    # The queue of 20 is worked off by half a millisecond each.
    late = np.flatnonzero(latency_ms > 0.5 + 1e-9)
    assert late[0] == at
    assert 20 < len(late) < 25


def test_a_tenth_of_the_requests_are_late_once_stalls_come() -> None:
    found = omission.quantiles_ns(omission.truth(100))
    assert found["p50"] == pytest.approx(500_000)
    assert found["p99"] > 80e6
    assert found["p100"] == pytest.approx(100.5e6)
    assert 0.10 < found["late"] < 0.12


def test_the_table_has_a_row_for_each() -> None:
    lines = omission.lines({"open loop": omission.truth(2), "the truth": omission.truth(2)})
    assert len(lines) == 3
    assert lines[1].startswith("open loop")
    assert lines[1].split()[-3:-2] == ["ms"]
