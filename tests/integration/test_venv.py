"""A Python environment in the cache: complete, or not there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from edge import layout, venv
from edge.errors import HostError

LOCK = Path(__file__).parents[2] / "benchmarks/peers.lock"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of one small package, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = LOCK.read_text(encoding="utf-8")
    lock = tmp_path / "small.lock"
    lock.write_text(text[text.index("typing-extensions==") :], encoding="utf-8")
    return lock


def test_what_is_pinned_is_what_can_be_imported(small: Path) -> None:
    made = venv.installed(small, print)
    program = "import typing_extensions, importlib.util; print(importlib.util.find_spec('numpy'))"
    done = subprocess.run([made.python, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"  # nothing of the environment that edge runs in
    assert (made.packages / "typing_extensions.py").is_file()
    said: list[str] = []
    assert venv.installed(small, said.append) == made
    assert said == []


def test_another_content_than_pinned_leaves_nothing(small: Path) -> None:
    text = small.read_text(encoding="utf-8")
    small.write_text(re.sub("sha256:[0-9a-f]+", f"sha256:{'0' * 64}", text), encoding="utf-8")
    with pytest.raises(HostError, match="can't install the Python environment small"):
        venv.installed(small, print)
    assert [path.name for path in layout.environments_dir().iterdir()] == ["small.lock"]
