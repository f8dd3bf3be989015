"""Who is let in, who is believed: passphrases, certificates and jump hosts, as with ``ssh``.

All against real OpenSSH servers on loopback; what a hostile board can do is in test_hostile.py.
"""

from __future__ import annotations

import getpass
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.errors import UnreachableError
from edge.transport import ssh
from tests.integration.test_transport import _host, _raises, _ssh_config
from tests.sshd import Sshd, keygen, start_sshd

ME = getpass.getuser()
PASSPHRASE = "open 'sesame' ü"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keygen(tmp_path_factory.mktemp("ca") / "ca")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    servers: list[Sshd] = []

    def start(*extra: str) -> Sshd:
        servers.append(start_sshd(tmp_path / f"sshd{len(servers)}", *extra))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, ca: Path) -> Iterator[Sshd]:
    """Lets users in by certificate, and by the one key."""
    server = start_sshd(
        tmp_path_factory.mktemp("sshd"), f"TrustedUserCAKeys {ca}.pub", "MaxAuthTries 20"
    )
    yield server
    server.stop()


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = str(tmp_path_factory.mktemp("agent") / "socket")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()  # it listens
    yield path
    process.terminate()
    process.communicate()


def _sign(ca: Path, key: Path, *flags: str) -> Path:
    """``key-cert.pub``, for these flags of ssh-keygen."""
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(ca), "-I", "a test", *flags, f"{key}.pub"], check=True
    )
    return key.with_name(f"{key.name}-cert.pub")


def _add(agent: str, *files: Path) -> None:
    env = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", *map(str, files)], env=env, check=True)


def _works(target: ssh.SshTarget) -> None:
    with ssh.connect(target) as board:
        assert board.run(["echo", "in"]).text == "in\n"


# --- passphrases --------------------------------------------------------------------------------

_CONNECT = """
import sys, threading
from pathlib import Path
from edge.errors import EdgeError
from edge.transport import ssh

def connect():
    try:
        with ssh.connect(ssh.resolve("rpi4", config=Path(sys.argv[1]))) as board:
            print(board.run(["echo", "in"]).text.strip(), flush=True)
    except EdgeError as error:
        print(f"refused: {error}", flush=True)

threads = [threading.Thread(target=connect) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("over")
"""


