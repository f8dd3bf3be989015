"""Real virtual machines: booted, logged into, cut off, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from edge import debian, emulator, image, machine
from edge.errors import BoardError, HostError, UsageError
from edge.machine import Machine

NAME = "test-machine"


def start(
    name: str = NAME,
    *,
    fresh: bool = True,
    cpu: str = "cortex-a72",
    data_disk_mib: int | None = None,
) -> Machine:
    described = image.load("bookworm-arm64")
    return Machine.start(
        described, name=name, fresh=fresh, cpu=cpu, data_disk_mib=data_disk_mib, progress=print
    )


@pytest.fixture(scope="module")
def board() -> Iterator[Machine]:
    with start(data_disk_mib=16) as started:
        yield started


def run(board: Machine, command: str, user: str = "") -> str:
    """Output of a command, over a connection that trusts no other host key."""
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(board.known_hosts_file))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(
            board.ssh_host, board.ssh_port, user or board.user,
            key_filename=str(board.identity_file), look_for_keys=False, allow_agent=False,
            timeout=20,
        )  # fmt: skip
        _, stdout, stderr = client.exec_command(command, timeout=30)
        code = stdout.channel.recv_exit_status()
        output = stdout.read().decode() + stderr.read().decode()
        assert code == 0, f"{command}: {output}"
        return output.strip()


def is_alive(pid: int) -> bool:
    """A process that is neither gone nor only waiting for its parent to notice."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_board_is_what_the_image_says(board: Machine) -> None:
    assert run(board, "uname -m; hostname; id -un; id -u; pwd").split() == [
        "aarch64", "edge-board", "edge", "1000", "/home/edge",
    ]  # fmt: skip
    assert run(board, "id -u", user="root") == "0"
    assert run(board, "nproc") == "2"


def test_files_belong_to_whom_they_should(board: Machine) -> None:
    mine = run(board, "find / -xdev -user 1000 -print | sort", user="root").splitlines()
    assert {"/data", "/home/edge/.ssh/authorized_keys"} <= set(mine)
    assert all(path == "/data" or path.startswith("/home/edge") for path in mine)
    assert run(board, "find / -xdev ! -user 0 ! -user 1000", user="root") == ""
    assert run(board, "stat -c '%U %a' /etc/shadow /tmp ~ ~/.ssh").splitlines() == [
        "root 600", "root 1777", "edge 755", "edge 700",
    ]  # fmt: skip


def test_its_clock_and_its_mounts_are_usable(board: Machine) -> None:
    assert abs(int(run(board, "date +%s")) - time.time()) < 60
    run(board, "echo x > /dev/shm/x && rm /dev/shm/x && cat /proc/uptime /sys/block/vda/serial")
    assert "tty" in run(board, "ls /dev/pts /dev/ttyAMA0")


def test_the_data_disk_is_small_and_ours(board: Machine) -> None:
    run(board, "echo x > /data/x && rm /data/x")
    with pytest.raises(AssertionError, match="No space left"):
        run(board, "dd if=/dev/zero of=/data/big bs=1M count=64")
    run(board, "rm /data/big")


