"""Store: the board's keeper of releases, spoken to as ``docs/store-protocol.md`` says."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import getpass
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote, unquote

from edge import abi, blocks
from edge.artifact import Artifact
from edge.errors import BoardError, EdgeError, HostError
from edge.layout import DeviceLayout
from edge.transport import Process, Transport
from edge.transport.hostfile import readable

Progress = Callable[[str], None]

_VERSION = 2
_BATCH = 512
_AHEAD = 128
"""Files sent before the first one's reply is awaited: their replies fit into any pipe."""
_MAX_OWNER = 200
_IDLE_S = 30
_REPLY_S = 30.0
_RETRY_S = 0.5
# Reading a release's files back takes a slow card minutes.
_VERIFY_S = 600.0
# Slower than any card: hashing, writing out and syncing what was sent.
_SLOWEST_BYTES_PER_S = 500_000
_SLOWEST_LINK_BYTES_PER_S = 5_000.0
"""The first upload has no progress to go by."""
_STALL_S = 60.0

_ID = re.compile(r"[0-9a-f]{16,64}")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_FLAGS = re.compile(r"-|[cpu]{1,3}")
_BOOT = re.compile(r"-|[0-9a-f-]{36}")
_HELD = re.compile(r"held by (\S+) since (\S+)")
_PROCESS = re.compile(r"(.*) pid ([0-9]{1,9})", re.ASCII)


class Held(BoardError):
    """Another process holds the store's lock.

    :ivar owner: who that is: ``ada@desk pid 123``.
    :ivar since: UTC, by the board's clock.
    """

    def __init__(self, where: str, owner: str, since: str) -> None:
        super().__init__(
            f"the store on {where} is held by {owner} since {since}: wait for it with --wait, or "
            "stop what holds it"
        )
        self.owner = owner
        self.since = since


class Damaged(BoardError):
    """Stored content does not have its hash; it was removed, so that it can be sent again."""


@dataclass(frozen=True)
class Blob:
    """A file to store.

    :ivar offset_bytes: how much of it is on the board already.
    """

    path: Path
    sha256: str
    size_bytes: int
    executable: bool = False
    offset_bytes: int = 0


@dataclass(frozen=True)
class Stored:
    """A release on the board.

    :ivar created: by the board's clock.
    :ivar size_bytes: of all its files.
    :ivar own_bytes: of those that no other release has: what dropping it would free.
    :ivar in_use: a running process was started from it.
    """

    id: str
    created: datetime.datetime
    size_bytes: int
    own_bytes: int
    live: bool
    pinned: bool
    in_use: bool


class _Reply(NamedTuple):
    """One reply line: ``code`` 0 and its words, or an ``edge_status`` and a message."""

    code: int
    text: str


