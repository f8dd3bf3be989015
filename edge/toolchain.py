"""Toolchain: a CMake toolchain file, chosen by name and architecture.

The mere existence of ``toolchains/<name>-<arch>.cmake`` creates a toolchain.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge import layout
from edge.errors import UsageError


@dataclass(frozen=True)
class Toolchain:
    """A cross compiler for one architecture.

    :ivar file: the CMake toolchain file.
    """

    name: str
    arch: str
    file: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The toolchain file, and those beside it that it includes."""
        included = re.findall(r'^include\(".*/([\w.-]+)"\)', self.file.read_text(), re.MULTILINE)
        return (self.file, *(self.file.parent / name for name in included))

    def cmake_arguments(
        self, *, glibc: str, mcpu: str, lto: bool = False, cflags: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """What CMake is told; this Python is passed on because it is the one that has zig."""
        return (
            f"-DCMAKE_TOOLCHAIN_FILE={self.file}",
            f"-DEDGE_GLIBC={glibc}",
            f"-DEDGE_MCPU={mcpu}",
            f"-DEDGE_PYTHON={sys.executable}",
            *(["-DEDGE_LTO=ON"] if lto else []),
            *([f"-DEDGE_CFLAGS={shlex.join(cflags)}"] if cflags else []),
        )


def load(name: str, arch: str) -> Toolchain:
    """:raises UsageError: there is no such toolchain for this architecture."""
    known = {(t.name, t.arch): t for t in load_all()}
    if (name, arch) not in known:
        have = ", ".join(sorted(t.name for t in known.values() if t.arch == arch)) or "none"
        raise UsageError(
            f"no toolchain '{name}' for {arch} (there is: {have}): "
            f"choose another with --toolchain, or write toolchains/{name}-{arch}.cmake"
        )
    return known[name, arch]


def load_all() -> tuple[Toolchain, ...]:
    found = []
    for stem, path in layout.definitions("toolchains", ".cmake").items():
        name, dash, arch = stem.partition("-")
        if dash:  # one without is shared by others
            found.append(Toolchain(name, arch, path.resolve()))
    return tuple(found)
