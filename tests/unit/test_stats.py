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
