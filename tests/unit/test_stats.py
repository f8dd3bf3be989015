from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, signal
from scipy import stats as sp

from edge import stats

Values = npt.NDArray[np.float64]


# By hand: the least n with q**n <= (1 - confidence) / 2.
@pytest.mark.parametrize(
    ("quantile", "confidence", "count"), [(0.5, 0.95, 6), (0.9, 0.95, 36), (0.99, 0.95, 368)]
)
def test_samples_needed(quantile: float, confidence: float, count: int) -> None:
    assert stats.needed(quantile, confidence) == count
    assert max(quantile, 1 - quantile) ** count <= (1 - confidence) / 2
    assert max(quantile, 1 - quantile) ** (count - 1) > (1 - confidence) / 2


@pytest.mark.parametrize("quantile", [0.01, 0.1, 0.5, 0.9, 0.95, 0.99])
def test_a_percentile_is_given_from_exactly_that_count_on(quantile: float) -> None:
    count = stats.needed(quantile)
    values = np.random.default_rng(5).permutation(count)
    assert stats.percentile(values, quantile) is not None
    assert stats.percentile(values[:-1], quantile) is None


# For n = 10 and the median, ranks 2 and 9: the classic 97.9 % interval (8 and 3 leave under 95 %).
def test_bounds_of_the_median_of_ten() -> None:
    found = stats.percentile([5, 9, 1, 8, 2, 10, 3, 7, 4, 6], 0.5)
    assert found is not None
    assert (found.low, found.value, found.high) == (2, 5.5, 9)


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 60), (0.9, 200), (0.99, 500)])
def test_bounds_hold_the_true_quantile_as_often_as_they_say(quantile: float, count: int) -> None:
    random = np.random.default_rng(7)
    rounds, given, held = 2000, 0, 0
    for _ in range(rounds):
        # A long tail, as latencies have: the bounds may not depend on the distribution.
        found = stats.percentile(random.pareto(1.5, count), quantile)
        if found is None:  # by chance, they looked dependent
            continue
        true = (1 - quantile) ** (-1 / 1.5) - 1
        given += 1
        held += found.low <= true <= found.high
    assert given > 0.9 * rounds
    # 95 % less four standard errors of the count itself.
    assert held / given > 0.95 - 4 * (0.95 * 0.05 / rounds) ** 0.5


def autoregressive(random: np.random.Generator, count: int, alike: float) -> Values:
    """Normal values, each ``alike`` of the one before; variance 1."""
    steps = random.standard_normal(count + 500)
    series = signal.lfilter([math.sqrt(1 - alike**2)], [1, -alike], steps)
    return np.asarray(series[500:])


def modes(random: np.random.Generator, count: int) -> Values:
    """Two clock frequencies, each kept for fifty samples or so."""
    lengths = random.geometric(1 / 50, count)
    slow = np.repeat(np.arange(count) % 2 == random.integers(2), lengths)[:count]
    levels: Values = np.where(slow, 12.0, 10.0)
    return levels + random.normal(0, 1, count)


PROCESSES: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "independent": lambda random, count: random.standard_normal(count),
    "heavy tail": lambda random, count: random.pareto(1.5, count),
    "alike 0.5": lambda random, count: autoregressive(random, count, 0.5),
    "alike 0.9": lambda random, count: autoregressive(random, count, 0.9),
    "two modes": modes,
}
RUNS, SIZE = 1000, 3000


@pytest.mark.parametrize("quantile", [0.5, 0.9])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_99_percent_interval_is_one_and_not_wider_than_it_must_be(
    name: str, quantile: float
) -> None:
    process = PROCESSES[name]
    runs = [process(np.random.default_rng(seed), SIZE) for seed in range(RUNS)]
    spread = float(np.std([np.quantile(each, quantile) for each in runs]))
    true = {
        "independent": sp.norm.ppf(quantile),
        "heavy tail": (1 - quantile) ** (-1 / 1.5) - 1,
        "alike 0.5": sp.norm.ppf(quantile),
        "alike 0.9": sp.norm.ppf(quantile),
        "two modes": optimize.brentq(
            lambda x: (sp.norm.cdf(x - 10) + sp.norm.cdf(x - 12)) / 2 - quantile, 5, 20
        ),
    }[name]
    found = [p for each in runs if (p := stats.percentile(each, quantile, 0.99)) is not None]
    assert len(found) == RUNS
    held = sum(p.low <= true <= p.high for p in found) / RUNS
    assert 0.98 <= held <= 1.0
    # As wide as the estimate itself is spread from run to run, were it normal.
    theoretical = 2 * sp.norm.ppf(0.995) * spread
    assert np.mean([p.high - p.low for p in found]) < 1.5 * theoretical


