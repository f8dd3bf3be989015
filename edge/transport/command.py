"""A command line as every transport takes it: checked words, never a sentence for a shell."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from edge.errors import UsageError

MAX_OUTPUT_BYTES = 64 << 20
"""What ``run`` keeps of one stream unless more is asked for: a runaway program must not fill the
host's memory."""

MAX_FILE_BYTES = 1 << 30
"""What ``get`` takes: a file on a board may have no end."""

STDERR_TAIL_BYTES = 8192
"""What a started program's standard error is remembered by, for messages."""

MAX_LINE_BYTES = (1 << 17) - 1
"""Linux hands no longer word to a program, and a login shell gets the whole line as one."""

# What no shell gives a meaning. Not "^", "%", "~", or a word that begins with "=" or "@".
_PLAIN = re.compile(r"[A-Za-z0-9_+,./:-][A-Za-z0-9_+,./:=@-]*")
# What every shell takes as it stands between single quotes. Not a backslash (an escape in fish), an
# exclamation mark (csh's history), a line's end (an error in csh), or bytes that hang on a locale.
_QUOTABLE = re.compile(r'[ "-&(-\[\]-~]*')
# What printf writes as it stands, between double quotes.
_VERBATIM = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 #&()*+,-./:;<=>?@[]^_{|}~"
)


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


def login_line(argv: Sequence[str]) -> bytes:
    """One line that every login shell turns into exactly these words: fish and csh too.

    An SSH server hands it to the user's shell, whichever that is. Plain words stand as they are,
    others between single quotes. If one has a character that shells read differently even there,
    the whole command goes as octal numbers to a POSIX ``sh``, which spells it out. ``env`` in front
    keeps a shell's aliases and built-in commands out of it.

    :raises UsageError: the line is longer than a system passes on.
    """
    if "=" not in argv[0] and all(_QUOTABLE.fullmatch(word) for word in argv):
        spelled = " ".join(w if _PLAIN.fullmatch(w) else f"'{w}'" for w in argv)
        own_name = "/" in argv[0] or argv[0] == "sh"
        line = (spelled if own_name else f"env {spelled}").encode()
    else:
        # Words need not be text: a path is bytes.
        octal = _octal(shlex.join(argv).encode("utf-8", "surrogateescape"))
        line = b'sh -c \'eval "$(printf "' + octal + b'")"\''
    if len(line) > MAX_LINE_BYTES:
        raise UsageError(
            f"'{program(argv)}' with its words is {len(line)} bytes for the board's login shell, "
            f"which takes {MAX_LINE_BYTES}: give it less on the command line"
        )
    return line


def _octal(text: bytes) -> bytes:
    return b"".join(bytes([byte]) if byte in _VERBATIM else b"\\%03o" % byte for byte in text)


def program(argv: Sequence[str]) -> str:
    """The first word's base name, for messages; with its verb if the file is named by its hash."""
    name = posixpath.basename(argv[0]) or argv[0]
    if re.fullmatch("[0-9a-f]{64}", name):
        return " ".join((f"{name[:12]}…", *argv[1:2]))
    return name
