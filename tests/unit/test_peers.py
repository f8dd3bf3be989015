"""What benchmarks.peers makes of other tools' output."""

from __future__ import annotations

import functools
import random

import pytest

from benchmarks import peers
from edge.errors import HostError

SAID = """
========================================
 BENCHMARK RESULTS
========================================
Warmup (avg):          14.36 ms (5 runs)
Inference (avg):       16.46 ms (3000 runs)
Inference (min):       9.85 ms
Inference (median):    14.85 ms
Inference (p95):       28.58 ms
"""


def test_the_median_is_what_litert_benchmark_prints_as_such() -> None:
    assert peers.median_ms(SAID) == 14.85


@pytest.mark.parametrize("said", ["", "Inference (avg): 16.46 ms", "Inference (median):    nan ms"])
def test_other_output_is_refused(said: str) -> None:
    with pytest.raises(HostError, match="printed no median"):
        peers.median_ms(said)


def test_each_tool_has_its_turn_in_each_round_in_changing_order() -> None:
    turns: list[str] = []

    def turn(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    names = ("a", "b", "c")
    tools = {name: functools.partial(turn, name) for name in names}
    medians = peers.by_turns(tools, 20, random.Random(1), lambda _: None)
    assert all(len(each) == 20 for each in medians.values())
    rounds = [tuple(turns[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(each) == list(names) for each in rounds)
    assert len(set(rounds)) > 1


def test_ratios_are_to_the_bare_loop_by_rounds() -> None:
    bare = [2e6, 4e6, 8e6]
    found = {
        each.tool: each
        for each in peers.summary(
            {"bare loop": bare, "edge": [1.01 * ns for ns in bare], "litert-benchmark": bare}
        )
    }
    ratio = found["edge"].ratio
    assert ratio is not None
    assert ratio.value == pytest.approx(1.01)
    assert ratio.high - ratio.low < 1e-6
    assert found["bare loop"].ratio is None
    assert found["litert-benchmark"].ratio is not None


def test_a_tool_that_prints_too_coarsely_is_not_compared() -> None:
    """1 % of 2.7 us is far below the hundredth of a millisecond that it prints."""
    found = peers.summary(
        {"bare loop": [2700.0, 2710.0], "edge": [2700.0, 2700.0], "litert-benchmark": [0.0, 1e4]}
    )
    coarse = next(each for each in found if each.tool == "litert-benchmark")
    assert coarse.ratio is None
    assert "too coarse to compare" in peers.lines(found)[2]
    assert "0.9982" in peers.lines(found)[1]


def test_every_ability_of_every_tool_has_its_place_in_the_table() -> None:
    lines = peers.abilities_lines()
    assert len(lines) == 9
    assert all(len(line) <= 100 for line in lines)
