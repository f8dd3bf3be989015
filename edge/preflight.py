"""Preflight: what would stop a deploy or spoil a measurement, found before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge import artifact
from edge.artifact import Artifact, ElfFacts, Version
from edge.board import Board
from edge.errors import BoardError, UsageError
from edge.facts import Clock, Condition, Facts

Alternatives = Callable[[], Iterable[tuple[str, ElfFacts]]]
"""Runtime -> what its library needs. Asked only when something does not fit: it may download."""

_PREFIXES = ("GLIBC", "GLIBCXX", "CXXABI", "GCC")

_SPARE_BYTES = 4 << 20
"""Left free beside what is sent: manifests, logs, the directories themselves."""

_CLOCK_OFF_S = 300
"""What certificates and people forgive."""

_LOADED = 0.5
"""Programs that run already: more than a shell and a server that waits."""

_SWAPPED_BYTES = 16 << 20
"""Less is what a system puts aside at its start and never wants back."""

_PI_THROTTLES_CELSIUS = 80.0
_NEAR_CELSIUS = 10.0
_NOW_BITS = 0xF

# Raspberry Pi firmware: 0 to 3 are now, the same 16 bits higher were once since the start.
_BITS = {
    0: "undervoltage",
    1: "the clock is capped",
    2: "the clock is throttled",
    3: "the soft temperature limit is reached",
}
_GOVERN = "echo performance | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
_POWER = "use the board's own power supply and a short cable, and take USB devices off"
_COOL = "cool the board: a heat sink, a fan, free air"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    :ivar level: ``ok``, ``warning`` or ``stop``.
    :ivar remedy: what to do; empty if ok.
    :ivar users_fault: True if another request (board, runtime, toolchain) mends it.
    """

    check: str
    level: str
    text: str
    remedy: str = ""
    users_fault: bool = False


# --- what stops a deploy ------------------------------------------------------------------------


def look(
    board: Board,
    facts: Facts,
    files: tuple[Artifact, ...],
    send_bytes: int,
    *,
    models: tuple[Artifact, ...] = (),
    runtime: str = "",
    needs_features: tuple[str, ...] = (),
    needs_memory_mb: int = 0,
    alternatives: Alternatives | None = None,
) -> tuple[Finding, ...]:
    """All checks, in the order in which they matter.

    :param files: programs and libraries that the board must be able to load; libraries among them
        serve the others.
    :param send_bytes: content that the board may have to take in.
    :param models: what will be opened, and must find room in memory.
    :param runtime: the runtime's name, for messages.
    :param needs_features: of the CPU, which the runtime's library uses without asking.
    :param needs_memory_mb: what opening the runtime takes; 0: little.
    :param alternatives: runtimes to propose if this one does not fit.
    """
    elves = [artifact.elf_facts(file.path) for file in files]
    names = [PurePosixPath(file.place).name for file in files]
    offer = offered(facts, zip(names, elves, strict=True))
    found = list(_userland(board, facts))
    for elf, file in zip(elves, files, strict=True):
        found += _loadable(elf, file, facts, offer, runtime, alternatives)
    found += cpu(facts, needs_features, runtime)
    found += _disk(facts, send_bytes)
    found += _memory(facts, models)
    found += _memory_for(facts, needs_memory_mb, runtime)
    found += _clock(facts)
    found += _power_now(facts)
    return tuple(found)


def insist(findings: tuple[Finding, ...]) -> None:
    """Raise on the first finding that stops a deploy.

    :raises UsageError: what was asked for does not fit this board.
    :raises BoardError: the board itself is in the way.
    """
    for finding in findings:
        if finding.level == "stop":
            kind = UsageError if finding.users_fault else BoardError
            raise kind(f"{finding.text}; {finding.remedy}")


@dataclass(frozen=True)
class Offer:
    """What a library can count on: the board's own libraries, and those shipped beside it.

    :ivar versions: highest symbol version by prefix; a prefix that is absent is unknown.
    :ivar libraries: file names; empty if unknown.
    """

    versions: Mapping[str, Version]
    libraries: frozenset[str]


@dataclass(frozen=True)
class Lack:
    """What a library needs and is not offered.

    :ivar name: a version's prefix (``GLIBC``, ``GLIBCXX``) or a library's file name.
    :ivar need: version; empty for a library.
    :ivar have: version; empty if there is none.
    """

    name: str
    need: Version = ()
    have: Version = ()


