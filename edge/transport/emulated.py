"""This machine with another processor: programs for the board under QEMU's user mode."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from edge.transport import Outcome, Process, Transport
from edge.transport.command import MAX_OUTPUT_BYTES, words
from edge.transport.local import LocalTransport


class EmulatedTransport(Transport):
    """Like :class:`LocalTransport`, but a program below one of ``roots`` starts under the emulator.

    Below the device root and in the sysroot are programs for the board; everything else (``sh``,
    ``mkdir``, ``cat``) is this machine's own. The first word alone decides: a board program named
    inside a shell's script is not found out. A script below a root (``#!``) is run by this machine.

    ``emulator_argv`` goes in front: ``qemu-aarch64 -L sysroot -cpu cortex-a72``.
    """

    def __init__(
        self,
        emulator_argv: tuple[str, ...],
        env: Mapping[str, str],
        roots: tuple[PurePosixPath, ...],
        name: str,
    ) -> None:
        self._emulator = emulator_argv
        self._roots = roots
        self._local = LocalTransport(name, env)

    @property
    def name(self) -> str:
        return self._local.name

    def run(
        self,
        argv: Sequence[str | PurePosixPath],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        limit_bytes: int = MAX_OUTPUT_BYTES,
    ) -> Outcome:
        command = words(argv)
        outcome = self._local.run(
            self._emulated(command), stdin=stdin, timeout_s=timeout_s, limit_bytes=limit_bytes
        )
        return Outcome(command, outcome.exit_code, outcome.stdout, outcome.stderr)

    def start(self, argv: Sequence[str | PurePosixPath]) -> Process:
        return self._local.start(self._emulated(words(argv)))

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float = 60.0) -> None:
        self._local.put(source, target, timeout_s=timeout_s)

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float = 60.0) -> None:
        self._local.get(source, target, timeout_s=timeout_s)

    def close(self) -> None:
        self._local.close()

    def _emulated(self, command: tuple[str, ...]) -> tuple[str, ...]:
        program = PurePosixPath(posixpath.normpath(command[0]))
        ours = not any(program.is_relative_to(root) for root in self._roots)
        if ours or _is_script(Path(program)):
            return command
        return (*self._emulator, *command)


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


_: type[Transport] = EmulatedTransport