def test_the_guest_reaches_nothing(board: Machine) -> None:
    """Not even the services of the machine that emulates it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        run(board, f"timeout 3 nc 10.0.2.2 {server.getsockname()[1]} < /dev/null || true")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_stranger_is_refused(board: Machine) -> None:
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(board.known_hosts_file))
        with pytest.raises(paramiko.SSHException):
            client.connect(
                board.ssh_host, board.ssh_port, board.user, password="edge",
                look_for_keys=False, allow_agent=False,
            )  # fmt: skip


def test_another_process_sees_it_and_may_not_start_it_again(board: Machine) -> None:
    assert machine.running(NAME) == board.access
    with pytest.raises(UsageError, match=f"already running as process {os.getpid()}"):
        start()


def test_the_serial_console_asks_who_it_is(board: Machine) -> None:
    terminal = os.open(board.console_device, os.O_RDWR | os.O_NOCTTY)
    try:
        said = b""
        deadline = time.monotonic() + 20
        while b"login:" not in said and time.monotonic() < deadline:
            os.write(terminal, b"\n")
            said += os.read(terminal, 4096)
    finally:
        os.close(terminal)
    assert b"edge-board login:" in said
    assert "edge-board login:" in board.console_log.read_text()


def test_what_was_flushed_survives_a_power_cut(board: Machine) -> None:
    before = board.ssh_port
    booted = run(board, "cat /proc/sys/kernel/random/boot_id")
    run(board, "echo kept > kept && sync kept && sync . && echo lost > lost")
    board.power_cut()
    assert run(board, "cat kept") == "kept"
    assert run(board, "cat /proc/sys/kernel/random/boot_id") != booted
    assert board.ssh_port == before
    assert run(board, "ls lost 2>/dev/null || echo gone") == "gone"


def test_a_pulled_cable_is_felt_and_heals(board: Machine) -> None:
    board.link(False)
    with (
        socket.create_connection((board.ssh_host, board.ssh_port), 5) as cut,
        pytest.raises(TimeoutError),
    ):
        cut.settimeout(2)
        cut.recv(1)
    board.link(True)
    assert run(board, "echo well") == "well"


# --- its end ------------------------------------------------------------------------------------


def test_stop_leaves_nothing_and_keeps_the_disk() -> None:
    with start("test-stop") as board:
        pid, port = board.pid, board.ssh_port
        run(board, "echo kept > kept")  # not flushed: an orderly shutdown does that
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert not is_alive(pid)
    assert not listens(port)
    assert machine.running("test-stop") is None
    with pytest.raises(UsageError, match="not running"):
        _ = board.ssh_port
    with start("test-stop", fresh=False) as board:
        assert run(board, "cat kept") == "kept"


def test_a_killed_parent_leaves_no_machine() -> None:
    program = """
        import sys, time
        from edge import image
        from edge.machine import Machine
        board = Machine.start(image.load("bookworm-arm64"), name="test-orphan")
        print(board.pid, board.ssh_port, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, port = (int(word) for word in parent.stdout.readline().split())
        assert is_alive(pid) and listens(port)
        parent.send_signal(signal.SIGKILL)
    try:
        deadline = time.monotonic() + 5
        # The process is gone to others a moment before its last thread lets go of the port.
        while (is_alive(pid) or listens(port)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not is_alive(pid)
        assert not listens(port)
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    start("test-orphan").kill()  # and nothing keeps the next one from starting


def test_qemus_own_complaint_is_reported() -> None:
    with pytest.raises(HostError, match="unable to find CPU model 'cortex-b1'"):
        start("test-broken", cpu="cortex-b1")


def test_a_board_that_does_not_come_up_shows_its_console(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_should_be = machine._disk

    def with_another_serial_number(path: Path, serial: str) -> list[str]:
        return as_it_should_be(path, "other")

    monkeypatch.setattr(machine, "_disk", with_another_serial_number)
    with pytest.raises(BoardError, match="no root file system on a disk"):
        start("test-broken")
    assert machine.running("test-broken") is None


# --- tools --------------------------------------------------------------------------------------


def test_a_tool_that_can_not_be_had_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> Path:
        raise HostError("no network")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "unpack_host_packages", refuse)
    with pytest.raises(HostError, match=r"no network.*sudo apt-get install qemu-system-arm"):
        emulator.system_emulator("arm64", print)


def test_a_program_runs_alone_in_the_sysroot() -> None:
    described = image.load("bookworm-arm64")
    root = image.sysroot(described, print)
    tool = emulator.user_emulator("arm64", print)
    loader = root / "lib/ld-linux-aarch64.so.1"
    result = subprocess.run(
        [*tool.argv, "-L", str(root), str(loader), "--version"],
        env=tool.environ(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "2.36" in result.stdout
