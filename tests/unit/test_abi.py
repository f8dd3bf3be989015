from __future__ import annotations

import pytest

from edge import abi
from edge.errors import BoardError, HostError, UsageError


def test_a_sample_is_32_bytes_in_the_documented_order() -> None:
    dtype = abi.sample_dtype()
    assert dtype.itemsize == 32
    assert dtype.names == ("start_ns", "elapsed_ns", "iterations", "cpu", "due_ns")
    offsets = [dtype.fields[name][1] for name in dtype.names]  # type: ignore[index]
    assert offsets == [0, 8, 16, 20, 24]
    kinds = [str(dtype[name]) for name in dtype.names]
    assert kinds == ["uint64", "uint64", "uint32", "int32", "uint64"]


def test_the_declarations_hold_no_preprocessor_line() -> None:
    assert not [line for line in abi.declarations().splitlines() if line.startswith("#")]


def test_an_unknown_constant_is_an_error() -> None:
    with pytest.raises(HostError, match="EDGE_NO_SUCH"):
        abi.constant("EDGE_NO_SUCH")


def test_a_constant_is_what_the_compiler_would_say() -> None:
    assert abi.constant("EDGE_BUSY") == 12
    assert abi.constant("EDGE_MAX_RANK") == 8


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("EDGE_USAGE", UsageError),
        ("EDGE_BAD_MODEL", UsageError),
        ("EDGE_UNSUPPORTED_OP", UsageError),
        ("EDGE_BAD_INPUT", UsageError),
        ("EDGE_BAD_LIBRARY", UsageError),
        ("EDGE_NO_SPACE", BoardError),
        ("EDGE_BUSY", BoardError),
        ("EDGE_CORRUPT", BoardError),
        ("EDGE_INTERNAL", BoardError),
    ],
)
def test_codes_become_the_class_of_who_can_mend_it(code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^what happened$"):
        abi.check(abi.constant(code), " what happened\n")


def test_a_code_that_nobody_knows_is_the_boards_failure() -> None:
    with pytest.raises(BoardError, match="status 137 and said nothing"):
        abi.check(137, "")


def test_zero_is_no_error() -> None:
    abi.check(0, "ignored")