def _on_a_terminal(config: Path, answers: list[str], connections: int = 1) -> str:
    """All that a person would see who types ``answers``."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", _CONNECT, str(config), str(connections)])
    seen, answered, deadline = b"", 0, time.monotonic() + 60
    try:
        while b"over" not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 4096)
            if seen.count(b"': ") > answered and answered < len(answers):
                os.write(terminal, f"{answers[answered]}\n".encode())
                answered += 1
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return seen.decode()


def _locked(sshd: Sshd, folder: Path, kind: str, *flags: str) -> Path:
    key = keygen(folder / f"locked_{kind}", kind)
    with (sshd.folder / "authorized_keys").open("a") as authorized:
        authorized.write(f"{key.with_name(key.name + '.pub').read_text()}")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", PASSPHRASE, *flags, "-f", str(key)], check=True)
    return key


def _config(folder: Path, server: Sshd, key: Path, *more: str) -> Path:
    lines = [*more, f"IdentityFile {key}", f"UserKnownHostsFile {server.known_hosts}"]
    body = _host("rpi4", server, *lines)
    return _ssh_config(folder, body.replace(f"IdentityFile {server.folder}/user_key", ""))


@pytest.mark.parametrize(
    ("kind", "flags"), [("ed25519", ()), ("ecdsa", ()), ("rsa", ()), ("rsa", ("-m", "PEM"))]
)
def test_a_passphrase_is_asked_for(
    sshd: Sshd, tmp_path: Path, kind: str, flags: tuple[str, ...]
) -> None:
    key = _locked(sshd, tmp_path, kind, *flags)
    seen = _on_a_terminal(_config(tmp_path, sshd, key), ["wrong", "also wrong", PASSPHRASE])
    assert seen.count(f"Enter passphrase for key '{key}': ") == 3
    assert "\nin\r\n" in seen
    assert PASSPHRASE not in seen


def test_a_passphrase_is_asked_for_once_for_many_boards(sshd: Sshd, tmp_path: Path) -> None:
    key = _locked(sshd, tmp_path, "ed25519")
    seen = _on_a_terminal(_config(tmp_path, sshd, key), [PASSPHRASE], connections=6)
    assert seen.count("Enter passphrase") == 1
    assert seen.count("\r\nin") == 6


@pytest.mark.parametrize(
    ("answers", "asked", "why"),
    [(["a", "b", "c"], 3, "wrong passphrase"), ([""], 1, "no passphrase given")],
)
def test_nobody_is_asked_for_ever(
    sshd: Sshd, tmp_path: Path, answers: list[str], asked: int, why: str
) -> None:
    key = _locked(sshd, tmp_path, "ed25519")
    seen = _on_a_terminal(_config(tmp_path, sshd, key), answers, connections=2)
    assert seen.count("Enter passphrase") == asked
    assert seen.count(f"{key} ({why})): unlock the key with 'ssh-add'") == 2


def test_batch_mode_asks_nothing(sshd: Sshd, tmp_path: Path) -> None:
    key = _locked(sshd, tmp_path, "ed25519")
    seen = _on_a_terminal(_config(tmp_path, sshd, key, "BatchMode yes"), [])
    assert "Enter passphrase" not in seen
    assert f"{key} (needs a passphrase)" in seen


def test_a_key_without_a_passphrase_goes_first(sshd: Sshd, tmp_path: Path) -> None:
    key = _locked(sshd, tmp_path, "ed25519")
    own = f"IdentityFile {sshd.folder}/user_key"
    config = _ssh_config(
        tmp_path,
        _host("rpi4", sshd, f"UserKnownHostsFile {sshd.known_hosts}").replace(
            own, f"IdentityFile {key}\n    {own}"
        ),
    )
    assert "Enter passphrase" not in (seen := _on_a_terminal(config, []))
    assert "in\r\n" in seen


# --- certificates of users ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("how", ["beside", "listed"])
def test_a_certificate_lets_in(sshd: Sshd, ca: Path, tmp_path: Path, kind: str, how: str) -> None:
    key = keygen(tmp_path / "key", kind)
    target = replace(sshd.target, identity_files=(key,))
    with _raises(UnreachableError, f"refused the login (tried {key}): put your public key"):
        ssh.connect(target)
    made = _sign(ca, key, "-n", ME)
    if how == "listed":
        made = made.rename(tmp_path / "elsewhere.pub")
        target = replace(target, certificate_files=(made,))
    _works(target)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("held", ["with its key", "in a file"])
def test_an_agent_signs_for_a_certificate(
    sshd: Sshd, ca: Path, tmp_path: Path, agent: str, kind: str, held: str
) -> None:
    key = keygen(tmp_path / "key", kind)
    target = replace(sshd.target, identity_files=(), agent_socket=agent)
    if held == "with its key":
        made = _sign(ca, key, "-n", ME)
        _add(agent, key)  # takes the certificate beside it along
    else:
        _add(agent, key)
        made = _sign(ca, key, "-n", ME)
        target = replace(target, certificate_files=(made,))
    key.unlink()
    _works(target)
    only = replace(target, identities_only=True, certificate_files=(made,))
    if held == "with its key":
        _works(only)


def test_a_certificate_by_config_and_passphrase(sshd: Sshd, ca: Path, tmp_path: Path) -> None:
    key = keygen(tmp_path / "key")
    made = _sign(ca, key, "-n", ME).rename(tmp_path / "my.pub")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", PASSPHRASE, "-f", str(key)], check=True)
    config = _config(tmp_path, sshd, key, f"CertificateFile {made}")
    assert "\nin\r\n" in _on_a_terminal(config, [PASSPHRASE])


def test_a_certificate_that_is_no_use_says_why(sshd: Sshd, ca: Path, tmp_path: Path) -> None:
    key = keygen(tmp_path / "key")
    target = replace(sshd.target, identity_files=(key,))

    made = _sign(ca, key, "-n", ME, "-V", "20200101000000Z:20210203040506Z")
    renewed = "have the certificate renewed by whoever signed it"
    with _raises(UnreachableError, f"{made} for {ME}: it expired on 2021-02-03 04:05", renewed):
        ssh.connect(target)
    _sign(ca, key, "-n", ME, "-V", "20900101000000Z:20910101000000Z")
    with _raises(UnreachableError, f"{made} for {ME}: it is not valid before 2090-01-01", renewed):
        ssh.connect(target)
    _sign(ca, key, "-h", "-n", ME)
    with _raises(UnreachableError, f"{made} for {ME}: it is a certificate for hosts", renewed):
        ssh.connect(target)
    _sign(ca, key, "-n", "somebody,else")
    with _raises(UnreachableError, f"{made} for somebody, else): put your public key"):
        ssh.connect(target)
    # The key itself is tried too, as ssh does: it may be known without any certificate.
    shutil.copy(sshd.folder / "user_key", key)
    shutil.copy(sshd.folder / "user_key.pub", f"{key}.pub")
    _works(target)


# --- certificates of hosts ----------------------------------------------------------------------


def _certified(
    start: Callable[..., Sshd], ca: Path, tmp_path: Path, *flags: str, kind: str = "ed25519"
) -> Sshd:
    """A server with a certificate and a known_hosts that has nothing but the authority."""
    folder = tmp_path / "sshd0"
    folder.mkdir()
    made = _sign(ca, keygen(folder / f"host_{kind}", kind), *flags)
    server = start(f"HostCertificate {made}")
    server.known_hosts.write_text(
        f"@cert-authority [127.0.0.1]:* {ca.with_name(ca.name + '.pub').read_text()}"
    )
    return server


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("ca_kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_is_known_by_its_certificate(
    start: Callable[..., Sshd], tmp_path: Path, kind: str, ca_kind: str
) -> None:
    ca = keygen(tmp_path / "own-ca", ca_kind)
    server = _certified(start, ca, tmp_path, "-h", "-n", "127.0.0.1,10.*", kind=kind)
    _works(server.target)
    # Without the authority's line nobody vouches for it.
    server.known_hosts.write_text("")
    with _raises(UnreachableError, "is not known"):
        ssh.connect(server.target)


def test_a_host_certificate_for_an_alias_and_for_all(
    start: Callable[..., Sshd], ca: Path, tmp_path: Path
) -> None:
    server = _certified(start, ca, tmp_path, "-h", "-n", "rpi4.lab")
    authority = ca.with_name("ca.pub").read_text()
    server.known_hosts.write_text(f"@cert-authority *.lab {authority}")
    _works(replace(server.target, host_key_alias="rpi4.lab"))
    with _raises(UnreachableError, "is not known"):
        ssh.connect(replace(server.target, host_key_alias="rpi5.desk"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-h", "-n", "10.0.0.7"), "it is for 10.0.0.7, not for 127.0.0.1"),
        (("-h", "-V", "20200101000000Z:20210203040506Z"), "it expired on 2021-02-03 04:05 UTC"),
        (("-h", "-V", "20900101000000Z:20910101000000Z"), "it is not valid before 2090-01-01"),
        (("-n", "127.0.0.1"), "it is a certificate for users, not for hosts"),
    ],
)
def test_a_host_certificate_that_proves_nothing(
    start: Callable[..., Sshd], ca: Path, tmp_path: Path, flags: tuple[str, ...], words: str
) -> None:
    server = _certified(start, ca, tmp_path, *flags)
    with _raises(UnreachableError, "is not known", "its certificate proves nothing", words):
        ssh.connect(server.target)
    # As with ssh, the bare key may still be one that was recorded.
    with server.known_hosts.open("a") as known:
        known.write(f"[127.0.0.1]:{server.port} {server.host_key()}\n")
    _works(server.target)


def test_a_host_certificate_of_another_authority(
    start: Callable[..., Sshd], ca: Path, tmp_path: Path
) -> None:
    server = _certified(start, ca, tmp_path, "-h", "-n", "127.0.0.1")
    other = keygen(tmp_path / "other").with_name("other.pub").read_text()
    server.known_hosts.write_text(f"@cert-authority * {other}")
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", f"{ca}.pub"], capture_output=True, text=True
    ).stdout.split()[1]
    with _raises(
        UnreachableError, f"its certificate is signed by ssh-ed25519 {fingerprint}, which is no"
    ):
        ssh.connect(server.target)


def test_a_host_without_a_certificate_where_one_is_due(
    start: Callable[..., Sshd], ca: Path
) -> None:
    server = start()
    server.known_hosts.write_text(f"@cert-authority * {ca.with_name('ca.pub').read_text()}")
    with _raises(UnreachableError, "it shows no certificate of the @cert-authority"):
        ssh.connect(server.target)


@pytest.mark.parametrize("which", ["authority", "key"])
def test_a_revoked_host_certificate(
    start: Callable[..., Sshd], ca: Path, tmp_path: Path, which: str
) -> None:
    server = _certified(start, ca, tmp_path, "-h", "-n", "127.0.0.1")
    _works(server.target)
    key = ca.with_name("ca.pub").read_text() if which == "authority" else server.host_key()
    with server.known_hosts.open("a") as known:
        known.write(f"@revoked * {key}\n")
    with _raises(UnreachableError, "is marked @revoked", which):
        ssh.connect(server.target)


# --- the way there ------------------------------------------------------------------------------


def _known(*servers: Sshd) -> str:
    return "".join(server.known_hosts.read_text() for server in servers)


def test_through_two_jump_hosts(start: Callable[..., Sshd], sshd: Sshd, tmp_path: Path) -> None:
    first, second = start(), start()
    known = tmp_path / "known"
    files = f"UserKnownHostsFile {known}"
    config = _ssh_config(
        tmp_path,
        _host("first", first, files)
        + _host("second", second, files)
        + _host("listed", sshd, files, "ProxyJump first,second")
        + _host("second-by-first", second, files, "ProxyJump first")
        + _host("chained", sshd, files, "ProxyJump second-by-first"),
    )
    known.write_text(_known(first, second, sshd))
    for name in ("listed", "chained"):
        with ssh.connect(ssh.resolve(name, config=config)) as board:
            assert board.run(["echo", "in"]).text == "in\n"
            assert (len(first.sessions()), len(second.sessions())) == (1, 1)
    ways = "through the jump hosts first, second: the host key of the jump host"
    known.write_text(_known(second, sshd))
    with _raises(UnreachableError, f"{ways} first is not known", f"'ssh -F {config} first true'"):
        ssh.connect(ssh.resolve("listed", config=config))
    known.write_text(_known(first, sshd))
    by_hand = f"'ssh -F {config} -J first second true'"
    with _raises(UnreachableError, f"{ways} second is not known", by_hand):
        ssh.connect(ssh.resolve("listed", config=config))


def test_what_is_wrong_with_a_jump_host_is_said(
    start: Callable[..., Sshd], sshd: Sshd, tmp_path: Path
) -> None:
    gate = start()
    known = tmp_path / "known"
    files = f"UserKnownHostsFile {known}"
    body = _host("gate", gate, files) + _host("rpi4", sshd, files, "ProxyJump gate")
    config = _ssh_config(tmp_path, body)
    target = ssh.resolve("rpi4", config=config)
    through, by_hand = "through the jump host gate:", f"'ssh -F {config} gate true'"

    known.write_text(_known(sshd))
    with _raises(
        UnreachableError,
        "no board answers at rpi4",
        f"{through} the host key of the jump host gate is not known",
        by_hand,
    ):
        ssh.connect(target)
    other = keygen(tmp_path / "other").with_name("other.pub").read_text()
    known.write_text(f"[127.0.0.1]:{gate.port} {other}" + _known(sshd))
    with _raises(UnreachableError, f"{through} Host key for [127.0.0.1]:{gate.port} has changed"):
        ssh.connect(target)
    known.write_text(_known(gate, sshd))
    (gate.folder / "authorized_keys").write_text("")
    with _raises(UnreachableError, f"{through} {ME}@127.0.0.1: Permission denied", by_hand):
        ssh.connect(target)
    shutil.copy(gate.folder / "user_key.pub", gate.folder / "authorized_keys")
    with _raises(UnreachableError, f"{through} channel 0: open failed:", "Connection refused"):
        ssh.connect(replace(target, proxy_argv=_dead_end(target.proxy_argv)))


def _dead_end(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The same way to a port where nobody listens."""
    at = argv.index("-W") + 1
    return (*argv[:at], "127.0.0.1:1", *argv[at + 1 :])


