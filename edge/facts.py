"""Facts: what a board says of itself before anything of ours is on it.

One round trip, by what every POSIX shell has. The userland's architecture is read from the ELF
header of ``/bin/sh``: a 32-bit Raspberry Pi OS runs a 64-bit kernel, and ``uname -m`` tells of the
kernel only. :func:`read` is for every connection; :func:`read_condition` takes longer and asks what
could spoil a measurement.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from edge import artifact
from edge.artifact import Version
from edge.errors import BoardError, UsageError
from edge.transport import Transport

_BEGIN, _END = "edge-answers-begin", "edge-answers-end"

# The script comes by standard input, so that no limit on a command's length and no login shell's
# quoting touches it. Every line is `key=value`; a command that this board lacks leaves its value
# empty. $1: device root, absolute or relative to the home directory.
SCRIPT = r"""
case $1 in /*) root=$1 ;; *) root=$HOME/$1 ;; esac
near=$root
while [ ! -d "${near:-/}" ]; do near=${near%/*}; done
near=${near:-/}
# Programs are started where the shell can't do it: on a slow board each costs milliseconds.
kind() { # $elf: the file's first 20 bytes; $class: its width, byte order and machine
  elf= class= at=0
  for byte in $(od -An -v -tx1 -N20 "$1"); do
    elf=$elf$byte
    case $at in 4 | 5 | 18 | 19) class=$class$byte ;; esac
    at=$((at + 1))
  done
}
first() { # $line: of the first of these files that can be read
  line=
  for file; do [ -r "$file" ] && { read -r line <"$file"; return 0; }; done
  return 1
}
named() { for file; do [ -r "$file" ] && { tr '\0' ' ' <"$file"; return; }; done; }
echo "root=$root"
first /proc/sys/kernel/random/boot_id && echo "boot=$line"
echo "user=$(id -un)"
uname -srm | while read -r system release machine; do
  echo "kernel=$system $release"
  echo "kernel_machine=$machine"
done
kind /bin/sh
own=$class
echo "shell_elf=$elf"
echo "system=$(. /etc/os-release && echo "$PRETTY_NAME")"
echo "model=$(named /proc/device-tree/model /sys/devices/virtual/dmi/id/product_name)"
echo "hardware=$(named /proc/device-tree/compatible)"
version() {
  getconf GNU_LIBC_VERSION && return
  ldd --version 2>&1 | grep -E 'GNU|GLIBC|musl|^Version' && return
  for loader in /lib/ld-linux*.so.* /lib64/ld-linux*.so.* /lib/*/libc.so.6 /lib/ld-musl-*; do
    [ -e "$loader" ] && "$loader" --version 2>&1 && return
  done
  for loader in /lib/ld-uClibc*; do [ -e "$loader" ] && echo "uClibc ${loader##*/}" && return; done
}
version | { read -r name; read -r more; cat >/dev/null; echo "libc=$name $more"; }
if [ -w "$near" ]; then echo "writable=yes"; else echo "writable=no"; fi
df -Pk "$near" | {
  read -r line
  read -r system blocks used free share mount
  echo "free_kib=$free"
  echo "mount=$mount"
}
while read -r line; do echo "mounts=$line"; done </proc/mounts
awk '{ value = $0; sub(/^[^:]*:[ \t]*/, "", value) }
  /^processor/ { cores++; number = value }
  /^([Ff]eatures|[Ff]lags)[ \t]*:/ && features == "" { features = value }
  /^model name/ && model == "" { model = value }
  /^CPU implementer/ { implementer = value }
  /^CPU part/ { print "cpu=" implementer " " value " " number }
  /^(MemTotal|MemAvailable|SwapTotal|SwapFree):/ { print substr($1, 1, length($1) - 1) "=" $2 }
  /^Cpus_allowed_list:/ { print "allowed=" value }
  END { print "cores=" cores; print "features=" features; print "cpu_name=" model }
' /proc/cpuinfo /proc/meminfo /proc/self/status
echo "page=$(getconf PAGESIZE ||
  awk '/^KernelPageSize/ {print $2 * 1024; exit}' /proc/self/smaps)"
group=/sys/fs/cgroup
while IFS=: read -r number controllers path; do
  [ "$number:$controllers" = 0: ] && group=/sys/fs/cgroup$path
