"""Flatbuffer: a .tflite file taken apart, so that it can be changed, and put together again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge import artifact
from edge import model as model_module
from edge.errors import UsageError

_ALIGNMENT = 16
"""Of constant data; the schema demands it, Python's generated writer does not know."""


class _Buffer(schema.BufferT):  # type: ignore[misc]
    """Packs its data where kernels may load it as vectors."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.data = data

    def Pack(self, builder: Any) -> int:
        place = None
        if self.data is not None:
            content = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(content), _ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            place = builder.EndVector()
        schema.BufferStart(builder)
        if place is not None:
            schema.BufferAddData(builder, place)
        return int(schema.BufferEnd(builder))


def load(path: Path) -> Any:
    """The file's tables as objects, of the schema's ``ModelT``.

    :raises UsageError: it can't be read, is damaged, or keeps data behind its tables (over 2 GB).
    """
    model_module.read(path)
    content = path.read_bytes()
    tables = schema.ModelT.InitFromPackedBuf(content, 0)
    if any(buffer.offset > 1 for buffer in tables.buffers):
        raise UsageError(f"{path} keeps its data behind its tables: too large to be changed")
    return tables


def save(path: Path, tables: Any) -> None:
    """Write the tables, in one go: a reader sees the old file or the new one."""
    tables.buffers = [_Buffer(buffer.data) for buffer in tables.buffers]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tables.Pack(builder), b"TFL3")
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(bytes(builder.Output()))
    artifact.move_into_place(part, path)


def name(value: Any) -> str:
    """Names come as bytes out of a file, and as text from whoever set them."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def add_note(tables: Any, key: str, content: bytes) -> None:
    """Set one entry of the model's metadata."""
    entries = [entry for entry in tables.metadata or [] if name(entry.name) != key]
    made = schema.MetadataT()
    made.name, made.buffer = key, len(tables.buffers)
    tables.buffers.append(_Buffer(np.frombuffer(content, np.uint8)))
    tables.metadata = [*entries, made]


def name_ports(tables: Any) -> None:
    """Give the main subgraph's inputs and outputs the names of its signature.

    Converters call them ``serving_default_image:0``; TFLite's classic C API knows no signatures.
    A tensor that is several outputs has the last one's name.
    """
    for signature in tables.signatureDefs or []:
        if signature.subgraphIndex == 0:
            tensors = tables.subgraphs[0].tensors
            for port in [*(signature.inputs or []), *(signature.outputs or [])]:
                tensors[port.tensorIndex].name = port.name


def expose(tables: Any, tensors: list[int]) -> None:
    """Make tensors of the main subgraph its outputs, and drop signatures, which know others."""
    tables.subgraphs[0].outputs = np.asarray(tensors, np.int32)
    tables.signatureDefs = None
