"""The serial console against a scripted board: noise, damage, logins, and what errors say."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.console import BoardRebooted, Console
from edge.errors import BoardError, HostError, UnreachableError, UsageError
from edge.testing import FakeSerial

KERNEL = (
    "[   12.345678] random: crng init done\r\n",
    "[ 4242.000001] usb 1-1: new high-speed USB device\r\n",
    "random: no time stamp\r\n",
    "x\r\n",
    "\r\n",
    "#deadbeef:bye.\r\n",
    "#deadbeef=1:QUJD.\r\n",
    "[   99.000000] login: no prompt\r\n",
)


def opened(line: FakeSerial) -> Console:
    return Console(line, "fake", clock=line.clock)


class Noise:
    """Puts text between two bytes of the line, at each of these counts of bytes."""

    def __init__(self, texts: list[tuple[int, str]]) -> None:
        self._texts = sorted(texts, reverse=True)
        self._count = 0

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            while self._texts and self._texts[-1][0] <= self._count:
                out += self._texts.pop()[1].encode()
            out.append(byte)
            self._count += 1
        return bytes(out)


class Damage:
    """Changes or loses bytes, at these counts of bytes; None is a lost one."""

    def __init__(self, places: dict[int, int | None]) -> None:
        self._places = places
        self._count = 0

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            change = self._places.get(self._count, 0)
            if change is not None:
                out.append(byte ^ change)
            self._count += 1
        return bytes(out)


boards = st.builds(
    FakeSerial,
    prompt=st.sampled_from(["# ", "$ ", "\x1b[6n~ # ", "\x1b[?2004h\x1b[01;32mpi@é\x1b[0m:~$ "]),
    motd=st.sampled_from(["", "Linux rpi 6.1\nLast login: Fri on ttyS0\n", "é" * 50 + "\n"]),
    password=st.sampled_from(["edge", None]),
    echo=st.booleans(),
    columns=st.sampled_from([0, 40, 80]),
    split=st.lists(st.integers(1, 90), max_size=5),
)
noise = st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(KERNEL)), max_size=12)
damage = st.dictionaries(st.integers(0, 6000), st.sampled_from([None, 1, 2, 32, 128]), max_size=8)


@settings(deadline=None, max_examples=150)
@given(line=boards, said=noise, stdout=st.binary(max_size=600), stderr=st.binary(max_size=60),
       code=st.integers(0, 255))  # fmt: skip
def test_output_is_exact_whatever_the_kernel_says_meanwhile(
    line: FakeSerial, said: list[tuple[int, str]], stdout: bytes, stderr: bytes, code: int
) -> None:
    line.on(["program"], stdout=stdout, stderr=stderr, exit_code=code)
    console = opened(line)
    console.login("root", "edge")
    line.outgoing = Noise(said)
    outcome = console.run(["program", "an argument", "é!"], timeout_s=600)
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (stdout, stderr, code)
    assert line.commands == [("program", "an argument", "é!")]


@settings(deadline=None, max_examples=60)
@given(line=boards, said=noise)
def test_a_login_survives_the_kernel(line: FakeSerial, said: list[tuple[int, str]]) -> None:
    line.outgoing = Noise(said)
    console = opened(line)
    console.login("root", "edge", timeout_s=600)
    line.on(["id"], stdout=b"0")
    assert console.run(["id"], timeout_s=600).text == "0"


@settings(deadline=None, max_examples=150)
@given(line=boards, lost=damage, mistyped=damage, stdout=st.binary(max_size=600))
def test_damage_is_mended_or_reported_and_never_believed(
    line: FakeSerial, lost: dict[int, int | None], mistyped: dict[int, int | None], stdout: bytes
) -> None:
    line.on(["program"], stdout=stdout, exit_code=3)
    console = opened(line)
    console.login("root", "edge")
    line.outgoing, line.incoming = Damage(lost), Damage(mistyped)
    try:
        outcome = console.run(["program", "word"], timeout_s=900)
    except BoardError:
        pass
    else:
        assert (outcome.stdout, outcome.exit_code) == (stdout, 3)
    # Run once or not at all, and only as it was meant.
    assert line.commands in ([], [("program", "word")])


def test_scattered_noise_is_mended_not_only_reported() -> None:
    line = FakeSerial(logged_in=True)
    data = bytes(range(256)) * 800
    line.on(["big"], stdout=data)
    line.outgoing = Noise([(count, KERNEL[0]) for count in range(0, 400_000, 700)])
    assert opened(line).run(["big"], timeout_s=600).stdout == data


def test_output_of_an_earlier_command_is_not_this_ones() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["program"], stdout=b"right", takes_s=5)
    digest = hashlib.sha256(b"CjA=\n-").hexdigest()
    stale = (f"out 2 base64 {digest}", "=1:CjA=", "=2:-", "end")
    for text in stale:
        mark = text if text.startswith("=") else f":{text}"
        line.later(2, lambda mark=mark: line.say(f"#deadbeef{mark}.\r\n"))  # type: ignore[misc]
    assert opened(line).run(["program"]).text == "right"


def test_a_line_that_always_lies_is_an_error() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["big"], stdout=b"A" * 3000)
    console = opened(line)
    line.outgoing = lambda data: data.replace(b"QUFB", b"QUFC")
    with pytest.raises(BoardError, match=r"'big' arrived damaged 6 times \(fake\)"):
        console.run(["big"], timeout_s=600)


def test_what_is_typed_wrongly_is_never_run() -> None:
    line = FakeSerial(logged_in=True)
    line.incoming = lambda data: data.replace(b"safe", b"evil")
    with pytest.raises(BoardError, match="no shell answers"):
        opened(line).run(["safe"])
    assert line.commands == []


def test_a_text_split_between_reads_is_one_text() -> None:
    line = FakeSerial(split=[1])
    line.say("5 € süß\r\n")
    assert opened(line).wait_for(re.compile("5 . s.ß"), 1) == "5 € süß"


def test_a_pattern_leaves_what_follows() -> None:
    line = FakeSerial(logged_in=True)
    line.say("one.two")
    console = opened(line)
    assert console.wait_for("one.", 1).endswith("one.")
    assert console.wait_for("two", 1) == "two"
    with pytest.raises(
        BoardError, match=r"'three' did not come from fake in 7 s; last seen: .*two"
    ):
        console.wait_for("three", 7)
    assert line.clock() == pytest.approx(7)


def test_the_log_has_every_byte(tmp_path: Path) -> None:
    line = FakeSerial(split=[1, 2])
    line.outgoing = lambda data: data + b"\xff\x00"
    with Console(line, "fake", log=tmp_path / "log", clock=line.clock) as console:
        line.say("text")
        console.wait_for("text", 1)
        while console.read():
            pass
    assert (tmp_path / "log").read_bytes() == b"text\xff\x00"
    with pytest.raises(UsageError, match=r"can't write the log .*: No such file or directory"):
        Console(FakeSerial(), "fake", log=tmp_path / "no" / "log")


# --- logins -------------------------------------------------------------------------------------


@pytest.mark.parametrize("logged_in", [False, True])
def test_a_kernel_that_never_stops_keeps_nobody_out(logged_in: bool) -> None:
    line = FakeSerial(logged_in=logged_in)
    line.on(["id"], stdout=b"0")

    def talk() -> None:
        line.say("[ 4242.000001] usb 1-1: reset\r\n")
        line.later(0.3, talk)

    talk()
    console = opened(line)
    console.login("root", "edge", timeout_s=120)
    assert console.run(["id"], timeout_s=60).text == "0"


def test_a_question_is_known_with_the_kernel_in_its_middle() -> None:
    line = FakeSerial()
    line.outgoing = lambda data: data.replace(b"Passw", b"Passw[   12.000001] usb 1-1: x\r\n")
    opened(line).login("root", "edge", timeout_s=30)


def test_a_last_login_is_no_question() -> None:
    line = FakeSerial()

    def enter() -> None:
        line.say("\r\nLast login: ")
        line._back()
        del line._ready[-2:]
        line.later(1, lambda: line.say("Fri Nov 20 on ttyS0\r\n# "))

    line._enter = enter  # type: ignore[method-assign]
    opened(line).login("root", "edge")
    assert line.sent.count(b"root\r") == 1


def test_a_half_typed_line_is_never_run() -> None:
    line = FakeSerial(logged_in=True)
    said: list[bytes] = []

    def heard(data: bytes) -> bytes:
        said.append(data)
        return data

    line.outgoing = heard
    line.write(b"rm -rf precious")
    opened(line).login("root", "edge")
    assert b"rm: not found" not in b"".join(said)


def test_a_running_program_makes_room() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["top"], takes_s=math.inf).on(["id"], stdout=b"0")
    console = opened(line)
    line._listener = None
    line._on_line = line._busy
    console.login("root", "edge")
    assert console.run(["id"]).text == "0"


def test_another_users_shell_is_left() -> None:
    line = FakeSerial(user="edge", logged_in=True)
    with pytest.raises(UnreachableError, match="'Login incorrect' to user 'root'"):
        opened(line).login("root", "edge")
    assert b"exit\r" in line.sent


def test_a_shell_that_is_there_needs_no_password() -> None:
    line = FakeSerial(logged_in=True)
    opened(line).login("root", None)
    assert b"root\r" not in line.sent


@pytest.mark.parametrize(
    ("user", "password", "says"),
    [
        ("root", "wrong", "fake: the board says 'Login incorrect' to user 'root': check name"),
        ("nobody", "edge", "'Login incorrect' to user 'nobody'"),
        ("root", None, "the board asks for the password of 'root': give one"),
    ],
)
def test_a_refusal_is_its_own_error(user: str, password: str | None, says: str) -> None:
    line = FakeSerial()
    with pytest.raises(UnreachableError, match=says):
        opened(line).login(user, password)


def test_no_password_is_typed_unasked() -> None:
    line = FakeSerial(password=None)
    opened(line).login("root", "secret")
    assert b"secret" not in line.sent


def test_somebody_elses_half_login_is_ended() -> None:
    line = FakeSerial()
    line.write(b"guest\r")
    opened(line).login("root", "edge")


def test_a_control_character_is_no_name() -> None:
    with pytest.raises(UsageError, match="can't hold control characters"):
        opened(FakeSerial()).login("root\n", "edge")


def test_a_silent_line_is_given_up_in_time() -> None:
    line = FakeSerial()
    line.silent = True
    line._ready.clear()
    with pytest.raises(BoardError, match="neither login prompt nor shell in 60 s; nothing was rec"):
        opened(line).login("root", "edge")
    assert line.clock() == pytest.approx(60, abs=0.1)


def test_noise_of_a_wrong_rate_is_named() -> None:
    line = FakeSerial()
    line.outgoing = lambda data: bytes(b ^ 0xA5 for b in data)
    with pytest.raises(BoardError, match="what came is no text: is the baud rate right"):
        opened(line).login("root", "edge")


def test_a_password_is_in_no_message() -> None:
    line = FakeSerial(password="hunter2")
    line.say("hunter2 hunter2\r\n")
    with pytest.raises(BoardError) as raised:
        console = opened(line)
        line.incoming = lambda data: b""
        console.login("root", "hunter2", timeout_s=20)
    assert "hunter2" not in str(raised.value)
    assert "… …" in str(raised.value)


def test_a_board_that_boots_is_left_alone_until_it_asks() -> None:
    """A key would stop its boot loader."""
    line = FakeSerial()
    line._ready.clear()
    line.say("\r\nU-Boot 2023.04\r\nHit any key to stop autoboot:  3 ")
    typed_early: list[bytes] = []

    def asks() -> None:
        typed_early.append(line.sent)
        line._login("")

    line.later(1, lambda: line.say("\b\b\b 2 "))
    line.later(5, lambda: line.say("\r\nStarting kernel ...\r\n"))
    line.later(14, lambda: line.say("[    1.500000] init\r\n"))
    line.later(20, asks)
    opened(line).login("root", "edge")
    assert typed_early == [b""]


def test_a_board_in_its_boot_loader_says_so() -> None:
    fake = line = FakeSerial()
    line._ready.clear()
    line._on_line = lambda line: fake.say("=> ")
    with pytest.raises(BoardError, match="stands in its boot loader: type `boot` there"):
        opened(line).login("root", "edge")


def test_a_new_password_is_for_a_person_to_set() -> None:
    line = FakeSerial()
    line._enter = lambda: line.say("\r\nYou must change it.\r\nNew password: ")  # type: ignore[method-assign]
    with pytest.raises(BoardError, match="wants a new password for 'root'"):
        opened(line).login("root", "edge")


# --- what may happen while a command runs -------------------------------------------------------


def booting(text: str) -> Callable[[FakeSerial], Callable[[], None]]:
    return lambda line: lambda: line.boot(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[    0.000000] Linux version 6.1\r\n", r"restarted \('\[    0.000000\] Linux version"),
        ("U-Boot SPL 2021.01-g8\r\n", r"restarted \('U-Boot SPL 2021.01"),
        ("[ 9.1] reboot: Restarting system\r\n", "restarted"),
        ("[ 9.1] Kernel panic - not syncing: oops\r\n", "died: Kernel panic - not syncing: oops"),
        ("", "asks for a login: 'slow' is lost while it ran; log in again"),
    ],
)
def test_a_reboot_is_named(text: str, says: str) -> None:
    line = FakeSerial(logged_in=True)
    line.on(["slow"], takes_s=60)
    line.later(5, booting(text)(line))
    with pytest.raises(BoardRebooted, match=says):
        opened(line).run(["slow"], timeout_s=100)
    assert line.clock() < 10


def test_a_reboot_is_seen_though_its_login_took_what_was_typed() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["slow"], takes_s=600)

    def quiet_boot() -> None:
        line.boot("")
        line._login(":")

    line.later(6, quiet_boot)
    with pytest.raises(BoardRebooted, match="asks for a login"):
        opened(line).run(["slow"], timeout_s=100)
    assert line.clock() < 7


def test_a_board_that_boots_in_silence_is_hardly_typed_at() -> None:
    """What its UART can't hold would be lost, or make it deaf."""
    line = FakeSerial()
    line.silent = True
    typed: list[int] = []

    def wake() -> None:
        typed.append(len(line.sent))
        line.silent = False
        line.boot("")

    line.later(25, wake)
    opened(line).login("root", "edge", timeout_s=60)
    assert 0 < typed[0] <= 16


