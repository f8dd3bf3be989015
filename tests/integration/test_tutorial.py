"""Every command of docs/tutorial.md, word for word, in a folder like a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import layout, model
from tests.integration.test_ci_docs import cache
from tests.unit.test_tutorial import commands


@pytest.fixture
def shell(tmp_path: Path, root_folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder, and an environment with machines of its own and the developer's downloads."""
    base = layout.cache_dir() / "test-tutorial"
    with layout.exclusive(base, print):
        cache(base / "cache", "environments", "builds")
        for name in ("examples", "tasks.py"):
            (tmp_path / name).symlink_to(root_folder / name)
        env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(base / "cache"),
            "EDGE_LAB": str(tmp_path / "no-lab.toml"),
        }
        try:
            yield tmp_path, env
        finally:
            run(commands()[-1], tmp_path, env)  # a step that failed may have left it up


def run(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )


def test_the_tutorial(shell: tuple[Path, dict[str, str]]) -> None:
    folder, env = shell
    printed = {}
    for command in commands():
        done = run(command, folder, env)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        print(f"$ {command}\n{done.stdout}")
        printed[command.split()[1]] = done.stdout
    about = model.read(folder / "build/cnn-int8.tflite").about
    assert about is not None and (about.source, about.preprocessing) == ("cnn.keras", "unit")
    assert "converted from cnn.keras" in printed["inspect"]
    top1 = next(line for line in printed["evaluate"].splitlines() if line.startswith("top-1 "))
    assert float(top1.split()[1]) > 97
    assert "the outputs are those of the model itself" in printed["evaluate"]
    assert "cnn-float32.tflite, cnn-int8.tflite" in printed["releases"]
    assert "not trusted" in printed["bench"] and "emulated" in printed["bench"]
    assert {path.name for path in folder.iterdir()} == {"examples", "tasks.py", "build"}
