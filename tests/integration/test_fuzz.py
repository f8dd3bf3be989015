"""What fuzzing once found stays fixed, and broken models crash at most the runtime."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge import build as firmware_build
from edge import runtime
from tests.integration.test_runner import REPOSITORY, host_tree, pytestmark, sanitized_tree

__all__ = ["host_tree", "pytestmark"]

FUZZ = REPOSITORY / "firmware/fuzz"
TARGETS = sorted(path.name for path in (FUZZ / "corpus").iterdir())


@pytest.fixture(scope="module", name="sanitized_tree")
def _sanitized_tree() -> Path:
    """The tree in which the unit tests run sanitized: it has the fuzz targets, too."""
    return sanitized_tree()


def replay(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("target", TARGETS)
def test_corpus_passes_sanitized(sanitized_tree: Path, target: str) -> None:
    corpus = FUZZ / "corpus" / target
    result = replay(sanitized_tree / f"fuzz/fuzz_{target}", "-runs=0", corpus)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stderr.splitlines()[-1] == f"{len(list(corpus.iterdir()))} inputs"


def test_a_corpus_that_is_missing_is_no_success(sanitized_tree: Path, tmp_path: Path) -> None:
    assert replay(sanitized_tree / "fuzz/fuzz_npy", tmp_path).returncode == 1
    assert replay(sanitized_tree / "fuzz/fuzz_npy", tmp_path / "nothing").returncode == 1


def test_ctest_knows_every_target(sanitized_tree: Path) -> None:
    listed = subprocess.run(
        [firmware_build.tool("ctest"), "--test-dir", str(sanitized_tree), "-N"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert sorted(re.findall(r": fuzz_(\w+)", listed)) == TARGETS


def test_broken_models_are_refused_or_crash_the_runtime(host_tree: Path) -> None:
    library = runtime.fetch(runtime.load("litert-2.3.0"), "x86_64", print).path
    result = subprocess.run(
        [
            *(sys.executable, str(FUZZ / "broken_models.py"), "--count", "200"),
            *("--runner", str(host_tree / "edge-run"), "--engine", "litert", "--lib", str(library)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=REPOSITORY,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    summary = result.stdout.splitlines()[-1]
    assert summary.startswith("200 models: ") and summary.endswith(" 0 hung, 0 OURS")
    # All of them refused, or none, would mean that nothing was tried.
    refused, runtimes, ran = (
        int(re.findall(rf"(\d+) {word}", summary)[0]) for word in ("refused", "runtime", "ran")
    )
    assert refused > 20 and runtimes > 5 and ran > 5
