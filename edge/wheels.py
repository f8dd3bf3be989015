"""Wheels: pinned by sha256, fetched by pip for whatever Python and processor, unpacked here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from edge import artifact, layout
from edge.errors import HostError

_TAGS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 36)))
"""Platform tags that a wheel may have; what glibc its libraries need is read from them later."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index.

    :ivar python: version that the wheel's tag names: ``3.11``.
    :ivar platform: the first of its platform tags.
    """

    project: str
    version: str
    python: str
    platform: str
    sha256: str


def fetch(wheel: Wheel, progress: Callable[[str], None]) -> Path:
    """The wheel's file, from the cache or the package index.

    :raises HostError: the download failed, or did not have the pinned sha256.
    """
    with layout.exclusive(layout.wheels_dir() / wheel.sha256, progress):
        return _fetched(wheel, progress)


def _fetched(wheel: Wheel, progress: Callable[[str], None]) -> Path:
    """For whoever holds the wheel's folder."""
    folder = layout.wheels_dir() / wheel.sha256
    for path in folder.glob("*.whl"):
        if artifact.hash_file(path) == wheel.sha256:
            return path
        path.unlink()
    progress(f"downloading {wheel.project} {wheel.version} ({wheel.platform})")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        requirement = Path(temporary) / "wheel.txt"
        requirement.write_text(
            f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8"
        )
        result = _pip(
            *("download", "--quiet", "--require-hashes", *_target(wheel.python, [wheel.platform])),
            *("--dest", temporary, "--requirement", str(requirement)),
        )
        found = list(Path(temporary).glob("*.whl"))
        if result.returncode != 0 or len(found) != 1:
            raise HostError(
                f"can't download {wheel.project} {wheel.version} for {wheel.platform}: "
                f"{_error(result)}; check the network and pip's index settings (`pip config list`)"
            )
        # pip has compared the hash already; this guards against a pip that did not.
        actual = artifact.hash_file(found[0])
        if actual != wheel.sha256:
            raise HostError(
                f"{found[0].name} has sha256 {actual}, pinned is {wheel.sha256}: not used"
            )
        final = folder / found[0].name
        artifact.move_into_place(found[0], final)
    return final


def member(wheel: Wheel, name: str, progress: Callable[[str], None]) -> Path:
    """One file out of the wheel, unpacked beside it.

    :raises HostError: as :func:`fetch`; or the wheel does not hold this file.
    """
    target = layout.wheels_dir() / wheel.sha256 / PurePosixPath(name).name
    if target.exists():
        return target
    with layout.exclusive(target.parent, progress):
        if target.exists():
            return target
        path = _fetched(wheel, progress)
        try:
            with zipfile.ZipFile(path) as archive:
                part = target.with_suffix(".part")
                with archive.open(name) as source, part.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
        except (KeyError, zipfile.BadZipFile) as error:
            raise HostError(f"{path} does not hold {name}: {error}") from None
        artifact.move_into_place(part, target)
        return target


def unpacked(wheel: Wheel, progress: Callable[[str], None]) -> Path:
    """The folder that holds all the wheel's files.

    :raises HostError: as :func:`fetch`; or the wheel is damaged, or names files outside of itself.
    """
    folder = layout.wheels_dir() / wheel.sha256 / "files"
    if folder.is_dir():
        return folder
    with layout.exclusive(folder.parent, progress):
        if folder.is_dir():
            return folder
        path = _fetched(wheel, progress)
        with layout.published(folder) as part:
            try:
                with zipfile.ZipFile(path) as archive:
                    for info in archive.infolist():
                        _extract(archive, info, part)
            except zipfile.BadZipFile as error:
                raise HostError(f"{path} is damaged: {error}; remove it") from None
    return folder


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> None:
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts:
        raise HostError(f"{archive.filename} holds {info.filename}, which lies outside of it")
    if info.is_dir():
        return
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def resolve(requirement: str, python: str, arch: str) -> Wheel | None:
    """The newest wheel for a requirement such as ``numpy>=1.23,<2``; None if there is none.

    Asks the package index, downloads nothing: this is what lock files are written from.

    :raises HostError: the index does not answer.
    """
    result = _pip(
        *("install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"),
        *("--target", tempfile.gettempdir(), *_target(python, [f"{t}_{arch}" for t in _TAGS])),
        requirement,
    )
    if result.returncode != 0:
        if "No matching distribution" in result.stderr:
            return None
        raise HostError(f"can't look up {requirement}: {_error(result)}")
    return parse_report(result.stdout, python)


def parse_report(text: str, python: str) -> Wheel:
    """The one wheel that pip's installation report is about."""
    chosen = json.loads(text)["install"][0]
    url, info = chosen["download_info"]["url"], chosen["download_info"]["archive_info"]
    tags = PurePosixPath(urlsplit(url).path).name.removesuffix(".whl").split("-")
    name = re.sub(r"[-_.]+", "-", chosen["metadata"]["name"]).lower()
    sha256 = info.get("hashes", {}).get("sha256") or info["hash"].removeprefix("sha256=")
    return Wheel(name, chosen["metadata"]["version"], python, tags[-1].split(".")[0], sha256)


def _target(python: str, platforms: Sequence[str]) -> list[str]:
    tag = "cp" + python.replace(".", "")
    words = ["--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--abi", tag]
    words += ["--python-version", python]
    return [*words, *(word for platform in platforms for word in ("--platform", platform))]


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    verb, *rest = arguments
    return subprocess.run(
        [sys.executable, "-m", "pip", verb, "--disable-pip-version-check", *rest],
        capture_output=True,
        text=True,
        check=False,
    )


def _error(result: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    return lines[0] if lines else result.stderr.strip()[-300:]
