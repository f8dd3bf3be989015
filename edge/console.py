"""Console: a board's serial line, for a person's terminal and for programs.

A serial line carries everything at once: the kernel's messages, other programs' output, the echo
of what is typed, the shell's prompt and its line editor. So a command is not typed at the prompt.
One short line typed there starts a POSIX shell that reads the command in numbered pieces, answers
each with a mark, shows the checksum of the whole before it may run, keeps the output in its memory
(encoded, whatever bytes they are) and sends it in numbered lines as often as it is asked for.
A piece or a line that noise has broken is sent again; the output is believed when its checksum
agrees, and never otherwise. The marks carry a random word, and the typed line spells them in two
parts: no echo looks like one.
"""

from __future__ import annotations

import base64
import codecs
import errno
import grp
import hashlib
import os
import re
import secrets
import termios
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn, Protocol

import serial  # type: ignore[import-untyped]
from serial.tools import list_ports  # type: ignore[import-untyped]

from edge.errors import BoardError, EdgeError, HostError, UnreachableError, UsageError
from edge.transport import Outcome
from edge.transport.command import login_line, program, words

DEFAULT_BAUD = 115200

_CHUNK = 65536
_WRITE_TIMEOUT_S = 10.0
_PIECE = 240
"""Characters of a command that go at once: small boards' line buffers are short."""
_ASKED_AT_ONCE = 800
_TAIL = 4000
_QUIET_S = 0.6
"""Nothing for so long: what the board was saying is over."""
_BOOT_QUIET_S = 12.0
"""As long as a boot loader counts down, and a kernel may be silent."""
_REPLY_S = 10.0
"""A login may take this long to ask for the password, or to refuse it."""
_ASK_AGAIN_S = 2.0
_ANSWER_S = 4.0
_SILENCE_S = 30.0
"""A board that says nothing for so long is taken for a shell without echo and prompt."""
_MAX_LINES = 32768
"""Of an encoded output: 1.8 MB in base64, three minutes at 115200 baud."""
_MAX_REPEATS = 5
_MAX_TRIES = 3
_CTRL_C = b"\x03"
_KNOCK = b"\x15\r"
"""Ctrl-U first: Enter alone would run what somebody has left half typed."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>])")
_ASKS_NAME = re.compile(r"(?:^|\n)(?!Last )[^\n]{0,80}\blogin: ?$", re.IGNORECASE)
_ASKS_PASSWORD = re.compile(r"(?:^|\n)[^\n]{0,80}pass(?:word|wort|phrase)[^\n:]{0,40}: ?$", re.I)
_REFUSED = re.compile(
    r"login incorrect|authentication failure|permission denied|account .{0,20}locked", re.I
)
_BOOTS = re.compile(
    r"U-Boot (?:SPL |TPL )?\d{4}\.\d\d|\[ {4}0\.000000\]|(?:^|\] )Linux version \d|"
    r"Booting Linux on|Starting kernel \.\.\.|reboot: (?:Restarting system|Power down)|"
    r"The system is going down"
)
_KERNEL = re.compile(r"\[ *\d+\.\d{6}\] [^\n]*\n")
_PANIC = re.compile(r"Kernel panic - not syncing.*")
_COUNTS_DOWN = re.compile(r"stop autoboot|\[ {3}[ 1-5]\d\.\d{6}\]")
_LOADER = re.compile(r"(?:^|\n)(?:=>|U-Boot>|[^\n]{0,20}# boot>|grub>) ?$")
_LINE = re.compile(r"#(\w{8})=([1-9]\d{0,6}):([A-Za-z0-9+/= -]*)\.$")
_MARK = re.compile(r"#(\w{8}):([ \w-]*)\.$")
_OURS = re.compile(r"#\w{8}[:=][^\n]*")
_OUT = re.compile(r"out ([1-9]\d*) (base64|od|hexdump) ([\w -]+)")

# Typed at the prompt, so it must mean the same to every shell: one simple command, words between
# single quotes, a space in front (which keeps it out of many shells' history).
_LISTEN = (
    " sh -c '"
    'trap "exit 130" 2;trap "stty echo" 0;stty -echo;'
    'p(){ printf "\\n%s%s.\\n" "#" "@:$*";};p go;k=1;'
    'while IFS= read -r l&&[ "$l" ];do '
    "case $l in $k.*)a=$a${l#*.};k=$((k+1));;esac;p at $k ${#a};done;"
    's=$(printf %s "$a"|(sha256sum||md5sum||cksum)2>/dev/null);'
    'while p sum $s;IFS= read -r l;do case $l in y)eval "$a";exit;;n)exit;;esac;done\''
)
# Read by that shell, and run by it once its checksum is agreed on. The output is kept encoded, and
# the exit status is its last line, so that the checksum covers both. No file is written.
_PERFORM = (
    'for e in base64 "od -An -v -tx1" "hexdump -v -e \'16/1 \\"%02x\\" \\"\\n\\"\'" none;do '
    'eval "$e"</dev/null>/dev/null 2>&1&&break;done;'
    'if [ "$e" = none ];then p none;exit;fi;'
    "A=$(exec 3>&1;E=$({ { ( COMMAND )</dev/null 3>&-;"
    'printf "\\n%s" $?;}|eval "$e"|head -n LIMIT >&3;} 2>&1|eval "$e"|head -n LIMIT);'
    'printf "%s\\n" - "$E");'
    's=$(printf %s "$A"|(sha256sum||md5sum||cksum)2>/dev/null);'
    'IFS=$(printf "\\n.");IFS=${IFS%.};n=0;for l in $A;do n=$((n+1));done;'
    's="out $n ${e%% *} $s";p "$s";r=all;while :;do case $r in 0)p bye;exit;;'
    "all|*[0-9]*)i=0;for l in $A;do i=$((i+1));"
    'case $r in all|*" $i "*)printf "%s%s\\n" "#" "@=$i:$l.";;esac;done;p end;;'
    '*)p "$s";;esac;IFS= read -r r||exit;done'
)


class BoardRebooted(BoardError):
    """The board restarted, or its session ended, while something was asked of it."""


class Line(Protocol):
    """What a console needs of a port; pyserial's have it, and so has ``testing.FakeSerial``."""

    timeout: float | None
    """Seconds that ``read`` waits for the first byte that is missing."""

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, data: bytes, /) -> int | None: ...

    def close(self) -> None: ...


