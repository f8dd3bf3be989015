"""Preflight: what would stop a deploy or spoil a measurement, found before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge import artifact
from edge.artifact import Artifact, ElfFacts
from edge.board import Board
from edge.errors import BoardError, UsageError
from edge.facts import Facts

_SPARE_BYTES = 4 << 20
"""Left free beside what is sent: manifests, logs, the directories themselves."""


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


def look(
    board: Board, facts: Facts, files: tuple[Artifact, ...], send_bytes: int
) -> tuple[Finding, ...]:
    """All checks, in the order in which they matter.

    :param files: programs and libraries that the board must be able to load.
    :param send_bytes: content that the board may have to take in.
    """
    found = list(_userland(board, facts))
    for file in files:
        found += _loadable(artifact.elf_facts(file.path), file, facts)
    found += _disk(facts, send_bytes)
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


def _userland(board: Board, facts: Facts) -> Iterator[Finding]:
    if facts.machine == board.arch:
        yield Finding("userland", "ok", f"{facts.machine}, {facts.kernel}")
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


def _loadable(elf: ElfFacts, file: Artifact, facts: Facts) -> Iterator[Finding]:
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
    need = elf.versions.get("GLIBC")
    if need and facts.libc and facts.glibc is None:
        yield Finding(
            name,
            "stop",
            f"{name} needs glibc {_dotted(need)}, the board has another C library: {facts.libc}",
            "use a system with glibc (Debian, Raspberry Pi OS, Ubuntu, Yocto with glibc)",
        )
    elif need and facts.glibc and need > facts.glibc:
        yield Finding(
            name,
            "stop",
            f"{name} needs glibc {_dotted(need)}, the board has {_dotted(facts.glibc)}",
            "choose an older runtime with --runtime, or toolchain zig, which builds for the "
            "board file's glibc",
            users_fault=True,
        )
    else:
        yield Finding(name, "ok", f"{elf.machine}, glibc {_dotted(need or ())}")
    missing = sorted(set(elf.needed) - facts.libraries) if facts.libraries else []
    if missing:
        yield Finding(
            name,
            "stop",
            f"{name} needs {', '.join(missing)}, which the board's system lacks",
            "install the package that has it (libstdc++.so.6: libstdc++6)",
        )


def _disk(facts: Facts, send_bytes: int) -> Iterator[Finding]:
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
        return (Finding("disk", "ok", f"{root}, {(free_bytes or 0) >> 20} MiB free"),)
    return (
        Finding(
            "disk",
            "stop",
            f"{root} has {free_bytes >> 20} MiB free, {-(-need >> 20)} MiB are needed",
            "free some space, or name a root on another file system in lab.toml",
        ),
    )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version) or "any"
