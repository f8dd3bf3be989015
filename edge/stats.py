"""Percentiles with confidence bounds, ratios, and what a comparison can find.

Order statistics need no assumption about the distribution: the number of samples below the true
q-quantile is binomial(n, q), so the k-th smallest sample bounds the quantile with a confidence that
the binomial distribution gives (David & Nagaraja, Order Statistics, 3rd ed., section 7.1).

Latencies that follow each other are alike: they share a clock frequency, a cache, a neighbour. n
of them say as much as n / tau independent ones, where tau is the integrated autocorrelation time of
the indicator "at most the quantile" (Heidelberger and Lewis, Quantile Estimation in Dependent
Sequences, Operations Research 32 (1), 1984). :func:`percentile` computes with that number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize
from scipy import stats as scipy_stats

CONFIDENCE = 0.95

_LONG_BATCHES = 20
_BY_CHANCE = float(scipy_stats.chi2.ppf(0.99, _LONG_BATCHES - 1)) / (_LONG_BATCHES - 1)
"""Independent values' batches differ more than that in one of a hundred runs."""
_MOST_BATCHES = 1 << 14
"""Means that autocorrelations are computed from: a transform of these takes milliseconds."""


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
    """Independent samples from which on :func:`percentile` has bounds on both sides.

    The largest sample lies above the quantile with probability ``1 - q**n``, the smallest below it
    with ``1 - (1 - q)**n``; each side may err with half of ``1 - confidence``.
    """
    tail = (1 - confidence) / 2
    return math.ceil(math.log(tail) / math.log(max(quantile, 1 - quantile)))


def percentile(
    values: npt.ArrayLike, quantile: float, confidence: float = CONFIDENCE
) -> Percentile | None:
    """The quantile of ``values`` with its bounds, or None if they can't support it.

    :param values: shape ``[n]``, any unit, in the order in which they were measured.
    """
    return percentiles(values, (quantile,), confidence)[0]


def percentiles(
    values: npt.ArrayLike, quantiles: Sequence[float], confidence: float = CONFIDENCE
) -> list[Percentile | None]:
    """:func:`percentile` of each of ``quantiles``; the values are put in order only once."""
    series = np.asarray(values, dtype=np.float64)
    n = len(series)
    wanted = [quantile for quantile in quantiles if n >= needed(quantile, confidence)]
    if not wanted:
        return [None] * len(quantiles)
    # Only what is asked for is put in its place: much quicker than to sort millions.
    ordered = np.partition(series, sorted({i for q in wanted for i in _around(q, n)}))
    estimates, bounds = {}, {}
    for quantile in wanted:
        below, above = _around(quantile, n)
        share = quantile * (n - 1) - below
        value = float(ordered[below] + share * (ordered[above] - ordered[below]))
        estimates[quantile] = value
        worth = n / correlation_time(series <= value)
        if ranks := _ranks(n, worth, quantile, confidence):
            bounds[quantile] = ranks
    if bounds:
        ordered.partition(sorted({rank - 1 for ranks in bounds.values() for rank in ranks}))
    found: list[Percentile | None] = []
    for quantile in quantiles:
        if quantile in bounds:
            low, high = (float(ordered[rank - 1]) for rank in bounds[quantile])
            found.append(Percentile(quantile, estimates[quantile], low, high, confidence))
        else:
            found.append(None)
    return found


def _around(quantile: float, n: int) -> tuple[int, int]:
    """Indices of the order statistics that the estimate lies between."""
    at = quantile * (n - 1)
    return math.floor(at), math.ceil(at)


