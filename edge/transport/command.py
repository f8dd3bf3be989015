"""A command line as every transport takes it: checked words, never a sentence for a shell."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from edge.errors import UsageError

MAX_OUTPUT_BYTES = 64 << 20
"""What ``run`` keeps of one stream: a runaway program must not fill the host's memory."""

STDERR_TAIL_BYTES = 8192
"""What a started program's standard error is remembered by, for messages."""


def words(argv: Sequence[str | PurePosixPath]) -> tuple[str, ...]:
    """``argv`` as strings.

    :raises UsageError: it is empty, a bare string, or holds a NUL, which no system can pass on.
    """
    if isinstance(argv, str) or not argv:
        raise UsageError(f"a command is a sequence of words, not {argv!r}")
    checked = tuple(str(word) for word in argv)
    if any("\0" in word for word in checked):
        raise UsageError(f"a command's words can't hold a NUL byte: {checked!r}")
    return checked


def program(argv: Sequence[str]) -> str:
    """The first word's base name, for messages; with its verb if the file is named by its hash."""
    name = posixpath.basename(argv[0]) or argv[0]
    if re.fullmatch("[0-9a-f]{64}", name):
        return " ".join((f"{name[:12]}…", *argv[1:2]))
    return name
