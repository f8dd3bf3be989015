from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from edge import artifact, layout, release
from edge.artifact import Artifact
from edge.errors import UsageError


def made(folder: Path, place: str, content: bytes, *, name: str | None = None) -> Artifact:
    path = folder / (name or Path(place).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return artifact.of_file(path, place, executable=place.startswith("bin/"))


def assemble(folder: Path, *, model: bytes = b"model") -> release.Release:
    return release.make(
        "aarch64",
        made(folder, "bin/edge-run", b"runner"),
        made(folder, "lib/libtflite.so", b"library"),
        "litert-2.1.0",
        [made(folder, "models/m.tflite", model)],
    )


def test_the_same_content_has_the_same_id_anywhere(tmp_path: Path) -> None:
    here, there = assemble(tmp_path / "a"), assemble(tmp_path / "b")
    assert here.id == there.id
    assert here.manifest == there.manifest


def test_other_content_has_another_id(tmp_path: Path) -> None:
    assert assemble(tmp_path / "a").id != assemble(tmp_path / "b", model=b"other").id


def test_the_id_is_the_manifests_hash_and_the_manifest_names_every_file(tmp_path: Path) -> None:
    found = assemble(tmp_path)
    assert found.id == hashlib.sha256(found.manifest).hexdigest()[:16]
    files = {entry["path"]: entry for entry in json.loads(found.manifest)["files"]}
    assert set(files) == {"bin/edge-run", "lib/libtflite.so", "models/m.tflite"}
    assert files["models/m.tflite"]["sha256"] == hashlib.sha256(b"model").hexdigest()
    assert files["bin/edge-run"]["executable"] is True
    assert str(tmp_path) not in found.manifest.decode()


def test_two_models_of_one_name_are_refused_unless_equal(tmp_path: Path) -> None:
    runner = made(tmp_path, "bin/edge-run", b"r")
    library = made(tmp_path, "lib/libtflite.so", b"l")
    one = made(tmp_path / "x", "models/m.tflite", b"1")
    same = made(tmp_path / "y", "models/m.tflite", b"1")
    other = made(tmp_path / "z", "models/m.tflite", b"2")
    assert len(release.make("aarch64", runner, library, "r", [one, same]).models) == 1
    with pytest.raises(UsageError, match="rename one"):
        release.make("aarch64", runner, library, "r", [one, other])


def test_a_release_without_a_model_is_refused(tmp_path: Path) -> None:
    runner = made(tmp_path, "bin/edge-run", b"r")
    with pytest.raises(UsageError, match="--model"):
        release.make("aarch64", runner, runner, "r", [])


def test_shared_content_counts_once(tmp_path: Path) -> None:
    runner = made(tmp_path, "bin/edge-run", b"12345")
    library = made(tmp_path, "lib/libtflite.so", b"12345")
    model = made(tmp_path, "models/m.tflite", b"1234567")
    assert release.make("aarch64", runner, library, "r", [model]).size_bytes == 12


@pytest.mark.parametrize(
    "name", ["../x", "a/b", ".hidden", "", "a b", "x;y", "$(id)", "ü.tflite", "a" * 129, "a\nb"]
)
def test_names_that_may_not_go_to_a_board(name: str) -> None:
    with pytest.raises(UsageError, match="file name on a board"):
        layout.safe_name(name)


def test_ordinary_names_may() -> None:
    assert layout.safe_name("mobilenet_v2-1.0+int8.tflite") == "mobilenet_v2-1.0+int8.tflite"
