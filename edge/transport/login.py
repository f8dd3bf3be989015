"""Logging in over SSH: an agent's keys, key files and certificates, in OpenSSH's order."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey, NoneAuth
from paramiko.pkey import PublicBlob

from edge.transport import certificate, passphrase
from edge.transport.certificate import Certificate
from edge.transport.passphrase import Locked
from edge.transport.target import SshTarget

AGENT_TIMEOUT_S = 60.0
"""An agent may ask its owner for a touch."""

_KINDS: tuple[type[paramiko.PKey], ...] = (
    paramiko.Ed25519Key,
    paramiko.ECDSAKey,
    paramiko.RSAKey,
)


class Login(AuthStrategy):
    """Everything that the user's ``ssh`` would try.

    None at all, certificates that are configured, the agent's keys (those of configured files
    first), key files; last those that ask for a passphrase. ``ssh`` asks only for keys that a
    server has said it takes; paramiko can't know that.

    :ivar tried: what was offered or passed over, for a message.
    :ivar locked: a key file was passed over for its passphrase.
    :ivar stale: a certificate was offered that is no use as it is.
    :ivar silent: the last offer got no answer at all.
    """

    def __init__(self, target: SshTarget) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._target = target
        self._agent: _Agent | None = None
        self._listed = [
            (path, found)
            for path in target.certificate_files
            if (found := certificate.read(path)) is not None
        ]
        self.tried: list[str] = []
        self.locked = False
        self.stale = False
        self.silent = False

    def get_sources(self) -> Iterator[AuthSource]:
        """What is offered, one after the other, until one is taken or gets no answer.

        Behind a link that was cut each further offer would wait as long as the first.
        """
        for source in self._offers():
            began = time.monotonic()
            yield source
            self.silent = time.monotonic() - began >= AGENT_TIMEOUT_S
            if self.silent:
                return

    def _offers(self) -> Iterator[AuthSource]:
        # Small boards let root in without anything.
        yield NoneAuth(self._target.user)
        held = self._agent_keys()
        signers = {key.asbytes(): key for key in held}
        files: list[tuple[Path, paramiko.PKey]] = []
        locked: list[Path] = []
        for path in self._target.identity_files:
            if not path.is_file() or path.suffix == ".pub":
                continue
            try:
                files.append((path, _load(path, None)))
            except paramiko.PasswordRequiredException:
                locked.append(path)
            except (OSError, ValueError, paramiko.SSHException):  # the next file may do
                self.tried.append(f"{path} (can't be read)")
        for path, found in self._listed:
            signer = signers.get(found.key.blob) or next(
                (key for _, key in files if key.asbytes() == found.key.blob), None
            )
            if signer is not None:
                yield self._certified(signer, path, found)
        beside = {
            public: self._beside(path)
            for path in self._target.identity_files
            if (public := _public_blob(path))
        }
        for agent_key in held:
            yield self._plain(agent_key, f"{agent_key.comment or agent_key.name} from the agent")
            if certified := beside.get(agent_key.asbytes()):
                yield self._certified(agent_key, *certified)
        for path, key in files:
            if key.asbytes() not in signers:
                yield from self._file(path, key)
        for path in locked:
            if _public_blob(path) not in signers:
                yield from self._locked_file(path)

    def close(self) -> None:
        if self._agent:
            self._agent.link.close()
            self._agent = None

    def _file(self, path: Path, key: paramiko.PKey) -> Iterator[AuthSource]:
        yield self._plain(key, str(path))
        if certified := self._beside(path):
            yield self._certified(key, *certified)

    def _locked_file(self, path: Path) -> Iterator[AuthSource]:
        def load(typed: str) -> paramiko.PKey | None:
            try:
                return _load(path, typed)
            except (OSError, ValueError, paramiko.SSHException):
                return None

        opened = passphrase.unlocked(path, load) if self._target.may_ask else Locked.NOBODY
        if isinstance(opened, Locked):
            self.locked = True
            self.tried.append(f"{path} ({opened.value})")
            return
        key = copy.copy(opened)  # shared with other connections, and we are about to dress it up
        for certified in self._listed:
            if certified[1].key.blob == key.asbytes():
                yield self._certified(key, *certified)
        yield from self._file(path, key)

    def _plain(self, key: paramiko.PKey, name: str) -> AuthSource:
        self.tried.append(name)
        key.public_blob = None
        return InMemoryPrivateKey(self._target.user, key)

    def _certified(self, key: paramiko.PKey, path: Path, found: Certificate) -> AuthSource:
        """The key as what a certificate says it is."""
        flaw = found.flaw_of_user(time.time())
        self.stale = self.stale or bool(flaw)
        names = ", ".join(found.principals) or "everybody"
        self.tried.append(f"{path} for {names}{f': {flaw}' if flaw else ''}")
        key.public_blob = PublicBlob(found.spelled.kind, found.spelled.blob)
        return InMemoryPrivateKey(self._target.user, key)

    def _beside(self, path: Path) -> tuple[Path, Certificate] | None:
        """The certificate that belongs to a key by its name; not if the user lists some."""
        place = path.with_name(path.name.removesuffix(".pub") + "-cert.pub")
        found = None if self._target.certificate_files else certificate.read(place)
        return None if found is None else (place, found)

    def _agent_keys(self) -> list[paramiko.AgentKey]:
        if not self._target.agent_socket:
            return []
        try:
            self._agent = _Agent(self._target.agent_socket)
        except (OSError, paramiko.SSHException) as error:
            self.tried.append(f"the agent at {self._target.agent_socket} ({error})")
            return []
        configured = {found.spelled.blob for _, found in self._listed}
        for path in self._target.identity_files:
            configured.add(_public_blob(path))
            if certified := self._beside(path):
                configured.add(certified[1].spelled.blob)
        keys = list(self._agent.get_keys())
        for key in keys:
            if key.name.endswith(certificate.SUFFIX):
                # paramiko would send the bare key of an RSA certificate in its place.
                key.inner_key = None  # type: ignore[attr-defined]
        if self._target.identities_only:
            keys = [key for key in keys if key.asbytes() in configured]
        # Configured keys first: a server hangs up after a few.
        return sorted(keys, key=lambda key: key.asbytes() not in configured)


class _Agent(paramiko.agent.AgentSSH):
    """The agent at a socket of our choice: paramiko's own knows only ``SSH_AUTH_SOCK``."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.link.settimeout(AGENT_TIMEOUT_S)
        try:
            self.link.connect(path)
            self._connect(self.link)  # type: ignore[attr-defined]
        except BaseException:
            self.link.close()
            raise


def _load(path: Path, typed: str | None) -> paramiko.PKey:
    """The key in a file, without the certificate that may lie beside it.

    :raises paramiko.PasswordRequiredException: it has a passphrase.
    """
    text = path.read_text("utf-8", "replace")
    for kind in _KINDS:
        try:
            return kind.from_private_key(io.StringIO(text), typed)
        except paramiko.PasswordRequiredException:
            raise
        except (ValueError, IndexError, paramiko.SSHException):
            continue
    raise paramiko.SSHException(f"no key in {path}")


def _public_blob(path: Path) -> bytes:
    """The public half of a key file, from the ``.pub`` beside it; empty if there is none."""
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    with contextlib.suppress(OSError, IndexError, ValueError):
        return base64.b64decode(public.read_text("utf-8", "replace").split()[1])
    return b""
