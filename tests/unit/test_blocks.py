"""What goes over the link unpacks to what was read, and is never larger than that."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import blocks
from edge.errors import HostError


def unpacked(pieces: Iterator[tuple[int, bytes]]) -> bytes:
    """As docs/store-protocol.md has it."""
    content = b""
    for told, piece in pieces:
        head, _, body = piece.partition(b"\n")
        packed, raw = map(int, head.split(b" "))
        assert (told, len(body)) == (raw, packed)
        assert packed <= raw <= blocks.BLOCK_BYTES
        content += body if packed == raw else lz4.block.decompress(body, uncompressed_size=raw)
    return content


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 30_000)), max_size=4),
    st.integers(0, 100),
)
def test_it_comes_out_as_it_went_in(runs: list[tuple[bytes, int]], start: int) -> None:
    content = b"".join(pattern * count for pattern, count in runs)
    start = min(start, len(content))
    assert unpacked(blocks.of(io.BytesIO(content), start, len(content))) == content[start:]


def test_what_does_not_get_smaller_goes_as_it_is() -> None:
    content = random.Random(1).randbytes(blocks.BLOCK_BYTES + 7)
    size = blocks.BLOCK_BYTES
    heads = [f"{size} {size}\n".encode(), b"7 7\n"]
    sent = [piece for _, piece in blocks.of(io.BytesIO(content), 0, len(content))]
    assert sent == [heads[0] + content[:size], heads[1] + content[size:]]


def test_a_slow_link_gets_harder_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    asked: list[bool] = []
    monkeypatch.setattr("edge.blocks.time.perf_counter", lambda: now_s)

    def packed(raw: bytes, *, harder: bool) -> bytes:
        nonlocal now_s
        asked.append(harder)
        now_s += 0.004 if harder else 0.001
        return raw

    monkeypatch.setattr(blocks, "_packed", packed)
    # A quick link's own pace does not count as slow, nor does harder packing change what does.
    for link_s in (0.0, 0.01, 0.1):
        asked.clear()
        for _ in blocks.of(io.BytesIO(bytes(3 * blocks.BLOCK_BYTES)), 0, 3 * blocks.BLOCK_BYTES):
            now_s += link_s
        assert asked == [False, link_s > 0.02, link_s > 0.02]


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"1234")
    with path.open("rb") as file, pytest.raises(HostError, match="model became shorter"):
        list(blocks.of(file, 0, 5))
