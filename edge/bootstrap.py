"""Bootstrap: from a board's serial line to a login over SSH that nobody had to trust blindly.

The serial line is a cable to the board itself, so what comes over it decides: its host keys are
read there, and the first connection over the network is made to a server that proves one of them.
Everything is looked at before anything is changed, and each change is whole or was not made; the
command may be run again at any time.

What a board says is text that nobody has vouched for: addresses pass through ``ipaddress``, keys
are taken apart and put together again, and nothing else of it is written anywhere.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import getpass
import ipaddress
import itertools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edge import board as board_module
from edge import image, lab, session
from edge.board import Board
from edge.console import Console
from edge.errors import BoardError, EdgeError, HostError, UnreachableError, UsageError
from edge.facts import Facts
from edge.transport import Transport, known_hosts, ssh
from edge.transport.known_hosts import HostKey
from edge.transport.target import SshTarget, checked_host, destination

Progress = Callable[[str], None]

PASSWORD_VARIABLE = "EDGE_PASSWORD"

_LOGIN_S = 120.0
"""A board that was just flashed boots slowly, the first time."""
_COMMAND_S = 60.0
_ANSWER_S = 8.0
"""For one address."""
_MOST = 16
"""Addresses and host keys; no real board has more."""

_HOST_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_USER_KINDS = (
    *_HOST_KINDS,
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

_BOOT_FILE = "/proc/sys/kernel/random/boot_id"

# One line for each answer, "word=…". /proc first: it needs no program, and every Linux has it.
_SURVEY = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
each() { while IFS= read -r l || [ -n "$l" ]; do echo "$1=$l"; done; }
if [ -r /proc/net/fib_trie ]; then
  each trie </proc/net/fib_trie
  [ ! -r /proc/net/if_inet6 ] || each inet6 </proc/net/if_inet6
else
  for c in "ip -o addr" "ip addr" ifconfig; do
    s=$($c) && case $s in *inet*) echo "$s" | each tool; break ;; esac
  done
fi
for f in /proc/net/tcp /proc/net/tcp6; do
  [ ! -r $f ] || while read -r n l r s x; do [ "$s" != 0A ] || echo "listens=$l"; done <$f
done
for f in /proc/[0-9]*/comm; do
  read -r c <$f && case $c in sshd*|dropbear*|tinysshd*) echo "server=$c" ;; esac
done
for c in sshd dropbear systemctl; do command -v $c >/dev/null && echo "has=$c"; done
for f in /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf; do
  [ ! -r "$f" ] || while read -r k v x; do
    case $k in
      [Pp]ort) echo "port=$v" ;;
      [Hh]ost[Kk]ey) [ ! -r "$v.pub" ] || each key <"$v.pub" ;;
    esac
  done <"$f"
done
seen=
for f in /etc/ssh/ssh_host_*_key; do
  if [ -r "$f.pub" ]; then seen=1; each key <"$f.pub"
  elif [ -r "$f" ]; then ssh-keygen -y -P "" -f "$f" | each key; fi
done
for f in /etc/dropbear/*host_key /etc/ssh/dropbear_*host_key; do
  [ ! -r "$f" ] || dropbearkey -y -f "$f" | each key
done
[ "$seen" ] || ssh-keyscan -T 5 127.0.0.1 | each scanned
[ ! -r /proc/sys/kernel/random/boot_id ] || each boot </proc/sys/kernel/random/boot_id
echo "end=."
"""

