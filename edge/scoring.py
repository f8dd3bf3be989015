"""Scoring: how good outputs are, by the labels, and in how far two sets of them say the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import UsageError

_TOP = 5


@dataclass(frozen=True, eq=False)
class Classes:
    """:ivar top1: share of samples whose largest score stands at the label's place.
    :ivar top5: among the five largest; None where there are no more than five classes.
    :ivar confusion: samples by label (row) and prediction (column).
    """

    samples: int
    top1: float
    top5: float | None
    confusion: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Values:
    """Errors of a regression, in the output's unit, over all values of all samples."""

    samples: int
    mean_absolute_error: float
    root_mean_square_error: float
    largest_error: float


Score = Classes | Values


def score(outputs: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Score:
    """Classes if labels are whole numbers, one a sample; values if they are real.

    :param outputs: real numbers, shape ``[n, ...]``. A single score a sample is the probability of
        class 1 of two.
    :raises UsageError: they do not go together.
    """
    count = len(labels)
    if len(outputs) != count:
        raise UsageError(f"{len(outputs)} outputs do not go with {count} labels")
    if labels.dtype.kind in "iub" and labels.reshape(count, -1).shape[1] == 1:
        return _classes(scores(outputs), labels.reshape(count).astype(np.int64))
    if outputs.size != labels.size:
        raise UsageError(
            f"labels of {labels.dtype} {list(labels.shape)} do not go with outputs of "
            f"{list(outputs.shape)}: classes are whole numbers [n], values are like the outputs"
        )
    error = np.abs(outputs.reshape(count, -1) - labels.reshape(count, -1).astype(np.float64))
    return Values(count, float(error.mean()), float(np.sqrt((error**2).mean())), float(error.max()))


def scores(outputs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """A row a sample, a column a class."""
    rows = outputs.reshape(len(outputs), -1).astype(np.float64)
    return np.hstack([1 - rows, rows]) if rows.shape[1] == 1 else rows


def _classes(rows: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Classes:
    count, classes = rows.shape
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"labels {labels.min()} to {labels.max()} do not go with {classes} scores each"
        )
    predicted = rows.argmax(axis=1)
    sound = np.isfinite(rows).all(axis=1)  # numpy calls what is no number the largest
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    best = np.argsort(-rows, axis=1, kind="stable")[:, :_TOP]
    among = (best == labels[:, None]).any(axis=1) & sound
    top5 = float(among.mean()) if classes > _TOP else None
    return Classes(count, float(((predicted == labels) & sound).mean()), top5, confusion)


@dataclass(frozen=True)
class Differing:
    """A sample on which two runs of a model part.

    :ivar here, there: the predicted classes; None for a regression.
    :ivar largest_difference: between its outputs, in the output's unit.
    """

    sample: int
    label: float | None
    here: int | None
    there: int | None
    largest_difference: float


@dataclass(frozen=True)
class Likeness:
    """Two runs over the same samples, the same model.

    :ivar same: samples with the same prediction; None for a regression.
    :ivar exact: samples whose outputs are equal, bit by bit.
    :ivar largest_difference: in the output's unit.
    :ivar differing: samples with another prediction, then those with unequal outputs, the most
        different first.
    """

    samples: int
    same: int | None
    exact: int
    largest_difference: float
    differing: tuple[Differing, ...]


def likeness(
    here: npt.NDArray[Any],
    there: npt.NDArray[Any],
    labels: npt.NDArray[Any] | None,
    *,
    classes: bool,
) -> Likeness:
    """:param here: real numbers, shape ``[n, ...]``; ``there`` too.
    :param classes: outputs are scores of classes.
    """
    count = len(here)
    a, b = here.reshape(count, -1), there.reshape(count, -1)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(equal, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf)).max(axis=1)
    mine, theirs = scores(a).argmax(axis=1), scores(b).argmax(axis=1)
    other = mine != theirs if classes else np.zeros(count, bool)
    found = [int(i) for i in np.lexsort((-apart, ~other)) if apart[i] > 0 or other[i]]
    return Likeness(
        count,
        int(count - other.sum()) if classes else None,
        int((apart == 0).sum()),
        float(apart.max(initial=0.0)),
        tuple(
            Differing(
                i,
                float(labels[i]) if labels is not None and labels[i].ndim == 0 else None,
                int(mine[i]) if classes else None,
                int(theirs[i]) if classes else None,
                float(apart[i]),
            )
            for i in found
        ),
    )
