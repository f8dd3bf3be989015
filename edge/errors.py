"""What can go wrong, by whose hands it is mended.

Every error that a user can meet is an :class:`EdgeError`. Its message says what happened, where,
and what to do next, in one line. Its ``exit_code`` is the process's exit code:

====  ===================  ==========================================================
code  class                meaning
====  ===================  ==========================================================
2     ``UsageError``       the request, a file or a configuration is wrong
3     ``BoardError``       the board (or what runs on it) failed
4     ``HostError``        this machine failed, or lacks something
5     ``UnreachableError`` no connection to the board, or the login was refused
6     ``RegressionError``  a model is slower than its baseline permits
7     ``UntrustedError``   it was measured, and ``--strict`` refuses the figures
====  ===================  ==========================================================

1 is left to invoke (unknown task or flag), 130 is an interrupt.
"""

from __future__ import annotations

_HEAD, _TAIL = 2000, 1000
"""Characters of a message that is longer than both: what happened, and what to do."""


def printable(text: str) -> str:
    """``text`` with a "?" for what a terminal would act on; line ends stay.

    Boards, servers and agents choose their own words, and a screen must not obey them.
    """
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


class EdgeError(Exception):
    """Root of all errors that a user can meet. Whatever it is made of, its text is one line."""

    exit_code = 4

    def __init__(self, message: str) -> None:
        if len(message) > _HEAD + _TAIL:
            message = f"{message[:_HEAD]} … {message[-_TAIL:]}"
        lines = message.replace("\t", " ").splitlines()
        super().__init__(printable(" ".join(line.strip() for line in lines)))


class UsageError(EdgeError):
    """The user's mistake: a wrong flag, name, file or configuration value."""

    exit_code = 2


class BoardError(EdgeError):
    """The board failed: a command on it, its disk, its memory, its runtime."""

    exit_code = 3


class HostError(EdgeError):
    """This machine failed or lacks something: a tool, disk space, a download."""

    exit_code = 4


class UntrustedError(EdgeError):
    """A measurement that says of itself that it should not be quoted."""

    exit_code = 7


class UnreachableError(BoardError):
    """No connection to the board: no such host, refused, wrong key, unknown host key."""

    exit_code = 5


class RegressionError(EdgeError):
    """A model became slower than its baseline permits: nothing is broken, but it is not as fast."""

    exit_code = 6
