"""Session: a board that answers. Starts the machine if it is an emulated one, connects, asks."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge import emulator, facts, image, layout, machine
from edge.board import Board
from edge.errors import BoardError, UsageError
from edge.facts import Condition, Facts
from edge.layout import DeviceLayout
from edge.machine import Machine
from edge.transport import Transport, ssh
from edge.transport.emulated import EmulatedTransport
from edge.transport.local import LocalTransport
from edge.transport.ssh import SshTarget


@dataclass(frozen=True)
class Session:
    """An open connection to a board.

    :ivar given: its facts, where the board need not be asked for them.
    :ivar python: the board's Python, as its shell finds it or as an absolute path.
    """

    board: Board
    transport: Transport
    given: Facts | None = None
    python: str = "python3"

    @functools.cached_property
    def facts(self) -> Facts:
        """Asked of the board at the first use.

        :raises BoardError: the board has no POSIX shell, or answers what makes no sense.
        """
        if self.given is not None:
            return self.given
        text = facts.ask(self.transport, self.board.root)
        found = facts.parse(text, now_s=time.time())
        # What can't be kept is asked again.
        with contextlib.suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            self._memory.write_text(text, encoding="utf-8")
        return found

    @property
    def remembered(self) -> Facts | None:
        """What the board said the last time, for a guess that it then confirms or not."""
        if self.given is not None:
            return self.given
        try:
            return facts.parse(self._memory.read_text(encoding="utf-8"))
        except (OSError, ValueError, BoardError):
            return None

    @property
    def device(self) -> DeviceLayout:
        return DeviceLayout(self.facts.root)

    @property
    def _memory(self) -> Path:
        board = self.board
        # With the questions, whose answers mean something else in another version.
        address = repr((board.name, board.host, board.root, self.transport.name, facts.SCRIPT))
        return layout.facts_dir() / hashlib.sha256(address.encode()).hexdigest()[:16]


@contextlib.contextmanager
def connect(board: Board, progress: Callable[[str], None]) -> Iterator[Session]:
    """Reach ``board``; whatever was started for it is stopped at the end.

    :raises UnreachableError: nobody answers, or the login or the host key is refused.
    :raises HostError: an emulated board can't be started on this machine.
    """
    with contextlib.ExitStack() as stack:
        if board.local:
            opened = Session(board, LocalTransport(board.name), python=board.python)
        elif board.emulation == "user":
            opened = _user_mode(board, progress)
        elif board.emulation == "machine":
            name = board.host or board.name
            # An address is no machine's name, nor can it be one.
            guest = None if set(name) & set("@:/") else machine.running(name)
            if guest is None and board.host is None:
                progress(f"machine {board.name} is down: starting it, for this command only")
                guest = stack.enter_context(start(board, progress)).access
            if guest is None:
                assert board.host is not None
                opened = _over_ssh(board, ssh.resolve(board.host))
            elif guest.blank:
                raise UsageError(
                    f"machine {guest.name} is blank: nobody's key is on it. Run `invoke bootstrap "
                    f"--board {board.name} --serial {guest.console_url} --address "
                    f"{guest.ssh_host}:{guest.ssh_port}`, which writes its address into lab.toml"
                )
            else:
                opened = _over_ssh(board, guest_target(guest))
        else:
            opened = _over_ssh(board, ssh.resolve(board.host or board.name))
        stack.enter_context(opened.transport)
        yield opened


def start(
    board: Board,
    progress: Callable[[str], None],
    *,
    name: str | None = None,
    fresh: bool = False,
    blank: bool = False,
    ssh_port: int = 0,
) -> Machine:
    """The virtual machine of an emulated board; see :meth:`Machine.start`.

    :param name: of the machine; the board's own by default.
    :raises UsageError: the board is not emulated in this way.
    """
    if board.emulation != "machine" or board.image is None:
        raise UsageError(f"board {board.name} is no virtual machine: `invoke boards` shows those")
    return Machine.start(
        image.load(board.image),
        name=name or board.name,
        cpu=board.cpu,
        cores=board.cores,
        memory_mib=board.memory_mib,
        fresh=fresh,
        blank=blank,
        ssh_port=ssh_port,
        progress=progress,
    )


@dataclass(frozen=True)
class Visit:
    """What a machine says of itself that no board file describes yet.

    :ivar described: who and when, such as ``pi@10.0.0.7 on 2026-11-21``.
    """

    facts: Facts
    condition: Condition
    described: str


def visit(host: str, progress: Callable[[str], None]) -> Visit:
    """Log in once and ask.

    :param host: SSH destination.
    :raises UnreachableError: nobody answers, or the login or the host key is refused.
    """
    progress(f"asking {host}")
    with ssh.connect(ssh.resolve(host)) as transport:
        return Visit(
            facts.read(transport, layout.DEFAULT_ROOT),
            facts.read_condition(transport),
            f"{transport.name} on {datetime.date.today()}",
        )


def guest_target(guest: machine.Access) -> SshTarget:
    """How to log in to a virtual machine: its key is known because the image was built with it."""
    return SshTarget(
        hostname=guest.ssh_host,
        port=guest.ssh_port,
        user=guest.user,
        alias=guest.name,
        identity_files=(Path(guest.identity_file),),
        identities_only=True,
        known_hosts=(Path(guest.known_hosts_file),),
    )


def _image(board: Board) -> str:
    if board.image is None:
        raise UsageError(f"board {board.name} is emulated but names no image")
    return board.image


def _over_ssh(board: Board, target: SshTarget) -> Session:
    return Session(board, ssh.connect(target), python=board.python)


def _user_mode(board: Board, progress: Callable[[str], None]) -> Session:
    """Programs of the board under QEMU's user mode; shell and files are this machine's own."""
    described = image.load(_image(board))
    sysroot = image.sysroot(described, progress)
    tool = emulator.user_emulator(described.architecture, progress)
    root = layout.machines_dir() / board.name / "root"
    root.mkdir(parents=True, exist_ok=True)
    transport = EmulatedTransport(
        (*tool.argv, "-L", str(sysroot), "-cpu", board.cpu),
        tool.env,
        (PurePosixPath(root), PurePosixPath(sysroot)),
        board.name,
    )
    here = facts.read(transport, str(root))
    seen = facts.in_sysroot(here, sysroot, board.arch, board.cpu)
    program = max(sysroot.glob("usr/bin/python3.*[0-9]"), default="python3")
    return Session(board, transport, seen, str(program))
