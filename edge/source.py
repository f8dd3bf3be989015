"""Source: what a runtime is compiled from, pinned by a lock file, fetched and unpacked here.

The mere existence of ``edge/sources/<name>.toml`` creates one; ``<name>.lock.toml`` beside it pins
each source package's tarball, and is written by ``python -m edge.source lock <name>``.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from edge import artifact, debian, layout, toml
from edge.debian import Tarball
from edge.errors import EdgeError, HostError, UsageError

Progress = Callable[[str], None]

_VERSION_FILE = "tensorflow/core/public/version.h"


@dataclass(frozen=True)
class Source:
    """Packages whose sources belong together.

    :ivar version: of TensorFlow, its first two numbers: what edge knows how to compile.
    :ivar packages: name -> the Debian suite that it is taken from.
    :ivar files: name -> patterns of what is unpacked.
    """

    name: str
    version: str
    packages: dict[str, str]
    files: dict[str, tuple[str, ...]]

    @property
    def lock_file(self) -> Path:
        return layout.pins_dir() / f"{self.name}.lock.toml"

    @property
    def lock(self) -> tuple[Tarball, ...]:
        """:raises UsageError: it is missing, damaged, or does not pin every package."""
        remedy = f"`python -m edge.source lock {self.name}` writes it"
        try:
            entries: list[dict[str, Any]] = toml.read(self.lock_file)["tarball"]
            locked = tuple(Tarball(**entry) for entry in entries)
        except (KeyError, TypeError) as error:
            raise UsageError(f"{self.lock_file} is no lock file ({error}): {remedy}") from None
        if {each.name for each in locked} != self.packages.keys():
            raise UsageError(f"{self.lock_file} does not pin just these packages: {remedy}")
        return locked


def names() -> list[str]:
    files = layout.pins_dir().glob("*.toml")
    return sorted(file.stem for file in files if not file.name.endswith(".lock.toml"))


def load(name: str) -> Source:
    """:raises UsageError: there are no such sources, or their file is wrong."""
    if name not in names():
        raise UsageError(f"no sources '{name}': there are {', '.join(names())}")
    path = layout.pins_dir() / f"{name}.toml"
    table = toml.read(path)
    try:
        files = {package: tuple(patterns) for package, patterns in table["files"].items()}
        packages = {str(package): str(suite) for package, suite in table["packages"].items()}
        return Source(name, str(table["version"]), packages, files)
    except (KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"{path} does not describe sources ({error})") from None


def identity(source: Source, tree: Path | None = None) -> str:
    """What the files are a function of.

    :param tree: a checkout of TensorFlow that is taken instead of the package.
    """
    digest = hashlib.sha256()
    for tarball in sorted(source.lock, key=lambda each: each.name):
        if tree is None or tarball.name != "tensorflow":
            patterns = source.files[tarball.name]
            digest.update(repr((tarball.name, tarball.sha256, patterns)).encode())
    if tree is not None:
        for path in sorted((tree / "tensorflow/lite").rglob("*.*")):
            if path.suffix in (".h", ".cc", ".c") and path.is_file():
                digest.update(f"{path.relative_to(tree)}\0{artifact.hash_file(path)}\n".encode())
    return digest.hexdigest()


def unpacked(source: Source, progress: Progress) -> Path:
    """A folder with one folder for each package.

    :raises HostError: a tarball is not to be had, or is another one than was pinned.
    """
    folder = layout.sources_dir() / f"{source.name}-{identity(source)[:16]}"
    with layout.exclusive(layout.sources_dir(), progress):
        if not folder.is_dir():
            tarballs = debian.fetch_tarballs(source.lock, progress)
            with layout.published(folder) as part:
                for package in source.packages:
                    progress(f"unpacking {package}")
                    _unpack(tarballs[package], part / package, source.files[package])
    return folder


def _unpack(tarball: Path, target: Path, patterns: tuple[str, ...]) -> None:
    """Files alone: what a link leads to is never needed."""
    target.mkdir()
    try:
        with tarfile.open(tarball) as archive:
            for member in archive:
                path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if not member.isfile() or not _wanted(path, patterns):
                    continue
                if path.is_absolute() or ".." in path.parts:
                    raise HostError(f"{tarball.name} holds {member.name}: refused")
                place = target / path
                place.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                with content, place.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise HostError(f"{tarball} can't be unpacked ({error}): delete it") from None


def _wanted(path: PurePosixPath, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(str(path), pattern) for pattern in patterns)


def check_tree(tree: Path, version: str) -> None:
    """Whether a checkout of TensorFlow is one that edge knows how to compile.

    :raises UsageError: it is none, or of another version.
    """
    if not (tree / "tensorflow/lite/core/c/c_api.cc").is_file():
        raise UsageError(
            f"{tree} has no tensorflow/lite: name the top folder of a checkout of TensorFlow "
            f"{version} (LiteRT's own repository is laid out differently, and not supported)"
        )
    try:
        text = (tree / _VERSION_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"can't read {tree / _VERSION_FILE}: {error.strerror}") from None
    numbers = [re.search(rf"#define TF_{part}_VERSION (\d+)", text) for part in ("MAJOR", "MINOR")]
    found = ".".join(number[1] if number else "?" for number in numbers)
    if found != version:
        raise UsageError(
            f"{tree} is TensorFlow {found}, and edge knows how to compile {version}: check out "
            f"v{version}.1, or leave --source away for Debian's"
        )


# --- the lock file --------------------------------------------------------------------------------


def lock_text(name: str, tarballs: list[Tarball]) -> str:
    lines = [f"# Written by `python -m edge.source lock {name}`: change the other file instead."]
    for tarball in sorted(tarballs, key=lambda each: each.name):
        lines += ["", "[[tarball]]"]
        for field in fields(Tarball):
            value = getattr(tarball, field.name)
            shown = value if isinstance(value, int) else toml.quoted(value)
            lines.append(f"{field.name} = {shown}")
    return "\n".join([*lines, ""])


def write_lock(source: Source, progress: Progress) -> Path:
    """Pin the newest versions that the suites have.

    :raises HostError: there is no index to be had, or its signature is wrong.
    """
    found: list[Tarball] = []
    for suite in sorted(set(source.packages.values())):
        wanted = [package for package, of in source.packages.items() if of == suite]
        found += debian.Sources(suite, progress).resolve(wanted)
    source.lock_file.write_text(lock_text(source.name, found), encoding="utf-8")
    return source.lock_file


def main(words: list[str]) -> int:
    if len(words) != 2 or words[0] != "lock":
        sys.stderr.write("usage: python -m edge.source lock NAME\n")
        return UsageError.exit_code
    try:
        sys.stdout.write(f"{write_lock(load(words[1]), print)}\n")
    except EdgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