def offered(facts: Facts, shipped: Iterable[tuple[str, ElfFacts]] = ()) -> Offer:
    """What the board has, and the libraries add that are shipped under these file names."""
    versions = dict(facts.provides)
    names = set(facts.libraries)
    if facts.libc:
        versions["GLIBC"] = facts.glibc or ()
    for name, elf in shipped:
        names.add(name)
        for prefix, version in elf.provides.items():
            if prefix != "GLIBC":
                versions[prefix] = max(versions.get(prefix, ()), version)
    return Offer(versions, frozenset(names) if facts.libraries else frozenset())


def lacks(elf: ElfFacts, offer: Offer) -> tuple[Lack, ...]:
    """Why a library can't be loaded where that is offered; what is unknown does not count."""
    found = []
    for prefix in _PREFIXES:
        need, have = elf.versions.get(prefix, ()), offer.versions.get(prefix)
        if have is not None and need > have:
            found.append(Lack(prefix, need, have))
    if offer.libraries:
        found += [Lack(name) for name in sorted(set(elf.needed) - offer.libraries)]
    return tuple(found)


def fitting(
    facts: Facts,
    alternatives: Iterable[tuple[str, ElfFacts]],
    shipped: Iterable[tuple[str, ElfFacts]] = (),
) -> tuple[tuple[str, ElfFacts], ...]:
    """Those of ``alternatives`` that the board can load, in their order."""
    offer = offered(facts, shipped)
    return tuple(
        (name, elf)
        for name, elf in alternatives
        if elf.machine == facts.machine and not lacks(elf, offer)
    )


def missing_features(facts: Facts, needed: Iterable[str]) -> tuple[str, ...]:
    """CPU features that the board lacks; none if it could not say which it has."""
    return tuple(name for name in needed if facts.features and name not in facts.features)


def _userland(board: Board, facts: Facts) -> Iterator[Finding]:
    if facts.machine == board.arch:
        system = f", {facts.system}" if facts.system else ""
        yield Finding("userland", "ok", f"{facts.machine}{system}, {facts.kernel}")
        return
    kernel = ""
    if facts.kernel_machine != facts.machine:
        kernel = f" (its kernel is {facts.kernel_machine}, but its programs are not)"
    yield Finding(
        "userland",
        "stop",
        f"the board's system is {facts.machine}{kernel}, {board.name} is {board.arch}",
        "choose the board file that fits with --board, or install a system of that kind",
        users_fault=True,
    )


def _loadable(
    elf: ElfFacts,
    file: Artifact,
    facts: Facts,
    offer: Offer,
    runtime: str,
    alternatives: Alternatives | None,
) -> Iterator[Finding]:
    name = file.path.name
    if elf.machine != facts.machine:
        yield Finding(
            name,
            "stop",
            f"{file.path} is built for {elf.machine}, the board's system is {facts.machine}",
            "name a library or toolchain for the board's architecture",
            users_fault=True,
        )
        return
    short = lacks(elf, offer)
    if not short:
        yield Finding(name, "ok", f"{elf.machine}, needs {_needs(elf)}")
        return
    program = file.place.startswith("bin/")
    label = f"{name} of {runtime}" if runtime and not program else name
    versions = [lack for lack in short if lack.need]
    libraries = [lack.name for lack in short if not lack.need]
    if any(lack.name == "GLIBC" and not lack.have for lack in versions):
        yield Finding(
            name,
            "stop",
            f"{label} needs glibc {_dotted(elf.versions['GLIBC'])}, the board has another C "
            f"library: {facts.libc}",
            "use a system with glibc (Debian, Raspberry Pi OS, Ubuntu, Yocto with glibc)",
        )
        return
    parts = []
    if versions:
        needed = " and ".join(_version(lack.name, lack.need) for lack in versions)
        had = " and ".join(_dotted(lack.have) if lack.have else "none" for lack in versions)
        parts.append(f"needs {needed}, the board has {had}")
    if libraries:
        parts.append(f"needs {', '.join(libraries)}, which the board's system lacks")
    if program:
        remedy = (
            "build it with toolchain zig for an older C library: `glibc` in the board file says "
            "for which"
        )
    else:
        remedy = _proposal(facts, runtime, alternatives)
    only_packages = bool(libraries) and not versions
    if only_packages:
        remedy = "install the package that has it (libstdc++.so.6: libstdc++6)" + (
            f", or {remedy}" if remedy else ""
        )
    yield Finding(
        name,
        "stop",
        f"{label} {' and '.join(parts)}",
        remedy or "choose an older runtime with --runtime",
        users_fault=not only_packages,
    )


