from __future__ import annotations

import json
from typing import Any

import pytest

from edge import python
from edge.errors import BoardError


def said(**changes: Any) -> str:
    values = {
        "edge_python": 1,
        "version": "3.11.2",
        "implementation": "cpython",
        "flags": "",
        "elf": "2/183",
        "numpy": "1.24.2",
        "missing": "",
        "executable": "/usr/bin/python3",
    }
    return json.dumps({**values, **changes}) + "\n"


def test_a_boards_python() -> None:
    found = python.parse("Welcome to the board!\n" + said(), "python3 on rpi4")
    assert found == python.Python("python3", "3.11", "aarch64", "cp311", "1.24.2")
    assert python.parse(said(elf="1/40", numpy=""), "p").machine == "armv7l"
    assert python.parse(said(numpy=""), "p").numpy is None
    assert python.parse(said(version="3.13.5", flags="t"), "p").tag == "cp313t"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (said(version="3.8.10"), "3.9 or newer; name one in lab.toml"),
        (said(version="2.7.18"), "3.9 or newer"),
        (said(implementation="pypy"), "for CPython"),
        (said(missing="ctypes json"), "lacks the modules ctypes, json"),
        (said(elf="2/243"), "processor that edge does not know"),
        (said(version="new"), "does not work"),
        (said(numpy="1.2; rm -rf"), "does not work"),
        ('{"edge_python": 1}', "does not work"),
        ('{"edge_python": [', "does not work"),
        ("no such thing", "SyntaxError: invalid syntax"),
    ],
)
def test_a_python_that_will_not_do(text: str, words: str) -> None:
    with pytest.raises(BoardError) as error:
        python.parse(text, "python3 on rpi4", error_text="Traceback\nSyntaxError: invalid syntax")
    assert str(error.value).startswith("python3 on rpi4")
    assert words in str(error.value)
