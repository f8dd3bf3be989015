"""Agreement: how near a board's outputs are to the host's reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.errors import BoardError
from edge.reference import Arrays, Reference


@dataclass(frozen=True)
class Agreement:
    """The output that is farthest off, measured by what it is allowed.

    :ivar largest_difference: largest absolute difference over all outputs, in the output's unit.
    :ivar bound: what was allowed.
    """

    model: str
    largest_difference: float
    bound: float

    @property
    def ok(self) -> bool:
        return self.largest_difference <= self.bound


def compare(model: str, got: Arrays, expected: Reference) -> Agreement:
    """Compare outputs.

    Allowed is one part in fifty of the reference's largest value for real outputs, four steps for
    8 and 16 bits, which are quantized, and nothing for wider integers and truth values: kernels for
    different processors round differently, above all where weights are quantized and activations
    are not, but a wrong model or a broken kernel is far outside.

    :raises BoardError: an output is missing or has another shape.
    """
    largest, bound = 0.0, np.inf
    for name, want in expected.outputs.items():
        there = got.get(name)
        if there is None or there.shape != want.shape or there.dtype != want.dtype:
            has = "missing" if there is None else f"{there.dtype} {list(there.shape)}"
            raise BoardError(
                f"{model}: the board's output '{name}' is {has}, on this machine it is "
                f"{want.dtype} {list(want.shape)}; the runtime on the board is not the one deployed"
            )
        if want.size == 0:
            continue
        a, b = got[name].astype(np.float64), want.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            # NaN or infinity on one side only is a difference that no bound allows.
            difference = np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf))
        worst = float(np.max(difference))
        if want.dtype.kind == "b" or (want.dtype.kind in "iu" and want.dtype.itemsize > 2):
            allowed = 0.0
        elif want.dtype.kind in "iu":
            allowed = 4.0
        else:
            allowed = 0.02 * max(float(np.max(np.abs(b), where=np.isfinite(b), initial=0.0)), 1e-6)
        if _excess(worst, allowed) >= _excess(largest, bound):
            largest, bound = worst, allowed
    return Agreement(model, largest, float(bound))


def _excess(difference: float, bound: float) -> float:
    """How far off, as a part of what is allowed."""
    if bound == 0:
        return np.inf if difference else 0.0
    return difference / bound
