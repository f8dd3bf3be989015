"""Probe: a board file from what a board says of itself.

What comes from a board is text that nobody has vouched for: it may stand in the file's comments and
strings, but can't end them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edge import artifact, board, preflight, toml
from edge.artifact import ElfFacts
from edge.errors import BoardError, HostError, UsageError
from edge.facts import Condition, Facts

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ARCHITECTURES = {"aarch64": "cortex-a53", "armv7l": "cortex-a7", "x86_64": "x86-64"}
"""What the runner is built for, and the core to assume where the kernel's number is not known."""

_FLOOR = (2, 28)
"""The C library that one runner for all boards is built for."""


_LONG = 400
"""Characters of one thing that a board says; no real one says more."""


def checked_name(name: str) -> str:
    """``name`` unchanged, if a board may be called so.

    :raises UsageError: it could lead to another folder, or would be no host name.
    """
    if _NAME.fullmatch(name):
        return name
    raise UsageError(
        f"{name!r} can't be a board's name: use small letters, digits, '-' and '_', such as "
        "'rpi4-lab'"
    )


def board_file(
    facts: Facts,
    condition: Condition,
    name: str,
    *,
    seen: str,
    runtimes: Iterable[tuple[str, ElfFacts]] = (),
) -> str:
    """The text of ``boards/<name>.toml``.

    ``verified`` is ``hardware``, because the values were read from the hardware itself, or
    ``emulated`` if that says that it is QEMU's.

    :param seen: from where and when, for the first line: ``pi@10.0.0.7 on 2026-11-21``.
    :param runtimes: name -> what its library needs, the preferred one first; the first that fits is
        proposed.
    :raises BoardError: the board is of a kind that edge builds nothing for.
    """
    checked_name(name)
    if facts.machine not in _ARCHITECTURES:
        raise BoardError(
            f"the board's system is {facts.machine}: edge builds for {', '.join(_ARCHITECTURES)}"
        )
    if facts.glibc is None:
        raise BoardError(
            f"the board's C library is {facts.libc or 'unknown'}: edge's runner needs glibc; use "
            "a system that has it (Debian, Raspberry Pi OS, Ubuntu, Yocto with glibc)"
        )
    cpu = facts.cpu if re.fullmatch("[a-z0-9][a-z0-9+._-]*", facts.cpu) else ""
    offered = tuple(runtimes)
    fit = preflight.fitting(facts, offered)
    described = ", ".join(part for part in (facts.model, facts.system) if part) or name
    floor = min(facts.glibc, _FLOOR)
    lines = [f"# Read from {seen} by `invoke probe`."]
    lines += [f"# {line}" for line in _seen(facts, condition)]
    lines += [
        f"description = {_quoted(described[:_LONG])}",
        f"arch = {_quoted(facts.machine)}",
        f"cpu = {_quoted(cpu or _ARCHITECTURES[facts.machine])}"
        + ("" if cpu else " # assumed: the kernel's number for the core is not known"),
        f"cores = {max(facts.cores or 1, 1)}",
        f"memory_mib = {max((facts.memory_bytes or 0) >> 20, 1)} # as the kernel counts it",
        f"glibc = {_quoted(_dotted(floor))}"
        f" # what the runner is built for; the board has {_dotted(facts.glibc)}",
    ]
    if fit:
        others = f"; {', '.join(name for name, _ in fit[1:])} would too" if fit[1:] else ""
        lines.append(f"runtime = {_quoted(fit[0][0])} # its library fits this system{others}")
    elif offered:
        lines.append("# no runtime that edge knows fits this system: --lib takes one of your own")
    verified = "emulated" if facts.emulated else "hardware"
    lines.append(f"verified = {_quoted(verified)}")
    return "".join(f"{_plain(line)}\n" for line in lines)


def write(name: str, text: str, *, force: bool = False) -> Path:
    """Create ``boards/<name>.toml`` in the working directory, and see that it loads.

    :raises UsageError: there is a board of that name, and ``force`` is not given.
    :raises HostError: it can't be written.
    """
    path = Path("boards") / f"{checked_name(name)}.toml"
    known = board.files().get(name)
    if known is not None and not force:
        raise UsageError(
            f"there is a board '{name}' already ({known}): choose another --name, or overwrite "
            f"boards/{name}.toml with --force"
        )
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(exist_ok=True)
        part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(f"can't write {path}: {error.strerror}") from None
    artifact.move_into_place(part, path)
    board.load(name)
    return path


def lab_entry(name: str, host: str) -> str:
    """What to put into lab.toml, so that ``--board <name>`` finds the board without ``--host``."""
    return f"[boards.{checked_name(name)}]\nhost = {_quoted(_plain(host))}\n"


def _seen(facts: Facts, condition: Condition) -> list[str]:
    """What a reader wants to know, and no key has room for."""
    kinds = ", ".join(f"{count} x {name}" for name, count in facts.cpus)
    lines = [
        ("model", facts.model),
        ("system", f"{facts.system}, {facts.kernel}, {facts.libc}"),
        ("cores", kinds),
        ("CPU features", " ".join(facts.features)),
    ]
    for clock in condition.clocks:
        if clock.min_mhz is not None and clock.max_mhz is not None:
            mhz = f"{clock.min_mhz:.0f} to {clock.max_mhz:.0f} MHz, "
            lines.append((f"cores {clock.cores}", f"{mhz}governor {clock.governor}"))
    zones = ", ".join(f"{zone.name} {zone.celsius:.0f} C" for zone in condition.zones)
    lines += [("temperatures", zones), ("disk", _disk(facts))]
    if facts.throttled is not None:
        lines.append(("throttle bits", f"0x{facts.throttled:x}, which `invoke doctor` explains"))
    lines += [("Python", f"{path} {version}") for path, version in condition.pythons.items()]
    if facts.memory_limit_bytes is not None:
        lines.append(("container", f"{facts.memory_limit_bytes >> 20} MiB of memory at most"))
    if facts.cpu_limit is not None:
        lines.append(("container", f"{facts.cpu_limit:g} processors' time at most"))
    return [f"{label}: {text[:_LONG]}" for label, text in lines if text]


def _disk(facts: Facts) -> str:
    """Where releases would live."""
    free = facts.free_bytes
    room = "free space unknown" if free is None else f"{free >> 20} MiB free"
    flags = {"read-only": facts.read_only, "noexec": facts.noexec}
    mounted = ", ".join(name for name, there in flags.items() if there)
    return f"{room} below {facts.root}" + (f" (mounted {mounted})" if mounted else "")


def _quoted(text: str) -> str:
    """A TOML string of one line, of what can be read at sight."""
    return toml.quoted(_plain(text))


def _plain(text: str) -> str:
    """Printable ASCII: no line's end, no control character, nothing that only looks like text."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