done </proc/self/cgroup
while :; do
  first "$group/memory.max" && echo "memory_max=$line"
  first "$group/cpu.max" && echo "cpu_max=$line"
  [ "$group" = /sys/fs/cgroup ] && break
  group=${group%/*}
  case $group in /sys/fs/cgroup*) ;; *) break ;; esac
done
first /sys/fs/cgroup/memory/memory.limit_in_bytes && echo "memory_max=$line"
v1=/sys/fs/cgroup/cpu
first $v1/cpu.cfs_quota_us && quota=$line && first $v1/cpu.cfs_period_us &&
  echo "cpu_max=$quota $line"
bits=/sys/devices/platform/soc/soc:firmware/get_throttled
if first "$bits"; then echo "throttled=$line"; else echo "throttled=$(vcgencmd get_throttled)"; fi
libraries=
for folder in /lib /lib64 /lib/*-linux-* /usr/lib /usr/lib64 /usr/lib/*-linux-*; do
  # Most systems have one folder by both names.
  case $folder in /lib/* | /lib) [ /lib -ef /usr/lib ] && continue ;; esac
  for library in "$folder"/*.so.*; do
    [ -e "$library" ] || continue
    name=${library##*/}
    libraries="$libraries $name"
    case $name in
      libstdc++.so.6) [ -z "$cxx" ] || continue ;;
      libgcc_s.so.1) [ -z "$gcc" ] || continue ;;
      *) continue ;;
    esac
    # Another architecture's library may stand beside the system's own.
    kind "$library"
    [ "$class" = "$own" ] || continue
    case $name in
      libgcc*) gcc=seen ;;
      *)
        cxx=seen
        # GCC numbers this library and its newest symbols alike: no need to read two megabytes.
        file=$(readlink -f "$library")
        case $file in
          */libstdc++.so.6.0.[0-9]*) echo "provides=GLIBCXX_3.4.${file##*.}"; continue ;;
        esac
        ;;
    esac
    # Names in lines of their own: busybox's grep stops at a line's first zero byte.
    tr -c 'A-Za-z0-9_.' '\n' <"$library" | grep -E '^(GLIBCXX|CXXABI|GCC)_[0-9]' |
      while read -r name; do echo "provides=$name"; done
  done
done
echo "libraries=$libraries"
echo "clock=$(date +%s)"
"""

_CONDITION = r"""
first() { for file; do [ -r "$file" ] && { tr '\0' ' ' <"$file"; return; }; done; }
for policy in /sys/devices/system/cpu/cpufreq/policy*; do
  [ -d "$policy" ] || continue
  echo "policy=${policy##*/}/$(first $policy/related_cpus)/$(first $policy/scaling_governor)/$(
    first $policy/scaling_available_governors)/$(first $policy/scaling_min_freq)/$(
    first $policy/scaling_max_freq)/$(first $policy/cpuinfo_max_freq)/$(
    first $policy/scaling_cur_freq)"
done
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/temp" ] || continue
  trips=
  for trip in "$zone"/trip_point_*_type; do
    [ -r "$trip" ] || continue
    case $(cat "$trip") in
      passive | hot | critical) trips="$trips $(first "${trip%_type}_temp")" ;;
    esac
  done
  echo "zone=$(first $zone/type)/$(first $zone/temp)/$trips"
done
echo "load=$(first /proc/loadavg)"
echo "groups=$(id -Gn)"
echo "isolated=$(first /sys/devices/system/cpu/isolated)"
if [ "$(id -u)" = 0 ]; then echo "sudo=root"
elif ! command -v sudo >/dev/null; then echo "sudo=none"
elif sudo -n true; then echo "sudo=yes"
else echo "sudo=password"; fi
if command -v vcgencmd >/dev/null; then echo "vcgencmd=$(vcgencmd get_throttled 2>&1)"; fi
for name in python3 python3.7 python3.8 python3.9 python3.10 python3.11 python3.12 python3.13 \
  python3.14; do
  path=$(command -v $name) || continue
  echo "python=$path/$($path -c 'import platform; print(platform.python_version())')"
