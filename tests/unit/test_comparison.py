from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats as sp

from edge import comparison, stats
from edge.errors import UsageError
from edge.report import rounds as rounds_report
from edge.run import Run
from edge.stats import Ratio
from tests.unit.test_run import made

Values = npt.NDArray[np.float64]

SEEDS = 1000
ROUNDS = 20


def round_medians(seed: int, ratio: float, spread: float) -> tuple[Values, Values]:
    """Arms that share each round's weather, and have noise of ``spread`` between them."""
    random = np.random.default_rng(seed)
    weather = np.log(1e6) + np.cumsum(random.normal(0, 0.05, ROUNDS))
    noise = random.normal(0, spread / math.sqrt(2), (2, ROUNDS))
    return np.exp(weather + noise[0]), ratio * np.exp(weather + noise[1])


def compared(a: Values, b: Values) -> comparison.Comparison:
    return comparison.of_medians(a.tolist(), b.tolist(), ("", ""))


def test_equal_arms_differ_no_more_often_than_the_level_says() -> None:
    alarms = sum(compared(*round_medians(seed, 1.0, 0.01)).differs for seed in range(SEEDS))
    # What chance makes of 1 % in 1,000 tries, but for one time in ten thousand at either end.
    assert sp.binom.ppf(0.0001, SEEDS, 0.01) <= alarms <= sp.binom.ppf(0.9999, SEEDS, 0.01)


@pytest.mark.parametrize("ratio", [1.02, 1 / 1.02])
def test_a_difference_is_found_as_often_as_is_claimed(ratio: float) -> None:
    # Rounds so noisy that 2 % are what nine of ten comparisons find.
    shift = stats.noncentrality(ROUNDS, comparison.CONFIDENCE, comparison.POWER)
    spread = math.log(1.02) * math.sqrt(ROUNDS) / shift
    found = [compared(*round_medians(seed, ratio, spread)) for seed in range(SEEDS)]
    count = sum(each.differs for each in found)
    assert sp.binom.ppf(0.0001, SEEDS, 0.9) <= count <= sp.binom.ppf(0.9999, SEEDS, 0.9)
    # Each comparison knows the noise by its own rounds only; what it claims scatters around that.
    assert 0.019 < np.median([each.detectable for each in found]) < 0.021
    # Found is found in the right direction.
    assert all((each.ratio.value > 1) == (ratio > 1) for each in found if each.differs)


def said(low: float, high: float, *, emulated: bool = False) -> str:
    ratio = Ratio(math.sqrt(low * high), low, high, 0.99)
    return comparison.Comparison(("", ""), (), (), ratio, 0.011, emulated).text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.979, 0.982, "B is 1.8 to 2.1 % faster than A, 99 % confidence"),
        (1.018, 1.021, "B is 1.8 to 2.1 % slower than A, 99 % confidence"),
        (0.995, 1.012, "no difference above 1.2 % can be claimed between A and B, 99 % confidence"),
        (0.9881, 1.005, "no difference above 1.2 % can be claimed"),
        (1 / 3.15, 1 / 3.10, "B is 3.10 to 3.15 times as fast as A, 99 % confidence"),
        (2.04, 2.1, "B takes 2.04 to 2.10 times as long as A, 99 % confidence"),
        # Half of it is percents, so all of it is.
        (0.6, 0.9, "B is 10 to 40 % faster than A"),
        # A bound is never rounded into what was not found: not to 0, not inward.
        (1.0001, 1.0123, "B is 0.01 to 1.23 % slower than A"),
        (1.0189, 1.0201, "B is 1.8 to 2.1 % slower than A"),
        (1.0181, 1.0209, "B is 1.8 to 2.1 % slower than A"),
        (0.98, 0.98, "B is 2.000 to 2.000 % faster than A"),
        (1.0, 1.0, "no difference above 0.0000 % can be claimed"),
    ],
)
def test_what_may_be_quoted(low: float, high: float, expected: str) -> None:
    assert said(low, high).startswith(expected)


def test_an_emulated_comparison_says_so_in_the_sentence_itself() -> None:
    assert said(0.979, 0.982, emulated=True).endswith(
        "emulated: it says nothing about a real board"
    )
    assert "emulated" not in said(0.979, 0.982)


