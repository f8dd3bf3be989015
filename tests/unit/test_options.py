"""Options: their text forms, and the runner's flags."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from edge import options
from edge.errors import UsageError
from edge.options import Delegate, Options


def test_defaults_say_only_the_threads() -> None:
    assert Options().argv() == ["--threads", "1"]


def test_everything_becomes_a_flag() -> None:
    chosen = Options(
        signature="add",
        shapes=(("x", (1, 224, 224, 3)),),
        batch=4,
        threads=2,
        xnnpack=False,
        delegate=Delegate("libx.so", settings=(("device", "usb:0 & 1"), ("empty", ""))),
    )
    assert chosen.argv(PurePosixPath("/r/lib/delegate/libx.so")) == [
        *("--threads", "2", "--no-xnnpack", "--signature", "add"),
        *("--shape", "x=1x224x224x3", "--batch", "4"),
        *("--delegate", "external:/r/lib/delegate/libx.so?device=usb%3A0%20%26%201&empty="),
    ]


def test_shapes() -> None:
    assert options.shapes(["x=1x2", "a=b=3"]) == (("x", (1, 2)), ("a=b", (3,)))


@pytest.mark.parametrize(
    "text",
    ["x", "=1", "x=", "x=1x", "x=1,2", "x=-1", "x=0x3", "x=1x2x3x4x5x6x7x8x9", f"x={2**31}"],
)
def test_shapes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--shape"):
        options.shapes([text])


def test_a_name_has_one_shape() -> None:
    with pytest.raises(UsageError, match="twice"):
        options.shapes(["x=1", "x=2"])


def test_a_delegate_of_this_machine() -> None:
    assert options.delegate("external:./libx.so?a=1&b=") == Delegate(
        "./libx.so", False, (("a", "1"), ("b", ""))
    )


def test_a_delegate_of_the_board() -> None:
    found = options.delegate("external:board:/usr/lib/libvx_delegate.so")
    assert found == Delegate("/usr/lib/libvx_delegate.so", True)
    assert Options(delegate=found).argv()[-1] == "external:/usr/lib/libvx_delegate.so"


@pytest.mark.parametrize(
    "text", ["libx.so", "gpu:libx.so", "external:", "external:x?novalue", "external:board:libx.so"]
)
def test_delegates_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--delegate"):
        options.delegate(text)
