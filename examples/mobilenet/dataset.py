"""The digits, 8 x 8, as MobileNetV2 takes them: 48 x 48, three channels, -1 to 1. Needs only numpy.

python -m examples.mobilenet.dataset FOLDER    # heldout.npz and calibration.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from examples.digits import dataset as digits
from examples.digits.dataset import FloatArray

FOLDER = Path(__file__).parent
SIZE = 48
INPUT = "image"


def upscaled(images: FloatArray) -> FloatArray:
    """Bilinear, so that neighbours blend: float32 ``[n, 8, 8, 1]`` in 0..1 to ``[n, 48, 48, 3]``.

    Pixels are areas, and the outermost half of one repeats its own value.
    """
    rows = images.shape[1]
    places = np.clip((np.arange(SIZE) + 0.5) * rows / SIZE - 0.5, 0, rows - 1)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(rows)))
    large = np.einsum("ir,nrc,jc->nij", weights, images[..., 0], weights)
    return np.repeat((2 * large - 1).astype(np.float32)[..., None], 3, axis=3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="dataset", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the two files go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    heldout = digits.load_heldout()
    # Any: numpy 2 would otherwise hold the dictionary against savez's own keyword, a bool.
    arrays: dict[str, Any] = {INPUT: upscaled(heldout.images), "label": heldout.labels}
    np.savez_compressed(folder / "heldout.npz", **arrays)
    arrays = {INPUT: upscaled(digits.load_calibration())}
    np.savez_compressed(folder / "calibration.npz", **arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main())
