"""QEMU's command line, and its control protocol against a QEMU that is played."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge import emulator, image, qemu
from edge.errors import HostError
from edge.qemu import Hardware, Lines, Qmp


def command(
    folder: Path, *, data_disk_mib: int = 0, ssh_port: int = 0, resume: bool = False
) -> list[str]:
    built = image.BuiltImage(
        image.load("bookworm-arm64"), folder, image.Keys(folder / "login", folder / "host")
    )
    return qemu.command(
        emulator.Tool(("qemu-system-aarch64", "-L", "/fw"), "7.2"),
        built,
        Hardware("cortex-a53", 4, 512, data_disk_mib),
        Lines(qmp=7, control=8, console=9),
        home=folder / "home.ext4",
        data=folder / "data.ext4",
        console_log=folder / "console.log",
        ssh_port=ssh_port,
        resume=resume,
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
        f"if=none,id=system,file={tmp_path}/system.ext4,format=raw,readonly=on",
        f"if=none,id=home,file={tmp_path}/home.ext4,format=raw,cache=writeback",
    ]
    assert "-incoming" not in argv


def test_a_machine_that_resumes_waits_for_its_state(tmp_path: Path) -> None:
    assert after(command(tmp_path, resume=True), "-incoming") == ["defer"]


def test_the_guest_is_reached_from_this_machine_only_and_reaches_nothing(tmp_path: Path) -> None:
    assert after(command(tmp_path, ssh_port=2222), "-netdev") == [
        "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22"
    ]


def test_disks_are_known_by_their_serial_numbers(tmp_path: Path) -> None:
    argv = command(tmp_path, data_disk_mib=16)
    for serial in ("system", "home", "data"):
        assert f"virtio-blk-device,drive={serial},serial={serial}" in argv


def test_a_comma_in_a_path_does_not_end_the_option(tmp_path: Path) -> None:
    drive = after(command(tmp_path / "a,b"), "-drive")[0]
    assert f"file={tmp_path}/a,,b/system.ext4," in drive


def test_the_forwarded_port_is_read_from_qemus_table() -> None:
    table = (
        "Hub -1 (net):\r\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[HOST_FORWARD]  13       127.0.0.1 34767       10.0.2.15    22     0     0\r\n"
    )
    assert qemu.forwarded_port(table) == 34767
    with pytest.raises(HostError, match="forwards no port"):
        qemu.forwarded_port("")


# --- the protocol -------------------------------------------------------------------------------

Answers = Callable[[dict[str, Any]], list[dict[str, Any]]]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answers], socket.socket]]:
    """A connection to a QEMU that answers each command as it is told; files arrive in ``files``."""
    monkeypatch.setattr(qemu, "_ANSWER_TIMEOUT_S", 0.5)
    threads: list[threading.Thread] = []

    def play(answers: Answers) -> socket.socket:
        ours, theirs = socket.socketpair()

        def serve() -> None:
            with theirs:
                theirs.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\n')
                while True:
                    data, files, _, _ = socket.recv_fds(theirs, 65536, 1)
                    if not data:
                        return
                    for file in files:
                        os.write(file, b"state")
                        os.close(file)
                    for answer in answers(json.loads(data)):
                        theirs.sendall(json.dumps(answer).encode() + b"\n")

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return ours

    yield play
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_events_between_a_command_and_its_answer_are_skipped(
    played: Callable[[Answers], socket.socket],
) -> None:
    event = {"event": "RESUME", "data": {}}
    with Qmp(played(lambda request: [event, {"return": request["execute"]}])) as qmp:
        assert qmp.command("query-status") == "query-status"


def test_a_refusal_is_told_in_qemus_words(played: Callable[[Answers], socket.socket]) -> None:
    def answers(request: dict[str, Any]) -> list[dict[str, Any]]:
        if request["execute"] == "set_link":
            return [{"error": {"class": "GenericError", "desc": "Device 'net0' not found"}}]
        return [{"return": {}}]

    with (
        Qmp(played(answers)) as qmp,
        pytest.raises(HostError, match="refused set_link: Device 'net0' not found"),
    ):
        qmp.link(False)


def test_a_qemu_that_is_busy_with_another_is_not_awaited_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qemu, "_ANSWER_TIMEOUT_S", 0.1)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(HostError, match="another process may be talking to it"):
        Qmp(ours)


def test_a_qemu_that_is_gone_is_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(HostError, match="closed its control connection"):
        Qmp(ours)


def migrating(status: str) -> Answers:
    def answers(request: dict[str, Any]) -> list[dict[str, Any]]:
        if request["execute"] in ("migrate", "migrate-incoming"):
            active = {"event": "MIGRATION", "data": {"status": "active"}}
            return [active, {"return": {}}, {"event": "MIGRATION", "data": {"status": status}}]
        if request["execute"] == "query-status":
            return [{"return": {"status": statuses.pop(0)}}]
        return [{"return": {}}]

    statuses = ["finish-migrate", "inmigrate", "postmigrate"]
    return answers


def test_a_state_is_saved_into_the_file_that_is_handed_over(
    played: Callable[[Answers], socket.socket], tmp_path: Path
) -> None:
    asked: list[str] = []

    play = migrating("completed")

    def answers(request: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append(request["execute"])
        return play(request)

    with (tmp_path / "state").open("wb") as file, Qmp(played(answers)) as qmp:
        qmp.save(file.fileno(), 5)
    assert (tmp_path / "state").read_bytes() == b"state"
    assert asked.index("stop") < asked.index("migrate")
    assert asked[-4:] == ["query-status", "query-status", "query-status", "cont"]


def test_a_machine_whose_state_can_not_be_saved_goes_on(
    played: Callable[[Answers], socket.socket], tmp_path: Path
) -> None:
    asked: list[str] = []

    def answers(request: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append(request["execute"])
        return play(request)

    play = migrating("failed")
    with (
        (tmp_path / "state").open("wb") as file,
        Qmp(played(answers)) as qmp,
        pytest.raises(HostError, match="could not migrate"),
    ):
        qmp.save(file.fileno(), 5)
    assert asked[-1] == "cont"


@pytest.mark.parametrize(("status", "words"), [("failed", "could not"), ("active", "did not")])
def test_a_state_that_is_not_taken_is_told(
    played: Callable[[Answers], socket.socket], tmp_path: Path, status: str, words: str
) -> None:
    with (
        (tmp_path / "state").open("w+b") as file,
        Qmp(played(migrating(status))) as qmp,
        pytest.raises(HostError, match=f"QEMU {words} migrate-incoming"),
    ):
        qmp.resume(file.fileno(), 0.3)