def _proposal(facts: Facts, runtime: str, alternatives: Alternatives | None) -> str:
    """Runtimes that do fit, as flags of a command."""
    if alternatives is None:
        return ""
    fit = [(name, elf) for name, elf in fitting(facts, alternatives()) if name != runtime]
    if not fit:
        return "no runtime that edge knows fits: install a newer system on the board"
    first, *others = fit
    proposal = f"--runtime {first[0]} fits (needs {_needs(first[1])})"
    if others:
        proposal += f", {', '.join(name for name, _ in others)} too"
    return proposal


def cpu(facts: Facts, needed: tuple[str, ...], runtime: str) -> tuple[Finding, ...]:
    """Has the processor what a runtime's library uses without asking?"""
    if not needed:
        return ()
    who = runtime or "the runtime"
    missing = missing_features(facts, needed)
    if not missing:
        known = "" if facts.features else " (unknown whether the board has them)"
        return (Finding("cpu", "ok", f"{who} needs {', '.join(needed)}{known}"),)
    return (
        Finding(
            "cpu",
            "stop",
            f"{who} needs the CPU features {', '.join(needed)}; the board's "
            f"{facts.cpu or 'processor'} has no {', '.join(missing)} (it has "
            f"{', '.join(facts.features)})",
            "choose a runtime that is built for this core with --runtime, or your own with --lib",
            users_fault=True,
        ),
    )


def _disk(facts: Facts, send_bytes: int) -> Iterator[Finding]:
    if facts.read_only:
        yield Finding(
            "disk",
            "stop",
            f"{facts.root} is on a file system that is mounted read-only",
            "name a root on another file system in lab.toml, or mount it for writing: "
            "`sudo mount -o remount,rw /`",
        )
        return
    if not facts.writable:
        yield Finding(
            "disk",
            "stop",
            f"{facts.user or 'the login'} can't write below {facts.root}",
            "name another root in lab.toml, or mend the permissions",
        )
        return
    if facts.noexec:
        yield Finding(
            "disk",
            "stop",
            f"{facts.root} is on a file system mounted noexec: no program can run from there",
            "name a root on another file system in lab.toml",
        )
    yield from room(facts.root, facts.free_bytes, send_bytes)


def room(root: PurePosixPath, free_bytes: int | None, send_bytes: int) -> tuple[Finding, ...]:
    """Does what is to be sent fit on the board's disk?"""
    need = send_bytes + _SPARE_BYTES
    if free_bytes is None or free_bytes >= need:
        free = "free space unknown" if free_bytes is None else f"{free_bytes >> 20} MiB free"
        return (Finding("disk", "ok", f"{root}, {free}"),)
    return (
        Finding(
            "disk",
            "stop",
            f"{root} has {free_bytes >> 20} MiB free, {-(-need >> 20)} MiB are needed",
            "free some space, or name a root on another file system in lab.toml",
        ),
    )


def _available(facts: Facts) -> int | None:
    known = (facts.memory_available_bytes, facts.memory_limit_bytes)
    return min((amount for amount in known if amount is not None), default=None)


def _memory_for(facts: Facts, needs_mb: int, runtime: str) -> Iterator[Finding]:
    available = _available(facts)
    if needs_mb and available is not None and needs_mb * 1_000_000 > available:
        yield Finding(
            "memory",
            "stop",
            f"runtime {runtime} takes about {needs_mb} MB of memory even with a small model, the "
            f"board has {available // 1_000_000} MB free",
            "end other programs on the board, convert the model for --engine tflite, or take a "
            "board with more memory",
            users_fault=True,
        )


def _memory(facts: Facts, models: tuple[Artifact, ...]) -> Iterator[Finding]:
    available = _available(facts)
    if available is None or not models:
        return
    largest = max(models, key=lambda model: model.size_bytes)
    size = largest.size_bytes
    sides = f"{largest.path.name} is {_mib(size)}, the board has {_mib(available)} of memory free"
    if size > available:
        yield Finding(
            "memory",
            "stop",
            f"{sides}: it can't be opened",
            "end other programs on the board, quantize the model, or take a board with more memory",
        )
    elif 2 * size > available:
        yield Finding(
            "memory",
            "warning",
            f"{sides}: XNNPACK may keep a second copy of the weights, which does not fit",
            "end other programs on the board, or try --no-xnnpack",
        )
    else:
        yield Finding("memory", "ok", sides)


def _clock(facts: Facts) -> Iterator[Finding]:
    ahead = facts.clock_ahead_s
    if ahead is None:
        return
    if abs(ahead) <= _CLOCK_OFF_S:
        yield Finding("clock", "ok", f"{abs(ahead):.0f} s from this machine's")
        return
    yield Finding(
        "clock",
        "warning",
        f"the board's clock is {_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this "
        "machine's: certificates fail and logs mislead",
        "on the board: `sudo timedatectl set-ntp true`",
    )