done
"""

_MACHINES = {(2, 183): "aarch64", (1, 40): "armv7l", (2, 62): "x86_64", (1, 3): "i686"}

_ARM, _NVIDIA, _QUALCOMM = 0x41, 0x4E, 0x51
# Implementer and part as in MIDR_EL1, and the name that GCC gives the core.
_CORES = {
    (_ARM, 0xB76): "arm1176jzf-s",
    (_ARM, 0xC05): "cortex-a5",
    (_ARM, 0xC07): "cortex-a7",
    (_ARM, 0xC08): "cortex-a8",
    (_ARM, 0xC09): "cortex-a9",
    (_ARM, 0xC0D): "cortex-a12",
    (_ARM, 0xC0E): "cortex-a17",
    (_ARM, 0xC0F): "cortex-a15",
    (_ARM, 0xD01): "cortex-a32",
    (_ARM, 0xD03): "cortex-a53",
    (_ARM, 0xD04): "cortex-a35",
    (_ARM, 0xD05): "cortex-a55",
    (_ARM, 0xD07): "cortex-a57",
    (_ARM, 0xD08): "cortex-a72",
    (_ARM, 0xD09): "cortex-a73",
    (_ARM, 0xD0A): "cortex-a75",
    (_ARM, 0xD0B): "cortex-a76",
    (_ARM, 0xD0C): "neoverse-n1",
    (_ARM, 0xD0D): "cortex-a77",
    (_ARM, 0xD0E): "cortex-a76ae",
    (_ARM, 0xD40): "neoverse-v1",
    (_ARM, 0xD41): "cortex-a78",
    (_ARM, 0xD42): "cortex-a78ae",
    (_ARM, 0xD44): "cortex-x1",
    (_ARM, 0xD46): "cortex-a510",
    (_ARM, 0xD47): "cortex-a710",
    (_ARM, 0xD48): "cortex-x2",
    (_ARM, 0xD49): "neoverse-n2",
    (_ARM, 0xD4B): "cortex-a78c",
    (_ARM, 0xD4D): "cortex-a715",
    (_ARM, 0xD4E): "cortex-x3",
    (_ARM, 0xD4F): "neoverse-v2",
    (_ARM, 0xD80): "cortex-a520",
    (_ARM, 0xD81): "cortex-a720",
    (_NVIDIA, 0x004): "carmel",
    # Qualcomm's names for Arm's designs.
    (_QUALCOMM, 0x800): "cortex-a73",
    (_QUALCOMM, 0x801): "cortex-a53",
    (_QUALCOMM, 0x802): "cortex-a75",
    (_QUALCOMM, 0x803): "cortex-a55",
    (_QUALCOMM, 0x804): "cortex-a76",
    (_QUALCOMM, 0x805): "cortex-a55",
}

_ARMV8_IN_32_BITS = frozenset({"neon", "vfpv3", "vfpv4", "vfpd32", "idiva", "idivt"})
"""What a 64-bit kernel does not list, though every program of a 32-bit system can use it."""

# As the kernel lists them on hardware, for boards that are emulated by the name of their core.
_ARMV7_FEATURES = "half thumb fastmult vfp edsp neon vfpv3 tls vfpd32"
_FEATURES_OF = {
    "cortex-a8": f"{_ARMV7_FEATURES} thumbee",
    "cortex-a9": f"{_ARMV7_FEATURES} thumbee",
    "cortex-a5": f"{_ARMV7_FEATURES} vfpv4",
    "cortex-a7": f"{_ARMV7_FEATURES} vfpv4 idiva idivt lpae",
    "cortex-a15": f"{_ARMV7_FEATURES} vfpv4 idiva idivt lpae",
    "cortex-a17": f"{_ARMV7_FEATURES} vfpv4 idiva idivt lpae",
}

_NOTHING: Mapping[str, Version] = MappingProxyType({})
_UNLIMITED_BYTES = 1 << 60
"""cgroup version 1 writes a number near 2^63 for no limit."""


@dataclass(frozen=True)
class Facts:
    """What was found; an empty value or None means that the board could not say.

    :ivar root: absolute device root on the board.
    :ivar machine: the userland's architecture, e.g. ``aarch64``.
    :ivar libc: ``glibc 2.36``, ``musl 1.2.4``, or what the board says.
    :ivar glibc: ``(2, 36)``; None for another C library.
    :ivar noexec: programs may not be run from the device root's file system.
    :ivar features: of the CPU, as the kernel names them, and those that it leaves out.
    :ivar emulated: the hardware says that it is QEMU's virtual machine.
    :ivar libraries: file names of the system's shared libraries; empty if unknown.
    :ivar model: what the board calls itself: ``Raspberry Pi 4 Model B Rev 1.4``.
    :ivar system: ``Debian GNU/Linux 12 (bookworm)``.
    :ivar cpus: kinds of core and how many of each, in the kernel's order: ``(("cortex-a72", 4),)``.
    :ivar provides: highest symbol version by prefix (``GLIBCXX``, ``CXXABI``, ``GCC``) that the
        system's libstdc++ and libgcc_s have.
    :ivar read_only: the device root's file system is mounted so.
    :ivar memory_available_bytes: what a program can have now without swapping.
    :ivar memory_limit_bytes: of the login's control group (a container, a systemd slice).
    :ivar cpu_limit: processors' worth of time that the control group may use.
    :ivar cpus_allowed: ``0-3``: where the login's programs may run.
    :ivar big_cores: ``4-7``: those of the biggest kind; empty: there is but one kind, or it is not
        known which core is of which.
    :ivar clock_ahead_s: the board's clock less this machine's.
    :ivar throttled: the Raspberry Pi firmware's bits: see ``preflight``.
    :ivar boot_id: another one after every boot; empty if unknown.
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
    model: str = ""
    system: str = ""
    cpus: tuple[tuple[str, int], ...] = ()
    provides: Mapping[str, Version] = field(default_factory=lambda: _NOTHING)
    read_only: bool = False
    memory_available_bytes: int | None = None
    memory_limit_bytes: int | None = None
    swap_used_bytes: int | None = None
    page_bytes: int | None = None
    cpu_limit: float | None = None
    cpus_allowed: str = ""
    big_cores: str = ""
    clock_ahead_s: float | None = None
    throttled: int | None = None
    boot_id: str = ""

    @property
    def cpu(self) -> str:
        """The biggest kind of core, for a build: the last kind that the kernel lists."""
        return self.cpus[-1][0] if self.cpus else ""


