from __future__ import annotations

import numpy as np
import pytest

from edge import stats


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
    assert stats.percentile(np.arange(count), quantile) is not None
    assert stats.percentile(np.arange(count - 1), quantile) is None


# For n = 10 and the median, ranks 2 and 9: the classic 97.9 % interval (8 and 3 leave under 95 %).
def test_bounds_of_the_median_of_ten() -> None:
    found = stats.percentile(np.arange(1, 11), 0.5)
    assert found is not None
    assert (found.low, found.value, found.high) == (2, 5.5, 9)


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 60), (0.9, 200), (0.99, 500)])
def test_bounds_hold_the_true_quantile_as_often_as_they_say(quantile: float, count: int) -> None:
    random = np.random.default_rng(7)
    rounds, held = 2000, 0
    for _ in range(rounds):
        # A long tail, as latencies have: the bounds may not depend on the distribution.
        found = stats.percentile(random.pareto(1.5, count), quantile)
        assert found is not None
        true = (1 - quantile) ** (-1 / 1.5) - 1
        held += found.low <= true <= found.high
    # 95 % less four standard errors of the count itself.
    assert held / rounds > 0.95 - 4 * (0.95 * 0.05 / rounds) ** 0.5


def test_a_paired_ratio_sees_through_common_drift() -> None:
    drift = np.linspace(1, 3, 40)
    noise = np.random.default_rng(1).normal(1, 0.001, 40)
    found = stats.paired_ratio(1.1 * drift * noise, drift)
    assert found.low < 1.1 < found.high
    assert found.high - found.low < 0.002


def test_a_ratio_of_one_round_is_refused() -> None:
    with pytest.raises(ValueError, match="two rounds"):
        stats.paired_ratio([1.0], [2.0])
