"""Forward: a model's forward pass as a NumPy function, written from its .tflite.

What is written is what a person would write by hand: one line per operator, calling the functions
of ``edge/ways/numpy.py``, and a file with the weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import artifact, layout, model
from edge.artifact import Artifact
from edge.errors import UsageError
from edge.model import Operator, Subgraph, Tensor

Array = npt.NDArray[Any]

FOLDER = "numpy"
"""Of a release: the written functions and their weights."""

_ACTIVATIONS: dict[int, tuple[float | None, float | None]] = {
    0: (None, None),
    1: (0.0, None),  # RELU
    2: (-1.0, 1.0),  # RELU_N1_TO_1
    3: (0.0, 6.0),  # RELU6
}
"""Fused ones by the schema's number: bounds."""

_EIGHT_BITS = ("int8", "uint8")
_BELOW = 31  # bits of a fixed-point multiplier


class _Unsupported(Exception):
    """What of an operator can't be written."""


def files(models: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """The code and the weights of each model, for a release.

    :raises UsageError: an operator that has no NumPy here; the message names it and its node.
    """
    found = []
    for each in models:
        folder = _written(each)
        name = PurePosixPath(each.place).name
        for part in (f"{name}.py", f"{name}.npz"):
            found.append(artifact.of_file(folder / part, f"{FOLDER}/{part}"))
    return tuple(found)


def _written(of: Artifact) -> Path:
    name = PurePosixPath(of.place).name
    program = artifact.hash_file(Path(__file__))[:16]
    folder = layout.cache_dir() / "forward" / f"{of.sha256}-{program}-{_digest(name)}"
    if not folder.is_dir():
        code, weights = write(of.path, name, of.sha256)
        with layout.exclusive(folder.parent, lambda line: None), layout.published(folder) as part:
            (part / f"{name}.py").write_text(code, encoding="utf-8")
            np.savez(part / f"{name}.npz", **weights)
    return folder


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(path: Path, name: str, sha256: str) -> tuple[str, dict[str, Array]]:
    """Python code, and the arrays that it takes.

    :param name: of the model, for the code's first line.
    :raises UsageError: the model has an operator, or a kind of one, that can't be written.
    """
    writer = _Writer(model.read(path).subgraphs[0], model.constants(path))
    graph = writer.graph
    inputs = [f"    {_details(graph, i)}," for i in graph.inputs]
    outputs = [f"    {_details(graph, i)}," for i in graph.outputs]
    for number, operator in enumerate(graph.operators):
        try:
            writer.write(operator)
        except _Unsupported as error:
            raise UsageError(
                f"{path}: engine numpy can't run node {number}, "
                f"{operator.custom or operator.name}: {error}; use --engine python, tflite or "
                "litert"
            ) from None
    arguments = ", ".join(f"t{i}" for i in graph.inputs)
    results = "".join(f"t{i}, " for i in graph.outputs)
    everything = model.read(path).signatures
    signatures = {
        each.key: {"inputs": each.inputs, "outputs": each.outputs}
        for each in everything
        if each.subgraph == 0
    }
    others = [each.key for each in everything if each.subgraph != 0]
    code = [
        f'"""The forward pass of {name} in NumPy.',
        "",
        f'Written by edge from the file with sha256 {sha256}."""',
        "",
        "import numpy as np",
        "import edge_numpy as k",
        "",
        "INPUTS = [",
        *inputs,
        "]",
        "OUTPUTS = [",
        *outputs,
        "]",
        f"SIGNATURES = {signatures!r}",
        f"OTHER_SIGNATURES = {others!r}  # of subgraphs that are not written here",
        "",
        "",
        "def make(data):",
        '    """Make the weights ready, once; the function that uses them."""',
        *(f"    {line}" for line in writer.ready),
        "",
        f"    def forward({arguments}):",
        *(f"        {line}" for line in writer.lines),
        f"        return {results.rstrip() or '()'}",
        "",
        "    return forward",
        "",
    ]
    return "\n".join(code), writer.data


def _details(graph: Subgraph, index: int) -> str:
    """As the interpreter of TFLite has them."""
    tensor = graph.tensors[index]
    if tensor.dtype not in model.NUMPY:
        raise UsageError(
            f"'{tensor.name}' is made of {tensor.dtype}s, which edge doesn't carry: take the part "
            "of the model that works on numbers"
        )
    scale, zero = _scale(tensor) if _one_scale(tensor) else (0.0, 0)
    return (
        f'{{"name": {tensor.name!r}, "index": {index}, "dtype": np.{_numpy_name(tensor.dtype)}, '
        f'"shape": np.array({list(tensor.shape)}, np.int32), '
        f'"shape_signature": np.array({list(tensor.shape_signature)}, np.int32), '
        f'"quantization": ({scale!r}, {zero})}}'
    )


def _numpy_name(dtype: str) -> str:
    return "bool_" if dtype == "bool" else dtype


def _one_scale(tensor: Tensor) -> bool:
    return tensor.quantization is not None and len(tensor.quantization.scales) == 1


def _scale(tensor: Tensor) -> tuple[float, int]:
    """Of a tensor that is quantized as a whole."""
    found = tensor.quantization
    if found is None or len(found.scales) != 1:
        raise _Unsupported(f"'{tensor.name}' has no scale of its own")
    return found.scales[0], int(found.zero_points[0]) if found.zero_points else 0


def fixed_point(real: float) -> tuple[int, int]:
    """Multiplier of 31 bits and power of two, as TFLite's QuantizeMultiplier has them
    (tensorflow/lite/kernels/internal/quantization_util.cc)."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * (1 << _BELOW) + 0.5)
    if multiplier == 1 << _BELOW:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -_BELOW else (multiplier, shift)


def _bounds(activation: int) -> tuple[float | None, float | None]:
    if activation not in _ACTIVATIONS:
        raise _Unsupported(f"its fused activation is number {activation} of the schema")
    return _ACTIVATIONS[activation]


def _steps(activation: int, tensor: Tensor) -> tuple[int, int]:
    """Bounds in the steps of a quantized output."""
    scale, zero = _scale(tensor)
    info = np.iinfo(tensor.dtype)
    low, high = _bounds(activation)

    def step(real: float) -> int:
        at = np.float32(real) / np.float32(scale)
        return zero + math.floor(float(abs(at)) + 0.5) * (1 if at >= 0 else -1)

    return (
        max(int(info.min), info.min if low is None else step(low)),
        min(int(info.max), info.max if high is None else step(high)),
    )


@dataclass
class _Writer:
    """The function's text, line by line.

    :ivar data: weights by name.
    :ivar ready: lines that make them ready once.
    :ivar lines: of the function itself.
    :ivar known: constant tensor -> name of the variable that holds it.
    """

    graph: Subgraph
    constants: dict[int, Array]
    data: dict[str, Array] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    known: dict[int, str] = field(default_factory=dict)

    def write(self, operator: Operator) -> None:
        write = _WRITERS.get(operator.name)
        if write is None:
            raise _Unsupported(f"its operators are {', '.join(sorted(_WRITERS))}")
        for tensor in (*self.ins(operator), *self.graph.output_tensors(operator)):
            if tensor.dtype in ("int16", "int4", "int2") and tensor.quantization is not None:
                raise _Unsupported(f"'{tensor.name}' is quantized to {tensor.dtype}")
        write(self, operator)

    def ins(self, operator: Operator) -> tuple[Tensor, ...]:
        return self.graph.input_tensors(operator)

    def out(self, operator: Operator) -> Tensor:
        return self.graph.tensors[operator.outputs[0]]

    def quantized(self, operator: Operator) -> bool:
        """Whether it computes in 8 bits: by its output, and all of its inputs must agree."""
        first = self.graph.tensors[operator.inputs[0]]
        out = self.out(operator)
        eight = first.dtype in _EIGHT_BITS and first.quantization is not None
        if eight != (out.dtype in _EIGHT_BITS and out.quantization is not None):
            raise _Unsupported(f"it goes from {first.dtype} to {out.dtype}")
        if not eight and first.dtype not in ("float32", "int32", "int64"):
            raise _Unsupported(f"its input is {first.dtype}")
        return eight

    def say(self, operator: Operator, function: str, *arguments: object) -> None:
        """A line of the function; arguments as they are written."""
        text = ", ".join(map(str, arguments))
        shape = "x".join(map(str, self.out(operator).shape))
        self.lines.append(f"t{operator.outputs[0]} = k.{function}({text})  # {shape}")

    def of(self, index: int) -> str:
        """The variable that a tensor is in."""
        if index in self.known:
            return self.known[index]
        if index in self.constants:
            return self.make(f"t{index}", f'data["c{index}"]', {f"c{index}": self.constants[index]})
        return f"t{index}"

    def make(self, name: str, text: str, data: dict[str, Array]) -> str:
        """A variable that is made ready once."""
        self.data.update(data)
        line = f"{name} = {text}"
        if line not in self.ready:
            self.ready.append(line)
        return name

    def numbers(self, operator: Operator, position: int) -> Array:
        """A constant input that the line is written with, such as axes."""
        index = operator.inputs[position] if len(operator.inputs) > position else -1
        if index not in self.constants:
            raise _Unsupported(f"its input {position} must be a constant")
        return self.constants[index]

    def weights(self, index: int, make: Callable[[str], str], kind: str) -> str:
        """Weights, made ready: real, or as exact floats."""
        if index not in self.constants:
            raise _Unsupported("its weights must be constants")
        name = f"{kind}{index}"
        return self.make(name, make(f'data["c{index}"]'), {f"c{index}": self.constants[index]})

    def real(self, index: int, source: str) -> str:
        """Weights as real numbers, if they are quantized."""
        tensor = self.graph.tensors[index]
        if tensor.quantization is None:
            return source
        scales = np.array(tensor.quantization.scales, np.float32)
        zeros = np.array(tensor.quantization.zero_points or (0,), np.int64)
        self.data.update({f"s{index}": scales, f"z{index}": zeros})
        axis = tensor.quantization.axis
        return f'k.scaled({source}, data["s{index}"], data["z{index}"], {axis})'

    def bias(self, operator: Operator) -> str:
        index = operator.inputs[2] if len(operator.inputs) > 2 else -1
        return "None" if index < 0 else self.of(index)

    def scale(self, operator: Operator, reals: Sequence[float]) -> str:
        """A fixed-point scale, made ready."""
        pairs = np.array([fixed_point(real) for real in reals], np.int64)
        name, index = f"f{operator.outputs[0]}", operator.outputs[0]
        if len(pairs) == 1:
            return self.make(name, f"k.fixed_point({pairs[0, 0]}, {pairs[0, 1]})", {})
        data = {f"m{index}": pairs[:, 0], f"r{index}": pairs[:, 1]}
        return self.make(name, f'k.fixed_point(data["m{index}"], data["r{index}"])', data)

    def finish(self, operator: Operator) -> str:
        """The last arguments of edge_numpy.finished, for what has weights."""
        x, w, out = *self.ins(operator)[:2], self.out(operator)
        assert w.quantization is not None
        scale_in, (scale_out, zero) = _scale(x)[0], _scale(out)
        scales = w.quantization.scales
        low, high = _steps(operator.options["FusedActivationFunction"], out)
        reals = [scale_in * scale / scale_out for scale in scales]
        fixed = self.scale(operator, reals)
        return f'({fixed}, {zero}, {low}, {high}, "{out.dtype}")'


# --- one function per operator --------------------------------------------------------------------


def _exact(writer: _Writer, index: int, axis: int, reach: int, function: str) -> str:
    tensor = writer.graph.tensors[index]
    if tensor.quantization is None or tensor.dtype not in _EIGHT_BITS:
        raise _Unsupported(f"its weights are {tensor.dtype}, its input is quantized")
    if len(tensor.quantization.scales) > 1 and tensor.quantization.axis != axis:
        raise _Unsupported(f"its weights have scales along axis {tensor.quantization.axis}")
    zeros = np.array(tensor.quantization.zero_points or (0,), np.int64)
    where = "" if function == "exact_matrix" else f", {axis}"
    writer.data[f"z{index}"] = zeros
    return writer.weights(
        index, lambda source: f'k.{function}({source}, data["z{index}"]{where}, {reach})', "w"
    )


def _fully_connected(writer: _Writer, operator: Operator) -> None:
    x, index = writer.of(operator.inputs[0]), operator.inputs[1]
    if operator.options["WeightsFormat"]:
        raise _Unsupported("its weights are shuffled")
    keep = bool(operator.options["KeepNumDims"])
    if writer.quantized(operator):
        depth = writer.graph.tensors[index].shape[-1]
        weights = _exact(writer, index, 0, depth, "exact_matrix")
        zero = _scale(writer.ins(operator)[0])[1]
        writer.say(
            *(operator, "fully_connected_q", x, weights, writer.bias(operator), keep, zero),
            writer.finish(operator),
        )
        return
    weights = _real_matrix(writer, index)
    low, high = _bounds(operator.options["FusedActivationFunction"])
    writer.say(
        *(operator, "fully_connected", x, weights, writer.bias(operator), low, high, keep),
    )


def _real_matrix(writer: _Writer, index: int) -> str:
    if index in writer.known:  # made real numbers already
        return writer.make(f"w{index}", f"k.matrix({writer.known[index]})", {})
    return writer.weights(index, lambda s: f"k.matrix({writer.real(index, s)})", "w")


def _places(operator: Operator) -> tuple[str, str, bool]:
    """Stride, dilation and whether edges are padded, as they are written."""
    options = operator.options
    stride = (options["StrideH"], options["StrideW"])
    dilation = (options.get("DilationHFactor", 1), options.get("DilationWFactor", 1))
    return repr(stride), repr(dilation), options["Padding"] == 0


def _conv_2d(writer: _Writer, operator: Operator) -> None:
    x, index = writer.of(operator.inputs[0]), operator.inputs[1]
    shape = writer.graph.tensors[index].shape
    if shape[3] != writer.ins(operator)[0].shape[3]:
        raise _Unsupported("it is grouped")
    places = (repr(shape[1:3]), *_places(operator))
    if writer.quantized(operator):
        weights = _exact(writer, index, 0, math.prod(shape[1:]), "exact_matrix")
        zero = _scale(writer.ins(operator)[0])[1]
        writer.say(
            *(operator, "conv_2d_q", x, weights, writer.bias(operator), *places, zero),
            writer.finish(operator),
        )
        return
    low, high = _bounds(operator.options["FusedActivationFunction"])
    weights = _real_matrix(writer, index)
    writer.say(operator, "conv_2d", x, weights, writer.bias(operator), *places, low, high)


def _depthwise_conv_2d(writer: _Writer, operator: Operator) -> None:
    x, index = writer.of(operator.inputs[0]), operator.inputs[1]
    shape = writer.graph.tensors[index].shape
    places = (repr(shape[1:3]), *_places(operator))
    if writer.quantized(operator):
        weights = _exact(writer, index, 3, math.prod(shape[1:3]), "exact")
        zero = _scale(writer.ins(operator)[0])[1]
        writer.say(
            *(operator, "depthwise_conv_2d_q", x, f"{weights}[0]", writer.bias(operator), *places),
            *(zero, writer.finish(operator)),
        )
        return
    low, high = _bounds(operator.options["FusedActivationFunction"])
    weights = writer.known.get(index) or writer.weights(
        index, lambda source: writer.real(index, source), "w"
    )
    writer.say(
        *(operator, "depthwise_conv_2d", x, f"{weights}[0]", writer.bias(operator), *places),
        *(low, high),
    )


def _pool(writer: _Writer, operator: Operator) -> None:
    x = writer.of(operator.inputs[0])
    size = (operator.options["FilterHeight"], operator.options["FilterWidth"])
    stride, _, same = _places(operator)
    average = operator.name == "AVERAGE_POOL_2D"
    name = "average_pool_2d" if average else "max_pool_2d"
    low, high = _bounds(operator.options["FusedActivationFunction"])
    if writer.quantized(operator):
        _same_scale(writer, operator)
        low, high = _steps(operator.options["FusedActivationFunction"], writer.out(operator))
        name = f"{name}_q" if average else name
    writer.say(operator, name, x, size, stride, same, low, high)


def _same_scale(writer: _Writer, operator: Operator) -> None:
    for index in operator.inputs[:1] if operator.name != "CONCATENATION" else operator.inputs:
        if _scale(writer.graph.tensors[index]) != _scale(writer.out(operator)):
            raise _Unsupported("its input and output have different scales")


def _mean(writer: _Writer, operator: Operator) -> None:
    x = writer.of(operator.inputs[0])
    rank = len(writer.ins(operator)[0].shape)
    axes = tuple(int(axis) % rank for axis in np.atleast_1d(writer.numbers(operator, 1)))
    keep = bool(operator.options["KeepDims"])
    if not writer.quantized(operator):
        writer.say(operator, "mean", x, axes, keep)
        return
    (scale_in, zero_in), (scale_out, zero_out) = (
        _scale(writer.ins(operator)[0]),
        _scale(writer.out(operator)),
    )
    fixed = writer.scale(operator, [scale_in / scale_out])
    writer.say(operator, "mean_q", x, axes, keep, zero_in, fixed, zero_out)


def _add(writer: _Writer, operator: Operator) -> None:
    a, b = (writer.of(index) for index in operator.inputs)
    activation = operator.options["FusedActivationFunction"]
    minus = operator.name == "SUB"
    if not writer.quantized(operator):
        writer.say(operator, "sub" if minus else "add", a, b, *_bounds(activation))
        return
    out = writer.out(operator)
    sides = [_scale(tensor) for tensor in writer.ins(operator)]
    largest = 2 * max(scale for scale, _ in sides)
    tables = []
    for number, (scale, zero) in enumerate(sides):
        multiplier, shift = fixed_point(scale / largest)
        text = f'k.add_table("{out.dtype}", {zero}, k.fixed_point({multiplier}, {shift}))'
        text = f"-{text}" if minus and number else text
        tables.append(writer.make(f"a{operator.outputs[0]}_{number}", text, {}))
    scale_out, zero_out = _scale(out)
    fixed = writer.scale(operator, [largest / ((1 << 20) * scale_out)])
    bounds = _steps(activation, out)
    writer.say(operator, "add_q", a, b, f"({', '.join(tables)})", fixed, zero_out, *bounds)


def _mul(writer: _Writer, operator: Operator) -> None:
    a, b = (writer.of(index) for index in operator.inputs)
    activation = operator.options["FusedActivationFunction"]
    if not writer.quantized(operator):
        writer.say(operator, "mul", a, b, *_bounds(activation))
        return
    out = writer.out(operator)
    (scale_a, zero_a), (scale_b, zero_b) = (_scale(tensor) for tensor in writer.ins(operator))
    scale_out, zero_out = _scale(out)
    fixed = writer.scale(operator, [scale_a * scale_b / scale_out])
    bounds = _steps(activation, out)
    writer.say(operator, "mul_q", a, b, (zero_a, zero_b), fixed, zero_out, *bounds)


def _concatenation(writer: _Writer, operator: Operator) -> None:
    parts = ", ".join(writer.of(index) for index in operator.inputs)
    activation = operator.options["FusedActivationFunction"]
    low, high = _bounds(activation)
    if writer.quantized(operator):
        _same_scale(writer, operator)
        low, high = _steps(activation, writer.out(operator))
    writer.say(operator, "concatenation", f"({parts},)", operator.options["Axis"], low, high)


def _reshape(writer: _Writer, operator: Operator) -> None:
    shape = writer.numbers(operator, 1) if len(operator.inputs) > 1 else writer.out(operator).shape
    text = tuple(int(axis) for axis in shape)
    index = operator.outputs[0]
    writer.lines.append(f"t{index} = {writer.of(operator.inputs[0])}.reshape({text})")


def _softmax(writer: _Writer, operator: Operator) -> None:
    x, beta = writer.of(operator.inputs[0]), float(operator.options["Beta"])
    if not writer.quantized(operator):
        writer.say(operator, "softmax", x, beta)
        return
    scale_in, (scale_out, zero) = (
        _scale(writer.ins(operator)[0])[0],
        _scale(writer.out(operator)),
    )
    text = f"k.softmax_table({scale_in!r}, {beta!r})"
    table = writer.make(f"e{operator.outputs[0]}", text, {})
    writer.say(operator, "softmax_q", x, table, repr(scale_out), zero)


def _logistic(writer: _Writer, operator: Operator) -> None:
    x, out = writer.of(operator.inputs[0]), writer.out(operator)
    if not writer.quantized(operator):
        writer.say(operator, "logistic", x)
        return
    numbers = (*_scale(writer.ins(operator)[0]), *_scale(out))
    text = f'k.logistic_table("{out.dtype}", {", ".join(map(repr, numbers))})'
    table = writer.make(f"l{operator.outputs[0]}", text, {})
    writer.say(operator, "looked_up", table, x)


def _relu(writer: _Writer, operator: Operator) -> None:
    number = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}[operator.name]
    if writer.quantized(operator):
        _lookup(writer, operator, _steps(number, writer.out(operator)))
    else:
        writer.say(operator, "clamp", writer.of(operator.inputs[0]), *_bounds(number))


def _lookup(writer: _Writer, operator: Operator, bounds: tuple[int, int]) -> None:
    """From one scale to another."""
    x, out = writer.ins(operator)[0], writer.out(operator)
    (scale_in, zero_in), (scale_out, zero_out) = _scale(x), _scale(out)
    fixed = writer.scale(operator, [scale_in / scale_out])
    text = (
        f'k.rescale_table("{x.dtype}", {zero_in}, {fixed}, {zero_out}, {bounds[0]}, {bounds[1]}, '
        f'"{out.dtype}")'
    )
    table = writer.make(f"l{operator.outputs[0]}", text, {})
    writer.say(operator, "looked_up", table, writer.of(operator.inputs[0]))


def _pad(writer: _Writer, operator: Operator) -> None:
    widths = tuple(tuple(int(n) for n in pair) for pair in writer.numbers(operator, 1))
    value: object = 0.0
    if operator.name == "PADV2":
        value = writer.numbers(operator, 2).reshape(-1)[0].item()
    elif writer.quantized(operator):
        value = _scale(writer.out(operator))[1]
    writer.say(operator, "pad", writer.of(operator.inputs[0]), widths, value)


def _quantize(writer: _Writer, operator: Operator) -> None:
    x, out = writer.ins(operator)[0], writer.out(operator)
    if out.dtype not in _EIGHT_BITS:
        raise _Unsupported(f"it gives {out.dtype}")
    if x.dtype in _EIGHT_BITS:
        info = np.iinfo(out.dtype)
        _lookup(writer, operator, (int(info.min), int(info.max)))
    elif x.dtype == "float32":
        scale, zero = _scale(out)
        arguments = (repr(scale), zero, f'"{out.dtype}"')
        writer.say(operator, "quantize", writer.of(operator.inputs[0]), *arguments)
    else:
        raise _Unsupported(f"it takes {x.dtype}")


def _dequantize(writer: _Writer, operator: Operator) -> None:
    source, target = operator.inputs[0], operator.outputs[0]
    x = writer.graph.tensors[source]
    if source in writer.constants:  # once
        if x.dtype != "float16" and x.quantization is None:
            raise _Unsupported(f"it takes {x.dtype} without a scale")
        text = writer.real(source, f'data["c{source}"]') + ".astype(np.float32)"
        data = {f"c{source}": writer.constants[source]}
        writer.known[target] = writer.make(f"t{target}", text, data)
    elif x.dtype == "float16":
        writer.lines.append(f"t{target} = {writer.of(source)}.astype(np.float32)")
    elif x.dtype in _EIGHT_BITS:
        scale, zero = _scale(x)
        writer.say(operator, "dequantize", writer.of(source), repr(scale), zero)
    else:
        raise _Unsupported(f"it takes {x.dtype}")


_WRITERS: dict[str, Callable[[_Writer, Operator], None]] = {
    "FULLY_CONNECTED": _fully_connected,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "MEAN": _mean,
    "ADD": _add,
    "SUB": _add,
    "MUL": _mul,
    "CONCATENATION": _concatenation,
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "LOGISTIC": _logistic,
    "RELU": _relu,
    "RELU_N1_TO_1": _relu,
    "RELU6": _relu,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
