"""Descriptions of images, and what is written without any other program."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge import image, layout
from edge.errors import HostError, UsageError
from edge.image import CpioEntry

TEXT = """\
suite = "bookworm"
architecture = "arm64"
hostname = "board"
disk_mib = 64
kernel = "linux-image-x"
modules = ["a"]
packages = ["libc6"]
initramfs_packages = ["busybox-static"]
sysroot_packages = ["libc6"]
"""


def test_a_description_is_read() -> None:
    read = image.parse("x", TEXT)
    assert (read.name, read.disk_mib, read.packages) == ("x", 64, ("libc6",))
    assert read.all_packages == ["busybox-static", "libc6"]
    assert read.links == {}


def test_links_that_package_scripts_would_make_are_described(tmp_path: Path) -> None:
    read = image.parse("x", TEXT + '[links]\n"usr/libblas.so.3" = "blas/libblas.so.3"\n')
    (tmp_path / "usr").mkdir()
    image._link(tmp_path, read.links)
    assert (tmp_path / "usr/libblas.so.3").readlink() == Path("blas/libblas.so.3")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (TEXT + 'colour = "red"\n', "unknown key colour; known: suite"),
        (TEXT.replace('suite = "bookworm"\n', ""), "key suite is missing"),
        (TEXT.replace("64\n", '"64"\n', 1), "disk_mib must be a positive number"),
        (TEXT.replace('["a"]', '["a", 1]'), "modules must be a list of strings"),
        (TEXT.replace('"board"', "1"), "hostname must be a string"),
        (TEXT + "links = 3\n", "links must be a table of strings"),
        (TEXT + "[links]\na = 3\n", "links must be a table of strings"),
        (TEXT + 'security = "no"\n', "security must be true or false"),
        ("suite = ", r"images/x\.toml"),
    ],
)
def test_a_wrong_description_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        image.parse("x", text)


def test_an_unknown_image_names_those_that_are_known() -> None:
    with pytest.raises(UsageError, match="bookworm-arm64"):
        image.load("nonsense")


@pytest.mark.parametrize("name", image.names())
def test_every_image_that_is_shipped_is_pinned(name: str) -> None:
    described = image.load(name)
    kernel = next(package for package in described.lock if package.via == described.kernel)
    assert kernel.name.startswith("linux-image-")


def test_a_package_that_is_not_pinned_says_how_to_pin_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(layout, "images_dir", lambda: tmp_path)
    (tmp_path / "x.lock.toml").write_text("package = []\n")
    with pytest.raises(UsageError, match=r"does not pin busybox-static, .*edge\.image lock x"):
        _ = image.parse("x", TEXT).lock


def test_keys_are_made_once_and_belong_to_nobody_else() -> None:
    keys = image.keys(print)
    assert image.keys(print) == keys
    assert stat.S_IMODE(keys.login.stat().st_mode) == 0o600
    assert keys.login.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    line = keys.known_hosts("127.0.0.1", 2222)
    assert line.startswith("[127.0.0.1]:2222 ssh-ed25519 ") and line.count("\n") == 1
    assert keys.public(keys.host) in line and keys.public(keys.login) not in line


def read_cpio(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Written from the format's description, not from the writer."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = numbers[6], numbers[11]
        assert numbers[2:4] == [0, 0], "everything belongs to root"
        name = archive[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        at = -(-(at + 110 + name_size) // 4) * 4
        if name == b"TRAILER!!!\0":
            return found
        found[name[:-1].decode()] = (numbers[1], archive[at : at + size])
        at = -(-(at + size) // 4) * 4


def test_an_initramfs_holds_what_was_put_in() -> None:
    entries = [
        CpioEntry("bin", stat.S_IFDIR | 0o755),
        CpioEntry("bin/busybox", stat.S_IFREG | 0o755, b"\x7fELF!"),
        CpioEntry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
    ]
    archive = image.cpio(entries)
    assert len(archive) % 4 == 0
    assert read_cpio(archive) == {entry.path: (entry.mode, entry.content) for entry in entries}


def test_modules_come_after_those_they_need(tmp_path: Path) -> None:
    for name, depends in (("a-net", "b_ring,c"), ("b-ring", "c"), ("c", ""), ("unused", "")):
        (tmp_path / f"{name}.ko").write_bytes(b"\0x=y\0depends=" + depends.encode() + b"\0")
    modules = image._modules(tmp_path, ["a_net", "c", "built_in"])
    assert [name for name, _ in modules] == ["c", "b_ring", "a_net"]


def test_applets_are_read_from_busyboxs_own_table() -> None:
    names = b"[\0[[\0getty\0init\0mount\0sh\0\0more\0"
    for before in (b"usage\0", b"1!33\x01", b"[\0[[\0"):  # other data may touch the table
        assert image.applets(before + names) == ["[", "[[", "getty", "init", "mount", "sh"]
    with pytest.raises(HostError, match="no table of commands"):
        image.applets(b"\0[\0[[\0sh\0\0")


def test_everything_but_the_users_folder_belongs_to_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "edge/.ssh").mkdir(parents=True)
    commands = "".join(image._owner_commands(tmp_path))
    assert 'set_inode_field "/root" gid 0\n' in commands
    assert 'set_inode_field "/edge" uid 1000\n' in commands
    assert 'set_inode_field "/edge/.ssh" gid 1000\n' in commands
