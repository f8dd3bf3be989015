"""How good outputs are, and whether two sets of them say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge import scoring
from edge.errors import UsageError
from edge.scoring import Classes, Values


def one_hot(*classes: int, of: int = 7) -> npt.NDArray[Any]:
    return np.eye(of)[list(classes)]


def test_top1_top5_and_confusion() -> None:
    outputs = np.vstack([one_hot(0, 1, 1), np.arange(7.0)[None], np.arange(7.0)[None]])
    found = scoring.score(outputs, np.array([0, 1, 2, 2, 1]))
    assert isinstance(found, Classes)
    assert found.top1 == 2 / 5
    # Of 0..6 the five largest are 2..6: the fourth is among them, the fifth is not; of the third,
    # whose others are equal, the first ones count.
    assert found.top5 == 4 / 5
    assert found.confusion[2, 1] == 1 and found.confusion[2, 6] == 1
    assert found.confusion.sum() == 5


def test_few_classes_have_no_top5() -> None:
    found = scoring.score(one_hot(0, 1, of=5), np.array([0, 0]))
    assert isinstance(found, Classes) and found.top5 is None


def test_a_score_that_is_no_number_is_wrong() -> None:
    outputs = one_hot(3)
    outputs[0, 3] = np.nan  # numpy's argmax
    found = scoring.score(outputs, np.array([3]))
    assert isinstance(found, Classes) and (found.top1, found.top5) == (0.0, 0.0)


def test_a_single_probability_is_of_class_one() -> None:
    found = scoring.score(np.array([[0.9], [0.2], [0.7]]), np.array([1, 0, 0]))
    assert isinstance(found, Classes)
    assert found.confusion.tolist() == [[1, 1], [0, 1]]


def test_values() -> None:
    found = scoring.score(np.array([[1.0], [2.0], [7.0]]), np.array([1.0, 4.0, 3.0]))
    assert isinstance(found, Values)
    assert found.mean_absolute_error == 2.0
    assert found.root_mean_square_error == pytest.approx(np.sqrt(20 / 3))
    assert found.largest_error == 4.0


@pytest.mark.parametrize(
    "outputs, labels, said",
    [
        (one_hot(1, 2), np.array([1]), "2 outputs do not go with 1 labels"),
        (one_hot(1, 2), np.array([1, 7]), "labels 1 to 7 do not go with 7 scores"),
        (one_hot(1, 2), np.array([-1, 1]), "labels -1 to 1 do not go"),
        (one_hot(1, 2), np.array([0.5, 0.5]), r"labels of float64 \[2\] do not go with outputs of"),
    ],
)
def test_what_does_not_go_together(
    outputs: npt.NDArray[Any], labels: npt.NDArray[Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        scoring.score(outputs, labels)


def test_likeness_names_other_predictions_first_then_the_farthest() -> None:
    here = np.array([[0.9, 0.1], [0.8, 0.2], [0.51, 0.49], [1.0, 0.0]])
    there = np.array([[0.9, 0.1], [0.6, 0.4], [0.49, 0.51], [0.9, 0.1]])
    found = scoring.likeness(here, there, np.array([0, 0, 1, 0]), classes=True)
    assert (found.samples, found.same, found.exact) == (4, 3, 1)
    assert found.largest_difference == pytest.approx(0.2)
    assert [each.sample for each in found.differing] == [2, 1, 3]
    first = found.differing[0]
    assert (first.label, first.here, first.there) == (1.0, 0, 1)


def test_likeness_of_values() -> None:
    found = scoring.likeness(
        np.array([[1.0], [2.0]]), np.array([[1.0], [2.5]]), None, classes=False
    )
    assert (found.same, found.exact, found.largest_difference) == (None, 1, 0.5)
    assert [(e.sample, e.here, e.label) for e in found.differing] == [(1, None, None)]


def test_infinity_on_one_side_is_a_difference_and_on_both_none() -> None:
    here, there = np.array([[np.inf], [np.nan], [1.0]]), np.array([[np.inf], [np.nan], [np.inf]])
    found = scoring.likeness(here, there, None, classes=False)
    assert [each.sample for each in found.differing] == [2]