# $1: the line, $2: the key's type, $3: the key.
_INSTALL = r"""
umask 077
line=$1 kind=$2 blob=$3
[ -n "$HOME" ] && cd "$HOME" || exit 1
f=.ssh/authorized_keys
[ -d .ssh ] || mkdir .ssh || exit 1
chmod 700 .ssh || exit 1
if [ -L $f ]; then f=$(readlink -f $f) || exit 1; fi
found=
look() { case " $l " in " #"*) ;; *" $kind $blob "*) found=1 ;; esac; }
l=
if [ -e "$f" ]; then
  while IFS= read -r l; do look; l=; done <"$f" || exit 1
  look
fi
case $(ls -ldL .) in ?????w*|????????w*) echo loose ;; esac
if [ "$found" ]; then chmod 600 "$f" && echo there; exit; fi
t=$f.edge
trap 'rm -f "$t"' 0
trap 'exit 1' 1 2 15
: >"$t" || exit 1
if [ -e "$f" ]; then cat "$f" >>"$t" || exit 1; fi
# The last line may have no end.
if [ -n "$l" ]; then echo >>"$t" || exit 1; fi
printf '%s\n' "$line" >>"$t" || exit 1
[ "$(tail -n 1 "$t")" = "$line" ] || exit 1
chmod 600 "$t" && mv -f "$t" "$f" && sync && echo added
"""


# --- what goes in, and what comes out -----------------------------------------------------------


@dataclass(frozen=True)
class PublicKey:
    """What is put on the board.

    :ivar key: type and blob, as a host's.
    """

    path: Path
    key: HostKey
    comment: str

    @property
    def line(self) -> str:
        return f"{self.key.spelled} {self.comment}".strip()


@dataclass(frozen=True)
class Plan:
    """What was asked for; made by :func:`plan`."""

    user: str
    address: tuple[str, int | None] | None
    key: PublicKey | None
    serial: str | None
    force: bool


@dataclass(frozen=True)
class Survey:
    """What a board said of itself.

    :ivar addresses: the best first; none that this machine can't reach for certain.
    :ivar port: where its SSH server listens; None if it could not be told.
    :ivar boot: what this start of the board's system is called; empty if it has no name.
    """

    addresses: tuple[str, ...]
    keys: tuple[HostKey, ...]
    port: int | None
    boot: str


@dataclass(frozen=True)
class Bootstrapped:
    """A board that can be deployed to.

    :ivar host: its SSH destination, as lab.toml has it now.
    :ivar host_keys: read over the serial line.
    :ivar known_hosts: the file that they stand in.
    :ivar recorded: how many of them are new there.
    """

    board: Board
    host: str
    target: SshTarget
    serial: str
    host_keys: tuple[HostKey, ...]
    known_hosts: Path
    recorded: int
    key: PublicKey
    key_added: bool
    lab: Path
    lab_changed: bool
    facts: Facts


# --- the whole ----------------------------------------------------------------------------------


def plan(
    user: str,
    *,
    address: str | None = None,
    key: Path | None = None,
    serial: str | None = None,
    force: bool = False,
) -> Plan:
    """What was asked for, checked as far as it can be before the board is asked.

    :param address: ``HOST`` or ``HOST:PORT`` instead of what the board says.
    :param key: a public key file instead of the first one that ``ssh`` would use.
    :param serial: what to write into lab.toml as the board's line; None: nothing.
    :param force: other values in lab.toml are replaced.
    :raises UsageError: the address is none, or the file holds no public key.
    """
    return Plan(
        user,
        None if address is None else parse_address(address),
        None if key is None else read_key(key),
        serial,
        force,
    )


def bootstrap(
    board: Board, console: Console, wanted: Plan, password: str, progress: Progress
) -> Bootstrapped:
    """Make the board at the other end of ``console`` one that SSH reaches.

    :raises UsageError: there is no key, or lab.toml has other values.
    :raises BoardError: the board has no SSH server that runs, or no host key that can be read.
    :raises UnreachableError: the login is refused, no address answers with a host key of the
        board's, or known_hosts has another key for it.
    """
    changes: list[str] = []
    try:
        return _bootstrap(board, console, wanted, password, progress, changes)
    except (EdgeError, KeyboardInterrupt):
        if changes:
            progress(f"done so far: {'; '.join(changes)}; the same command goes on from there")
        else:
            progress("nothing was changed, neither on the board nor here")
        raise


