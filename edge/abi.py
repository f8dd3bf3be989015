"""The C ABI of firmware/include/edge.h, read by cffi in ABI mode.

No compiler is needed, and there is no second declaration.

:func:`check` is the one place where status codes, of library calls and of ``edge-run``, become
exceptions.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from edge import layout
from edge.errors import BoardError, EdgeError, HostError, UsageError
from edge.once import once

_BEGIN, _END = "/* edge:abi begin */", "/* edge:abi end */"


@functools.cache
def declarations() -> str:
    """The part of edge.h that cffi can read: plain C between the two marks."""
    header = layout.abi_header()
    text = header.read_text(encoding="utf-8")
    begin, end = text.find(_BEGIN), text.find(_END)
    if begin < 0 or end < begin:
        raise HostError(f"{header} lacks its '{_BEGIN}' marks: restore the file")
    return text[begin + len(_BEGIN) : end]


@once
def ffi() -> cffi.FFI:
    instance = cffi.FFI()
    instance.cdef(declarations())
    return instance


@functools.cache
def constant(name: str) -> int:
    """The value of an enum constant of edge.h, such as ``EDGE_ABI_VERSION``."""
    value = re.search(rf"\b{re.escape(name)}\s*=\s*(\d+)", declarations())
    if value is None:
        raise HostError(f"edge.h has no constant {name}")
    return int(value.group(1))


_USER = frozenset(
    {
        "EDGE_USAGE",
        "EDGE_NO_FILE",
        "EDGE_BAD_FILE",
        "EDGE_BAD_MODEL",
        "EDGE_UNSUPPORTED_OP",
        "EDGE_BAD_INPUT",
        "EDGE_BAD_LIBRARY",
    }
)


@functools.cache
def _user_codes() -> frozenset[int]:
    return frozenset(constant(name) for name in _USER)


def check(code: int, message: str) -> None:
    """Raise what a non-zero status stands for.

    :param code: an ``edge_status``, or a process's exit code (a crash: 128 + signal).
    :param message: one line from ``edge_error()`` or from the program's standard error.
    :raises UsageError: the input, model or library given is at fault.
    :raises BoardError: everything else that failed on the board.
    """
    if code == 0:
        return
    message = message.strip() or f"failed with status {code} and said nothing"
    kind: type[EdgeError] = UsageError if code in _user_codes() else BoardError
    raise kind(message)


@functools.cache
def sample_dtype() -> np.dtype[np.void]:
    """numpy's view of ``edge_sample``: start_ns, elapsed_ns (u8), iterations (u4), cpu (i4),
    due_ns (u8)."""
    return _struct_dtype("edge_sample")


def _struct_dtype(name: str) -> np.dtype[np.void]:
    kinds = {"uint64_t": "<u8", "uint32_t": "<u4", "int32_t": "<i4", "int64_t": "<i8"}
    ctype = ffi().typeof(name)
    names, formats, offsets = [], [], []
    for field, info in ctype.fields or ():
        names.append(field)
        formats.append(kinds[info.type.cname])
        offsets.append(info.offset)
    return np.dtype(
        {
            "names": names,
            "formats": formats,
            "offsets": offsets,
            "itemsize": ffi().sizeof(name),
        }
    )


class Library:
    """``libedge``, opened by cffi; refuses a library whose layout differs from the header's."""

    def __init__(self, path: Path) -> None:
        try:
            self.lib: Any = ffi().dlopen(str(path))
        except OSError as error:
            raise HostError(f"can't open {path}: {error}; build it with `invoke build`") from None
        self._check_layout(path)

    def _check_layout(self, path: Path) -> None:
        f = ffi()
        theirs = f.new("edge_abi_layout *")
        self.lib.edge_layout(theirs)
        ours = {
            "abi_version": constant("EDGE_ABI_VERSION"),
            "sample_bytes": f.sizeof("edge_sample"),
            "sample_start_ns": f.offsetof("edge_sample", "start_ns"),
            "sample_elapsed_ns": f.offsetof("edge_sample", "elapsed_ns"),
            "sample_iterations": f.offsetof("edge_sample", "iterations"),
            "sample_cpu": f.offsetof("edge_sample", "cpu"),
            "header_bytes": f.sizeof("edge_recording_header"),
            "header_count": f.offsetof("edge_recording_header", "count"),
        }
        for field, value in ours.items():
            if getattr(theirs, field) != value:
                raise HostError(
                    f"{path} was built from another edge.h ({field} is {getattr(theirs, field)}, "
                    f"this header says {value}): build it again with `invoke build`"
                )

    def check(self, code: int) -> None:
        """Raise the exception that ``code`` stands for, with the library's own message."""
        if code != 0:
            message: Any = ffi().string(self.lib.edge_error())
            check(code, message.decode("utf-8", "replace"))

    def check_model(self, path: Path) -> None:
        """Walk a .tflite file's offsets.

        :raises UsageError: it is missing, no model, or a damaged one.
        """
        self.check(self.lib.edge_model_check(str(path).encode()))
