"""Terminal: a person's keyboard and screen on a board's serial line.

In raw mode every key goes to the board, ctrl-C too; ctrl-] alone is ours. Where standard input is
no terminal, what comes out of it is typed, and the answer is awaited.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator

from edge import machine
from edge.board import Board
from edge.console import Console
from edge.errors import HostError, UsageError

EXIT_KEY = b"\x1d"
EXIT_KEY_NAME = "ctrl-]"

IDLE_S = 2.0
"""When standard input has ended, a line that is silent for so long has said all."""

_POLL_S = 0.02
"""For ports that nothing can be waited on with."""


def port_of(board: Board, given: str | None = None) -> str:
    """The board's serial port: ``given``, lab.toml's, or that of the machine that emulates it.

    :raises UsageError: none of them names one.
    """
    if given is not None:
        return given
    if board.serial is not None:
        return board.serial
    if board.emulation == "machine":
        return _machine_port(board.name)
    if board.emulated or board.local:
        raise UsageError(f"board {board.name} has no serial line: choose a board with hardware")
    raise UsageError(
        f"no serial port for board {board.name}: give --serial PORT (`ls /dev/serial/by-id/` lists "
        f'them), or write serial = "PORT" below [boards.{board.name}] in lab.toml'
    )


def _machine_port(name: str) -> str:
    access = machine.running(name)
    if access is None:
        raise UsageError(
            f"machine {name} is not running: start it with `invoke qemu.up --board {name}`"
        )
    return access.console_url


def interact(console: Console, where: str, *, stdin: int = 0, stdout: int = 1) -> None:
    """Join keyboard, screen and line until ctrl-] or, without a keyboard, until all is said.

    The terminal is as it was before on every way out: an error, SIGTERM and SIGHUP included.

    :param where: what the person is told that this is.
    :param stdin: file descriptor of the keyboard; if it is no terminal, its content is typed, with
        Enter for each line's end, and the answer is shown until the line is silent for 2 s.
    :raises UnreachableError: the line is gone.
    :raises HostError: the terminal is gone.
    """
    _tell(f"connected to {where}", interactive=os.isatty(stdin))
    if not os.isatty(stdin):
        _piped(console, stdin, stdout)
        return
    with _ending_in_order(), _raw(stdin):
        _keyboard(console, stdin, stdout)


def _tell(line: str, *, interactive: bool) -> None:
    with contextlib.suppress(OSError):
        how = f"; {EXIT_KEY_NAME} leaves, every other key goes to the board" if interactive else ""
        print(f"{line}{how}", file=sys.stderr, flush=True)


def _keyboard(console: Console, stdin: int, stdout: int) -> None:
    while True:
        _show(stdout, console.read())
        if not _await_input(console, stdin):
            continue
        try:
            keys = os.read(stdin, 1024)
        except OSError as error:
            raise HostError(f"the terminal is gone: {error.strerror}") from None
        before, leave, _ = keys.partition(EXIT_KEY)
        if before:
            console.write(before)
        if leave or not keys:
            return


def _piped(console: Console, stdin: int, stdout: int) -> None:
    while True:
        _show(stdout, console.read())
        if _await_input(console, stdin):
            typed = os.read(stdin, 1024)
            if not typed:
                break
            console.write(typed.replace(b"\n", b"\r"))
    while said := console.read(IDLE_S):
        _show(stdout, said)


def _await_input(console: Console, stdin: int) -> bool:
    """Whether standard input has something; returns too when the line has."""
    line = console.fileno()
    waiting = [stdin] if line is None else [stdin, line]
    ready, _, _ = select.select(waiting, [], [], _POLL_S if line is None else None)
    return stdin in ready


def _show(stdout: int, data: bytes) -> None:
    while data:
        data = data[os.write(stdout, data) :]


@contextlib.contextmanager
def _raw(stdin: int) -> Iterator[None]:
    before = termios.tcgetattr(stdin)
    try:
        tty.setraw(stdin)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(stdin, termios.TCSANOW, before)
        # The board's prompt is on the line.
        _tell("\ndisconnected", interactive=False)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let signals that end a process unwind it first."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
