"""Fakes for tests, ours and yours: a board in memory, scripted beforehand.

    board = FakeTransport()
    board.on(["uname", "-m"], stdout=b"aarch64\\n")
    board.on_start(["edge-run", "store"], Expect(b"hello\\n"), Reply(b"ok"), exit_code=0)

    line = FakeSerial()
    line.on(["uname", "-m"], stdout=b"aarch64\\n")
    console = Console(line, "fake", clock=line.clock)

A command that no rule matches is an ``AssertionError`` that names it: a fake that invents answers
hides mistakes. The newest rule that matches answers, so that a test can override a fixture.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from edge.console import Line
from edge.errors import BoardError, UnreachableError
from edge.transport import Outcome, Process, Transport
from edge.transport.command import MAX_OUTPUT_BYTES, program, words
from edge.transport.hostfile import appearing, readable

Answer = TypeVar("Answer")
Match = Sequence[str | PurePosixPath] | Callable[[tuple[str, ...]], bool]
"""The words that a command begins with, or a question about all of them."""


@dataclass(frozen=True)
class Call:
    """What was asked of the board: ``run``, ``start``, ``put`` or ``get``."""

    verb: str
    argv: tuple[str, ...]
    """For ``put`` and ``get`` the path on the board."""
    stdin: bytes = b""
    timeout_s: float = 0.0


@dataclass(frozen=True)
class Expect:
    """The program is sent exactly these bytes, in whatever pieces."""

    data: bytes


@dataclass(frozen=True)
class Reply:
    """The program writes a line."""

    line: bytes


@dataclass(frozen=True)
class Fail:
    """Instead of a line, the caller meets this error; a string is a ``BoardError``."""

    error: Exception | str = "the connection was lost"


Step = Expect | Reply | Fail


class FakeProcess:
    """A program that follows a script of :class:`Expect`, :class:`Reply` and :class:`Fail`."""

    def __init__(self, *script: Step, exit_code: int = 0, stderr: bytes = b"") -> None:
        self._script = list(script)
        self._exit_code = exit_code
        self._stderr = stderr
        self._unmatched = b""
        self.sent = b""
        self.closed = False

    def send(self, data: bytes, timeout_s: float) -> None:
        self._must_be_open()
        self.sent += data
        self._unmatched += data
        self._match()

    def receive_line(self, timeout_s: float, limit_bytes: int = 65536) -> bytes:
        self._must_be_open()
        self._match()
        if not self._script:
            said = self._stderr.decode("utf-8", "replace").strip()
            raise BoardError(f"the program ended without an answer{f': {said}' if said else ''}")
        step = self._script[0]
        assert not isinstance(step, Expect), (
            f"a line was awaited before the program was sent {step.data!r}; "
            f"it got {self._unmatched!r}"
        )
        self._script.pop(0)
        if isinstance(step, Fail):
            raise BoardError(step.error) if isinstance(step.error, str) else step.error
        if len(step.line) > limit_bytes:
            raise BoardError(f"the program wrote a line longer than {limit_bytes} bytes")
        return step.line

    def close(self, timeout_s: float = 5.0) -> int:
        self.closed = True
        return self._exit_code

    def assert_done(self) -> None:
        """The whole script was played, and nothing was sent besides."""
        self._match()
        assert not self._script, f"never came to {self._script}"
        assert not self._unmatched, f"nobody expected {self._unmatched!r}"

    def _match(self) -> None:
        while self._script and isinstance(step := self._script[0], Expect):
            got = self._unmatched[: len(step.data)]
            assert step.data.startswith(got), f"expected {step.data!r}, was sent {got!r}"
            if len(got) < len(step.data):
                return
            self._unmatched = self._unmatched[len(step.data) :]
            self._script.pop(0)

    def _must_be_open(self) -> None:
        if self.closed:
            raise BoardError("the program is closed")


class FakeTransport(Transport):
    """A board in memory: ``calls`` is what was asked of it, ``files`` is what was put there."""

    def __init__(self, name: str = "pi@fake") -> None:
        self._name = name
        self._runs: list[tuple[Match, Callable[[Call], Outcome]]] = []
        self._starts: list[tuple[Match, Callable[[], Process]]] = []
        self._lost: Exception | None = None
        self.calls: list[Call] = []
        self.files: dict[PurePosixPath, bytes] = {}
        self.processes: list[Process] = []
        self.closed = False

    # --- the script

    def on(
        self,
        match: Match,
        *,
        stdout: bytes = b"",
        stderr: bytes = b"",
        exit_code: int = 0,
        raises: BaseException | None = None,
    ) -> FakeTransport:
        """What ``run`` answers to the commands that match."""

        def answer(call: Call) -> Outcome:
            if raises:
                raise raises
            return Outcome(call.argv, exit_code, stdout, stderr)

        return self.answer(match, answer)

    def answer(self, match: Match, answer: Callable[[Call], Outcome]) -> FakeTransport:
        """As :meth:`on`, worked out from the call: its words, its standard input."""
        self._runs.append((match, answer))
        return self

    def on_start(
        self, match: Match, *script: Step, exit_code: int = 0, stderr: bytes = b""
    ) -> FakeTransport:
        """What a started program does; each start plays the script from its beginning."""
        return self.answer_start(
            match, lambda: FakeProcess(*script, exit_code=exit_code, stderr=stderr)
        )

    def answer_start(self, match: Match, make: Callable[[], Process]) -> FakeTransport:
        """As :meth:`on_start`, with a process of your own."""
        self._starts.append((match, make))
        return self

    def cut(self, error: Exception | None = None) -> None:
        """From now on the board is gone."""
        self._lost = error or UnreachableError(f"the connection to {self._name} is gone")

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """The words of every ``run`` and ``start``, in order."""
        return [call.argv for call in self.calls if call.verb in ("run", "start")]

    # --- the transport

    @property
    def name(self) -> str:
        return self._name

    def run(
        self,
        argv: Sequence[str | PurePosixPath],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        limit_bytes: int = MAX_OUTPUT_BYTES,
    ) -> Outcome:
        call = self._note(Call("run", words(argv), stdin, timeout_s))
        outcome = _find(self._runs, call)(call)
        if len(outcome.stdout) > limit_bytes:
            raise BoardError(
                f"'{program(call.argv)}' on {self._name} wrote more than {limit_bytes >> 20} MiB"
            )
        return outcome

    def start(self, argv: Sequence[str | PurePosixPath]) -> Process:
        call = self._note(Call("start", words(argv)))
        process = _find(self._starts, call)()
        self.processes.append(process)
        return process

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float = 60.0) -> None:
        self._note(Call("put", (str(target),), timeout_s=timeout_s))
        self.files[target] = readable(source).read_bytes()

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float = 60.0) -> None:
        self._note(Call("get", (str(source),), timeout_s=timeout_s))
        if source not in self.files:
            raise BoardError(f"can't read {source} on {self._name}: no such file")
        with appearing(target) as writer:
            writer.write(self.files[source])

    def close(self) -> None:
        self.closed = True
        for process in self.processes:
            process.close(0)

    def _note(self, call: Call) -> Call:
        self.calls.append(call)
        assert not self.closed, f"{call.verb} {call.argv} on a closed transport"
        if self._lost:
            raise self._lost
        return call


class FakeSerial:
    """A serial line with a board at its other end: login, shell, echo, kernel messages, reboots.

    Time is its own: ``clock`` moves when somebody reads and nothing has come, so nobody waits.
    What the board sends and what reaches it goes through ``outgoing`` and ``incoming``, which may
    change it as noise would; ``say`` and ``later`` let the board talk on its own.
    """

    def __init__(
        self,
        *,
        user: str = "root",
        password: str | None = "edge",
        prompt: str = "# ",
        motd: str = "",
        logged_in: bool = False,
        echo: bool = True,
        columns: int = 0,
        split: Sequence[int] = (),
    ) -> None:
        """
        :param password: None if none is asked for.
        :param logged_in: somebody has left a shell there.
        :param columns: where the shell's line editor wraps what it echoes; 0: nowhere.
        :param split: sizes of what single reads get, over and over; empty: all that is there.
        """
        self.timeout: float | None = 0.0
        self.sent = b""
        self.commands: list[tuple[str, ...]] = []
        self.closed = False
        self.outgoing: Callable[[bytes], bytes] = bytes
        self.incoming: Callable[[bytes], bytes] = bytes
        self.silent = False
        """The board hangs: it reads nothing and says nothing."""
        self.gone = False
        """The adapter is unplugged."""
        self._user = user
        self._password = password
        self._prompt = prompt
        self._motd = motd
        self._echo = echo
        self._columns = columns
        self._split = list(split) or [1 << 30]
        self._reads = 0
        self._runs: list[tuple[Match, Callable[[Call], Outcome]]] = []
        self._seconds: dict[int, float] = {}
        self._now = 0.0
        self._events: list[tuple[float, Callable[[], None]]] = []
        self._ready = bytearray()
        self._typed = ""
        self._name = ""
        self._waiting: list[str] = []
        self._listener: _Listener | None = None
        self._on_line = self._shell if logged_in else self._login
        self._talk(self._prompt if logged_in else "")

    # --- the script

    def on(
        self,
        match: Match,
        *,
        stdout: bytes = b"",
        stderr: bytes = b"",
        exit_code: int = 0,
        takes_s: float = 0.0,
    ) -> FakeSerial:
        """What ``Console.run`` gets from the commands that match.

        :param takes_s: ``math.inf``: until ctrl-C.
        """

        def answer(call: Call) -> Outcome:
            return Outcome(call.argv, exit_code, stdout, stderr)

        self._seconds[len(self._runs)] = takes_s
        self._runs.append((match, answer))
        return self

    def later(self, after_s: float, happens: Callable[[], None]) -> FakeSerial:
        """Something happens at the board, ``after_s`` from now in the line's own time."""
        self._events.append((self._now + after_s, happens))
        self._events.sort(key=lambda event: event[0])
        return self

    def say(self, text: str) -> None:
        """The board sends text on its own; the kernel ends its lines with CR LF."""
        self._send(text.encode())

    def boot(self, messages: str = "[    0.000000] Booting Linux on physical CPU 0x0\r\n") -> None:
        """The board restarts: whatever ran is gone."""
        self._events.clear()
        self._listener = None
        self._typed = ""
        self._on_line = self._login
        self.say(messages)
        self._login("")

    # --- the port

    def clock(self) -> float:
        return self._now

    def read(self, size: int = 1, /) -> bytes:
        self._must_be_there()
        if not self._ready:
            self._wait(self.timeout or 0.0)
        size = min(size, self._split[self._reads % len(self._split)])
        self._reads += 1
        data, self._ready = bytes(self._ready[:size]), self._ready[size:]
        return data

    def write(self, data: bytes, /) -> int:
        self._must_be_there()
        self.sent += data
        if not self.silent:
            for character in self.incoming(data).decode("latin-1"):
                self._key(character)
        return len(data)

    def close(self) -> None:
        self.closed = True

    def _must_be_there(self) -> None:
        assert not self.closed, "the console is closed"
        if self.gone:
            raise OSError(5, "Input/output error")

    def _wait(self, seconds: float) -> None:
        until = self._now + seconds
        while not self._ready and self._events and self._events[0][0] <= until:
            self._now, happens = self._events.pop(0)
            happens()
        if not self._ready:
            self._now = until
        self._must_be_there()

    def _send(self, data: bytes) -> None:
        if not self.silent:
            self._ready += self.outgoing(data)

    def _talk(self, text: str) -> None:
        """As a program writes to the terminal."""
        self._send(text.replace("\n", "\r\n").encode())

    # --- the board

    def _key(self, key: str) -> None:
        if key == "\x03":
            self._interrupt()
        elif key == "\x15":
            self._typed = ""
        elif key in "\r\n":
            line, self._typed = self._typed, ""
            if self._listener is None and self._on_line != self._check:
                self._talk("\n")
            self._on_line(line)
        else:
            self._typed += key
            if self._echo and self._listener is None and self._on_line != self._check:
                wraps = self._columns and len(self._typed) % self._columns == 0
                self._send(key.encode("latin-1") + (b" \r\n" if wraps else b""))

    def _interrupt(self) -> None:
        self._typed = ""
        if self._on_line in (self._shell, self._busy, self._listen):
            self._events = [e for e in self._events if getattr(e[1], "__name__", "") != "finish"]
            self._talk("^C\n")
            self._back()

    def _back(self) -> None:
        self._listener = None
        self._on_line = self._shell
        self._talk(self._prompt)

    def _login(self, line: str) -> None:
        if not line:
            self._talk("\nfake login: ")
        elif self._password is None and line == self._user:
            self._enter()
        else:
            self._name = line
            self._on_line = self._check
            self._talk("Password: ")

    def _check(self, line: str) -> None:
        self._talk("\n")
        if (self._name, line) == (self._user, self._password):
            self._enter()
        else:
            self._on_line = self._login
            self._talk("\nLogin incorrect\nfake login: ")

    def _enter(self) -> None:
        self._talk(self._motd)
        self._back()

    def _shell(self, line: str) -> None:
        if found := re.search(r'"#" "(\w{8}):\$\(id', line):
            self._talk(f"\n#{found.group(1)}:{self._user}.\n")
        elif found := re.search(r'"#" "(\w{8}):\$\*"', line):
            self._listener = _Listener(found.group(1), self._talk)
            self._on_line = self._listen
            return
        elif line.strip() == "exit":
            self._on_line = self._login
            self._login("")
            return
        elif line.strip() not in ("", ":"):
            self._talk(f"{line.split()[0]}: not found\n")
        self._talk(self._prompt)

    def _busy(self, line: str) -> None:
        """A program runs and does not read: what is typed waits for the next reader."""
        self._waiting.append(line)

    def _listen(self, line: str) -> None:
        assert self._listener is not None
        command = self._listener.line(line)
        if self._listener.ended:
            self._back()
        elif command is not None:
            self._perform(command)

    def _perform(self, argv: tuple[str, ...]) -> None:
        self.commands.append(argv)
        call = Call("run", argv)
        outcome = _find(self._runs, call)(call)
        number = max(i for i, (match, _) in enumerate(self._runs) if _matches(match, argv))
        listener = self._listener
        assert listener is not None
        self._waiting = []

        def finish() -> None:
            self._on_line = self._listen
            listener.finished(outcome)
            for line in self._waiting:
                self._on_line(line)

        if takes_s := self._seconds[number]:
            self._on_line = self._busy
            if takes_s != math.inf:
                self.later(takes_s, finish)
        else:
            finish()


