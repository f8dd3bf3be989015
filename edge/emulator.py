"""Host tools that emulation needs: on PATH, else unpacked from this distribution without root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge import debian
from edge.debian import Progress
from edge.errors import HostError, UsageError

OLDEST = (6, 2)
"""The QEMU of the oldest distribution that is supported."""

_QEMU_CPU = {"arm64": "aarch64", "armhf": "arm"}
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")
"""Not on an ordinary user's PATH on Debian, but that is where e2fsprogs is."""


@dataclass(frozen=True)
class Tool:
    """A program of this machine: how to call it, and what its environment needs besides."""

    argv: tuple[str, ...]
    version: str
    env: Mapping[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        """The whole environment to run it in."""
        return {**os.environ, **self.env}


def system_emulator(architecture: str, progress: Progress) -> Tool:
    """QEMU for a whole machine."""
    name = f"qemu-system-{_qemu_cpu(architecture)}"
    return _find([name], ["qemu-system-arm"], progress, oldest=OLDEST)


def user_emulator(architecture: str, progress: Progress) -> Tool:
    """QEMU for a single program of the board's architecture."""
    name = f"qemu-{_qemu_cpu(architecture)}"
    # Debian 13 folded the static programs into qemu-user.
    packages = ["qemu-user-static", "qemu-user"]
    return _find([name, f"{name}-static"], packages, progress, oldest=OLDEST)


def file_system_tool(name: str, progress: Progress) -> Tool:
    """``mke2fs`` or ``debugfs``."""
    return _find([name], ["e2fsprogs"], progress, version_flag="-V")


def _qemu_cpu(architecture: str) -> str:
    try:
        return _QEMU_CPU[architecture]
    except KeyError:
        raise UsageError(
            f"no emulator is known for '{architecture}': choose one of {', '.join(_QEMU_CPU)}"
        ) from None


def _find(
    names: list[str],
    packages: list[str],
    progress: Progress,
    *,
    oldest: tuple[int, ...] = (),
    version_flag: str = "--version",
) -> Tool:
    """The first that works: on PATH, then from each package in turn.

    :raises HostError: none does; says why for each, and what to install.
    """
    reasons = []
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    for name in names:
        if path := shutil.which(name, path=search):
            try:
                return _checked(Tool((path,), ""), oldest, version_flag)
            except HostError as error:
                reasons.append(str(error))
    for package in packages:
        try:
            root = debian.unpack_host_packages([package], progress)
            return _checked(_unpacked(root, names), oldest, version_flag)
        except HostError as error:
            reasons.append(str(error))
    raise HostError(
        f"{names[0]} is needed and not here ({'; '.join(reasons)}); "
        f"install it: sudo apt-get install {packages[0]}"
    )


def _unpacked(root: Path, names: list[str]) -> Tool:
    for name in names:
        for folder in ("usr/bin", "usr/sbin"):
            path = root / folder / name
            if path.exists():
                return Tool((str(path), *_firmware(root, name)), "", _library_path(root))
    raise HostError(f"{root.name} does not hold {names[0]}")


def _firmware(root: Path, name: str) -> tuple[str, ...]:
    """QEMU looks for its data where it would be installed."""
    return ("-L", str(root / "usr/share/qemu")) if name.startswith("qemu-system-") else ()


def _library_path(root: Path) -> dict[str, str]:
    folders = sorted({str(path.parent) for path in (root / "usr/lib").glob("*-linux-gnu*/*.so.*")})
    if not folders:
        return {}  # a static program
    if before := os.environ.get("LD_LIBRARY_PATH"):
        folders.append(before)
    modules = next(iter((root / "usr/lib").glob("*/qemu")), None)
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(folders),
        **({"QEMU_MODULE_DIR": str(modules)} if modules else {}),
    }


def _checked(tool: Tool, oldest: tuple[int, ...], version_flag: str) -> Tool:
    """``tool`` with its version, which shows that it runs here."""
    result = subprocess.run(
        [tool.argv[0], version_flag], env=tool.environ(), capture_output=True, text=True
    )
    output = result.stdout + result.stderr
    match = re.search(r"(\d+)\.(\d+)(\.\d+)?", output)
    if result.returncode or not match:
        raise HostError(f"{tool.argv[0]} does not run: {output.strip().splitlines()[-1:]}")
    if oldest and tuple(int(part) for part in match.groups()[:2]) < oldest:
        wanted = ".".join(str(part) for part in oldest)
        raise HostError(f"{tool.argv[0]} is version {match.group()}, older than {wanted}")
    return Tool(tool.argv, match.group(), tool.env)
