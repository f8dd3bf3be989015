"""This machine as a board: the same promises as over SSH, without a link.

Programs start in the home directory, as they do after an SSH login, so that relative paths mean the
same everywhere.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType, TracebackType
from typing import IO

from edge.errors import BoardError
from edge.transport import Outcome, Process, Transport
from edge.transport.command import (
    MAX_FILE_BYTES,
    MAX_OUTPUT_BYTES,
    STDERR_TAIL_BYTES,
    program,
    words,
)
from edge.transport.hostfile import appearing, readable

_CHUNK = 1 << 16
_NO_ENV: Mapping[str, str] = MappingProxyType({})


class LocalTransport(Transport):
    """Run programs and copy files on this machine; ``env`` is added to the environment."""

    def __init__(self, name: str = "localhost", env: Mapping[str, str] = _NO_ENV) -> None:
        self._name = name
        self._env = dict(env)
        self._open: list[LocalProcess] = []

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
        command = words(argv)
        try:
            child = _Child(command, self._env)
        except OSError as error:
            # An answer, not an accident: a login shell gives the same two codes.
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return Outcome(command, code, b"", f"{command[0]}: {error.strerror}\n".encode())
        stdout, stderr = bytearray(), bytearray()
        with child:
            child.feed(stdin)
            child.end_input()
            deadline = time.monotonic() + timeout_s
            while not child.step(deadline, stdout.extend, stderr.extend):
                if time.monotonic() >= deadline:
                    raise BoardError(
                        f"'{program(command)}' on {self._name} did not end in {timeout_s:g} s: "
                        "it was killed"
                    )
                for stream, limit in ((stdout, limit_bytes), (stderr, MAX_OUTPUT_BYTES)):
                    if len(stream) > limit:
                        raise BoardError(
                            f"'{program(command)}' on {self._name} wrote more than "
                            f"{limit >> 20} MiB: it was killed"
                        )
            return Outcome(command, child.exit_code(), bytes(stdout), bytes(stderr))

    def start(self, argv: Sequence[str | PurePosixPath]) -> Process:
        command = words(argv)
        try:
            process = LocalProcess(command, self._env, self._name)
        except OSError as error:
            raise BoardError(
                f"can't start '{command[0]}' on {self._name}: {error.strerror}"
            ) from error
        self._open = [other for other in self._open if not other.closed] + [process]
        return process

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float = 60.0) -> None:
        destination = _below_home(target)
        with readable(source).open("rb") as reader:
            try:
                with destination.open("wb") as writer:
                    _copy(reader, writer, timeout_s, f"copying {source.name} to {self._name}")
            except OSError as error:
                raise BoardError(
                    f"can't write {target} on {self._name}: {error.strerror}"
                ) from error

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float = 60.0) -> None:
        origin = _below_home(source)
        try:
            if not origin.is_file():
                raise BoardError(f"can't read {source} on {self._name}: no such file")
            reader = origin.open("rb")
        except OSError as error:
            raise BoardError(f"can't read {source} on {self._name}: {error.strerror}") from error
        with reader, appearing(target) as writer:
            _copy(reader, writer, timeout_s, f"copying {source} from {self._name}")

    def close(self) -> None:
        for process in self._open:
            process.close(timeout_s=0)
        self._open = []


class LocalProcess:
    """A running program here. Made by :meth:`LocalTransport.start`."""

    def __init__(self, command: tuple[str, ...], env: Mapping[str, str], where: str) -> None:
        self._label = f"'{program(command)}' on {where}"
        self._stdout, self._stderr = bytearray(), bytearray()
        self._exit_code: int | None = None
        self._child = _Child(command, env)

    @property
    def closed(self) -> bool:
        return self._exit_code is not None

    def send(self, data: bytes, timeout_s: float) -> None:
        self._must_be_open()
        self._child.feed(data)
        waiting, deadline = len(data), time.monotonic() + timeout_s
        # Standard output is read meanwhile: a program that answers while it is fed would otherwise
        # wait for us as we wait for it.
        while self._child.unsent:
            if self._step(deadline):
                break
            if self._child.unsent < waiting:
                waiting, deadline = self._child.unsent, time.monotonic() + timeout_s
            elif time.monotonic() >= deadline:
                raise BoardError(f"{self._label} took no input for {timeout_s:g} s{self._said()}")
        if self._child.unsent or self._child.input_broken:
            last_words = time.monotonic() + 0.2
            while time.monotonic() < last_words and not self._step(last_words):
                pass
            raise BoardError(f"{self._label} ended before it took its input{self._said()}")

    def receive_line(self, timeout_s: float, limit_bytes: int = 65536) -> bytes:
        self._must_be_open()
        deadline, searched = time.monotonic() + timeout_s, 0
        while (end := self._stdout.find(b"\n", searched)) < 0:
            searched = len(self._stdout)
            if searched > limit_bytes:
                break
            if self._step(deadline):
                if self._stdout.find(b"\n", searched) < 0:
                    raise BoardError(f"{self._label} ended without an answer{self._said()}")
            elif time.monotonic() >= deadline and b"\n" not in self._stdout:
                raise BoardError(f"{self._label} did not answer in {timeout_s:g} s{self._said()}")
        if end < 0 or end > limit_bytes:
            raise BoardError(
                f"{self._label} wrote a line longer than {limit_bytes} bytes{self._said()}"
            )
        line = bytes(self._stdout[:end])
        del self._stdout[: end + 1]
        return line

    def close(self, timeout_s: float = 5.0) -> int:
        if self._exit_code is not None:
            return self._exit_code
        deadline = time.monotonic() + timeout_s
        with self._child as child:
            child.end_input()
            while True:
                if child.step(deadline, _discard, self._keep_stderr):
                    self._exit_code = child.exit_code()
                    break
                if time.monotonic() >= deadline:
                    self._exit_code = -1
                    break
        return self._exit_code

    def _step(self, deadline: float) -> bool:
        if len(self._stdout) > MAX_OUTPUT_BYTES:
            raise BoardError(f"{self._label} wrote more than {MAX_OUTPUT_BYTES >> 20} MiB unread")
        return self._child.step(deadline, self._stdout.extend, self._keep_stderr)

    def _keep_stderr(self, data: bytes) -> None:
        self._stderr += data
        del self._stderr[:-STDERR_TAIL_BYTES]

    def _said(self) -> str:
        text = self._stderr.decode("utf-8", "replace").strip()
        return f": {text}" if text else ""

    def _must_be_open(self) -> None:
        if self._exit_code is not None:
            raise BoardError(f"{self._label} is closed")


def _spawn(command: tuple[str, ...], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program, so that an interrupt can't come between its start and our knowing of it."""
    with _interrupts_held() as held:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=home if (home := Path.home()).is_dir() else "/",
            env={**os.environ, **env},
            # A group of its own: what the program started dies with it, and a Ctrl-C meant for us
            # reaches it through our own cleaning up.
            start_new_session=True,
        )
    if held:
        _kill(process)
        raise KeyboardInterrupt
    return process


