"""Where an SSH connection goes, and what it may use on the way."""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge.errors import UsageError

_WITH_PORT = re.compile(r"([^:/]+@)?[^:/@]+:\d+")
_SHELL_CHARACTERS = re.compile(r"[\s\0-\x1f\x7f'\"`$\\;&<>|(){}*?!#]")


@dataclass(frozen=True)
class SshTarget:
    """Everything needed to connect; ``ssh.resolve`` makes one from the user's configuration.

    Made directly, it uses nothing of the user's: no agent, no configuration, and only the
    ``known_hosts`` files that are named.
    """

    hostname: str
    user: str
    port: int = 22
    alias: str = ""
    """What the user typed, if that was something else."""
    identity_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    """Those beside a key file are found without being named."""
    identities_only: bool = False
    may_ask: bool = False
    """For a key file's passphrase, if there is a terminal."""
    agent_socket: str = ""
    """Empty: no agent."""
    proxy_argv: tuple[str, ...] = ()
    """A program whose standard input and output are the connection."""
    jumps: tuple[str, ...] = ()
    """The hosts that it goes through, if it is ``ssh``."""
    known_hosts: tuple[Path, ...] = ()
    host_key_alias: str = ""
    accept_unknown_host: bool = False
    """The configuration says ``StrictHostKeyChecking no`` or ``accept-new``."""
    hash_known_hosts: bool = False
    connect_timeout_s: float | None = None
    config: Path | None = None
    """The ``ssh -F`` file, so that a remedy can be copied."""
    note: str = ""
    """What a reader of an error should know about how this was found."""

    @property
    def address(self) -> str:
        """``user@host:port``, for messages."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{self.user}@{host}:{self.port}"

    @property
    def label(self) -> str:
        return self.alias or self.hostname

    def jump_login(self, jump: str) -> str:
        """The command that logs in at one of the jump hosts, by way of those before it."""
        before = self.jumps[: self.jumps.index(jump)]
        config = ("-F", str(self.config)) if self.config else ()
        return shlex.join(["ssh", *config, *_through(before), jump, "true"])

    @property
    def host_key_names(self) -> tuple[str, ...]:
        """What known_hosts may call this host, the best name first."""
        if self.host_key_alias:
            return (self.host_key_alias,)
        if self.port == 22:
            return (self.hostname,)
        return (f"[{self.hostname}]:{self.port}", self.hostname)


def checked_host(host: str) -> str:
    """``host`` unchanged, if it may stand on a command line.

    :raises UsageError: it could be taken for an option, or has a character that a shell acts on.
    """
    if not host or host.startswith("-") or _SHELL_CHARACTERS.search(host):
        raise UsageError(
            f"{host!r} is no host: give an alias from ~/.ssh/config, an address, user@address, or "
            "ssh://user@address:port"
        )
    if found := _WITH_PORT.fullmatch(host):
        raise UsageError(f"{host!r} has a port: write ssh://{found[0]}")
    return host


def parts_of(host: str) -> tuple[str, str, int | None]:
    """User, host and port of what a user typed; "" and None for what is not in it.

    :raises UsageError: an ``ssh://`` address with a port that is none.
    """
    if not host.startswith("ssh://"):
        user, _, name = host.rpartition("@")
        return user, name, None
    try:
        address = urlsplit(host)
        return address.username or "", address.hostname or "", address.port
    except ValueError:
        raise UsageError(f"{host!r} is no host: write ssh://user@address:port") from None


def destination(user: str, host: str, port: int = 22) -> str:
    """What leads ``ssh`` there: ``user@host``, or an ``ssh://`` address for another port."""
    if port == 22:
        return f"{user}@{host}"
    return f"ssh://{user}@{f'[{host}]' if ':' in host else host}:{port}"


def parse_options(text: str) -> dict[str, list[str]]:
    """What ``ssh -G`` printed: each keyword's values in order."""
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword:
            options.setdefault(keyword.lower(), []).append(value.strip())
    return options


