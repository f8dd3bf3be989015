"""What converting and evaluating found, for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from edge.convert import Conversion
from edge.evaluation import Evaluation
from edge.inspection import Delegation
from edge.layers import Parting
from edge.report import size, table
from edge.scoring import Classes, Differing, Score, Values

_MOST_CLASSES = 12
"""Of a confusion matrix that is printed whole."""
_MOST_PAIRS = 8
_MOST_DIFFERING = 10
_MOST_LAYERS = 24


# --- convert --------------------------------------------------------------------------------------


def conversion_table(made: Conversion, taken: Mapping[str, Delegation]) -> Table:
    """:param taken: what delegates took, by the variant's name."""
    columns = ["file", "size", "largest difference"]
    scored = made.score is not None
    columns += [*_score_columns(made.score), "nodes delegated", "in float"]
    found = table(f"{made.source.path}, {made.samples} samples", columns)
    found.columns[-1].justify = "left"
    found.add_row("the source", size(made.source.size_bytes), "", *_score_cells(made.score), "", "")
    for variant in made.variants:
        delegation = taken.get(variant.name)
        found.add_row(
            str(variant.path),
            size(variant.size_bytes),
            "" if variant.largest_difference is None else f"{variant.largest_difference:.2g}",
            *(_score_cells(variant.score) if variant.score else [""] * 2 * scored),
            "" if delegation is None else _taken(delegation),
            ", ".join(f"{count} {name}" for name, count in variant.in_float.items()),
        )
    return found


def _score_columns(score: Score | None) -> list[str]:
    if score is None:
        return []
    return ["top-1", "top-5"] if isinstance(score, Classes) else ["mean error", "largest error"]


def _score_cells(score: Score | None) -> list[str]:
    if score is None:
        return []
    if isinstance(score, Values):
        return [f"{score.mean_absolute_error:.4g}", f"{score.largest_error:.4g}"]
    return [_share(score.top1), "" if score.top5 is None else _share(score.top5)]


def _share(part: float) -> str:
    return f"{100 * part:.2f} %"


def _taken(found: Delegation) -> str:
    taken = "?" if found.nodes_delegated is None else str(found.nodes_delegated)
    return f"{taken} of {found.nodes_total}"


def conversion_lines(made: Conversion, board: str) -> list[str]:
    quantized = [variant for variant in made.variants if variant.in_float]
    return [
        f"samples: {made.judged_by}",
        f"largest difference: to the source's own outputs, which go up to {made.range:.3g}",
        *([f"nodes delegated: by the runtime of {board}"] if board else []),
        *(
            ["in float: operators that stayed real, between quantized ones; they cost conversions"]
            if quantized
            else []
        ),
        *(f"{v.name} was not run here: {v.refusal}" for v in made.variants if v.refusal),
        f"made by {made.made_by}; source sha256 {made.source.sha256}",
    ]


def conversion_json(made: Conversion, taken: Mapping[str, Delegation]) -> dict[str, Any]:
    return {
        "source": {**dataclasses.asdict(made.source), "path": str(made.source.path)},
        "made_by": made.made_by,
        "samples": made.samples,
        "judged_by": made.judged_by,
        "range": made.range,
        "score": _score_json(made.score),
        "variants": [
            {
                "name": variant.name,
                "path": str(variant.path),
                "size_bytes": variant.size_bytes,
                "largest_difference": variant.largest_difference,
                "score": _score_json(variant.score),
                "in_float": dict(variant.in_float),
                "refusal": variant.refusal,
                "delegation": dataclasses.asdict(taken[variant.name])
                if variant.name in taken
                else None,
            }
            for variant in made.variants
        ],
    }