@contextlib.contextmanager
def _interrupts_held() -> Iterator[list[int]]:
    """Collects interrupts instead of raising them; only the main thread gets any."""
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield held
        return
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, before)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Child:
    """A child process, its own process group, and its three pipes, pumped without threads."""

    def __init__(self, command: tuple[str, ...], env: Mapping[str, str]) -> None:
        self._popen = _spawn(command, env)
        assert self._popen.stdin and self._popen.stdout and self._popen.stderr
        self._stdin: IO[bytes] = self._popen.stdin
        self._stdout: IO[bytes] = self._popen.stdout
        self._stderr: IO[bytes] = self._popen.stderr
        self._selector = selectors.DefaultSelector()
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        self._outgoing = memoryview(b"")
        self._input_ends = False
        self._ended = False
        self.input_broken = False

    @property
    def unsent(self) -> int:
        return len(self._outgoing)

    def feed(self, data: bytes) -> None:
        """Hand over input; :meth:`step` writes it."""
        if self._stdin.closed:
            self.input_broken = True
        elif data:
            self._outgoing = memoryview(bytes(self._outgoing) + data)
            if self._stdin not in self._selector.get_map():
                self._selector.register(self._stdin, selectors.EVENT_WRITE)

    def end_input(self) -> None:
        self._input_ends = True
        if not self._outgoing:
            self._close_input()

    def step(
        self, deadline: float, out: Callable[[bytes], object], err: Callable[[bytes], object]
    ) -> bool:
        """Move what can be moved before ``deadline``; true when the program has ended."""
        wait_s = max(0.0, deadline - time.monotonic())
        reading = {self._stdout, self._stderr} & {
            key.fileobj for key in self._selector.get_map().values()
        }
        if not reading:
            # Both outputs have ended; only the exit is missing, and input nobody may read.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout=min(wait_s, 0.05) if self._outgoing else wait_s)
            if self._popen.poll() is not None:
                self._ended = True
                return True
            wait_s = 0.0
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._stdin:
                self._write()
            elif data := os.read(key.fd, _CHUNK):
                (out if key.fileobj is self._stdout else err)(data)
            else:
                self._selector.unregister(key.fileobj)
        return False

    def exit_code(self) -> int:
        """The exit code, a fatal signal as shells give it: 128 and its number."""
        code = self._popen.wait()
        return 128 - code if code < 0 else code

    def __enter__(self) -> _Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            # Also when the program itself is gone: something it started still holds its output.
            _kill(self._popen)
        self._selector.close()
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()

    def _write(self) -> None:
        try:
            sent = os.write(self._stdin.fileno(), self._outgoing[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            # A program may end without reading all its input (``head``); its exit code tells.
            self.input_broken = True
            self._outgoing = self._outgoing[len(self._outgoing) :]
            self._close_input()
            return
        self._outgoing = self._outgoing[sent:]
        if not self._outgoing:
            self._selector.unregister(self._stdin)
            if self._input_ends:
                self._close_input()

    def _close_input(self) -> None:
        if not self._stdin.closed:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._stdin)
            self._stdin.close()


def _below_home(path: PurePosixPath) -> Path:
    return Path.home() / path


def _copy(reader: IO[bytes], writer: IO[bytes], timeout_s: float, doing: str) -> None:
    deadline, copied = time.monotonic() + timeout_s, 0
    while data := reader.read(1 << 20):
        writer.write(data)
        copied += len(data)
        if copied > MAX_FILE_BYTES:
            raise BoardError(f"{doing}: it is longer than {MAX_FILE_BYTES >> 20} MiB")
        now = time.monotonic()
        if now >= deadline:
            raise BoardError(f"{doing} made no progress for {timeout_s:g} s")
        deadline = now + timeout_s


def _discard(data: bytes) -> None:
    del data


_: type[Transport] = LocalTransport
