"""The digits example as committed: held-out images, their labels, and eight models.

Only numpy is needed: what a model takes and gives is recorded beside it, in ``accuracies.json``,
so nothing here opens a ``.tflite`` file. ``train.py`` writes all of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent
HELDOUT_FILE = "heldout.npz"
CALIBRATION_FILE = "calibration.npz"
RECORD_FILE = "accuracies.json"
MODELS_FOLDER = "models"

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Heldout:
    """Images that no model was trained or calibrated on.

    ``images`` is float32 ``[n, 8, 8, 1]`` with values in 0..1, ``labels`` is int64 ``[n]`` with
    values in 0..9. Both arrays are read-only.
    """

    images: FloatArray
    labels: LabelArray


@dataclass(frozen=True)
class TensorFacts:
    """A model's input or output: its tensor name, numpy dtype name and shape, batch included.

    ``scale`` and ``zero_point`` are None for a tensor of floats; otherwise
    ``real = (stored - zero_point) * scale``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None

    def __post_init__(self) -> None:
        integer = np.issubdtype(np.dtype(self.dtype), np.integer)
        if integer != (self.scale is not None) or integer != (self.zero_point is not None):
            raise ValueError(
                f"tensor {self.name!r}: {self.dtype} with scale {self.scale} and zero point "
                f"{self.zero_point}; integers need both, floats take neither"
            )

    def quantize(self, values: FloatArray) -> npt.NDArray[Any]:
        """Real numbers in the form that this tensor stores them, out-of-range ones clipped."""
        if self.scale is None or self.zero_point is None:
            return values.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        stored = np.round(values / np.float32(self.scale)) + np.float32(self.zero_point)
        clipped: npt.NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(self.dtype)
        return clipped

    def dequantize(self, stored: npt.NDArray[Any]) -> FloatArray:
        """The real numbers, as float32, that values stored in this tensor stand for."""
        if self.scale is None or self.zero_point is None:
            return stored.astype(np.float32)
        # Widened first: int8 - zero_point overflows int8.
        steps = stored.astype(np.int32) - self.zero_point
        return (steps * self.scale).astype(np.float32)


@dataclass(frozen=True)
class DigitsModel:
    """One ``.tflite`` file and what was recorded about it when it was converted.

    ``name`` is the file's stem (such as ``cnn-int8``); ``accuracy`` is the share of held-out
    images, 0..1, whose highest score was the right digit.
    """

    name: str
    path: Path
    sha256: str
    size_bytes: int
    accuracy: float
    input: TensorFacts
    output: TensorFacts

    def encode(self, images: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        """Images as this model takes them.

        ``images`` is ``[n, ...]`` of floats in 0..1, 64 to the image in row order: ``[n, 8, 8, 1]``
        and ``[n, 64]`` both do. Gives ``[n, *input.shape[1:]]`` in ``input.dtype``; a quantized
        model's values are ``round(x / scale) + zero_point``, clipped to the dtype's range. One
        row of it is one inference.

        Raises ValueError for images that are not floats or not of the model's size.
        """
        wanted = self.input.shape[1:]
        if images.dtype.kind != "f":
            # The raw data set counts 0..16 in integers; taken for 0..1 it would just be wrong.
            raise ValueError(f"{self.name}: images must be floats in 0..1, not {images.dtype}")
        if math.prod(images.shape[1:]) != math.prod(wanted):
            raise ValueError(
                f"{self.name}: images of shape {list(images.shape)} do not fit "
                f"[n, {', '.join(map(str, wanted))}]"
            )
        values = images.astype(np.float32, copy=False).reshape(len(images), *wanted)
        return self.input.quantize(values)

    def decode(self, raw: npt.NDArray[Any]) -> FloatArray:
        """Scores as float32, of the same shape as ``raw``: what the model gave, ``[..., 10]``.

        A score is near the probability of its digit; ``decode(raw).argmax(-1)`` is the digit.

        Raises ValueError if the dtype or the last dimension of ``raw`` is not the output's.
        """
        classes = self.output.shape[-1]
        if raw.dtype != np.dtype(self.output.dtype):
            raise ValueError(
                f"{self.name}: the output's dtype is {self.output.dtype}, not {raw.dtype}"
            )
        if raw.ndim < 1 or raw.shape[-1] != classes:
            raise ValueError(
                f"{self.name}: an output of {list(raw.shape)} does not end in {classes} scores"
            )
        return self.output.dequantize(raw)


def load_heldout(folder: Path = FOLDER) -> Heldout:
    """The held-out split out of ``folder``: 360 images and labels, see :class:`Heldout`.

    Raises FileNotFoundError if the file is missing, KeyError if an array is missing from it.
    """
    with np.load(folder / HELDOUT_FILE, allow_pickle=False) as arrays:
        images: FloatArray = arrays["image"]
        labels: LabelArray = arrays["label"]
    # So that a slip such as `images *= 255` fails instead of quietly changing the data.
    images.flags.writeable = False
    labels.flags.writeable = False
    return Heldout(images, labels)


def load_calibration(folder: Path = FOLDER) -> FloatArray:
    """Images out of the training set: float32 ``[300, 8, 8, 1]`` in 0..1."""
    with np.load(folder / CALIBRATION_FILE, allow_pickle=False) as arrays:
        images: FloatArray = arrays["image"]
    return images


def models(folder: Path = FOLDER) -> tuple[DigitsModel, ...]:
    """All recorded models in ``folder``, in the order of the record.

    The model files themselves are not opened. Raises FileNotFoundError if the record is missing,
    KeyError or ValueError if it is not what ``train.py`` writes.
    """
    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    return tuple(
        DigitsModel(
            name=str(entry["name"]),
            path=folder / MODELS_FOLDER / f"{entry['name']}.tflite",
            sha256=str(entry["sha256"]),
            size_bytes=int(entry["size_bytes"]),
            accuracy=float(entry["accuracy"]),
            input=_tensor(entry["input"]),
            output=_tensor(entry["output"]),
        )
        for entry in record["models"]
    )


def _tensor(entry: Mapping[str, Any]) -> TensorFacts:
    scale, zero_point = entry["scale"], entry["zero_point"]
    return TensorFacts(
        name=str(entry["name"]),
        dtype=str(entry["dtype"]),
        shape=tuple(int(size) for size in entry["shape"]),
        scale=None if scale is None else float(scale),
        zero_point=None if zero_point is None else int(zero_point),
    )
