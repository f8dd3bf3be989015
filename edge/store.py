"""Store: the board's keeper of releases, spoken to as ``docs/store-protocol.md`` says."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, NamedTuple
from urllib.parse import quote, unquote

from edge import abi
from edge.errors import BoardError, EdgeError, HostError
from edge.layout import DeviceLayout
from edge.transport import Process, Transport

_VERSION = 1
_CHUNK = 1 << 18
_BATCH = 512
_MAX_OWNER = 200
_REPLY_S = 30.0
# Reading a release's files back takes a slow card minutes.
_VERIFY_S = 600.0
# Slower than any card: hashing, writing out and syncing what was sent.
_SLOWEST_BYTES_PER_S = 500_000
_STALL_S = 60.0

_ID = re.compile(r"[0-9a-f]{16,64}")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


class _Reply(NamedTuple):
    """One reply line: ``code`` 0 and its words, or an ``edge_status`` and a message."""

    code: int
    text: str


class Store:
    """One connection, and the store's lock as long as it lives. Made by :func:`open`.

    Every call is one request and its reply, and may come from any thread.

    :ivar free_bytes: free space under the device root when the connection was made.
    """

    def __init__(self, process: Process, where: str, idle_timeout_s: int = 30) -> None:
        """Read the greeting.

        :raises BoardError: another process holds the lock, or this is no store that we understand.
        """
        self._process = process
        self._where = where
        self._beat_s = idle_timeout_s / 3
        self._turn = threading.RLock()
        # True from a request's first byte to its reply's last: left so, what comes next is unknown.
        self._in_doubt = True
        words = self._accepted(self._receive(_REPLY_S))
        match words:
            case ["edge-store", version, abi_version, free, current] if _NUMBER.fullmatch(
                free
            ) and _is_release(current):
                ours = (str(_VERSION), str(abi.constant("EDGE_ABI_VERSION")))
                if (version, abi_version) != ours:
                    raise BoardError(
                        f"the runner on {where} speaks store protocol {_shown(version)}, ABI "
                        f"{_shown(abi_version)}; this edge speaks {ours[0]}, ABI {ours[1]}: "
                        "deploy with this edge to replace it"
                    )
                self.free_bytes = int(free)
            case _:
                raise self._nonsense(*words)

    def have(self, blobs: Iterable[tuple[str, int]]) -> dict[str, int | None]:
        """Bytes of each ``(sha256, size)`` that are on the board already.

        All of them: nothing to put. Fewer: the offset to resume at. None: nothing there.
        """
        sizes = dict(blobs)
        wanted = list(sizes)
        there: dict[str, int | None] = {}
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            lines = "".join(f"{sha} {sizes[sha]}\n" for sha in batch)
            words = self._ask(f"have {len(batch)}\n{lines}".encode())
            if len(words) != len(batch):
                raise self._nonsense(*words)
            for sha, word in zip(batch, words, strict=True):
                there[sha] = self._there(word, sizes[sha])
        return there

    def put(
        self,
        path: Path,
        sha256: str,
        size: int,
        *,
        executable: bool = False,
        offset: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """Send a file's content from ``offset`` on; the board verifies the whole.

        A part on the board that turns out damaged is sent again from its beginning.

        :param progress: called with the number of bytes of each piece that was sent.
        :return: False if the board had it after all.
        :raises HostError: the file can't be read, or is shorter than ``size``.
        :raises BoardError: it did not arrive as it was sent, or does not fit on the board.
        """
        mode = "555" if executable else "444"
        reply_s = _STALL_S + size / _SLOWEST_BYTES_PER_S
        try:
            file = path.open("rb")
        except OSError as error:
            raise HostError(f"can't read {path}: {error.strerror}") from error

        def send(start: int) -> _Reply:
            request = f"put {sha256} {size} {start} {mode}\n".encode()
            return self._exchange(request, _content(file, start, size, progress), reply_s)

        with file:
            reply = send(offset)
            if offset and reply.code == abi.constant("EDGE_CORRUPT"):
                # A power cut may leave zeros where the board's file system promised content.
                reply = send(0)
        return self._either(self._accepted(reply), "stored", "have")

    def create_release(self, release_id: str, links: Mapping[str, str], manifest: bytes) -> bool:
        """Make a release of stored files: ``links`` is path in the release -> sha256.

        :return: False if it was there, with the same content.
        """
        lines = "".join(f"{place} {sha}\n" for place, sha in links.items()).encode()
        head = f"release {release_id} {len(links)} {len(manifest)}\n".encode()
        words = self._ask(head + lines + manifest, _VERIFY_S)
        return self._either(words, "created", "have")

    def switch(self, release_id: str) -> str | None:
        """Verify a release on the board and make it the live one; the id of the one before."""
        return self._release(self._ask(f"switch {release_id}\n".encode(), _VERIFY_S))

    def current(self) -> str | None:
        """The live release's id."""
        return self._release(self._ask(b"current\n"))

    def append_log(self, text: str) -> None:
        """Append whole lines to ``deployments.log``."""
        line = text.encode() if text.endswith("\n") else text.encode() + b"\n"
        self._expect(self._ask(b"log %d\n" % len(line) + line), [])

    def drop(self, release_id: str) -> None:
        """Remove a release that is not live, and every stored file that no release links."""
        self._expect(self._ask(f"drop {release_id}\n".encode(), _VERIFY_S), [])

    def sweep(self) -> None:
        """Remove every stored file that no release links, half-sent ones too."""
        self._expect(self._ask(b"sweep\n", _VERIFY_S), [])

    def ping(self, timeout_s: float = _REPLY_S) -> None:
        self._expect(self._ask(b"ping\n", timeout_s), ["pong"])

    def quit(self) -> int:
        """Let go of the lock and end the connection; the store's exit code."""
        self._expect(self._ask(b"quit\n"), ["bye"])
        self._in_doubt = True
        return self._process.close()

    @contextlib.contextmanager
    def heartbeat(self, on_lost: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keep the lock while the block does something else.

        A connection that is lost meanwhile shows at the next call.

        :param on_lost: called once, in a thread of its own, when the store no longer answers: to
            end what else waits for this board.
        """
        over = threading.Event()

        def beat() -> None:
            try:
                while not over.wait(self._beat_s):
                    self.ping(self._beat_s)
            except EdgeError:
                on_lost()

        thread = threading.Thread(target=beat, name="store-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def close(self) -> None:
        """Let go of the lock, on a lost connection as well as can be."""
        if not self._in_doubt:
            with contextlib.suppress(EdgeError):
                self.quit()
        self._in_doubt = True
        self._process.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: bytes, timeout_s: float = _REPLY_S) -> list[str]:
        return self._accepted(self._exchange(request, (), timeout_s))

    def _exchange(self, request: bytes, content: Iterable[bytes], timeout_s: float) -> _Reply:
        with self._turn:
            if self._in_doubt:
                raise BoardError(
                    f"the connection to the store on {self._where} is lost: run the command again"
                )
            self._in_doubt = True
            try:
                self._process.send(request, _STALL_S)
                for piece in content:
                    self._process.send(piece, _STALL_S)
            except BoardError:
                self._last_words()
                raise
            return self._receive(timeout_s)

    def _receive(self, timeout_s: float) -> _Reply:
        reply = _parsed(self._process.receive_line(timeout_s))
        if isinstance(reply, str):
            raise self._nonsense(reply)
        # Told that it was interrupted, we know that it ends by itself.
        self._in_doubt = reply.code == abi.constant("EDGE_INTERRUPTED")
        return reply

    def _accepted(self, reply: _Reply) -> list[str]:
        """The words of an ``ok``; an ``err`` is raised."""
        if reply.code == 0:
            return reply.text.split(" ") if reply.text else []
        message = _shown(reply.text) or f"status {reply.code}"
        if reply.code == abi.constant("EDGE_BUSY"):
            message = f"{_shown(unquote(reply.text))}: wait until it is done, or stop it"
        abi.check(reply.code, f"the store on {self._where}: {message}")
        raise AssertionError("check() returned")

    def _last_words(self) -> None:
        """Raise what the store said before it ended, if it said why."""
        try:
            reply = _parsed(self._process.receive_line(1.0))
        except BoardError:
            return
        if isinstance(reply, _Reply) and reply.code:
            self._accepted(reply)

    def _there(self, word: str, size: int) -> int | None:
        if word == "have":
            return size
        if word == "none":
            return None
        name, _, number = word.partition(":")
        if name != "part" or not _NUMBER.fullmatch(number) or not 0 < int(number) <= size:
            raise self._nonsense(word)
        # A part that is complete still has to be put, to be verified and named: one byte of it is
        # sent again, so that only what is stored has all its bytes.
        return min(int(number), size - 1)

    def _release(self, words: list[str]) -> str | None:
        if len(words) != 1 or not _is_release(words[0]):
            raise self._nonsense(*words)
        return None if words[0] == "-" else words[0]

    def _either(self, words: list[str], yes: str, no: str) -> bool:
        if words not in ([yes], [no]):
            raise self._nonsense(*words)
        return words == [yes]

    def _expect(self, words: list[str], expected: list[str]) -> None:
        if words != expected:
            raise self._nonsense(*words)

    def _nonsense(self, *words: str) -> BoardError:
        self._in_doubt = True
        return BoardError(
            f"the store on {self._where} answered '{_shown(' '.join(words))}', which is not in its "
            "protocol: deploy again to replace the runner; if it stays, the login shell prints"
            " something of its own"
        )


def open(
    transport: Transport,
    runner: PurePosixPath,
    root: PurePosixPath,
    *,
    owner: str,
    idle_timeout_s: int = 30,
) -> Store:
    """Start ``runner`` on the board as the store of ``root``, and hold its lock.

    :param runner: an ``edge-run`` on the board; see :func:`install_runner`.
    :param owner: who holds the lock, for whoever else wants it.
    :raises BoardError: it does not start, another process holds the lock, or it is another version.
    """
    flags = {"--root": str(root), "--owner": _owner(owner), "--idle-timeout": str(idle_timeout_s)}
    process = transport.start([runner, "store", *(word for flag in flags.items() for word in flag)])
    try:
        return Store(process, transport.name, idle_timeout_s)
    except BaseException:
        process.close()
        raise


def install_runner(
    transport: Transport,
    runner: Path,
    sha256: str,
    root: PurePosixPath,
    *,
    timeout_s: float = 300.0,
) -> bool:
    """First contact: see that the board has this runner as ``store/<sha256>``.

    :return: True if it had to be sent.
    :raises BoardError: it can't be written or started there, or arrived damaged.
    """
    device = DeviceLayout(root)
    target = device.blob(sha256)
    # One question and the folder in one round trip; 10 is our own, no shell's.
    script = '[ -x "$1" ] && exit 0; umask 022; mkdir -p "$2" && exit 10'
    found = transport.run(["sh", "-c", script, "sh", target, device.store])
    if found.ok:
        return False
    if found.exit_code != 10:
        raise BoardError(
            f"can't create {device.store} on {transport.name}: "
            f"{_shown(found.error_text) or f'exit code {found.exit_code}'}"
        )
    # A name of its own: two hosts at once must not write into one file.
    part = device.store / f".{sha256}.{os.urandom(4).hex()}.part"
    try:
        transport.put(runner, part, timeout_s=timeout_s)
        made = transport.run(["chmod", "755", part])
        if not made.ok:
            raise BoardError(
                f"can't make {part} executable on {transport.name}: {_shown(made.error_text)}"
            )
        # The program itself, not a shell that starts it: a transport may have to emulate it.
        outcome = transport.run(
            [part, "store", "--root", root, "--owner", "first-contact", "--install-self", sha256],
            stdin=b"quit\n",
            timeout_s=timeout_s,
        )
        # Installed it is also when someone else holds the lock: that comes after.
        if outcome.exit_code not in (0, abi.constant("EDGE_BUSY")):
            where = f"the runner on {transport.name}"
            reply = _parsed(outcome.stdout.partition(b"\n")[0])
            if isinstance(reply, _Reply):
                abi.check(reply.code, f"{where}: {_shown(reply.text)}")
            said = _shown(outcome.error_text) or f"exit code {outcome.exit_code}"
            raise BoardError(
                f"{where} does not start ({said}): is {root} on a disk mounted noexec, "
                "or the board of another architecture?"
            )
    except BaseException:
        # Best effort, and a lost link has nobody to ask: the store clears up old ones.
        with contextlib.suppress(EdgeError):
            transport.run(["rm", "-f", part])
        raise
    return True


def _content(
    file: BinaryIO, start: int, size: int, progress: Callable[[int], None] | None
) -> Iterator[bytes]:
    """``file`` from ``start`` to ``size``, no byte more or less than was announced."""
    file.seek(start)
    while start < size:
        piece = file.read(min(_CHUNK, size - start))
        if not piece:
            raise HostError(f"{file.name} became shorter while it was sent: run the command again")
        start += len(piece)
        yield piece
        if progress is not None:
            progress(len(piece))


def _parsed(line: bytes) -> _Reply | str:
    """A reply, or the line's text if it is none."""
    text = line.decode("ascii", "replace")
    kind, _, rest = text.partition(" ")
    if not line.isascii():
        return text
    if kind == "ok":
        return _Reply(0, rest)
    code, _, message = rest.partition(" ")
    if kind == "err" and _NUMBER.fullmatch(code) and 0 < int(code) < 32:
        return _Reply(int(code), message)
    return text


def _is_release(word: str) -> bool:
    return word == "-" or _ID.fullmatch(word) is not None


def _owner(owner: str) -> str:
    """``owner`` as one word, percent-encoded."""
    return quote(owner, safe="@:+")[:_MAX_OWNER] or "unknown"


def _shown(text: str) -> str:
    """A board's text for a message: one line, no control characters, not long."""
    return "".join(c if c.isprintable() else "?" for c in text[:1000])
