"""edge_numpy: the operators that a generated forward pass calls, and an interpreter around it.

This file goes to the board. It needs Python 3.9 and numpy. Tensors are NHWC, as TFLite has them.

Quantized operators compute in whole numbers: products are summed by the matrix product of floats
wide enough to hold every sum exactly, because that one is fast, and results are rescaled in fixed
point as TFLite's reference kernels do it (tensorflow/lite/kernels/internal/common.h).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

__version__ = np.__version__

Array = Any  # numpy.typing is not in what is sent along


# --- real numbers ---------------------------------------------------------------------------------


def clamp(x: Array, low: float | None, high: float | None) -> Array:
    """A fused activation; None: no bound."""
    if high is not None:
        return np.clip(x, low, high)
    return x if low is None else np.maximum(x, low)


def matrix(weights: Array) -> Array:
    """``[channels, ...]`` -> float32 ``[..., channels]`` for a matrix product."""
    flat = weights.reshape(len(weights), -1).astype(np.float32)
    return np.ascontiguousarray(flat.T)


def scaled(weights: Array, scales: Array, zero_points: Array, axis: int) -> Array:
    """Quantized weights as float32; scales per tensor, or along ``axis``."""
    shape = [1] * weights.ndim
    shape[axis] = -1
    if len(scales) == 1:
        shape = [1]
    steps = weights.astype(np.float32) - zero_points.astype(np.float32).reshape(shape)
    return steps * scales.astype(np.float32).reshape(shape)


def rows(x: Array, depth: int, keep: bool) -> Array:
    """What a dense layer multiplies: ``[n, depth]``, or all axes but the last kept."""
    return x if keep else x.reshape(-1, depth)


def fully_connected(
    x: Array, weights: Array, bias: Array, low: float | None, high: float | None, keep: bool
) -> Array:
    y = rows(x, len(weights), keep) @ weights
    return clamp(y if bias is None else y + bias, low, high)


def before_and_after(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding of one axis so that there are ceil(size / stride) results (TensorFlow's SAME)."""
    reach = (window - 1) * dilation + 1
    missing = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return missing // 2, missing - missing // 2


def padded(x: Array, size: Any, stride: Any, dilation: Any, same: bool, value: float = 0) -> Array:
    if not same:
        return x
    height = before_and_after(x.shape[1], size[0], stride[0], dilation[0])
    width = before_and_after(x.shape[2], size[1], stride[1], dilation[1])
    if not any((*height, *width)):
        return x
    shape = (x.shape[0], x.shape[1] + sum(height), x.shape[2] + sum(width), x.shape[3])
    y = np.full(shape, value, x.dtype)
    y[:, height[0] : height[0] + x.shape[1], width[0] : width[0] + x.shape[2]] = x
    return y


def windows(x: Array, size: Any, stride: Any, dilation: Any) -> Array:
    """A view ``[n, rows, columns, height, width, channels]`` of all windows; copies nothing."""
    high = (x.shape[1] - (size[0] - 1) * dilation[0] - 1) // stride[0] + 1
    wide = (x.shape[2] - (size[1] - 1) * dilation[1] - 1) // stride[1] + 1
    n, down, right, channel = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], high, wide, *size, x.shape[3]),
        (
            *(n, down * stride[0], right * stride[1]),
            *(down * dilation[0], right * dilation[1], channel),
        ),
        writeable=False,
    )


def products(x: Array, weights: Array, size: Any, stride: Any, dilation: Any) -> Array:
    """Sums of a convolution without padding: its windows as rows of one matrix product."""
    if size == (1, 1):
        return x[:, :: stride[0], :: stride[1]] @ weights
    found = windows(x, size, stride, dilation)
    return found.reshape(*found.shape[:3], len(weights)) @ weights


def conv_2d(
    x: Array,
    weights: Array,
    bias: Array,
    size: Any,
    stride: Any,
    dilation: Any,
    same: bool,
    low: float | None,
    high: float | None,
) -> Array:
    y = products(padded(x, size, stride, dilation, same), weights, size, stride, dilation)
    return clamp(y if bias is None else y + bias, low, high)


