"""Models: what one consists of, what delegates take of it, and what it computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from edge.report import count, shape, size, table

if TYPE_CHECKING:
    from edge.inspection import Contents, Delegation
    from edge.reference import Arrays


def contents_lines(contents: Contents) -> list[str]:
    """What a model is, in a few lines."""
    weights = ", ".join(f"{size(count)} {dtype}" for dtype, count in contents.weights.items())
    work = sum(graph.multiply_accumulates for graph in contents.graphs)
    nodes = sum(graph.nodes for graph in contents.graphs)
    arenas = [graph.arena_bytes for graph in contents.graphs if graph.arena_bytes is not None]
    lines = [
        f"{size(contents.file_bytes)}, {nodes} node{'s' if nodes != 1 else ''} in "
        f"{len(contents.graphs)} subgraph{'s' if len(contents.graphs) != 1 else ''}, "
        f"{count(work)} multiply-accumulates",
        f"weights: {weights or 'none'}",
    ]
    if arenas:
        lines.append(
            f"tensor arena: about {size(sum(arenas))}, without the kernels' own scratch buffers"
        )
    if contents.description:
        lines.append(f"description: {contents.description}")
    if contents.min_runtime_version:
        lines.append(f"needs TFLite {contents.min_runtime_version} or newer, as its file says")
    if contents.about is not None:
        said = contents.about
        lines.append(
            f"converted from {said.source} (sha256 {said.source_sha256}) to {said.variant} by "
            f"{said.made_by}"
        )
        if said.preprocessing is not None:
            lines.append(f"preprocessing: {said.preprocessing}")
        if said.labels:
            lines.append(f"labels: {', '.join(said.labels)}")
    if contents.metadata:
        listed = ", ".join(f"{name} ({size(each)})" for name, each in contents.metadata.items())
        lines.append(f"metadata: {listed}")
    if contents.largest_weights:
        largest = ", ".join(
            f"{weight.name} ({weight.dtype} {shape(weight.shape)}, {size(weight.bytes)})"
            for weight in contents.largest_weights[:3]
        )
        lines.append(f"largest weights: {largest}")
    return [*lines, *(f"note: {text}" for text in contents.warnings)]


def ports_table(contents: Contents) -> Table:
    """Inputs and outputs of every way into the model."""
    made = table("", ["way in", "", "name", "type", "shape", "quantization"], left=6)
    for entry in contents.entries:
        name = "tensors" if entry.signature is None else f"--signature {entry.signature}"
        for kind, ports in (("input", entry.inputs), ("output", entry.outputs)):
            for port in ports:
                found = port.quantization
                quantized = ""
                if found is not None and len(found.scales) == 1:
                    quantized = f"{found.scales[0]:.6g} * (q - {found.zero_points[0]})"
                    quantized = quantized.replace("- -", "+ ").replace(" - 0)", ")")
                elif found is not None and found.scales:
                    quantized = f"{len(found.scales)} scales"
                made.add_row(name, kind, port.name, port.dtype, shape(port.shape), quantized)
                name = ""
    return made


def kinds_table(contents: Contents) -> Table:
    """Operators, the most work first."""
    made = table("", ["operator", "version", "nodes", "multiply-accumulates"], left=2)
    for kind in contents.kinds:
        made.add_row(
            kind.operator + (" (custom)" if kind.custom else ""),
            ", ".join(map(str, kind.versions)),
            str(kind.nodes),
            count(kind.multiply_accumulates) if kind.multiply_accumulates else "",
        )
    return made


def delegation_table(told: Sequence[tuple[str, Delegation]]) -> Table:
    """What each engine's delegates took; ``told`` has the runtime's name with each."""
    made = table(
        "",
        ["engine", "runtime", "delegates", "nodes", "delegated", "partitions", "built-in kernels"],
        left=3,
    )
    for name, found in told:
        made.add_row(
            found.engine,
            name,
            ", ".join(found.delegates) or "none",
            str(found.nodes_total),
            "?" if found.nodes_delegated is None else str(found.nodes_delegated),
            "?" if found.partitions is None else str(found.partitions),
            "" if found.builtin_share is None else f"{100 * found.builtin_share:.0f} % of the work",
        )
    return made


def delegation_lines(name: str, found: Delegation) -> list[str]:
    """Why nodes stayed behind, what the runtime's own log says, and warnings."""
    from edge.inspection import causes

    head = f"{found.engine}, {name}:"
    lines = []
    for cause in causes(found):
        operators = ", ".join(f"{each} {operator}" for operator, each in cause.operators.items())
        lines.append(f"left to built-in kernels: {operators}: {cause.reason}")
    if found.left is None and found.nodes_delegated is not None:
        lines.append("this engine tells how many nodes were delegated, not which")
    if found.agrees is not None:
        verdict = "agrees" if found.agrees else "DISAGREES"
        lines.append(f"the runtime's own log {verdict}: {found.logged} nodes delegated")
    lines += [f"warning: {text}" for text in found.warnings]
    return [f"{head} {line}" for line in lines]


def inspection_json(contents: Contents, told: Sequence[tuple[str, Delegation]]) -> dict[str, Any]:
    return {
        **dataclasses.asdict(contents),
        "delegation": [{"runtime": name, **dataclasses.asdict(found)} for name, found in told],
    }


def inference_lines(outputs: Arrays, told: dict[str, Any], path: str) -> list[str]:
    """What came back, and where it is."""
    lines = [
        f"{name}: {array.dtype} [{', '.join(map(str, array.shape))}]"
        for name, array in outputs.items()
    ]
    lines += [f"warning: {text}" for text in told["warnings"]]
    return [*lines, f"written to {path}"]