def _bootstrap(
    board: Board,
    console: Console,
    wanted: Plan,
    password: str,
    progress: Progress,
    changes: list[str],
) -> Bootstrapped:
    user = wanted.user
    with _logged_in(console, user, password, progress):
        progress("asking the board for its addresses and host keys")
        seen = survey(console, sudo="" if user == "root" else "sudo ")
        host, target = _reachable(board, wanted, seen, progress)
        public = wanted.key or _own_key(target)
        missing = _unrecorded(target, seen.keys)
        values = {"host": host}
        if wanted.serial is not None:
            values["serial"] = wanted.serial
        lab.edited(lab.read(), board.name, values, force=wanted.force)
        progress(f"putting {public.path} on the board, for {user}")
        added, loose = _install(console, public, user, changes)
    file = target.known_hosts[0]
    if missing:
        progress(f"recording the board's host keys in {file}")
        _record(target, missing)
        changes.append(f"its host keys are in {file}")
    progress(f"logging in at {target.address}")
    try:
        with session.connect(replace(board, host=host), progress) as opened:
            facts = opened.facts
            _must_be_the_same(seen, opened.transport, host)
    except _Other:
        raise
    except UnreachableError as error:
        hint = (
            f"the home of {user} on the board can be written by others, which SSH servers refuse: "
            "`chmod go-w ~` there"
            if loose
            else f"{public.path} is on the board: does `ssh -G {host}` name it as an identityfile?"
        )
        raise UnreachableError(f"{error}; {hint}") from error
    return Bootstrapped(
        board=board,
        host=host,
        target=target,
        serial=console.name,
        host_keys=seen.keys,
        known_hosts=file,
        recorded=len(missing),
        key=public,
        key_added=added,
        lab=board_module.lab_file(),
        lab_changed=lab.write(board.name, values, force=wanted.force),
        facts=facts,
    )


@contextlib.contextmanager
def _logged_in(console: Console, user: str, password: str, progress: Progress) -> Iterator[None]:
    progress(f"logging in as {user} on {console.name}")
    console.login(user, password, timeout_s=_LOGIN_S)
    try:
        yield
    except BaseException:
        with contextlib.suppress(EdgeError):
            console.write(b"\x03")
        raise
    finally:
        # Else whoever comes to the line next has this login.
        with contextlib.suppress(EdgeError):
            console.write(b"\x15exit\r")


# --- before the first word ----------------------------------------------------------------------


def login_name(board: Board, given: str | None) -> str:
    """Who logs in: ``given``, an emulated board's own user, or whom ``ssh`` would log in.

    :raises UsageError: the board has no serial line.
    """
    if board.local or board.emulation == "user":
        raise UsageError(f"board {board.name} has no serial line: choose a board with hardware")
    if given is not None:
        # It goes into an SSH destination.
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", given):
            raise UsageError(f"--user {given!r} is no login's name")
        return given
    if board.emulation == "machine" and board.host is None:
        return image.USER
    return ssh.resolve(board.host or board.name).user


