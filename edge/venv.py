"""Venv: a pinned Python environment in the cache, for programs that edge's own can't hold.

TensorFlow, ai-edge-litert and tflite-runtime can't be imported in one process, and need different
versions of the same packages. What runs in such an environment is a script that imports nothing of
edge.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge import artifact, layout
from edge.errors import HostError, UsageError

_NEEDS = re.compile(r"^# (\d+) MB to download, (\d+) MB on disk", re.MULTILINE)
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_MB = 1_000_000


@dataclass(frozen=True)
class Venv:
    """An environment that is complete.

    :ivar folder: of this lock, this Python, this processor.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter; the environment's packages are what it imports, and no others."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        return self.folder / "lib" / f"python{_PYTHON}" / "site-packages"


def environment(name: str, progress: Callable[[str], None]) -> Venv:
    """The environment of ``edge/environments/<name>.lock``, installed at the first call.

    :raises UsageError: there is no such lock.
    :raises HostError: as :func:`installed`.
    """
    locks = layout.definitions("environments", ".lock")
    if name not in locks:
        raise UsageError(f"no environment {name!r}: there are {', '.join(locks)}")
    return installed(locks[name], progress)


def installed(lock: Path, progress: Callable[[str], None]) -> Venv:
    """The environment of a lock file: pip's requirements, each with its hashes.

    :param lock: beside it may stand a file of the same name with the suffix ``.in``, whose line
        ``# 310 MB to download, 1600 MB on disk`` is compared with the free space first.
    :raises HostError: no room, no network, no wheels for this Python, or a hash that differs.
    """
    folder = _folder(lock)
    if not folder.is_dir():
        with layout.exclusive(layout.environments_dir() / f"{lock.stem}.lock", progress):
            if not folder.is_dir():
                _install(lock, folder, progress)
    return Venv(folder)


def _folder(lock: Path) -> Path:
    content = f"{artifact.hash_file(lock)} {_PYTHON} {sysconfig.get_platform()} {sys.base_prefix}"
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    return layout.environments_dir() / f"{lock.stem}-{key}"


def _install(lock: Path, folder: Path, progress: Callable[[str], None]) -> None:
    said = _said(lock)
    found = shutil.disk_usage(folder.parent).free
    if said is not None and found < sum(said) * _MB:
        raise HostError(
            f"the Python environment {lock.stem} needs {sum(said)} MB of disk while it is "
            f"installed, {folder.parent} has {found // _MB} MB: free some space, or point "
            "XDG_CACHE_HOME at another disk"
        )
    size = "" if said is None else f": {said[0]} MB to download, {said[1]} MB on disk, once"
    progress(f"installing the Python environment {lock.stem}{size}")
    with layout.published(folder) as part:
        _call(["-m", "venv", "--without-pip", str(part)], lock)
        # No cache: pip's copy would take the downloads' room a second time.
        _call(
            [
                *("-m", "pip", "--python", str(Venv(part).python), "install", "--quiet"),
                *("--disable-pip-version-check", "--no-cache-dir", "--require-hashes"),
                *("--no-deps", "--only-binary", ":all:", "--requirement", str(lock)),
            ],
            lock,
        )


def _said(lock: Path) -> tuple[int, int] | None:
    source = lock.with_suffix(".in")
    found = _NEEDS.search(source.read_text(encoding="utf-8")) if source.is_file() else None
    return None if found is None else (int(found[1]), int(found[2]))


def _call(arguments: list[str], lock: Path) -> None:
    # What PYTHONPATH adds would count as installed already.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise HostError(
            f"can't install the Python environment {lock.stem}: "
            f"{lines[-1] if lines else result.stderr.strip()[-300:]}; check the network and pip's "
            "index settings (`pip config list`)"
        )
