"""Blocks: a file's content as the store protocol carries it, packed where that makes it smaller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import BinaryIO

import lz4.block

from edge.errors import HostError

BLOCK_BYTES = 1 << 18
"""What the board's side unpacks at once."""

_WORTH = 0.95
_HARDER = 4
"""Of lz4's levels: four fifths of what the highest one gains, at twice its speed."""
_SLOW = 20
"""Harder packing takes four times as long as quick packing and saves a sixth of the bytes: it pays
where the link takes so many times as long as quick packing."""


def of(file: BinaryIO, start: int, size_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The content from ``start`` to ``size_bytes``, no byte more or less: docs/store-protocol.md.

    How hard it is packed follows the link: by how long the consumer takes to pass a block on.

    :return: each block, after the number of content's bytes in it.
    :raises HostError: the file is shorter.
    """
    file.seek(start)
    link_s, quick_s = 0.0, float("inf")
    while start < size_bytes:
        raw = file.read(min(BLOCK_BYTES, size_bytes - start))
        if not raw:
            raise HostError(f"{file.name} became shorter while it was sent: run the command again")
        began = time.perf_counter()
        harder = link_s > _SLOW * quick_s
        packed = _packed(raw, harder=harder)
        packing_s = time.perf_counter() - began
        if not harder:
            quick_s = packing_s
        start += len(raw)
        yield len(raw), f"{len(packed)} {len(raw)}\n".encode() + packed
        link_s = time.perf_counter() - began - packing_s


def _packed(raw: bytes, *, harder: bool) -> bytes:
    if harder:
        packed = lz4.block.compress(
            raw, mode="high_compression", compression=_HARDER, store_size=False
        )
    else:
        packed = lz4.block.compress(raw, store_size=False)
    return packed if len(packed) < len(raw) * _WORTH else raw
