"""Real virtual machines: booted, logged into, cut off, and never left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from edge import debian, emulator, image, layout, machine, qemu, session
from edge.console import Console
from edge.debian import Progress
from edge.errors import BoardError, EdgeError, HostError, UsageError
from edge.machine import Machine
from edge.snapshot import Snapshot
from edge.transport import ssh
from tests import worker
from tests.worker import staying

NAME = "test-machine"


def start(
    name: str = NAME,
    *,
    fresh: bool = True,
    cpu: str = "cortex-a72",
    blank: bool = False,
    data_disk_mib: int = 0,
    ssh_port: int = 0,
    progress: Progress = print,
) -> Machine:
    described = image.load("bookworm-arm64")
    return Machine.start(
        described,
        name=name,
        fresh=fresh,
        blank=blank,
        cpu=cpu,
        data_disk_mib=data_disk_mib,
        ssh_port=ssh_port,
        progress=progress,
    )


@pytest.fixture(scope="module", autouse=True)
def _own_states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Saved states are damaged here: not those from which other machines resume."""
    shared, own = layout.cache_dir(), tmp_path_factory.mktemp("cache") / "edge"
    worker.share(own.parent, "packages", "tools")
    (own / "images").mkdir()
    with layout.exclusive(shared / "images", print):
        for path in [
            *shared.glob("images/bookworm-arm64-????????????????"),
            shared / "images/keys",
        ]:
            if path.exists():
                subprocess.run(["cp", "-a", path, own / "images"], check=True)
    for state in own.glob("images/*/state-*"):
        shutil.rmtree(state)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(own.parent))
        yield


@pytest.fixture(scope="module")
def board() -> Iterator[Machine]:
    with start(data_disk_mib=16) as started:
        yield started


def run(board: Machine, command: str, user: str = "") -> str:
    """Output of a command, over a connection that trusts no other host key."""
    target = session.guest_target(board.access)
    with ssh.connect(dataclasses.replace(target, user=user or board.user)) as transport:
        outcome = transport.run(["sh", "-c", command], timeout_s=20)
    output = outcome.text + outcome.error_text
    assert outcome.ok, f"{command}: {output}"
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
    mine = run(board, "find / /home /data -xdev -user 1000 | sort -u", user="root").splitlines()
    assert {"/data", "/home/edge/.ssh/authorized_keys"} <= set(mine)
    assert all(path == "/data" or path.startswith("/home/edge") for path in mine)
    assert run(board, "find / /home -xdev ! -user 0 ! -user 1000", user="root") == ""
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
    with pytest.raises(UsageError, match="already running, as process"):
        start()


def test_the_serial_console_asks_who_it_is(board: Machine) -> None:
    with Console.open(board.console_url) as console:
        console.write(b"\n")
        console.wait_for("edge-board login:", 20)
    assert "edge-board login:" in board.console_log.read_text()


def test_the_system_is_the_same_at_every_start(board: Machine) -> None:
    assert "Read-only file system" in run(board, "touch /etc/x 2>&1 || true", user="root")
    run(board, "touch /tmp/x /var/log/x", user="root")


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


def test_a_reboot_in_the_middle(board: Machine) -> None:
    before = run(board, "echo kept > kept; cat /proc/sys/kernel/random/boot_id")
    board.reboot()
    assert run(board, "cat kept") == "kept"
    assert run(board, "cat /proc/sys/kernel/random/boot_id") != before
    assert abs(float(run(board, "date +%s")) - time.time()) < 5


def test_a_board_that_restarts_by_itself_comes_back(board: Machine) -> None:
    """Nobody on the host is there to tell it the time, or to go on."""
    before = run(board, "cat /proc/sys/kernel/random/boot_id")
    run(board, "(sleep 0.5; reboot -f) > /dev/null 2>&1 &", user="root")
    again = before
    deadline = time.monotonic() + 120
    while again == before and time.monotonic() < deadline:
        with contextlib.suppress(EdgeError):
            again = run(board, "cat /proc/sys/kernel/random/boot_id")
    assert again != before


def test_a_full_disk_and_an_empty_one(board: Machine) -> None:
    board.fill_disk()
    with pytest.raises(AssertionError, match="No space left"):
        run(board, "dd if=/dev/zero of=big bs=4k count=2")
    board.free_disk()
    run(board, "dd if=/dev/zero of=big bs=1M count=8 && rm big")
    board.fill_disk(keep_kib=512)
    run(board, "dd if=/dev/zero of=some bs=1k count=256")
    with pytest.raises(AssertionError, match="No space left"):
        run(board, "dd if=/dev/zero of=big bs=1k count=512")
    board.free_disk()
    run(board, "rm -f some big")