@dataclass(frozen=True)
class Clock:
    """How a group of cores is clocked, in MHz; None: unknown.

    :ivar policy: the kernel's name for the group: ``policy0``.
    :ivar cores: as the kernel numbers them: ``0 1 2 3``.
    :ivar hardware_max_mhz: what the hardware can, where ``max_mhz`` is what it may.
    """

    policy: str
    cores: str
    governor: str
    governors: tuple[str, ...]
    min_mhz: float | None
    max_mhz: float | None
    hardware_max_mhz: float | None
    now_mhz: float | None


@dataclass(frozen=True)
class Zone:
    """A temperature, and the one at which the kernel begins to do something about it."""

    name: str
    celsius: float
    limit_celsius: float | None


@dataclass(frozen=True)
class Condition:
    """How a board is at the moment.

    :ivar load: runnable programs, the last minute's average.
    :ivar isolated: cores kept free of other programs by the kernel's command line: ``2-3``.
    :ivar sudo: ``yes`` (without a password), ``password``, ``none`` (not installed), ``root``.
    :ivar vcgencmd: what ``vcgencmd get_throttled`` answers; None: not installed.
    :ivar pythons: path -> version.
    """

    clocks: tuple[Clock, ...]
    zones: tuple[Zone, ...]
    load: float | None
    groups: tuple[str, ...]
    isolated: str
    sudo: str
    vcgencmd: str | None
    pythons: Mapping[str, str]


def read(transport: Transport, root: str, timeout_s: float = 60.0) -> Facts:
    """Ask the board.

    :param root: device root, absolute or relative to the login's home.
    :raises BoardError: the board has no POSIX shell, or answers what makes no sense.
    """
    return parse(ask(transport, root, timeout_s), now_s=time.time())


def ask(transport: Transport, root: str, timeout_s: float = 60.0) -> str:
    """What the board answers: the text for :func:`parse`. Parameters and errors as :func:`read`."""
    return _ask(transport, SCRIPT, root, timeout_s)


def boot_id(transport: Transport) -> str:
    """Another one after every boot; empty if the board can't say."""
    outcome = transport.run(["cat", "/proc/sys/kernel/random/boot_id"])
    return outcome.text.strip() if outcome.ok else ""


