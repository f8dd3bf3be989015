"""Split: what a call of a model from Python is made of, against the same call from C.

Both call the same interpreter in the same process; only the language of the loop differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge import stats
from edge.errors import BoardError
from edge.stats import Estimate

ENGINES = ("native", "python")
PHASES = ("copy_in", "invoke", "copy_out", "call")
"""``call`` is the other three in a row; it is measured by itself, not added up."""

Series = Mapping[tuple[str, str], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Part:
    """One phase of a call, in nanoseconds per call.

    :ivar binding: what Python takes longer than C for the same work, paired round by round.
    :ivar native_rounds_ns: a median of each round, in their order; ``python_rounds_ns`` too.
    """

    phase: str
    native: Estimate
    python: Estimate
    binding: Estimate
    native_rounds_ns: tuple[float, ...] = ()
    python_rounds_ns: tuple[float, ...] = ()


@dataclass(frozen=True)
class Split:
    """The parts in the order of :data:`PHASES`.

    :ivar identical: both sides gave the same outputs, bit for bit; None for a model that keeps
        state, whose outputs can't be compared.
    """

    model: str
    rounds: int
    identical: bool | None
    parts: tuple[Part, ...]


def of_samples(model: str, series: Series, rounds: int, identical: bool | None) -> Split:
    """The split of what was recorded.

    :param series: (engine, phase) -> nanoseconds per call, shape ``[n]``: the rounds one after
        another, equally many samples each.
    :raises BoardError: a series is not made of that many rounds.
    """
    parts = []
    for phase in PHASES:
        native, python = (
            _per_round(series[engine, phase], rounds, f"{engine} {phase}") for engine in ENGINES
        )
        parts.append(
            Part(
                *(phase, stats.mean(native), stats.mean(python), stats.mean(python - native)),
                *(tuple(native.tolist()), tuple(python.tolist())),
            )
        )
    return Split(model, rounds, identical, tuple(parts))


def _per_round(
    latency_ns: npt.NDArray[np.float64], rounds: int, what: str
) -> npt.NDArray[np.float64]:
    """Medians of the rounds, shape ``[rounds]``: one disturbed sample must not move a round."""
    if len(latency_ns) == 0 or len(latency_ns) % rounds:
        raise BoardError(
            f"the recording of {what} has {len(latency_ns)} samples, which are no {rounds} equal "
            "rounds: measure again"
        )
    medians: npt.NDArray[np.float64] = np.median(latency_ns.reshape(rounds, -1), axis=1)
    return medians
