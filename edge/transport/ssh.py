"""A board over SSH: what the user's own ``ssh`` would do, with deadlines that hold.

The user's configuration is resolved by ``ssh -G``, because paramiko ignores ``Include`` and
``IdentityAgent``. fabric connects; commands and copies go through exec channels of its one
connection, so that a board needs neither SFTP nor scp. paramiko's own timeouts do not cover a link
that was cut (its sends and its exec reply wait for ever, and its keepalive does not notice), so
every blocking call here stands under :func:`_guillotine`.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any

import paramiko
from fabric import Config, Connection  # type: ignore[import-untyped]
from paramiko.common import MSG_CHANNEL_REQUEST

from edge.errors import BoardError, EdgeError, HostError, UnreachableError, UsageError
from edge.transport import Outcome, Process, Transport, certificate, host_keys, known_hosts
from edge.transport.command import (
    MAX_FILE_BYTES,
    MAX_OUTPUT_BYTES,
    STDERR_TAIL_BYTES,
    login_line,
    program,
    words,
)
from edge.transport.hostfile import appearing, readable
from edge.transport.known_hosts import HostKey
from edge.transport.login import AGENT_TIMEOUT_S, Login
from edge.transport.target import (
    SshTarget,
    checked_host,
    from_options,
    parse_options,
    parts_of,
)

__all__ = ["SshProcess", "SshTarget", "SshTransport", "connect", "resolve"]

_CHUNK = 1 << 15
_RESOLVE_TIMEOUT_S = 10.0
_OPEN_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 10.0
"""For a channel's farewell while its output still floods in on a busy machine."""
_CONSEQUENCES = ("kex_exchange_identification:", "Connection closed by UNKNOWN")
_UNKNOWN_KEY = "Host key verification failed"
_CONCLUSIONS = (_UNKNOWN_KEY, "stdio forwarding failed")
_REASONS = ("Host key for ", "No ", "channel ")
"""How lines begin that ``ssh`` prints when a jump fails: afterwards, at the end, before that."""
_FAILURES = (paramiko.SSHException, OSError, EOFError)

_log = logging.getLogger(__name__)
# paramiko prints what we report in our own words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


# --- from a name to a target --------------------------------------------------------------------


def resolve(host: str, *, config: Path | None = None) -> SshTarget:
    """What the user's ``ssh`` would do with ``host``.

    It may be an alias, an address, ``user@address`` or ``ssh://user@address:port``.
    ``config`` stands in for ``~/.ssh/config``, as with ``ssh -F``.

    :raises UsageError: ``host`` is no host name, or the configuration has an error.
    """
    checked_host(host)
    client = shutil.which("ssh")
    if client is None:
        note = "read by paramiko, as there is no 'ssh' here: Include and IdentityAgent are ignored"
        _log.warning("%s: %s", host, note)
        return from_options(
            host, _lookup_without_client(host, config), environ=os.environ, config=config, note=note
        )
    argv = [client, *(["-F", str(config)] if config else []), "-G", "--", host]
    try:
        result = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_RESOLVE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise HostError(
            f"'ssh -G {host}' did not end in {_RESOLVE_TIMEOUT_S:g} s: does a 'Match exec' in your "
            "ssh configuration hang?"
        ) from None
    if result.returncode:
        said = result.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UsageError(
            f"ssh can't resolve '{host}': {said[-1] if said else result.returncode}; "
            f"try 'ssh -G {host}'"
        )
    options = parse_options(result.stdout.decode("utf-8", "replace"))
    return from_options(host, options, environ=os.environ, config=config)