def _ranks(
    n: int, independent: float, quantile: float, confidence: float
) -> tuple[int, int] | None:
    """Ranks, counted from 1, of the order statistics of ``n`` that bound the quantile.

    :param independent: as many independent samples as the ``n`` are worth.
    """
    m = max(1, int(independent))
    tail = (1 - confidence) / 2
    # Largest r with P(B < r) <= tail, smallest s with P(B >= s) <= tail.
    low = int(scipy_stats.binom.ppf(tail, m, quantile))
    if scipy_stats.binom.cdf(low - 1, m, quantile) > tail:
        low -= 1
    high = int(scipy_stats.binom.ppf(1 - tail, m, quantile)) + 1
    if low < 1 or high > m:
        return None
    return max(1, math.floor(low * n / m)), min(n, math.ceil(high * n / m))


def correlation_time(values: npt.ArrayLike) -> float:
    """Integrated autocorrelation time: as many values in a row say as much as one independent one.

    ``1 + 2 * sum(autocorrelation)``, summed up to where pairs of neighbouring lags turn negative,
    and made to fall (the initial monotone sequence estimator: Geyer, Practical Markov Chain Monte
    Carlo, Statistical Science 7 (4), 1992), and raised by its own standard error (Sokal, Monte
    Carlo Methods in Statistical Mechanics, 1997, equation 3.19); or what the variance of the means
    of twenty long batches says, if that is more (Conway, Some Tactical Problems in Digital
    Simulation, Management Science 10 (1), 1963). Many values are averaged in small batches first,
    whose variance tells of what is within them.

    :param values: shape ``[n]``, in the order in which they were measured.
    :return: at least 1, in values; 1 if neither tells them from independent ones.
    """
    series = np.asarray(values)
    size = -(-len(series) // _MOST_BATCHES)
    count = len(series) // size if size else 0
    # The mean of a boolean array is exact, and takes no copy of eight times its size.
    spread = float(np.var(series)) if series.dtype != np.bool_ else _spread(series)
    if count < 3 or spread == 0:
        return 1.0
    batches = series[: count * size].reshape(count, size).mean(axis=1)
    centred = batches - batches.mean()
    between = float(centred @ centred) / count
    if between == 0:
        return 1.0
    within = size * between / spread
    spectrum = np.fft.rfft(centred, 2 * count)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum), 2 * count)[:count] / (count * between)
    # What is alike but a little, and for long, is lost in the noise of single lags.
    slow = 0.0
    if long := count // _LONG_BATCHES:
        means = centred[: long * _LONG_BATCHES].reshape(_LONG_BATCHES, long).mean(axis=1)
        slow = long * float(np.var(means, ddof=1)) / between
    if correlation[1] <= 2 / math.sqrt(count) and slow <= _BY_CHANCE:
        return max(1.0, within) if size > 1 else 1.0
    even = count // 2 * 2
    pairs = correlation[0:even:2] + correlation[1:even:2]
    falling = np.flatnonzero(pairs <= 0)
    end = int(falling[0]) if len(falling) else len(pairs)
    time = 2 * float(np.minimum.accumulate(pairs[:end]).sum()) - 1
    time *= 1 + math.sqrt(2 * (4 * end + 1) / count)
    return max(1.0, within * max(time, slow))


def _spread(flags: npt.NDArray[np.bool_]) -> float:
    share = float(np.count_nonzero(flags)) / len(flags)
    return share * (1 - share)


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
    error = float(np.std(rounds, ddof=1)) / math.sqrt(len(rounds))
    half = _student(confidence, len(rounds) - 1) * error
    return Estimate(center, center - half, center + half, confidence)


@functools.lru_cache
def _student(confidence: float, freedom: int) -> float:
    """Half the width of Student's t interval, in standard errors."""
    return float(scipy_stats.t.ppf((1 + confidence) / 2, freedom))


@dataclass(frozen=True)
class Ratio:
    """A ratio ``a / b`` and the interval that holds the true one with ``confidence``."""

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
    half = _student(confidence, len(logs) - 1) * error
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), confidence)


