"""The serial console on real lines: shells behind terminals, sockets, and QEMU's."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import console as console_module
from edge import debian, image
from edge.console import BoardRebooted, Console, posix_crc
from edge.errors import BoardError, HostError, UnreachableError
from edge.machine import Machine

NEEDED = ("env", "head", "stty", "sh", "id", "cat", "sleep", "dd", "tr", "printf", "seq")
SHELLS = ("dash -i", "bash --norc --noprofile -i", "busybox sh", "dash -i, by a slow line")


class Terminal:
    """A program in a terminal of its own, spoken to through the other end: a port in memory."""

    def __init__(self, argv: list[str], path: Path, at_once: int = 1 << 20) -> None:
        self.timeout: float | None = 0.0
        self._at_once = at_once
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores
            prompt = "\\[\\e[1;32m\\]pi@board\\[\\e[0m\\]:\\w\\$ "
            environ = {"PATH": str(path), "HOME": str(path), "TERM": "vt100", "PS1": prompt}
            os.execve(argv[0], argv, environ)

    def read(self, size: int = 1, /) -> bytes:
        ready, _, _ = select.select([self._fd], [], [], self.timeout)
        return os.read(self._fd, min(size, self._at_once)) if ready else b""

    def write(self, data: bytes, /) -> int:
        while data:
            data = data[os.write(self._fd, data) :]
        return 0

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)


def current_user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def tools(folder: Path, names: tuple[str, ...], busybox: str | None = None) -> Path:
    """A folder with just these commands."""
    folder.mkdir()
    for name in names:
        target = busybox or shutil.which(name)
        assert target, name
        (folder / name).symlink_to(target)
    return folder


@pytest.fixture(scope="module")
def busybox() -> str:
    """This machine's, or the one that images are built with."""
    found = shutil.which("busybox")
    return found or str(debian.unpack_host_packages(("busybox-static",), print) / "usr/bin/busybox")


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path, busybox: str) -> Iterator[Console]:
    """A shell at its prompt, with all tools or, with busybox, busybox's alone."""
    words = request.param.partition(",")[0].split()
    names = (*NEEDED, "base64", "sha256sum")
    if words[0] == "busybox":
        argv = [busybox, *words[1:]]
        path = tools(tmp_path / "bin", names, busybox)
    else:
        argv = [shutil.which(words[0]) or words[0], *words[1:]]
        path = tools(tmp_path / "bin", names)
    slow = 1 if "slow" in request.param else 1 << 20
    with Console(Terminal(argv, path, slow), request.param) as console:
        console.login(current_user(), None)
        yield console


def test_every_byte_and_every_status(shell: Console) -> None:
    assert shell.run(["printf", r"a\0b\377\r\n\033[6n\n\n"]).stdout == b"a\0b\xff\r\n\x1b[6n\n\n"
    outcome = shell.run(["sh", "-c", 'printf "%s\n" "h\u00e9!  $0"; echo err >&2; exit 7', "\\ *"])
    assert (outcome.stdout, outcome.stderr) == ("h\u00e9!  \\ *\n".encode(), b"err\n")
    assert outcome.exit_code == 7
    assert shell.run(["sh", "-c", "kill -9 $$"]).exit_code == 137
    assert shell.run(["no-such-program"]).exit_code == 127
    assert shell.run(["cat"]).stdout == b""
    assert shell.run(["printf", "%s|", "", " a ", "~", "$HOME", "`id`", "\t", "\n"]).text == (
        "| a |~|$HOME|`id`|\t|\n|"
    )


def test_long_commands_and_long_output(shell: Console) -> None:
    word = "".join(chr(33 + i % 90) for i in range(5000))
    assert shell.run(["printf", "%s", word]).text == word
    outcome = shell.run(["seq", "36000"], timeout_s=60)
    assert outcome.stdout == b"".join(b"%d\n" % i for i in range(1, 36001))
    assert len(outcome.stdout) > 200_000


def test_what_hangs_is_interrupted_and_the_shell_is_good_again(shell: Console) -> None:
    with pytest.raises(BoardError, match="'sleep' did not end and send its output in 2 s"):
        shell.run(["sleep", "600"], timeout_s=2)
    assert shell.run(["printf", "well"]).text == "well"
    shell.write(b"cat\n")  # a program that reads, and a half typed line
    shell.login(current_user(), None)
    assert shell.run(["printf", "well"]).text == "well"


def test_echo_is_on_again_after_each_command(shell: Console) -> None:
    shell.run(["printf", "x"])
    shell.write(b" stty -a </dev/tty\n")
    assert " echo " in shell.wait_for("echok", 10)


def test_no_output_without_end(shell: Console) -> None:
    with pytest.raises(BoardError, match="longer than a serial line is good for"):
        shell.run(["sh", "-c", "while :; do printf %01000d 1; done"], timeout_s=120)


def small_board(folder: Path, busybox: str, present: tuple[str, ...]) -> Path:
    """Busybox's commands without its shell, which may have all of them built in."""
    path = tools(folder / "bin", (*NEEDED, *present), busybox)
    for name in {"sh", "cksum"} & {"sh", *present}:
        (path / name).unlink()  # the shell has all tools built in; cksum is in few busyboxes
        (path / name).symlink_to(shutil.which(name) or "")
    return path


@pytest.mark.parametrize(
    "present",
    [
        ("base64", "md5sum"), ("base64", "cksum"), ("od", "cksum"), ("hexdump", "md5sum"),
        ("od", "sha256sum"),
    ],
)  # fmt: skip
def test_small_boards_have_few_tools(
    tmp_path: Path, busybox: str, present: tuple[str, ...]
) -> None:
    path = small_board(tmp_path, busybox, present)
    with Console(Terminal([str(path / "sh")], path), "small") as console:
        console.login(current_user(), None)
        for size in (0, 1, 15, 16, 17, 300):
            data = bytes(range(256))[-size % 256 :] + b"x" * size
            octal = "".join(f"\\{byte:03o}" for byte in data)
            assert console.run(["printf", octal]).stdout == data


