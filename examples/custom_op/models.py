"""Make the models of this example: one function, by a custom operator and by built-in ones.

    python -m examples.custom_op.models            # into models/ here
    python -m examples.custom_op.models --out DIR

Both are committed; this is for whoever changes them. No TensorFlow is needed: what its
converter makes of export.py, an operator's name and options, is written here directly.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import tiny
from examples.custom_op.export import SHAPE, SLOPE, THRESHOLD

HOME = Path(__file__).parent
OPS = HOME / "ops"
MODELS = HOME / "models"


def expected(x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """What both models compute, by NumPy.

    :param x: float32, any shape.
    """
    return np.where(x > np.float32(THRESHOLD), x, np.float32(SLOPE) * x)


def main() -> int:
    parser = argparse.ArgumentParser(prog="models", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=MODELS, help="folder")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, custom in (("custom", True), ("builtin", False)):
        made = tiny.leaky_threshold(THRESHOLD, SLOPE, SHAPE, custom=custom)
        (out / f"{name}.tflite").write_bytes(made)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