def from_options(
    host: str,
    options: Mapping[str, Sequence[str]],
    *,
    environ: Mapping[str, str],
    config: Path | None = None,
    note: str = "",
) -> SshTarget:
    """The target that OpenSSH's resolved options describe."""

    def first(keyword: str, default: str = "") -> str:
        return next(iter(options.get(keyword, ())), default)

    # ssh names the host itself, without the user and the port of an ssh:// address
    alias = first("host", parts_of(host)[1])
    hostname = first("hostname", alias)
    user = first("user") or getpass.getuser()
    try:
        port = int(first("port", "22"))
    except ValueError:
        raise UsageError(f"{first('port')!r} is no port (host {host})") from None
    tokens = {
        "%": "%",
        "d": str(Path.home()),
        "h": hostname,
        "k": first("hostkeyalias") or alias,
        "n": alias,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
        "i": str(os.getuid()),
    }

    def path(value: str) -> Path:
        return Path(_expand(value.strip('"'), tokens)).expanduser()

    def paths(keyword: str) -> tuple[Path, ...]:
        return tuple(path(value) for value in options.get(keyword, ()) if value.lower() != "none")

    known = [
        word
        for keyword in ("userknownhostsfile", "globalknownhostsfile")
        for value in options.get(keyword, ())
        for word in value.split()
        if word.lower() != "none"
    ]
    jumps = _jumps(first("proxyjump"))
    timeout = first("connecttimeout")
    return SshTarget(
        hostname=hostname,
        user=user,
        port=port,
        alias=alias if alias != hostname else "",
        identity_files=paths("identityfile"),
        certificate_files=paths("certificatefile"),
        identities_only=first("identitiesonly") in ("yes", "true"),
        may_ask=first("batchmode") not in ("yes", "true"),
        agent_socket=_agent(first("identityagent", "SSH_AUTH_SOCK"), environ, tokens),
        proxy_argv=_proxy(jumps, first("proxycommand"), hostname, port, config, tokens),
        jumps=jumps,
        known_hosts=tuple(path(word) for word in known),
        host_key_alias=first("hostkeyalias"),
        accept_unknown_host=first("stricthostkeychecking") in ("no", "off", "false", "accept-new"),
        hash_known_hosts=first("hashknownhosts") in ("yes", "true"),
        connect_timeout_s=float(timeout) if timeout.isdigit() and int(timeout) else None,
        config=config,
        note=note,
    )


def _agent(value: str, environ: Mapping[str, str], tokens: Mapping[str, str]) -> str:
    if value.lower() == "none":
        return ""
    if value == "SSH_AUTH_SOCK":
        return environ.get("SSH_AUTH_SOCK", "")
    if value.startswith("$"):
        return environ.get(value[1:].strip("{}"), "")
    return str(Path(_expand(value, tokens)).expanduser())


def _jumps(value: str) -> tuple[str, ...]:
    return () if value.lower() in ("", "none") else tuple(value.split(","))


def _through(jumps: Sequence[str]) -> tuple[str, ...]:
    return ("-J", ",".join(jumps)) if jumps else ()


def _proxy(
    jumps: Sequence[str],
    command: str,
    hostname: str,
    port: int,
    config: Path | None,
    tokens: Mapping[str, str],
) -> tuple[str, ...]:
    """How to reach a host that can't be reached directly: jumps by the user's own client."""
    if jumps:
        *before, last = jumps
        destination = last if last.startswith("ssh://") else f"ssh://{last}"
        host = f"[{hostname}]" if ":" in hostname else hostname
        return (
            "ssh",
            *(("-F", str(config)) if config else ()),
            # No terminal to ask on: a question must become an error.
            *("-o", "BatchMode=yes"),
            *_through(before),
            *("-W", f"{host}:{port}", "--", destination),
        )
    if command and command.lower() != "none":
        quoted = {**tokens, "h": shlex.quote(tokens["h"]), "r": shlex.quote(tokens["r"])}
        return ("sh", "-c", "exec " + _expand(command, quoted))
    return ()


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    """OpenSSH's ``%`` tokens; one that isn't known stays as it is."""
    return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)
