"""Percentiles with confidence bounds, and paired ratios.

Order statistics need no assumption about the distribution: the number of samples below the true
q-quantile is binomial(n, q), so the k-th smallest sample bounds the quantile with a confidence that
the binomial distribution gives (David & Nagaraja, Order Statistics, 3rd ed., section 7.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Percentile:
    """An estimate and the interval that holds the true quantile with ``confidence``.

    :ivar quantile: in (0, 1).
    :ivar value: in the samples' unit.
    """

    quantile: float
    value: float
    low: float
    high: float
    confidence: float

    @property
    def label(self) -> str:
        return f"p{100 * self.quantile:g}"


def needed(quantile: float, confidence: float = CONFIDENCE) -> int:
    """Samples from which on :func:`percentile` has bounds on both sides.

    The largest sample lies above the quantile with probability ``1 - q**n``, the smallest below it
    with ``1 - (1 - q)**n``; each side may err with half of ``1 - confidence``.
    """
    tail = (1 - confidence) / 2
    return math.ceil(math.log(tail) / math.log(max(quantile, 1 - quantile)))


def percentile(
    values: npt.ArrayLike, quantile: float, confidence: float = CONFIDENCE
) -> Percentile | None:
    """The quantile of ``values`` with its bounds, or None if the count can't support it.

    :param values: shape ``[n]``, any unit, independent draws.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n < needed(quantile, confidence):
        return None
    tail = (1 - confidence) / 2
    # Largest r with P(B < r) <= tail, smallest s with P(B >= s) <= tail; ranks count from 1.
    low_rank = int(scipy_stats.binom.ppf(tail, n, quantile))
    if scipy_stats.binom.cdf(low_rank - 1, n, quantile) > tail:
        low_rank -= 1
    high_rank = int(scipy_stats.binom.ppf(1 - tail, n, quantile)) + 1
    if low_rank < 1 or high_rank > n:
        return None
    return Percentile(
        quantile,
        float(np.quantile(ordered, quantile)),
        float(ordered[low_rank - 1]),
        float(ordered[high_rank - 1]),
        confidence,
    )


@dataclass(frozen=True)
class Estimate:
    """A mean and the interval that holds the true one with ``confidence``; any unit."""

    value: float
    low: float
    high: float
    confidence: float


def mean(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of ``values``, shape ``[rounds]``, with Student's t interval.

    For summaries of rounds (medians, differences of medians), whose spread is the run's own.

    :raises ValueError: fewer than two rounds.
    """
    rounds = np.asarray(values, dtype=np.float64)
    if rounds.ndim != 1 or len(rounds) < 2:
        raise ValueError("an interval needs at least two rounds")
    center = float(np.mean(rounds))
    half = float(scipy_stats.t.ppf((1 + confidence) / 2, len(rounds) - 1)) * float(
        scipy_stats.sem(rounds)
    )
    return Estimate(center, center - half, center + half, confidence)


@dataclass(frozen=True)
class Ratio:
    """A paired ratio ``a / b`` with its interval."""

    value: float
    low: float
    high: float
    confidence: float


def paired_ratio(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = CONFIDENCE) -> Ratio:
    """Geometric mean of ``a[i] / b[i]`` with Student's t interval on the logarithms.

    The interval is that of the NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.2; that
    ratios are averaged by their logarithms: Fleming and Wallace, Communications of the ACM 29 (3),
    1986.

    :param a: shape ``[rounds]``, one summary (such as a median) per interleaved round; positive.
    :param b: the same for the other side, same rounds.
    :raises ValueError: fewer than two rounds, or different lengths.
    """
    ours, theirs = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or len(ours) < 2:
        raise ValueError("a paired ratio needs at least two rounds of both sides")
    logs = np.log(ours) - np.log(theirs)
    mean = float(np.mean(logs))
    error = float(scipy_stats.sem(logs))
    half = float(scipy_stats.t.ppf((1 + confidence) / 2, len(logs) - 1)) * error
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), confidence)


def median(values: npt.ArrayLike) -> float:
    """Middle of ``values``, shape ``[n]``, n at least 1; for comparisons inside one run."""
    return float(np.median(np.asarray(values, dtype=np.float64)))
