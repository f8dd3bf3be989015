"""Tiny models, made on the spot: one .tflite per thing that models can do.

Each function returns a file's bytes, the same on every call. They say what an engine or a board can
run without a training framework anywhere near.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

Shape = tuple[int, ...]

DTYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool", "string")
"""Element types that :func:`elementwise` knows."""

SCALE = 0.5
"""Scale of every quantized input and output here."""

ZERO_POINTS = {"int8": -3, "uint8": 125, "int16": 0}
"""Zero points of quantized inputs and outputs; the kernels want int16 symmetric."""


class _Graph:
    """A subgraph being drawn; tensors are named by their number."""

    def __init__(self, file: _File, name: str) -> None:
        self._file = file
        self.made = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=name)

    def tensor(
        self,
        name: str,
        dtype: str,
        shape: Shape,
        *,
        data: npt.ArrayLike | None = None,
        scale: float | Sequence[float] = (),
        zero_point: int = 0,
        axis: int = 0,
        signature: Shape | None = None,
    ) -> int:
        """A tensor; constant if it has ``data``, quantized if it has a ``scale`` (or several)."""
        tensor = schema.TensorT(
            shape=list(shape),
            type=getattr(schema.TensorType, dtype.upper()),
            buffer=0 if data is None else self._file.buffer(np.asarray(data, dtype)),
            name=name,
            shapeSignature=None if signature is None else list(signature),
            hasRank=True,
        )
        scales = [scale] if isinstance(scale, float) else list(scale)
        if scales:
            tensor.quantization = schema.QuantizationParametersT(
                scale=scales, zeroPoint=[zero_point] * len(scales), quantizedDimension=axis
            )
        self.made.tensors.append(tensor)
        return len(self.made.tensors) - 1

    def input(self, name: str, dtype: str, shape: Shape, **rest: Any) -> int:
        self.made.inputs.append(self.tensor(name, dtype, shape, **rest))
        return int(self.made.inputs[-1])

    def output(self, name: str, dtype: str, shape: Shape, **rest: Any) -> int:
        self.made.outputs.append(self.tensor(name, dtype, shape, **rest))
        return int(self.made.outputs[-1])

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: object = None,
        *,
        version: int = 1,
        custom: bool = False,
    ) -> None:
        """A node. A builtin's ``options`` are its options table of the schema, e.g. AddOptionsT; a
        custom operator's are bytes."""
        kind = 0
        if options is not None and not custom:
            kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.made.operators.append(
            schema.OperatorT(
                opcodeIndex=self._file.code(name, version, custom=custom),
                inputs=list(inputs),
                outputs=list(outputs),
                builtinOptionsType=kind,
                builtinOptions=None if custom else options,
                customOptions=list(options) if isinstance(options, bytes) else None,
            )
        )

    def signature(self, key: str, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        """Name this subgraph's inputs and outputs for callers."""
        self._file.made.signatureDefs.append(
            schema.SignatureDefT(
                inputs=[schema.TensorMapT(name, tensor) for name, tensor in inputs.items()],
                outputs=[schema.TensorMapT(name, tensor) for name, tensor in outputs.items()],
                signatureKey=key,
                subgraphIndex=self._file.made.subgraphs.index(self.made),
            )
        )


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that starts at 16 bytes, which the schema demands and its Python writer forgets."""

    def Pack(self, builder: Any) -> Any:
        if self.data is not None:
            builder.Prep(16, len(self.data))
        return super().Pack(builder)


class _File:
    """A model being written."""

    def __init__(self, description: str) -> None:
        self.made = schema.ModelT(
            version=3,
            operatorCodes=[],
            subgraphs=[],
            description=description,
            buffers=[_Buffer()],  # the first is everyone's empty one
            signatureDefs=[],
        )

    def graph(self, name: str = "main") -> _Graph:
        graph = _Graph(self, name)
        self.made.subgraphs.append(graph.made)
        return graph

    def buffer(self, data: npt.NDArray[Any]) -> int:
        self.made.buffers.append(_Buffer(np.frombuffer(data.tobytes(), np.uint8)))
        return len(self.made.buffers) - 1

    def code(self, name: str, version: int, *, custom: bool) -> int:
        """The number of an operator's kind, entered once."""
        builtin = schema.BuiltinOperator.CUSTOM if custom else getattr(schema.BuiltinOperator, name)
        code = schema.OperatorCodeT(
            min(builtin, 127),  # the one byte of old readers; 127 sends new ones to the wide field
            name if custom else None,
            version,
            builtin,
        )
        for number, known in enumerate(self.made.operatorCodes):
            if vars(known) == vars(code):
                return number
        self.made.operatorCodes.append(code)
        return len(self.made.operatorCodes) - 1

    def bytes(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.made.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def elementwise(dtype: str, shape: Shape = (1, 4)) -> bytes:
    """``x`` -> ``y`` of one type and shape.

    Numbers grow by 3 (quantized ones by 3 steps; they stop at the type's end), truths are negated.
    float16 goes by way of float32, for want of arithmetic. Strings come out in reverse order, and
    have one axis.
    """
    file = _File(f"elementwise {dtype}")
    graph = file.graph()
    if dtype == "string":
        length = int(np.prod(shape))
        x, y = graph.input("x", dtype, (length,)), graph.output("y", dtype, (length,))
        order = graph.tensor("order", "int32", (length,), data=range(length)[::-1])
        graph.operator("GATHER", [x, order], [y], schema.GatherOptionsT())
    elif dtype == "bool":
        x, y = graph.input("x", dtype, shape), graph.output("y", dtype, shape)
        graph.operator("LOGICAL_NOT", [x], [y], schema.LogicalNotOptionsT())
    elif dtype == "float16":
        x, y = graph.input("x", dtype, shape), graph.output("y", dtype, shape)
        wide = graph.tensor("wide", "float32", shape)
        total = graph.tensor("total", "float32", shape)
        three = graph.tensor("three", "float32", (1,), data=[3])
        graph.operator("DEQUANTIZE", [x], [wide], schema.DequantizeOptionsT(), version=3)
        graph.operator("ADD", [wide, three], [total], schema.AddOptionsT())
        options = schema.CastOptionsT(schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
        graph.operator("CAST", [total], [y], options, version=4)
    else:
        zero_point = ZERO_POINTS.get(dtype, 0)
        quantized: dict[str, Any] = {}
        if dtype in ZERO_POINTS:
            quantized = {"scale": SCALE, "zero_point": zero_point}
        x = graph.input("x", dtype, shape, **quantized)
        y = graph.output("y", dtype, shape, **quantized)
        three = graph.tensor(
            "three", dtype, (1,) if shape else (), data=zero_point + 3, **quantized
        )
        options = schema.AddOptionsT(potScaleInt16=False)
        version = {"int8": 2, "int16": 3, "int64": 4}.get(dtype, 1)
        graph.operator("ADD", [x, three], [y], options, version=version)
    return file.bytes()


def delegable(count: int = 3, shape: Shape = (1, 4)) -> bytes:
    """``count`` float32 additions of 1 in a row: all of them a delegate's, if one is there."""
    file = _File(f"{count} additions")
    graph = file.graph()
    last = graph.input("x", "float32", shape)
    one = graph.tensor("one", "float32", (1,), data=[1])
    for number in range(1, count + 1):
        make = graph.output if number == count else graph.tensor
        following = make(f"y{number}", "float32", shape)
        graph.operator("ADD", [last, one], [following], schema.AddOptionsT())
        last = following
    return file.bytes()


def branches(shape: Shape = (1, 4)) -> bytes:
    """``x`` -> ``y`` = (x + 1) / 2 + (x + 1) * 2 + (x + 1) - 2, by three branches, all float32."""
    file = _File("three branches")
    graph = file.graph()
    x = graph.input("x", "float32", shape)
    y = graph.output("y", "float32", shape)
    one = graph.tensor("one", "float32", (1,), data=[1])
    two = graph.tensor("two", "float32", (1,), data=[2])
    starts = [graph.tensor(f"start{n}", "float32", shape) for n in range(3)]
    ends = [graph.tensor(f"end{n}", "float32", shape) for n in range(3)]
    both = graph.tensor("both", "float32", shape)
    for start in starts:
        graph.operator("ADD", [x, one], [start], schema.AddOptionsT())
    graph.operator("DIV", [starts[0], two], [ends[0]], schema.DivOptionsT())
    graph.operator("MUL", [two, starts[1]], [ends[1]], schema.MulOptionsT())
    graph.operator("SUB", [starts[2], two], [ends[2]], schema.SubOptionsT())
    graph.operator("ADD", ends[:2], [both], schema.AddOptionsT())
    graph.operator("ADD", [both, ends[2]], [y], schema.AddOptionsT())
    return file.bytes()


def scalar() -> bytes:
    """``x`` -> ``y`` = x + 3, of rank 0."""
    return elementwise("float32", ())


def several() -> bytes:
    """Two inputs of different types, three outputs.

    ``pixels`` uint8 [1, 2, 3] and ``offset`` float32 [3] -> ``shifted`` float32 [1, 2, 3] =
    pixels + offset, ``total`` float32 [1] of shifted, ``brightest`` int64 [1, 2]: where shifted is
    largest along the last axis.
    """
    file = _File("several inputs and outputs")
    graph = file.graph()
    pixels = graph.input("pixels", "uint8", (1, 2, 3))
    offset = graph.input("offset", "float32", (3,))
    shifted = graph.output("shifted", "float32", (1, 2, 3))
    total = graph.output("total", "float32", (1,))
    brightest = graph.output("brightest", "int64", (1, 2))
    real = graph.tensor("real", "float32", (1, 2, 3))
    both = graph.tensor("both", "int32", (2,), data=[1, 2])
    last = graph.tensor("last", "int32", (1,), data=[2])
    cast_options = schema.CastOptionsT(schema.TensorType.UINT8, schema.TensorType.FLOAT32)
    graph.operator("CAST", [pixels], [real], cast_options)
    graph.operator("ADD", [real, offset], [shifted], schema.AddOptionsT())
    graph.operator("SUM", [shifted, both], [total], schema.ReducerOptionsT())
    options = schema.ArgMaxOptionsT(schema.TensorType.INT64)
    graph.operator("ARG_MAX", [shifted, last], [brightest], options)
    return file.bytes()


def two_signatures() -> bytes:
    """Two subgraphs with a signature each, whose names are not those of the tensors.

    ``double``: ``x`` float32 [1, 4] -> ``doubled``. ``add``: ``a`` float32 [1, 2], ``b`` float32
    [1, 2] -> ``sum``, ``difference`` (a - b).
    """
    file = _File("two signatures")
    graph = file.graph("double")
    x, y = (
        graph.input("double_x:0", "float32", (1, 4)),
        graph.output("double_y:0", "float32", (1, 4)),
    )
    graph.operator("ADD", [x, x], [y], schema.AddOptionsT())
    graph.signature("double", {"x": x}, {"doubled": y})
    graph = file.graph("add")
    # The signature's order is not the subgraph's.
    b, a = graph.input("add_b:0", "float32", (1, 2)), graph.input("add_a:0", "float32", (1, 2))
    difference = graph.output("add_difference:0", "float32", (1, 2))
    total = graph.output("add_sum:0", "float32", (1, 2))
    graph.operator("ADD", [a, b], [total], schema.AddOptionsT())
    graph.operator("SUB", [a, b], [difference], schema.SubOptionsT())
    graph.signature("add", {"a": a, "b": b}, {"sum": total, "difference": difference})
    return file.bytes()


def dynamic() -> bytes:
    """``x`` float32 [-1, -1, 3] -> ``y`` = x * [2, 3, 4]; as the file has it, [1, 1, 3]."""
    file = _File("dynamic shapes")
    graph = file.graph()
    shape, signature = (1, 1, 3), (-1, -1, 3)
    x = graph.input("x", "float32", shape, signature=signature)
    y = graph.output("y", "float32", shape, signature=signature)
    factors = graph.tensor("factors", "float32", (3,), data=[2, 3, 4])
    graph.operator("MUL", [x, factors], [y], schema.MulOptionsT())
    graph.signature("serving_default", {"x": x}, {"y": y})
    return file.bytes()


def dynamic_output() -> bytes:
    """``dims`` int32 [2], ``value`` float32 [] -> ``filled``, whose shape only invoke knows."""
    file = _File("dynamic output")
    graph = file.graph()
    dims, value = graph.input("dims", "int32", (2,)), graph.input("value", "float32", ())
    filled = graph.output("filled", "float32", (1, 1), signature=(-1, -1))
    graph.operator("FILL", [dims, value], [filled], schema.FillOptionsT())
    return file.bytes()


def counter() -> bytes:
    """``step`` float32 [1] -> ``count``: the sum of all steps since the model was opened."""
    file = _File("counter")
    graph, start = file.graph(), file.graph("start")
    variable = schema.VarHandleOptionsT("", "count")

    step, count = graph.input("step", "float32", (1,)), graph.output("count", "float32", (1,))
    handle, before = graph.tensor("handle", "resource", ()), graph.tensor("before", "float32", (1,))
    graph.operator("CALL_ONCE", [], [], schema.CallOnceOptionsT(initSubgraphIndex=1))
    graph.operator("VAR_HANDLE", [], [handle], variable)
    graph.operator("READ_VARIABLE", [handle], [before], schema.ReadVariableOptionsT())
    graph.operator("ADD", [before, step], [count], schema.AddOptionsT())
    graph.operator("ASSIGN_VARIABLE", [handle, count], [], schema.AssignVariableOptionsT())
    graph.signature("serving_default", {"step": step}, {"count": count})

    handle = start.tensor("handle", "resource", ())
    zero = start.tensor("zero", "float32", (1,), data=[0])
    start.operator("VAR_HANDLE", [], [handle], variable)
    start.operator("ASSIGN_VARIABLE", [handle, zero], [], schema.AssignVariableOptionsT())
    return file.bytes()


def greedy(size_bytes: int) -> bytes:
    """``x`` float32 [1] -> ``y`` = x, by way of a tensor of ``size_bytes``: x, many times."""
    file = _File(f"a tensor of {size_bytes} bytes")
    graph = file.graph()
    count = size_bytes // 4
    x, y = graph.input("x", "float32", (1,)), graph.output("y", "float32", (1,))
    many = graph.tensor("many", "float32", (count,))
    length = graph.tensor("length", "int32", (1,), data=[count])
    first = graph.tensor("first", "int32", (1,), data=[0])
    graph.operator("BROADCAST_TO", [x, length], [many], schema.BroadcastToOptionsT(), version=2)
    options = schema.ReducerOptionsT(keepDims=True)
    graph.operator("REDUCE_MAX", [many, first], [y], options)
    return file.bytes()


def dense(width: int = 4, seed: int = 0) -> bytes:
    """``x`` float32 [1, width] -> ``y`` = W x, of width * width random numbers of 4 bytes each.

    For a file of any size that is nobody else's and that no compressor makes much smaller.
    """
    file = _File(f"dense {width}, seed {seed}")
    graph = file.graph()
    numbers = np.random.default_rng(seed).uniform(-1, 1, (width, width))
    x, y = graph.input("x", "float32", (1, width)), graph.output("y", "float32", (1, width))
    weights = graph.tensor("weights", "float32", (width, width), data=numbers)
    bias = graph.tensor("bias", "float32", (width,), data=np.zeros(width))
    graph.operator("FULLY_CONNECTED", [x, weights, bias], [y], schema.FullyConnectedOptionsT())
    return file.bytes()


def custom_op(name: str = "NobodyHasThis") -> bytes:
    """``x`` float32 [1, 4] -> ``y`` by a custom operator called ``name``."""
    file = _File(f"custom operator {name}")
    graph = file.graph()
    x, y = graph.input("x", "float32", (1, 4)), graph.output("y", "float32", (1, 4))
    graph.operator(name, [x], [y], custom=True)
    return file.bytes()


def custom_and_builtin(name: str, options: bytes, dtype: str = "float32") -> bytes:
    """``x`` [1, 4] -> ``y``: a custom operator called ``name``, then 1 is added, both twice.

    :param options: the operator's custom options.
    :param dtype: float32 or int8, where one step is added.
    """
    file = _File(f"custom operator {name} and built-in ones")
    graph, shape = file.graph(), (1, 4)
    zero = ZERO_POINTS.get(dtype, 0)
    quantized: dict[str, Any] = {}
    if dtype in ZERO_POINTS:
        quantized = {"scale": SCALE, "zero_point": zero}
    last = graph.input("x", dtype, shape, **quantized)
    one = graph.tensor("one", dtype, (1,), data=[zero + 1], **quantized)
    for number, make in enumerate((graph.tensor, graph.output)):
        made = graph.tensor(f"made{number}", dtype, shape, **quantized)
        graph.operator(name, [last], [made], options, custom=True)
        last = make("y" if number else "between", dtype, shape, **quantized)
        version = 2 if dtype == "int8" else 1
        graph.operator("ADD", [made, one], [last], schema.AddOptionsT(), version=version)
    return file.bytes()


def leaky_threshold(threshold: float, slope: float, shape: Shape, *, custom: bool) -> bytes:
    """``x`` float32 -> ``y`` = x where x > ``threshold``, else ``slope`` * x.

    :param custom: by the operator LeakyThreshold of examples/custom_op; else by GREATER, MUL and
        SELECT_V2.
    """
    file = _File(f"leaky threshold, {'a custom operator' if custom else 'built-in operators'}")
    graph = file.graph()
    x, y = graph.input("x", "float32", shape), graph.output("y", "float32", shape)
    if custom:
        options = bytes(flexbuffers.Dumps({"slope": slope, "threshold": threshold}))
        graph.operator("LeakyThreshold", [x], [y], options, custom=True)
        return file.bytes()
    knee = graph.tensor("threshold", "float32", (1,), data=[threshold])
    factor = graph.tensor("slope", "float32", (1,), data=[slope])
    above = graph.tensor("above", "bool", shape)
    leak = graph.tensor("leak", "float32", shape)
    graph.operator("GREATER", [x, knee], [above], schema.GreaterOptionsT())
    graph.operator("MUL", [x, factor], [leak], schema.MulOptionsT())
    graph.operator("SELECT_V2", [above, x, leak], [y], schema.SelectV2OptionsT())
    return file.bytes()


def quantized(dtype: str = "int8") -> bytes:
    """A convolution and a dense layer, ``x`` [1, 4, 4, 1] -> ``y`` [1, 2], both ``dtype``.

    int8 has one scale per channel, as today's converters write it; uint8 has one per tensor.
    All weights are 1: in real numbers, both of y are twice the sum over the four windows of 3 x 3
    (twice, for the two channels).
    """
    file = _File(f"quantized {dtype}")
    graph = file.graph()
    per_channel = dtype == "int8"
    zero_point = ZERO_POINTS[dtype]
    activation: dict[str, Any] = {"zero_point": zero_point}
    weights: dict[str, Any] = {"zero_point": 0 if per_channel else 125}

    def scales(value: float, channels: int) -> dict[str, Any]:
        return {"scale": [value] * channels if per_channel else value}

    one = 1 if per_channel else 126  # the weight 1 at scale 1
    x = graph.input("x", dtype, (1, 4, 4, 1), scale=SCALE, **activation)
    kernel = graph.tensor(
        "kernel", dtype, (2, 3, 3, 1), data=np.full((2, 3, 3, 1), one), **scales(1.0, 2), **weights
    )
    kernel_bias = graph.tensor("kernel_bias", "int32", (2,), data=[0, 0], **scales(SCALE, 2))
    maps = graph.tensor("maps", dtype, (1, 2, 2, 2), scale=SCALE, **activation)
    flat = graph.tensor("flat", dtype, (1, 8), scale=SCALE, **activation)
    flat_shape = graph.tensor("flat_shape", "int32", (2,), data=[1, 8])
    dense = graph.tensor("dense", dtype, (2, 8), data=np.full((2, 8), one), scale=1.0, **weights)
    dense_bias = graph.tensor("dense_bias", "int32", (2,), data=[0, 0], scale=SCALE)
    y = graph.output("y", dtype, (1, 2), scale=SCALE, **activation)
    options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
    graph.operator(
        "CONV_2D", [x, kernel, kernel_bias], [maps], options, version=3 if per_channel else 1
    )
    graph.operator("RESHAPE", [maps, flat_shape], [flat], schema.ReshapeOptionsT())
    graph.operator(
        "FULLY_CONNECTED",
        [flat, dense, dense_bias],
        [y],
        schema.FullyConnectedOptionsT(),
        version=4 if per_channel else 1,
    )
    return file.bytes()
