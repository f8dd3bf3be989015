"""Steady: from when on a run is level, after caches have filled and clocks have risen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

_BLOCKS = 200
_LEAST_PER_BLOCK = 5
"""A median of so many lets no single outlier pass."""
LEAST = 20 * _LEAST_PER_BLOCK
"""Values below which nothing can be told."""
NEGLIGIBLE = 0.01
"""A run whose level changes by less is as good as level."""


def since(values: npt.ArrayLike) -> int | None:
    """Index of the first value of the steady part; None if the run never settled.

    The change point is where cutting leaves the best known mean: it minimises the variance of the
    rest over its length (the marginal standard error rule, MSER: White, An Effective Truncation
    Heuristic for Bias Reduction in Simulation Output, Simulation 69 (6), 1997). Taken on the ranks
    of the medians of up to 200 blocks, so that outliers weigh no more than other values. A minimum
    in the second half means that there was no steady part worth the name (ibid.), unless the two
    sides' medians differ by less than :data:`NEGLIGIBLE`.

    :param values: shape ``[n]``, in the order in which they were measured. Fewer than :data:`LEAST`
        are taken to be steady: they are too few for anything else.
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) < LEAST:
        return 0
    size = max(_LEAST_PER_BLOCK, len(series) // _BLOCKS)
    count = len(series) // size
    medians = np.median(series[: count * size].reshape(count, size), axis=1)
    ranks = scipy_stats.rankdata(medians)[::-1]
    lengths = np.arange(1, count + 1)
    means = np.cumsum(ranks) / lengths
    variances = np.cumsum(ranks**2) / lengths - means**2
    # At the end a few blocks are level by chance.
    scores = (variances / lengths)[::-1][: count - max(5, count // 20)]
    cut = int(np.argmin(scores)) * size
    if cut <= len(series) // 2:
        return cut
    before, after = np.median(series[:cut]), np.median(series[cut:])
    return 0 if abs(after - before) < NEGLIGIBLE * before else None
