"""Inspection: what a model consists of, and what of it a runtime's delegates took, or why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from edge import model
from edge.about import About
from edge.errors import BoardError
from edge.model import Model, Operator, Quantization, Shape, Subgraph, Tensor

# --- the model ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Port:
    """An input or output.

    :ivar shape: -1 for each axis that callers choose.
    """

    name: str
    dtype: str
    shape: Shape
    quantization: Quantization | None


@dataclass(frozen=True)
class Entry:
    """A way into the model: a signature, or the primary subgraph by its tensors' names.

    :ivar signature: None without one.
    """

    signature: str | None
    subgraph: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Graph:
    """:ivar arena_bytes: see :func:`edge.model.arena_bytes`."""

    name: str
    nodes: int
    multiply_accumulates: int
    arena_bytes: int | None


@dataclass(frozen=True)
class Kind:
    """All nodes of one operator.

    :ivar versions: of the operator; the newest decides how new a runtime must be.
    :ivar custom: it is no builtin: the runtime must have been given it.
    """

    operator: str
    custom: bool
    versions: tuple[int, ...]
    nodes: int
    multiply_accumulates: int


@dataclass(frozen=True)
class Weight:
    name: str
    dtype: str
    shape: Shape
    bytes: int


@dataclass(frozen=True)
class Contents:
    """:ivar weights: bytes of constant data by type."""

    file_bytes: int
    description: str
    min_runtime_version: str | None
    entries: tuple[Entry, ...]
    graphs: tuple[Graph, ...]
    kinds: tuple[Kind, ...]
    weights: dict[str, int]
    largest_weights: tuple[Weight, ...]
    metadata: dict[str, int]
    about: About | None
    warnings: tuple[str, ...]


def of_model(read: Model) -> Contents:
    """What the file says, in the order in which one asks."""
    return Contents(
        read.file_bytes,
        read.description,
        read.min_runtime_version,
        _entries(read),
        tuple(
            Graph(
                graph.name,
                len(graph.operators),
                sum(model.multiply_accumulates(graph, node) for node in graph.operators),
                model.arena_bytes(read, number),
            )
            for number, graph in enumerate(read.subgraphs)
        ),
        _kinds(read),
        model.weights(read),
        tuple(
            Weight(tensor.name, tensor.dtype, tensor.shape, tensor.buffer_bytes)
            for tensor in model.largest_weights(read)
        ),
        read.metadata,
        read.about,
        tuple(_remarks(read)),
    )


def _entries(read: Model) -> tuple[Entry, ...]:
    def ports(graph: Subgraph, names: Iterable[tuple[str | None, int]]) -> tuple[Port, ...]:
        return tuple(
            Port(name or tensor.name, tensor.dtype, tensor.shape_signature, tensor.quantization)
            for name, tensor in ((name, graph.tensors[index]) for name, index in names)
        )

    entries = [
        Entry(
            signature.key,
            signature.subgraph,
            ports(read.subgraphs[signature.subgraph], signature.inputs.items()),
            ports(read.subgraphs[signature.subgraph], signature.outputs.items()),
        )
        for signature in read.signatures
    ]
    main = read.subgraphs[0]
    by_tensor = Entry(
        None,
        0,
        ports(main, ((None, index) for index in main.inputs)),
        ports(main, ((None, index) for index in main.outputs)),
    )
    return (by_tensor, *entries)


def _title(operator: Operator) -> str:
    return operator.custom or operator.name


def _nodes(read: Model) -> Iterable[tuple[int, int, Subgraph, Operator]]:
    for number, graph in enumerate(read.subgraphs):
        for index, operator in enumerate(graph.operators):
            yield number, index, graph, operator


def _kinds(read: Model) -> tuple[Kind, ...]:
    """The most work first, then the most nodes."""
    found: dict[tuple[str, bool], list[tuple[int, int]]] = {}
    for _, _, graph, node in _nodes(read):
        work = model.multiply_accumulates(graph, node)
        found.setdefault((_title(node), node.custom is not None), []).append((node.version, work))
    kinds = [
        Kind(
            title,
            custom,
            tuple(sorted({version for version, _ in each})),
            len(each),
            sum(work for _, work in each),
        )
        for (title, custom), each in found.items()
    ]
    return tuple(sorted(kinds, key=lambda k: (-k.multiply_accumulates, -k.nodes, k.operator)))


def _remarks(read: Model) -> Iterable[str]:
    custom = sorted({node.custom for _, _, _, node in _nodes(read) if node.custom is not None})
    if custom:
        names = ", ".join(custom)
        yield f"custom operators, which take kernels (--ops) or a runtime that has them: {names}"
    ends = [(g, i) for g in read.subgraphs for i in (*g.inputs, *g.outputs)]
    if any(graph.tensors[index].dtype == "string" for graph, index in ends):
        yield "string inputs or outputs, which edge can't feed"
    if any(node.name == "ASSIGN_VARIABLE" for _, _, _, node in _nodes(read)):
        yield "it keeps state: equal inputs give other outputs next time"
    open_inputs = [
        graph.tensors[i].name
        for graph in read.subgraphs
        for i in graph.inputs
        if graph.tensors[i].open_axes
    ]
    if open_inputs:
        names = ", ".join(f"'{name}'" for name in dict.fromkeys(open_inputs))
        yield f"axes left open in {names}: --batch or --shape sets them"


# --- what delegates took --------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """A node that no delegate took, so that a built-in kernel runs it."""

    subgraph: int
    node: int
    operator: str
    reason: str
    multiply_accumulates: int


@dataclass(frozen=True)
class Delegation:
    """What the delegates of one engine took of a model.

    :ivar delegates: that were applied, in order.
    :ivar nodes_delegated: None if the engine can't tell; so too ``partitions``.
    :ivar partitions: pieces of the graph that a delegate runs; between them data goes back and
        forth.
    :ivar logged: how many nodes the runtime's own log says were taken; None if it says nothing.
    :ivar agrees: that log says what the runner counted; None if there is nothing to compare.
    :ivar left: None if the engine can't tell which.
    :ivar builtin_share: of the multiply-accumulates, those that built-in kernels do; None if it is
        not known, or the model has none.
    :ivar warnings: the runner's, then ours.
    """

    engine: str
    runtime_version: str
    delegates: tuple[str, ...]
    nodes_total: int
    nodes_delegated: int | None
    partitions: int | None
    logged: int | None
    agrees: bool | None
    left: tuple[Left, ...] | None
    builtin_share: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Cause:
    """Nodes left behind for one reason.

    :ivar operators: operator -> how many nodes.
    """

    reason: str
    nodes: int
    operators: dict[str, int]
    multiply_accumulates: int


def causes(delegation: Delegation) -> tuple[Cause, ...]:
    """Why nodes were left, the most work first: 60 nodes have few reasons."""
    found: dict[str, list[Left]] = {}
    for left in delegation.left or ():
        found.setdefault(left.reason, []).append(left)
    made = []
    for reason, each in found.items():
        operators: dict[str, int] = {}
        for left in each:
            operators[left.operator] = operators.get(left.operator, 0) + 1
        work = sum(left.multiply_accumulates for left in each)
        made.append(Cause(reason, len(each), operators, work))
    return tuple(sorted(made, key=lambda c: (-c.multiply_accumulates, -c.nodes)))


def delegation(read: Model, report: Mapping[str, Any]) -> Delegation:
    """Join a model with what a runner's ``inspect`` reported of it.

    :raises BoardError: the report is none, or of another model.
    """
    told = _Report(report)
    everything = {(graph, node) for graph, node, _, _ in _nodes(read)}
    if told.nodes is not None and not told.nodes <= everything:
        strange = min(told.nodes - everything)
        raise BoardError(
            f"the runner says that node {strange[1]} of subgraph {strange[0]} was delegated, but "
            "the model has no such node: deploy again"
        )
    left = None if told.nodes is None else _left(read, told)
    work = sum(model.multiply_accumulates(graph, node) for _, _, graph, node in _nodes(read))
    share = None
    if left is not None and work:
        share = sum(node.multiply_accumulates for node in left) / work
    custom = {node.custom for _, _, _, node in _nodes(read) if node.custom is not None}
    logged = _logged(told.log, len(read.subgraphs), custom)
    return Delegation(
        told.engine,
        told.runtime_version,
        told.delegates,
        told.total if told.total >= 0 else len(everything),
        told.taken if told.taken >= 0 else None,
        told.partitions if told.partitions >= 0 else None,
        logged,
        None if logged is None or told.taken < 0 else logged == told.taken,
        left,
        share,
        (*told.warnings, *_slow(read, told, left, work)),
    )


class _Report:
    """A runner's report, believed only where it has the shape of one."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        try:
            counts = report["delegation"]
            nodes = counts.get("nodes")
            self.engine = str(report.get("engine", "tflite"))
            self.runtime_version = str(report.get("runtime_version", ""))
            self.applied = bool(counts["applied"])
            self.total, self.taken, self.partitions = (
                int(counts[key]) for key in ("nodes_total", "nodes_delegated", "partitions")
            )
            self.nodes = (
                None if nodes is None else {(int(graph), int(node)) for graph, node in nodes}
            )
            self.delegates = tuple(str(name) for name in counts.get("delegates") or ())
            self.warnings = tuple(str(line) for line in report["warnings"])
            self.log = tuple(str(line) for line in report.get("runtime_log") or ())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BoardError(
                f"the runner's report of the delegation is damaged ({error!r}): deploy again"
            ) from None