def test_include_match_and_an_agent_of_its_own(
    sshd: Sshd, start: Callable[..., Sshd], agent: str, tmp_path: Path
) -> None:
    gate = start()
    key = keygen(tmp_path / "key")
    for server in (sshd, gate):
        with (server.folder / "authorized_keys").open("a") as authorized:
            authorized.write((tmp_path / "key.pub").read_text())
    _add(agent, key)
    key.unlink()
    known = tmp_path / "known"
    known.write_text(_known(gate, sshd))
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/boards").write_text(
        f"Host rpi4\n HostName 127.0.0.1\n Port {sshd.port}\n"
        f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n"
        "Match originalhost rpi4 exec true\n ProxyJump gate\n"
    )
    config = tmp_path / "config"
    config.write_text(
        f"Include {tmp_path}/conf.d/*\n"
        f"Match host 127.0.0.1\n User {ME}\n IdentityAgent {agent}\n IdentityFile none\n"
        f" UserKnownHostsFile {known}\n GlobalKnownHostsFile none\n"
    )
    target = ssh.resolve("rpi4", config=config)
    with ssh.connect(target) as board:
        assert board.run(["echo", "in"]).text == "in\n"
        assert len(gate.sessions()) == 1
        # Nothing of ours is lent to the board.
        assert board.run(["sh", "-c", 'echo "$SSH_AUTH_SOCK"']).text == "\n"
