"""Python: the board's own, as the engines `python` and `native` need to know it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from edge.errors import BoardError
from edge.transport import Transport

OLDEST = (3, 9)
"""What edge/onboard.py is written for."""

# One line of JSON. numpy is found, not imported: that takes seconds on a small board. Its version
# is in the name of the folder beside it that pip or dpkg left.
_SCRIPT = r"""
import sys
import os, re, struct
try:
    import importlib.util
    spec = importlib.util.find_spec("numpy")
except Exception:
    spec = None
missing = []
for name in ("ctypes", "json", "zipfile", "resource"):
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
numpy = ""
if spec is not None and spec.origin:
    for entry in os.listdir(os.path.dirname(os.path.dirname(spec.origin))):
        found = re.match(r"numpy-([0-9][0-9A-Za-z.+]*?)(-py[0-9.]+)?\.(dist|egg)-info$", entry)
        if found:
            numpy = found.group(1)
    if not numpy:
        import numpy as module
        numpy = module.__version__
try:
    with open(sys.executable, "rb") as file:
        head = file.read(20)
    kind = "%d/%d" % (head[4], struct.unpack("<H", head[18:20])[0])
except Exception:
    kind = ""
text = '{"edge_python": 1, "version": "%d.%d.%d", "implementation": "%s", "flags": "%s",'
text += ' "elf": "%s", "numpy": "%s", "missing": "%s", "executable": "%s"}'
version = sys.version_info
print(text % (version[0], version[1], version[2], sys.implementation.name,
              getattr(sys, "abiflags", ""), kind, numpy, " ".join(missing),
              sys.executable.replace("\\", "/").replace('"', "")))
"""

# Class and machine of the ELF header; the kernel's word is not the userland's.
_MACHINES = {"2/183": "aarch64", "1/40": "armv7l", "2/62": "x86_64", "1/3": "i686"}


@dataclass(frozen=True)
class Python:
    """A Python on a board.

    :ivar program: what it is called by on the board.
    :ivar version: such as ``3.11``.
    :ivar machine: its own architecture, by its ELF header, e.g. ``aarch64``.
    :ivar tag: as wheels name it: ``cp311``.
    :ivar numpy: version of the board's own numpy; None if it has none.
    """

    program: str
    version: str
    machine: str
    tag: str
    numpy: str | None


def read(transport: Transport, program: str = "python3", *, timeout_s: float = 60.0) -> Python:
    """Ask the board, in one round trip and without importing numpy.

    :raises BoardError: it has no such program, one too old, or one without what engines need.
    """
    outcome = transport.run([program, "-B", "-c", _SCRIPT], timeout_s=timeout_s)
    if outcome.exit_code in (126, 127):
        raise BoardError(
            f"{transport.name} has no {program}: install Python 3 there (Debian: "
            "`apt install python3 python3-numpy`), name it in lab.toml "
            "(`python`), or use --engine tflite, which needs none"
        )
    return parse(outcome.text, f"{program} on {transport.name}", program, outcome.error_text)


def parse(text: str, name: str, program: str = "python3", error_text: str = "") -> Python:
    """The script's line, among those of a login banner.

    :param name: of the program and its board, for messages.
    :raises BoardError: there is no such line, or this Python can't run edge's script.
    """
    said = next((line for line in text.splitlines() if line.startswith('{"edge_python"')), "")
    try:
        values = {key: str(value) for key, value in json.loads(said).items()}
        major, minor = (int(part) for part in values["version"].split(".")[:2])
        if not re.fullmatch("[A-Za-z0-9.+]*", values["numpy"] + values["flags"]):
            raise ValueError("odd characters")
    except (ValueError, KeyError, AttributeError):
        last = (error_text.splitlines() or ["it printed nothing that edge knows"])[-1]
        raise BoardError(f"{name} does not work: {last[-200:]}") from None
    if (major, minor) < OLDEST:
        raise BoardError(
            f"{name} is {major}.{minor}: the engines python and native need "
            f"{'.'.join(map(str, OLDEST))} or newer; name one in lab.toml "
            '(python = "/opt/python3.11/bin/python3"), or use --engine tflite'
        )
    if values["implementation"] != "cpython":
        raise BoardError(
            f"{name} is {values['implementation']}: the interpreters' wheels are for CPython"
        )
    if values["missing"]:
        raise BoardError(
            f"{name} lacks the modules {values['missing'].replace(' ', ', ')} of Python's standard "
            "library: install all of it (Debian: `apt install python3`)"
        )
    machine = _MACHINES.get(values["elf"])
    if machine is None:
        raise BoardError(f"{name} is for a processor that edge does not know ({values['elf']})")
    tag = f"cp{major}{minor}{'t' if 't' in values['flags'] else ''}"
    return Python(program, f"{major}.{minor}", machine, tag, values["numpy"] or None)