def test_the_claim_of_power() -> None:
    found = comparison.Comparison(("", ""), (), (), Ratio(1, 0.99, 1.01, 0.99), 0.0109)
    assert found.power_text == (
        "a difference of 1.1 % would have been found in 9 of 10 such comparisons"
    )


@pytest.mark.parametrize("rounds", [0, 1, comparison.LEAST_ROUNDS - 1])
def test_too_few_rounds(rounds: int) -> None:
    with pytest.raises(UsageError, match="at least 6"):
        comparison.of_medians([1.0] * rounds, [1.0] * rounds, ("", ""))


@pytest.mark.parametrize("time", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none(time: float) -> None:
    with pytest.raises(UsageError, match="nothing is compared"):
        comparison.of_medians([1.0] * 6, [*[1.0] * 5, time], ("", ""))


def runs(levels: list[float], *, emulated: bool = False) -> list[Run]:
    steady = np.random.default_rng(3).normal(1, 0.001, 100)
    return [made(np.round(level * steady), emulated=emulated) for level in levels]


LEVELS = [1.00e6, 1.01e6, 0.99e6, 1.02e6, 1.00e6, 1.01e6, 0.98e6]


def test_runs_are_paired_in_the_order_of_rounds() -> None:
    found = comparison.of_runs(runs(LEVELS), runs([2 * x for x in LEVELS]), ("-a", "-b"))
    # Round by round the ratio is 2, whatever the round.
    assert found.ratio.low == pytest.approx(2, rel=1e-3)
    assert found.ratio.high == pytest.approx(2, rel=1e-3)
    assert found.labels == ("-a", "-b") and found.remarks == () and not found.emulated


def test_a_run_without_its_pair_is_left_out_and_said() -> None:
    found = comparison.of_runs(runs(LEVELS), runs(LEVELS[:-1]), ("", ""))
    assert len(found.a_ns) == len(found.b_ns) == 6
    assert found.remarks == ("1 of the runs have no pair, and were left out",)


def test_emulated_runs_never_meet_a_real_boards() -> None:
    with pytest.raises(UsageError, match="never compared"):
        comparison.of_runs(runs(LEVELS), runs(LEVELS, emulated=True), ("", ""))
    found = comparison.of_runs(runs(LEVELS, emulated=True), runs(LEVELS, emulated=True), ("", ""))
    # Said once, in the sentence; not in each round's name.
    assert found.emulated and found.remarks == ()


def test_rounds_that_are_not_to_be_trusted_are_kept_and_listed() -> None:
    drifting = [made(np.linspace(1.0, 1.3, 500) * 1e6) for _ in range(2)]
    found = comparison.of_runs(runs(LEVELS), [*runs(LEVELS[:5]), *drifting], ("", ""))
    assert len(found.b_ns) == 7
    (line,) = found.remarks
    assert line.startswith("B: never-settled in 2 of 7 rounds, first in round 6: ")


def test_few_samples_in_a_process_are_no_remark() -> None:
    short = [made([1_000_000] * 3) for _ in range(6)]
    assert comparison.of_runs(short, short, ("", "")).remarks == ()


def test_the_table_and_the_lines() -> None:
    ours = [dataclasses.replace(run, id=f"g/{n:03}-a") for n, run in enumerate(runs(LEVELS), 1)]
    theirs = runs([2 * x for x in LEVELS])
    found = comparison.of_runs(ours, theirs, ("--threads 2", ""))
    columns = {
        c.header: list(c.cells) for c in rounds_report.comparison_table(found, ours, theirs).columns
    }
    assert columns["arm"] == ["A", "B"]
    assert columns["flags"] == ["--threads 2", "as the board has it"]
    assert all("[" in str(cell) for cell in columns["median of rounds [95 % bounds]"])
    lines = rounds_report.comparison_lines(found, ours)
    assert lines[0] == found.text and lines[1] == found.power_text
    assert lines[-1].startswith("reproduce: invoke bench") and lines[-1].endswith("kept as g")
    told = rounds_report.comparison_json(found, ours, theirs)
    assert told["arms"][0]["rounds_ns"] == list(found.a_ns)
    assert told["differs"] is True and told["text"] == found.text