def test_the_clock_jumps(board: Machine) -> None:
    board.jump_clock(3600)
    assert 3000 < float(run(board, "date +%s")) - time.time() < 4200
    board.jump_clock(-3600)
    assert abs(float(run(board, "date +%s")) - time.time()) < 600


def test_a_slow_link_in_both_directions(board: Machine) -> None:
    def seconds(script: str, size_kib: int) -> float:
        with ssh.connect(session.guest_target(board.access)) as transport:
            began = time.monotonic()
            sent = b"" if script.startswith("head") else b"x" * (size_kib << 10)
            assert transport.run(["sh", "-c", script], stdin=sent, timeout_s=60).ok
            return time.monotonic() - began

    up, down = "cat > /dev/null", "head -c 262144 /dev/zero"
    fast = seconds(up, 256), seconds(down, 256)
    board.slow_link(rate_kbit=1000)
    slow = seconds(up, 256), seconds(down, 256)
    # 256 KiB at 1000 kbit/s take 2.1 s, on however slow a host.
    assert min(slow) > 1.5
    board.slow_link(delay_ms=400)
    began = time.monotonic()
    assert run(board, "true") == ""
    assert time.monotonic() - began > 1.6, "a login takes several round trips"
    board.slow_link()
    assert seconds(up, 256) < slow[0] and seconds(down, 256) < slow[1]
    assert max(fast) < min(slow)


def test_an_order_that_fails_is_told(board: Machine) -> None:
    with pytest.raises(BoardError, match="the order 'dance' failed"):
        board._order("dance")


# --- its saved state ----------------------------------------------------------------------------


def test_machines_that_resume_from_one_state_are_not_the_same() -> None:
    said: list[str] = []
    start("test-twin").stop()
    with start("test-twin", progress=said.append) as one:
        with start("test-stop", progress=said.append) as other:
            assert len([line for line in said if line.endswith("(resumed)")]) == 2
            script = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | xxd -p"
            assert set(run(one, script).split()).isdisjoint(run(other, script).split())
            for board in (one, other):
                assert abs(float(run(board, "date +%s")) - time.time()) < 5
                run(board, f"echo {board.name} > name")
        assert run(one, "cat name") == "test-twin"


def test_a_board_that_could_not_be_woken_would_not_start(board: Machine) -> None:
    """Each step of it must succeed: `start` in the guest asks for exit code 0."""
    good = f"{int(time.time())} 0 {'ab' * 32}"
    for line, user, code in (("1 2 zz", "root", 1), (good, "edge", 2), (good, "root", 0)):
        said = run(board, f"echo '{line}' | /usr/sbin/edge-wake; echo $?", user=user)
        assert said == str(code), line