def memory_available(transport: Transport, facts: Facts) -> int | None:
    """What a program can have at this moment without swapping, in bytes; None: it can't be told.

    :param facts: of the board, for the limit of the login's control group.
    """
    outcome = transport.run(["grep", "MemAvailable", "/proc/meminfo"])
    found = re.fullmatch(r"MemAvailable:\s+([0-9]{1,15}) kB\n", outcome.text)
    amounts = [int(found[1]) * 1024] if found else []
    if facts.memory_limit_bytes is not None:
        amounts.append(facts.memory_limit_bytes)
    return min(amounts, default=None)


def read_condition(transport: Transport, timeout_s: float = 60.0) -> Condition:
    """Ask the board how it is; this starts each of its Pythons, and ``sudo -n true``."""
    return parse_condition(_ask(transport, _CONDITION, "", timeout_s))


def _ask(transport: Transport, script: str, argument: str, timeout_s: float) -> str:
    # A function, read to its end before it runs: no command in it can eat the rest of the script.
    call = f'echo; echo {_BEGIN}; all "$1" 2>/dev/null </dev/null; echo {_END}'
    whole = f"all() {{\n{script}\n}}\n{call}\n"
    outcome = transport.run(["sh", "-s", "--", argument], stdin=whole.encode(), timeout_s=timeout_s)
    if not outcome.ok or _END not in outcome.text:
        raise BoardError(
            f"{transport.name} can't run a POSIX shell script (exit {outcome.exit_code}: "
            f"{outcome.error_text[-200:]}); edge needs `sh` on the board"
        )
    before, _, answers = outcome.text.partition(_BEGIN + "\n")
    answers, _, after = answers.partition(_END + "\n")
    if noise := before.strip() or after.strip():
        raise BoardError(
            f"the login on {transport.name} prints {noise.splitlines()[0][:60]!r} with every "
            "command, which spoils what is sent and fetched: make the login shell's start-up file "
            "(~/.bashrc, ~/.config/fish/config.fish, ~/.cshrc, ~/.zshenv) silent when it is not "
            "interactive; `ssh HOST true` must print nothing"
        )
    return answers


class _Answers:
    """Lines ``key=value``; others are passed over."""

    def __init__(self, text: str) -> None:
        self._values: dict[str, list[str]] = {}
        for line in text.splitlines():
            key, separator, value = line.partition("=")
            if separator and re.fullmatch(r"[A-Za-z_0-9]+", key):
                # Nothing that a board says may steer a terminal.
                clean = "".join(c if c.isprintable() else " " for c in value)
                self._values.setdefault(key, []).append(clean.strip())

    def all(self, key: str) -> list[str]:
        return self._values.get(key, [])

    def one(self, key: str) -> str:
        return self.all(key)[0] if self.all(key) else ""

    def number(self, key: str, unit: int = 1) -> int | None:
        found = _number(self.one(key))
        return None if found is None else found * unit


def parse(text: str, *, now_s: float | None = None) -> Facts:
    """Facts out of the script's ``key=value`` lines; others are passed over.

    :param now_s: this machine's clock when the answer came.
    :raises BoardError: the device root or the header of ``/bin/sh`` is missing.
    """
    said = _Answers(text)
    root = PurePosixPath(said.one("root"))
    if not root.is_absolute():
        raise BoardError("the board did not say where its home directory is: set root in lab.toml")
    glibc = _glibc(said.one("libc"))
    cores, machine = said.number("cores"), _machine(said.one("shell_elf"))
    mount = _mount_options(said.one("mount"), said.all("mounts"))
    clock, swap = said.number("clock"), said.number("SwapTotal", 1024)
    swap_free = said.number("SwapFree", 1024)
    features = tuple(said.one("features").split())
    if machine == "armv7l" and "asimd" in features:
        features += tuple(sorted(_ARMV8_IN_32_BITS - set(features)))
    return Facts(
        root=root,
        user=said.one("user"),
        kernel=said.one("kernel"),
        kernel_machine=said.one("kernel_machine"),
        machine=machine,
        libc=_libc(said.one("libc")) if glibc is None else f"glibc {glibc[0]}.{glibc[1]}",
        glibc=glibc,
        writable=said.one("writable") == "yes",
        free_bytes=said.number("free_kib", 1024),
        noexec="noexec" in mount,
        features=features,
        memory_bytes=said.number("MemTotal", 1024),
        cores=cores,
        emulated="linux,dummy-virt" in said.one("hardware").split(),
        libraries=frozenset(said.one("libraries").split()),
        model=said.one("model"),
        system=said.one("system"),
        cpus=_cpus(said.all("cpu"), cores, said.one("cpu_name")),
        provides=_highest(said.all("provides")),
        read_only="ro" in mount,
        memory_available_bytes=said.number("MemAvailable", 1024),
        memory_limit_bytes=min(_limits(said.all("memory_max")), default=None),
        swap_used_bytes=None if swap is None or swap_free is None else swap - swap_free,
        page_bytes=said.number("page"),
        cpu_limit=min(_quotas(said.all("cpu_max")), default=None),
        cpus_allowed=said.one("allowed"),
        big_cores=_big_cores(said.all("cpu")),
        clock_ahead_s=None if clock is None or now_s is None else clock - now_s,
        throttled=_throttled(said.one("throttled")),
        boot_id=said.one("boot"),
    )


