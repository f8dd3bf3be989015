"""The jobs of docs/ci.md, step by step as written, in a folder laid out like a user's repository.

Only what lies outside the steps is other than in a CI system: edge comes from this checkout, the
packages it needs from this Python, the base branch from a repository beside the folder, and what
edge keeps is shared with the developer's cache, all but its machines and runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge import layout
from examples.digits import dataset
from tests import worker
from tests.unit.test_ci_docs import block, github_steps, gitlab_job

LEFT_OUT: tuple[str, ...] = ()
"""Words of lines that are not run; without ``qemu.`` each command starts the board by itself."""

DOWN = "test ! -x .venv/bin/edge || .venv/bin/edge qemu.down --board qemu-virt"
SHARED = ("builds", "images", "packages", "tools", "wheels")
MODELS = dataset.FOLDER / dataset.MODELS_FOLDER


@dataclass(frozen=True)
class Repository:
    """A user's repository, and the environment that its CI gives to the steps."""

    folder: Path
    env: dict[str, str]

    def run(self, script: str, **more: str) -> subprocess.CompletedProcess[str]:
        """One step, by the shell that both systems use."""
        kept = [line for line in script.splitlines() if not any(w in line for w in LEFT_OUT)]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", "\n".join(kept)],
            cwd=self.folder,
            env={**self.env, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )

    def passes(self, script: str, **more: str) -> str:
        done = self.run(script, **more)
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def commit(self, message: str) -> None:
        identity = "-c user.name=ci -c user.email=ci@localhost"
        self.passes(f"git add -A && git {identity} commit -q -m '{message}'")


def packages(folder: Path) -> None:
    """What is installed here, all but edge itself: pip then finds it without a registry."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("edge_tflite", "_edge_tflite", "pip", "__")):
            (folder / path.name).symlink_to(path)


def cache(folder: Path, *more: str) -> None:
    """A cache that has what the developer's has, and else nothing: not what a test left there.

    :param more: what else is shared.
    """
    shutil.rmtree(folder, ignore_errors=True)  # links go, not what they lead to
    worker.share(folder, *SHARED, *more)


@pytest.fixture(scope="module")
def repository(root_folder: Path) -> Iterator[Repository]:
    """Made by the document's own commands, committed, with a base branch to compare with.

    It is empty at first, but always at the same place: what was compiled for it is found again.
    """
    base = layout.cache_dir() / "test-ci"
    with layout.exclusive(base, print):
        found = made(base, root_folder)
        try:
            yield found
        finally:
            found.run(DOWN)  # a step that failed may have left it up


def made(base: Path, root_folder: Path) -> Repository:
    env = {
        **os.environ,
        "HOME": str(base),
        "XDG_CACHE_HOME": str(base / "cache"),
        "PYTHONPATH": str(base / "packages"),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        # What zig compiles of its own C library takes longer than everything else.
        "ZIG_GLOBAL_CACHE_DIR": str(layout.builds_dir() / "zig"),
        "BASE_BRANCH": "main",
        "EDGE": str(root_folder),
        "EDGE_SOURCE": f"file://{root_folder}",
        "EDGE_LAB": str(base / "no-lab.toml"),
    }
    found = Repository(base / "mine", env)
    found.folder.mkdir(exist_ok=True)
    found.run(DOWN)  # a run that was killed, too
    for name in ("mine", "origin.git"):
        shutil.rmtree(base / name, ignore_errors=True)
    found.folder.mkdir()
    cache(base / "cache")
    packages(base / "packages")
    found.passes(block("prepare"))
    lock = found.folder / "ci/requirements.lock"
    assert f"edge-tflite @ {env['EDGE_SOURCE']}" in lock.read_text(encoding="utf-8")
    # Straight from the checkout: its sources are then as old as they are, and compiled once.
    lock.write_text(f"-e {root_folder}\n", encoding="utf-8")
    (found.folder / ".gitignore").write_text(".venv/\n", encoding="utf-8")
    found.passes("git init -q -b main")
    found.commit("a model")
    found.passes("git clone -q --bare . ../origin.git && git remote add origin ../origin.git")
    # A job begins without it, if the cache is cold.
    shutil.rmtree(found.folder / ".venv")
    return found


@pytest.fixture(autouse=True)
def _as_committed(repository: Repository) -> None:
    repository.passes("git checkout -q --force main && git clean -q -d --force")


def step(word: str) -> str:
    (found,) = (text for text in github_steps() if word in text)
    return found


def test_every_step_of_github(repository: Repository) -> None:
    printed = [repository.passes(text) for text in github_steps()]
    assert (repository.folder / ".venv/bin/edge").exists()
    text = "\n".join(printed)
    assert "accuracy 0.9806 of 360 samples, at least 0.9500 is wanted: passed" in text
    assert "passed: no regression above 50 % can be claimed" in text
    assert "nodes taken by XNNPACK: 3 of 4, baseline 3 of 4" in text
    assert "emulated: no figure here" in text


def test_every_line_of_gitlab_in_one_shell(repository: Repository) -> None:
    job = gitlab_job()
    text = repository.passes("\n".join(job["script"]))
    repository.passes("\n".join(job["after_script"]))
    assert "at least 0.9500 is wanted: passed" in text
    assert "passed: no regression above 50 % can be claimed" in text


def test_accuracy_that_the_model_does_not_reach_fails_its_step(repository: Repository) -> None:
    text = step("accuracy.py")
    assert "--least 0.95" in text
    done = repository.run(text.replace("--least 0.95", "--least 0.99"))
    assert done.returncode == 1, done.stdout
    assert "accuracy 0.9806 of 360 samples, at least 0.9900 is wanted: FAILED" in done.stdout


def test_a_much_slower_model_fails_its_step(repository: Repository) -> None:
    shutil.copy(MODELS / "cnn-float32.tflite", repository.folder / "models/digits.tflite")
    done = repository.run(step("latency.py"))
    assert done.returncode == 1, done.stdout
    assert "FAILED: slower by more than 50 %" in done.stdout


def test_an_error_of_edges_is_not_a_regression(repository: Repository) -> None:
    (repository.folder / "models/digits.tflite").write_bytes(b"no model at all")
    assert repository.run(step("edge deploy")).returncode == 2
    assert repository.run(step("latency.py")).returncode == 2
    unknown = step("latency.py").replace("qemu-virt", "nonesuch")
    assert repository.run(unknown).returncode == 2
