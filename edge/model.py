"""Model: a .tflite file as data, read on this machine without a runtime."""

from __future__ import annotations

import inspect
import math
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edge import about
from edge.about import About
from edge.errors import UsageError

Shape = tuple[int, ...]

_NO_TENSOR = -1  # an optional input that is left out

# string: text beside the arena. resource, variant: handles. The runtime allots all these itself.
_ITEM_BITS = {
    **{"bool": 8, "int4": 4, "int2": 2, "complex64": 64, "complex128": 128},
    **{f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{"bfloat16": 16, "float16": 16, "float32": 32, "float64": 64},
}


@dataclass(frozen=True)
class Quantization:
    """real = scale * (value - zero_point).

    :ivar scales: one for the tensor, or one for each index along ``axis``.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int


@dataclass(frozen=True)
class Tensor:
    """A tensor of a subgraph.

    :ivar dtype: the schema's name in small letters: ``float32``, ``string``, ``resource``.
    :ivar shape: as the file has it.
    :ivar shape_signature: the same with -1 for each axis that callers choose.
    :ivar buffer: number of the buffer; tensors with the same one share their data.
    :ivar buffer_bytes: size of the constant data; 0 for what is computed.
    """

    name: str
    dtype: str
    shape: Shape
    shape_signature: Shape
    quantization: Quantization | None
    buffer: int
    buffer_bytes: int
    is_variable: bool

    @property
    def constant(self) -> bool:
        return self.buffer_bytes > 0 and not self.is_variable

    @property
    def open_axes(self) -> tuple[int, ...]:
        return tuple(i for i, axis in enumerate(self.shape_signature) if axis < 0)


@dataclass(frozen=True)
class Operator:
    """A node of a subgraph.

    :ivar name: the schema's name, such as ``CONV_2D``; ``CUSTOM`` if it is no builtin.
    :ivar custom: name of a custom operator.
    :ivar inputs: indices of tensors; -1 is an optional one that is left out.
    :ivar options: a builtin's own numbers, by the schema's names: ``StrideW``.
    """

    name: str
    custom: str | None
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subgraph:
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def input_tensors(self, operator: Operator) -> tuple[Tensor, ...]:
        """Those that are there, in order."""
        return tuple(self.tensors[i] for i in operator.inputs if i != _NO_TENSOR)

    def output_tensors(self, operator: Operator) -> tuple[Tensor, ...]:
        return tuple(self.tensors[i] for i in operator.outputs if i != _NO_TENSOR)


@dataclass(frozen=True)
class Signature:
    """Names that callers use.

    :ivar subgraph: number of the subgraph that is run.
    :ivar inputs: name -> index of a tensor in it.
    """

    key: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(frozen=True)
class Model:
    """A whole file.

    :ivar version: of the schema; 3 everywhere.
    :ivar metadata: name -> size in bytes.
    :ivar min_runtime_version: the oldest runtime that knows all its operators, as the converter saw
        it; None if it left no note.
    :ivar about: what ``invoke convert`` wrote of where it comes from; None if another made it.
    """

    file_bytes: int
    description: str
    version: int
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: dict[str, int]
    min_runtime_version: str | None
    about: About | None


def read(path: Path) -> Model:
    """Read a .tflite file; its weights stay where they are.

    :raises UsageError: it can't be read, is no model, or a damaged one.
    """
    return _read(path, _Reader.model)


def constants(path: Path) -> dict[int, npt.NDArray[Any]]:
    """The constant tensors of a model's first subgraph, by number; those of odd sizes are left out.

    :raises UsageError: as :func:`read`.
    """
    return _read(path, _Reader.constants)


def _read(path: Path, what: Callable[[_Reader], _T]) -> _T:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 8:
                raise UsageError(f"{path} is no TFLite model: it has {size} bytes")
            # A map, not bytes: models of gigabytes are described by their first few kilobytes.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}; check the path") from None
    if data[4:8] != b"TFL3":
        raise UsageError(f"{path} is no TFLite model: it lacks the mark TFL3")
    try:
        return what(_Reader(data))
    except (
        struct.error,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
    ) as error:
        raise UsageError(
            f"{path} is a damaged TFLite model ({' '.join(str(error).split())}): "
            "convert or copy it again"
        ) from None


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if not name.startswith("_")}


_TYPES = {number: name.lower() for number, name in _names(schema.TensorType).items()}
_OPERATORS = _names(schema.BuiltinOperator)
_OPTIONS = _names(schema.BuiltinOptions)
NUMPY = frozenset(
    {
        "bool",
        "float16",
        "float32",
        "float64",
        *(f"{s}int{b}" for s in ("", "u") for b in (8, 16, 32, 64)),
    }
)
_T = TypeVar("_T")


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


class _Reader:
    """Walks the file's tables. The generated readers check no bounds: every index is ours to check.

    What it finds wrong it says by ValueError; the readers say it by whatever Python says.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self._bytes = len(data)
        self._data = data
        self._file = schema.Model.GetRootAs(data, 0)
        self._buffers = [self._buffer_bytes(b) for b in self._each(self._file, "Buffers")]
        self._codes = [
            (
                max(int(code.DeprecatedBuiltinCode()), int(code.BuiltinCode())),
                _text(code.CustomCode()),
                int(code.Version()),
            )
            for code in self._each(self._file, "OperatorCodes")
        ]

    def model(self) -> Model:
        subgraphs = tuple(self._subgraph(graph) for graph in self._each(self._file, "Subgraphs"))
        if not subgraphs:
            raise ValueError("it has no subgraph")
        notes = {_text(n.Name()): int(n.Buffer()) for n in self._each(self._file, "Metadata")}
        return Model(
            self._bytes,
            _text(self._file.Description()),
            int(self._file.Version()),
            subgraphs,
            tuple(self._signature(s, subgraphs) for s in self._each(self._file, "SignatureDefs")),
            {name: self._buffers[_within(b, self._buffers)] for name, b in notes.items()},
            self._note(notes.get("min_runtime_version")),
            about.parse(self._note(notes.get(about.KEY))),
        )

    def constants(self) -> dict[int, npt.NDArray[Any]]:
        found = {}
        for number, tensor in enumerate(self.model().subgraphs[0].tensors):
            if tensor.constant and tensor.dtype in NUMPY and min(tensor.shape, default=0) >= 0:
                content = self._content(self._file.Buffers(tensor.buffer))
                array = np.frombuffer(content, np.dtype(tensor.dtype).newbyteorder("<"))
                found[number] = array.reshape(tensor.shape)
        return found

    def _content(self, buffer: Any) -> bytes:
        begin, size = int(buffer.Offset()), int(buffer.Size())
        return self._data[begin : begin + size] if begin > 1 else buffer.DataAsNumpy().tobytes()

    def _each(self, table: Any, vector: str) -> Iterator[Any]:
        at: Callable[[int], Any] = getattr(table, vector)
        for index in range(int(getattr(table, f"{vector}Length")())):
            yield at(index)

    def _numbers(self, table: Any, vector: str) -> tuple[Any, ...]:
        # Absent vectors read as the number 0.
        if getattr(table, f"{vector}IsNone")():
            return ()
        return tuple(getattr(table, f"{vector}AsNumpy")().tolist())

    def _buffer_bytes(self, buffer: Any) -> int:
        # Offset and size stand for data behind the tables, which reach 2 GB at most.
        begin, size = int(buffer.Offset()), int(buffer.Size())
        if begin > 1:
            if begin + size > self._bytes:
                raise ValueError("a buffer ends behind the file")
            return size
        return len(buffer.DataAsNumpy()) if not buffer.DataIsNone() else 0

    def _note(self, number: int | None) -> str | None:
        if number is None or self._file.Buffers(number).DataIsNone():
            return None
        return _text(self._file.Buffers(number).DataAsNumpy().tobytes()).rstrip("\0 ") or None

    def _subgraph(self, graph: Any) -> Subgraph:
        tensors = tuple(self._tensor(tensor) for tensor in self._each(graph, "Tensors"))

        def indices(table: Any, vector: str) -> tuple[int, ...]:
            found = self._numbers(table, vector)
            return tuple(i if i == _NO_TENSOR else _within(i, tensors) for i in found)

        operators = []
        for node in self._each(graph, "Operators"):
            code, custom, version = self._codes[_within(int(node.OpcodeIndex()), self._codes)]
            operators.append(
                Operator(
                    _OPERATORS.get(code, f"operator {code}"),
                    custom if code == schema.BuiltinOperator.CUSTOM else None,
                    version,
                    indices(node, "Inputs"),
                    indices(node, "Outputs"),
                    _options(node),
                )
            )
        return Subgraph(
            _text(graph.Name()),
            tensors,
            tuple(operators),
            indices(graph, "Inputs"),
            indices(graph, "Outputs"),
        )

    def _tensor(self, tensor: Any) -> Tensor:
        shape = self._numbers(tensor, "Shape")
        signature = self._numbers(tensor, "ShapeSignature")
        buffer = _within(int(tensor.Buffer()), self._buffers)
        quantization = tensor.Quantization()
        return Tensor(
            _text(tensor.Name()),
            _TYPES.get(int(tensor.Type()), f"type {tensor.Type()}"),
            shape,
            signature if len(signature) == len(shape) else shape,
            None if quantization is None else self._quantization(quantization),
            buffer,
            self._buffers[buffer],
            bool(tensor.IsVariable()),
        )

    def _quantization(self, table: Any) -> Quantization | None:
        scales = self._numbers(table, "Scale")
        if not scales:  # converters leave empty tables, or only a range, beside real numbers
            return None
        return Quantization(
            scales, self._numbers(table, "ZeroPoint"), int(table.QuantizedDimension())
        )

    def _signature(self, table: Any, subgraphs: tuple[Subgraph, ...]) -> Signature:
        number = _within(int(table.SubgraphIndex()), subgraphs)

        def names(vector: str) -> dict[str, int]:
            return {
                _text(entry.Name()): _within(int(entry.TensorIndex()), subgraphs[number].tensors)
                for entry in self._each(table, vector)
            }

        return Signature(_text(table.SignatureKey()), number, names("Inputs"), names("Outputs"))


def _options(node: Any) -> dict[str, Any]:
    """All that a builtin's table holds but its vectors."""
    kind, table = _OPTIONS.get(int(node.BuiltinOptionsType()), "NONE"), node.BuiltinOptions()
    if table is None or kind == "NONE" or not hasattr(schema, kind):
        return {}
    options = getattr(schema, kind)()
    options.Init(table.Bytes, table.Pos)
    return {
        name: getattr(options, name)()
        for name, member in vars(type(options)).items()
        if inspect.isfunction(member)
        and member.__code__.co_argcount == 1
        and not name.endswith(("AsNumpy", "Length", "IsNone"))
    }


def _within(index: int, things: list[Any] | tuple[Any, ...]) -> int:
    if not 0 <= index < len(things):
        raise ValueError(f"number {index} of {len(things)} things")
    return index


def tensor_bytes(tensor: Tensor, shape: Shape | None = None) -> int:
    """Its size in memory; 0 if the runtime allots it elsewhere. Open axes count once."""
    elements = _elements(tensor.shape if shape is None else shape)
    return (elements * _ITEM_BITS.get(tensor.dtype, 0) + 7) // 8


def _elements(shape: Shape) -> int:
    return math.prod(1 if axis < 0 else axis for axis in shape)


def multiply_accumulates(subgraph: Subgraph, operator: Operator) -> int:
    """Of a convolution or dense layer, for the shapes in the file; 0 for every other operator."""
    if len(operator.inputs) < 2 or not operator.outputs or operator.inputs[1] == _NO_TENSOR:
        return 0
    weights = subgraph.tensors[operator.inputs[1]].shape
    results = sum(_elements(tensor.shape) for tensor in subgraph.output_tensors(operator)[:1])
    if operator.name in ("CONV_2D", "FULLY_CONNECTED") and len(weights) in (2, 4):
        return results * math.prod(weights[1:])  # [channels, ...]
    if operator.name == "DEPTHWISE_CONV_2D" and len(weights) == 4:
        return results * math.prod(weights[1:3])  # [1, height, width, channels]
    return 0


def weights(model: Model) -> dict[str, int]:
    """Bytes of constant data by element type, the most first. Shared data counts once."""
    found: dict[str, int] = {}
    for tensor in _constants(model):
        found[tensor.dtype] = found.get(tensor.dtype, 0) + tensor.buffer_bytes
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def largest_weights(model: Model, count: int = 5) -> tuple[Tensor, ...]:
    return tuple(sorted(_constants(model), key=lambda t: -t.buffer_bytes)[:count])


def _constants(model: Model) -> Iterator[Tensor]:
    seen = set()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.constant and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                yield tensor


_ALIGNMENT = 64

# Operators whose output takes the memory of an input that nobody else reads, and of how many inputs
# that may be; seen in tflite-runtime 2.14 and LiteRT 2.1 by the tensors' addresses.
_IN_PLACE = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), 2),
    **dict.fromkeys(("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "BITCAST", "SOFTMAX"), 1),
}

# Operators that unpack weights: once, into memory that is kept.
_UNPACK = frozenset({"DEQUANTIZE", "DENSIFY"})


@dataclass(frozen=True)
class _Block:
    """Memory that a tensor needs from its first node to its last."""

    first: int
    last: int
    bytes: int


def arena_bytes(
    model: Model, subgraph: int = 0, shapes: Mapping[str, Shape] | None = None
) -> int | None:
    """Estimate of the memory that the runtime plans for a subgraph's tensors.

    As TFLite plans it when its built-in kernels run everything: the largest tensors first, each in
    the smallest gap that is free while it is in use, at multiples of 64 bytes. Inputs and outputs
    live from their first use to the end, variables and unpacked weights always. What kernels ask
    for beside it (scratch buffers), resource variables and what delegates allot is not in it.

    :param shapes: name of an input's tensor -> its shape. The other tensors follow its first axis,
        the batch, where theirs is open or the same as the input's in the file.
    :returns: None if the shapes leave a tensor's size unknown.
    """
    graph = model.subgraphs[subgraph]
    sizes = _sizes(graph, shapes or {})
    if sizes is None:
        return None
    kept = {i for i, tensor in enumerate(graph.tensors) if tensor.is_variable}
    for operator in graph.operators:
        if operator.name in _UNPACK and all(t.constant for t in graph.input_tensors(operator)):
            kept.update(operator.outputs)
    blocks = _blocks(graph, {i: size for i, size in enumerate(sizes) if size and i not in kept})
    return _packed(blocks) + sum(_aligned(sizes[i]) for i in kept)


def _sizes(graph: Subgraph, shapes: Mapping[str, Shape]) -> list[int] | None:
    given = {
        i: shapes[graph.tensors[i].name] for i in graph.inputs if graph.tensors[i].name in shapes
    }
    batches = {(graph.tensors[i].shape[:1], shape[:1]) for i, shape in given.items()}
    old, new = batches.pop() if len(batches) == 1 else ((), ())
    sizes = []
    for number, tensor in enumerate(graph.tensors):
        shape = given.get(number, tensor.shape)
        if given and number not in given and not tensor.constant:
            if tensor.open_axes == (0,) or (len(shape) > 1 and shape[:1] == old):
                shape = new + shape[1:]
            if set(tensor.open_axes) - {0} or (tensor.open_axes and not new):
                return None
        sizes.append(0 if tensor.constant else tensor_bytes(tensor, shape))
    return sizes


def _blocks(graph: Subgraph, sizes: dict[int, int]) -> list[_Block]:
    """When each tensor that has a size is in use."""
    first = {index: 0 for index in graph.inputs}
    last: dict[int, int] = {}
    readers: dict[int, int] = {}
    home: dict[int, int] = {}  # a tensor -> the one whose memory it shares
    for operator in graph.operators:
        for index in operator.inputs:
            readers[index] = readers.get(index, 0) + 1
    ends = {*graph.inputs, *graph.outputs}
    for number, operator in enumerate(graph.operators):
        for index in operator.outputs:
            first.setdefault(index, number)
        for index in (*operator.outputs, *operator.inputs):
            last[index] = number
        for source in operator.inputs[: _IN_PLACE.get(operator.name, 0)]:
            target = operator.outputs[0] if operator.outputs else _NO_TENSOR
            alone = readers[source] == 1 and not {source, target} & ends
            if alone and source in sizes and sizes[source] == sizes.get(target):
                home[target] = home.get(source, source)
                break
    for target, source in home.items():
        last[source] = max(last[source], last[target])
    last.update(dict.fromkeys(ends, len(graph.operators)))
    return [
        _Block(begin, last[index], sizes[index])
        for index, begin in sorted(first.items())
        if index in sizes and index not in home
    ]


def _packed(blocks: list[_Block]) -> int:
    """The height of all blocks, the largest placed first."""
    placed: list[tuple[int, _Block]] = []
    height = 0
    for block in sorted(blocks, key=lambda b: (-b.bytes, b.first)):
        neighbours = [
            (offset, other)
            for offset, other in placed
            if other.first <= block.last and block.first <= other.last
        ]
        best, smallest, free = None, None, 0
        for offset, other in sorted(neighbours, key=lambda entry: entry[0]):
            gap = offset - free
            if gap >= block.bytes and (smallest is None or gap < smallest):
                best, smallest = free, gap
            free = max(free, _aligned(offset + other.bytes))
        chosen = free if best is None else best
        placed.append((chosen, block))
        height = max(height, chosen + block.bytes)
    return height


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
