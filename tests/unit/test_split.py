"""The split of made-up recordings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edge import report, split
from edge.errors import BoardError
from edge.report import runs as runs_report

ROUNDS, EACH = 10, 5


def series(**at: float) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """Recordings around nanoseconds by ``engine_phase``; every fifth sample is disturbed."""
    random = np.random.default_rng(7)
    found = {}
    for engine in split.ENGINES:
        for phase in split.PHASES:
            values = at.get(f"{engine}_{phase}", 100.0) + random.normal(0, 0.1, ROUNDS * EACH)
            values[::EACH] += 1e6
            found[engine, phase] = values
    return found


def test_binding_is_what_python_adds() -> None:
    found = split.of_samples(
        "m", series(native_call=1000, python_call=1700, native_invoke=900), ROUNDS, identical=True
    )
    parts = {part.phase: part for part in found.parts}
    assert list(parts) == list(split.PHASES)
    call = parts["call"]
    assert call.binding.value == pytest.approx(700, abs=0.3)
    assert call.binding.low < 700.1 and call.binding.high > 699.9
    assert call.binding.high - call.binding.low < 1
    assert parts["invoke"].native.value == pytest.approx(900, abs=0.3)
    assert parts["copy_in"].binding.value == pytest.approx(0, abs=0.3)
    assert len(call.native_rounds_ns) == len(call.python_rounds_ns) == ROUNDS
    assert np.mean(call.python_rounds_ns) == pytest.approx(call.python.value)


def test_the_binding_is_paired_round_by_round() -> None:
    # Both sides slow down together: the difference stays sharp, the sides themselves do not.
    drift = np.repeat(np.linspace(0, 500, ROUNDS), EACH)
    recorded = {key: values + drift for key, values in series(python_call=150).items()}
    call = split.of_samples("m", recorded, ROUNDS, identical=True).parts[-1]
    assert call.native.high - call.native.low > 100
    assert call.binding.high - call.binding.low < 1


@pytest.mark.parametrize("count", [0, ROUNDS * EACH - 1])
def test_a_cut_recording_is_the_boards_failure(count: int) -> None:
    recorded = series()
    recorded["python", "invoke"] = recorded["python", "invoke"][:count]
    with pytest.raises(BoardError, match=f"python invoke has {count} samples"):
        split.of_samples("m", recorded, ROUNDS, identical=True)


def test_estimates_keep_their_sign() -> None:
    found = split.of_samples("m", series(python_copy_in=60), ROUNDS, identical=False)
    assert report.estimate(found.parts[0].binding).startswith("-40.0 [-40.")
    assert report.estimate(found.parts[-1].native).endswith(" ns")
    assert "DIFFERENT" in runs_report.split_lines(found)[0]
    unknown = split.of_samples("m", series(), ROUNDS, identical=None)
    assert "not compared" in runs_report.split_lines(unknown)[0]