def _power_now(facts: Facts) -> Iterator[Finding]:
    if facts.throttled is not None and facts.throttled & _NOW_BITS:
        yield from _power(facts.throttled & _NOW_BITS)


# --- what spoils a measurement ------------------------------------------------------------------


def spoilers(facts: Facts, condition: Condition) -> tuple[Finding, ...]:
    """What makes a board's figures worse, or unlike the next run's. Nothing here stops anything."""
    found = list(_governors(facts, condition))
    found += _firmware(facts, condition)
    found += _temperature(facts, condition)
    found += _load(facts, condition)
    found += _cores(facts, condition)
    found += _swap(facts)
    found += _clock(facts)
    return tuple(found)


def _governors(facts: Facts, condition: Condition) -> Iterator[Finding]:
    slow = [clock for clock in condition.clocks if clock.governor != "performance"]
    for clock in condition.clocks:
        who = f"cores {clock.cores}: governor {clock.governor}, {_range(clock)}"
        if clock not in slow:
            yield Finding("governor", "ok", who)
        elif clock.governors and "performance" not in clock.governors:
            yield Finding(
                "governor",
                "warning",
                f"{who}: the clock moves under load",
                f"this kernel offers {', '.join(clock.governors)} only: warm the board up with a "
                "larger --warmup, and compare runs of equal length",
            )
        else:
            yield Finding(
                "governor",
                "warning",
                f"{who}: the clock moves under load",
                f"on the board: `{_GOVERN}`",
            )
    yield from _sudo(facts, condition, slow)
    for clock in condition.clocks:
        top, may = clock.hardware_max_mhz, clock.max_mhz
        if top and may and may < top:
            yield Finding(
                "clock limit",
                "warning",
                f"cores {clock.cores} may run at {may:.0f} of {top:.0f} MHz",
                f"on the board: `echo {top * 1000:.0f} | sudo tee "
                f"/sys/devices/system/cpu/cpufreq/{clock.policy}/scaling_max_freq`",
            )


def _sudo(facts: Facts, condition: Condition, slow: list[Clock]) -> Iterator[Finding]:
    """Setting the governor takes root; which line lets the login do that and nothing else."""
    if not slow or condition.sudo in ("", "root", "yes"):
        return
    if condition.sudo == "none":
        yield Finding(
            "sudo", "warning", "the board has no sudo", "set the governor as root, without `sudo`"
        )
        return
    files = [
        f"/sys/devices/system/cpu/cpufreq/{clock.policy}/scaling_governor"
        for clock in condition.clocks
    ]
    yield Finding(
        "sudo",
        "warning",
        f"sudo asks {facts.user or 'the login'} for a password",
        "to let it set the governor and nothing else, on the board: "
        f"`{sudoers(facts.user or 'USER', files)}`",
    )


def sudoers(user: str, files: Sequence[str]) -> str:
    """The line that lets ``user`` set ``files`` by ``sudo tee``, each or all, and nothing else."""
    # Spelled out: in sudoers a "*" also matches spaces, and so any further file.
    each = list(dict.fromkeys(files))
    allowed = ", ".join(f"/usr/bin/tee {some}" for some in dict.fromkeys([*each, " ".join(each)]))
    return f"echo '{user} ALL=(root) NOPASSWD: {allowed}' | sudo tee /etc/sudoers.d/edge-governor"


def _firmware(facts: Facts, condition: Condition) -> Iterator[Finding]:
    if facts.throttled:
        yield from _power(facts.throttled)
    elif facts.throttled == 0:
        yield Finding("firmware", "ok", "never throttled, never short of power since the start")
    elif condition.vcgencmd is not None:
        told = "video" in condition.groups or facts.user == "root"
        yield Finding(
            "firmware",
            "warning",
            f"vcgencmd can't tell about throttling: {condition.vcgencmd[:80] or 'no answer'}",
            "see whether /dev/vcio is there"
            if told
            else f"on the board: `sudo usermod -aG video {facts.user or 'USER'}`, then log in anew",
        )


def _power(bits: int) -> Iterator[Finding]:
    for bit, meaning in _BITS.items():
        remedy = _POWER if bit == 0 else _COOL
        if bits >> bit & 1:
            yield Finding("firmware", "warning", f"now: {meaning} (bit {bit})", remedy)
        elif bits >> bit + 16 & 1:
            yield Finding(
                "firmware",
                "warning",
                f"once since the start: {meaning} (bit {bit + 16})",
                f"{remedy}; a restart clears the bit",
            )


