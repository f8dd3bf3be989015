"""Every command of docs/tutorial.md, word for word, in a folder like a checkout."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import layout, model
from tests import worker
from tests.integration.test_ci_docs import Repository, cache
from tests.unit.test_tutorial import commands


@pytest.fixture
def checkout(tmp_path: Path, root_folder: Path) -> Iterator[Repository]:
    """A folder like one, with machines of its own and the developer's downloads."""
    base = layout.cache_dir() / "test-tutorial"
    with layout.exclusive(base, print):
        cache(base / "cache", "environments")
        for name in ("examples", "tasks.py"):
            (tmp_path / name).symlink_to(root_folder / name)
        worker.keep_apart(base / "lab.toml", base / "localhost")
        env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(base / "cache"),
            "EDGE_LAB": str(base / "lab.toml"),
        }
        found = Repository(tmp_path, env)
        try:
            yield found
        finally:
            found.run(commands()[-1])  # a step that failed may have left it up


def test_the_tutorial(checkout: Repository) -> None:
    folder = checkout.folder
    printed = {command.split()[1]: checkout.passes(command) for command in commands()}
    about = model.read(folder / "build/cnn-int8.tflite").about
    assert about is not None and (about.source, about.preprocessing) == ("cnn.keras", "unit")
    assert "converted from cnn.keras" in printed["inspect"]
    top1 = next(line for line in printed["evaluate"].splitlines() if line.startswith("top-1 "))
    assert float(top1.split()[1]) > 97
    assert "the outputs are those of the model itself" in printed["evaluate"]
    assert "cnn-float32.tflite, cnn-int8.tflite" in printed["releases"]
    assert "not trusted" in printed["bench"] and "emulated" in printed["bench"]
    assert {path.name for path in folder.iterdir()} == {"examples", "tasks.py", "build"}