def test_a_corrupt_state_is_made_anew(board: Machine) -> None:
    memory = next(board.image.directory.glob("state-cortex-a72-2-1024-0/memory"))
    with memory.open("r+b") as file:
        file.seek(memory.stat().st_size // 2)
        file.write(b"damage")
    said: list[str] = []
    with start("test-stop", progress=said.append) as again:
        assert run(again, "echo well") == "well"
    assert any("is damaged: it is made anew" in line for line in said)
    assert said[-1].endswith("(booted)")
    with start("test-stop", progress=said.append):
        assert said[-1].endswith("(resumed)")


def test_a_state_that_qemu_refuses_is_made_anew(board: Machine) -> None:
    memory = next(board.image.directory.glob("state-cortex-a72-2-1024-0/memory"))
    key, _ = (memory.parent / "key").read_text().split()
    memory.write_bytes(b"no state of any machine")
    digest = hashlib.sha256(memory.read_bytes()).hexdigest()
    (memory.parent / "key").write_text(f"{key} {digest}\n")
    said: list[str] = []
    with start("test-stop", progress=said.append) as again:
        assert run(again, "echo well") == "well"
    assert any("the saved state can't be resumed" in line for line in said)
    with start("test-stop", progress=said.append):
        assert said[-1].endswith("(resumed)")


def test_a_full_cache_keeps_no_board_from_starting(
    board: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = next(board.image.directory.glob("state-cortex-a72-2-1024-0/memory"))
    memory.unlink()

    def full(self: Snapshot, write: object, progress: object) -> None:
        raise HostError("can't make the state: No space left on device")

    said: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(Snapshot, "save", full)
        with start("test-stop", progress=said.append) as again:
            assert run(again, "echo well") == "well"
    assert any(line.endswith("going on: the next start boots again") for line in said)
    start("test-stop").stop()


# --- its end ------------------------------------------------------------------------------------


def test_a_kept_machine_goes_on_and_is_ended_by_another_process() -> None:
    program = """
        from edge import image
        from edge.machine import Machine
        board = Machine.start(image.load("bookworm-arm64"), name="test-kept", fresh=True)
        board.detach()
        print(board.pid)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=True, cwd=layout.firmware_dir().parent,
    )  # fmt: skip
    pid = int(result.stdout)
    attached = Machine.attach("test-kept")
    try:
        assert is_alive(pid) and attached.pid == pid
        assert run(attached, "echo kept > kept; echo well") == "well"
        attached.power_cut()
        assert attached.pid != pid and attached.access.kept
        run(attached, "echo well")
        pid, port = attached.pid, attached.ssh_port
        Machine.attach("test-kept").stop()
    finally:
        with contextlib.suppress(UsageError):
            Machine.attach("test-kept").kill()
    assert not is_alive(pid)
    assert not listens(port)
    assert machine.running("test-kept") is None
    assert all(name != "test-kept" for name, _ in machine.all_running())


def test_ten_times_up_and_down_leave_nothing() -> None:
    folder = layout.machines_dir() / "test-cycle"

    def elsewhere() -> set[Path]:
        temporary = Path(tempfile.gettempdir())
        return {*Path("/dev/shm").rglob("*"), *temporary.glob("*edge*")}

    start("test-cycle").stop()
    before, there, processes = set(folder.rglob("*")), elsewhere(), qemus()
    for _ in range(10):
        board = start("test-cycle", fresh=False)
        pid, keeper, port = board.pid, board.access.keeper_pid, board.ssh_port
        board.detach()
        Machine.attach("test-cycle").stop()
        board.kill()
        assert not is_alive(pid) and not is_alive(keeper) and not listens(port)
    assert qemus() == processes
    assert set(folder.rglob("*")) == before
    assert staying(elsewhere() - there) == set()


def qemus() -> set[str]:
    """Process numbers of what runs for the machine ``test-cycle``."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"test-cycle" in (folder / "cmdline").read_bytes() and is_alive(int(folder.name)):
                found.add(folder.name)
    return found


def test_a_board_that_hangs_is_powered_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_STOP_DEADLINE_S", 1.0)
    said: list[str] = []
    board = start("test-stop", progress=said.append)
    pid = board.pid
    with contextlib.suppress(AssertionError):
        run(board, "kill -STOP $(pidof edge-control || pgrep -f edge-control)", user="root")
    board.stop()
    assert not is_alive(pid)
    assert "machine test-stop does not shut down: power cut" in said


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
    as_it_should_be = qemu._disk

    def with_another_serial_number(path: Path, serial: str, how: str) -> list[str]:
        return as_it_should_be(path, "other" if serial == "system" else serial, how)

    monkeypatch.setattr(qemu, "_disk", with_another_serial_number)
    with pytest.raises(BoardError, match="no root file system on a disk"):
        start("test-broken", cpu="cortex-a53")
    assert machine.running("test-broken") is None


def test_a_disk_that_is_damaged_is_told_and_replaced() -> None:
    start("test-broken").stop()
    disk = layout.machines_dir() / "test-broken/home.ext4"
    with disk.open("r+b") as file:
        file.write(b"x" * 65536)
    with pytest.raises(BoardError, match=r"can't be started from its disk: .*--fresh"):
        start("test-broken", fresh=False)
    start("test-broken").stop()


def test_a_kernel_that_panics_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_should_be = qemu.command

    def with_another_init(*arguments: Any, **options: Any) -> list[str]:
        argv = as_it_should_be(*arguments, **options)
        append = argv.index("-append") + 1
        return [*argv[:append], f"{argv[append]} rdinit=/no-such-program", *argv[append + 1 :]]

    monkeypatch.setattr(qemu, "command", with_another_init)
    with pytest.raises(BoardError, match=r"panicked; its console .* ends with:(.|\n)*panic"):
        start("test-broken", cpu="cortex-a53")


def test_a_power_cut_revives_a_board_whose_kernel_panicked() -> None:
    """Its last words stay in the log, and are not taken for those of the next start."""
    with start("test-stop") as board:
        run(board, "(sleep 0.5; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &", user="root")
        with Console.open(board.console_url) as console:
            console.wait_for("Kernel panic", 30)
            with pytest.raises(BoardError, match="panicked"):
                board.must_live()
        board.power_cut()
        board.must_live()
        assert run(board, "echo well") == "well"


def test_a_port_that_is_taken_is_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(HostError, match="the port is taken"),
    ):
        start("test-broken", ssh_port=other.getsockname()[1])


def test_a_socket_deep_in_the_file_system_is_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30) / ("deeper" * 30)
    folder.mkdir(parents=True)
    for _ in range(2):  # what a killed process left is in nobody's way
        with (
            machine._listening(folder, "qmp") as listener,
            machine._connected(folder, "qmp", "m") as ours,
        ):
            theirs, _ = listener.accept()
            with theirs:
                ours.sendall(b"x")
                assert theirs.recv(1) == b"x"
    with pytest.raises(HostError, match="machine m does not listen"):
        machine._connected(folder, "qmp", "m")


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
