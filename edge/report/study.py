"""What a study found, for people and for programs: every sentence is made of a table's row.

The same blocks become Markdown, for a file, and tables on a terminal.
"""

from __future__ import annotations

import collections
import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge import comparison, report, stats
from edge.cell import Cell, Figures, Subject, Way
from edge.claim import ASPECTS, CONFIDENCE, Case, Claim, Crossing, Finding, Verdict
from edge.questions import TOPICS
from edge.report import runs as runs_report
from edge.split import Split
from edge.stats import Estimate
from edge.study import BUSY, Study

_LABEL = "emulated: it says nothing about a real board"
_MOST_REMARKS = 10
_MOST_CASES = 6
_LONGEST_REASON = 240
_NOUNS = {
    "latency": ("takes", "time"),
    "per example": ("takes", "time for an example"),
    "p99": ("has", "p99"),
    "start": ("has", "cold start"),
    "memory": ("has", "peak memory"),
}
"""Of a quantity: what B does with so many times that of A."""
_PHASES = {
    "copy_in": "copying in",
    "invoke": "invoking",
    "copy_out": "copying out",
    "call": "the call",
}


@dataclass(frozen=True)
class Heading:
    text: str
    level: int


@dataclass(frozen=True)
class Grid:
    """:ivar left: so many columns are text, the others numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int


Block = Heading | Grid | str


def print_study(study: Study) -> None:
    for block in blocks(study):
        if isinstance(block, Grid):
            table = report.table("", block.columns, left=block.left)
            for row in block.rows:
                table.add_row(*row)
            report.print_table(table)
        else:
            report.print_line(block.text if isinstance(block, Heading) else block)


def markdown(study: Study) -> str:
    parts = []
    for block in blocks(study):
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Grid):
            marks = ["---"] * block.left + ["---:"] * (len(block.columns) - block.left)
            lines = [block.columns, marks, *block.rows]
            parts.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
        else:
            parts.append(block)
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


# --- what it consists of --------------------------------------------------------------------------


def blocks(study: Study) -> list[Block]:
    """The report, from its title to how it is made again."""
    label = " (EMULATED)" if study.emulated else ""
    made: list[Block] = [
        Heading(f"{study.board}{label}: what people say, and what was measured", 1),
        f"{study.target}, {study.system or 'of an unknown system'}, {study.measured_at}: "
        f"{len(study.measured)} cells in {study.rounds} rounds, in random order"
        f"{_cut_short(study)}.",
    ]
    if study.emulated:
        made.append(
            "Emulated: no figure and no verdict below says anything about a real board's speed."
        )
    made += [
        "An interval holds the true ratio with "
        f"{100 * CONFIDENCE:g} % confidence; a case is decided only if all of its interval lies on "
        "one side of what the claim says.",
        *([_company(study)] if study.busy else []),
        summary(study),
        Heading("What was asked about", 2),
        _subjects(study.inventory.subjects),
        *(f"Left out: {line}." for line in study.left_out),
        Grid(("way that was measured",), tuple((w.name,) for w in _used(study)), 1),
    ]
    if study.inventory.missing:
        rows = tuple((name, why) for name, why in study.inventory.missing.items())
        made.append(Grid(("not here", "why"), rows, 2))
    if study.refused:
        rows = tuple((cell.name, why) for cell, why in study.refused.items())
        made.append(Grid(("not measured", "why"), rows, 2))
    if study.answers:
        made += [Heading("Do they compute the same?", 2), _answers(study), same(study)]
    for topic, question in TOPICS.items():
        if verdicts := [each for each in study.verdicts if each.claim.topic == topic]:
            made += [Heading(question, 2), *_topic(study, verdicts)]
    if study.remarks:
        made += [
            Heading("Remarks", 2),
            *(f"- {r}" for r in study.remarks[:_MOST_REMARKS]),
        ]
        if (more := len(study.remarks) - _MOST_REMARKS) > 0:
            made.append(f"- and {more} more: `--json` has all of them")
    kept = f"; the rounds are kept as {study.folder}" if study.folder else ""
    return [*made, Heading("Again", 2), f"`{study.command}`{kept}"]


def _cut_short(study: Study) -> str:
    if not 0 < study.rounds < study.most:
        return ""
    return (
        f"; of the {study.most} asked for, the next would have ended later than after "
        f"{study.longest_s / 60:.3g} minutes (`--longest`)"
    )


def _company(study: Study) -> str:
    """What other programs did on the board, looked at before each round."""
    share = f"{100 * stats.median(study.busy):.0f} % (from {100 * min(study.busy):.0f} to "
    share += f"{100 * max(study.busy):.0f} %) of the processors"
    if study.emulated:
        share += ", as the emulated board sees them"
    if max(study.busy) < BUSY:
        return f"The board was quiet: other programs took {share}."
    return (
        f"Other programs ran meanwhile: before the rounds they took {share}. That makes intervals "
        "wider, and leaves more undecided, than on a quiet board."
    )


def summary(study: Study) -> Grid:
    """A claim a row."""
    rows = tuple(
        (each.claim.text, word(each), how_much(each) or each.reason) for each in study.verdicts
    )
    label = ", emulated" if study.emulated else ""
    return Grid(("what people say", f"verdict{label}", "by how much"), rows, 3)


def _subjects(found: Sequence[Subject]) -> Grid:
    rows = tuple(
        (each.name, report.size(each.path.stat().st_size), report.count(each.work))
        for each in found
    )
    return Grid(("model", "size", "multiply-accumulates"), rows, 1)


def _answers(study: Study) -> Grid:
    """An answer a row."""
    rows = []
    for each in study.answers:
        found = each.agreement
        rows.append(
            (
                each.subject.name,
                each.way.name,
                "no answer" if found is None else "same" if found.ok else "DIFFERENT",
                "" if found is None else f"{found.largest_difference:.2g}",
                "" if found is None else f"{found.bound:.2g}",
            )
        )
    return Grid(("model", "way", "answer", "largest difference", "allowed"), tuple(rows), 3)


def same(study: Study) -> str:
    """How many of the answers agree, and of those in whole numbers how many to the last step."""
    found = [(each.subject, each.agreement) for each in study.answers if each.agreement]
    fit = sum(agreement.ok for _, agreement in found)
    text = (
        f"{fit} of {len(study.answers)} answers agree with this machine's reference within what is "
        "allowed: 2 % of the largest value, or 4 steps of int8"
    )
    if whole := [agreement for one, agreement in found if one.variant == "int8"]:
        exact = sum(agreement.largest_difference == 0 for agreement in whole)
        text += f". Of {len(whole)} int8 answers {exact} are the same to the last step"
    for each in study.answers:
        if each.why:
            text += f". {each.subject.name}, {each.way.name}: {_short(each.why)}"
    return f"{text}."


def _used(study: Study) -> list[Way]:
    cells = [*study.measured, *study.refused]
    return [way for way in study.inventory.ways if any(cell.way == way for cell in cells)]


def _topic(study: Study, verdicts: Sequence[Verdict]) -> list[Block]:
    cells = dict.fromkeys(
        cell
        for verdict in verdicts
        for finding in verdict.findings
        for cell in (finding.case.a, finding.case.b)
    )
    made: list[Block] = []
    whole = [cell for cell in cells if not cell.phase]
    if whole:
        made.append(_figures(study, whole))
    pairs = dict.fromkeys(
        (c.way, c.subject) for c in cells if c.phase and (c.way, c.subject) in study.splits
    )
    if pairs:
        made.append(_parts([(way, study.splits[way, one]) for way, one in pairs]))
    for verdict in verdicts:
        made += _claim(study, verdict)
    return made


def _figures(study: Study, cells: Sequence[Cell]) -> Grid:
    """A cell a row."""
    found = [study.measured[cell] for cell in cells]
    batches = any(cell.batch != 1 for cell in cells)
    collections = any(figures.collections is not None for figures in found)
    columns = ["model", "way", *(["batch"] if batches else []), "delegated"]
    numbers = ["median of rounds [95 % bounds]", "p99", "cold start", "peak memory"]
    rows = []
    for cell, figures in zip(cells, found, strict=True):
        rows.append(
            (
                cell.subject.name,
                cell.way.name,
                *([str(cell.batch)] if batches else []),
                figures.delegated,
                _median(figures),
                _p99(figures),
                report.duration(stats.median(figures.start_ns)),
                report.size(stats.median(figures.peak_bytes)),
                *([_ran(figures)] if collections else []),
            )
        )
    more = ["collector ran"] if collections else []
    return Grid((*columns, *numbers, *more), tuple(rows), len(columns))


def _median(figures: Figures) -> str:
    found = stats.percentile(figures.latency_ns, 0.5)
    return report.interval(found) or report.duration(stats.median(figures.latency_ns))


def _p99(figures: Figures) -> str:
    """Of the rounds that support one; blank if none does."""
    known = [each for each in figures.p99_ns if each is not None]
    return report.duration(stats.median(known)) if known else ""


def _ran(figures: Figures) -> str:
    return "off" if figures.collections is None else f"{figures.collections} times"


def _parts(splits: Sequence[tuple[Way, Split]]) -> Grid:
    """What a call is made of: a part a row."""
    rows = []
    for way, split in splits:
        for part in split.parts:
            both = (report.estimate(each) for each in (part.native, part.python, part.binding))
            rows.append((split.model, way.runtime, _PHASES[part.phase], *both))
    columns = (
        "model",
        "build",
        "part",
        "from C [95 %]",
        "from Python [95 %]",
        "Python adds [95 %]",
    )
    return Grid(columns, tuple(rows), 3)


# --- a claim --------------------------------------------------------------------------------------


def _claim(study: Study, verdict: Verdict) -> list[Block]:
    made: list[Block] = [
        Heading(f"“{verdict.claim.text}”", 3),
        f"Asked: {verdict.claim.asks}.",
    ]
    if verdict.findings:
        made.append(_cases(verdict))
    return [*made, f"**{sentence(verdict, emulated=study.emulated)}**"]


def _cases(verdict: Verdict) -> Grid:
    rows = tuple(
        (*sides(each.case), interval(verdict.claim, each), str(each.rounds), each.outcome)
        for each in verdict.findings
    )
    what = "B less A" if verdict.claim.quantity == "added latency" else "B / A"
    return Grid(("", "A", "B", f"{what} [{100 * CONFIDENCE:g} %]", "rounds", "the claim"), rows, 3)


def sides(case: Case) -> tuple[str, str, str]:
    """What both cells have in common; what tells A apart; and B."""
    a, b = case.a, case.b
    words: list[tuple[str, str]] = [
        (a.subject.name, b.subject.name),
        (f"batch {a.batch}", f"batch {b.batch}"),
        (_PHASES.get(a.phase, ""), _PHASES.get(b.phase, "")),
        (a.way.name, b.way.name),
    ]
    common = [ours for ours, theirs in words if ours == theirs and ours not in ("", "batch 1")]
    apart = [pair for pair in words if pair[0] != pair[1]]
    return (
        ", ".join(common),
        ", ".join(ours for ours, _ in apart),
        ", ".join(theirs for _, theirs in apart),
    )


def interval(claim: Claim, finding: Finding) -> str:
    """``1.61 [1.55, 1.67]``, or a time where A is taken from B."""
    found = finding.interval
    if isinstance(found, Estimate):
        return report.estimate(found)
    return f"{_four(found.value)} [{_four(found.low)}, {_four(found.high)}]"


def _four(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 1000 else f"{ratio:.4g}"


def word(verdict: Verdict) -> str:
    """``depends on the size of the model``."""
    return f"depends on {verdict.on}" if verdict.word == "depends" else verdict.word


def how_much(verdict: Verdict) -> str:
    """``Python takes 1.9 to 5.6 times the time of C in 8 cases: holds in 5, fails in 3``; empty
    without a case."""
    if not verdict.findings:
        return ""
    low = min(finding.interval.low for finding in verdict.findings)
    high = max(finding.interval.high for finding in verdict.findings)
    a, b = verdict.claim.names
    if verdict.claim.quantity == "added latency":
        text = f"{b} adds {_signed(low)} to {_signed(high)}"
    else:
        verb, noun = _NOUNS[verdict.claim.quantity]
        text = f"{b} {verb} {comparison.bounds(low, high)} times the {noun} of {a}"
    counts: collections.Counter[str] = collections.Counter(f.outcome for f in verdict.findings)
    told = [
        f"{words} {counts[outcome]}"
        for outcome, words in (("holds", "holds in"), ("fails", "fails in"))
        if counts[outcome]
    ]
    told += [f"{counts['undecided']} undecided"] if counts["undecided"] else []
    cases = len(verdict.findings)
    return f"{text} in {cases} case{'' if cases == 1 else 's'}: {', '.join(told)}"


def _signed(nanoseconds: float) -> str:
    return ("-" if nanoseconds < 0 else "") + report.duration(abs(nanoseconds))


def sentence(verdict: Verdict, *, emulated: bool) -> str:
    """What may be quoted."""
    text = word(verdict)
    parts = [text[0].upper() + text[1:]]
    if much := how_much(verdict):
        parts[0] += f": {much}"
    elif verdict.reason:
        parts[0] += f": {_short(verdict.reason)}"
    if verdict.word == "depends":
        parts += [f"It holds for {_those(verdict, 'holds')}, not for {_those(verdict, 'fails')}"]
    parts += [crossing(each) for each in verdict.crossings]
    if verdict.reason and verdict.findings:
        parts.append(_short(verdict.reason))
    if emulated and verdict.findings:
        parts.append(_LABEL[0].upper() + _LABEL[1:])
    return " ".join(f"{part.rstrip('.')}." for part in parts)


def _short(reason: str) -> str:
    """What a runtime says may be long: the table of what was not measured has all of it."""
    return textwrap.shorten(reason, _LONGEST_REASON, placeholder=" …")


def _those(verdict: Verdict, outcome: str) -> str:
    """The cases with that outcome, by what the verdict depends on."""
    aspect = ASPECTS.get(verdict.on, _named)
    found = [each.case for each in verdict.findings if each.outcome == outcome]
    names = list(dict.fromkeys(aspect(case) for case in found))
    more = f" and {len(names) - _MOST_CASES} more" if len(names) > _MOST_CASES else ""
    return "; ".join(names[:_MOST_CASES]) + more


def _named(case: Case) -> str:
    common, a, b = sides(case)
    return f"{common} ({b} by {a})" if common else f"{b} by {a}"


def crossing(found: Crossing) -> str:
    """Where B overtakes A, or A overtakes B; or that none does here."""
    names = f"{found.b.name} (B) and {found.a.name} (A)"
    if found.between is not None:
        low, high = (report.count(work) for work in found.between)
        first = "B" if max(found.faster) < min(found.slower) else "A"
        return (
            f"{names} cross between {low} and {high} multiply-accumulates a call: {first} is the "
            "faster below, and the slower above"
        )
    if found.slower and found.faster:
        return f"{names} do not cross at one size: more than the work decides"
    if found.slower or found.faster:
        return f"{names} do not cross here: {'A' if found.slower else 'B'} is always the faster"
    return f"{names}: which is the faster is undecided at every size"


# --- for programs ---------------------------------------------------------------------------------


def study_json(study: Study) -> dict[str, Any]:
    """Everything that the report is made of."""
    return {
        **{
            key: getattr(study, key)
            for key in ("board", "target", "system", "emulated", "measured_at", "command")
        },
        "rounds": study.rounds,
        "rounds_asked": study.most,
        "busy": list(study.busy),
        "folder": study.folder,
        "models": [
            {"name": each.name, "multiply_accumulates": each.work, "file": each.path.name}
            for each in study.inventory.subjects
        ],
        "left_out": list(study.left_out),
        "missing": dict(study.inventory.missing),
        "cells": [
            {**_cell_json(cell), **dataclasses.asdict(figures)}
            for cell, figures in study.measured.items()
        ],
        "refused": [{**_cell_json(cell), "why": why} for cell, why in study.refused.items()],
        "answers": [
            {
                "model": each.subject.name,
                "way": dataclasses.asdict(each.way),
                "agreement": None if each.agreement is None else dataclasses.asdict(each.agreement),
                "ok": each.agreement is not None and each.agreement.ok,
                "why": each.why,
            }
            for each in study.answers
        ],
        "splits": [
            {"runtime": way.runtime, **runs_report.split_json(split)}
            for (way, _), split in study.splits.items()
        ],
        "claims": [_verdict_json(each, emulated=study.emulated) for each in study.verdicts],
        "remarks": list(study.remarks),
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        "name": cell.name,
        "model": cell.subject.name,
        "batch": cell.batch,
        "phase": cell.phase,
        "way": dataclasses.asdict(cell.way),
    }


def _verdict_json(verdict: Verdict, *, emulated: bool) -> dict[str, Any]:
    claim = verdict.claim
    bounds = [None if abs(bound) == float("inf") else bound for bound in (claim.low, claim.high)]
    return {
        "key": claim.key,
        "topic": claim.topic,
        "text": claim.text,
        "asks": claim.asks,
        "quantity": claim.quantity,
        "above": bounds[0],
        "below": bounds[1],
        "verdict": verdict.word,
        "depends_on": verdict.on,
        "reason": verdict.reason,
        "emulated": emulated,
        "sentence": sentence(verdict, emulated=emulated),
        "cases": [
            {
                "a": each.case.a.name,
                "b": each.case.b.name,
                "value": each.interval.value,
                "low": each.interval.low,
                "high": each.interval.high,
                "rounds": each.rounds,
                "outcome": each.outcome,
            }
            for each in verdict.findings
        ],
    }