def parse_condition(text: str) -> Condition:
    """What :func:`read_condition` makes of the board's answer."""
    said = _Answers(text)
    load = re.match(r"[0-9]{1,6}\.[0-9]{1,3}", said.one("load"))
    pythons = {}
    for line in said.all("python"):
        path, _, version = line.rpartition("/")
        if path.startswith("/") and re.fullmatch(r"3\.[0-9]{1,3}(\.[0-9a-z+]{1,9})?", version):
            pythons[path] = version
    return Condition(
        clocks=tuple(clock for line in said.all("policy") if (clock := _clock(line))),
        zones=tuple(zone for line in said.all("zone") if (zone := _zone(line))),
        load=float(load[0]) if load else None,
        groups=tuple(said.one("groups").split()),
        isolated=said.one("isolated"),
        sudo=said.one("sudo"),
        vcgencmd=said.one("vcgencmd") if said.all("vcgencmd") else None,
        pythons=pythons,
    )


def in_sysroot(here: Facts, sysroot: Path, machine: str, cpu: str) -> Facts:
    """``here``, read on this machine, for programs that run on the libraries of ``sysroot``.

    :raises UsageError: the sysroot has no C library.
    """
    files = {path.name: path for path in sorted(sysroot.rglob("*.so*"))}
    if "libc.so.6" not in files:
        raise UsageError(f"{sysroot} has no libc.so.6: it is no glibc system's root")
    major, minor = _sysroot_glibc(files["libc.so.6"])
    provides: dict[str, Version] = {}
    for name in ("libstdc++.so.6", "libgcc_s.so.1"):
        if name in files:
            provides.update(artifact.provided_versions(files[name]))
    return dataclasses.replace(
        here,
        machine=machine,
        libc=f"glibc {major}.{minor}",
        glibc=(major, minor),
        features=tuple(_FEATURES_OF.get(cpu, "").split()),
        libraries=frozenset(files),
        model="",
        system="",
        cpus=((cpu, here.cores or 1),),
        provides={key: value for key, value in provides.items() if key != "GLIBC"},
        throttled=None,
    )


def _sysroot_glibc(libc: Path) -> tuple[int, int]:
    """By what it prints when it is run; not every release has symbols of its own (2.31 has none).

    :raises UsageError: it is no glibc.
    """
    if found := re.search(rb"release version ([0-9]{1,4})\.([0-9]{1,4})", libc.read_bytes()):
        return int(found[1]), int(found[2])
    major, minor = artifact.provided_version(libc, "GLIBC")[:2]
    return major, minor


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def _machine(header: str) -> str:
    """Architecture by the first 20 bytes of an ELF file, in hexadecimal."""
    if not re.fullmatch(r"7f454c46[0-9a-f]{32}", header):
        raise BoardError("/bin/sh on the board is no ELF program: its architecture is unknown")
    raw = bytes.fromhex(header)
    order: Literal["little", "big"] = "little" if raw[5] == 1 else "big"
    key = (raw[4], int.from_bytes(raw[18:20], order))
    return _MACHINES.get(key, f"ELF machine {key[1]}, {32 * key[0]}-bit")


def _glibc(text: str) -> tuple[int, int] | None:
    if "musl" in text or "uClibc" in text:
        return None
    found = re.search(r"(?:^glibc |GLIBC |GNU libc\) |version )([0-9]{1,4})\.([0-9]{1,4})", text)
    return (int(found[1]), int(found[2])) if found else None


