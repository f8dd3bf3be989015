"""Board: a kind of hardware (boards/*.toml), joined with what is on the desk (lab.toml).

The mere existence of a file in boards/ creates a board. Of one kind there may be several
units: each is an entry of lab.toml that names its ``kind``. Unknown keys are errors.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence, Set
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
    :ivar kind: of a unit in lab.toml, the board that it is one of; None for that board itself.
    :ivar host: the SSH destination, from lab.toml; the board's own name if it says nothing.
    :ivar serial: its serial line, from lab.toml: a device or a URL that pyserial knows.
    :ivar python: its Python, from lab.toml: as the login finds it, or an absolute path.
    :ivar root: device root, from lab.toml; absolute, or relative to the login's home.
    :ivar sudo: from lab.toml: whether `sudo -n` may be used there, for settings during a run.
    :ivar on_switch: from lab.toml, what is run on the board after a switch, word by word; empty:
        nothing.
    :ivar on_switch_timeout_s: how long that may take.
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
    kind: str | None = None
    host: str | None = None
    serial: str | None = None
    python: str = "python3"
    root: str = layout.DEFAULT_ROOT
    sudo: bool = False
    on_switch: tuple[str, ...] = ()
    on_switch_timeout_s: float = 30.0

    @property
    def emulated(self) -> bool:
        return self.emulation is not None


_LAB_KEYS = frozenset(
    {"kind", "host", "python", "root", "serial", "sudo", "on_switch", "on_switch_timeout_s"}
)
_OWN_KEYS = {f.name: f for f in fields(Board) if f.name not in _LAB_KEYS | {"name"}}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "cores": (int,),
    "memory_mib": (int,),
    "local": (bool,),
    "lto": (bool,),
    "sudo": (bool,),
    "on_switch": (list,),
    "on_switch_timeout_s": (int, float),
}
_TYPE_NAMES = {
    int: "a whole number",
    bool: "true or false",
    str: "text",
    list: 'a list of words, such as ["systemctl", "restart", "app"]',
    float: "a number",
}


_UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What may be a file's name here, and is no pattern and no list."""


def files() -> dict[str, Path]:
    """Board name -> file, sorted by name."""
    return layout.definitions("boards", ".toml")


def load(name: str, *, host: str | None = None) -> Board:
    """The board ``name``, or the unit of that name in lab.toml; lab.toml's entry is laid over.

    :param host: an SSH destination that overrides lab.toml's.
    :raises UsageError: no such board, or a wrong key or value in its file or in lab.toml.
    """
    known, entries = files(), _lab()
    entry = entries.get(name, {})
    if name not in known and not entry:
        raise UsageError(
            f"no board '{name}'{_did_you_mean(name, known.keys() | entries.keys())}: "
            f"`invoke boards` lists them; to add one, write boards/{name}.toml"
        )
    path = known[entry.get("kind", name)]
    values = {"name": name, **_checked(path, toml.read(path), frozenset(_OWN_KEYS))}
    if values.get("local"):
        values = {**_this_machine(), **values}
    values.update(entry)
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
    """Every board and every unit, sorted by name."""
    return tuple(load(name) for name in sorted(files().keys() | _lab().keys()))


def select(
    patterns: str | None, *, all: bool = False, host: str | None = None
) -> tuple[Board, ...]:
    """The boards that a command is about, each once, in the order named.

    :param patterns: names and shell patterns joined by commas. A pattern means those entries of
        lab.toml that it matches, because these are boards that somebody has; only where it matches
        none of them, the definitions.
    :param all: every entry of lab.toml.
    :param host: overrides the host of the one board that is named.
    :raises UsageError: nothing is named, or something that does not exist; ``host`` with several.
    """
    if all == (patterns is not None):
        raise UsageError("which board? name it by --board, or say --all for every one in lab.toml")
    entries = tuple(_lab())
    if all:
        names = entries
        if not names:
            raise UsageError(
                f"--all is every board in {lab_file()}, and there is none: write an entry for each "
                "of yours, as in lab.example.toml"
            )
    else:
        named = (_matching(word.strip(), entries) for word in str(patterns).split(","))
        names = tuple(dict.fromkeys(name for found in named for name in found))
    if host is not None and len(names) != 1:
        raise UsageError(
            f"--host {host} is the address of one board, not of {len(names)}: write each one's "
            f"into {lab_file()}"
        )
    return tuple(load(name, host=host) for name in names)


