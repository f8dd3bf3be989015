from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge import agreement
from edge.errors import BoardError
from edge.reference import Reference


def f32(values: list[Any]) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def f64(values: list[Any]) -> npt.NDArray[np.float64]:
    return np.array(values, np.float64)


def i8(values: list[Any]) -> npt.NDArray[np.int8]:
    return np.array(values, np.int8)


def expected(**outputs: npt.ArrayLike) -> Reference:
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    return Reference(Path("x"), {}, arrays, "test")


def test_equal_outputs_agree_exactly() -> None:
    found = agreement.compare("m", {"y": f32([1, 2])}, expected(y=f32([1, 2])))
    assert (found.largest_difference, found.ok) == (0.0, True)


def test_the_bound_is_a_fiftieth_of_the_largest_value() -> None:
    want = expected(y=f64([-10.0, 1.0]))
    assert agreement.compare("m", {"y": f64([-10.0, 1.19])}, want).ok
    assert not agreement.compare("m", {"y": f64([-10.0, 1.21])}, want).ok


def test_quantized_outputs_may_be_four_steps_apart() -> None:
    want = expected(y=i8([-128, 100]))
    assert agreement.compare("m", {"y": i8([-124, 100])}, want).ok
    assert not agreement.compare("m", {"y": i8([-123, 100])}, want).ok
    # The difference of two int8 does not fit into an int8.
    assert not agreement.compare("m", {"y": i8([127, 100])}, want).ok


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_])
def test_whole_numbers_and_truth_values_are_equal_or_wrong(dtype: npt.DTypeLike) -> None:
    want = expected(y=np.array([0, 1], dtype))
    assert agreement.compare("m", {"y": np.array([0, 1], dtype)}, want).ok
    assert not agreement.compare("m", {"y": np.array([1, 1], dtype)}, want).ok


def test_the_output_farthest_beyond_its_own_bound_is_reported() -> None:
    want = expected(a=f32([100.0]), b=f32([0.001]))
    found = agreement.compare("m", {"a": f32([101.0]), "b": f32([0.01])}, want)
    assert not found.ok
    assert found.largest_difference == pytest.approx(0.009)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_not_a_number_never_agrees_with_a_number(broken: float) -> None:
    want = expected(y=f32([1, 2]))
    assert not agreement.compare("m", {"y": f32([1, broken])}, want).ok


def test_the_same_not_a_number_on_both_sides_agrees() -> None:
    same = f32([1, np.nan, np.inf])
    assert agreement.compare("m", {"y": same}, expected(y=same)).ok


@pytest.mark.parametrize(
    "got",
    [{}, {"z": f32([1])}, {"y": f32([[1]])}, {"y": f64([1])}],
)
def test_other_outputs_than_expected_are_the_boards_failure(
    got: dict[str, npt.NDArray[Any]],
) -> None:
    with pytest.raises(BoardError, match="'y'"):
        agreement.compare("m", got, expected(y=f32([1])))
