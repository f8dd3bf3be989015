"""A QEMU virtual machine that stands for a board, and never outlives the process that started it
unless it is told to.

The host holds three lines into a machine besides SSH: QMP (power, link), the control port (the
guest says that it is ready, and obeys) and the serial console. The first two are sockets in the
machine's folder, which nobody else may enter; the third is a port of the loopback interface, as SSH
is. Each takes one connection at a time, so none is held longer than it is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from edge import emulator, image, keeper, layout, qemu, snapshot
from edge.debian import Progress
from edge.errors import BoardError, EdgeError, HostError, UsageError
from edge.image import USER, BuiltImage, Image, make_file_system
from edge.qemu import HOST, Hardware, Lines, Qmp
from edge.snapshot import Snapshot

_USER_ID = 1000
_CONSOLE_TAIL = 8
_UP_DEADLINE_S = 120.0
_STOP_DEADLINE_S = 15.0
_END_DEADLINE_S = 5.0
_TAKE_DEADLINE_S = 2.0
_GREETING_S = 3.0
_STATE_DEADLINE_S = 60.0
_ORDER_DEADLINE_S = 60.0
_REFUSED_PAUSE_S = 0.02
_LOOK_EVERY_S = 0.5
"""How often a machine that is awaited is asked again, and its console is searched for a panic."""


@dataclass(frozen=True)
class Access:
    """How to reach a machine that runs, and what it is."""

    name: str
    image: str
    image_id: str
    cpu: str
    cores: int
    memory_mib: int
    data_disk_mib: int
    blank: bool
    """Like a freshly flashed board: no public key was on it, and nobody was told its host key."""
    pid: int
    """QEMU's."""
    keeper_pid: int
    owner_pid: int
    """Of the process that started it."""
    kept: bool
    """It goes on without that process."""
    started_s: float
    """Since 1970."""
    ssh_host: str
    ssh_port: int
    user: str
    identity_file: str
    known_hosts_file: str
    """Does not exist for a blank machine."""
    console_url: str
    """For pyserial: the board's serial line. It takes one client at a time."""
    console_log: str
    """Everything the serial console said since the start, power cuts included."""


