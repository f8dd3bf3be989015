"""Fakes for tests, ours and yours: a board in memory, scripted beforehand.

    board = FakeTransport()
    board.on(["uname", "-m"], stdout=b"aarch64\\n")
    board.on_start(["edge-run", "store"], Expect(b"hello\\n"), Reply(b"ok"), exit_code=0)

A command that no rule matches is an ``AssertionError`` that names it: a fake that invents answers
hides mistakes. The newest rule that matches answers, so that a test can override a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from edge.errors import BoardError, UnreachableError
from edge.transport import Outcome, Process, Transport
from edge.transport.command import words
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
        self, argv: Sequence[str | PurePosixPath], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> Outcome:
        call = self._note(Call("run", words(argv), stdin, timeout_s))
        return _find(self._runs, call)(call)

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
