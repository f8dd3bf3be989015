"""Changes to .tflite files, for models that nobody would make on purpose."""

from __future__ import annotations

import struct

FULLY_CONNECTED = 9
SOFTMAX = 25


def with_operator(
    model: bytes, old: int, *, code: int | None = None, version: int | None = None
) -> bytes:
    """The model with a builtin operator's code or version replaced.

    The file's schema: the root table's field 1 is the vector of operator codes; their fields 0,
    2 and 3 are the deprecated one-byte code, the version and the code.
    """
    changed = bytearray(model)

    def number(place: int, kind: str) -> int:
        return int(struct.unpack_from(f"<{kind}", model, place)[0])

    def field(table: int, index: int) -> int:
        """Where a table's field stands; 0 if it is absent."""
        vtable = table - number(table, "i")
        if number(vtable, "H") <= 4 + 2 * index:
            return 0
        offset = number(vtable + 4 + 2 * index, "H")
        return table + offset if offset else 0

    codes = field(number(0, "I"), 1)
    vector = codes + number(codes, "I")
    for index in range(number(vector, "I")):
        entry = vector + 4 + 4 * index
        table = entry + number(entry, "I")
        if number(field(table, 0), "b") != old:
            continue
        if code is not None:
            struct.pack_into("<b", changed, field(table, 0), min(code, 127))
            struct.pack_into("<i", changed, field(table, 3), code)
        if version is not None:
            struct.pack_into("<i", changed, field(table, 2), version)
        return bytes(changed)
    raise AssertionError(f"the model has no operator {old}")