def _matching(word: str, entries: Sequence[str]) -> Sequence[str]:
    """The names that one word of ``--board`` stands for."""
    if not word:
        raise UsageError("--board has an empty name: join names by single commas")
    if not set(word) & set("*?["):
        return (word,)
    for names in (entries, tuple(files())):
        if found := fnmatch.filter(names, word):
            return found
    known = sorted({*entries, *files()})
    near = difflib.get_close_matches(word.strip("*?[]!-"), known, n=3, cutoff=0.4)
    raise UsageError(
        f"no board matches '{word}'"
        + (f" (near it: {', '.join(near)})" if near else "")
        + ": `invoke boards` lists them"
    )


def lab_file() -> Path:
    """``$EDGE_LAB``, or lab.toml in the working directory."""
    return Path(os.environ.get("EDGE_LAB") or "lab.toml")


def _lab() -> dict[str, dict[str, Any]]:
    """Entries of lab.toml by name, in its order; each is a board's or a unit's."""
    path = lab_file()
    if not path.exists():
        return {}
    lab = toml.read(path)
    _reject_unknown(path, lab, frozenset({"boards"}), "")
    boards = lab.get("boards", {})
    if not isinstance(boards, dict):
        raise UsageError(f"{path}: [boards] must be a table of tables, as in lab.example.toml")
    return {name: _lab_entry(path, name, entry) for name, entry in boards.items()}


def _lab_entry(path: Path, name: str, entry: Any) -> dict[str, Any]:
    known = files()
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: [boards.{name}] must be a table, as in lab.example.toml")
    prefix = f"boards.{name}."
    values = _checked(path, entry, _LAB_KEYS, prefix)
    kind = values.get("kind")
    if kind is None and name not in known:
        raise UsageError(
            f"{path}: [boards.{name}] is about no board{_did_you_mean(name, known.keys())}: for "
            'one of several of a kind, say which, such as kind = "rpi4"'
        )
    if kind is not None and kind not in known:
        raise UsageError(
            f"{path}: {prefix}kind = {kind!r}: no such board{_did_you_mean(kind, known.keys())}; "
            "`invoke boards` lists them"
        )
    if kind is not None and name in known:
        raise UsageError(
            f"{path}: boards.{name} is a board of its own, by {known[name]}: give this one of "
            f"kind {kind!r} another name, or leave kind away"
        )
    if not _UNIT_NAME.fullmatch(name):
        raise UsageError(
            f"{path}: boards.{toml.quoted(name)}: a name has letters, digits and . _ - only, and "
            "at most 64"
        )
    words = values.pop("on_switch", None)
    if words is not None:
        if not all(isinstance(word, str) and "\0" not in word for word in words):
            raise UsageError(f"{path}: '{prefix}on_switch' must be {_TYPE_NAMES[list]}")
        if not words or not words[0]:
            raise UsageError(f"{path}: '{prefix}on_switch' is empty: name a program, or leave it")
        values["on_switch"] = tuple(words)
    limit_s = values.get("on_switch_timeout_s", 1)
    if not 0 < limit_s < math.inf:
        raise UsageError(f"{path}: '{prefix}on_switch_timeout_s' must be more than 0 seconds")
    if "on_switch_timeout_s" in values:
        values["on_switch_timeout_s"] = float(limit_s)
    return values


def _checked(
    path: Path, table: Mapping[str, Any], allowed: frozenset[str], prefix: str = ""
) -> dict[str, Any]:
    _reject_unknown(path, table, allowed, prefix)
    for key, value in table.items():
        types = _TYPES.get(key, (str,))
        # Not isinstance: true is no number here.
        if type(value) not in types:
            must = _TYPE_NAMES[types[-1]]
            raise UsageError(f"{path}: '{prefix}{key}' must be {must}, not {value!r}")
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


def _did_you_mean(word: str, known: Set[str]) -> str:
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
    if not re.fullmatch(r"/.+|[A-Za-z0-9_][A-Za-z0-9_.+-]*", board.python):
        raise UsageError(
            f"{lab_file()}: 'boards.{board.name}.python' must be a program's name or its absolute "
            f"path, not {board.python!r}"
        )
    for key in ("cores", "memory_mib"):
        if getattr(board, key) < 1:
            fail(key, "must be at least 1")
