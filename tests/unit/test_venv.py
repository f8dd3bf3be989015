"""What is refused before a Python environment is installed."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from edge import layout, venv
from edge.errors import HostError, UsageError

Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_seen_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 500_000_000))
    with pytest.raises(HostError, match=r"tensorflow needs \d+ MB .* has 500 MB: free some"):
        venv.environment("tensorflow", print)
    assert not [path for path in layout.environments_dir().iterdir() if not path.suffix]


def test_each_environment_says_what_it_takes() -> None:
    for lock in layout.definitions("environments", ".lock").values():
        assert venv._said(lock) is not None, lock


def test_an_unknown_environment() -> None:
    with pytest.raises(UsageError, match=r"no environment 'torch': there are .*tensorflow"):
        venv.environment("torch", print)


def test_a_lock_that_changed_is_another_environment(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text("one==1\n", encoding="utf-8")
    first = venv._folder(lock)
    lock.write_text("one==2\n", encoding="utf-8")
    assert venv._folder(lock) != first