def _score_json(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    if isinstance(score, Values):
        return dataclasses.asdict(score)
    return {
        "samples": score.samples,
        "top1": score.top1,
        "top5": score.top5,
        "confusion": score.confusion.tolist(),
    }


# --- evaluate -------------------------------------------------------------------------------------


def evaluation_lines(found: Evaluation) -> list[str]:
    like = found.likeness
    label = " (EMULATED)" if found.emulated else ""
    where = f"{found.model} on {found.board}{label}, {found.runtime}: {found.samples} samples"
    lines = [where, *_score_lines(found)]
    if like.same is not None:
        lines.append(f"the same prediction as here: {like.same} of {like.samples}")
    steps = "" if found.step is None else f", {like.largest_difference / found.step:.0f} steps"
    return [
        *lines,
        f"the same output, bit by bit: {like.exact} of {like.samples}; largest difference "
        f"{like.largest_difference:.2g}{steps}",
        f"here: {found.interpreter} on this machine; judged by output '{found.output}'",
    ]


def _score_lines(found: Evaluation) -> list[str]:
    there, here = found.score, found.score_here
    if isinstance(there, Classes) and isinstance(here, Classes):
        top5 = "" if there.top5 is None else f", top-5 {_share(there.top5)}"
        lines = [f"top-1 {_share(there.top1)}{top5} (here: {_share(here.top1)})"]
        if there.confusion.shape[0] > _MOST_CLASSES:
            lines += [f"most confused: {line}" for line in _pairs(there, found.labels)]
        return lines
    if isinstance(there, Values) and isinstance(here, Values):
        return [
            f"mean absolute error {there.mean_absolute_error:.4g} (here: "
            f"{here.mean_absolute_error:.4g}), root mean square {there.root_mean_square_error:.4g},"
            f" largest {there.largest_error:.4g}"
        ]
    return ["no labels: agreement only"]


def _named(number: int, labels: Sequence[str]) -> str:
    return labels[number] if number < len(labels) else str(number)


def _pairs(score: Classes, labels: Sequence[str]) -> list[str]:
    wrong = score.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    found = [tuple(map(int, np.unravel_index(i, wrong.shape))) for i in order]
    return [
        f"{_named(a, labels)} taken for {_named(b, labels)}: {wrong[a, b]}"
        for a, b in found
        if wrong[a, b]
    ]


def confusion_table(found: Evaluation) -> Table | None:
    """Rows are labels, columns predictions; None without, or with too many classes for a page."""
    score = found.score
    if not isinstance(score, Classes) or score.confusion.shape[0] > _MOST_CLASSES:
        return None
    names = [_named(i, found.labels) for i in range(score.confusion.shape[0])]
    made = table("label (row), prediction (column)", ["", *names])
    for name, row in zip(names, score.confusion, strict=True):
        made.add_row(name, *(str(count) if count else "·" for count in row))
    return made


def differing_table(found: Evaluation) -> Table | None:
    """The samples that differ, those with another prediction first; None if there are none."""
    each = found.likeness.differing
    if not each:
        return None
    shown = each[:_MOST_DIFFERING]
    title = "samples that differ" + ("" if len(shown) == len(each) else f", {len(each)} in all")
    made = table(title, ["sample", "label", "here", "there", "largest difference"])
    for one in shown:
        made.add_row(str(one.sample), *_said(one, found.labels), f"{one.largest_difference:.3g}")
    return made


def _said(one: Differing, labels: Sequence[str]) -> list[str]:
    if one.here is None or one.there is None:
        return ["" if one.label is None else f"{one.label:.4g}", "", ""]
    label = "" if one.label is None else _named(int(one.label), labels)
    return [label, _named(one.here, labels), _named(one.there, labels)]


def layers_table(found: Parting) -> Table:
    """Node by node as they run; of a long network, those that add the most to the difference."""
    shown = list(found.layers)
    if len(shown) > _MOST_LAYERS:
        unequal = [layer for layer in shown if layer.unequal]
        kept = sorted(unequal, key=lambda layer: -layer.added)[:_MOST_LAYERS]
        shown = [layer for layer in shown if layer in kept or layer == found.first]
    made = table(
        f"results of {len(shown)} of {len(found.layers)} nodes, {len(found.samples)} samples",
        [
            "node",
            "operator",
            "result",
            "unequal",
            "largest difference",
            "steps",
            "relative",
            "added",
        ],
    )
    made.columns[1].justify = made.columns[2].justify = "left"
    for layer in shown:
        made.add_row(
            str(layer.node),
            layer.operator,
            layer.name.rstrip(";").rpartition(";")[2][-40:],
            _share(layer.unequal / layer.elements) if layer.unequal else "none",
            f"{layer.largest_difference:.2g}" if layer.unequal else "",
            "" if layer.largest_steps is None else f"{layer.largest_steps:.0f}",
            _part(layer.relative) if layer.unequal else "",
            _part(layer.added) if layer.unequal and layer.added > 0 else "",
        )
    return made


def layers_lines(found: Parting) -> list[str]:
    first, worst = found.first, found.worst
    count = len(found.samples)
    caveat = (
        f"with every result fetched, the outputs are those of the model itself for "
        f"{found.as_model} of {count} samples"
    )
    if first is None or worst is None:
        return [f"all results are equal, bit by bit, in all {len(found.layers)} nodes", caveat]
    return [
        f"they part first at node {first.node}, {first.operator}; node {worst.node}, "
        f"{worst.operator}, adds the most: {_part(worst.added)} of its values, by root mean square",
        caveat,
    ]


def _part(share: float) -> str:
    return f"{100 * share:.2g} %"


def evaluation_json(found: Evaluation, parting: Parting | None) -> dict[str, Any]:
    plain = {
        field.name: getattr(found, field.name)
        for field in dataclasses.fields(found)
        if field.name not in ("score", "score_here", "likeness")
    }
    return {
        **plain,
        "score": _score_json(found.score),
        "score_here": _score_json(found.score_here),
        "likeness": dataclasses.asdict(found.likeness),
        "layers": None if parting is None else dataclasses.asdict(parting),
    }
