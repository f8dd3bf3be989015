"""What is pinned of sources, and what of a tarball or a checkout is taken."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import debian, layout, source
from edge.debian import Tarball
from edge.errors import HostError, UsageError

URIS = """\
Reading package lists...
NOTICE: 'eigen3' packaging is maintained elsewhere
'http://m.example/debian/pool/e/eigen3_3.4%2bx-5.dsc' eigen3_3.4+x-5.dsc 2196 SHA256:{0}
'http://m.example/debian/pool/e/eigen3_3.4%2bx.orig.tar.bz2' eigen3_3.4+x.orig.tar.bz2 21 SHA256:{1}
'http://m.example/debian/pool/e/eigen3_3.4%2bx-5.debian.tar.xz' e.debian.tar.xz 20 SHA256:{0}
""".format("0" * 64, "1" * 64)


class Apt:
    """Says what apt-get would."""

    def __init__(self, said: str) -> None:
        self._said = said

    def run(self, *_: str, **__: object) -> str:
        return self._said


def newest(said: str) -> Tarball:
    archive = debian.Sources("sid", print)
    return archive._newest(Apt(said), "eigen3", "http://m.example/debian")  # type: ignore[arg-type]


def test_of_a_source_package_the_upstream_tarball_is_pinned() -> None:
    found = newest(URIS)
    assert found == Tarball(
        "eigen3", "3.4+x-5", "sid", "pool/e/eigen3_3.4%2bx.orig.tar.bz2", 21, "1" * 64
    )


def test_a_suite_without_the_package() -> None:
    with pytest.raises(UsageError, match="Debian sid has no source package eigen3"):
        newest("E: Unable to find a source package for eigen3\n")


def test_a_lock_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "pins_dir", lambda: tmp_path)
    (tmp_path / "x.toml").write_text(
        'version = "2.14"\n[packages]\neigen3 = "sid"\n[files]\neigen3 = ["*"]\n'
    )
    described = source.load("x")
    with pytest.raises(UsageError, match=r"can't read .*x\.lock\.toml"):
        _ = described.lock
    described.lock_file.write_text(source.lock_text("x", [newest(URIS)]))
    assert described.lock == (newest(URIS),)
    described.lock_file.write_text("[[tarball]]\nname = 1\n")
    with pytest.raises(UsageError, match=r"no lock file .*edge\.source lock x"):
        _ = described.lock


def test_the_shipped_sources_are_pinned() -> None:
    for name in source.names():
        described = source.load(name)
        assert {each.name for each in described.lock} == set(described.files)
        assert all(len(each.sha256) == 64 for each in described.lock)


def test_sources_are_told_apart_by_what_is_pinned_and_taken() -> None:
    described = source.load("tflite-2.14.1")
    fewer = {**described.files, "gemmlowp": ("public/*",)}
    assert source.identity(described) != source.identity(
        dataclasses.replace(described, files=fewer)
    )


# --- a tarball ------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path) -> Callable[[str], Path]:
    def pack(name: str) -> Path:
        path = tmp_path / "x.orig.tar.xz"
        with tarfile.open(path, "w:xz") as archive:
            for each in ("top/src/a.cc", "top/doc/a.txt", name):
                member = tarfile.TarInfo(each)
                member.size = 2
                archive.addfile(member, io.BytesIO(b"x\n"))
            link = tarfile.TarInfo("top/src/link.cc")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        return path

    return pack


def test_only_files_that_are_wanted_are_unpacked(
    packed: Callable[[str], Path], tmp_path: Path
) -> None:
    source._unpack(packed("top/src/b.cc"), tmp_path / "out", ("src/*",))
    found = sorted(p.name for p in (tmp_path / "out").rglob("*") if not p.is_dir())
    assert found == ["a.cc", "b.cc"]


def test_a_tarball_that_would_write_elsewhere_is_refused(
    packed: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(HostError, match="refused"):
        source._unpack(packed("top/src/../../../escaped"), tmp_path / "out", ("*",))
    assert not (tmp_path.parent / "escaped").exists()


def test_a_damaged_tarball(tmp_path: Path) -> None:
    path = tmp_path / "x.orig.tar.xz"
    path.write_bytes(b"no tarball at all")
    with pytest.raises(HostError, match=r"x\.orig\.tar\.xz can't be unpacked .*: delete it"):
        source._unpack(path, tmp_path / "out", ("*",))


def test_another_tarball_than_was_pinned_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "e.tar.xz"
    path.write_bytes(b"tampered with")
    with pytest.raises(HostError, match="expected sha256 1111"):
        newest(URIS).verify(path)
    assert not path.exists()


# --- a checkout -----------------------------------------------------------------------------------


def checkout(root: Path, minor: int) -> Path:
    (root / "tensorflow/lite/core/c").mkdir(parents=True)
    (root / "tensorflow/lite/core/c/c_api.cc").write_text("int x;")
    version = root / "tensorflow/core/public/version.h"
    version.parent.mkdir(parents=True)
    version.write_text(f"#define TF_MAJOR_VERSION 2\n#define TF_MINOR_VERSION {minor}\n")
    return root


def test_a_checkout_of_the_version_that_is_known(tmp_path: Path) -> None:
    source.check_tree(checkout(tmp_path, 14), "2.14")


def test_a_checkout_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is TensorFlow 2\.17, and edge .* 2\.14: check out"):
        source.check_tree(checkout(tmp_path, 17), "2.14")


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tensorflow/lite"):
        source.check_tree(tmp_path, "2.14")


def test_a_change_in_a_checkout_is_another_source(tmp_path: Path) -> None:
    described = source.load("tflite-2.14.1")
    tree = checkout(tmp_path, 14)
    before = source.identity(described, tree)
    (tree / "tensorflow/lite/core/c/c_api.cc").write_text("int y;")
    assert source.identity(described, tree) not in (before, source.identity(described))
