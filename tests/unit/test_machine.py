"""QEMU's command line, what is read from it, and the machine's folder."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from edge import emulator, image, layout, machine
from edge.errors import UsageError


def built(folder: Path) -> image.BuiltImage:
    return image.BuiltImage(
        image.load("bookworm-arm64"), folder, image.Keys(folder / "login", folder / "host")
    )


def command(folder: Path, data_disk: Path | None = None, ssh_port: int = 0) -> list[str]:
    return machine.command(
        emulator.Tool(("qemu-system-aarch64", "-L", "/fw"), "7.2"),
        built(folder),
        machine.Hardware("cortex-a53", 4, 512),
        disk=folder / "disk.ext4",
        data_disk=data_disk,
        console_log=folder / "console.log",
        ssh_port=ssh_port,
        qmp_fd=7,
        control_fd=8,
    )


def after(argv: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(argv) if name == option]


def test_the_command_line_says_what_is_emulated(tmp_path: Path) -> None:
    argv = command(tmp_path)
    assert argv[:3] == ["qemu-system-aarch64", "-L", "/fw"]
    assert after(argv, "-cpu") == ["cortex-a53"]
    assert after(argv, "-smp") == ["4"]
    assert after(argv, "-m") == ["512M"]
    assert after(argv, "-kernel") == [str(tmp_path / "vmlinuz")]
    assert after(argv, "-drive") == [
        f"if=none,id=root,file={tmp_path}/disk.ext4,format=raw,cache=writeback"
    ]


def test_the_guest_is_reached_from_this_machine_only_and_reaches_nothing(tmp_path: Path) -> None:
    assert after(command(tmp_path, ssh_port=2222), "-netdev") == [
        "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22"
    ]


def test_disks_are_known_by_their_serial_numbers(tmp_path: Path) -> None:
    argv = command(tmp_path, data_disk=tmp_path / "data.ext4")
    assert "virtio-blk-device,drive=root,serial=root" in argv
    assert "virtio-blk-device,drive=data,serial=data" in argv


def test_a_comma_in_a_path_does_not_end_the_option(tmp_path: Path) -> None:
    drive = after(command(tmp_path / "a,b"), "-drive")[0]
    assert f"file={tmp_path}/a,,b/disk.ext4," in drive


def test_the_forwarded_port_is_read_from_qemus_table() -> None:
    table = (
        "Hub -1 (net):\r\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[HOST_FORWARD]  13       127.0.0.1 34767       10.0.2.15    22     0     0\r\n"
    )
    assert machine.forwarded_port(table) == 34767
    with pytest.raises(ValueError, match="no forwarded port"):
        machine.forwarded_port("")


def test_a_machine_is_held_by_one_process(tmp_path: Path) -> None:
    with machine._take(tmp_path / "lock", "m"):
        message = f"machine m is already running as process {os.getpid()}"
        with pytest.raises(UsageError, match=message):
            machine._take(tmp_path / "lock", "m")
    machine._take(tmp_path / "lock", "m").close()


def test_nothing_runs_at_first() -> None:
    assert machine.running("m") is None
    with pytest.raises(UsageError, match="can't be a file name"):
        machine.running("../m")


def test_a_machine_keeps_its_disk_until_the_image_changes(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    said: list[str] = []

    def prepare(name: str, *, fresh: bool = False) -> str:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "disk.ext4").write_text(name)
        machine._prepare_disk(built(tmp_path / name), folder, fresh=fresh, progress=said.append)
        return (folder / "disk.ext4").read_text()

    assert prepare("first") == "first"
    (folder / "disk.ext4").write_text("used")
    assert prepare("first") == "used"
    assert prepare("first", fresh=True) == "first"
    assert said == []
    assert prepare("second") == "second"
    assert said == ["bookworm-arm64 has changed: m gets a new disk"]


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    with source.open("wb") as file:
        file.write(b"start")
        file.seek(40 << 20)
        file.write(b"middle")
        file.truncate(64 << 20)
    machine.copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 1 << 20


def test_a_fresh_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with pytest.raises(RuntimeError), layout.published(target) as part:
        (part / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.part").mkdir()
    (tmp_path / "x.part/left-by-a-killed-process").write_text("")
    with layout.published(target) as part:
        (part / "whole").write_text("")
    assert [path.name for path in target.iterdir()] == ["whole"]
