"""QEMU: its command line, and its control protocol (QMP)."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.emulator import Tool
from edge.errors import HostError
from edge.image import BuiltImage

HOST = "127.0.0.1"
_ANSWER_TIMEOUT_S = 10.0

_KERNEL_ARGUMENTS = "console=ttyAMA0 quiet mitigations=off nokaslr cryptomgr.notests"
"""A third less to emulate until it is up: no shields against a processor that is not there (with
KASLR, each system call changes page tables), and no tests of ciphers."""


@dataclass(frozen=True)
class Hardware:
    """What is emulated.

    :ivar data_disk_mib: of a second disk, empty at each start, at ``/data``; 0: none.
    """

    cpu: str = "cortex-a72"
    cores: int = 2
    memory_mib: int = 1024
    data_disk_mib: int = 0


@dataclass(frozen=True)
class Lines:
    """Listening sockets handed down to QEMU, as descriptor numbers."""

    qmp: int
    control: int
    console: int


def command(
    tool: Tool, image: BuiltImage, hardware: Hardware, lines: Lines, *, home: Path, data: Path,
    console_log: Path, ssh_port: int, resume: bool,
) -> list[str]:  # fmt: skip
    """QEMU's command line.

    :param ssh_port: on the loopback interface; 0: the system chooses, so that two machines can't
        choose the same one.
    :param resume: wait for a state that comes over QMP.
    """
    argv = [
        *tool.argv, "-nodefaults", "-no-user-config", "-display", "none",
        "-machine", "virt", "-accel", "tcg,thread=multi",
        "-cpu", hardware.cpu, "-smp", str(hardware.cores), "-m", f"{hardware.memory_mib}M",
        "-kernel", str(image.kernel), "-initrd", str(image.initramfs),
        "-append", _KERNEL_ARGUMENTS,
        *_disk(image.system, "system", "readonly=on"),
        # Writeback: what the guest flushes reaches the file, what it does not flush dies with it.
        *_disk(home, "home", "cache=writeback"),
        *(_disk(data, "data", "cache=writeback") if hardware.data_disk_mib else []),
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{ssh_port}-:22",
        "-device", "virtio-net-device,netdev=net,id=net0",
        "-chardev", f"socket,id=console,fd={lines.console},server=on,wait=off,"
        f"logfile={_escaped(console_log)},logappend=on",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=qmp,fd={lines.qmp},server=on,wait=off",
        "-mon", "chardev=qmp,mode=control",
        # Waits: a guest that comes up and finds nobody there goes on by itself.
        "-chardev", f"socket,id=control,fd={lines.control},server=on,wait=on",
        "-device", "virtio-serial-device",
        "-device", "virtserialport,chardev=control,name=edge.control",
    ]  # fmt: skip
    return argv + (["-incoming", "defer"] if resume else [])


def _disk(path: Path, serial: str, how: str) -> list[str]:
    drive = f"if=none,id={serial},file={_escaped(path)},format=raw,{how}"
    return ["-drive", drive, "-device", f"virtio-blk-device,drive={serial},serial={serial}"]


def _escaped(path: Path) -> str:
    """QEMU's options are separated by commas; a comma in a value is doubled."""
    return str(path).replace(",", ",,")


class Qmp:
    """A connection to QEMU's control protocol: JSON lines, with events in between.

    QEMU serves one at a time, so keep it short. Use as a context manager.

    :raises HostError: QEMU is gone, refuses, or serves another connection for too long.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r")
        self._connection.settimeout(_ANSWER_TIMEOUT_S)
        self._read()  # the greeting
        self.command("qmp_capabilities")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._connection.close()

    def command(self, name: str, /, **arguments: object) -> Any:
        self._send(name, arguments, [])
        return self._answer(name)

    def link(self, up: bool) -> None:
        self.command("set_link", name="net0", up=up)

    def ssh_port(self) -> int:
        table = self.command("human-monitor-command", **{"command-line": "info usernet"})
        return forwarded_port(str(table))

    def save(self, state: int, timeout_s: float) -> None:
        """Write the machine's memory and devices into a file, and let it go on.

        :param state: the file's descriptor.
        """
        self.command("stop")
        try:
            self._migrate("migrate", state, timeout_s)
        finally:
            self._go_on(timeout_s)

    def resume(self, state: int, timeout_s: float) -> None:
        """What :meth:`save` wrote, into a QEMU that was started to take it."""
        self._migrate("migrate-incoming", state, timeout_s)
        self._go_on(timeout_s)

    def _migrate(self, verb: str, state: int, timeout_s: float) -> None:
        self.command("migrate-set-capabilities", capabilities=[_EVENTS])
        self._send("getfd", {"fdname": "state"}, [state])
        self._answer("getfd")
        if verb == "migrate":
            self.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.command(verb, uri="fd:state")
        deadline = time.monotonic() + timeout_s
        while True:
            self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                event = self._next()
            except TimeoutError:
                raise HostError(
                    f"QEMU did not {verb} the machine's state in {timeout_s:g} s"
                ) from None
            status = event.get("data", {}).get("status")
            if event.get("event") == "MIGRATION" and status == "completed":
                self._connection.settimeout(_ANSWER_TIMEOUT_S)
                return
            if event.get("event") == "MIGRATION" and status == "failed":
                raise HostError(f"QEMU could not {verb} the machine's state")

    def _go_on(self, timeout_s: float) -> None:
        """QEMU says that all has been moved a moment before it is done with it."""
        deadline = time.monotonic() + timeout_s
        while self.command("query-status")["status"] in ("finish-migrate", "inmigrate"):
            if time.monotonic() >= deadline:
                raise HostError(f"QEMU did not end a migration in {timeout_s:g} s")
            time.sleep(0.005)
        self.command("cont")

    def _send(self, name: str, arguments: dict[str, object], descriptors: list[int]) -> None:
        request = json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n"
        try:
            socket.send_fds(self._connection, [request], descriptors)
        except OSError as error:
            raise HostError(f"QEMU is gone ({error.strerror})") from error

    def _answer(self, name: str) -> Any:
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise HostError(f"QEMU refused {name}: {answer['error'].get('desc')}")

    def _read(self) -> dict[str, Any]:
        try:
            return self._next()
        except TimeoutError:
            raise HostError(
                "QEMU does not answer: another process may be talking to it; try again"
            ) from None

    def _next(self) -> dict[str, Any]:
        """
        :raises TimeoutError: nothing comes.
        """
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise
        except OSError as error:
            raise HostError(f"QEMU is gone ({error.strerror})") from error
        if not line:
            raise HostError("QEMU closed its control connection")
        answer: dict[str, Any] = json.loads(line)
        return answer


_EVENTS = {"capability": "events", "state": True}


def forwarded_port(usernet: str) -> int:
    """The port in QEMU's table of its user network."""
    match = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)", usernet)
    if not match:
        raise HostError(f"QEMU forwards no port: {usernet!r}")
    return int(match.group(1))
