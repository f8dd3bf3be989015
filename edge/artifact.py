"""Artifact: a file that goes to a board, known by its content; and what its ELF header says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

from edge import layout
from edge.errors import HostError, UsageError
from edge.once import Once

Version = tuple[int, ...]

_ELF_FORMAT = 1
"""Of the kept files; another number when the fields, or how they are read, change."""

_MACHINES = {"EM_AARCH64": "aarch64", "EM_ARM": "armv7l", "EM_X86_64": "x86_64", "EM_386": "i686"}


_FRESH_NS = 2_000_000_000


@dataclass(frozen=True)
class Artifact:
    """A host file and its content's name.

    :ivar place: where it stands in a release, e.g. ``bin/edge-run``.
    """

    path: Path
    place: str
    sha256: str
    size_bytes: int
    executable: bool = False

    @property
    def loaded(self) -> bool:
        """It is a program or a library, by its place: what a board's loader must find in order."""
        name = PurePosixPath(self.place).name
        return ".so" in name or (self.place.startswith("bin/") and not name.endswith(".py"))


@dataclass(frozen=True)
class ElfFacts:
    """What the dynamic loader will ask for.

    :ivar machine: as ``uname -m`` spells it: ``aarch64``, ``armv7l``, ``x86_64``; else ELF's name.
    :ivar needed: DT_NEEDED names.
    :ivar versions: highest symbol version needed by prefix: ``{"GLIBC": (2, 28)}``.
    :ivar defined: exported dynamic symbols.
    :ivar undefined: dynamic symbols that others must provide.
    :ivar provides: highest symbol version defined here, by prefix.
    """

    machine: str
    bits: int
    needed: tuple[str, ...]
    versions: dict[str, Version]
    defined: frozenset[str]
    undefined: frozenset[str]
    provides: Mapping[str, Version] = field(default_factory=dict)


_hashes: Once[str] = Once()
_elves: Once[ElfFacts] = Once()


def hash_file(path: Path) -> str:
    """sha256 of the content; the same file is read once, however many boards it goes to."""
    key = _identity(path)
    return _hash(path) if key is None else _hashes.get(key, lambda: _hash(path))


def _identity(path: Path) -> tuple[int, ...] | None:
    """Equal as long as nobody has written to the file; None if that can't be told.

    Two changes within one tick of the file system's clock leave the same times.
    """
    found = path.stat()
    changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
    if time.time_ns() - changed_ns < _FRESH_NS:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def of_folder(path: Path, place: str) -> Artifact:
    """A folder as one thing: its sha256 is that of the list of its files.

    :raises UsageError: it holds no file, one that can't be read, or one that can't go on a board.
    """
    return joined(parts(Artifact(path, place, "", 0)), path, place)


def parts(found: Artifact) -> tuple[Artifact, ...]:
    """The files of what may be a folder.

    :raises UsageError: as :func:`of_folder`.
    """
    if not found.path.is_dir():
        return (found,)
    made = []
    for path in sorted(path for path in found.path.rglob("*") if path.is_file()):
        names = [layout.safe_name(name) for name in path.relative_to(found.path).parts]
        made.append(of_file(path, "/".join([found.place, *names])))
    return tuple(made)


def joined(files: Sequence[Artifact], path: Path, place: str) -> Artifact:
    """``files``, which stand below ``place``, as one thing."""
    listing = "".join(f"{each.sha256} {each.place}\n" for each in sorted(files, key=_place))
    sha256 = hashlib.sha256(listing.encode()).hexdigest()
    return Artifact(path, place, sha256, sum(each.size_bytes for each in files))


def _place(of: Artifact) -> str:
    return of.place


def of_file(path: Path, place: str, *, executable: bool = False) -> Artifact:
    """:raises UsageError: the file is missing or can't be read."""
    try:
        return Artifact(path, place, hash_file(path), path.stat().st_size, executable)
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}; check the path") from None