def _temperature(facts: Facts, condition: Condition) -> Iterator[Finding]:
    for zone in condition.zones:
        limit = zone.limit_celsius
        if "raspberry pi" in facts.model.lower():
            # Its kernel names only the temperature at which it switches off.
            limit = min(limit or _PI_THROTTLES_CELSIUS, _PI_THROTTLES_CELSIUS)
        now = f"{zone.name}: {zone.celsius:.0f} °C"
        if limit is None:
            yield Finding("temperature", "ok", f"{now}, limit unknown")
        elif zone.celsius < limit - _NEAR_CELSIUS:
            yield Finding("temperature", "ok", f"{now}, slows down at {limit:.0f} °C")
        else:
            yield Finding(
                "temperature", "warning", f"{now}, it slows down at {limit:.0f} °C", _COOL
            )


def _load(facts: Facts, condition: Condition) -> Iterator[Finding]:
    if condition.load is None:
        return
    text = f"{condition.load:.2f} programs want to run on {facts.cores or '?'} cores"
    if condition.load < _LOADED:
        yield Finding("load", "ok", text)
    else:
        yield Finding(
            "load",
            "warning",
            f"{text} (the last minute's average)",
            "wait or stop them; on the board: `top -b -n 1 | head -n 15`",
        )


def _cores(facts: Facts, condition: Condition) -> Iterator[Finding]:
    if len(facts.cpus) > 1:
        kinds = ", ".join(f"{count} x {name}" for name, count in facts.cpus)
        yield Finding(
            "cores",
            "warning",
            f"the cores differ ({kinds}): where the scheduler puts the loop decides its speed",
            "compare samples of the same core: each records on which it ran",
        )
    allowed = _count(facts.cpus_allowed)
    isolated = _count(condition.isolated)
    if isolated:
        yield Finding(
            "cores",
            "ok",
            f"cores {condition.isolated} are isolated: they do nothing unless told to, and the "
            "loop runs on the others",
        )
    if allowed and facts.cores and allowed < facts.cores - isolated:
        yield Finding(
            "container",
            "warning",
            f"the login's programs may use cores {facts.cpus_allowed}, {allowed} of {facts.cores}",
            "lift the container's cpuset (docker: --cpuset-cpus), or measure on the board itself",
        )
    if facts.cpu_limit is not None and facts.cpu_limit < (facts.cores or 1):
        yield Finding(
            "container",
            "warning",
            f"the login's control group has {facts.cpu_limit:g} of {facts.cores or '?'} "
            "processors' time: what runs longer is stopped for a while",
            "lift the limit (docker: --cpus, systemd: CPUQuota), or measure on the board itself",
        )
    if facts.memory_limit_bytes is not None and facts.memory_bytes is not None:
        yield Finding(
            "container",
            "ok",
            f"the login's control group may use {_mib(facts.memory_limit_bytes)} of "
            f"{_mib(facts.memory_bytes)} of memory",
        )


def _swap(facts: Facts) -> Iterator[Finding]:
    used = facts.swap_used_bytes
    if used is None:
        return
    if used < _SWAPPED_BYTES:
        yield Finding("swap", "ok", f"{_mib(used)} in use")
    else:
        yield Finding(
            "swap",
            "warning",
            f"{_mib(used)} of memory are swapped out: pages may come from the card in the loop",
            "end other programs, then on the board: `sudo swapoff -a && sudo swapon -a`",
        )


# --- words --------------------------------------------------------------------------------------


def _needs(elf: ElfFacts) -> str:
    found = [_version(p, elf.versions[p]) for p in _PREFIXES[:2] if elf.versions.get(p)]
    return " and ".join(found) or "any C library"


def _version(prefix: str, version: Version) -> str:
    return f"glibc {_dotted(version)}" if prefix == "GLIBC" else f"{prefix}_{_dotted(version)}"


def _dotted(version: Version) -> str:
    return ".".join(str(part) for part in version)


def _mib(amount: int) -> str:
    return f"{-(-amount >> 20)} MiB"


def _range(clock: Clock) -> str:
    if clock.min_mhz is None or clock.max_mhz is None:
        return "clock unknown"
    now = "" if clock.now_mhz is None else f", now {clock.now_mhz:.0f}"
    return f"{clock.min_mhz:.0f} to {clock.max_mhz:.0f} MHz{now}"


def _span(seconds: float) -> str:
    for size, unit in ((86400 * 365.25, "years"), (86400, "days"), (3600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"


def _count(cores: str) -> int:
    """``0-3,6`` -> 5; 0 if that is no list of cores."""
    count = 0
    for part in cores.split(","):
        found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part.strip())
        if found is None:
            return 0
        count += int(found[2] or found[1]) - int(found[1]) + 1
    return count