class Store:
    """One connection, and the store's lock as long as it lives. Made by :func:`hold`.

    Every call is one request and its reply, and may come from any thread.

    :ivar free_bytes: free space under the device root when the connection was made.
    :ivar live: the release that was live when the connection was made.
    """

    def __init__(self, process: Process, where: str, idle_timeout_s: int = _IDLE_S) -> None:
        """Read the greeting.

        :raises Held: another process holds the lock.
        :raises BoardError: this is no store that we understand.
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
                self.live = _release(current)
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
        self, blobs: Iterable[Blob], progress: Callable[[int], None] = lambda sent_bytes: None
    ) -> None:
        """Send files as one stream, without waiting for each one's reply; the board verifies each.

        They have their names on the board when a release that links them is made. A part on the
        board that turns out damaged is sent again from its beginning.

        :param progress: called with the number of content's bytes of each piece that was sent.
        :raises HostError: a file can't be read, or is shorter than its ``size_bytes``.
        :raises BoardError: one did not arrive as it was sent, or does not fit on the board.
        """
        damaged = self._stream(blobs, progress)
        if damaged:
            # A power cut may leave zeros where the board's file system promised content.
            again = [dataclasses.replace(blob, offset_bytes=0) for blob in damaged]
            self._stream(again, lambda sent_bytes: None)

    def _stream(self, blobs: Iterable[Blob], progress: Callable[[int], None]) -> list[Blob]:
        """Those whose beginning on the board was damaged."""
        damaged: list[Blob] = []
        waiting: collections.deque[Blob] = collections.deque()
        refused: _Reply | None = None

        def settle() -> None:
            nonlocal refused
            blob = waiting[0]
            left = sum(b.size_bytes for b in waiting)
            reply = self._reply(_STALL_S + left / _SLOWEST_BYTES_PER_S)
            waiting.popleft()
            if reply.code == abi.constant("EDGE_CORRUPT") and blob.offset_bytes:
                damaged.append(blob)
            elif reply.code == 0:
                self._either(reply.text.split(" "), "stored", "have")
            elif refused is None:
                refused = reply

        with self._turn:
            self._begin()
            failure: HostError | None = None
            for blob in blobs:
                try:
                    file = blob.path.open("rb")
                except OSError as error:
                    failure = HostError(f"can't read {blob.path}: {error.strerror}")
                    break
                with file:
                    mode = "555" if blob.executable else "444"
                    start = blob.offset_bytes
                    self._send(f"put {blob.sha256} {blob.size_bytes} {start} {mode}\n".encode())
                    for raw_bytes, piece in blocks.of(file, start, blob.size_bytes):
                        self._send(piece)
                        progress(raw_bytes)
                waiting.append(blob)
                while len(waiting) > _AHEAD:
                    settle()
                if refused:
                    break
            while waiting:
                settle()
            self._in_doubt = False
        if failure:
            raise failure
        if refused:
            self._in_doubt = refused.code == abi.constant("EDGE_INTERRUPTED")
            self._accepted(refused)
        return damaged

    def create_release(self, release_id: str, links: Mapping[str, str], manifest: bytes) -> bool:
        """Make a release of stored files: ``links`` is path in the release -> sha256.

        :return: False if it was there, with the same content.
        :raises Damaged: a file of it is; the store no longer has that file.
        """
        lines = "".join(f"{place} {sha}\n" for place, sha in links.items()).encode()
        head = f"release {release_id} {len(links)} {len(manifest)}\n".encode()
        words = self._ask(head + lines + manifest, _VERIFY_S)
        return self._either(words, "created", "have")

    def switch(self, release_id: str | None) -> str | None:
        """Verify a release on the board and make it the live one; the id of the one before.

        :param release_id: None: no release is live then.
        :raises Damaged: a file of it is; the store no longer has that file.
        """
        return self._release(self._ask(f"switch {release_id or '-'}\n".encode(), _VERIFY_S))

    def settle(self, release_id: str, text: str = "") -> None:
        """Record that the live release is in order, all of it; ``text`` goes to the log."""
        line = _lines(text) if text else b""
        self._expect(self._ask(f"settle {release_id} {len(line)}\n".encode() + line), [])

    def unsettle(self) -> None:
        """Forget that it is: what is asked for next is read and hashed, all of it."""
        self._expect(self._ask(b"unsettle\n"), [])

    def current(self) -> str | None:
        """The live release's id."""
        return self._release(self._ask(b"current\n"))

    def releases(self) -> tuple[Stored, ...]:
        """What is on the board, the newest first."""
        return self._stored(self._ask(b"list\n", _VERIFY_S))

    def pin(self, release_id: str) -> None:
        """Keep a release from being dropped."""
        self._expect(self._ask(f"pin {release_id}\n".encode()), [])

    def unpin(self, release_id: str) -> None:
        self._expect(self._ask(f"unpin {release_id}\n".encode()), [])

    def clear(self, *, force: bool = False) -> None:
        """Remove every release, and what is live first; the log stays.

        :param force: also if a process that runs was started from one.
        """
        self._expect(self._ask(b"clear force\n" if force else b"clear\n", _VERIFY_S), [])

    def append_log(self, text: str) -> None:
        """Append whole lines to ``deployments.log``."""
        line = _lines(text)
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
        with self._turn:
            self._begin()
            self._send(request)
            reply = self._receive(timeout_s)
        return self._accepted(reply)

    def _begin(self) -> None:
        if self._in_doubt:
            raise BoardError(
                f"the connection to the store on {self._where} is lost: run the command again"
            )
        self._in_doubt = True

    def _send(self, data: bytes) -> None:
        try:
            self._process.send(data, _STALL_S)
        except BoardError:
            self._last_words()
            raise

    def _receive(self, timeout_s: float) -> _Reply:
        reply = self._reply(timeout_s)
        # Told that it was interrupted, we know that it ends by itself.
        self._in_doubt = reply.code == abi.constant("EDGE_INTERRUPTED")
        return reply

    def _reply(self, timeout_s: float) -> _Reply:
        reply = _parsed(self._process.receive_line(timeout_s))
        if isinstance(reply, str):
            raise self._nonsense(reply)
        return reply

    def _accepted(self, reply: _Reply) -> list[str]:
        """The words of an ``ok``; an ``err`` is raised."""
        if reply.code == 0:
            return reply.text.split(" ") if reply.text else []
        held = _HELD.fullmatch(reply.text)
        if reply.code == abi.constant("EDGE_BUSY") and held:
            raise Held(self._where, _shown(unquote(held[1])), _shown(held[2]))
        message = f"the store on {self._where}: {_shown(reply.text) or f'status {reply.code}'}"
        if reply.code == abi.constant("EDGE_CORRUPT"):
            raise Damaged(message)
        abi.check(reply.code, message)
        raise AssertionError("check() returned")

    def _last_words(self) -> None:
        """Raise what the store said before it ended, if it said why."""
        for _ in range(_AHEAD + 1):
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
        return _release(words[0])

    def _stored(self, words: list[str]) -> tuple[Stored, ...]:
        try:
            return _listed(words)
        except ValueError:
            raise self._nonsense(*words) from None

    def _either(self, words: list[str], yes: str, no: str) -> bool:
        if words not in ([yes], [no]):
            raise self._nonsense(*words)
        return words == [yes]

    def _expect(self, words: list[str], expected: list[str]) -> None:
        if words != expected:
            raise self._nonsense(*words)

    def _nonsense(self, *words: str) -> BoardError:
        self._in_doubt = True
        return _nonsense(self._where, *words)