def test_a_shell_without_echo_and_prompt_is_found_in_the_end() -> None:
    line = FakeSerial(logged_in=True, echo=False, prompt="")
    heard = line.outgoing
    line.outgoing = lambda data: b"" if not data.strip() else heard(data)
    opened(line).login("root", "edge", timeout_s=90)
    assert line.clock() > 20


def test_a_reboot_in_the_middle_of_the_output_is_named() -> None:
    line = FakeSerial(logged_in=True, split=[500])
    line.on(["big"], stdout=b"x" * 50_000)
    console = opened(line)
    seen = 0

    def cut(data: bytes) -> bytes:
        nonlocal seen
        seen += len(data)
        if seen > 30_000 and not line.silent:
            line.silent = True
            return data + b"\r\n[    0.000000] Booting Linux on physical CPU 0x0\r\n"
        return data

    line.outgoing = cut
    with pytest.raises(BoardRebooted, match="while it ran"):
        console.run(["big"])


def test_a_command_before_the_login_is_not_lost_silently() -> None:
    with pytest.raises(BoardRebooted, match="asks for a login: 'id' is lost before it was started"):
        opened(FakeSerial()).run(["id"])


def test_a_board_that_hangs_meets_the_deadline() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["slow"], takes_s=50)

    def dies() -> None:
        line.say("last words\r\n")
        line.silent = True

    line.later(3, dies)
    with pytest.raises(BoardError, match=r"did not end and send .* in 20 s .*seen: last words"):
        opened(line).run(["slow"], timeout_s=20)
    assert line.clock() < 25


