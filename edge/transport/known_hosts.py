"""The host keys a user has accepted, read as OpenSSH reads them.

paramiko's own reader takes one key of each type for a host, and knows no patterns and no markers; a
second line for a rebuilt board would make it cry wolf.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class HostKey:
    """A host's public key: its type and its blob as it travels."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """``SHA256:…``, as ``ssh`` and ``ssh-keygen -l`` print it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return "SHA256:" + digest.rstrip("=")

    @property
    def spelled(self) -> str:
        """Type and blob, as a line of known_hosts or authorized_keys has them."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True)
class Entry:
    """One line of a known_hosts file."""

    marker: str
    patterns: str
    key: HostKey
    file: Path
    line: int

    def matches(self, name: str) -> bool:
        if self.patterns.startswith("|"):
            return _hashed_as(name, self.patterns)
        patterns = self.patterns.lower().split(",")
        if any(p.startswith("!") and _matches(name, p[1:]) for p in patterns):
            return False
        return any(_matches(name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class KnownHosts:
    entries: tuple[Entry, ...]

    def of(self, name: str) -> tuple[Entry, ...]:
        """The lines about ``name``: an address, an alias, or ``[address]:port``."""
        return tuple(entry for entry in self.entries if entry.matches(name.lower()))


def load(files: Iterable[Path]) -> KnownHosts:
    """All lines that can be understood, of all files that can be read: as ``ssh`` does."""
    entries = []
    for file in files:
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if entry := _parse(line, file, number):
                entries.append(entry)
    return KnownHosts(tuple(entries))


def hashed(name: str) -> str:
    """``name`` as ``HashKnownHosts`` writes it."""
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def record(file: Path, name: str, key: HostKey, *, hash_name: bool = False) -> None:
    """Append a line, as ``ssh`` does when a key is accepted."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(file, "a+b", opener=_private) as out:  # Path.open has no opener
        # An editor may have left the last line without an end.
        before = b"\n" if out.tell() and _last_byte(out) != b"\n" else b""
        line = f"{hashed(name) if hash_name else name} {key.spelled}\n"
        out.write(before + line.encode())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _parse(line: str, file: Path, number: int) -> Entry | None:
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3:
        return None
    try:
        blob = base64.b64decode(fields[2], validate=True)
    except binascii.Error:
        return None
    return Entry(marker, fields[0], HostKey(fields[1], blob), file, number)


def _matches(name: str, pattern: str) -> bool:
    # Only * and ? are special to OpenSSH; "[" begins "[host]:port".
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _hashed_as(name: str, pattern: str) -> bool:
    try:
        _, version, salt, digest = pattern.split("|")
        made = hmac.new(base64.b64decode(salt), name.encode(), "sha1").digest()
        return version == "1" and hmac.compare_digest(made, base64.b64decode(digest))
    except ValueError:  # binascii.Error is one
        return False
