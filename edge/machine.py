"""A QEMU virtual machine that stands for a board, and never outlives the process that started it.

The host holds three lines into a machine besides SSH: QMP (power, link), the control port (the
guest says "ready", obeys "poweroff") and the serial console. The first two are socket pairs handed
down as file descriptors: no socket path to be too long, nothing for others to connect to.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edge import emulator, layout
from edge.debian import Progress
from edge.errors import BoardError, EdgeError, HostError, UsageError
from edge.image import USER, BuiltImage, Image, build, make_file_system

HOST = "127.0.0.1"
_USER_ID = 1000
_CONSOLE_TAIL = 8
_STOP_DEADLINE_S = 15.0
_GREETING_S = 3.0


@dataclass(frozen=True)
class Hardware:
    """What is emulated."""

    cpu: str = "cortex-a72"
    cores: int = 2
    memory_mib: int = 1024


@dataclass(frozen=True)
class Access:
    """How to reach a machine that runs."""

    name: str
    pid: int
    ssh_host: str
    ssh_port: int
    user: str
    identity_file: str
    known_hosts_file: str
    console_device: str
    """A terminal device, such as ``/dev/pts/3``: the board's serial line."""
    console_log: str


def running(name: str) -> Access | None:
    """How to reach the machine ``name``, if some process runs it and it is up."""
    folder = layout.machines_dir() / layout.safe_name(name)
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        try:
            return Access(**json.loads((folder / "access.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None  # still booting


class Machine:
    """One virtual machine, with a disk that it keeps from run to run. Use as a context manager.

    Start it from a thread that lives as long as the machine: the kernel ends QEMU together with
    the thread that started it.
    """

    def __init__(
        self, image: BuiltImage, name: str, hardware: Hardware, folder: Path, lock: IO[str],
        data_disk: Path | None, deadline_s: float, progress: Progress,
    ) -> None:  # fmt: skip
        self.image = image
        self.name = name
        self.hardware = hardware
        self._folder = folder
        self._lock = lock
        self._data_disk = data_disk
        self._deadline_s = deadline_s
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: _Qmp | None = None
        self._control: socket.socket | None = None
        self._access: Access | None = None

    @classmethod
    def start(
        cls,
        image: Image,
        *,
        name: str = "",
        cpu: str = "cortex-a72",
        cores: int = 2,
        memory_mib: int = 1024,
        fresh: bool = False,
        data_disk_mib: int | None = None,
        deadline_s: float = 120,
        progress: Progress = lambda line: None,
    ) -> Machine:
        """Build what is missing, boot, and return when the board can be logged into.

        :param name: which disk; a machine keeps it from run to run. Default: the image's name.
        :param fresh: start from a new disk.
        :param data_disk_mib: a second disk of this size, always empty, at ``/data``.
        :raises HostError: QEMU is missing, or ends.
        :raises UsageError: a machine of this name runs already.
        :raises BoardError: the guest does not come up; carries the last lines of its console.
        """
        built = build(image, progress)
        name = layout.safe_name(name or image.name)
        folder = layout.machines_dir() / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _take(folder / "lock", name)
        try:
            _prepare_disk(built, folder, fresh=fresh, progress=progress)
            data_disk = None
            if data_disk_mib:
                data_disk = folder / "data.ext4"
                data_disk.unlink(missing_ok=True)
                make_file_system(None, data_disk, data_disk_mib, progress, owner=_USER_ID)
            machine = cls(
                built, name, Hardware(cpu, cores, memory_mib), folder, lock, data_disk,
                deadline_s, progress,
            )  # fmt: skip
            machine._boot(ssh_port=0)
            return machine
        except BaseException:
            lock.close()
            raise

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
    def console_device(self) -> Path:
        return Path(self.access.console_device)

    @property
    def console_log(self) -> Path:
        """Everything the serial console said since the start, power cuts included."""
        return self._folder / "console.log"

    # --- its life ---

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Shut the board down in order; after a deadline, cut its power."""
        if self._process is not None and self._control is not None:
            try:
                self._control.sendall(b"poweroff\n")
                self._process.wait(_STOP_DEADLINE_S)
            except (OSError, subprocess.TimeoutExpired):
                self._progress(f"machine {self.name} does not shut down: power cut")
        self.kill()

    def kill(self) -> None:
        """Cut the power, and leave it off."""
        self._end_process()
        self._lock.close()

    def power_cut(self) -> None:
        """Cut the power, then boot again from the same disk, at the same address."""
        port = self.ssh_port
        self._end_process()
        self._boot(ssh_port=port)

    def link(self, up: bool) -> None:
        """Pull the network cable out, or plug it in; then wait until the board answers again.

        Neither end of a connection is told.
        """
        if self._qmp is None:
            raise UsageError(f"machine {self.name} is not running")
        self._qmp.command("set_link", name="net0", up=up)
        if up:
            self._await_ssh(self.access, time.monotonic() + self._deadline_s)

    # --- how ---

    def _boot(self, ssh_port: int) -> None:
        tool = emulator.system_emulator(self.image.image.architecture, self._progress)
        began = time.monotonic()
        deadline = began + self._deadline_s
        self._progress(f"booting {self.name} ({self.hardware.cpu}, emulated)")
        atexit.register(self._end_process)
        try:
            self._spawn(tool, ssh_port)
            self._await_ready(deadline)
            self._access = self._find_access()
            self._await_ssh(self._access, deadline)
        except BaseException:
            self._end_process()
            raise
        state = self._folder / "access.json"
        state.with_suffix(".part").write_text(json.dumps(asdict(self._access), indent=1))
        state.with_suffix(".part").rename(state)
        self._progress(f"{self.name} is up after {time.monotonic() - began:.1f} s")

    def _spawn(self, tool: emulator.Tool, ssh_port: int) -> None:
        qmp, qmp_theirs = socket.socketpair()
        self._control, control_theirs = socket.socketpair()
        theirs = [qmp_theirs.fileno(), control_theirs.fileno()]
        argv = command(
            tool, self.image, self.hardware, disk=self._folder / "disk.ext4",
            data_disk=self._data_disk, console_log=self.console_log, ssh_port=ssh_port,
            qmp_fd=theirs[0], control_fd=theirs[1],
        )  # fmt: skip
        try:
            with self._errors.open("w") as errors:
                self._process = subprocess.Popen(
                    # The kernel kills QEMU when this process dies, however it dies; a preexec_fn
                    # could do the same, but may deadlock when threads run.
                    ["setpriv", "--pdeathsig", "KILL", *argv],
                    env=tool.environ(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    # QEMU holds the lock too: it is free when both of us are gone.
                    pass_fds=[*theirs, self._lock.fileno()], start_new_session=True,
                )  # fmt: skip
        except FileNotFoundError as error:
            qmp.close()
            raise HostError(f"can't run {error.filename}: install util-linux") from error
        finally:
            qmp_theirs.close()
            control_theirs.close()
        self._qmp = _Qmp(qmp)

    @property
    def _errors(self) -> Path:
        return self._folder / "qemu.log"

    def _await_ready(self, deadline: float) -> None:
        assert self._control is not None
        said = b""
        while b"ready\n" not in said:
            try:
                self._control.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = self._control.recv(64)
            except TimeoutError:
                raise self._failure(f"did not come up in {self._deadline_s:.0f} s") from None
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise self._failure("ended while booting")
            said += chunk

    def _await_ssh(self, access: Access, deadline: float) -> None:
        """Connect until the board's SSH server greets.

        It listens by now. But the first packet may be lost while a link comes up, and QEMU sends
        it again after six seconds only: a new connection is faster.
        """
        address = (access.ssh_host, access.ssh_port)
        while (left := deadline - time.monotonic()) > 0:
            try:
                with socket.create_connection(address, min(left, _GREETING_S)) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
                    raise self._failure("hung up on SSH")
            except TimeoutError:
                continue
            except OSError as error:
                raise self._failure(f"does not answer on SSH ({error})") from error
        raise self._failure("does not answer on SSH")

    def _find_access(self) -> Access:
        assert self._process is not None and self._qmp is not None
        try:
            port = forwarded_port(self._qmp.monitor("info usernet"))
            consoles = self._qmp.command("query-chardev")
        except (OSError, ValueError) as error:
            raise self._failure(f"ended while booting ({error})") from error
        console = next(c["filename"] for c in consoles if c["label"] == "console")
        known_hosts = self._folder / "known_hosts"
        known_hosts.write_text(self.image.keys.known_hosts(HOST, port))
        return Access(
            name=self.name,
            pid=self._process.pid,
            ssh_host=HOST,
            ssh_port=port,
            user=USER,
            identity_file=str(self.image.keys.login),
            known_hosts_file=str(known_hosts),
            console_device=console.removeprefix("pty:"),
            console_log=str(self.console_log),
        )

    def _failure(self, what: str) -> EdgeError:
        """Whose fault it is that the machine did not come up."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A closed socket is seen a moment before the exit that closed it.
            if self._process.wait(1) != 0:
                said = self._errors.read_text(errors="replace").strip().splitlines()
                reason = said[-1] if said else f"exit code {self._process.returncode}"
                return HostError(f"QEMU could not run machine {self.name}: {reason}")
        lines = self.console_log.read_text(errors="replace").splitlines()
        tail = "\n  ".join(line.rstrip() for line in lines[-_CONSOLE_TAIL:])
        return BoardError(
            f"machine {self.name} {what}; its console ({self.console_log}) ends with:\n  {tail}"
        )

    def _end_process(self) -> None:
        atexit.unregister(self._end_process)
        self._access = None
        (self._folder / "access.json").unlink(missing_ok=True)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._control is not None:
            self._control.close()
            self._control = None


# --- QEMU ---------------------------------------------------------------------------------------


def command(
    tool: emulator.Tool, image: BuiltImage, hardware: Hardware, *, disk: Path,
    data_disk: Path | None, console_log: Path, ssh_port: int, qmp_fd: int, control_fd: int,
) -> list[str]:  # fmt: skip
    """QEMU's command line."""
    argv = [
        *tool.argv, "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "virt", "-accel", "tcg,thread=multi",
        "-cpu", hardware.cpu, "-smp", str(hardware.cores), "-m", f"{hardware.memory_mib}M",
        "-kernel", str(image.kernel), "-initrd", str(image.initramfs),
        "-append", "console=ttyAMA0 quiet",
        *_disk(disk, "root"),
        # Port 0: the system chooses, so that two machines can't choose the same one.
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{ssh_port}-:22",
        "-device", "virtio-net-device,netdev=net,id=net0",
        "-chardev", f"pty,id=console,logfile={_escaped(console_log)},logappend=on",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control",
        "-chardev", f"socket,id=control,fd={control_fd}", "-device", "virtio-serial-device",
        "-device", "virtserialport,chardev=control,name=edge.control",
    ]  # fmt: skip
    return argv + (_disk(data_disk, "data") if data_disk else [])


def _disk(path: Path, serial: str) -> list[str]:
    # Writeback: what the guest flushes reaches the file, what it does not flush dies with it.
    drive = f"if=none,id={serial},file={_escaped(path)},format=raw,cache=writeback"
    return ["-drive", drive, "-device", f"virtio-blk-device,drive={serial},serial={serial}"]


def _escaped(path: Path) -> str:
    """QEMU's options are separated by commas; a comma in a value is doubled."""
    return str(path).replace(",", ",,")


def forwarded_port(usernet: str) -> int:
    """The port in QEMU's table of its user network."""
    match = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)", usernet)
    if not match:
        raise ValueError(f"no forwarded port in: {usernet}")
    return int(match.group(1))


class _Qmp:
    """QEMU's control protocol: JSON lines, with events in between."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(10)
        self._lines = connection.makefile("r")
        self._greeted = False

    def command(self, name: str, /, **arguments: object) -> Any:
        if not self._greeted:
            self._greeted = True
            self.command("qmp_capabilities")
        request = {"execute": name, "arguments": arguments}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        for line in self._lines:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise HostError(f"QEMU refused {name}: {answer['error'].get('desc')}")
        raise ConnectionError("QEMU closed its control connection")

    def monitor(self, line: str) -> str:
        return str(self.command("human-monitor-command", **{"command-line": line}))

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


# --- the machine's folder -----------------------------------------------------------------------


def _take(path: Path, name: str) -> IO[str]:
    """The machine's lock. Its text is the process that holds it."""
    lock = path.open("a+")
    # A process that was killed leaves QEMU a moment to die.
    deadline = time.monotonic() + 5
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            if time.monotonic() > deadline or (owner and Path("/proc", owner).exists()):
                lock.close()
                raise UsageError(
                    f"machine {name} is already running as process {owner}; "
                    "end that, or start one with another name"
                ) from None
            time.sleep(0.05)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _prepare_disk(image: BuiltImage, folder: Path, *, fresh: bool, progress: Progress) -> None:
    """The machine's own copy of the disk, kept unless a new one is asked for or needed."""
    (folder / "console.log").write_text("")
    disk, origin = folder / "disk.ext4", folder / "image"
    known = origin.read_text() if origin.exists() and disk.exists() else ""
    if known == image.id and not fresh:
        return
    if known and not fresh:
        progress(f"{image.image.name} has changed: {folder.name} gets a new disk")
    origin.unlink(missing_ok=True)
    try:
        copy_sparse(image.disk, disk)
    except OSError as error:
        raise HostError(f"can't write {disk}: {error.strerror}") from error
    origin.write_text(image.id)


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