def test_a_hung_shell_meets_the_deadline() -> None:
    line = FakeSerial(logged_in=True)
    line.silent = True
    with pytest.raises(BoardError, match="no shell answers on fake in 9 s, 'id' was not started"):
        opened(line).run(["id"], timeout_s=9)
    assert line.clock() < 15


def test_a_command_that_is_late_is_interrupted_and_the_line_is_good_again() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["hang"], takes_s=math.inf).on(["id"], stdout=b"0")
    console = opened(line)
    with pytest.raises(BoardError, match="'hang' did not end"):
        console.run(["hang"], timeout_s=5)
    assert line.sent.endswith(b"\x03")
    assert console.run(["id"]).text == "0"


def test_long_silence_is_no_failure() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["slow"], stdout=b"done", takes_s=3000)
    assert opened(line).run(["slow"], timeout_s=4000).text == "done"


def test_a_line_that_vanishes_is_one_clear_error() -> None:
    line = FakeSerial(logged_in=True)
    line.on(["slow"], takes_s=50)
    line.later(3, lambda: setattr(line, "gone", True))
    with pytest.raises(UnreachableError, match=r"the line fake is gone \(unplugged") as raised:
        opened(line).run(["slow"], timeout_s=20)
    assert "\n" not in str(raised.value)


