"""The interactive terminal, between two pseudo-terminals, and where its port comes from."""

from __future__ import annotations

import dataclasses
import os
import pty
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge import board, machine, terminal
from edge.console import Console
from edge.errors import UnreachableError, UsageError


class Desk:
    """A keyboard with a screen, and a board's end of a serial line."""

    def __init__(self, log: Path | None) -> None:
        self.keyboard, self.tty = pty.openpty()
        self.board, self._port = pty.openpty()
        self.console = Console.open(os.ttyname(self._port), log=log)
        self.settings = termios.tcgetattr(self.tty)

    def close(self) -> None:
        self.console.close()
        for number in (self.keyboard, self.tty, self._port, self.board):
            if number >= 0:
                os.close(number)

    def unplug(self) -> None:
        os.close(self.board)
        self.board = -1

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def interact(self, meanwhile: Callable[[], None]) -> None:
        """Sit down; somebody does something as soon as the terminal is raw."""
        failed: list[BaseException] = []

        def act() -> None:
            try:
                # The board's first words reach the screen when keys go to the board.
                os.write(self.board, b"welcome\r\n")
                self.screen_shows(b"welcome\r\n")
                meanwhile()
            except BaseException as error:
                failed.append(error)
                self.type(terminal.EXIT_KEY)

        helper = threading.Thread(target=act, daemon=True)
        helper.start()
        try:
            terminal.interact(self.console, "a desk", stdin=self.tty, stdout=self.tty)
        finally:
            helper.join(10)
            assert not failed, failed

    def screen_shows(self, text: bytes) -> None:
        read_all(self.keyboard, text)

    def board_gets(self, text: bytes) -> None:
        read_all(self.board, text)

    @property
    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.tty) == self.settings


def read_all(number: int, text: bytes) -> None:
    got = b""
    while len(got) < len(text):
        got += os.read(number, len(text) - len(got))
    assert got == text


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "log")
    yield made
    made.close()


def test_every_key_but_one_goes_to_the_board(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = bytes(set(range(256)) - {terminal.EXIT_KEY[0]})

    def meanwhile() -> None:
        assert not desk.is_as_before
        desk.type(keys)
        desk.board_gets(keys)
        os.write(desk.board, b"answer \xff\x00\x1b[6n")
        desk.screen_shows(b"answer \xff\x00\x1b[6n")
        desk.type(b"last" + terminal.EXIT_KEY + b"never")
        desk.board_gets(b"last")

    desk.interact(meanwhile)
    assert desk.is_as_before
    assert (tmp_path / "log").read_bytes() == b"welcome\r\nanswer \xff\x00\x1b[6n"
    said = capsys.readouterr().err
    assert "connected to a desk; ctrl-] leaves, every other key goes to the board" in said
    assert "disconnected" in said


def test_a_line_that_is_gone_leaves_the_terminal_in_order(desk: Desk) -> None:
    with pytest.raises(UnreachableError, match="is gone"):
        desk.interact(desk.unplug)
    assert desk.is_as_before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_in_order(desk: Desk, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        desk.interact(lambda: os.kill(os.getpid(), number))
    assert ended.value.code == 128 + number
    assert desk.is_as_before
    assert signal.getsignal(number) == before


def test_a_pipe_is_typed_and_the_answer_awaited(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "IDLE_S", 0.2)
    source, feed = os.pipe()
    answers, screen = os.pipe()
    os.write(feed, b"uname -a\nexit\n")
    os.close(feed)

    def board_answers() -> None:
        desk.board_gets(b"uname -a\rexit\r")
        os.write(desk.board, b"Linux\r\n")

    helper = threading.Thread(target=board_answers, daemon=True)
    helper.start()
    terminal.interact(desk.console, "a desk", stdin=source, stdout=screen)
    helper.join(10)
    os.close(screen)
    assert os.read(answers, 100) == b"Linux\r\n"
    assert "ctrl-]" not in capsys.readouterr().err
    os.close(answers)
    os.close(source)


# --- which port ---------------------------------------------------------------------------------


def test_what_is_given_comes_before_what_lab_toml_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab.toml"
    monkeypatch.setenv("EDGE_LAB", str(lab))
    lab.write_text('[boards.rpi4]\nserial = "/dev/ttyUSB3"\n', encoding="utf-8")
    target = board.load("rpi4")
    assert terminal.port_of(target) == "/dev/ttyUSB3"
    assert terminal.port_of(target, "/dev/ttyACM0") == "/dev/ttyACM0"


@pytest.mark.parametrize("value", ['""', "7"])
def test_lab_toml_names_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    lab = tmp_path / "lab.toml"
    monkeypatch.setenv("EDGE_LAB", str(lab))
    lab.write_text(f"[boards.rpi4]\nserial = {value}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"boards\.rpi4\.serial' must be"):
        board.load("rpi4")


def test_an_emulated_board_has_the_line_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    target = board.load("qemu-virt")
    found = SimpleNamespace(console_url="socket://127.0.0.1:4000")
    monkeypatch.setattr(machine, "running", {"qemu-virt": found}.get)
    assert terminal.port_of(target) == "socket://127.0.0.1:4000"
    other = dataclasses.replace(target, name="other")
    with pytest.raises(UsageError, match=r"machine other is not running: .*invoke qemu.up"):
        terminal.port_of(other)


def test_a_board_without_a_port_is_told_the_remedy() -> None:
    says = r"give --serial PORT .*, or write serial = .PORT. below \[boards.rpi4\]"
    with pytest.raises(UsageError, match=says):
        terminal.port_of(board.load("rpi4"))
    for name in ("localhost", "qemu-aarch64"):
        with pytest.raises(UsageError, match="has no serial line"):
            terminal.port_of(board.load(name))