class _Listener:
    """The shell that ``edge.console`` starts at the prompt, as its script has it."""

    def __init__(self, nonce: str, talk: Callable[[str], None]) -> None:
        self._nonce = nonce
        self._talk = talk
        self._script = ""
        self._pieces = 1
        self._state = "typing"
        self._lines: list[str] = []
        self.ended = False
        self._mark("go")

    def line(self, text: str) -> tuple[str, ...] | None:
        """Take a line; returns the command that is to be run now."""
        if self._state == "typing" and text:
            if text.startswith(f"{self._pieces}."):
                self._script += text.partition(".")[2]
                self._pieces += 1
            self._mark(f"at {self._pieces} {len(self._script)}")
        elif self._state == "done":
            self._fetched(text)
        elif text == "n":
            self.ended = True
        elif self._state == "asking" and text == "y":
            return self._command()
        else:
            self._state = "asking"
            self._mark(f"sum {_sum(self._script)}")
        return None

    def finished(self, outcome: Outcome) -> None:
        self._state = "done"
        stdout = base64.encodebytes(outcome.stdout + b"\n%d" % outcome.exit_code)
        stderr = base64.encodebytes(outcome.stderr)
        self._lines = [*stdout.decode().splitlines(), "-", *stderr.decode().splitlines()]
        self._fetched(":")
        self._fetched("all")

    def _fetched(self, asked: str) -> None:
        if asked == "0":
            self._mark("bye")
            self.ended = True
        elif asked == "all" or re.search("[0-9]", asked):
            for number, line in enumerate(self._lines, start=1):
                if asked == "all" or f" {number} " in asked:
                    self._talk(f"#{self._nonce}={number}:{line}.\n")
            self._mark("end")
        else:
            self._mark(f"out {len(self._lines)} base64 {_sum(chr(10).join(self._lines))}")

    def _command(self) -> tuple[str, ...]:
        found = re.search(r"\{ \( (.*) \)</dev/null 3>&-;", self._script)
        assert found, f"no command in {self._script!r}"
        text = found.group(1)
        if octal := re.fullmatch(r"""sh -c 'eval "\$\(printf "(.*)"\)"'""", text):
            spelled = re.sub(
                rb"\\([0-7]{3})", lambda m: bytes([int(m.group(1), 8)]), octal.group(1).encode()
            )
            return tuple(shlex.split(spelled.decode()))
        return tuple(shlex.split(text.removeprefix("env ")))

    def _mark(self, text: str) -> None:
        self._talk(f"\n#{self._nonce}:{text}.\n")


def _sum(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()}  -"


def _matches(match: Match, argv: tuple[str, ...]) -> bool:
    if callable(match):
        return match(argv)
    prefix = words(match)
    return argv[: len(prefix)] == prefix


def _find(rules: list[tuple[Match, Answer]], call: Call) -> Answer:
    for match, answer in reversed(rules):
        if _matches(match, call.argv):
            return answer
    known = [match if callable(match) else list(match) for match, _ in rules]
    raise AssertionError(
        f"the fake board knows no answer to {call.verb} {call.argv}; it has {known}"
    )


_transport: type[Transport] = FakeTransport
_process: type[Process] = FakeProcess
_line: type[Line] = FakeSerial