def password(user: str, port: str, file: Path | None) -> str:
    """From ``file``, else from $EDGE_PASSWORD, else whoever sits at the terminal is asked.

    :raises UsageError: nobody is there to be asked, or the file can't be read.
    """
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"can't read the password file {file}: {error}") from None
        return lines[0] if lines else ""
    if (found := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return found
    if sys.stdin.isatty():
        return getpass.getpass(f"password of {user} on {port} (Enter if there is none): ")
    raise UsageError(
        f"no terminal to ask for the password of {user}: give --password-file FILE, or set "
        f"{PASSWORD_VARIABLE}"
    )


def parse_address(text: str) -> tuple[str, int | None]:
    """Host and port of ``HOST``, ``HOST:PORT``, ``[V6]:PORT`` or a bare IPv6 address.

    :raises UsageError: it is none of these.
    """
    wrong = UsageError(
        f"--address {text!r} is no address: write HOST, HOST:PORT or [V6-ADDRESS]:PORT; who logs "
        "in goes with --user"
    )
    if found := re.fullmatch(r"\[([^\[\]]+)\](?::(\d{1,5}))?", text):
        host, port = found[1], found[2]
    elif text.count(":") > 1:
        host, port = text, None
    elif found := re.fullmatch(r"([^:]+)(?::(\d{1,5}))?", text):
        host, port = found[1], found[2]
    else:
        raise wrong
    if ":" in host or text.startswith("["):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise wrong from None
    elif not re.fullmatch(r"[A-Za-z0-9_.-]+", host) or host.startswith("-"):
        raise wrong
    number = None if port is None else int(port)
    if number is not None and not 0 < number < 65536:
        raise wrong
    return checked_host(host), number


# --- keys ---------------------------------------------------------------------------------------


def read_key(path: Path) -> PublicKey:
    """The one public key in a ``.pub`` file.

    :raises UsageError: it can't be read, is a private key, or holds no key or several.
    """
    try:
        text = path.read_bytes()[: 1 << 16].decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"can't read the key {path}: {error.strerror}") from None
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise UsageError(
            f"{path} is a private key, which stays where it is: give the public one, {path}.pub"
        )
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) == 1:
        kind, _, rest = lines[0].strip().partition(" ")
        encoded, _, comment = rest.strip().partition(" ")
        if key := _checked_key(kind, encoded, _USER_KINDS):
            return PublicKey(path, key, "".join(c for c in comment if " " <= c <= "~").strip())
    raise UsageError(
        f"{path} is no public key: one line 'ssh-ed25519 AAAA… name', as `ssh-keygen -t ed25519` "
        "writes it"
    )


def _own_key(target: SshTarget) -> PublicKey:
    files = [
        path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
        for path in target.identity_files
    ]
    for path in files:
        if path.is_file():
            return read_key(path)
    raise UsageError(
        f"you have no public key ({', '.join(map(str, files)) or 'ssh names none'}): make one with "
        "`ssh-keygen -t ed25519`, or give --key FILE.pub"
    )


def _checked_key(kind: str, encoded: str, kinds: Iterable[str]) -> HostKey | None:
    """A key whose blob is whole and says of itself that it is of this kind."""
    if kind not in kinds:
        return None
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    strings, rest = [], blob
    while rest:
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + length:
            return None
        strings.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    if len(strings) < 2 or strings[0] != kind.encode():
        return None
    if kind == "ssh-ed25519" and [len(s) for s in strings] != [11, 32]:
        return None
    return HostKey(kind, blob)


# --- asking the board ---------------------------------------------------------------------------


def survey(console: Console, *, sudo: str = "sudo ") -> Survey:
    """Where the board is, and which keys its SSH server has.

    :param sudo: what stands before a command for root, in a message.
    :raises BoardError: no SSH server runs, or none of its keys can be read.
    """
    outcome = console.run(["sh", "-c", _SURVEY], timeout_s=_COMMAND_S)
    answers: dict[str, list[str]] = {}
    for line in outcome.text.splitlines():
        word, _, value = line.partition("=")
        answers.setdefault(word, []).append(value.strip())
    if "end" not in answers:
        raise BoardError(
            f"the board on {console.name} can't run a POSIX shell script (exit "
            f"{outcome.exit_code}): edge needs `sh` there"
        )
    listening = {port for text in answers.get("listens", ()) if (port := _hex_port(text))}
    configured = [int(text) for text in answers.get("port", ()) if re.fullmatch(r"\d{1,5}", text)]
    ports = [port for port in (*configured, 22) if port in listening]
    if not ports and not answers.get("server"):
        raise BoardError(
            f"no SSH server runs on the board on {console.name}: log in with `invoke console` and "
            f"type `{sudo}{_remedy(answers.get('has', ()))}`"
        )
    keys = _host_keys(answers.get("key", ())) or _host_keys(answers.get("scanned", ()))
    if not keys:
        raise BoardError(
            f"the board on {console.name} shows no host key to this login: log in as root "
            "(--user root); dropbear's keys need `dropbearkey` there"
        )
    boot = next(iter(answers.get("boot", ())), "")
    return Survey(_addresses(answers), keys, ports[0] if ports else None, boot)


