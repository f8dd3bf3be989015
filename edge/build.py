"""Board -> runner: CMake with the board's toolchain, incremental, in the cache."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge import abi, artifact, layout, toolchain
from edge.artifact import Artifact
from edge.board import Board
from edge.errors import HostError
from edge.toolchain import Toolchain

RUNNER_PLACE = "bin/edge-run"


@dataclass(frozen=True)
class Build:
    """What a build made.

    :ivar runner: the ``edge-run`` binary.
    :ivar library: ``libedge.so`` beside it.
    :ivar compiled: False if everything was up to date.
    """

    runner: Artifact
    library: Path
    compiled: bool = field(compare=False)


def runner(
    board: Board, progress: Callable[[str], None], *, toolchain_name: str | None = None
) -> Build:
    """Build edge-run for ``board``.

    :raises UsageError: no such toolchain for the board's architecture.
    :raises HostError: the compiler is missing or failed; the message has its first error line.
    """
    chain = toolchain.load(toolchain_name or board.toolchain, board.arch)
    return _build(chain, board.glibc, board.mcpu, progress)


@functools.cache
def host_library(progress: Callable[[str], None]) -> abi.Library:
    """libedge for this machine, opened; built and opened once for each way of telling progress."""
    chain = toolchain.load("zig", platform.machine())
    return abi.Library(_build(chain, "2.28", "generic", progress).library)


def _build(chain: Toolchain, glibc: str, mcpu: str, progress: Callable[[str], None]) -> Build:
    source = layout.firmware_dir()
    arguments = chain.cmake_arguments(glibc=glibc, mcpu=mcpu)
    # One tree per source folder and set of flags: switching boards never rebuilds the others. A
    # configured tree does not follow its toolchain files, so their content belongs to the key.
    key = hashlib.sha256("\0".join([str(source), *arguments]).encode())
    for path in sorted(chain.file.parent.glob("*.cmake")):
        key.update(path.read_bytes())
    tree = layout.builds_dir() / f"{chain.name}-{chain.arch}-{key.hexdigest()[:12]}"
    what = f"edge-run for {chain.arch} with {chain.name} (glibc {glibc}, {mcpu})"
    ninja = tool("ninja")
    try:
        tree.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"can't create {tree}: {error.strerror}; free the path") from None
    if not (tree / "build.ninja").exists():
        progress(f"configuring {what}")
        _call(
            [
                *(tool("cmake"), "-G", "Ninja", "-S", str(source), "-B", str(tree)),
                *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_MAKE_PROGRAM={ninja}", *arguments),
            ],
            what,
        )
    pending = _call([ninja, "-C", str(tree), "-n"], what)
    compiled = "no work to do" not in pending
    if compiled:
        progress(f"compiling {what}")
        _call([ninja, "-C", str(tree)], what)
    binary = artifact.of_file(tree / "edge-run", RUNNER_PLACE, executable=True)
    return Build(binary, tree / "libedge.so", compiled)


def tool(name: str) -> str:
    """cmake and ninja come as wheels beside this Python; the system's own serve as well."""
    scripts = Path(sysconfig.get_path("scripts")) / name
    found = str(scripts) if scripts.exists() else shutil.which(name)
    if found is None:
        raise HostError(f"{name} is not installed: `pip install {name}`")
    return found


def environment() -> dict[str, str]:
    """This process's own; zig keeps what it compiled of its C library where all trees share it."""
    variables = dict(os.environ)
    variables.setdefault("ZIG_GLOBAL_CACHE_DIR", str(layout.builds_dir() / "zig"))
    variables.setdefault("ZIG_LOCAL_CACHE_DIR", str(layout.builds_dir() / "zig-local"))
    return variables


def _call(command: list[str], what: str) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment()
        )
    except OSError as error:
        raise HostError(f"can't run {command[0]}: {error.strerror}") from None
    output = result.stdout + result.stderr
    if result.returncode != 0:
        log = layout.logs_dir() / "build.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output, encoding="utf-8")
        raise HostError(f"can't build {what}: {_first_error(output)} (whole output: {log})")
    return output


def _first_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("CMake Error") and number + 1 < len(lines):
            return lines[number + 1]
        if "error:" in line:
            return line
    return lines[-1] if lines else "no output"
