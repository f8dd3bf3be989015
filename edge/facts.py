"""Facts: what a board says of itself before anything of ours is on it.

One round trip, by what every POSIX shell has. The userland's architecture is read from the ELF
header of ``/bin/sh``: a 32-bit Raspberry Pi OS runs a 64-bit kernel, and ``uname -m`` tells of the
kernel only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from edge.errors import BoardError
from edge.transport import Transport

# $1: device root, absolute or relative to the home directory. Every line is `key=value`; a command
# that this board lacks leaves its value empty.
_SCRIPT = r"""
case $1 in /*) root=$1 ;; *) root=$HOME/$1 ;; esac
near=$root
while [ ! -d "$near" ]; do near=$(dirname "$near"); done
echo "root=$root"
echo "user=$(id -un 2>/dev/null)"
echo "kernel=$(uname -sr)"
echo "kernel_machine=$(uname -m)"
echo "shell_elf=$(head -c 20 /bin/sh | od -An -v -tx1 | tr -d ' \n')"
version() {
  getconf GNU_LIBC_VERSION 2>/dev/null && return
  ldd --version 2>&1 | grep -E 'GNU|GLIBC|musl|^Version' && return
  for loader in /lib/ld-linux-*.so.* /lib64/ld-linux-*.so.* /lib/*/libc.so.6 /lib/ld-musl-*; do
    [ -e "$loader" ] && "$loader" --version 2>&1 && return
  done
}
echo "libc=$(version | head -n 2 | tr '\n' ' ')"
if [ -w "$near" ]; then echo "writable=yes"; else echo "writable=no"; fi
echo "free_kib=$(df -Pk "$near" 2>/dev/null | tail -n 1 | awk '{print $4}')"
echo "mount=$(df -P "$near" 2>/dev/null | tail -n 1 | awk '{print $6}')"
echo "features=$(grep -m 1 -i '^features' /proc/cpuinfo | cut -d: -f2)"
echo "hardware=$(tr '\0' ' ' </proc/device-tree/compatible 2>/dev/null)"
echo "memory_kib=$(awk '/^MemTotal/ {print $2}' /proc/meminfo)"
echo "cores=$(grep -c '^processor' /proc/cpuinfo)"
for library in /lib/*.so.* /lib/*/*.so.* /usr/lib/*.so.* /usr/lib/*/*.so.*; do
  echo "library=${library##*/}"
done
while read -r line; do echo "mounts=$line"; done </proc/mounts
"""

_MACHINES = {(2, 183): "aarch64", (1, 40): "armv7l", (2, 62): "x86_64", (1, 3): "i686"}


@dataclass(frozen=True)
class Facts:
    """What was found; an empty text or None means that the board could not say.

    :ivar root: absolute device root on the board.
    :ivar machine: the userland's architecture, e.g. ``aarch64``.
    :ivar glibc: ``(2, 36)``; None for another C library.
    :ivar noexec: programs may not be run from the device root's file system.
    :ivar emulated: the hardware says that it is QEMU's virtual machine.
    :ivar libraries: file names of the system's shared libraries; empty if unknown.
    """

    root: PurePosixPath
    user: str
    kernel: str
    kernel_machine: str
    machine: str
    libc: str
    glibc: tuple[int, int] | None
    writable: bool
    free_bytes: int | None
    noexec: bool
    features: tuple[str, ...]
    memory_bytes: int | None
    cores: int | None
    emulated: bool
    libraries: frozenset[str]


def read(transport: Transport, root: str, timeout_s: float = 20.0) -> Facts:
    """Ask the board.

    :param root: device root, absolute or relative to the login's home.
    :raises BoardError: the board has no POSIX shell, or answers what makes no sense.
    """
    outcome = transport.run(["sh", "-c", _SCRIPT, "sh", root], timeout_s=timeout_s)
    if not outcome.ok:
        raise BoardError(
            f"{transport.name} can't run a POSIX shell script (exit {outcome.exit_code}: "
            f"{outcome.error_text[-200:]}); edge needs `sh` on the board"
        )
    return parse(outcome.text)


def parse(text: str) -> Facts:
    """Facts out of the script's ``key=value`` lines; lines of a login banner are passed over.

    :raises BoardError: the device root or the header of ``/bin/sh`` is missing.
    """
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator and re.fullmatch(r"[a-z_]+", key):
            values.setdefault(key, []).append(value.strip())

    def one(key: str) -> str:
        return values.get(key, [""])[0]

    def number(key: str) -> int | None:
        return int(one(key)) if re.fullmatch("[0-9]{1,15}", one(key)) else None

    root = PurePosixPath(one("root"))
    if not root.is_absolute():
        raise BoardError("the board did not say where its home directory is: set root in lab.toml")
    free_kib, memory_kib, glibc = number("free_kib"), number("memory_kib"), _glibc(one("libc"))
    return Facts(
        root=root,
        user=one("user"),
        kernel=one("kernel"),
        kernel_machine=one("kernel_machine"),
        machine=_machine(one("shell_elf")),
        libc=one("libc") if glibc is None else f"glibc {glibc[0]}.{glibc[1]}",
        glibc=glibc,
        writable=one("writable") == "yes",
        free_bytes=None if free_kib is None else free_kib * 1024,
        noexec=_noexec(one("mount"), values.get("mounts", [])),
        features=tuple(one("features").split()),
        memory_bytes=None if memory_kib is None else memory_kib * 1024,
        cores=number("cores"),
        emulated="linux,dummy-virt" in one("hardware").split(),
        libraries=frozenset(values.get("library", [])),
    )


def _machine(header: str) -> str:
    """Architecture by the first 20 bytes of an ELF file, in hexadecimal."""
    if not re.fullmatch(r"7f454c46[0-9a-f]{32}", header):
        raise BoardError("/bin/sh on the board is no ELF program: its architecture is unknown")
    raw = bytes.fromhex(header)
    order: Literal["little", "big"] = "little" if raw[5] == 1 else "big"
    key = (raw[4], int.from_bytes(raw[18:20], order))
    return _MACHINES.get(key, f"ELF machine {key[1]}, {32 * key[0]}-bit")


def _glibc(text: str) -> tuple[int, int] | None:
    if "musl" in text:
        return None
    found = re.search(r"(?:^glibc |GLIBC |GNU libc\) |version )([0-9]{1,4})\.([0-9]{1,4})", text)
    return (int(found[1]), int(found[2])) if found else None


def _noexec(mount: str, mounts: list[str]) -> bool:
    for line in mounts:
        words = line.split()
        if len(words) >= 4 and words[1] == mount:
            return "noexec" in words[3].split(",")
    return False
