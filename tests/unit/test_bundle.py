from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import NoReturn

import pytest
import zstandard

from edge import board, bundle, layout, release
from edge.bundle import Bundle
from edge.deploy import Choice
from edge.errors import HostError, UsageError
from edge.options import Delegate
from edge.release import Release
from tests.unit.test_release import made, put_together


def wanted(folder: Path, *, reverse: bool = False, recipe: str = "x") -> Release:
    files = [
        made(folder, "bin/edge-run", b"runner" * 1000),
        made(folder, "lib/libtflite.so", b"library" * 1000),
    ]
    models = [
        made(folder, f"models/{name}.tflite", name.encode()) for name in ("b", "a", "m" * 120)
    ]
    if reverse:
        files, models = files[::-1], models[::-1]
    return put_together(files, models, {"compiler": recipe})


def write(found: Release, path: Path, delegate: Delegate | None = None) -> Bundle:
    return bundle.write(found, board.load("rpi4"), path, print, delegate=delegate)


def entries(made: Bundle) -> tuple[dict[str, bytes], list[tarfile.TarInfo]]:
    packed = made.path.read_bytes()
    if made.path.suffix == ".zst":
        packed = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = tar.getmembers()
        content = {m.name: tar.extractfile(m) for m in members if m.isfile()}
        return {name: file.read() for name, file in content.items() if file}, members


def test_the_same_release_gives_the_same_bytes_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write(wanted(tmp_path / "a"), tmp_path / "one.tar.zst")
    old = os.umask(0o077)
    try:
        elsewhere = wanted(tmp_path / "of another user", reverse=True)
    finally:
        os.umask(old)
    for file in elsewhere.artifacts:
        os.utime(file.path, (7, 7))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("USER", "ada")
    there = write(elsewhere, tmp_path / "two.tar.zst")
    assert here.path.read_bytes() == there.path.read_bytes()
    assert here.sha256 == hashlib.sha256(here.path.read_bytes()).hexdigest()
    assert here.size_bytes == here.path.stat().st_size


def test_a_tar_is_what_is_packed(tmp_path: Path) -> None:
    found = wanted(tmp_path)
    packed, plain = write(found, tmp_path / "b.tar.zst"), write(found, tmp_path / "b.tar")
    assert packed.tar_sha256 == plain.tar_sha256 == plain.sha256
    assert packed.size_bytes < plain.size_bytes


def test_it_is_one_folder_of_plain_files_with_modes_that_mean_something(tmp_path: Path) -> None:
    found = wanted(tmp_path)
    _, members = entries(write(found, tmp_path / "b.tar.zst"))
    top = f"edge-{found.id}"
    assert [(m.name, m.mode) for m in members] == [
        (top, 0o755),
        (f"{top}/SHA256SUMS", 0o644),
        (f"{top}/bin", 0o755),
        (f"{top}/bin/edge-run", 0o755),
        (f"{top}/install.sh", 0o755),
        (f"{top}/lib", 0o755),
        (f"{top}/lib/libtflite.so", 0o644),
        (f"{top}/manifest.json", 0o644),
        (f"{top}/models", 0o755),
        (f"{top}/models/a.tflite", 0o644),
        (f"{top}/models/b.tflite", 0o644),
        (f"{top}/models/{'m' * 120}.tflite", 0o644),
    ]
    assert all(m.isfile() or m.isdir() for m in members)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {
        (0, 0, "", "", 315532800)
    }


def test_its_sums_are_those_that_the_store_writes(tmp_path: Path) -> None:
    found = wanted(tmp_path)
    content, _ = entries(write(found, tmp_path / "b.tar"))
    top = f"edge-{found.id}"
    assert content[f"{top}/manifest.json"] == found.manifest
    lines = content[f"{top}/SHA256SUMS"].decode().splitlines()
    assert lines[0].startswith(found.id) and lines[0].endswith("  manifest.json")
    assert lines[1:] == sorted(lines[1:], key=lambda line: line[66:])
    for line in lines:
        sha, _, place = line.partition("  ")
        assert hashlib.sha256(content[f"{top}/{place}"]).hexdigest() == sha
    named = {line[66:] for line in lines} | {"install.sh", "SHA256SUMS"}
    assert {f"{top}/{name}" for name in named} == set(content)


def test_nothing_of_this_machine_is_in_it(tmp_path: Path) -> None:
    content, _ = entries(write(wanted(tmp_path), tmp_path / "b.tar"))
    told = b"".join(text for name, text in content.items() if "models" not in name)
    for word in (str(tmp_path), str(layout.cache_dir()), str(Path.cwd()), os.uname().nodename):
        assert word.encode() not in told, word


def test_the_installer_knows_its_board_and_how_a_model_runs(tmp_path: Path) -> None:
    delegate = Delegate(str(tmp_path / "libx.so"), False, (("cache", "/a b&c"),))
    content, _ = entries(write(wanted(tmp_path), tmp_path / "b.tar", delegate))
    script = next(text for name, text in content.items() if name.endswith("install.sh")).decode()
    assert "\nboard=rpi4\narch=aarch64\n" in script
    assert (
        "\ninfer='--engine tflite --lib lib/libtflite.so --threads 1 "
        "--delegate external:lib/delegate/libx.so?cache=%2Fa%20b%26c'\n" in script
    )
    for name in ("board", "arch", "infer"):
        assert layout.install_script().read_text().count(f"\n{name}=\n") == 1


@pytest.mark.parametrize("content", [b"modeL", b"mode", b""])
def test_a_model_that_changes_meanwhile_is_noticed(tmp_path: Path, content: bytes) -> None:
    files = [made(tmp_path, "bin/edge-run", b"runner"), made(tmp_path, "lib/libtflite.so", b"lib")]
    model = made(tmp_path, "models/m.tflite", b"model")
    found = put_together(files, [model])
    model.path.write_bytes(content)
    with pytest.raises(HostError, match=r"m\.tflite changed while it was packed"):
        write(found, tmp_path / "b.tar")
    assert not list(tmp_path.glob("*b.tar*"))


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, path = wanted(tmp_path), tmp_path / "b.tar.zst"
    path.write_bytes(b"the last one")

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"can't write .*b\.tar\.zst: No space left on device"):
        write(found, path)
    assert path.read_bytes() == b"the last one"
    assert [p.name for p in tmp_path.glob("*b.tar*")] == ["b.tar.zst"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("app.zip", r"is a \.tar\.zst, or a \.tar"),
        ("nowhere/app.tar.zst", "there is no folder"),
        ("there.tar.zst", "exists: add --force"),
        ("folder.tar", "exists: name another"),
    ],
)
def test_where_it_can_not_be_written(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "there.tar.zst").write_bytes(b"")
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(UsageError, match=says):
        bundle.output_file(tmp_path / name)


def test_force_replaces_a_file_and_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "there.tar"
    path.write_bytes(b"")
    assert bundle.output_file(path, force=True) == path
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="name another"):
        bundle.output_file(path, force=True)


@pytest.mark.parametrize("choice", [Choice(engine="python"), Choice(engine="native")])
def test_engines_of_a_boards_python_are_refused(choice: Choice) -> None:
    with pytest.raises(UsageError, match=r"the board's own Python.*add --engine tflite"):
        bundle.check(board.load("rpi4"), choice)
    bundle.check(board.load("rpi4"), Choice())


def test_its_manifest_is_one_that_edge_reads(tmp_path: Path) -> None:
    found = wanted(tmp_path)
    content, _ = entries(write(found, tmp_path / "b.tar"))
    assert release.parse_manifest(content[f"edge-{found.id}/manifest.json"]).id == found.id
