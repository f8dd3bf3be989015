"""Layers: where in a network two machines part, by its intermediate tensors.

The model is written again with every node's result among its outputs. That keeps a delegate from
fusing nodes, so the numbers may differ from those of the model itself; whether they do is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge import dataset, flatbuffer
from edge.errors import UsageError
from edge.model import Model, Operator
from edge.reference import Arrays

_NUMBERS = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "bool")


@dataclass(frozen=True)
class Layer:
    """One node's result, on all samples.

    :ivar node: its number in the file, in the order in which nodes run.
    :ivar elements: of all samples.
    :ivar unequal: how many of them are not the same, bit by bit.
    :ivar largest_difference: as real numbers. ``largest_steps``: of its quantization; None if it
        has none.
    :ivar relative: root mean square of the differences, as a part of that of the values.
    :ivar added: ``relative``, less the largest of the results that the node was given: most of it
        is handed down from before.
    """

    node: int
    operator: str
    name: str
    dtype: str
    elements: int
    unequal: int
    largest_difference: float
    largest_steps: float | None
    relative: float
    added: float


@dataclass(frozen=True)
class Parting:
    """:ivar first: the first node with unequal results; None: all are equal.
    :ivar worst: the node that adds the most to the relative difference.
    :ivar as_model: samples for which this model's outputs are those of the model itself, on the
        board; the rest shows what fusing does.
    """

    samples: tuple[int, ...]
    layers: tuple[Layer, ...]
    as_model: int

    @property
    def first(self) -> Layer | None:
        return next((layer for layer in self.layers if layer.unequal), None)

    @property
    def worst(self) -> Layer | None:
        found = [layer for layer in self.layers if layer.unequal]
        return max(found, key=lambda layer: layer.added, default=None)


def tensor_name(index: int) -> str:
    """Of an exposed tensor: converters give one name to several."""
    return f"tensor_{index}"


def shown(read: Model) -> tuple[tuple[int, Operator, int], ...]:
    """Node, operator and tensor, for each result that can be fetched: numbers, of one known shape.

    :raises UsageError: there is none.
    """
    graph = read.subgraphs[0]
    found = tuple(
        (number, node, index)
        for number, node in enumerate(graph.operators)
        for index in node.outputs
        if index >= 0
        and graph.tensors[index].dtype in _NUMBERS
        and graph.tensors[index].shape
        and not graph.tensors[index].constant
    )
    if not found:
        raise UsageError("--layers: this model has no intermediate results that can be fetched")
    return found


def expose(path: Path, read: Model, target: Path) -> None:
    """Write the model to ``target`` with every result of :func:`shown` as an output."""
    tables = flatbuffer.load(path)
    results = [index for _, _, index in shown(read)]
    for index in results:
        tables.subgraphs[0].tensors[index].name = tensor_name(index)
    flatbuffer.expose(tables, results)
    flatbuffer.save(target, tables)


def compare(read: Model, here: Arrays, there: Arrays) -> tuple[Layer, ...]:
    """:param here: outputs of the exposed model by name; ``there`` too."""
    graph = read.subgraphs[0]
    made = []
    relative: dict[int, float] = {}
    for number, node, index in shown(read):
        tensor, name = graph.tensors[index], tensor_name(index)
        a = dataset.dequantized(here[name], tensor.quantization)
        b = dataset.dequantized(there[name], tensor.quantization)
        unequal = (here[name] != there[name]) & ~(np.isnan(a) & np.isnan(b))
        apart = np.abs(np.where(unequal, a - b, 0.0))
        largest = float(apart.max(initial=0.0))
        scale = float(np.sqrt(np.mean(a**2))) if a.size else 0.0
        rms = float(np.sqrt(np.mean(apart**2))) if a.size else 0.0
        relative[index] = rms / scale if scale else rms
        given = max((relative.get(source, 0.0) for source in node.inputs), default=0.0)
        made.append(
            Layer(
                number,
                node.custom or node.name,
                tensor.name,
                tensor.dtype,
                a.size,
                int(unequal.sum()),
                largest,
                None if tensor.quantization is None else largest / tensor.quantization.scales[0],
                relative[index],
                relative[index] - given,
            )
        )
    return tuple(made)


def as_model(read: Model, exposed: Arrays, outputs: Arrays, samples: Sequence[int]) -> int:
    """How many samples have the model's own outputs, bit by bit.

    :param exposed: outputs of the exposed model, for ``samples`` alone.
    :param outputs: of the model itself, for all samples.
    """
    graph = read.subgraphs[0]
    names = {graph.tensors[i].name: tensor_name(i) for i in graph.outputs}
    pairs: list[tuple[Any, Any]] = [
        (exposed[tensor], outputs[name][list(samples)])
        for name, tensor in names.items()
        if tensor in exposed
    ]
    same = np.ones(len(samples), bool)
    for a, b in pairs:
        rows = len(samples)
        same &= (a.reshape(rows, -1) == b.reshape(rows, -1)).all(axis=1)
    return int(same.sum())