class Console:
    """A board's serial line. Use as a context manager.

    :ivar name: the port, for messages.
    """

    def __init__(
        self,
        line: Line,
        name: str,
        *,
        log: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """:param clock: seconds; a test's line may have a time of its own."""
        self.name = name
        self._line = line
        self._clock = clock
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._new = ""
        self._tail = ""
        self._secret = ""
        self._log: BinaryIO | None = None
        if log is not None:
            try:
                self._log = log.open("ab", buffering=0)
            except OSError as error:
                line.close()
                raise UsageError(f"can't write the log {log}: {error.strerror}") from error

    @classmethod
    def open(cls, port: str, *, baud: int = DEFAULT_BAUD, log: Path | None = None) -> Console:
        """Open a port, which no other program can then open.

        :param port: ``/dev/ttyUSB0``, ``/dev/serial/by-id/…``, or a URL that pyserial knows, such
            as ``socket://127.0.0.1:4000``.
        :param baud: bits per second; a socket has none.
        :param log: everything received is appended to this file.
        :raises HostError: the port is busy, absent or not permitted, or the connection is refused.
        :raises UsageError: no such kind of port, or a rate that it does not do.
        """
        return cls(_opened(port, baud), port, log=log)

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the port. Whoever is logged in on the board stays so."""
        # pyserial forgets to close a socket whose other end is gone.
        sock = getattr(self._line, "_socket", None)
        self._line.close()
        if sock is not None:
            sock.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    # --- bytes and text ---

    def fileno(self) -> int | None:
        """What to ``select`` on; None if this kind of port has nothing like it."""
        try:
            return int(self._line.fileno())  # type: ignore[attr-defined]
        except (AttributeError, OSError, ValueError, serial.SerialException):
            return None

    def read(self, timeout_s: float = 0.0) -> bytes:
        """What has come; if nothing has, what comes first in ``timeout_s``, or no bytes.

        :raises UnreachableError: the line is gone.
        """
        try:
            self._line.timeout = max(timeout_s, 0.0)
            data = self._line.read(1)
            if data:
                # "Everything that is there": a socket's in_waiting knows of one byte at most.
                self._line.timeout = 0.0
                data += self._line.read(_CHUNK)
        except (serial.SerialException, OSError, termios.error, TypeError) as error:
            raise self._gone(error) from None
        if self._log is not None and data:
            try:
                self._log.write(data)
            except OSError as error:
                raise HostError(f"can't write the log {self._log.name}: {error.strerror}") from None
        self._new = self._decode(data)
        self._tail = (self._tail + self._new)[-_TAIL:]
        return data

    def write(self, data: bytes) -> None:
        """Send bytes as they are.

        :raises UnreachableError: the line is gone, or takes nothing for 10 s.
        """
        try:
            self._line.write(data)
        except serial.SerialTimeoutException:
            raise UnreachableError(
                f"{self.name} took no byte for {_WRITE_TIMEOUT_S:.0f} s: "
                "is the other end there, and is flow control off?"
            ) from None
        except (serial.SerialException, OSError, termios.error, TypeError) as error:
            raise self._gone(error) from None

    def wait_for(self, pattern: str | re.Pattern[str], timeout_s: float) -> str:
        """The text received up to the end of ``pattern``; what follows stays for the next call.

        :param pattern: a piece of text, or a compiled regular expression.
        :raises BoardError: it did not come in ``timeout_s``; says what came instead.
        :raises UnreachableError: the line is gone.
        """
        wanted = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern
        deadline = self._clock() + timeout_s
        while not (found := wanted.search(self._text)):
            left = deadline - self._clock()
            if left <= 0:
                raise BoardError(
                    f"{wanted.pattern!r} did not come from {self.name} in {timeout_s:g} s; "
                    f"{self._last_seen()}"
                )
            self._hear(left)
        text, self._text = self._text[: found.end()], self._text[found.end() :]
        return text

    # --- who is there ---

    def login(self, user: str, password: str | None, *, timeout_s: float = 60) -> None:
        """Be at a shell of ``user``: wait for the board to boot, log in, or find it logged in.

        A running program is interrupted and a half typed line dropped; another user's shell is
        left with ``exit``.

        :param password: None if none is asked for.
        :raises UnreachableError: the login is refused, or a password is asked for and None given.
        :raises BoardError: no login prompt and no shell in ``timeout_s``; says what came last.
        """
        if not user or not (user + (password or "")).isprintable():
            raise UsageError("a user's name and password can't hold control characters")
        self._secret = password or ""
        _Login(self, user, password, timeout_s).perform()

    # --- commands ---

    def run(self, argv: Sequence[str | PurePosixPath], *, timeout_s: float = 30.0) -> Outcome:
        """Run a program to its end, as the user who is logged in; its standard input is empty.

        Standard output and error are exactly what the program wrote, or there is an error. Both
        stay in the board's memory until they have arrived.

        :param argv: words; no shell looks at them.
        :param timeout_s: for everything: the program, and its output's way over the line.
        :raises BoardRebooted: the board restarted meanwhile, or the session ended.
        :raises BoardError: no shell answers, the program did not end in time (it is interrupted),
            its output is longer than the line is good for, or arrives damaged time and again.
        :raises UnreachableError: the line is gone.
        """
        return _Exchange(self, words(argv), timeout_s).perform()

    # --- for the two conversations ---

    def _hear(self, timeout_s: float = 0.0) -> bool:
        """Read, and keep it as text; whether anything came."""
        came = bool(self.read(timeout_s))
        self._text += self._new
        return came

    def _forget(self) -> None:
        """Drop what has come so far."""
        while self._hear():
            pass
        self._text = ""

    def _plain(self) -> str:
        """What has come, as a person would see it: no escape sequences, one kind of line end."""
        return _ESCAPES.sub("", self._text).replace("\r", "")

    def _settle(self, deadline: float) -> None:
        """Read until the line is quiet, or the deadline."""
        while (left := deadline - self._clock()) > 0 and self._hear(min(_QUIET_S, left)):
            pass

    def _last_seen(self) -> str:
        text = _ESCAPES.sub("", self._tail).replace("\r", "\n")
        if self._secret:
            text = text.replace(self._secret, "…")
        bad = sum(not (c.isprintable() or c in "\n\t") or c == "\ufffd" for c in text)
        if bad > 8 and bad > len(text) / 4:
            return "what came is no text: is the baud rate right?"
        lines = [line.strip() for line in _OURS.sub("", text).splitlines() if line.strip()]
        shown = " / ".join("".join(c for c in line if c.isprintable())[:120] for line in lines[-3:])
        return f"last seen: {shown}" if shown else "nothing was received"

    def _gone(self, error: BaseException) -> UnreachableError:
        if "://" in self.name:
            why = "the other end hung up: is the machine still up? see `invoke qemu.status`"
        else:
            why = "unplugged, or another program reads it too: look with `ls /dev/serial/by-id`"
        return UnreachableError(f"the line {self.name} is gone ({why}); {self._last_seen()}")


# --- logging in ---------------------------------------------------------------------------------


class _Login:
    """From whatever stands on the line to a shell of the right user."""

    def __init__(self, console: Console, user: str, password: str | None, timeout_s: float) -> None:
        self._console = console
        self._user = user
        self._password = password
        self._timeout_s = timeout_s
        self._deadline = console._clock() + timeout_s
        self._named = False
        self._proved = False
        self._tries = 0
        self._try_anyway = console._clock() + _SILENCE_S

    def perform(self) -> None:
        console = self._console
        self._listen()
        if not (_ASKS_NAME.search(self._seen()) or _ASKS_PASSWORD.search(self._seen())):
            self._knock()
        while True:
            seen = self._seen()
            if self._proved and (said := _REFUSED.search(seen)):
                raise UnreachableError(
                    f"{console.name}: the board says '{said.group()}' to user '{self._user}': "
                    "check name and password"
                )
            if _ASKS_NAME.search(seen):
                self._give_name()
            elif _ASKS_PASSWORD.search(seen):
                self._give_password(seen)
            elif _LOADER.search(seen):
                raise BoardError(
                    f"the board on {console.name} stands in its boot loader: type `boot` there "
                    "(`invoke console`), then try again"
                )
            elif self._silent():
                self._knock()
            elif self._shell_answers():
                return

    def _knock(self) -> None:
        """One key, and whatever comes of it."""
        console = self._console
        console._text = ""
        console.write(_KNOCK)
        console._hear(min(_ANSWER_S, self._left()))
        self._listen()

    def _silent(self) -> bool:
        """Whether nothing came of the last key, not even its echo: the board may just be booting.

        A serial port that nobody has opened yet takes 16 characters, and QEMU's stays deaf for
        ever if more than twice as many wait for it. So no command is typed into silence, unless
        that lasts: a shell may have neither echo nor prompt.
        """
        now = self._console._clock()
        if self._seen() or now >= self._try_anyway:
            self._try_anyway = now + _SILENCE_S
            return False
        return True

    def _listen(self) -> None:
        """Until the board has said all that it has to say for now.

        A boot loader that counts down takes any key as "stop", so a board that boots is left
        alone until it asks, or has been silent for long.
        """
        console = self._console
        quiet = _QUIET_S
        enough = console._clock() + _REPLY_S
        while console._hear(min(quiet, self._left())):
            console._text = console._text[-_TAIL:]
            quiet = _BOOT_QUIET_S if _boots(console._plain()) else _QUIET_S
            if quiet == _QUIET_S and console._clock() > enough:
                return  # a kernel that never stops
            seen = self._seen()
            if _ASKS_NAME.search(seen) or _ASKS_PASSWORD.search(seen):
                # A moment more: the kernel may be talking, and "login:" may be half a sentence.
                console._settle(min(self._deadline, console._clock() + _QUIET_S))
                return

    def _seen(self) -> str:
        """What has come, without the kernel's messages: they may stand in the middle of a word."""
        return _KERNEL.sub("", self._console._plain())

    def _left(self) -> float:
        left = self._deadline - self._console._clock()
        if left <= 0:
            what = "did not let us in" if self._named else "shows neither login prompt nor shell"
            raise BoardError(
                f"the board on {self._console.name} {what} in {self._timeout_s:g} s; "
                f"{self._console._last_seen()}"
            )
        return left

    def _answer(self, text: str) -> None:
        """Type it, and hear what the board says to it: something beyond the echo."""
        console = self._console
        console._text = ""
        console.write(text.encode() + b"\r")
        until = console._clock() + _REPLY_S
        while console._clock() < until and not self._seen().partition("\n")[2].strip():
            console._hear(min(until - console._clock(), self._left()))
        self._listen()

    def _give_name(self) -> None:
        self._named, self._proved = True, False
        self._tries += 1
        if self._tries > _MAX_TRIES:
            raise UnreachableError(
                f"{self._console.name}: the board asks for a name again after '{self._user}' was "
                f"given {_MAX_TRIES} times; {self._console._last_seen()}"
            )
        self._answer(self._user)

    def _give_password(self, seen: str) -> None:
        console = self._console
        if not self._named:
            self._answer("")  # somebody else's half login
        elif self._proved:
            raise BoardError(
                f"the board on {console.name} wants a new password for '{self._user}': set it once "
                "by hand with `invoke console`"
            )
        elif self._password is None:
            raise UnreachableError(
                f"{console.name}: the board asks for the password of '{self._user}': give one"
            )
        else:
            self._proved = True
            self._answer(self._password)

    def _shell_answers(self) -> bool:
        """Whether the right user's shell is there; if something else is, make room for a prompt."""
        console = self._console
        if not self._named:
            console.write(_CTRL_C)
            console._settle(min(self._deadline, console._clock() + 4 * _QUIET_S))
            if _ASKS_NAME.search(self._seen()):
                return False
        nonce = secrets.token_hex(4)
        script = 'printf "\\n%s%s.\\n" "#" "@:$(id -un||whoami)"'.replace("@", nonce)
        console.write(f" sh -c '{script}'\n".encode())
        heard = console._clock()
        while console._clock() - heard < _ANSWER_S:
            for line in self._seen().splitlines(keepends=True):
                if (mark := _MARK.search(line.strip("\n"))) and mark.group(1) == nonce:
                    return self._is_ours(mark.group(2).strip())
            if self._proved and _REFUSED.search(self._seen()):
                return False
            console._hear(min(_ANSWER_S, self._left()))
            tail = self._seen()
            if _ASKS_NAME.search(tail) or _ASKS_PASSWORD.search(tail):
                return False
        console._text = ""
        console.write(_CTRL_C + _KNOCK)
        self._listen()
        return False

    def _is_ours(self, user: str) -> bool:
        # A system may have no name for its user: then there is only one.
        if user == self._user or not user:
            return True
        self._named = self._proved = False
        self._answer("exit")
        return False


def _boots(seen: str) -> bool:
    """Whether the last lines are those of a boot loader or a young kernel."""
    last = "\n".join(seen.rsplit("\n", 4)[-4:])
    return bool(_BOOTS.search(last) or _COUNTS_DOWN.search(last))


# --- running a command --------------------------------------------------------------------------


class _Damaged(Exception):
    """Noise broke what was typed: nothing has been run, so it may be typed again."""


@dataclass
class _Arriving:
    """Output on its way."""

    head: tuple[int, str, str] = (0, "", "")
    """How many lines there are, how they are encoded, their checksum; zero lines: not known yet."""
    lines: dict[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.head[0]

    def missing(self) -> list[int]:
        return [number for number in range(1, self.count + 1) if number not in self.lines]

    def text(self) -> str:
        return "\n".join(self.lines[number] for number in range(1, self.count + 1))


class _Exchange:
    """One command: typed, checked, run, its output fetched."""

    def __init__(self, console: Console, argv: tuple[str, ...], timeout_s: float) -> None:
        self._console = console
        self._argv = argv
        self._timeout_s = timeout_s
        self._deadline = console._clock() + timeout_s
        self._started = False
        self._nonce = ""

    def perform(self) -> Outcome:
        command = login_line(self._argv).decode("ascii")
        try:
            self._start(command)
            arrived = self._fetch()
        except (BoardRebooted, UnreachableError):
            raise
        except BoardError:
            self._interrupt()
            raise
        self._leave()
        return self._outcome(arrived)

    # --- typing it ---

    def _start(self, command: str) -> None:
        patience = _ANSWER_S
        while True:
            try:
                self._nonce = secrets.token_hex(4)
                script = _PERFORM.replace("@", self._nonce).replace("LIMIT", str(_MAX_LINES))
                self._listening(patience)
                self._tell(script.replace("COMMAND", command, 1))
                return
            except _Damaged:
                patience *= 2
                self._interrupt()

    def _listening(self, patience: float) -> None:
        self._console._forget()
        self._type(_LISTEN.replace("@", self._nonce))
        limit = self._console._clock() + patience
        while self._mark(min(limit, self._console._clock() + _ASK_AGAIN_S)) is None:
            if self._console._clock() >= limit:
                raise _Damaged
            # Its mark may have been broken: it answers to this, and to a prompt it is nothing.
            self._type(":")
        self._console._tail = ""  # what the board says from now on is no echo of ours

    def _tell(self, script: str) -> None:
        """Hand over the script, piece by piece, and let it run when its checksum agrees."""
        length = 0
        pieces = [script[i : i + _PIECE] for i in range(0, len(script), _PIECE)]
        for number, piece in enumerate(pieces, start=1):
            length += len(piece)
            mark = self._asked(f"{number}.{piece}", f"at {number + 1} ")
            if mark != f"at {number + 1} {length}":
                raise _Damaged
        mark = self._asked("", "sum", again=":")
        if mark.strip() == "sum":
            self._fail("the board has none of sha256sum, md5sum and cksum to check output with")
        if not _agrees(mark.partition(" ")[2], script.encode()):
            raise _Damaged
        self._started = True
        self._type("y")

    def _asked(self, line: str, wanted: str, *, again: str | None = None) -> str:
        """Type a line until a mark that begins with ``wanted`` answers it."""
        self._type(line)
        for _ in range(_MAX_REPEATS):
            until = self._console._clock() + _ASK_AGAIN_S
            while (mark := self._mark(until)) is not None:
                if mark.startswith(wanted):
                    return mark
            self._type(line if again is None else again)
        raise _Damaged

    # --- fetching its output ---

    def _fetch(self) -> _Arriving:
        arriving = _Arriving()
        patience, damaged = _ASK_AGAIN_S, 0
        while True:
            before = len(arriving.lines)
            mark = self._mark(self._console._clock() + patience, arriving)
            if mark == "none":
                self._fail("the board has none of base64, od and hexdump to send output with")
            if mark is not None and mark.startswith("sum"):
                self._type("y")  # the first did not arrive
            elif mark is not None and (found := _OUT.fullmatch(mark)):
                arriving.head = (int(found.group(1)), found.group(2), found.group(3))
                patience = _ASK_AGAIN_S
                if arriving.count > _MAX_LINES:
                    self._fail(
                        f"the output of {self._what} is longer than a serial line is good for: "
                        "write it to a file on the board, and fetch that over SSH"
                    )
            elif not arriving.count:
                # It is still running, or said that it has ended while the kernel talked.
                self._type(":")
                patience = min(patience * 1.5, 20.0)
            elif mark is None and len(arriving.lines) > before:
                pass  # a long output, on its way
            elif mark in (None, "end"):
                missing = arriving.missing()
                if missing:
                    self._ask_for(missing)
                elif _agrees(arriving.head[2], arriving.text().encode()):
                    return arriving
                else:
                    damaged += 1
                    if damaged > _MAX_REPEATS:
                        self._fail(f"the output of {self._what} arrived damaged {damaged} times")
                    arriving = _Arriving()
                    self._type(":")
                    self._type("all")

    def _ask_for(self, numbers: list[int]) -> None:
        line = " "
        for number in numbers:
            if len(line) > _ASKED_AT_ONCE:
                break
            line += f"{number} "
        self._type(line)

    def _leave(self) -> None:
        self._type("0")
        until = min(self._deadline, self._console._clock() + _ASK_AGAIN_S)
        while (mark := self._mark(until, overdue=False)) is not None and mark != "bye":
            pass

    def _outcome(self, arrived: _Arriving) -> Outcome:
        lines = arrived.text().split("\n")
        cut = lines.index("-")
        encoding = arrived.head[1]
        stdout, stderr = (_decoded(part, encoding) for part in (lines[:cut], lines[cut + 1 :]))
        stdout, _, status = stdout.rpartition(b"\n")
        if not status.isdigit():
            said = stderr.decode("utf-8", "replace").strip()
            self._fail(f"the board's shell could not keep the output of {self._what}: {said}")
        return Outcome(self._argv, int(status), stdout, stderr)

    # --- words on the line ---

    @property
    def _what(self) -> str:
        return f"'{program(self._argv)}'"

    def _type(self, line: str) -> None:
        # LF, not CR: it ends a line whatever the terminal's settings are.
        self._console.write(line.encode("ascii") + b"\n")

    def _mark(
        self, until: float, arriving: _Arriving | None = None, *, overdue: bool = True
    ) -> str | None:
        """The next mark of this exchange; None if there is none ``until`` then.

        :param arriving: takes up what numbered lines come before it.
        """
        console = self._console
        while True:
            lines = console._text.split("\n")
            console._text = lines.pop()
            for number, raw in enumerate(lines):
                line = raw.rstrip("\r")
                if (found := _LINE.search(line)) and found.group(1) == self._nonce:
                    if arriving is not None:
                        arriving.lines[int(found.group(2))] = found.group(3)
                elif (found := _MARK.search(line)) and found.group(1) == self._nonce:
                    console._text = "\n".join([*lines[number + 1 :], console._text])
                    return found.group(2).strip()
                else:
                    self._look_for_trouble(line)
            # The question for a name is already answered if something typed waited for it.
            seen = console._plain()
            if _ASKS_NAME.search(seen) or _ASKS_PASSWORD.search(seen):
                if not console._hear(_QUIET_S):
                    self._rebooted("asks for a login")
                continue  # the first half of something else
            now = console._clock()
            if overdue and now >= self._deadline:
                self._late()
            if now >= until:
                return None
            console._hear(min(until, self._deadline if overdue else until) - now)

    def _look_for_trouble(self, line: str) -> None:
        if panic := _PANIC.search(line):
            raise BoardRebooted(f"the board on {self._console.name} died: {panic.group()[:120]}")
        if _BOOTS.search(line):
            self._rebooted(f"restarted ('{line.strip()[:80]}')")

    def _rebooted(self, how: str) -> NoReturn:
        when = "while it ran" if self._started else "before it was started"
        raise BoardRebooted(
            f"the board on {self._console.name} {how}: {self._what} is lost {when}; log in again"
        )

    def _late(self) -> NoReturn:
        if self._started:
            what = f"{self._what} did not end and send its output in {self._timeout_s:g} s"
            raise BoardError(f"{what} on {self._console.name}; {self._console._last_seen()}")
        raise BoardError(
            f"no shell answers on {self._console.name} in {self._timeout_s:g} s, {self._what} was "
            f"not started: log in first; {self._console._last_seen()}"
        )

    def _fail(self, what: str) -> NoReturn:
        raise BoardError(f"{what} ({self._console.name})")

    def _interrupt(self) -> None:
        """Back to a prompt, as far as ctrl-C leads there."""
        self._console.write(_CTRL_C)
        self._console._settle(self._console._clock() + 4 * _QUIET_S)
        self._console._text = ""


def _decoded(lines: list[str], encoding: str) -> bytes:
    text = "".join(lines)
    return base64.b64decode(text) if encoding == "base64" else bytes.fromhex(text)


def _agrees(said: str, data: bytes) -> bool:
    """Whether a line of sha256sum, md5sum or cksum is about ``data``."""
    found = said.split()
    if not found:
        return False
    if re.fullmatch("[0-9a-f]{64}", found[0]):
        return found[0] == hashlib.sha256(data).hexdigest()
    if re.fullmatch("[0-9a-f]{32}", found[0]):
        return found[0] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    return found[:2] == [str(posix_crc(data)), str(len(data))]


def posix_crc(data: bytes) -> int:
    """What POSIX ``cksum`` prints."""
    crc = 0
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "little")
    for byte in data + length:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc ^ 0xFFFFFFFF


def _crc_of(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
    return crc


_CRC_TABLE = tuple(_crc_of(byte) for byte in range(256))


# --- opening a port -----------------------------------------------------------------------------


def _opened(port: str, baud: int) -> serial.Serial:
    is_url = "://" in port
    if isinstance(baud, bool) or not isinstance(baud, int) or baud < 1:
        raise UsageError(f"baud rate {baud!r}: must be a whole number such as 115200")
    options = {"baudrate": baud, "timeout": 0.0, "write_timeout": _WRITE_TIMEOUT_S}
    try:
        if is_url:
            return serial.serial_for_url(port, **options)
        return serial.Serial(port, exclusive=True, **options)
    except ValueError as error:
        if is_url:
            raise UsageError(
                f"{port}: {error}; a port is a device such as /dev/ttyUSB0, or socket://HOST:PORT"
            ) from None
        raise UsageError(f"{port} does not do {baud} baud: try 115200") from None
    except (OSError, termios.error, TypeError) as error:
        raise (_no_connection if is_url else _no_port)(port, baud, error) from None


def _no_connection(url: str, baud: int, error: BaseException) -> EdgeError:
    cause = error.__context__ or error
    if isinstance(cause, ConnectionRefusedError):
        return HostError(f"{url} refuses the connection: is the machine up? `invoke qemu.status`")
    if isinstance(cause, OSError) and not isinstance(cause, serial.SerialException):
        return HostError(f"can't connect to {url}: {cause.strerror or cause}")
    return UsageError(f"{url} is no address of a serial line: write socket://HOST:PORT")


def _no_port(port: str, baud: int, error: BaseException) -> EdgeError:
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"\((\d+), ", str(error))):
        number = int(found.group(1))  # pyserial's words about a termios.error
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return HostError(f"no serial port {port}; {_known_ports()}")
    if number in (errno.EACCES, errno.EPERM):
        return HostError(f"no permission to open {port}: {_permission(port)}")
    if number in (errno.EAGAIN, errno.EBUSY):
        holder = _holder(port)
        return HostError(f"{port} is in use{f' by {holder}' if holder else ''}: close that first")
    if number in (errno.ENOTTY, errno.EINVAL, errno.EISDIR):
        return UsageError(f"{port} is no serial port; {_known_ports()}")
    if number == errno.EIO:
        return HostError(f"{port} has no hardware behind it; {_known_ports()}")
    return HostError(f"can't open {port}: {error}")