def _libc(text: str) -> str:
    """``musl libc (aarch64) Version 1.2.4 …`` -> ``musl 1.2.4``."""
    found = re.search(r"musl libc.*?Version ([0-9][0-9.]{0,15})", text)
    return f"musl {found[1]}" if found else text[:80]


def _mount_options(mount: str, mounts: list[str]) -> list[str]:
    """Of the last file system that was mounted there: it covers those before it."""
    options: list[str] = []
    for line in mounts:
        words = line.split()
        if len(words) >= 4 and words[1] == mount:
            options = words[3].split(",")
    return options


def _cpus(parts: list[str], cores: int | None, name: str) -> tuple[tuple[str, int], ...]:
    """Kinds of core with their counts. Old kernels print one part for all cores."""
    counts: dict[str, int] = {}
    for part in parts:
        if found := re.fullmatch(r"(0x[0-9a-f]{1,2}) (0x[0-9a-f]{1,3})(?: [0-9]{0,4})?", part):
            key = (int(found[1], 16), int(found[2], 16))
            core = _CORES.get(key, f"implementer {found[1]} part {found[2]}")
            counts[core] = counts.get(core, 0) + 1
    if not counts and name and cores:
        counts[name] = cores
    if len(counts) == 1 and cores:
        counts = dict.fromkeys(counts, cores)
    return tuple(counts.items())


def _big_cores(parts: list[str]) -> str:
    """The cores of the kind that the kernel lists last, as it numbers them: ``4-7``, ``1,2``."""
    kinds: dict[str, list[int]] = {}
    for part in parts:
        if found := re.fullmatch(r"(0x[0-9a-f]{1,2} 0x[0-9a-f]{1,3}) ([0-9]{1,4})", part):
            kinds.setdefault(found[1], []).append(int(found[2]))
    if len(kinds) < 2:
        return ""
    numbers = list(kinds.values())[-1]
    if numbers == list(range(numbers[0], numbers[-1] + 1)) and len(numbers) > 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))


def _highest(names: list[str]) -> dict[str, Version]:
    """``GLIBCXX_3.4.28`` … -> the highest of each prefix."""
    highest: dict[str, Version] = {}
    for name in names:
        if found := re.fullmatch(r"(GLIBCXX|CXXABI|GCC)_([0-9]{1,4}(?:\.[0-9]{1,4}){1,4})", name):
            version = tuple(int(part) for part in found[2].split("."))
            highest[found[1]] = max(highest.get(found[1], ()), version)
    return highest


def _limits(texts: list[str]) -> list[int]:
    found = [int(text) for text in texts if re.fullmatch("[0-9]{1,20}", text)]
    return [number for number in found if number < _UNLIMITED_BYTES]


def _quotas(texts: list[str]) -> list[float]:
    """``50000 100000`` -> half a processor; ``max`` and -1 are no limit."""
    found = [re.fullmatch(r"([0-9]{1,12}) ([1-9][0-9]{0,11})", text) for text in texts]
    return [int(match[1]) / int(match[2]) for match in found if match]


def _throttled(text: str) -> int | None:
    """``throttled=0x50005`` of vcgencmd, ``50005`` of the kernel."""
    found = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-f]{1,8})", text.strip())
    return int(found[1], 16) if found else None


def _clock(line: str) -> Clock | None:
    fields = [text.strip() for text in line.split("/")]
    if len(fields) != 8 or not re.fullmatch("policy[0-9]{1,4}", fields[0]) or not fields[2]:
        return None

    def mhz(text: str) -> float | None:
        number = _number(text)
        return None if number is None else number / 1000

    return Clock(
        policy=fields[0],
        cores=fields[1],
        governor=fields[2],
        governors=tuple(fields[3].split()),
        min_mhz=mhz(fields[4]),
        max_mhz=mhz(fields[5]),
        hardware_max_mhz=mhz(fields[6]),
        now_mhz=mhz(fields[7]),
    )


def _zone(line: str) -> Zone | None:
    name, _, rest = line.partition("/")
    now, _, trips = rest.partition("/")
    celsius = _number(now.strip())
    if celsius is None:
        return None
    limits = [n / 1000 for text in trips.split() if (n := _number(text)) and n <= 200_000]
    return Zone(name.strip(), celsius / 1000, min(limits, default=None))