def running(name: str) -> Access | None:
    """How to reach the machine ``name``, if some process runs it and it is up."""
    folder = _folder_of(name)
    if _held(folder):
        try:
            return Access(**json.loads((folder / "access.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None  # still booting
    return None


def all_running() -> tuple[tuple[str, Access | None], ...]:
    """Name and access of every machine; no access while it comes up or goes down."""
    folders = sorted(layout.machines_dir().glob("*/lock"))
    names = [path.parent.name for path in folders if _held(path.parent)]
    return tuple((name, running(name)) for name in names)


class Machine:
    """One virtual machine, with a disk for ``/home`` that it keeps from run to run.

    Use as a context manager, or :meth:`detach` it.
    """

    def __init__(
        self, built: BuiltImage, name: str, hardware: Hardware, folder: Path, *, blank: bool,
        deadline_s: float, progress: Progress,
    ) -> None:  # fmt: skip
        self.image = built
        self.name = name
        self.hardware = hardware
        self._folder = folder
        self._blank = blank
        self._deadline_s = deadline_s
        self._progress = progress
        self._lock: IO[str] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._kept = False
        self._access: Access | None = None
        self._log_begins = 0
        """Where this start's part of the console's log does."""

    @classmethod
    def start(
        cls,
        described: Image,
        *,
        name: str = "",
        cpu: str = "cortex-a72",
        cores: int = 2,
        memory_mib: int = 1024,
        fresh: bool = False,
        blank: bool = False,
        data_disk_mib: int = 0,
        ssh_port: int = 0,
        deadline_s: float = _UP_DEADLINE_S,
        progress: Progress = lambda line: None,
    ) -> Machine:
        """Build what is missing, resume or boot, and return when the board can be logged into.

        :param name: which disk; a machine keeps it from run to run. Default: the image's name.
        :param fresh: start from a new disk.
        :param blank: as freshly flashed: a new disk without a key that may log in.
        :param data_disk_mib: a second disk of this size, always empty, at ``/data``; 0: none.
        :param ssh_port: of the loopback interface; 0: one that is free.
        :raises HostError: QEMU is missing, or ends; the port is taken.
        :raises UsageError: a machine of this name runs already.
        :raises BoardError: the guest does not come up; carries the last lines of its console.
        """
        built = image.build(described, progress)
        name = name or described.name
        folder = _folder_of(name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        hardware = Hardware(cpu, cores, memory_mib, data_disk_mib)
        machine = cls(
            built, name, hardware, folder, blank=blank, deadline_s=deadline_s, progress=progress
        )
        machine._lock = _take(folder / "lock", name)
        try:
            machine._blank = _prepare_home(
                built, folder, fresh=fresh, blank=blank, progress=progress
            )
            machine._boot(ssh_port)
            return machine
        except BaseException:
            machine._release()
            raise

    @classmethod
    def attach(cls, name: str, progress: Progress = lambda line: None) -> Machine:
        """A machine that another process has started.

        :raises UsageError: no such machine is up.
        """
        access = running(name)
        if access is None:
            raise UsageError(f"machine {name} is not running: `invoke qemu.status` lists those")
        built = image.built(image.load(access.image), access.image_id)
        hardware = Hardware(access.cpu, access.cores, access.memory_mib, access.data_disk_mib)
        folder = _folder_of(name)
        machine = cls(
            built,
            name,
            hardware,
            folder,
            blank=access.blank,
            deadline_s=_UP_DEADLINE_S,
            progress=progress,
        )
        machine._access = access
        machine._kept = access.kept
        return machine

    # --- where it is ---

    @property
    def access(self) -> Access:
        if self._access is None:
            raise UsageError(f"machine {self.name} is not running")
        return self._access

    @property
    def pid(self) -> int:
        return self.access.pid

    @property
    def ssh_host(self) -> str:
        return self.access.ssh_host

    @property
    def ssh_port(self) -> int:
        """The same until :meth:`stop`, power cuts included."""
        return self.access.ssh_port

    @property
    def user(self) -> str:
        return self.access.user

    @property
    def identity_file(self) -> Path:
        return Path(self.access.identity_file)

    @property
    def known_hosts_file(self) -> Path:
        return Path(self.access.known_hosts_file)

    @property
    def console_url(self) -> str:
        return self.access.console_url

    @property
    def console_log(self) -> Path:
        return self._folder / "console.log"

    # --- its life ---

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._kept:
            self.stop()

    def detach(self) -> None:
        """Let it go on when this process ends."""
        assert self._keeper is not None and self._keeper.stdin is not None
        self._kept = True
        self._publish()  # first: whoever finds it kept may end it
        self._keeper.stdin.write(keeper.KEEP)
        self._keeper.stdin.flush()
        self._release()  # QEMU and its keeper hold the lock

    def stop(self) -> None:
        """Shut the board down in order; after a deadline, cut its power."""
        if self._access is not None:
            try:
                with self._control() as control:
                    control.send("poweroff")
                    ended = _await_end(self.access.pid, _STOP_DEADLINE_S)
            except EdgeError:
                ended = False
            if not ended:
                self._progress(f"machine {self.name} does not shut down: power cut")
        self.kill()

    def kill(self) -> None:
        """Cut the power, and leave it off."""
        self._end()
        self._release()

    def power_cut(self) -> None:
        """Cut the power, then start again from the same disk, at the same address."""
        port, kept = self.ssh_port, self._kept
        if self._lock is None:
            self._end()
            self._lock = _take(self._folder / "lock", self.name)
        else:
            self._end()
        self._boot(port)
        if kept:
            self.detach()

    def reboot(self) -> None:
        """Restart the board in order, from within; return when it can be logged into again."""
        deadline = time.monotonic() + self._deadline_s
        self._log_begins = self.console_log.stat().st_size
        with self._control() as control:
            control.order("reboot", _ORDER_DEADLINE_S)
            self._bring_up(control, deadline)

    # --- faults ---

    def link(self, up: bool) -> None:
        """Pull the network cable out, or plug it in; then wait until the board answers again.

        Neither end of a connection is told.
        """
        with self._qmp() as qmp:
            qmp.link(up)
        if up:
            self._await_ssh(time.monotonic() + self._deadline_s)

    def slow_link(self, rate_kbit: int = 0, delay_ms: int = 0) -> None:
        """Let the network carry so much in each direction, that much later; 0: as it is by itself.

        :raises BoardError: the image lacks ``tc`` or the kernel modules for it.
        """
        self._order(f"slow {rate_kbit} {delay_ms}")

    def fill_disk(self, keep_kib: int = 0) -> None:
        """Leave ``keep_kib`` of ``/home`` free, until :meth:`free_disk`."""
        self._order(f"fill {keep_kib}")

    def free_disk(self) -> None:
        self._order("free")

    def jump_clock(self, seconds: int) -> None:
        """Set the board's clock forward, or back if negative."""
        self._order(f"clock {seconds}")

    def _order(self, words: str) -> None:
        with self._control() as control:
            control.order(words, _ORDER_DEADLINE_S)

    # --- how ---

    def _boot(self, ssh_port: int) -> None:
        tool = emulator.system_emulator(self.image.image.architecture, self._progress)
        began = time.monotonic()
        saved = snapshot.of(self.image, self.hardware, tool)
        how = "resumed"
        try:
            with saved.opened(self._progress) as state:
                if state is None or not self._resumes(tool, ssh_port, state):
                    self._cold_boot(tool, ssh_port, saved)
                    how = "booted"
        except BaseException:
            self._end()
            raise
        self._publish()
        self._progress(f"{self.name} is up after {time.monotonic() - began:.1f} s ({how})")

    def _cold_boot(self, tool: emulator.Tool, ssh_port: int, saved: Snapshot) -> None:
        self._progress(f"booting {self.name} ({self.hardware.cpu}, emulated)")
        deadline = time.monotonic() + self._deadline_s
        with self._spawn(tool, ssh_port, resume=False) as control:
            # Without an answer to "hello" it would not hold: nothing of its own is in it yet.
            if control.greet(deadline) == "hold":
                self._await_ssh(deadline)
                self._save(saved)
            self._bring_up(control, deadline)

    def _resumes(self, tool: emulator.Tool, ssh_port: int, state: IO[bytes]) -> bool:
        self._progress(f"resuming {self.name} ({self.hardware.cpu}, emulated)")
        deadline = time.monotonic() + _STATE_DEADLINE_S
        with self._spawn(tool, ssh_port, resume=True) as control:
            try:
                with self._qmp() as monitor:
                    monitor.resume(state.fileno(), _STATE_DEADLINE_S)
                control.greet(deadline)
            except (HostError, BoardError) as error:
                self._progress(f"the saved state can't be resumed ({error}): it is made anew")
                self._end()
                return False
            self._bring_up(control, deadline)
        return True

    def _bring_up(self, control: _Control, deadline: float) -> None:
        """From wherever the board is to one that can be used."""
        if control.greet(deadline) == "hold":
            control.start()
        self._await_ssh(deadline)  # while the board mounts its disk
        control.await_ready(deadline)

    def _save(self, saved: Snapshot) -> None:
        self._progress(f"saving the state of {self.name}, for the next start")

        def write(descriptor: int) -> None:
            with self._qmp() as qmp:
                qmp.save(descriptor, _STATE_DEADLINE_S)

        try:
            saved.save(write, self._progress)
        except HostError as error:
            self._progress(f"{error}; going on: the next start boots again")

    def _spawn(self, tool: emulator.Tool, ssh_port: int, *, resume: bool) -> _Control:
        """Start QEMU, which runs the guest as soon as the connection that is returned is there.

        Hold that until the board has started: it would start without being told the time.
        """
        if not shutil.which("setpriv"):
            raise HostError("setpriv is needed and not here: sudo apt-get install util-linux")
        self._log_begins = self.console_log.stat().st_size
        data = self._folder / "data.ext4"
        data.unlink(missing_ok=True)
        if size := self.hardware.data_disk_mib:
            make_file_system(None, data, size, self._progress, owner=_USER_ID)
        known_hosts = self._folder / "known_hosts"
        known_hosts.unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            qmp = stack.enter_context(_listening(self._folder, "qmp"))
            orders = stack.enter_context(_listening(self._folder, "control"))
            console = stack.enter_context(socket.create_server((HOST, 0)))
            console_port = console.getsockname()[1]
            lines = Lines(qmp.fileno(), orders.fileno(), console.fileno())
            argv = qemu.command(
                tool, self.image, self.hardware, lines, home=self._folder / "home.ext4", data=data,
                console_log=self.console_log, ssh_port=ssh_port, resume=resume,
            )  # fmt: skip
            assert self._lock is not None
            errors = stack.enter_context(self._errors.open("w"))
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", str(Path(keeper.__file__)), *argv],
                env=tool.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                # Both hold the lock too: it is free when all of us are gone.
                pass_fds=[lines.qmp, lines.control, lines.console, self._lock.fileno()],
                start_new_session=True, cwd="/",
            )  # fmt: skip
        assert self._keeper.stdout is not None
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(str(self._keeper.pid))
        self._lock.flush()
        pid = int(self._keeper.stdout.readline() or 0)
        try:
            control = self._control()
            try:
                with self._qmp() as monitor:
                    port = monitor.ssh_port()
            except BaseException:
                control.close()
                raise
        except HostError as error:
            raise self._failure(f"ended while starting ({error})") from error
        if not self._blank:
            known_hosts.write_text(self.image.keys.known_hosts(HOST, port))
        self._access = Access(
            name=self.name,
            image=self.image.image.name,
            image_id=self.image.id,
            **asdict(self.hardware),
            blank=self._blank,
            pid=pid,
            keeper_pid=self._keeper.pid,
            owner_pid=os.getpid(),
            kept=False,
            started_s=time.time(),
            ssh_host=HOST,
            ssh_port=port,
            user=USER,
            identity_file=str(self.image.keys.login),
            known_hosts_file=str(known_hosts),
            console_url=f"socket://{HOST}:{console_port}",
            console_log=str(self.console_log),
        )
        return control

    def _publish(self) -> None:
        self._access = replace(self.access, kept=self._kept)
        state = self._folder / "access.json"
        state.with_suffix(".part").write_text(json.dumps(asdict(self._access), indent=1))
        state.with_suffix(".part").rename(state)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _errors(self) -> Path:
        return self._folder / "qemu.log"

    def _await_ssh(self, deadline: float) -> None:
        """Connect until the board's SSH server greets.

        The server goes into the background a moment before it listens, and until then the guest
        refuses; the first packet may be lost while a link comes up, and QEMU sends it again after
        six seconds only. Nobody tells, so a new connection is tried.
        """
        address = (self.access.ssh_host, self.access.ssh_port)
        while (left := deadline - time.monotonic()) > 0:
            try:
                with socket.create_connection(address, min(left, _GREETING_S)) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except TimeoutError:
                continue
            except ConnectionResetError:
                pass
            except OSError as error:
                raise self._failure(f"does not answer on SSH ({error})") from error
            self.must_live()
            time.sleep(_REFUSED_PAUSE_S)
        raise self._failure("does not answer on SSH")

    def _qmp(self) -> Qmp:
        return Qmp(_connected(self._folder, "qmp", self.name))

    def _control(self) -> _Control:
        return _Control(self, _connected(self._folder, "control", self.name))

    def _failure(self, what: str) -> EdgeError:
        """Whose fault it is that the machine did not come up."""
        if self._keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                # A closed socket is seen a moment before the exit that closed it.
                if self._keeper.wait(1) != 0:
                    return HostError(f"QEMU could not run machine {self.name}: {self._complaint()}")
        lines = self._console().splitlines()
        tail = "\n  ".join(line.rstrip() for line in lines[-_CONSOLE_TAIL:])
        return BoardError(
            f"machine {self.name} {what}; its console ({self.console_log}) ends with:\n  {tail}"
        )

    def _complaint(self) -> str:
        """Why QEMU ended, in its own words."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        said = [line for line in lines if "waiting for connection" not in line]
        text = said[-1] if said else "it says nothing"
        if "host forwarding" in text:
            return f"{text}; the port is taken: choose another, or leave it to the system"
        return text

    def _console(self) -> str:
        """What the board said on its serial line since it was started this time."""
        with self.console_log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode("utf-8", "replace")

    def must_live(self) -> None:
        """
        :raises BoardError: the guest's kernel has panicked.
        :raises HostError: QEMU has ended.
        """
        if self._keeper is not None and self._keeper.poll() is not None:
            raise self._failure("ended")
        if "Kernel panic" in self._console():
            raise self._failure("panicked")

    def _end(self) -> None:
        """Power off, however: nothing of it is left when this returns."""
        keeper_pid = self._access.keeper_pid if self._access is not None else 0
        self._access = None
        if self._keeper is not None:
            assert self._keeper.stdin is not None and self._keeper.stdout is not None
            if self._kept:
                self._keeper.terminate()
            self._keeper.stdin.close()
            try:
                self._keeper.wait(_END_DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.wait()
            self._keeper.stdout.close()
            self._keeper = None
        elif _held(self._folder) and _owner(self._folder) == str(keeper_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(keeper_pid, signal.SIGTERM)
            if not _await_end(keeper_pid, _END_DEADLINE_S):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(keeper_pid, signal.SIGKILL)
                _await_end(keeper_pid, _END_DEADLINE_S)
        for name in ("access.json", "qmp", "control"):
            (self._folder / name).unlink(missing_ok=True)


class _Control:
    """A connection to the program in the guest that obeys the host; a context manager."""

    def __init__(self, machine: Machine, connection: socket.socket) -> None:
        self._machine = machine
        self._connection = connection
        self._said = b""

    def __enter__(self) -> _Control:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def send(self, line: str) -> None:
        try:
            self._connection.sendall(line.encode() + b"\n")
        except OSError as error:
            raise self._machine._failure(f"does not listen ({error.strerror or error})") from error

    def greet(self, deadline: float) -> str:
        """Ask until there is an answer: ``hold`` (for :meth:`start`) or ``ready``.

        :raises BoardError: there is none, or the board can't be started.
        """
        while True:
            # A board that is slow to come up reads nothing: what waits there is question enough.
            if select.select([], [self._connection], [], 0)[1]:
                self.send("hello")
            until = min(deadline, time.monotonic() + _LOOK_EVERY_S)
            answer = self._await(("hold", "ready", "broken"), until)
            if answer == "broken":
                raise self._machine._failure(
                    "can't be started from its disk: `invoke qemu.up --fresh` gives it a new one"
                )
            if answer:
                return answer
            self._machine.must_live()
            if time.monotonic() >= deadline:
                raise self._machine._failure("did not come up in time")

    def start(self) -> None:
        """Give a board that holds the time and random numbers, and let it go on."""
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        self.send(f"start {seconds} {nanoseconds} {secrets.token_hex(32)}")

    def await_ready(self, deadline: float) -> None:
        while self.greet(deadline) != "ready":
            if time.monotonic() >= deadline:
                raise self._machine._failure("did not start in time")

    def order(self, words: str, timeout_s: float) -> None:
        self.send(words)
        answer = self._await(("done", "failed"), time.monotonic() + timeout_s)
        if answer != "done":
            what = "failed" if answer else f"was not answered in {timeout_s:g} s"
            raise BoardError(f"machine {self._machine.name}: the order '{words}' {what}")

    def _await(self, words: tuple[str, ...], deadline: float) -> str:
        """The first of ``words`` that it says; nothing if that takes too long."""
        while True:
            while b"\n" in self._said:
                line, _, self._said = self._said.partition(b"\n")
                if (word := line.decode("ascii", "replace")) in words:
                    return word
            self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                chunk = self._connection.recv(256)
            except TimeoutError:
                return ""
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise self._machine._failure("ended")
            self._said += chunk


# --- the machine's folder -----------------------------------------------------------------------


def _folder_of(name: str) -> Path:
    return layout.machines_dir() / layout.safe_name(name, "give the machine another name")


def _take(path: Path, name: str) -> IO[str]:
    """The machine's lock. Its text is the process that holds it."""
    lock = path.open("a+")
    # A machine that is going down, or whose owner was killed, takes a moment.
    deadline = time.monotonic() + _TAKE_DEADLINE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.seek(0)
                owner = lock.read().strip()
                lock.close()
                raise UsageError(
                    f"machine {name} is already running, as process {owner}: end it with "
                    f"`invoke qemu.down --name {name}`, or start one with another name"
                ) from None
            time.sleep(0.05)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _held(folder: Path) -> bool:
    """Whether some process has the machine's lock."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def _owner(folder: Path) -> str:
    return (folder / "lock").read_text().strip()


def _await_end(pid: int, timeout_s: float) -> bool:
    """Whether the process is gone by then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _short(folder: Path, name: str) -> Iterator[str]:
    """A path to a socket that is short enough, however deep the folder lies."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _listening(folder: Path, name: str) -> Iterator[socket.socket]:
    (folder / name).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener, _short(folder, name) as path:
        listener.bind(path)
        listener.listen()
        yield listener


def _connected(folder: Path, name: str, machine: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(folder, name) as path:
            connection.connect(path)
    except OSError as error:
        connection.close()
        raise HostError(f"machine {machine} does not listen ({error.strerror})") from error
    return connection


def _prepare_home(
    built: BuiltImage, folder: Path, *, fresh: bool, blank: bool, progress: Progress
) -> bool:
    """The machine's own disk, kept unless a new one is asked for or needed; whether it is blank."""
    (folder / "console.log").write_text("")
    disk, origin = folder / "home.ext4", folder / "image"
    known = origin.read_text().split() if origin.exists() and disk.exists() else []
    if known[:1] == [built.id] and not fresh and not blank:
        return known[1:] == ["blank"]
    if known and not fresh and not blank:
        progress(f"{built.image.name} has changed: {folder.name} gets a new disk")
    origin.unlink(missing_ok=True)
    try:
        copy_sparse(built.home(blank=blank), disk)
    except OSError as error:
        raise HostError(f"can't write {disk}: {error.strerror}") from error
    origin.write_text(f"{built.id} blank" if blank else built.id)
    return blank


def copy_sparse(source: Path, target: Path) -> None:
    """Copy the parts of a file that hold data; share them where the file system can."""
    with source.open("rb") as reader, target.open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        os.truncate(writer.fileno(), size)
        for start, end in _data_ranges(reader.fileno(), size):
            os.lseek(writer.fileno(), start, os.SEEK_SET)
            os.lseek(reader.fileno(), start, os.SEEK_SET)
            left = end - start
            while left:
                try:
                    copied = os.copy_file_range(reader.fileno(), writer.fileno(), left)
                except OSError:  # between two file systems, or by an old kernel
                    copied = os.sendfile(writer.fileno(), reader.fileno(), None, left)
                if not copied:
                    raise HostError(f"{source} shrank while it was copied")
                left -= copied


def _data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
