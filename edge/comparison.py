"""Comparison: is B faster than A, by how much, and what would have been found?

Two arms, measured in rounds; each round has one process of either, and gives one median of each.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge import stats
from edge.errors import UsageError
from edge.run import Run
from edge.stats import Ratio

CONFIDENCE = 0.99
"""Of a claim: one in a hundred comparisons of equals may say that they differ."""
POWER = 0.9

LEAST_ROUNDS = stats.needed(0.5)
"""Fewer do not bound an arm's median."""

_FAR = 1.5
"""From so many times on, percents are harder to read than times."""

# Not about what became of one process: the first is the whole comparison's, and a median of few
# samples is no worse for being one of many rounds.
_LIGHT = frozenset({"emulated", "too-few-samples"})


@dataclass(frozen=True)
class Comparison:
    """Two arms that took turns.

    :ivar labels: what tells the arms apart, in the user's words.
    :ivar a_ns: per round, the median time of an invocation in arm A; ``b_ns`` of the same rounds.
    :ivar ratio: time of an invocation in B by that in A, paired round by round.
    :ivar detectable: the difference that as many rounds as noisy as these would find nine times of
        ten; 0.011 for 1.1 %.
    :ivar emulated: these times say nothing about a real board's speed.
    :ivar remarks: what a reader should know of the rounds.
    """

    labels: tuple[str, str]
    a_ns: tuple[float, ...]
    b_ns: tuple[float, ...]
    ratio: Ratio
    detectable: float
    emulated: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        return not self.ratio.low <= 1 <= self.ratio.high

    @property
    def text(self) -> str:
        """The one sentence that may be quoted."""
        label = "; emulated: it says nothing about a real board" if self.emulated else ""
        return f"{_claim(self.ratio)}, {100 * self.ratio.confidence:g} % confidence{label}"

    @property
    def power_text(self) -> str:
        """What would have been found, had it been there."""
        least = 100 * self.detectable
        return (
            f"a difference of {_up(least, _places(least))} % would have been found in "
            f"{10 * POWER:.0f} of 10 such comparisons"
        )


def of_medians(
    a_ns: Sequence[float],
    b_ns: Sequence[float],
    labels: tuple[str, str],
    *,
    emulated: bool = False,
    remarks: Sequence[str] = (),
) -> Comparison:
    """Compare rounds' medians, in nanoseconds, the same rounds of both.

    :raises UsageError: too few rounds, not the same of both, or a time that is none.
    """
    if len(a_ns) != len(b_ns) or len(a_ns) < LEAST_ROUNDS:
        raise UsageError(
            f"{len(a_ns)} and {len(b_ns)} rounds can't be compared: both arms need the same, at "
            f"least {LEAST_ROUNDS}; measure again"
        )
    if not all(0 < time < math.inf for time in (*a_ns, *b_ns)):
        raise UsageError("a round has no median above 0 ns, so nothing is compared: measure again")
    return Comparison(
        labels,
        tuple(a_ns),
        tuple(b_ns),
        stats.paired_ratio(b_ns, a_ns, CONFIDENCE),
        stats.detectable(b_ns, a_ns, CONFIDENCE, POWER),
        emulated,
        tuple(remarks),
    )


def of_runs(a: Sequence[Run], b: Sequence[Run], labels: tuple[str, str]) -> Comparison:
    """Compare two arms' runs, each in the order of their rounds; a pair is what one round gave.

    A round that was cut off leaves a run without its pair, the last one; it is left out.

    :raises UsageError: too few rounds, or one arm's runs are emulated and the other's are not.
    """
    if len({run.emulated for run in (*a, *b)}) > 1:
        raise UsageError("emulated runs are never compared with a real board's: measure on one")
    pairs = min(len(a), len(b))
    remarks = [
        line for name, runs in (("A", a[:pairs]), ("B", b[:pairs])) for line in troubles(runs, name)
    ]
    if left := max(len(a), len(b)) - pairs:
        remarks.append(f"{left} of the runs have no pair, and were left out")
    return of_medians(
        [run.median_ns for run in a[:pairs]],
        [run.median_ns for run in b[:pairs]],
        labels,
        emulated=any(run.emulated for run in a),
        remarks=remarks,
    )


def troubles(runs: Sequence[Run], name: str) -> list[str]:
    """What of the runs' verdicts weighs on their medians: a line for each kind of reason.

    :param runs: in the order of their rounds.
    """
    found = collections.defaultdict(list)
    for number, run in enumerate(runs, 1):
        for reason in run.verdict():
            if reason.code not in _LIGHT:
                found[reason.code].append((number, reason))
    lines = []
    for code, seen in found.items():
        number, reason = seen[0]
        rounds = len({each for each, _ in seen})
        lines.append(
            f"{name}: {code} in {rounds} of {len(runs)} rounds, first in round {number}: "
            f"{reason.text}; {reason.remedy}"
        )
    return lines


def _claim(ratio: Ratio) -> str:
    low, high = ratio.low, ratio.high
    if low <= 1 <= high:
        bound = 100 * max(1 - low, high - 1)
        return f"no difference above {_up(bound, _places(bound))} % can be claimed between A and B"
    if 1 / high >= _FAR:
        return f"B is {_span(1 / high, 1 / low)} times as fast as A"
    if low >= _FAR:
        return f"B takes {_span(low, high)} times as long as A"
    if high < 1:
        return f"B is {_span(100 * (1 - high), 100 * (1 - low))} % faster than A"
    return f"B is {_span(100 * (low - 1), 100 * (high - 1))} % slower than A"


_MOST_PLACES = 4


def _places(value: float) -> int:
    """Decimals that leave ``value`` two digits."""
    if value <= 0:
        return _MOST_PLACES
    return min(_MOST_PLACES, max(0, 1 - math.floor(round(math.log10(value), 9))))


def _up(value: float, places: int) -> str:
    # What a binary fraction adds at its end is no reason to round up: 1.1 is 1.1.
    return f"{math.ceil(round(value * 10**places, 6)) / 10**places:.{places}f}"


def _down(value: float, places: int) -> str:
    return f"{math.floor(round(value * 10**places, 6)) / 10**places:.{places}f}"


def _span(low: float, high: float) -> str:
    """``1.8 to 2.1``: rounded outward, with a digit of what lies between, and one of the lower."""
    places = max(0, _places(high - low) - 1, _places(low) - 1)
    return f"{_down(low, places)} to {_up(high, places)}"


def bounds(low: float, high: float) -> str:
    """``0.89 to 5.5``: rounded outward to two digits each, for what may lie far apart."""
    return f"{_down(low, _places(low))} to {_up(high, _places(high))}"
