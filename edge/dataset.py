"""Dataset: samples by a model's input names, and what they should give."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import UsageError
from edge.model import Model, Quantization, Shape
from edge.reference import Arrays

LABELS = ("label", "labels", "target", "targets", "y")
"""Names of the array that says what is right, if the user names none."""


@dataclass(frozen=True)
class Port:
    """An input or output, as far as data must fit it.

    :ivar shape: with the batch as its first axis; -1 for each axis that may be anything.
    :ivar dtype: numpy's name of the type.
    """

    name: str
    shape: Shape
    dtype: str
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Dataset:
    """:ivar arrays: by name, shape ``[n, ...]`` each.
    :ivar labels: shape ``[n]`` for classes, ``[n, ...]`` for values; None if there are none.
    """

    path: Path
    arrays: Arrays
    labels: npt.NDArray[Any] | None

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())


def load(path: Path, label: str | None = None, limit: int = 0) -> Dataset:
    """Read an .npz; its arrays are not pickled ones.

    :param label: name of the array of labels; None: one of ``LABELS``, if there is one.
    :param limit: take so many samples, the first ones; 0: all.
    :raises UsageError: no such file or array, no samples, or different numbers of them.
    """
    if path.suffix != ".npz":
        raise UsageError(f"{path}: a dataset comes as .npz: save it with numpy's np.savez")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UsageError(f"no file {path}: check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise UsageError(f"{path} can't be read ({error}): save it with numpy's np.savez") from None
    if label is not None and label not in arrays:
        raise UsageError(f"{path} has no array '{label}' (it has: {', '.join(arrays)})")
    key = label or next((name for name in LABELS if name in arrays), None)
    labels = None if key is None else arrays.pop(key)
    for name, array in {**arrays, **({} if labels is None else {key or "": labels})}.items():
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise UsageError(f"{path}: array '{name}' is no list of numbers ({array.dtype})")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError(f"{path}: array '{name}' holds values that are no finite numbers")
    if not arrays or not min(len(array) for array in arrays.values()):
        raise UsageError(f"{path} holds no samples")
    if limit:
        arrays = {name: array[:limit] for name, array in arrays.items()}
        labels = None if labels is None else labels[:limit]
    return Dataset(path, arrays, labels)


def fit(data: Dataset, ports: Sequence[Port]) -> Arrays:
    """What the inputs take: arrays of their names, or the only array for an only input.

    Real numbers are quantized for a quantized input; whole numbers become real ones as they are.

    :returns: by input name, with whole batches only.
    :raises UsageError: an array is missing, or has another shape or type.
    """
    fitted = {}
    for port in ports:
        array = data.arrays.get(port.name)
        if array is None and len(ports) == 1 and len(data.arrays) == 1:
            (array,) = data.arrays.values()
        if array is None:
            raise UsageError(
                f"{data.path} has no array '{port.name}' for the model's input of that name "
                f"(it has: {', '.join(data.arrays)})"
            )
        _check_shape(data.path, port, array)
        fitted[port.name] = _encoded(data.path, port, array)
    counts = {name: len(array) for name, array in fitted.items()}
    if data.labels is not None:
        counts["the labels"] = len(data.labels)
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UsageError(f"{data.path} holds different numbers of samples: {said}")
    batch = max((port.shape[0] for port in ports if port.shape), default=1)
    whole = len(data) - len(data) % max(batch, 1)
    if not whole:
        raise UsageError(f"{data.path} holds {len(data)} samples, the model takes {batch} at once")
    return {name: array[:whole] for name, array in fitted.items()}


def _check_shape(path: Path, port: Port, array: npt.NDArray[Any]) -> None:
    wanted, found = port.shape[1:], array.shape[1:]
    fits = len(wanted) == len(found) and all(
        want in (-1, have) for want, have in zip(wanted, found, strict=True)
    )
    if not fits:
        raise UsageError(
            f"{path}: samples of {_text(found)} don't fit the model's input '{port.name}', which "
            f"takes {_text(wanted)}: the array must be {_text((-1, *wanted))}, its first axis the "
            "samples"
        )


def _text(shape: Shape) -> str:
    return "x".join("n" if axis < 0 else str(axis) for axis in shape) or "single numbers"


def _encoded(path: Path, port: Port, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype == port.dtype:
        return array
    wanted = np.dtype(port.dtype)
    if port.quantization is not None and array.dtype.kind == "f":
        return quantized(array, port)
    if wanted.kind == "f" and array.dtype.kind in "biuf":
        return array.astype(wanted)
    if wanted.kind in "iu" and array.dtype.kind in "iu" and port.quantization is None:
        info = np.iinfo(wanted)
        if array.min() >= info.min and array.max() <= info.max:
            return array.astype(wanted)
    raise UsageError(
        f"{path}: {array.dtype} does not fit the model's input '{port.name}' of {port.dtype}"
        + ("; give real numbers, they are quantized" if port.quantization else "")
    )


def quantized(real: npt.NDArray[Any], port: Port) -> npt.NDArray[Any]:
    """To the nearest step, the ends of the range for what lies outside."""
    assert port.quantization is not None
    info = np.iinfo(port.dtype)
    steps = np.round(real / port.quantization.scales[0]) + port.quantization.zero_points[0]
    clipped: npt.NDArray[Any] = np.clip(steps, info.min, info.max).astype(port.dtype)
    return clipped


def dequantized(steps: npt.NDArray[Any], quantization: Quantization | None) -> npt.NDArray[Any]:
    """Real numbers, float64."""
    values = steps.astype(np.float64)
    if quantization is None:
        return values
    return (values - quantization.zero_points[0]) * quantization.scales[0]


def of_specs(specs: Mapping[str, Sequence[Any]]) -> tuple[Port, ...]:
    """Ports as TensorFlow says them: shape with None for what is open, and type, by name."""
    return tuple(
        Port(name, tuple(-1 if axis is None else int(axis) for axis in shape), str(dtype))
        for name, (shape, dtype) in specs.items()
    )


def of_model(read: Model) -> tuple[Port, ...]:
    """The inputs of a .tflite file's main subgraph; an open batch is as in the file."""
    graph = read.subgraphs[0]
    return tuple(
        Port(
            tensor.name,
            (*tensor.shape[:1], *tensor.shape_signature[1:]),
            tensor.dtype,
            tensor.quantization,
        )
        for tensor in (graph.tensors[index] for index in graph.inputs)
    )