def _known_ports() -> str:
    by_id = sorted(str(path) for path in Path("/dev/serial/by-id").glob("*"))
    found = by_id or sorted(p.device for p in list_ports.comports() if p.hwid != "n/a")
    if found:
        return f"this machine has {', '.join(found)}"
    return "this machine shows none: is the adapter plugged in?"


def _permission(port: str) -> str:
    try:
        group = grp.getgrgid(Path(port).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "ask who owns it"
    if group == "root":
        return f"it belongs to root alone: see `ls -l {port}`"
    return f"it belongs to group {group}: `sudo usermod -aG {group} $USER`, then log in again"


def _holder(port: str) -> str:
    """Name and number of the process that has the port open, as far as /proc shows it."""
    try:
        device = Path(port).resolve()
    except OSError:
        return ""
    for path in _open_files(Path("/proc").glob("[0-9]*/fd")):
        try:
            if path.readlink() == device:
                process = path.parents[1]
                name = (process / "comm").read_text().strip()
                if int(process.name) != os.getpid():
                    return f"{name} (process {process.name})"
                return f"this process ({process.name})"
        except OSError:
            continue
    return ""


def _open_files(folders: Iterable[Path]) -> Iterable[Path]:
    for folder in folders:
        try:
            yield from folder.iterdir()
        except OSError:
            continue