def _lookup_without_client(host: str, config: Path | None) -> dict[str, list[str]]:
    """The same keywords as from ``ssh -G``, with OpenSSH's defaults where they matter."""
    user, alias, port = parts_of(host)
    home = Path.home() / ".ssh"
    file = config or home / "config"
    try:
        found: dict[str, Any] = (
            dict(paramiko.SSHConfig.from_path(str(file)).lookup(alias)) if file.is_file() else {}
        )
    except paramiko.SSHException as error:
        raise UsageError(f"{file}: {error}") from error
    options = {k: v if isinstance(v, list) else [str(v)] for k, v in found.items()}
    if user:
        options["user"] = [user]
    if port:
        options["port"] = [str(port)]
    options.setdefault("user", [getpass.getuser()])
    options.setdefault(
        "identityfile", [str(home / f"id_{kind}") for kind in ("rsa", "ecdsa", "ed25519")]
    )
    options.setdefault("userknownhostsfile", [str(home / "known_hosts")])
    options.setdefault("globalknownhostsfile", ["/etc/ssh/ssh_known_hosts"])
    return options


# --- from a target to a connection --------------------------------------------------------------


def connect(target: SshTarget, *, timeout_s: float = 15.0) -> SshTransport:
    """Connect and log in.

    :raises UnreachableError: nothing answers, the host key is unknown or changed, or the login was
        refused; one line that says which and what to do.
    """
    timeout_s = min(timeout_s, target.connect_timeout_s or timeout_s)
    way = _Way(target, timeout_s)
    login = Login(target)
    connection = Connection(
        host=target.hostname,
        user=target.user,
        port=target.port,
        config=Config(
            lazy=True,  # ~/.fabric.yaml is another program's
            overrides={
                "load_ssh_configs": False,
                "authentication": {"strategy_class": lambda **_: login},
            },
        ),
        connect_timeout=timeout_s,
        connect_kwargs={
            "sock": way.socket,
            "banner_timeout": timeout_s,
            "auth_timeout": AGENT_TIMEOUT_S,
            "channel_timeout": timeout_s,
            "transport_factory": _transport_factory(target),
        },
    )
    # fabric accepts any host key unless told otherwise.
    connection.client.set_missing_host_key_policy(_KnownHostsPolicy(target))
    try:
        connection.open()
        transport = connection.client.get_transport()
        assert transport is not None
        return SshTransport(target, connection, transport, way)
    except BaseException as error:
        connection.client.close()
        said = way.close()
        if isinstance(error, EdgeError) or not isinstance(error, Exception):
            raise
        raise UnreachableError(_no_login(target, login, error, said)) from error
    finally:
        login.close()


class _Prompt(socket.socket):
    """A TCP socket that keeps nobody waiting: small packets and acknowledgements go at once.

    Else each of the two sides holds back a small packet until the one before is acknowledged, which
    the other puts off for 40 ms, with every program that is started.
    """

    @classmethod
    def of(cls, dialled: socket.socket) -> _Prompt:
        timeout_s = dialled.gettimeout()
        made = cls(dialled.family, dialled.type, dialled.proto, fileno=dialled.detach())
        made.settimeout(timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def recv(self, *args: int) -> bytes:
        data = super().recv(*args)
        # It holds for what has arrived, not for what comes.
        if hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):  # the connection has ended
                self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