# --- opening ------------------------------------------------------------------------------------


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    ours, theirs = os.openpty()
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_port_is_taken_by_one_and_its_holder_named(pty: tuple[int, str]) -> None:
    busy = rf"{pty[1]} is in use by .*{os.getpid()}\): close"
    with Console.open(pty[1]), pytest.raises(HostError, match=busy):
        Console.open(pty[1])
    Console.open(pty[1]).close()


def test_an_absent_port_lists_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        device, hwid = "/dev/ttyUSB7", "USB VID:PID=0403:6001"

    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [Found])
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [])
    with pytest.raises(HostError, match=r"no serial port /dev/nothing; this machine has .*ttyUSB7"):
        Console.open("/dev/nothing")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [Path("/dev/serial/by-id/usb-x")])
    with pytest.raises(HostError, match="this machine has /dev/serial/by-id/usb-x"):
        Console.open("/dev/nothing")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [])
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [])
    with pytest.raises(HostError, match="this machine shows none: is the adapter plugged in"):
        Console.open("/dev/nothing")


def test_a_port_without_permission_names_the_group(
    monkeypatch: pytest.MonkeyPatch, pty: tuple[int, str]
) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise serial.SerialException(errno.EACCES, "could not open port: Permission denied")

    class Group:
        gr_name = "dialout"

    monkeypatch.setattr("grp.getgrgid", lambda number: Group)
    monkeypatch.setattr("serial.Serial", refuse)
    says = r"group dialout: `sudo usermod -aG dialout \$USER`, then log in again"
    with pytest.raises(HostError, match=says):
        Console.open(pty[1])
    Group.gr_name = "root"
    with pytest.raises(HostError, match="belongs to root alone"):
        Console.open(pty[1])


