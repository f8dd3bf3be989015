"""Board: a kind of hardware (boards/*.toml), joined with what is on the desk (lab.toml).

The mere existence of a file in boards/ creates a board. Unknown keys are errors.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from edge import layout, toml
from edge.errors import UsageError

VERIFIED = ("datasheet", "hardware", "emulated", "itself")
EMULATIONS = ("user", "machine")


@dataclass(frozen=True)
class Board:
    """A kind of hardware.

    :ivar arch: ``aarch64``, …: as in ``uname -m`` of the board's userland.
    :ivar cpu: the core, in the spelling of GCC and QEMU (``cortex-a72``).
    :ivar mcpu: what the runner is built for; ``generic`` runs on every board of the architecture.
    :ivar lto: whether the runner is optimized as a whole, at link time.
    :ivar cflags: more flags for the runner's compiler, quoted as in a shell.
    :ivar glibc: the oldest C library that the board's system may have, e.g. ``2.28``.
    :ivar cores: processor cores.
    :ivar memory_mib: main memory in MiB (the smallest variant sold).
    :ivar verified: who has seen these values: ``datasheet``, ``hardware`` or ``emulated``; a local
        board is asked ``itself``.
    :ivar local: this machine, without a link; what it can tell of itself need not be in the file.
    :ivar emulation: None for hardware; ``user`` or ``machine`` for QEMU.
    :ivar image: name of the emulated board's image, in edge/images.
    :ivar host: the SSH destination, from lab.toml; the board's own name if it says nothing.
    :ivar serial: its serial line, from lab.toml: a device or a URL that pyserial knows.
    :ivar root: device root, from lab.toml; absolute, or relative to the login's home.
    """

    name: str
    description: str
    arch: str
    cpu: str
    cores: int
    memory_mib: int
    glibc: str
    mcpu: str = "generic"
    lto: bool = False
    cflags: str = ""
    toolchain: str = "zig"
    runtime: str = "litert-2.1.0"
    verified: str = "datasheet"
    local: bool = False
    emulation: str | None = None
    image: str | None = None
    host: str | None = None
    serial: str | None = None
    root: str = layout.DEFAULT_ROOT

    @property
    def emulated(self) -> bool:
        return self.emulation is not None


_LAB_KEYS = frozenset({"host", "root", "serial"})
_OWN_KEYS = {f.name: f for f in fields(Board) if f.name not in _LAB_KEYS | {"name"}}
_KINDS: Mapping[str, type] = {"cores": int, "memory_mib": int, "local": bool, "lto": bool}
_KIND_NAMES = {int: "a whole number", bool: "true or false", str: "text"}


def files() -> dict[str, Path]:
    """Board name -> file, sorted by name."""
    return layout.definitions("boards", ".toml")


def load(name: str, *, host: str | None = None) -> Board:
    """The board ``name``, with lab.toml's entry for it laid over.

    :param host: an SSH destination that overrides lab.toml's.
    :raises UsageError: no such board, or a wrong key or value in its file or in lab.toml.
    """
    known = files()
    if name not in known:
        raise UsageError(
            f"no board '{name}'{_did_you_mean(name, frozenset(known))}: "
            f"`invoke boards` lists them; to add one, write boards/{name}.toml"
        )
    path = known[name]
    values = {"name": name, **_checked(path, toml.read(path), frozenset(_OWN_KEYS))}
    if values.get("local"):
        values = {**_this_machine(), **values}
    values.update(_lab_entry(name))
    if host is not None:
        values["host"] = host
    missing = [f.name for f in fields(Board) if f.default is MISSING and f.name not in values]
    if missing:
        raise UsageError(f"{path}: '{missing[0]}' is missing; see docs/boards.md for the keys")
    board = Board(**values)
    _check_values(board, path)
    return board


def _this_machine() -> dict[str, Any]:
    return {
        "arch": platform.machine(),
        "cpu": "native",
        "cores": os.cpu_count() or 1,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "verified": "itself",
    }


def load_all() -> tuple[Board, ...]:
    return tuple(load(name) for name in files())


def lab_file() -> Path:
    """``$EDGE_LAB``, or lab.toml in the working directory."""
    return Path(os.environ.get("EDGE_LAB") or "lab.toml")


def _lab_entry(name: str) -> dict[str, Any]:
    path = lab_file()
    if not path.exists():
        return {}
    lab = toml.read(path)
    _reject_unknown(path, lab, frozenset({"boards"}), "")
    boards = lab.get("boards", {})
    if not isinstance(boards, dict):
        raise UsageError(f"{path}: [boards] must be a table of tables, as in lab.example.toml")
    _reject_unknown(path, boards, frozenset(files()), "boards.")
    entry = boards.get(name, {})
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: [boards.{name}] must be a table, as in lab.example.toml")
    return _checked(path, entry, _LAB_KEYS, f"boards.{name}.")


def _checked(
    path: Path, table: Mapping[str, Any], allowed: frozenset[str], prefix: str = ""
) -> dict[str, Any]:
    _reject_unknown(path, table, allowed, prefix)
    for key, value in table.items():
        kind = _KINDS.get(key, str)
        if type(value) is not kind:
            raise UsageError(f"{path}: '{prefix}{key}' must be {_KIND_NAMES[kind]}, not {value!r}")
    return dict(table)


def _reject_unknown(
    path: Path, table: Mapping[str, Any], allowed: frozenset[str], prefix: str
) -> None:
    for key in table:
        if key not in allowed:
            raise UsageError(
                f"{path}: unknown key '{prefix}{key}'{_did_you_mean(key, allowed)}; "
                f"known: {', '.join(sorted(allowed))}"
            )


def _did_you_mean(word: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _check_values(board: Board, path: Path) -> None:
    def fail(key: str, must: str) -> None:
        raise UsageError(f"{path}: {key} = {getattr(board, key)!r}: {must}")

    if not re.fullmatch(r"\d+\.\d+", board.glibc):
        fail("glibc", "must be a version such as '2.28'")
    for key in ("cpu", "mcpu"):
        if not re.fullmatch(r"[a-z0-9][a-z0-9+._-]*", getattr(board, key)):
            fail(key, "must be a core's name such as 'cortex-a72'")
    if board.verified not in VERIFIED:
        fail("verified", f"must be one of {', '.join(VERIFIED)}")
    if board.emulation is not None and board.emulation not in EMULATIONS:
        fail("emulation", f"must be one of {', '.join(EMULATIONS)}, or absent for hardware")
    if board.local and board.emulated:
        fail("local", "this machine is not emulated: remove local or emulation")
    if board.local and board.host is not None:
        raise UsageError(f"board {board.name} is this machine: it has no host to connect to")
    if board.emulated and board.image is None:
        fail("image", "an emulated board needs the name of an image in edge/images")
    if board.serial == "":
        raise UsageError(f"{lab_file()}: 'boards.{board.name}.serial' must be a port, not empty")
    for key in ("cores", "memory_mib"):
        if getattr(board, key) < 1:
            fail(key, "must be at least 1")