def _remedy(has: Iterable[str]) -> str:
    if "sshd" in has:
        return "systemctl enable --now ssh" if "systemctl" in has else "/usr/sbin/sshd"
    if "dropbear" in has:
        return "dropbear -R"
    return "apt-get install openssh-server"


def _hex_port(text: str) -> int | None:
    """Of a line in /proc/net/tcp; None for a server that only the board itself reaches."""
    found = re.fullmatch(r"([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})", text)
    if not found:
        return None
    address = found[1]
    alone = address == "0100007F" or address == "0" * 24 + "01000000"
    return None if alone else int(found[2], 16)


def _host_keys(lines: Iterable[str]) -> tuple[HostKey, ...]:
    found: dict[HostKey, None] = {}
    for line in lines:
        words = line.split()
        for kind, encoded in itertools.pairwise(words):
            if key := _checked_key(kind, encoded, _HOST_KINDS):
                found[key] = None
    ordered = sorted(found, key=lambda key: _HOST_KINDS.index(key.kind))
    return tuple(ordered[:_MOST])


def _addresses(answers: dict[str, list[str]]) -> tuple[str, ...]:
    """The best first: IPv4, then IPv6, those that will go away last; link-local if nothing else."""
    found: list[str] = []
    late: list[str] = []
    leaf = ""
    for line in answers.get("trie", ()):
        if place := re.search(r"\|-- ([0-9.]+)", line):
            leaf = place[1]
        elif re.search(r"/32 host LOCAL\b", line):
            found.append(leaf)
    for line in answers.get("inet6", ()):
        fields = line.split()
        if len(fields) == 6 and re.fullmatch("[0-9a-f]{32}", fields[0]):
            flags = int(fields[4], 16) if re.fullmatch("[0-9a-f]{1,8}", fields[4]) else 0
            # Temporary or deprecated; never one that is in doubt.
            if not flags & 0x48:
                text = ":".join(re.findall("....", fields[0]))
                (late if flags & 0x21 else found).append(text)
    for line in answers.get("tool", ()):
        for text in re.findall(r"\binet6? (?:addr: ?)?([0-9a-fA-F:.]+)", line):
            (late if re.search("temporary|deprecated|tentative", line) else found).append(text)
    usable: dict[str, None] = {}
    local: dict[str, None] = {}
    for text in sorted(found, key=lambda text: ":" in text) + late:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            continue
        if not address.is_link_local:
            usable[str(address)] = None
        elif address.version == 4:  # IPv6's needs the name of an interface of this machine
            local[str(address)] = None
    return tuple(usable or local)[:_MOST]


# --- finding the way ----------------------------------------------------------------------------


def _reachable(
    board: Board, wanted: Plan, seen: Survey, progress: Progress
) -> tuple[str, SshTarget]:
    """The first destination where a server proves one of the board's keys."""
    user, given = wanted.user, wanted.address
    if given is not None:
        hosts = [destination(user, given[0], given[1] or seen.port or 22)]
    else:
        if seen.port is None:
            raise BoardError(
                "an SSH server runs on the board, but not on port 22: give --address HOST:PORT"
            )
        hosts = [destination(user, address, seen.port) for address in seen.addresses]
        if board.host is not None and ssh.resolve(board.host).user == user:
            hosts = [board.host, *(host for host in hosts if host != board.host)]
    tried = []
    for host in hosts:
        target = ssh.resolve(host)
        progress(f"looking for the board at {target.address}")
        try:
            key = ssh.shown_key(target, [k.kind for k in seen.keys], timeout_s=_ANSWER_S)
        except ssh.NoWay as error:
            tried.append(f"{target.address}: {error.reason}")
            continue
        if key in seen.keys:
            return host, target
        tried.append(
            f"{target.address}: another machine answers, with {key.kind} {key.fingerprint}"
        )
    where = "`invoke qemu.status` shows it" if board.emulated else "as your network knows the board"
    raise UnreachableError(
        f"no address leads to the board's SSH server ({'; '.join(tried) or 'it has no address'}); "
        f"its host keys are {', '.join(key.fingerprint for key in seen.keys)}; plug in its "
        f"network, or give --address HOST[:PORT] ({where})"
    )