def test_a_file_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file", Path("/dev/null")):
        with pytest.raises(UsageError, match="is no serial port"):
            Console.open(str(path))


@pytest.mark.parametrize("baud", [0, -1, "fast", True, 10.5])
def test_a_rate_is_a_number(baud: int) -> None:
    with pytest.raises(UsageError, match="must be a whole number such as 115200"):
        Console.open("/dev/null", baud=baud)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("socket://127.0.0.1", "write socket://HOST:PORT"),
        ("socket://127.0.0.1:port", "write socket://HOST:PORT"),
        ("socket://127.0.0.1:99999", "write socket://HOST:PORT"),
        ("telnet://127.0.0.1:4", "a port is a device such as /dev/ttyUSB0, or socket://HOST:PORT"),
    ],
)
def test_a_bad_url_is_a_usage_error(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Console.open(url)


def test_an_unplugged_port_is_one_line() -> None:
    ours, theirs = os.openpty()
    console = Console.open(os.ttyname(theirs))
    os.close(theirs)
    os.write(ours, b"dying words\r\n")
    console.wait_for("words", 5)
    os.close(ours)
    with pytest.raises(UnreachableError, match=r"gone \(unplugged.*last seen: dying words"):
        console.read(5)
    with pytest.raises(UnreachableError, match="gone"):
        console.write(b"x")
    console.close()
