"""Inputs to begin fuzzing with, one folder per target: what users' own tools really write.

    python firmware/fuzz/seeds.py FOLDER

The corpus in the repository grew from these; they are made anew when a format gains something.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lz4.block
import numpy as np
import numpy.typing as npt

from edge import tiny

DTYPES = ("<f4", "<f2", "<f8", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "?", "<c8")


def npy(array: npt.NDArray[Any], version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)  # type: ignore[no-untyped-call]
    return file.getvalue()


def npys() -> Iterator[bytes]:
    for dtype in DTYPES:
        yield npy(np.arange(6).astype(dtype).reshape(1, 2, 3))
    for version in ((1, 0), (2, 0), (3, 0)):
        yield npy(np.zeros((2, 2), np.int8), version)
    yield npy(np.asfortranarray(np.zeros((2, 3), np.float32)))
    yield npy(np.zeros((2,), ">f4"))
    yield npy(np.float32(1.5).reshape(()))
    yield npy(np.zeros((0, 3), np.int32))
    yield npy(np.zeros((1,) * 32, np.uint8))
    yield npy(np.zeros(2, [("a", "<i4"), ("b", "<f4")]))
    yield npy(np.array(["a", "bc"]))
    yield npy(np.array([{}, []], object))
    # As Python 2 wrote it.
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3L,), }"
    yield b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"abc"


def npzs() -> Iterator[bytes]:
    def saved(**arrays: npt.NDArray[Any]) -> bytes:
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    yield saved()
    yield saved(x=np.arange(4, dtype=np.float32))
    named: dict[str, npt.NDArray[Any]] = {"serving_default_x:0": np.zeros((1, 4), np.int8)}
    yield saved(**named, b=np.ones(2))
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros(9))
    yield file.getvalue()
    yield npy(np.arange(3, dtype=np.int16))
    # As of an archive beyond 4 GB: all sizes and offsets in zip64 fields.
    file = io.BytesIO()
    with mock.patch.object(zipfile, "ZIP64_LIMIT", 1), zipfile.ZipFile(file, "w") as archive:
        for name in ("a", "b"):
            with archive.open(name + ".npy", "w", force_zip64=True) as member:
                member.write(npy(np.arange(2, dtype=np.uint8)))
    yield file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = b"with a comment"
        archive.writestr("folder/x.npy", npy(np.zeros(1, bool)))
    yield file.getvalue()


def models() -> Iterator[bytes]:
    for dtype in tiny.DTYPES:
        yield tiny.elementwise(dtype)
    yield from (tiny.delegable(), tiny.scalar(), tiny.several(), tiny.two_signatures())
    yield from (tiny.dynamic(), tiny.dynamic_output(), tiny.counter(), tiny.custom_op())
    yield from (tiny.quantized(dtype) for dtype in tiny.ZERO_POINTS)
    yield tiny.several()[:-40]


def flags() -> Iterator[bytes]:
    lines = (
        "infer --lib lib/libtflite.so --model models/m.tflite --input x.npz --each --output y.npz",
        "infer --input serving_default_x:0=x.npy --input b=y=z.npy --threads 4 --no-xnnpack",
        "bench --model=m.tflite --samples=/dev/shm/s --count 1000 --iterations auto",
        "bench --engine litert --signature serving_default --batch 8 --warmup 0 --warmup-ms 0",
        "inspect --shape x=1x224x224x3 --shape dense/b:0=1 --shape a=b=2x-1 --dequantize",
        "infer --delegate external:/usr/lib/lib%20x.so?cache=a%26b&device=0 --threads 1025",
        "infer --input - --output - --each --memory 250000000",
        "infer --input x=- --memory 0 --memory 9223372036854775808",
        "infer --help",
        "infer --threads= --threads -1 --threads 99999999999999999999",
    )
    for line in lines:
        yield "\0".join(line.split()).encode()


def recordings() -> Iterator[bytes]:
    for count in (0, 1, 3):
        header = struct.pack("<8s4I5Q", b"EDGESMPL", 2, 64, 24, 0, 3, count, 1, 20, 30)
        samples = b"".join(struct.pack("<QQIi", i, 100 + i, 1, -1) for i in range(3))
        yield header + samples
        yield header + samples[:-5]


def jsons() -> Iterator[bytes]:
    yield 'tensor "quoted" \\ \n\t\0\x1f\x7f ä € 😀'.encode()
    yield b"\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80\xe2\x82"
    for value in (0.1, 1e-45, 3.4e38, float("nan"), -0.0):
        yield struct.pack("<f", value)


def blocks() -> Iterator[bytes]:
    for raw in (
        b"",
        b"a",
        b"abcd" * 5,
        b"a" * 300,
        bytes(range(256)) * 3,
        bytes(i * i % 251 for i in range(40)),
    ):
        for mode in ("fast", "high_compression"):
            packed = lz4.block.compress(raw, mode=mode, store_size=False)
            yield struct.pack("<H", len(raw)) + packed
            yield struct.pack("<H", len(raw) + 1) + packed[:-1]


def conversations() -> Iterator[bytes]:
    content = b"content\n" * 5
    size = len(content)
    sha = hashlib.sha256(content).hexdigest()
    packed = lz4.block.compress(content, store_size=False)
    manifest = json.dumps({"files": {"bin/a": sha}}).encode()
    line = f"put {sha} {size} 0 555\n".encode()
    put = line + f"{size} {size}\n".encode() + content
    pack = line + f"{len(packed)} {size}\n".encode() + packed
    name = hashlib.sha256(manifest).hexdigest()[:16]
    release = f"release {name} 1 {len(manifest)}\nbin/a {sha}\n".encode() + manifest
    live = put + release + f"switch {name}\nsettle {name} 4\nday\n".encode()
    short = hashlib.sha256(b"{}").hexdigest()
    rest = f"release {short} 0 2\n{{}}switch {short}\nlog 4\nday\nping\nquit\n".encode()
    yield put + release + f"switch {name}\n".encode() + rest
    yield f"have 2\n{sha} {size}\n{'0' * 64} 1\n".encode() + put + b"sweep\ncurrent\n"
    yield put[:-3] + b"quit\n"
    yield pack[:-3]
    yield put + release + release + f"drop {name}\nhave 1\n{sha} {size}\nquit\n".encode()
    yield f"put {sha} 8 0 444\n8 8\nwrong!!\nput {sha} 8 4 444\n4 4\nent\n".encode()
    yield line + b"5 40\n12345" + pack + line + b"40 5\n"
    yield put + f"release {name} 2 2\na/b {sha}\na {sha}\n{{}}quit\n".encode()
    yield pack + f"have 1\n{sha} {size}\n".encode() + put + release + b"list\nswitch -\ncurrent\n"
    yield live + f"pin {name}\nlist\n".encode() + rest + f"drop {name}\nunpin {name}\n".encode()
    yield live + f"pin {name}\nclear\nlist\nclear force\n".encode() + live


TARGETS = {
    "flags": flags,
    "json": jsons,
    "lz4": blocks,
    "model": models,
    "npy": npys,
    "npz": npzs,
    "recording": recordings,
    "store": conversations,
}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python firmware/fuzz/seeds.py FOLDER")
    for target, seeds in TARGETS.items():
        folder = Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for seed in seeds():
            (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