def elf_facts(path: Path) -> ElfFacts:
    """What the ELF header and the symbol tables say; kept in the cache, by the file's content.

    A runtime's library has more than ten thousand symbols, which take half a second to walk.

    :raises UsageError: no ELF file, or a damaged one.
    """
    try:
        key = _identity(path)
        return _elf_facts(path) if key is None else _elves.get(key, lambda: _elf_facts(path))
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}; check the path") from None
    except (ELFError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{path} is no program or library (ELF file): {error}") from None


def section(path: Path, name: str) -> bytes:
    """The content of an ELF file's section; empty if it has none of this name.

    :raises UsageError: no ELF file, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            found = ELFFile(file).get_section_by_name(name)
            return b"" if found is None else bytes(found.data())
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}; check the path") from None
    except (ELFError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{path} is no program or library (ELF file): {error}") from None


def _elf_facts(path: Path) -> ElfFacts:
    kept = layout.elf_dir() / f"{hash_file(path)}.{_ELF_FORMAT}.json"
    if (found := _recalled(kept)) is None:
        with path.open("rb") as file:
            found = _read_elf(ELFFile(file))
        _keep(kept, found)
    return found


def _recalled(kept: Path) -> ElfFacts | None:
    try:
        values = json.loads(kept.read_bytes())
        return ElfFacts(
            values["machine"],
            values["bits"],
            tuple(values["needed"]),
            {prefix: tuple(version) for prefix, version in values["versions"].items()},
            frozenset(values["defined"]),
            frozenset(values["undefined"]),
            {prefix: tuple(version) for prefix, version in values["provides"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(kept: Path, found: ElfFacts) -> None:
    values = {name: getattr(found, name) for name in ("machine", "bits", "needed", "versions")}
    values |= {"defined": sorted(found.defined), "undefined": sorted(found.undefined)}
    values["provides"] = dict(found.provides)
    # What can't be kept is read again.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}.{os.getpid()}.{threading.get_ident()}")
        part.write_text(json.dumps(values), encoding="utf-8")
        part.replace(kept)


def _read_elf(elf: ELFFile) -> ElfFacts:
    machine = str(elf["e_machine"])
    dynamic = elf.get_section_by_name(".dynamic")
    needed: tuple[str, ...] = ()
    if isinstance(dynamic, DynamicSection):
        tags: Iterator[Any] = dynamic.iter_tags("DT_NEEDED")
        needed = tuple(str(tag.needed) for tag in tags)
    versions: dict[str, Version] = {}
    provides: dict[str, Version] = {}
    for section in elf.iter_sections():
        if isinstance(section, (GNUVerNeedSection, GNUVerDefSection)):
            highest = versions if isinstance(section, GNUVerNeedSection) else provides
            for _, entries in section.iter_versions():
                for entry in entries:
                    _note(highest, entry.name)
    defined: set[str] = set()
    undefined: set[str] = set()
    symbols = elf.get_section_by_name(".dynsym")
    for symbol in symbols.iter_symbols() if isinstance(symbols, SymbolTableSection) else ():
        if symbol.name:
            (undefined if symbol["st_shndx"] == "SHN_UNDEF" else defined).add(symbol.name)
    return ElfFacts(
        _MACHINES.get(machine, machine),
        elf.elfclass,
        needed,
        versions,
        frozenset(defined),
        frozenset(undefined),
        provides,
    )


def provided_version(path: Path, prefix: str) -> Version:
    """The highest symbol version that a library provides: ``(2, 36)`` for libc.so.6 and ``GLIBC``.

    :raises UsageError: no ELF file, or it provides no such version.
    """
    if version := provided_versions(path).get(prefix):
        return version
    raise UsageError(f"{path} provides no symbol version {prefix}_*")


def provided_versions(path: Path) -> dict[str, Version]:
    """The highest symbol version of each prefix that a library provides.

    :raises UsageError: no ELF file, or a damaged one.
    """
    return dict(elf_facts(path).provides)


_BY_FEATURE: dict[str, Version] = {"GLIBC_ABI_DT_RELR": (2, 36)}
"""Versions that carry no number, and the first one that has them."""


def _note(highest: dict[str, Version], name: str) -> None:
    prefix = name.partition("_")[0]
    version = _BY_FEATURE.get(name) or _version(name, prefix)
    if version:
        highest[prefix] = max(highest.get(prefix, ()), version)


def _version(name: str, prefix: str) -> Version:
    start, _, number = name.partition("_")
    if start != prefix or not all(part.isdigit() for part in number.split(".")):
        return ()
    return tuple(int(part) for part in number.split("."))


def move_into_place(temporary: Path, final: Path) -> None:
    """Rename, so that ``final`` is absent or whole.

    :raises HostError: the rename failed.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(final)
    except OSError as error:
        raise HostError(f"can't write {final}: {error.strerror}") from None