def far_out(values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which of ``values``, shape ``[n]``, lie far above the rest.

    By more than three times the distance of the quartiles above the third one: Tukey's outer fence
    (Exploratory Data Analysis, 1977, section 2D). They are told of, and never left out.
    """
    series = np.asarray(values, dtype=np.float64)
    if not len(series):
        return np.zeros(0, np.bool_)
    first, third = (float(q) for q in np.quantile(series, (0.25, 0.75)))
    found: npt.NDArray[np.bool_] = series > third + 3 * (third - first)
    return found


def median(values: npt.ArrayLike) -> float:
    """Middle of ``values``, shape ``[n]``, n at least 1; for comparisons inside one run."""
    return float(np.median(np.asarray(values, dtype=np.float64)))


def ratio(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = CONFIDENCE) -> Ratio:
    """Ratio ``a / b`` of geometric means of two groups that did not take turns.

    Welch's interval on the logarithms, each group with its own spread (Welch, The Generalization of
    "Student's" Problem, Biometrika 34, 1947): ``mean(log a) - mean(log b)`` plus and minus ``t *
    sqrt(va / na + vb / nb)``, with Satterthwaite's degrees of freedom ``(va/na + vb/nb)^2 /
    ((va/na)^2 / (na-1) + (vb/nb)^2 / (nb-1))`` (NIST/SEMATECH e-Handbook, 1.3.5.3).

    :param a: shape ``[n]``, one summary (such as a median) per round; positive.
    :param b: shape ``[m]``, the same for the other group.
    :raises ValueError: fewer than two rounds of one.
    """
    ours, theirs = (np.log(np.asarray(side, dtype=np.float64)) for side in (a, b))
    if ours.ndim != 1 or theirs.ndim != 1 or min(len(ours), len(theirs)) < 2:
        raise ValueError("a ratio needs at least two rounds of both sides")
    shares = [float(np.var(logs, ddof=1)) / len(logs) for logs in (ours, theirs)]
    mean, variance = float(np.mean(ours) - np.mean(theirs)), sum(shares)
    half = 0.0
    if variance:
        parts = (s**2 / (len(logs) - 1) for s, logs in zip(shares, (ours, theirs), strict=True))
        freedom = variance**2 / sum(parts)
        half = float(scipy_stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), confidence)


def log_mean(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Geometric mean of positive ``values``, shape ``[rounds]``: :func:`mean` of the logarithms.

    :raises ValueError: fewer than two rounds.
    """
    found = mean(np.log(np.asarray(values, dtype=np.float64)), confidence)
    return Estimate(math.exp(found.value), math.exp(found.low), math.exp(found.high), confidence)


def detectable(
    a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = CONFIDENCE, power: float = 0.9
) -> float:
    """The smallest difference that a paired comparison of such rounds finds with ``power``.

    A true ratio ``exp(d)`` is found if :func:`paired_ratio`'s interval leaves out 1; the statistic
    is then of the noncentral t distribution with noncentrality ``d * sqrt(n) / s``, ``s`` being the
    spread of the logarithms of the rounds' ratios (Cohen, Statistical Power Analysis, 2nd ed.,
    section 2.5). ``s`` is what these rounds showed.

    :param a: shape ``[rounds]``, as :func:`paired_ratio` takes them; at least two.
    :return: 0.011 for 1.1 %.
    """
    logs = np.log(np.asarray(a, dtype=np.float64)) - np.log(np.asarray(b, dtype=np.float64))
    return math.expm1(noncentrality(len(logs), confidence, power) * float(scipy_stats.sem(logs)))


@functools.lru_cache
def noncentrality(rounds: int, confidence: float, power: float) -> float:
    """In standard errors: the least shift that a two-sided t test of ``rounds`` finds so often."""
    freedom = rounds - 1
    bound = _student(confidence, freedom)

    def short(shift: float) -> float:
        """By how much less often it is found than it should be."""
        return power - float(scipy_stats.nct.sf(bound, freedom, shift))

    return float(optimize.brentq(short, 0.0, 20 * (1 + bound)))
