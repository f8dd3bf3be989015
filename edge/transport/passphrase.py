"""Passphrases of key files: asked for on the terminal as ``ssh`` does, once a file and process."""

from __future__ import annotations

import enum
import getpass
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Key = TypeVar("Key")

_TRIES = 3

_turn = threading.Lock()
"""There is one terminal, however many connections are being made."""


class Locked(enum.Enum):
    """Why a key stayed locked, in words for a message."""

    NOBODY = "needs a passphrase"
    SKIPPED = "no passphrase given"
    WRONG = "wrong passphrase"


_answered: dict[tuple[Path, int], object] = {}


def unlocked(path: Path, load: Callable[[str], Key | None]) -> Key | Locked:
    """What ``load`` makes of ``path`` with the passphrase that its owner types.

    An answer holds for the whole process, also an empty one, until the file changes. What ``load``
    gave is then shared between threads.

    :param load: None: this passphrase is wrong.
    """
    with _turn:
        try:
            name = path.resolve(), path.stat().st_mtime_ns
        except OSError:
            return Locked.NOBODY
        if name not in _answered:
            if not _terminal():
                return Locked.NOBODY
            _answered[name] = _ask(path, load)
        return _answered[name]  # type: ignore[return-value]  # a file is loaded by one function


def _ask(path: Path, load: Callable[[str], Key | None]) -> Key | Locked:
    for _ in range(_TRIES):
        try:
            typed = getpass.getpass(f"Enter passphrase for key '{path}': ")
        except EOFError:
            typed = ""
        if not typed:
            return Locked.SKIPPED
        if (key := load(typed)) is not None:
            return key
    return Locked.WRONG


def _terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