# "... for the whole graph." in TensorFlow 2.14, "... for subgraph 0." since, "(main)" after it in
# LiteRT. The partitions that it counts are all pieces of the graph, not the delegate's alone.
_REPLACING = re.compile(
    r"Replacing (\d+) out of \d+ node\(s\) with delegate \((.*?)\) node, "
    r"yielding \d+ partitions for (?:the whole graph|subgraph (\d+))"
)


def _logged(log: Iterable[str], graphs: int, custom: Set[str]) -> int | None:
    """:param custom: operators of the model whose kernels come by --ops: each of their nodes is
    replaced by one of the same name, which counts as nobody's."""
    counts: dict[tuple[str, str], list[int]] = {}
    for line in log:
        for taken, delegate, graph in _REPLACING.findall(line):
            if delegate in custom:
                continue
            counts.setdefault((delegate, graph), []).append(int(taken))
    if not counts:
        return None
    # Delegates are applied anew when shapes change: the last line of a graph is the one that holds.
    # Without the graph's number, each has its line in turn.
    return sum(sum(each[-1 if graph else -graphs :]) for (_, graph), each in counts.items())


# What XNNPACK's delegate knows, of any version up to LiteRT 2.3: the operators of VisitNode and the
# checks of types in tensorflow/lite/delegates/xnnpack/xnnpack_delegate.cc (now tflite/delegates/ in
# LiteRT), and "Limitations and supported operators" in the README.md beside it.
_QUANTIZED = frozenset(
    {
        *("ADD", "CONCATENATION", "CONV_2D", "DEPTH_TO_SPACE", "DEPTHWISE_CONV_2D"),
        *("DEQUANTIZE", "ELU", "EXPAND_DIMS", "FULLY_CONNECTED", "LEAKY_RELU", "LOGISTIC"),
        *("MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE", "RESHAPE", "RESIZE_BILINEAR"),
        *("SLICE", "SPACE_TO_DEPTH", "SPLIT", "STRIDED_SLICE", "SUB", "SUM", "TANH"),
        *("TRANSPOSE", "TRANSPOSE_CONV"),
    }
)
_FLOAT = _QUANTIZED | frozenset(
    {
        *("ABS", "ASSIGN_VARIABLE", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CEIL", "COS", "DIV"),
        *("EXP", "FLOOR", "GELU", "HARD_SWISH", "MAXIMUM", "MINIMUM", "NEG", "PRELU"),
        *("READ_VARIABLE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1"),
        *("ROUND", "RSQRT", "SIN", "SOFTMAX", "SQRT", "SQUARE", "SQUARED_DIFFERENCE"),
        *("STABLEHLO_COMPOSITE", "VAR_HANDLE"),
    }
)
_CUSTOM = frozenset({"Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D"})

_EIGHT_BITS = ("int8", "uint8")
_DYNAMIC_TENSOR = re.compile(r"tensor#(\d+) is a dynamic-sized tensor")
_REFUSED = "XNNPACK can't be used"
_LACKING = re.compile(r"no XNNPACK|without XNNPACK|XNNPACK was not asked")


def _activations(graph: Subgraph, node: Operator) -> list[str]:
    """Types of what flows through a node; weights, axes and shapes are constants."""
    tensors = (*graph.input_tensors(node), *graph.output_tensors(node))
    return [tensor.dtype for tensor in tensors if not tensor.constant]


def _precision(graph: Subgraph, node: Operator) -> str:
    """``int8``, ``uint8``, ``hybrid`` (weights of 8 or 4 bits, real activations) or ``real``."""
    flowing = _activations(graph, node)
    for kind in _EIGHT_BITS:
        if kind in flowing:
            return kind
    weights = [tensor.dtype for tensor in graph.input_tensors(node)[1:2] if tensor.constant]
    return "hybrid" if weights and weights[0] in (*_EIGHT_BITS, "int4") else "real"


def _left(read: Model, told: _Report) -> tuple[Left, ...]:
    taken = told.nodes or set()
    # What XNNPACK took somewhere in this model it was built for.
    seen = {
        _precision(graph, node)
        for number, index, graph, node in _nodes(read)
        if (number, index) in taken
    }
    whole, without = _whole_graph(read, told), _without(read, _lacking(told))
    return tuple(
        Left(
            number,
            index,
            _title(node),
            whole or _never(graph, node) or without or _reason(graph, node, seen),
            model.multiply_accumulates(graph, node),
        )
        for number, index, graph, node in _nodes(read)
        if (number, index) not in taken
    )


def _whole_graph(read: Model, told: _Report) -> str | None:
    """The reason if it is not any single node's."""
    if "XNNPACK" in told.delegates or _lacking(told) is not None:
        return None
    for line in (*told.warnings, *told.log):
        if found := _DYNAMIC_TENSOR.search(line):
            return (
                f"XNNPACK refused the graph: {_tensor_name(read, int(found[1]))} has no fixed size"
            )
    for line in told.warnings:
        if _REFUSED in line:
            return f"XNNPACK refused the graph: {line.rpartition(': ')[2]}"
    return "the delegate left it, and XNNPACK was not applied" if told.applied else "no delegate"


def _lacking(told: _Report) -> str | None:
    """The runner's warning that the runtime has no XNNPACK, or did not ask it."""
    return next((line for line in told.warnings if _LACKING.search(line)), None)


def _without(read: Model, warning: str | None) -> str | None:
    if warning is None:
        return None
    real = any(tensor.dtype == "float32" for graph in read.subgraphs for tensor in graph.tensors)
    if real or "not asked" not in warning:
        return "the runtime was built without XNNPACK"
    # TensorFlow 2.14 looks for a tensor of a type that its XNNPACK was built for.
    return "the runtime has no XNNPACK, or keeps it for models with float32 tensors"


def _tensor_name(read: Model, index: int) -> str:
    names = [g.tensors[index].name for g in read.subgraphs if index < len(g.tensors)]
    return f"tensor '{names[0]}'" if len(names) == 1 else f"tensor {index}"


def _never(graph: Subgraph, node: Operator) -> str | None:
    """Why no XNNPACK takes a node, of whatever build and version up to the table's."""
    flowing, precision = _activations(graph, node), _precision(graph, node)
    if node.custom is not None and node.custom not in _CUSTOM:
        return "custom operator"
    if node.custom is None and node.name not in _FLOAT:
        return f"no XNNPACK kernel for {node.name}"
    for dtype in flowing:
        if dtype not in ("float32", *_EIGHT_BITS, "resource"):
            return f"dtype {dtype} has no XNNPACK kernel"
    if precision in _EIGHT_BITS and node.name not in _QUANTIZED:
        return f"{node.name} has no {precision} kernel in XNNPACK"
    return None


def _reason(graph: Subgraph, node: Operator, seen: set[str]) -> str:
    """Why this XNNPACK, which was applied, did not take a node that others may take."""
    precision = _precision(graph, node)
    if precision in _EIGHT_BITS and precision not in seen:
        return (
            f"quantized {precision}, but this runtime's XNNPACK took no {precision} node: most "
            f"likely built without its {precision} kernels"
        )
    if precision == "hybrid" and "hybrid" not in seen:
        return (
            "float32 with weights of 8 bits or fewer, but this runtime's XNNPACK took no such "
            "node: most likely built without its kernels for them"
        )
    for tensor in _open(graph, node):
        axis = tensor.open_axes[0]
        return f"dynamic shape (axis {axis} of tensor '{tensor.name}' is -1)"
    return "XNNPACK declined it (its parameters or shapes, or this version is too old for it)"


def _open(graph: Subgraph, node: Operator) -> list[Tensor]:
    tensors = (*graph.input_tensors(node), *graph.output_tensors(node))
    return [tensor for tensor in tensors if tensor.open_axes]


def _slow(read: Model, told: _Report, left: tuple[Left, ...] | None, work: int) -> Iterable[str]:
    """Builds that are known to be slow for a model such as this."""
    lacking = _lacking(told) is not None
    if not left or not work or not (lacking or "XNNPACK" in told.delegates):
        return
    taken = told.nodes or set()
    behind: dict[str, int] = {}
    taken_of: dict[str, int] = {}
    for number, index, graph, node in _nodes(read):
        into = taken_of if (number, index) in taken else behind
        if node.name in _FLOAT:
            kind = _precision(graph, node)
            into[kind] = into.get(kind, 0) + model.multiply_accumulates(graph, node)
    for kind in _EIGHT_BITS:
        if behind.get(kind) and not taken_of.get(kind):
            yield (
                f"{behind[kind] / work:.0%} of the multiply-accumulates run on built-in {kind} "
                "kernels, although XNNPACK has its own: on x86_64 this was measured to cost 23 "
                "times (MobileNetV2 int8, tflite-runtime 2.14 against LiteRT); try another runtime"
            )
    if behind.get("real") and lacking:
        yield (
            f"{behind['real'] / work:.0%} of the multiply-accumulates run on built-in float "
            "kernels, for want of XNNPACK: on x86_64 this was measured to cost 5 times "
            "(MobileNetV2 float32, two builds of 2.14); try another runtime"
        )
