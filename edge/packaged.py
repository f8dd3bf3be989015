"""Packaged: a runtime's library out of Debian packages, with the libraries that it needs.

A distribution spreads a library over many: all that the board may lack stand beside it in a
release, where the loader looks for them because the library says so (``$ORIGIN``). The board's own
are neither used nor touched, except for the C library's.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from edge import artifact, debian, layout
from edge.debian import Package
from edge.errors import HostError, UsageError

Progress = Callable[[str], None]

ARCHITECTURES = {"aarch64": "arm64", "armv7l": "armhf"}
"""As boards say it -> as Debian does."""

_DT_RPATH = 15
_ORIGIN = b"$ORIGIN\0"


@dataclass(frozen=True)
class Packaged:
    """Packages that hold a library and what it needs.

    :ivar library: the library's name.
    :ivar lock: of all architectures.
    """

    suite: str
    library: str
    packages: tuple[str, ...]
    lock: tuple[Package, ...]


def resolve(wanted: Packaged, progress: Progress) -> tuple[Package, ...]:
    """The newest versions, for the lock file.

    :raises UsageError: the suite has no such package.
    """
    found: list[Package] = []
    for architecture in ARCHITECTURES.values():
        archive = debian.Archive(wanted.suite, architecture, progress, security=False)
        found += archive.resolve(wanted.packages, [])
    return tuple(found)


def libraries(wanted: Packaged, arch: str, progress: Progress) -> tuple[Path, ...]:
    """The library, and those of the packages' that it needs, directly or not.

    :raises UsageError: the lock file does not pin the packages.
    :raises HostError: a package is not to be had, or does not hold what it should.
    """
    architecture = ARCHITECTURES[arch]
    pinned = [p for p in wanted.lock if p.architecture == architecture]
    if {package.name for package in pinned} != set(wanted.packages):
        raise UsageError(
            f"the lock file does not pin {', '.join(wanted.packages)} for {architecture}: write it "
            "with `python -m edge.runtime lock`"
        )
    digest = hashlib.sha256(repr((wanted.library, pinned)).encode()).hexdigest()[:16]
    folder = layout.libraries_dir() / f"{wanted.suite}-{architecture}-{digest}"
    with layout.exclusive(layout.libraries_dir(), progress):
        if not folder.is_dir():
            archive = debian.Archive(wanted.suite, architecture, progress, security=False)
            debs = archive.fetch(pinned)
            with layout.published(folder) as part:
                _gather(wanted, [debs[package.name] for package in pinned], part)
    return tuple(sorted(folder.glob("*.so*"), key=lambda path: path.name != wanted.library))


def _gather(wanted: Packaged, debs: list[Path], folder: Path) -> None:
    """Each library once, by the name that others ask for it by."""
    unpacked = folder / "unpacked"
    for deb in debs:
        debian.unpack(deb, unpacked, lambda path: ".so" in path.name)
    there = {path.name: path for path in unpacked.rglob("*.so*") if path.is_file()}
    if wanted.library not in there:
        raise HostError(f"the packages hold no {wanted.library}: {', '.join(sorted(there))}")
    queue = [wanted.library]
    while queue:
        name = queue.pop()
        place = folder / name
        if name in there and not place.exists():
            shutil.copyfile(there[name], place)
            queue += artifact.elf_facts(place).needed
    look_beside(folder / wanted.library)
    shutil.rmtree(unpacked)


def look_beside(library: Path) -> None:
    """Have the loader search the library's own folder for what it needs, and what that needs.

    An entry for this takes a place among the dynamic ones and a text. Both are its name's: a
    library that is opened by its path needs none.

    :raises HostError: it has no name.
    """
    with library.open("r+b") as file:
        elf = ELFFile(file)
        dynamic = elf.get_section_by_name(".dynamic")
        strings = elf.get_section_by_name(".dynstr")
        if not isinstance(dynamic, DynamicSection) or strings is None:
            raise HostError(f"{library} is no library that can be opened")
        tags = [tag.entry for tag in dynamic.iter_tags()]
        name = next((n for n, tag in enumerate(tags) if tag.d_tag == "DT_SONAME"), None)
        if name is None:
            raise HostError(f"{library} has no name in it, whose place could be taken")
        place = strings["sh_offset"] + tags[name].d_val
        file.seek(place)
        if b"\0" in file.read(len(_ORIGIN) - 1):
            raise HostError(f"{library}'s name in it is too short for $ORIGIN")
        file.seek(place)
        file.write(_ORIGIN)
        file.seek(dynamic["sh_offset"] + name * dynamic["sh_entsize"])
        file.write(_DT_RPATH.to_bytes(elf.elfclass // 8, "little" if elf.little_endian else "big"))