class _Way:
    """The socket to the board: plain TCP, or the ends of a proxy program.

    Not paramiko's ``ProxyCommand``: that spins when the program ends, and leaves it a zombie.
    """

    def __init__(self, target: SshTarget, timeout_s: float) -> None:
        self._target = target
        self._proxy: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        if not target.proxy_argv:
            self.socket = self._dial(timeout_s)
            return
        self.socket, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._proxy = subprocess.Popen(
                target.proxy_argv,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            self.close()
            raise HostError(
                f"can't run '{target.proxy_argv[0]}', the way to {target.label}: {error.strerror}"
            ) from error
        finally:
            theirs.close()

    def hang_up(self) -> None:
        """End paramiko's reader at once: by itself it looks only ten times a second."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> str:
        """Hang up; returns what a proxy program wrote on standard error, as far as it tells."""
        self.socket.close()
        if self._proxy:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._proxy.wait(0.5)
            if self._proxy.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._proxy.pid, signal.SIGKILL)
                self._proxy.wait()
            self._proxy = None
        said = ""
        if self._stderr:
            self._stderr.seek(0)
            said = _last_words(self._stderr.read(1 << 16).decode("utf-8", "replace"))
            self._stderr.close()
            self._stderr = None
        return said

    def _dial(self, timeout_s: float) -> socket.socket:
        target = self._target
        try:
            return _Prompt.of(socket.create_connection((target.hostname, target.port), timeout_s))
        except socket.gaierror as error:
            reason = f"the name '{target.hostname}' does not resolve: {error.strerror}"
        except TimeoutError:
            reason = f"no answer in {timeout_s:g} s"
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
        raise NoWay(_no_board(target, reason), reason) from None


def _last_words(text: str) -> str:
    """The line of a proxy program that says why: not what follows from it, not a banner."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_CONSEQUENCES)] or lines
    if len(telling) > 1 and telling[-1].startswith(_CONCLUSIONS):
        before = telling[-2]
        return f"{before} {telling[-1]}" if before.startswith(_REASONS) else telling[-1]
    return telling[-1] if telling else ""


class NoWay(UnreachableError):
    """Nobody answers.

    :ivar reason: in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def _no_board(target: SshTarget, reason: str) -> str:
    note = f" ({target.note})" if target.note else ""
    remedy = f"name another with --host user@address, or add 'Host {target.label}' to ~/.ssh/config"
    if target.jumps:
        jump = target.jumps[-1]
        if reason.startswith(_UNKNOWN_KEY) and (unknown := _unknown_jump(target)):
            jump, reason = unknown, f"the host key of the jump host {unknown} is not known"
        plural = "s" if len(target.jumps) > 1 else ""
        reason = f"through the jump host{plural} {', '.join(target.jumps)}: {reason}"
        remedy = f"see that '{target.jump_login(jump)}' works and asks nothing"
    return f"no board answers at {target.label} (tried {target.address}: {reason}): {remedy}{note}"


def _unknown_jump(target: SshTarget) -> str:
    """The first jump host that known_hosts has no line for: ``ssh`` does not tell which it was."""
    for jump in target.jumps:
        with contextlib.suppress(EdgeError):
            found = resolve(jump, config=target.config)
            known = known_hosts.load(found.known_hosts)
            if not any(known.of(name) for name in found.host_key_names):
                return jump
    return ""


def _no_login(target: SshTarget, login: Login, error: Exception, proxy_said: str) -> str:
    if login.silent:
        return (
            f"{target.address} connected, and gave no answer to a login for {AGENT_TIMEOUT_S:g} s: "
            "the link was cut, or an ssh-agent waits to be touched; then try again"
        )
    if isinstance(error, paramiko.AuthenticationException) or login.tried:
        tried = ", ".join(login.tried) or "nothing: no key and no agent"
        copy = f"ssh-copy-id -p {target.port} {target.user}@{target.hostname}"
        if login.locked:
            remedy = "unlock the key with 'ssh-add'"
        elif login.stale:
            remedy = "have the certificate renewed by whoever signed it"
        else:
            remedy = f"put your public key on the board, for example with '{copy}'"
        note = f" ({target.note})" if target.note else ""
        return f"{target.address} refused the login (tried {tried}): {remedy}{note}"
    if target.proxy_argv:
        ended = f"'{shlex.join(target.proxy_argv)}' ended or gave no answer"
        return _no_board(target, proxy_said or ended)
    return _no_board(target, f"no SSH server: {error}" if str(error) else "no SSH server")


# --- host keys ----------------------------------------------------------------------------------


class _KnownHostsPolicy(paramiko.MissingHostKeyPolicy):
    """Reject every key that the user's known_hosts files do not vouch for.

    The client is given no host keys of its own, so paramiko asks this for every connection.
    """

    def __init__(self, target: SshTarget) -> None:
        self._target = target

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        # Where a certificate was shown, paramiko verified that the server has the key in it, and
        # nothing else.
        plain, certified = HostKey(key.get_name(), key.asbytes()), None
        if shown := key.public_blob:
            certified = certificate.parse(HostKey(shown.key_type, shown.key_blob))
        if certified is not None and certified.key != plain:
            certified = None
        host_keys.check(self._target, plain, certified)


def shown_key(target: SshTarget, kinds: Collection[str], *, timeout_s: float = 10.0) -> HostKey:
    """The key that the server at ``target`` proves to have; nobody logs in, nothing is compared.

    :param kinds: types of keys that are asked for first.
    :raises NoWay: nobody answers there, or no SSH server.
    """
    timeout_s = min(timeout_s, target.connect_timeout_s or timeout_s)
    way = _Way(target, timeout_s)
    transport: paramiko.Transport | None = None
    try:
        transport = paramiko.Transport(way.socket)
        options = transport.get_security_options()
        options.key_types = host_keys.first_of(options.key_types, kinds)
        transport.start_client(timeout=timeout_s)
        key = transport.get_remote_server_key()
        return HostKey(key.get_name(), key.asbytes())
    except _FAILURES as error:
        reason = way.close() or "no SSH server answers"
        raise NoWay(_no_board(target, reason), reason) from error
    finally:
        if transport is not None:
            transport.close()
        way.close()


# --- the transport ------------------------------------------------------------------------------


class SshTransport(Transport):
    """One connection to a board; made by :func:`connect`. Not for several threads at once."""

    def __init__(
        self,
        target: SshTarget,
        connection: Connection,
        transport: paramiko.Transport,
        way: _Way,
    ) -> None:
        self._target = target
        self._connection = connection
        self._transport = transport
        self._way = way
        self._open: list[SshProcess] = []

    @property
    def name(self) -> str:
        return f"{self._target.user}@{self._target.hostname}"

    def run(
        self,
        argv: Sequence[str | PurePosixPath],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        limit_bytes: int = MAX_OUTPUT_BYTES,
    ) -> Outcome:
        command = words(argv)
        stdout = bytearray()
        deadline = time.monotonic() + timeout_s
        what = f"'{program(command)}'"
        with self._exec(
            command, what, timeout_s, stderr_bytes=MAX_OUTPUT_BYTES, limit_bytes=limit_bytes
        ) as channel:
            chunks = (stdin[i : i + _CHUNK] for i in range(0, len(stdin), _CHUNK))
            code = channel.converse(
                chunks,
                stdout.extend,
                lambda moved: deadline,
                f"did not end in {timeout_s:g} s",
            )
            return Outcome(command, code, bytes(stdout), bytes(channel.stderr))

    def start(self, argv: Sequence[str | PurePosixPath]) -> Process:
        command = words(argv)
        what = f"'{program(command)}'"
        process = SshProcess(self._exec(command, what, _OPEN_TIMEOUT_S))
        self._open = [other for other in self._open if not other.closed] + [process]
        return process

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float = 60.0) -> None:
        what = f"copying {source.name} to {target}"
        # $1, because a fish or a csh would read a redirection of ours in its own way.
        command = ("sh", "-c", 'cat > "$1"', "sh", str(target))
        with (
            readable(source).open("rb") as reader,
            self._exec(command, what, timeout_s, limit_bytes=MAX_OUTPUT_BYTES) as channel,
        ):
            code = channel.converse(
                iter(lambda: reader.read(_CHUNK), b""),
                lambda data: None,
                lambda moved: moved + timeout_s,
                f"made no progress for {timeout_s:g} s",
            )
            if code:
                raise BoardError(
                    f"can't write {target} on {self.name}: {channel.said or f'exit code {code}'}"
                )

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float = 60.0) -> None:
        what = f"copying {source} to {target}"
        command = ("sh", "-c", 'cat < "$1"', "sh", str(source))
        with (
            appearing(target) as writer,
            self._exec(command, what, timeout_s, limit_bytes=MAX_FILE_BYTES) as channel,
        ):
            code = channel.converse(
                iter(()),
                writer.write,
                lambda moved: moved + timeout_s,
                f"made no progress for {timeout_s:g} s",
            )
            if code:
                raise BoardError(
                    f"can't read {source} on {self.name}: {channel.said or f'exit code {code}'}"
                )

    def close(self) -> None:
        self._way.hang_up()
        self._connection.client.close()
        self._transport.join(2.0)
        for process in self._open:
            process.close(timeout_s=0)
        self._open = []
        self._way.close()

    def _exec(
        self,
        command: tuple[str, ...],
        what: str,
        timeout_s: float,
        *,
        stderr_bytes: int = STDERR_TAIL_BYTES,
        limit_bytes: int | None = None,
    ) -> _Channel:
        if not self._transport.is_active():
            raise UnreachableError(
                f"the connection to {self.name} is gone: run the command again to connect anew"
            )
        line = login_line(command)
        label = f"{what} on {self.name}"
        return _Channel(self._transport, line, label, timeout_s, stderr_bytes, limit_bytes)


class SshProcess:
    """A program running on the board; made by :meth:`SshTransport.start`."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._stdout = bytearray()
        self._exit_code: int | None = None

    @property
    def closed(self) -> bool:
        return self._exit_code is not None

    def send(self, data: bytes, timeout_s: float) -> None:
        channel = self._channel
        self._must_be_open()
        view, deadline = memoryview(data), time.monotonic() + timeout_s
        while view:
            if channel.ended:
                channel.read(self._stdout.extend)
                channel.must_be_linked()
                raise BoardError(f"{channel.label} ended before it took its input{channel.said_so}")
            if sent := channel.write(view[:_CHUNK], timeout_s):
                view, deadline = view[sent:], time.monotonic() + timeout_s
            else:
                # What it writes meanwhile is kept, but does not count for what it takes.
                moved = channel.read(self._stdout.extend)
                if len(self._stdout) > MAX_OUTPUT_BYTES:
                    raise BoardError(f"{channel.label} wrote more than anybody would read")
                if time.monotonic() >= deadline:
                    raise BoardError(
                        f"{channel.label} took no input for {timeout_s:g} s{channel.said_so}"
                    )
                if not moved:
                    channel.wait_to_write(deadline)

    def receive_line(self, timeout_s: float, limit_bytes: int = 65536) -> bytes:
        channel = self._channel
        self._must_be_open()
        deadline, searched = time.monotonic() + timeout_s, 0
        while (end := self._stdout.find(b"\n", searched)) < 0 and searched <= limit_bytes:
            searched = len(self._stdout)
            moved = channel.read(self._stdout.extend)
            if not moved and channel.ended:
                channel.must_be_linked()
                raise BoardError(f"{channel.label} ended without an answer{channel.said_so}")
            # A line that comes byte by byte for ever is late too.
            if time.monotonic() >= deadline and self._stdout.find(b"\n", searched) < 0:
                raise BoardError(
                    f"{channel.label} did not answer in {timeout_s:g} s{channel.said_so}"
                )
            if not moved:
                channel.wait(deadline)
        if end < 0 or end > limit_bytes:
            raise BoardError(
                f"{channel.label} wrote a line longer than {limit_bytes} bytes{channel.said_so}"
            )
        line = bytes(self._stdout[:end])
        del self._stdout[: end + 1]
        return line

    def close(self, timeout_s: float = 5.0) -> int:
        if self._exit_code is None:
            deadline = time.monotonic() + timeout_s
            with self._channel as channel:
                try:
                    self._exit_code = channel.converse(
                        iter(()), lambda data: None, lambda moved: deadline, ""
                    )
                except BoardError:
                    self._exit_code = -1
        return self._exit_code

    def _must_be_open(self) -> None:
        if self._exit_code is not None:
            raise BoardError(f"{self._channel.label} is closed")


class _Channel:
    """An exec channel: its streams, polled; its standard error's tail; its end."""

    def __init__(
        self,
        transport: paramiko.Transport,
        line: bytes,
        label: str,
        timeout_s: float,
        stderr_bytes: int,
        limit_bytes: int | None,
    ) -> None:
        """:param limit_bytes: of either stream; None: whoever reads them sees to it."""
        self.label = label
        self.stderr = bytearray()
        self._stdout_bytes = self._stderr_bytes = 0
        self._kept_bytes = stderr_bytes
        self._limit_bytes = limit_bytes
        self._transport = transport
        try:
            with _guillotine(transport, timeout_s) as fell:
                self._channel = transport.open_session(timeout=timeout_s)
                self._channel.exec_command(line)
        except _FAILURES as error:
            if fell.is_set():
                raise BoardError(
                    f"{label} did not start in {timeout_s:g} s: the connection was cut"
                ) from error
            raise BoardError(f"{label} could not be started: {_reason(error)}") from error
        self._channel.setblocking(0)
        # Not select(): paramiko makes a pipe for it, and its reader may write to one that is just
        # being closed, which ends the whole connection, or reaches a stranger's descriptor.
        self._arrived = _Arrival()
        for buffer in (self._channel.in_buffer, self._channel.in_stderr_buffer):
            buffer.set_event(self._arrived)

    @property
    def ended(self) -> bool:
        """No more output will come."""
        channel = self._channel
        over = channel.eof_received or channel.closed
        return bool(over) and not channel.recv_ready() and not channel.recv_stderr_ready()

    @property
    def said(self) -> str:
        return self.stderr.decode("utf-8", "replace").strip()

    @property
    def said_so(self) -> str:
        return f": {self.said}" if self.said else ""

    def write(self, data: bytes | memoryview, timeout_s: float) -> int:
        """Send what the window takes now; the link itself has ``timeout_s`` to take it."""
        if not self._channel.send_ready():
            return 0
        try:
            with _guillotine(self._transport, timeout_s) as fell:
                return self._channel.send(bytes(data))
        except TimeoutError:
            return 0
        except _FAILURES as error:
            if fell.is_set():
                raise BoardError(
                    f"{self.label}: the link took nothing for {timeout_s:g} s and was cut"
                ) from error
            self.must_be_linked()
            return 0

    def read(self, out: Callable[[bytes], object]) -> bool:
        """Take what has arrived; true if there was something.

        :raises BoardError: it is more than this program may write.
        """
        self._arrived.forget()
        moved = False
        if self._channel.recv_ready():
            data = self._channel.recv(_CHUNK)
            self._stdout_bytes += len(data)
            out(data)
            moved = True
        if self._channel.recv_stderr_ready():
            data = self._channel.recv_stderr(_CHUNK)
            self._stderr_bytes += len(data)
            self.stderr += data
            del self.stderr[: -self._kept_bytes]
            moved = True
        limit = self._limit_bytes
        if limit is not None and max(self._stdout_bytes, self._stderr_bytes) > limit:
            raise BoardError(f"{self.label} wrote more than {limit >> 20} MiB")
        return moved

    def wait(self, deadline: float) -> None:
        """Until output arrives or ends, or has since it was last read."""
        self._arrived.wait(max(0.0, deadline - time.monotonic()))

    def wait_to_write(self, deadline: float) -> None:
        """Until the board takes more, or for a moment: output that arrives wants to be read too."""
        window = self._channel.out_buffer_cv
        with window:
            if self._channel.out_window_size == 0:
                window.wait(min(0.02, max(0.0, deadline - time.monotonic())))

    def converse(
        self,
        stdin: Iterator[bytes],
        out: Callable[[bytes], object],
        deadline_after: Callable[[float], float],
        late: str,
    ) -> int:
        """Feed ``stdin``, take all output, return the exit code.

        ``deadline_after`` gives the deadline, from the time when the last byte of either moved.
        Standard error is no progress.
        """
        pending: memoryview | None = memoryview(next(stdin, b""))
        deadline = deadline_after(time.monotonic())
        while not self.ended:
            before, sent = self._stdout_bytes, 0
            moved = self.read(out)
            now = time.monotonic()
            if pending is not None:
                if pending:
                    sent = self.write(pending, max(0.1, deadline - now))
                    pending = pending[sent:]
                if not pending:
                    pending = memoryview(next(stdin, b"")) or None
                    if pending is None:
                        self._end_input(max(0.1, deadline - now))
            now = time.monotonic()
            if now >= deadline:
                raise BoardError(f"{self.label} {late}{self.said_so}")
            if sent or self._stdout_bytes > before:
                deadline = deadline_after(now)
            elif not moved:
                self.wait_to_write(deadline) if pending else self.wait(deadline)
        self._channel.status_event.wait(max(0.0, deadline - time.monotonic()))
        if not self._channel.status_event.is_set():
            raise BoardError(f"{self.label} {late}{self.said_so}")
        if self._channel.exit_status < 0:
            self.must_be_linked()
        return int(self._channel.exit_status)

    def must_be_linked(self) -> None:
        """
        :raises BoardError: the channel ended because the connection did.
        """
        # paramiko closes the channels of a lost link a moment before it says that it is lost.
        self._transport.join(0.3 if self._channel.exit_status < 0 else 0)
        if not self._transport.is_active():
            raise BoardError(
                f"{self.label}: the connection was lost{self.said_so}; run the command again, "
                "it goes on where it was"
            )

    def __enter__(self) -> _Channel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*_FAILURES), _guillotine(self._transport, _CLOSE_TIMEOUT_S):
            self._channel.close()

    def _end_input(self, timeout_s: float) -> None:
        with contextlib.suppress(*_FAILURES), _guillotine(self._transport, timeout_s):
            self._channel.shutdown_write()


