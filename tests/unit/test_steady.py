"""Where warming up ends, where nothing ends, and where there is nothing to find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edge import steady

Values = npt.NDArray[np.float64]


def level(seed: int, count: int) -> Values:
    return np.random.default_rng(seed).normal(100, 1, count)


@pytest.mark.parametrize("count", [200, 1000, 30_000])
def test_a_level_run_is_steady_from_the_beginning(count: int) -> None:
    found = [steady.since(level(seed, count)) for seed in range(200)]
    assert sum(at is None for at in found) == 0
    assert np.mean([at for at in found if at is not None]) < 0.03 * count


@pytest.mark.parametrize("count", [200, 1000, 30_000])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_end_of_warming_up_is_found(count: int, share: float) -> None:
    warm = int(share * count)
    found = []
    for seed in range(50):
        values = level(seed, count)
        values[:warm] += 4
        found.append(steady.since(values))
    at = np.array([each for each in found if each is not None])
    assert len(at) >= 0.95 * len(found)
    # A block too few or many; now and then a little more of the rest is cut off.
    assert np.all(at >= warm - max(5, count // 200))
    assert np.median(at) <= warm + max(5, count // 200) and np.all(at <= warm + 0.2 * count)


CHANGES: dict[str, Callable[[Values], Values]] = {
    "drifts": lambda values: values * np.linspace(1, 1.2, len(values)),
    "speeds up late": lambda values: values * np.where(np.arange(len(values)) < 700, 1.1, 1),
    "slows down late": lambda values: values * np.where(np.arange(len(values)) < 700, 1, 1.1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_never_settles_is_said_to(change: str) -> None:
    for seed in range(50):
        assert steady.since(CHANGES[change](level(seed, 1000))) is None


def test_a_change_of_less_than_a_hundredth_is_none() -> None:
    values = level(1, 1000) / 100 + 1000
    values[700:] += 0.5
    assert steady.since(values) == 0


def test_outliers_are_not_warming_up() -> None:
    for seed in range(50):
        values = level(seed, 1000)
        values[np.random.default_rng(seed).integers(0, 1000, 20)] *= 1000
        found = steady.since(values)
        assert found is not None and found <= 150


def test_too_few_to_tell() -> None:
    assert steady.since([]) == 0
    assert steady.since(np.linspace(1, 9, steady.LEAST - 1)) == 0
    assert steady.since([7.0] * 500) == 0
