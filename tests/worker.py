"""Places of their own for the processes that run tests side by side (pytest-xdist's workers).

What is downloaded and compiled is shared; what a board, a machine or a measurement leaves is not.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from edge import layout

SHARED = (
    *("builds", "elf", "environments", "exports", "images", "libraries", "packages", "sources"),
    *("tools", "wheels"),
)


def settle() -> None:
    """Before the first test of a worker; nothing if the tests run in one process."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None or "EDGE_TEST_WORKER" in os.environ:
        return
    home = layout.cache_dir() / "tests" / worker
    share(home, *SHARED)
    lab = home / "lab.toml"
    keep_apart(lab, home / "localhost")
    os.environ.update(
        {
            **{"EDGE_TEST_WORKER": worker, "XDG_CACHE_HOME": str(home), "EDGE_LAB": str(lab)},
            # For tests that call zig by themselves: its C library takes a minute to compile.
            "ZIG_GLOBAL_CACHE_DIR": str(layout.builds_dir() / "zig"),
        }
    )


def share(home: Path, *names: str) -> None:
    """Let a cache have these of the one that is in use; what a test left in their place goes.

    :param home: what ``XDG_CACHE_HOME`` is to be; made if it is missing.
    """
    (home / "edge").mkdir(parents=True, exist_ok=True)
    for name in names:
        target, link = layout.cache_dir() / name, home / "edge" / name
        target.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            shutil.rmtree(link)
        link.symlink_to(target)


def keep_apart(lab: Path, root: Path) -> None:
    """Write a lab.toml in which this machine, as a board, has what is on it below ``root``."""
    lab.write_text(f'[boards.localhost]\nroot = "{root}"\n', encoding="utf-8")


def staying(found: Iterable[Path], patience_s: float = 120.0) -> set[Path]:
    """Those that do not go away: what tests beside this one have in the same place does."""
    left = set(found)
    deadline = time.monotonic() + patience_s
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = {path for path in left if path.exists()}
    return left