@pytest.mark.parametrize(
    ("present", "lacks"),
    [(("base64",), "none of sha256sum, md5sum and cksum"), (("cksum",), "none of base64, od")],
)
def test_too_few_tools_are_named(
    tmp_path: Path, busybox: str, present: tuple[str, ...], lacks: str
) -> None:
    path = small_board(tmp_path, busybox, present)
    with Console(Terminal([str(path / "sh")], path), "small") as console:
        console.login(current_user(), None)
        with pytest.raises(BoardError, match=lacks):
            console.run(["printf", "x"])


# --- checksums and ports ---------------------------------------------------------------------


@given(st.binary(max_size=300))
@settings(max_examples=15, deadline=None)
def test_cksum_is_posix(data: bytes) -> None:
    said = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout
    assert console_module._agrees(said.decode(), data)
    assert not console_module._agrees(said.decode(), data + b"x")
    assert said.split()[0] == str(posix_crc(data)).encode()


@pytest.mark.parametrize("tool", ["sha256sum", "md5sum"])
def test_other_sums_are_known(tool: str) -> None:
    said = subprocess.run([tool], input=b"text", capture_output=True, check=True).stdout.decode()
    assert console_module._agrees(said, b"text")
    assert not console_module._agrees(said, b"texT")
    assert not console_module._agrees("", b"")


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    ours, theirs = os.openpty()
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_another_process_that_holds_it_is_named(terminal: tuple[int, str]) -> None:
    with subprocess.Popen(["sleep", "60"], stdin=Path(terminal[1]).open("rb")) as other:
        held = Path(f"/proc/{other.pid}/fd/0").open("rb")  # noqa: SIM115
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            with pytest.raises(HostError, match="is in use by "):
                Console.open(terminal[1])
        finally:
            held.close()
            other.kill()


def test_a_refused_connection_asks_for_the_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(HostError, match=r"is the machine up\? `invoke qemu.status`"):
        Console.open(f"socket://127.0.0.1:{port}")


def test_a_socket_is_read_in_large_pieces_and_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        console = Console.open(f"socket://127.0.0.1:{server.getsockname()[1]}")
        other, _ = server.accept()
        with other:
            other.sendall(b"x" * 20_000 + b"end")
            reads, got = 0, b""
            while not got.endswith(b"end"):
                got += console.read(5)
                reads += 1
            assert len(got) == 20_003
            assert reads < 50
            assert console.read(0) == b""
            console.write(b"hello")
            assert other.recv(5) == b"hello"
        with pytest.raises(UnreachableError, match="the other end hung up: is the machine still"):
            console.read(5)
        with pytest.raises(UnreachableError):
            for _ in range(9):
                console.write(b"hello")
        number = console.fileno()
        console.close()
    assert number is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


# --- an emulated board ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board() -> Iterator[Machine]:
    described = image.load("bookworm-arm64")
    with Machine.start(described, name="test-console", fresh=True, progress=print) as started:
        yield started


@pytest.fixture
def line(board: Machine) -> Iterator[Console]:
    with Console.open(board.console_url) as console:
        yield console


@pytest.mark.parametrize("user", ["edge", "root"])
def test_a_board_is_logged_into(line: Console, user: str) -> None:
    line.login(user, "edge")
    assert line.run(["id", "-un"]).text == f"{user}\n"
    assert line.run(["sh", "-c", "echo no >&2; exit 3"]).exit_code == 3
    assert line.run(["cat", "/etc/hostname"]).text == "edge-board\n"


def test_a_wrong_password_is_refused(line: Console) -> None:
    line.login("edge", "edge")
    line.write(b"exit\n")
    with pytest.raises(UnreachableError, match="'Login incorrect' to user 'root'"):
        line.login("root", "wrong")


def test_long_output_of_a_board(line: Console) -> None:
    line.login("root", "edge")
    outcome = line.run(["seq", "19000"], timeout_s=240)
    assert outcome.stdout == b"".join(b"%d\n" % i for i in range(1, 19001))
    assert len(outcome.stdout) > 100_000


def test_the_kernel_talks_all_the_time(line: Console) -> None:
    line.login("root", "edge")
    talk = "dmesg -n 8; while :; do echo 'noise #1=QUJD.' > /dev/kmsg; sleep 0.02; done"
    line.run(["sh", "-c", f"({talk}) >/dev/null 2>&1 & echo $! > /tmp/noise"])
    line.wait_for("noise #1", 20)
    try:
        outcome = line.run(["seq", "5000"], timeout_s=240)
    finally:
        line.run(["sh", "-c", "kill $(cat /tmp/noise); dmesg -n 1"], timeout_s=120)
    assert outcome.stdout == b"".join(b"%d\n" % i for i in range(1, 5001))


def test_a_reboot_in_the_middle_is_named_and_the_boot_waited_for(line: Console) -> None:
    line.login("root", "edge")
    with pytest.raises(BoardRebooted, match="'sh' is lost while it ran; log in again"):
        line.run(["sh", "-c", "(sleep 1; reboot -f) & sleep 600"], timeout_s=120)
    line.login("edge", "edge", timeout_s=240)
    assert line.run(["id", "-un"]).text == "edge\n"


def test_a_machine_that_ends_takes_its_line_along(board: Machine) -> None:
    with Console.open(board.console_url) as console:
        console.login("edge", "edge", timeout_s=120)
        board.kill()
        with pytest.raises(UnreachableError, match="is gone"):
            console.run(["id"])
