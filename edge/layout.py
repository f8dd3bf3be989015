"""Every path: the project's own data, the local cache, the board. Nowhere else."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.errors import HostError, UsageError

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """Directory of shipped data: ``boards``, ``toolchains``, ``firmware``.

    An installed wheel carries them inside the package, a checkout beside it.
    """
    packaged = _PACKAGE / "data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def definitions(kind: str, suffix: str) -> dict[str, Path]:
    """Name -> file of all ``boards``, ``toolchains`` or ``runtimes``, sorted by name.

    Those that are shipped, and those in a folder of that name in the working directory; one there
    hides a shipped one of the same name.
    """
    found: dict[str, Path] = {}
    for folder in (_PACKAGE / kind, data_dir(kind), Path(kind)):
        found.update({path.stem: path for path in folder.glob(f"*{suffix}")})
    return dict(sorted(found.items()))


def firmware_dir() -> Path:
    return data_dir("firmware")


def abi_header() -> Path:
    """The one declaration of the C ABI."""
    return firmware_dir() / "include" / "edge.h"


def images_dir() -> Path:
    return _PACKAGE / "images"


def pins_dir() -> Path:
    """What is compiled here, and the sources that it is made of."""
    return _PACKAGE / "sources"


# --- this machine -----------------------------------------------------------------------------


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/edge``; every file in it can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edge"


def wheels_dir() -> Path:
    """Downloaded wheels, one folder per sha256."""
    return cache_dir() / "wheels"


def packages_dir() -> Path:
    """Private apt state and downloaded Debian packages."""
    return cache_dir() / "packages"


def sources_dir() -> Path:
    """Unpacked source packages."""
    return cache_dir() / "sources"


def libraries_dir() -> Path:
    """Runtimes that were compiled here."""
    return cache_dir() / "libraries"


def tools_dir() -> Path:
    """Host tools (the emulator) unpacked without root."""
    return cache_dir() / "tools"


def environments_dir() -> Path:
    """Python environments beside edge's own, one folder each."""
    return cache_dir() / "environments"


def exports_dir() -> Path:
    """SavedModels made of Keras files, a folder for each file's sha256."""
    return cache_dir() / "exports"


def builds_dir() -> Path:
    """CMake build trees."""
    return cache_dir() / "builds"


def onboard_script() -> Path:
    """What a board's own Python runs."""
    return Path(__file__).with_name("onboard.py")


def converter_script() -> Path:
    """What the TensorFlow environment's Python runs."""
    return Path(__file__).with_name("converter.py")


def way_module(name: str) -> Path | None:
    """The file of a module ``edge_...``, edge's own way to run models; None if it is another's."""
    package, _, way = name.partition("_")
    return Path(__file__).parent / "ways" / f"{way}.py" if package == "edge" else None


def install_script() -> Path:
    """What makes a bundle live on a board."""
    return Path(__file__).with_name("install.sh")


def images_cache_dir() -> Path:
    """Built disk images, kernels and sysroots of emulated boards."""
    return cache_dir() / "images"


def machines_dir() -> Path:
    """State of running virtual machines: one folder each."""
    return cache_dir() / "machines"


def runs_dir() -> Path:
    """What measurements left, one folder a run."""
    return cache_dir() / "runs"


def elf_dir() -> Path:
    """What ELF files say of themselves, a file each."""
    return cache_dir() / "elf"


def facts_dir() -> Path:
    """What boards said of themselves the last time, a file each."""
    return cache_dir() / "facts"


def logs_dir() -> Path:
    return cache_dir() / "logs"


@contextmanager
def exclusive(directory: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold ``directory`` of the cache: one process at a time changes it, the others wait here."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that is filling {directory}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """A fresh folder that becomes ``target`` when the block succeeds, and is removed if it fails.

    Hold :func:`exclusive` around it: what an interrupted process left under the temporary name is
    then nobody's, and goes.

    :raises HostError: it can't be written, for instance because the disk is full.
    """
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except OSError as error:
        raise HostError(f"can't make {target}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


# --- the board --------------------------------------------------------------------------------

DEFAULT_ROOT = ".local/share/edge"
"""Device root below the login's home directory."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


def safe_name(name: str, remedy: str = "rename the file") -> str:
    """``name`` unchanged if it may become one path component on a board, or here.

    :param remedy: what the user is told to do about another one.
    :raises UsageError: it is empty, hidden, too long, or has a character outside ``A-Za-z0-9._+-``.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' can't be a file name on a board: use letters, digits and . _ + - "
            f"(at most 128, not starting with a dot); {remedy}"
        )
    return name


@dataclass(frozen=True)
class DeviceLayout:
    """Paths below the device root, an absolute path on the board."""

    root: PurePosixPath

    @property
    def store(self) -> PurePosixPath:
        return self.root / "store"

    @property
    def releases(self) -> PurePosixPath:
        return self.root / "releases"

    @property
    def current(self) -> PurePosixPath:
        return self.root / "current"

    @property
    def log(self) -> PurePosixPath:
        return self.root / "deployments.log"

    @property
    def runs(self) -> PurePosixPath:
        return self.root / "runs"

    def blob(self, sha256: str) -> PurePosixPath:
        return self.store / sha256

    def release(self, release_id: str) -> PurePosixPath:
        return self.releases / safe_name(release_id)
