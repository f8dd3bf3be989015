"""Claim: what people say about ways to run models, and what measurements make of it.

A claim says that a quantity lies in a range, in each of its cases. A case holds if all of its
interval lies in the range, fails if all of it lies outside, and is undecided if neither: so nothing
is claimed that chance would explain more than once in a hundred cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge import comparison, stats
from edge.cell import Cell, Figures, Inventory, Measured, Way
from edge.errors import UsageError
from edge.stats import Estimate, Ratio

CONFIDENCE = comparison.CONFIDENCE
LEAST_ROUNDS = comparison.LEAST_ROUNDS

Quantity = Literal["latency", "per example", "added latency", "p99", "start", "memory"]
"""What of two cells is set against each other: B by A, but ``added latency`` is B less A, in
nanoseconds. ``per example`` is the latency by the batch."""

Outcome = Literal["holds", "fails", "undecided"]
Word = Literal["confirmed", "refuted", "depends", "undecided", "not asked"]


@dataclass(frozen=True)
class Case:
    """Two cells that a claim is about."""

    a: Cell
    b: Cell


@dataclass(frozen=True)
class Claim:
    """What is said, and what would have to be measured if it were so.

    :ivar text: in our own words.
    :ivar asks: what is measured of it, and the range that is meant, for people.
    :ivar names: what A and B are, in a sentence.
    :ivar low: the quantity is above this, ``high``: and below this.
    :ivar cases: of what a board can be asked.
    :ivar needs: engines that it is about, those of a tuple being as good as each other.
    :ivar lacks: why there may be no case although the ways are there.
    :ivar crosses: B overtakes A, or A overtakes B, from some work on: say where.
    """

    key: str
    topic: str
    text: str
    asks: str
    quantity: Quantity
    cases: Callable[[Inventory], Sequence[Case]]
    needs: tuple[tuple[str, ...], ...]
    names: tuple[str, str]
    lacks: str = "there is no model for it here: name some with --model"
    low: float = -math.inf
    high: float = math.inf
    crosses: bool = False


@dataclass(frozen=True)
class Finding:
    """A case that was measured.

    :ivar interval: of B by A, or of B less A.
    :ivar rounds: that it was made of.
    """

    case: Case
    interval: Ratio | Estimate
    outcome: Outcome
    rounds: int


@dataclass(frozen=True)
class Crossing:
    """Where one way overtakes another, in multiply-accumulates of a call.

    :ivar slower: works of the cases in which B clearly takes longer, ``faster``: or less time.
    """

    a: Way
    b: Way
    slower: tuple[float, ...]
    faster: tuple[float, ...]

    @property
    def between(self) -> tuple[float, float] | None:
        """The works that the only crossing lies between; None: there is none, or not only one."""
        if not self.slower or not self.faster:
            return None
        if max(self.slower) < min(self.faster):
            return max(self.slower), min(self.faster)
        if max(self.faster) < min(self.slower):
            return max(self.faster), min(self.slower)
        return None


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    :ivar on: what it depends on, if it does.
    :ivar reason: why it was not asked, or which of its cases were not.
    """

    claim: Claim
    word: Word
    findings: tuple[Finding, ...]
    on: str = ""
    reason: str = ""
    crossings: tuple[Crossing, ...] = ()


def judge(
    claim: Claim, inventory: Inventory, measured: Measured, refused: dict[Cell, str]
) -> Verdict:
    """What the figures make of a claim.

    :param refused: cells that were wanted and could not be measured, and why.
    """
    cases = claim.cases(inventory)
    findings = tuple(f for f in (_finding(claim, case, measured) for case in cases) if f)
    reason = _reason(claim, inventory, cases, findings, measured, refused)
    if not findings:
        return Verdict(claim, "not asked", (), reason=reason)
    outcomes = {finding.outcome for finding in findings}
    crossings = _crossings(findings) if claim.crosses else ()
    if {"holds", "fails"} <= outcomes:
        return Verdict(claim, "depends", findings, _what_on(findings), reason, crossings)
    if "undecided" in outcomes:
        return Verdict(claim, "undecided", findings, "", reason, crossings)
    word: Word = "confirmed" if outcomes == {"holds"} else "refuted"
    return Verdict(claim, word, findings, "", reason, crossings)


def wanted(claims: Sequence[Claim], inventory: Inventory) -> list[Cell]:
    """The cells that the claims are about, each once."""
    return list(
        dict.fromkeys(
            cell for claim in claims for case in claim.cases(inventory) for cell in (case.a, case.b)
        )
    )