def test_what_is_too_much_alike_gives_no_percentile() -> None:
    """Five hundred values of a drift say as much as one or two."""
    assert stats.percentile(np.arange(500), 0.5) is None
    assert stats.percentile(np.random.default_rng(1).permutation(500), 0.5) is not None


@pytest.mark.parametrize(("alike", "count"), [(0.5, 3000), (0.9, 3000), (0.9, 300_000)])
def test_the_correlation_time_of_a_known_process(alike: float, count: int) -> None:
    true = (1 + alike) / (1 - alike)
    found = [
        stats.correlation_time(autoregressive(np.random.default_rng(seed), count, alike))
        for seed in range(30)
    ]
    # Raised by its own standard error, so that it is seldom too small.
    assert true < np.mean(found) < 1.5 * true
    assert stats.correlation_time(np.ones(100)) == stats.correlation_time([1.0]) == 1
    # Values that take turns say more than independent ones; no use is made of that.
    assert stats.correlation_time(np.arange(1000) % 2) == 1


def test_a_paired_ratio_sees_through_common_drift() -> None:
    drift = np.linspace(1, 3, 40)
    noise = np.random.default_rng(1).normal(1, 0.001, 40)
    found = stats.paired_ratio(1.1 * drift * noise, drift)
    assert found.low < 1.1 < found.high
    assert found.high - found.low < 0.002


def test_a_ratio_of_one_round_is_refused() -> None:
    with pytest.raises(ValueError, match="two rounds"):
        stats.paired_ratio([1.0], [2.0])


# By hand: logs 0, 0.1, 0.2 and 0, 0.2 have means 0.1 and 0.1, variances 0.01 and 0.02; the shares
# are 0.01/3 and 0.01; (0.01/3 + 0.01)^2 / ((0.01/3)^2/2 + 0.01^2/1) = 1.684 degrees of freedom.
def test_the_ratio_of_two_groups_by_hand() -> None:
    found = stats.ratio(np.exp([0, 0.1, 0.2]), np.exp([0, 0.2]), 0.99)
    half = sp.t.ppf(0.995, (0.04 / 3) ** 2 / ((0.01 / 3) ** 2 / 2 + 0.01**2)) * math.sqrt(0.04 / 3)
    assert found.value == pytest.approx(1)
    assert found.high == pytest.approx(math.exp(half))
    assert found.low == pytest.approx(math.exp(-half))


def test_the_ratio_of_two_groups_is_scipys() -> None:
    random = np.random.default_rng(2)
    a, b = random.lognormal(0.2, 0.1, 10), random.lognormal(0, 0.3, 17)
    found = stats.ratio(a, b, 0.99)
    interval = sp.ttest_ind(np.log(a), np.log(b), equal_var=False).confidence_interval(0.99)
    assert math.log(found.low) == pytest.approx(interval.low)
    assert math.log(found.high) == pytest.approx(interval.high)


def test_groups_without_spread_have_a_point() -> None:
    found = stats.ratio([200, 200], [100, 100, 100])
    assert (found.low, found.value, found.high) == pytest.approx((2, 2, 2))


@pytest.mark.parametrize(("a", "b"), [([1], [1, 2]), ([1, 2], []), ([[1, 2]], [1, 2])])
def test_a_ratio_of_groups_needs_two_rounds_of_both(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="two rounds"):
        stats.ratio(a, b)


# Tables of the noncentral t: with many rounds it is the normal one, 2.576 + 1.282.
def test_what_many_rounds_need_to_find() -> None:
    assert stats.noncentrality(100_000, 0.99, 0.9) == pytest.approx(3.857, abs=0.001)
    # Fewer rounds know their own noise less well.
    needed = [stats.noncentrality(rounds, 0.99, 0.9) for rounds in (5, 10, 20, 50)]
    assert needed == sorted(needed, reverse=True)


def test_four_times_the_rounds_find_about_half_the_difference() -> None:
    logs = np.random.default_rng(4).normal(0, 0.01, 100)
    few, many = (stats.detectable(np.exp(x), np.ones(len(x))) for x in (logs, np.tile(logs, 4)))
    assert 0.48 < many / few < 0.5


def test_a_mean_of_logarithms() -> None:
    found = stats.log_mean([50, 200])
    assert found.value == pytest.approx(100)
    assert found.high / 100 == pytest.approx(100 / found.low)
