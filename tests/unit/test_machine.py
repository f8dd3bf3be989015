"""The machine's folder: its lock, its sockets, its disk."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from edge import image, layout, machine
from edge.errors import UsageError
from edge.report import boards as boards_report


def built(folder: Path) -> image.BuiltImage:
    return image.BuiltImage(
        image.load("bookworm-arm64"), folder, image.Keys(folder / "login", folder / "host")
    )


def access(folder: Path, name: str) -> machine.Access:
    return machine.Access(
        name=name,
        image="bookworm-arm64",
        image_id="bookworm-arm64-0",
        cpu="cortex-a72",
        cores=2,
        memory_mib=1024,
        data_disk_mib=0,
        blank=False,
        pid=os.getpid(),
        keeper_pid=os.getpid(),
        owner_pid=os.getpid(),
        kept=True,
        started_s=0.0,
        ssh_host="127.0.0.1",
        ssh_port=2222,
        user="edge",
        identity_file=str(folder / "key"),
        known_hosts_file=str(folder / "known hosts"),
        console_url="socket://127.0.0.1:1",
        console_log=str(folder / "console.log"),
    )


def test_how_a_machine_is_used_can_be_typed_as_it_is_printed(tmp_path: Path) -> None:
    said = "\n".join(boards_report.machine_lines(access(tmp_path, "desk"), "qemu-virt"))
    assert "invoke deploy --board qemu-virt --host desk" in said
    assert f"-o UserKnownHostsFile='{tmp_path}/known hosts' -p 2222 edge@127.0.0.1" in said
    assert "invoke qemu.down --name desk" in said
    own = "\n".join(boards_report.machine_lines(access(tmp_path, "qemu-virt"), "qemu-virt"))
    assert "--host" not in own and "invoke qemu.down --board qemu-virt" in own
    blank = dataclasses.replace(access(tmp_path, "new"), blank=True)
    assert "ssh -i" not in "\n".join(boards_report.machine_lines(blank, "qemu-virt"))


def test_a_machine_is_held_by_one_process(tmp_path: Path) -> None:
    with machine._take(tmp_path / "lock", "m"):
        message = f"m is already running, as process {os.getpid()}: end it with `invoke qemu.down"
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

    def prepare(name: str, *, fresh: bool = False, blank: bool = False) -> tuple[str, bool]:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "home.ext4").write_text(name)
        (tmp_path / name / "blank.ext4").write_text(f"{name} without a key")
        is_blank = machine._prepare_home(
            built(tmp_path / name), folder, fresh=fresh, blank=blank, progress=said.append
        )
        return (folder / "home.ext4").read_text(), is_blank

    assert prepare("first") == ("first", False)
    (folder / "home.ext4").write_text("used")
    assert prepare("first") == ("used", False)
    assert prepare("first", fresh=True) == ("first", False)
    assert said == []
    assert prepare("second") == ("second", False)
    assert said == ["bookworm-arm64 has changed: m gets a new disk"]
    assert prepare("second", blank=True) == ("second without a key", True)
    (folder / "home.ext4").write_text("with a key by now")
    assert prepare("second") == ("with a key by now", True)
    assert prepare("second", fresh=True) == ("second", False)


def test_a_machine_that_nobody_runs_can_not_be_taken_over() -> None:
    with pytest.raises(UsageError, match=r"m is not running: `invoke qemu.status`"):
        machine.Machine.attach("m")


def test_running_machines_are_those_whose_lock_is_held(tmp_path: Path) -> None:
    for name in ("up", "down", "coming"):
        (layout.machines_dir() / name).mkdir(parents=True)
        machine._take(layout.machines_dir() / name / "lock", name).close()
    up = access(tmp_path, "up")
    (layout.machines_dir() / "up/access.json").write_text(json.dumps(dataclasses.asdict(up)))
    (layout.machines_dir() / "down/access.json").write_text(json.dumps(dataclasses.asdict(up)))
    with (
        machine._take(layout.machines_dir() / "up/lock", "up"),
        machine._take(layout.machines_dir() / "coming/lock", "coming"),
    ):
        assert machine.all_running() == (("coming", None), ("up", up))
        assert machine.running("up") == up
        assert machine.running("down") is None
    assert machine.all_running() == ()


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