def hold(
    transport: Transport,
    runner: Artifact,
    root: PurePosixPath,
    progress: Progress,
    *,
    wait_s: float = 0.0,
) -> tuple[Store, bool]:
    """The board's store under our lock; its runner is sent first if the board lacks it.

    A lock that a dead process of this machine's user still holds, because the board has not noticed
    yet that the link was cut, is waited for in any case.

    :param wait_s: how long to wait for a lock that somebody else holds.
    :return: the store, and whether the runner had to be sent.
    :raises Held: the lock was not let go in time.
    :raises BoardError: the store can't be installed or started there, or is another version.
    """
    program = DeviceLayout(root).blob(runner.sha256)
    began, told, sent = time.monotonic(), "", False
    while True:
        try:
            return open(transport, program, root, owner=owner()), sent
        except Held as held:
            patience_s = max(wait_s, _IDLE_S + 10.0 if _is_dead(held.owner) else 0.0)
            if time.monotonic() - began >= patience_s:
                raise
            if told != held.owner:
                progress(f"waiting for {held.owner}, who holds the board since {held.since}")
                told = held.owner
            time.sleep(_RETRY_S)
        except BoardError:
            # Most likely there is no such program yet: asking first would cost every deploy a turn.
            if sent or not install_runner(transport, runner.path, runner.sha256, root):
                raise
            sent = True


def owner() -> str:
    """Who we are, for whoever else wants the lock: ``ada@desk pid 123``."""
    return f"{who()} pid {os.getpid()}"


def who() -> str:
    """``ada@desk``."""
    return f"{getpass.getuser()}@{platform.node()}"