def taps(x: Array, weights: Array, stride: Any, dilation: Any) -> Array:
    """Sums of a depthwise convolution without padding, tap by tap.

    :param weights: shape ``[height, width, channels * multiplier]``.
    """
    height, width, channels = weights.shape
    if channels != x.shape[3]:
        x = np.repeat(x, channels // x.shape[3], axis=3)
    found = windows(x, (height, width), stride, dilation)
    y = found[:, :, :, 0, 0] * weights[0, 0]
    for row in range(height):
        for column in range(width):
            if row or column:
                y += found[:, :, :, row, column] * weights[row, column]
    return y


def depthwise_conv_2d(
    x: Array,
    weights: Array,
    bias: Array,
    size: Any,
    stride: Any,
    dilation: Any,
    same: bool,
    low: float | None,
    high: float | None,
) -> Array:
    y = taps(padded(x, size, stride, dilation, same), weights, stride, dilation)
    return clamp(y if bias is None else y + bias, low, high)


def max_pool_2d(
    x: Array, size: Any, stride: Any, same: bool, low: float | None, high: float | None
) -> Array:
    least = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
    found = windows(padded(x, size, stride, (1, 1), same, least), size, stride, (1, 1))
    y = found[:, :, :, 0, 0].copy()
    for row in range(size[0]):
        for column in range(size[1]):
            np.maximum(y, found[:, :, :, row, column], out=y)
    return clamp(y, low, high)


def sums(x: Array, size: Any, stride: Any, same: bool) -> tuple[Array, Array]:
    """Of every window, and of how many elements; padding does not count."""
    ones = np.ones((1, *x.shape[1:3], 1), x.dtype)
    parts = []
    for each in (x, ones):
        found = windows(padded(each, size, stride, (1, 1), same), size, stride, (1, 1))
        parts.append(found.sum(axis=(3, 4), dtype=x.dtype))
    return parts[0], parts[1]


def average_pool_2d(
    x: Array, size: Any, stride: Any, same: bool, low: float | None, high: float | None
) -> Array:
    total, count = sums(x, size, stride, same)
    return clamp(total / count, low, high)


def mean(x: Array, axes: Any, keep: bool) -> Array:
    return x.mean(axis=axes, keepdims=keep)


def add(a: Array, b: Array, low: float | None, high: float | None) -> Array:
    return clamp(a + b, low, high)


def sub(a: Array, b: Array, low: float | None, high: float | None) -> Array:
    return clamp(a - b, low, high)


def mul(a: Array, b: Array, low: float | None, high: float | None) -> Array:
    return clamp(a * b, low, high)


def concatenation(parts: Any, axis: int, low: float | None, high: float | None) -> Array:
    return clamp(np.concatenate(parts, axis=axis), low, high)


def softmax(x: Array, beta: float) -> Array:
    y = np.exp((x - x.max(axis=-1, keepdims=True)) * np.float32(beta))
    return y / y.sum(axis=-1, keepdims=True)


def logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def pad(x: Array, widths: Any, value: float) -> Array:
    return np.pad(x, widths, constant_values=value)


def quantize(x: Array, scale: float, zero_point: int, dtype: str) -> Array:
    """Rounded half away from zero, and clamped, as TFLite does it."""
    steps = x / np.float32(scale)
    info = np.iinfo(dtype)
    away = np.trunc(steps + np.copysign(np.float32(0.5), steps)) + zero_point
    return np.clip(away, info.min, info.max).astype(dtype)


def dequantize(x: Array, scale: float, zero_point: int) -> Array:
    return (x.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


# --- whole numbers --------------------------------------------------------------------------------


def fixed_point(multiplier: Array, shift: Array) -> tuple[Array, Array, Array, Array]:
    """``multiplier / 2^31 * 2^shift``, per tensor or per channel, ready for :func:`rescaled`."""
    left, right = np.maximum(shift, 0), np.maximum(-np.asarray(shift, np.int64), 0)
    half = np.where(right > 0, np.left_shift(1, np.maximum(right - 1, 0)), 0)
    return np.asarray(multiplier, np.int64) << left, half, np.where(right > 0, -1, 0), right


def rescaled(sums: Array, scale: Any) -> Array:
    """int64 ``sums`` times ``scale``, rounded twice as gemmlowp does it: the high half of the
    doubled product half up, then the shift to the right half away from zero."""
    multiplier, half, shifted, right = scale
    high = sums * multiplier
    high += 1 << 30
    high >>= 31
    negative = (high >> 63) & shifted
    high += half
    high += negative
    high >>= right
    return high


def exact(weights: Array, zero_points: Array, axis: int, reach: int) -> Array:
    """Quantized weights as floats that hold each sum of products exactly.

    :param reach: how many products make a sum.
    """
    shape = [1] * weights.ndim
    shape[axis] = -1
    steps = weights.astype(np.float64)
    steps -= zero_points.reshape(shape if len(zero_points) > 1 else [1])
    # An input is at most 255 steps from its zero point.
    most = reach * 255 * max(1.0, float(np.abs(steps).max(initial=0)))
    return steps.astype(np.float32 if most < 2**24 else np.float64)


def exact_matrix(weights: Array, zero_points: Array, reach: int) -> Array:
    """``[channels, ...]`` -> ``[..., channels]`` for a matrix product."""
    made = exact(weights, zero_points, 0, reach).reshape(len(weights), -1)
    return np.ascontiguousarray(made.T)


def steps_of(x: Array, zero_point: int, like: Array) -> Array:
    """``x`` without its zero point, in the floats of the weights ``like``."""
    return x.astype(like.dtype) - like.dtype.type(zero_point)


def finished(
    sums: Array, bias: Array, scale: Any, zero: int, low: int, high: int, dtype: str
) -> Array:
    whole = sums.astype(np.int64)
    if bias is not None:
        whole += bias
    y = rescaled(whole, scale)
    y += zero
    return np.clip(y, low, high).astype(dtype)


def fully_connected_q(
    x: Array, weights: Array, bias: Array, keep: bool, zero_in: int, finish: Any
) -> Array:
    """:param finish: the last arguments of :func:`finished`."""
    found = rows(steps_of(x, zero_in, weights), len(weights), keep) @ weights
    return finished(found, bias, *finish)


def conv_2d_q(
    x: Array,
    weights: Array,
    bias: Array,
    size: Any,
    stride: Any,
    dilation: Any,
    same: bool,
    zero_in: int,
    finish: Any,
) -> Array:
    steps = padded(steps_of(x, zero_in, weights), size, stride, dilation, same)
    return finished(products(steps, weights, size, stride, dilation), bias, *finish)


def depthwise_conv_2d_q(
    x: Array,
    weights: Array,
    bias: Array,
    size: Any,
    stride: Any,
    dilation: Any,
    same: bool,
    zero_in: int,
    finish: Any,
) -> Array:
    steps = padded(steps_of(x, zero_in, weights), size, stride, dilation, same)
    return finished(taps(steps, weights, stride, dilation), bias, *finish)


def average_pool_2d_q(x: Array, size: Any, stride: Any, same: bool, low: int, high: int) -> Array:
    total, count = sums(x.astype(np.int64), size, stride, same)
    return np.clip(divided(total, count), low, high).astype(x.dtype)


def divided(total: Array, count: Array) -> Array:
    """Rounded half away from zero."""
    return np.sign(total) * ((np.abs(total) + count // 2) // count)


def mean_q(x: Array, axes: Any, keep: bool, zero_in: int, scale: Any, zero_out: int) -> Array:
    count = int(np.prod([x.shape[axis] for axis in axes]))
    total = (x.astype(np.int64) - zero_in).sum(axis=axes, keepdims=keep)
    info = np.iinfo(x.dtype)
    y = divided(rescaled(total, scale), np.int64(count)) + zero_out
    return np.clip(y, info.min, info.max).astype(x.dtype)


def looked_up(table: Array, x: Array) -> Array:
    """``table[q]`` for every 8-bit ``q``; a table begins with the least of the type."""
    return table[x.astype(np.int16) - np.iinfo(x.dtype).min]


def all_steps(dtype: str) -> Array:
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1, dtype=np.int64)


def add_table(dtype: str, zero_in: int, scale: Any) -> Array:
    """What one side of a sum becomes, 20 bits up."""
    return rescaled((all_steps(dtype) - zero_in) << 20, scale)


def add_q(a: Array, b: Array, tables: Any, scale: Any, zero: int, low: int, high: int) -> Array:
    total = looked_up(tables[0], a) + looked_up(tables[1], b)
    return np.clip(rescaled(total, scale) + zero, low, high).astype(a.dtype)


def mul_q(a: Array, b: Array, zeros: Any, scale: Any, zero: int, low: int, high: int) -> Array:
    product = (a.astype(np.int64) - zeros[0]) * (b.astype(np.int64) - zeros[1])
    return np.clip(rescaled(product, scale) + zero, low, high).astype(a.dtype)


def rescale_table(
    dtype: str, zero_in: int, scale: Any, zero: int, low: int, high: int, to: str
) -> Array:
    """For what goes from one scale to another: RELU and RELU6, QUANTIZE of what is quantized."""
    y = rescaled(all_steps(dtype) - zero_in, scale) + zero
    return np.clip(y, low, high).astype(to)


def logistic_table(dtype: str, scale: float, zero_in: int, scale_out: float, zero: int) -> Array:
    reals = (all_steps(dtype) - zero_in).astype(np.float32) * np.float32(scale)
    return quantize(logistic(reals), scale_out, zero, dtype)


def softmax_table(scale: float, beta: float) -> Array:
    """exp of every distance to the largest, 0 to 255 steps."""
    return np.exp(np.arange(256, dtype=np.float32) * np.float32(-scale * beta))


def softmax_q(x: Array, table: Array, scale_out: float, zero: int) -> Array:
    wide = x.astype(np.int64)
    y = table[wide.max(axis=-1, keepdims=True) - wide]
    y = y / (y.sum(axis=-1, keepdims=True, dtype=np.float32) * np.float32(scale_out))
    info = np.iinfo(x.dtype)
    return np.clip(np.rint(y).astype(np.int64) + zero, info.min, info.max).astype(x.dtype)


# --- the interpreter ------------------------------------------------------------------------------


class Interpreter:
    """A forward pass that edge wrote for a model: ``numpy/NAME.py`` beside the folder of models.

    Its inputs may have other shapes than the file's, as far as numpy follows them.
    """

    def __init__(
        self, model_path: str, num_threads: int, engine: str, signature: str | None, *_: object
    ) -> None:
        path = Path(model_path)
        written = path.absolute().parents[1] / "numpy" / f"{path.name}.py"
        spec = importlib.util.spec_from_file_location("edge_forward", written)
        if spec is None or spec.loader is None or not written.exists():
            raise ValueError(f"{written} is missing: deploy again")
        self._code = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._code)
        if signature in self._code.OTHER_SIGNATURES:
            raise ValueError(
                f"signature '{signature}' has a subgraph of its own, and the first one alone was "
                "written: use --engine python or tflite"
            )
        with np.load(written.with_suffix(".npz"), allow_pickle=False) as data:
            self._forward = self._code.make(data)
        self._inputs = {d["index"]: dict(d) for d in self._code.INPUTS}
        self._outputs = {d["index"]: dict(d) for d in self._code.OUTPUTS}
        self._given: dict[int, Array] = {}
        self._results: dict[int, Array] = {}

    def get_signature_list(self) -> dict[str, Any]:
        return {key: 0 for key in self._code.SIGNATURES}

    def _get_full_signature_list(self) -> dict[str, Any]:
        return dict(self._code.SIGNATURES)

    def get_input_details(self) -> list[dict[str, Any]]:
        return [dict(each) for each in self._inputs.values()]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [dict(each) for each in self._outputs.values()]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return self.get_input_details() + self.get_output_details()

    def resize_tensor_input(self, index: int, shape: Any) -> None:
        self._inputs[index]["shape"] = np.array(shape)

    def allocate_tensors(self) -> None:
        """Nothing is allocated ahead."""

    def set_tensor(self, index: int, array: Array) -> None:
        self._given[index] = array

    def call(self) -> Any:
        """The whole forward pass, from arrays to arrays; what an application calls."""
        return self._forward(*self._given.values())

    def invoke(self) -> None:
        self._given = {index: self._given[index] for index in self._inputs}
        for index, array in zip(self._outputs, self.call()):  # noqa: B905 (Python 3.9)
            self._outputs[index]["shape"] = np.array(array.shape)
            self._results[index] = array

    def get_tensor(self, index: int) -> Array:
        return self._results[index]