def _unrecorded(target: SshTarget, keys: Iterable[HostKey]) -> tuple[HostKey, ...]:
    """Those that known_hosts lacks.

    :raises UnreachableError: it has another key of the same type, or says that one is revoked.
    """
    if not target.known_hosts:
        raise UsageError(
            f"your ssh keeps no known_hosts file for {target.label}: remove 'UserKnownHostsFile "
            "none' from its configuration"
        )
    name = target.host_key_names[0]
    entries = known_hosts.load(target.known_hosts).of(name)
    missing = []
    for key in keys:
        same_kind = [e for e in entries if e.key.kind == key.kind and e.marker != "@cert-authority"]
        if revoked := [e for e in same_kind if e.marker and e.key == key]:
            raise UnreachableError(
                f"the board's host key {key.kind} {key.fingerprint} is marked @revoked in "
                f"{revoked[0].file}:{revoked[0].line}: make new ones on the board"
            )
        plain = [entry for entry in same_kind if not entry.marker]
        if any(entry.key == key for entry in plain):
            continue
        others = [entry for entry in plain if entry.key not in keys]
        if others:
            old = others[0]
            raise UnreachableError(
                f"{old.file}:{old.line} has another {key.kind} key for {name}: "
                f"{old.key.fingerprint}, but the board has {key.fingerprint}; if the board was "
                "installed anew, or another one had this address, forget the old key with "
                f"'ssh-keygen -f {shlex.quote(str(old.file))} -R {shlex.quote(name)}'"
            )
        missing.append(key)
    return tuple(missing)


class _Other(UnreachableError):
    """Another board than that at the serial line."""


def _must_be_the_same(seen: Survey, transport: Transport, host: str) -> None:
    """Boards flashed from one image may share a host key; no two starts share their name.

    :raises _Other: it is not the board at the serial line that was logged into.
    """
    there = transport.run(["cat", _BOOT_FILE])
    if seen.boot and there.ok and there.text.strip() != seen.boot:
        raise _Other(
            f"{host} is another board, with the same host key as the one at the serial line: give "
            "--address, and new host keys to one of the two (`ssh-keygen -A` after removing the "
            "old ones); if the board restarted just now, run the command again"
        )


# --- the changes --------------------------------------------------------------------------------


def _install(
    console: Console, public: PublicKey, user: str, changes: list[str]
) -> tuple[bool, bool]:
    """Whether the key is new there, and whether others can write the login's home."""
    argv = ["sh", "-c", _INSTALL, "sh", public.line, *public.key.spelled.split()]
    # Before, not after: ctrl-C may come at any moment.
    changes.append("the key may be on the board, whole or not at all")
    outcome = console.run(argv, timeout_s=_COMMAND_S)
    said = outcome.text.split()
    changes[:] = ["the key is on the board"] if "added" in said else []
    if not outcome.ok or not {"added", "there"} & set(said):
        raise BoardError(
            f"the key can't be put into ~{user}/.ssh/authorized_keys on the board: "
            f"{outcome.error_text[-200:] or f'exit {outcome.exit_code}'}"
        )
    return "added" in said, "loose" in said


def _record(target: SshTarget, keys: Iterable[HostKey]) -> None:
    name, file = target.host_key_names[0], target.known_hosts[0]
    try:
        for key in keys:
            known_hosts.record(file, name, key, hash_name=target.hash_known_hosts)
    except OSError as error:
        raise HostError(f"can't write {file}: {error.strerror}") from None