class _Arrival(threading.Event):
    """Of either stream: paramiko clears it when one of them is empty, whatever the other holds."""

    def clear(self) -> None:
        pass

    def forget(self) -> None:
        super().clear()


@contextlib.contextmanager
def _guillotine(transport: paramiko.Transport, timeout_s: float) -> Iterator[threading.Event]:
    """Cut the whole connection if the block lasts longer than ``timeout_s``.

    It is the one thing that wakes all of paramiko's waits. Only a link that is dead, or a server
    that does not answer the protocol, comes to this; a program that is merely slow never does.
    """
    fell = threading.Event()

    def fall() -> None:
        fell.set()
        transport.close()

    timer = threading.Timer(timeout_s, fall)
    timer.daemon = True
    timer.start()
    try:
        yield fell
    finally:
        timer.cancel()
        timer.join()


def _note_signal(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """paramiko drops ``exit-signal``; a SIGILL on the board is what we most want to hear of."""
    request = paramiko.Message(message.get_remainder())
    if request.get_text() == "exit-signal":
        request.get_boolean()
        with contextlib.suppress(AttributeError):  # a signal that this machine lacks
            channel.exit_status = 128 + int(getattr(signal, f"SIG{request.get_text()}"))
            channel.status_event.set()
    channel._handle_request(message)  # type: ignore[attr-defined]


class _SignalTransport(paramiko.Transport):
    # Not public: should it be renamed one day, exit codes of killed programs become -1, no worse.
    _channel_handler_table = {  # noqa: RUF012
        **getattr(paramiko.Transport, "_channel_handler_table", {}),
        MSG_CHANNEL_REQUEST: _note_signal,
    }

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        # paramiko would ask for certificates too, after everything else and of every host.
        return tuple(self.get_security_options().key_types)


def _transport_factory(target: SshTarget) -> Callable[..., paramiko.Transport]:
    def make(*args: Any, **kwargs: Any) -> paramiko.Transport:
        transport = _SignalTransport(*args, **kwargs)
        options = transport.get_security_options()
        options.key_types = host_keys.preferred_kinds(target, options.key_types)
        return transport

    return make


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


_: type[Transport] = SshTransport