def _finding(claim: Claim, case: Case, measured: Measured) -> Finding | None:
    if case.a not in measured or case.b not in measured:
        return None
    a, b = _pairs(claim.quantity, case, measured[case.a], measured[case.b])
    if len(a) < LEAST_ROUNDS:
        return None
    interval: Ratio | Estimate
    if claim.quantity == "added latency":
        interval = stats.mean(np.subtract(b, a), CONFIDENCE)
    else:
        try:
            interval = comparison.of_medians(a, b, ("A", "B")).ratio
        except UsageError:  # a quantity that is 0: nothing can be said of a ratio
            return None
    return Finding(case, interval, _outcome(claim, interval), len(a))


def _pairs(
    quantity: Quantity, case: Case, a: Figures, b: Figures
) -> tuple[list[float], list[float]]:
    """The rounds that have both; a round that was cut off has one alone."""

    def values(cell: Cell, figures: Figures) -> Sequence[float | None]:
        if quantity == "p99":
            return figures.p99_ns
        if quantity == "start":
            return figures.start_ns
        if quantity == "memory":
            return figures.peak_bytes
        if quantity == "per example":
            return [each / cell.batch for each in figures.latency_ns]
        return figures.latency_ns

    # Rounds beyond the shorter side's have no pair.
    both = [
        (ours, theirs)
        for ours, theirs in zip(values(case.a, a), values(case.b, b), strict=False)
        if ours is not None and theirs is not None
    ]
    return [ours for ours, _ in both], [theirs for _, theirs in both]


def _outcome(claim: Claim, interval: Ratio | Estimate) -> Outcome:
    if claim.low < interval.low and interval.high < claim.high:
        return "holds"
    if interval.high < claim.low or claim.high < interval.low:
        return "fails"
    return "undecided"


def _reason(
    claim: Claim,
    inventory: Inventory,
    cases: Sequence[Case],
    findings: Sequence[Finding],
    measured: Measured,
    refused: dict[Cell, str],
) -> str:
    """Why cases are missing; empty if none is."""
    if not cases:
        for engines in claim.needs:
            if not inventory.of(*engines):
                told = [inventory.missing[each] for each in engines if each in inventory.missing]
                return told[0] if told else f"no engine {' or '.join(engines)} here"
        return claim.lacks
    left = len(cases) - len(findings)
    if not left:
        return ""
    cells = [cell for case in cases for cell in (case.a, case.b)]
    why = next((refused[cell] for cell in cells if cell in refused), "")
    if not why:
        whole = all(cell in measured for cell in cells)
        why = (
            f"fewer than {LEAST_ROUNDS} rounds have enough samples for it"
            if whole
            else "the study was cut short, or another question was asked"
        )
    return f"{left} of {len(cases)} cases were not measured: {why}"


ASPECTS: dict[str, Callable[[Case], str]] = {
    "the way it is run": lambda case: " and ".join(
        dict.fromkeys((case.a.way.name, case.b.way.name))
    ),
    "the size of the model": lambda case: case.b.subject.family,
    "the batch": lambda case: f"batch {case.b.batch}",
    "the type of the numbers": lambda case: case.b.subject.variant or "models of no known type",
    "the model": lambda case: case.b.subject.name,
}
"""What cases may differ in -> how it is called in one of them."""

TOGETHER = "the model and the way it is run together"


def _what_on(findings: Sequence[Finding]) -> str:
    """What tells the cases that hold from those that fail; the first that does so alone."""
    decided = [finding for finding in findings if finding.outcome != "undecided"]
    for name, aspect in ASPECTS.items():
        outcomes: dict[str, set[Outcome]] = {}
        for finding in decided:
            outcomes.setdefault(aspect(finding.case), set()).add(finding.outcome)
        if all(len(each) == 1 for each in outcomes.values()):
            return name
    return TOGETHER


def _crossings(findings: Sequence[Finding]) -> tuple[Crossing, ...]:
    """Of each pair of ways."""
    pairs: dict[tuple[Way, Way], tuple[list[float], list[float]]] = {}
    for finding in findings:
        cell = finding.case.b
        slower, faster = pairs.setdefault((finding.case.a.way, cell.way), ([], []))
        work = float(cell.subject.work * cell.batch)
        if finding.interval.low > 1:
            slower.append(work)
        elif finding.interval.high < 1:
            faster.append(work)
    return tuple(
        Crossing(a, b, tuple(slower), tuple(faster)) for (a, b), (slower, faster) in pairs.items()
    )
