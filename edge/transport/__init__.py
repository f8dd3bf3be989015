"""How the host reaches a board: run a program, move a file, talk to a process.

A transport is any object with the methods of :class:`Transport`. ``ssh`` (fabric), ``local`` (this
machine) and ``emulated`` (this machine, programs for the board under QEMU's user mode) are the
three that exist; ``edge.testing`` has one that works in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Protocol, TypeVar

from edge.transport.command import MAX_OUTPUT_BYTES

Opened = TypeVar("Opened", bound="Transport")


@dataclass(frozen=True)
class Outcome:
    """What a finished program left: ``stdout`` and ``stderr`` as bytes."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace").strip()


class Process(Protocol):
    """A running program on the board, spoken to over its standard input and output."""

    def send(self, data: bytes, timeout_s: float) -> None:
        """Write all of ``data``.

        :raises BoardError: the program or the link is gone, or took no byte for ``timeout_s``.
        """

    def receive_line(self, timeout_s: float, limit_bytes: int = 65536) -> bytes:
        """The next line without its newline.

        :raises BoardError: the stream ended, no whole line came in ``timeout_s``, or it was longer
            than ``limit_bytes``; the message carries what the program wrote on standard error.
        """

    def close(self, timeout_s: float = 5.0) -> int:
        """End input, wait for the exit code; past ``timeout_s`` cut the channel and return -1."""


class Transport(Protocol):
    """The way to one board. Every call has a deadline; no word reaches a shell unquoted.

    ``run`` must end in ``timeout_s``; a copy may take as long as it likes, but not ``timeout_s``
    without a byte. Relative paths are below the login's home directory.
    """

    @property
    def name(self) -> str:
        """For messages: ``pi@10.0.0.7``, ``localhost``, ``qemu-aarch64 (emulated)``."""

    def run(
        self,
        argv: Sequence[str | PurePosixPath],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        limit_bytes: int = MAX_OUTPUT_BYTES,
    ) -> Outcome:
        """Run a program to its end.

        A missing program is exit code 127, a fatal signal 128 and its number, as in a shell.

        :param limit_bytes: what is taken of its standard output, and no byte more is held.
        :raises UnreachableError: no connection.
        :raises BoardError: it did not end in ``timeout_s``, wrote more than ``limit_bytes``, or the
            link was lost.
        """

    def start(self, argv: Sequence[str | PurePosixPath]) -> Process:
        """Start a program and talk to it."""

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float = 60.0) -> None:
        """Copy a host file to the board by ``cat``; no SFTP needed. Not atomic: see the store."""

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float = 60.0) -> None:
        """Copy a board file to the host; ``target`` appears only when it is complete.

        :raises BoardError: it can't be read, or is longer than ``command.MAX_FILE_BYTES``.
        """

    def close(self) -> None: ...

    # The two that are the same for all: a class that names this protocol as its base has them.

    def __enter__(self: Opened) -> Opened:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