def _is_dead(holder: str) -> bool:
    found = _PROCESS.fullmatch(holder)
    if not found or found[1] != who():
        return False
    try:
        os.kill(int(found[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def open(
    transport: Transport,
    runner: PurePosixPath,
    root: PurePosixPath,
    *,
    owner: str,
    idle_timeout_s: int = _IDLE_S,
) -> Store:
    """Start ``runner`` on the board as the store of ``root``, and hold its lock.

    :param runner: an ``edge-run`` on the board; see :func:`install_runner`.
    :param owner: who holds the lock, for whoever else wants it.
    :raises Held: another process holds the lock.
    :raises BoardError: it does not start, or is another version.
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
) -> bool:
    """First contact: see that the board has this runner as ``store/<sha256>``.

    :return: True if it had to be sent.
    :raises BoardError: it can't be written or started there, or arrived damaged.
    """
    device = DeviceLayout(root)
    target = device.blob(sha256)
    # A name of its own: two hosts at once must not write into one file.
    part = device.store / f".{sha256}.{os.urandom(4).hex()}.part"
    # All in one round trip; 10 and 11 are our own, no shell's.
    script = (
        '[ -x "$1" ] && exit 0; umask 022; mkdir -p "$2" || exit 11; '
        'cat > "$3" && chmod 755 "$3" && exit 10'
    )
    content = readable(runner).read_bytes()
    try:
        found = transport.run(
            ["sh", "-c", script, "sh", target, device.store, part],
            stdin=content,
            timeout_s=_REPLY_S + len(content) / _SLOWEST_LINK_BYTES_PER_S,
        )
        if found.ok:
            return False
        if found.exit_code != 10:
            what = (
                f"can't create {device.store}" if found.exit_code == 11 else f"can't write {part}"
            )
            said = _shown(found.error_text) or f"exit code {found.exit_code}"
            raise BoardError(f"{what} on {transport.name}: {said}")
        # The program itself, not a shell that starts it: a transport may have to emulate it.
        outcome = transport.run(
            [part, "store", "--root", root, "--owner", "first-contact", "--install-self", sha256],
            stdin=b"quit\n",
            timeout_s=_STALL_S,
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


@dataclass(frozen=True)
class State:
    """What can be said of a board's store without its lock.

    :ivar settled: the release in question is live, and nothing has touched it since it was found in
        order, all of it.
    :ivar boot_id: the board's; empty if it could not say.
    :ivar free_bytes: under the device root; None if there is none yet.
    """

    settled: bool = False
    boot_id: str = ""
    free_bytes: int | None = None


def state(
    transport: Transport, runner: PurePosixPath, root: PurePosixPath, release_id: str
) -> State:
    """Ask about a release, in one round trip. Nothing is known if ``runner`` is not there."""
    outcome = transport.run([runner, "store", "--root", root, "--settled", release_id])
    reply = _parsed(outcome.stdout.rstrip(b"\n"))
    if not outcome.ok or not isinstance(reply, _Reply) or reply.code:
        return State()
    match reply.text.split(" "):
        case ["settled" | "unsettled" as word, boot_id, free] if _BOOT.fullmatch(boot_id) and (
            free == "-" or _NUMBER.fullmatch(free)
        ):
            return State(
                word == "settled",
                "" if boot_id == "-" else boot_id,
                None if free == "-" else int(free),
            )
    return State()


def listed(transport: Transport, runner: PurePosixPath, root: PurePosixPath) -> tuple[Stored, ...]:
    """What is on the board, the newest first; without the lock.

    :raises BoardError: the runner does not start, or is another version.
    """
    outcome = transport.run([runner, "store", "--root", root, "--list"])
    reply = _parsed(outcome.stdout.rstrip(b"\n"))
    if outcome.ok and isinstance(reply, _Reply) and reply.code == 0:
        with contextlib.suppress(ValueError):
            return _listed(reply.text.split(" ") if reply.text else [])
    raise _nonsense(transport.name, _shown(outcome.text or outcome.error_text))


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


def _release(word: str) -> str | None:
    return None if word == "-" else word


def _listed(words: Iterable[str]) -> tuple[Stored, ...]:
    """
    :raises ValueError: this is no list of releases.
    """
    found = []
    for word in words:
        name, created, size, own, flags = word.split(":")
        numbers = [created, size, own]
        if (
            not _ID.fullmatch(name)
            or not all(map(_NUMBER.fullmatch, numbers))
            or not _FLAGS.fullmatch(flags)
        ):
            raise ValueError(word)
        try:
            made = datetime.datetime.fromtimestamp(int(created), datetime.timezone.utc)
        except (OverflowError, OSError) as error:
            raise ValueError(word) from error
        live, pinned, used = ("c" in flags, "p" in flags, "u" in flags)
        found.append(Stored(name, made, int(size), int(own), live, pinned, used))
    return tuple(found)


def _lines(text: str) -> bytes:
    return text.encode() if text.endswith("\n") else text.encode() + b"\n"


def _nonsense(where: str, *words: str) -> BoardError:
    return BoardError(
        f"the store on {where} answered '{_shown(' '.join(words))}', which is not in its "
        "protocol: deploy again to replace the runner; if it stays, the login shell prints"
        " something of its own"
    )


def _owner(owner: str) -> str:
    """``owner`` as one word, percent-encoded."""
    return quote(owner, safe="@:+")[:_MAX_OWNER] or "unknown"


def _shown(text: str) -> str:
    """A board's text for a message: one line, no control characters, not long."""
    return "".join(c if c.isprintable() else "?" for c in text[:1000])
