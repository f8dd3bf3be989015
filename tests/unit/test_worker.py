"""The places of tests: what another version of a test left there is in nobody's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge import layout
from tests import worker


@pytest.mark.parametrize("left", ["nothing", "a folder", "a link", "a dangling link"])
def test_shared_whatever_was_left_there(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    place = tmp_path / "own/edge/builds"
    place.parent.mkdir(parents=True)
    if left == "a folder":
        (place / "runner").mkdir(parents=True)
    elif left != "nothing":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere/kept").touch()
        place.symlink_to(tmp_path / ("elsewhere" if left == "a link" else "gone"))
    worker.share(tmp_path / "own", "builds")
    assert place.readlink() == layout.cache_dir() / "builds" == tmp_path / "shared/edge/builds"
    assert place.is_dir()
    assert left != "a link" or (tmp_path / "elsewhere/kept").exists()
