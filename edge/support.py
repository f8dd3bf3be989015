"""Support libraries: the C++ runtime for boards that lack it, or have it too old.

A runtime's library needs ``libstdc++.so.6`` and ``libgcc_s.so.1``; a small system (Yocto,
Buildroot, a minimal Debian) may have neither. They are taken from the pinned Debian packages that
the emulated boards use, the oldest first: what was built for an old C library runs on newer ones.
On the board they stand beside the runtime's library, where the runner opens them first; the
system's own are not touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from edge import artifact, debian, image, layout, preflight
from edge.artifact import Artifact, ElfFacts
from edge.facts import Facts

Progress = Callable[[str], None]

LIBRARIES = ("libgcc_s.so.1", "libstdc++.so.6")
"""In the order in which they have to be loaded: the second needs the first."""

_PROVIDED_BY = {"GLIBCXX": "libstdc++.so.6", "CXXABI": "libstdc++.so.6", "GCC": "libgcc_s.so.1"}

_PACKAGES = ("libgcc-s1", "libstdc++6")

_IMAGES = {
    "aarch64": ("bullseye-arm64", "bookworm-arm64"),
    "armv7l": ("bullseye-armhf", "bookworm-armhf"),
}
"""Where they are taken from, the oldest C library first."""


def files(
    arch: str, facts: Facts, needs: Iterable[ElfFacts], progress: Progress
) -> tuple[Artifact, ...]:
    """What to send along, as ``lib/<name>``; empty if the board has all, or nothing would help.

    :param needs: the programs and libraries that the board has to load.
    """
    wanted = tuple(needs)
    if not _wanting(facts, wanted, {}):
        return ()
    for name in _IMAGES.get(arch, ()):
        if name in image.names():
            shipped = _chosen(facts, wanted, _fetched(image.load(name), progress))
            if shipped:
                return tuple(
                    artifact.of_file(path, f"lib/{path.name}") for path in shipped.values()
                )
    return ()


def _chosen(facts: Facts, wanted: tuple[ElfFacts, ...], found: dict[str, Path]) -> dict[str, Path]:
    """Those of ``found`` that let the board load all of ``wanted``; empty if they do not."""
    elves = {name: artifact.elf_facts(path) for name, path in found.items()}
    shipped: dict[str, ElfFacts] = {}
    # What is shipped may need the other one in turn.
    while names := _wanting(facts, (*wanted, *shipped.values()), shipped):
        if not names <= elves.keys() - shipped.keys():
            return {}
        shipped.update({name: elves[name] for name in names})
    offer = preflight.offered(facts, shipped.items())
    if any(preflight.lacks(elf, offer) for elf in (*wanted, *shipped.values())):
        return {}
    return {name: found[name] for name in LIBRARIES if name in shipped}


def _wanting(facts: Facts, wanted: Iterable[ElfFacts], shipped: dict[str, ElfFacts]) -> set[str]:
    """The support libraries that the board lacks, or has too old."""
    offer = preflight.offered(facts, shipped.items())
    lacking = {lack.name for elf in wanted for lack in preflight.lacks(elf, offer)}
    return {_PROVIDED_BY.get(name, name) for name in lacking} & set(LIBRARIES)


def _fetched(described: image.Image, progress: Progress) -> dict[str, Path]:
    """The libraries of an image's packages, and of these alone: name -> file."""
    packages = [package for package in described.lock if package.name in _PACKAGES]
    digest = hashlib.sha256(repr(packages).encode()).hexdigest()[:16]
    folder = layout.images_cache_dir() / f"{described.name}-support-{digest}"
    with layout.exclusive(layout.images_cache_dir(), progress):
        if not folder.is_dir():
            archive = debian.Archive(
                described.suite, described.architecture, progress, security=described.security
            )
            debs = archive.fetch(packages)
            with layout.published(folder) as part:
                for package in packages:
                    debian.unpack(
                        debs[package.name], part, lambda path: path.name.startswith(LIBRARIES)
                    )
    return {name: path for name in LIBRARIES for path in sorted(folder.rglob(name))[:1]}
