"""Transports against real processes and a real OpenSSH server on loopback."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import BoardError, HostError, UnreachableError, UsageError
from edge.transport import Transport, login, ssh
from edge.transport.emulated import EmulatedTransport
from edge.transport.local import LocalTransport
from edge.transport.ssh import SshTarget, SshTransport
from tests.sshd import Sshd, children, keygen, start_sshd

NASTY = "a b'c\"d$e`f\\g;h&i\n*~-ü"
BLOB = bytes(range(256)) * 5000 + b"\n\0\r\n"


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = start_sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Servers for one test, which may break them."""
    servers: list[Sshd] = []

    def start(*extra: str) -> Sshd:
        servers.append(start_sshd(tmp_path / f"sshd{len(servers)}", *extra))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["local", "emulated", "ssh"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    opened: Transport
    if request.param == "local":
        opened = LocalTransport()
    elif request.param == "emulated":
        root = PurePosixPath(tmp_path / "root")
        opened = EmulatedTransport(("qemu-none",), {}, (root,), "emulated")
    else:
        opened = ssh.connect(request.getfixturevalue("sshd").target)
    with opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    threads = set(threading.enumerate())
    handles = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    yield
    deadline = time.monotonic() + 3
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(threading.enumerate()) - threads == set()
    if handles:
        assert len(list(Path("/proc/self/fd").iterdir())) <= handles + 1


@contextlib.contextmanager
def _raises(kind: type[Exception], *parts: str) -> Iterator[pytest.ExceptionInfo[Exception]]:
    with pytest.raises(kind) as caught:
        yield caught
    text = str(caught.value)
    assert [part for part in parts if part not in text] == [], text
    assert "\n" not in text


# --- what every transport promises --------------------------------------------------------------


def test_run_keeps_the_streams_apart_and_the_exit_code(transport: Transport) -> None:
    outcome = transport.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (7, b"out\n", b"err\n")
    assert outcome.argv[0] == "sh"


def test_run_gives_and_takes_binary_data_larger_than_any_pipe(transport: Transport) -> None:
    data = BLOB * 4
    assert transport.run(["cat"], stdin=data).stdout == data


def test_run_survives_a_program_that_does_not_read(transport: Transport) -> None:
    assert transport.run(["head", "-c", "3"], stdin=BLOB * 4).stdout == BLOB[:3]
    assert transport.run(["true"], stdin=BLOB * 4).ok


def test_a_missing_program_is_exit_code_127(transport: Transport) -> None:
    outcome = transport.run(["edge-no-such-program"])
    assert outcome.exit_code == 127
    assert "edge-no-such-program" in outcome.error_text


def test_a_fatal_signal_is_its_number_and_128(transport: Transport) -> None:
    assert transport.run(["sh", "-c", "kill -ILL $$"]).exit_code == 128 + signal.SIGILL


def test_a_hanging_program_ends_at_the_deadline(transport: Transport) -> None:
    began = time.monotonic()
    with _raises(BoardError, "'sleep'", transport.name, "0.5 s"):
        transport.run(["sleep", "30"], timeout_s=0.5)
    assert time.monotonic() - began < 3
    assert transport.run(["echo", "alive"]).text == "alive\n"


def test_output_without_end_is_cut(transport: Transport) -> None:
    with _raises(BoardError, "'yes'", "1 MiB"):
        transport.run(["yes"], timeout_s=20, limit_bytes=1 << 20)
    assert transport.run(["true"]).ok


def test_more_output_comes_through_if_more_is_asked_for(transport: Transport) -> None:
    script = "head -c 70000000 /dev/zero; cat"
    outcome = transport.run(
        ["sh", "-c", script], stdin=b"z" * (1 << 20), timeout_s=60, limit_bytes=80 << 20
    )
    assert (outcome.exit_code, len(outcome.stdout)) == (0, 70_000_000 + (1 << 20))
    assert outcome.stdout.endswith(b"\0" + b"z" * (1 << 20))


def test_waiting_for_a_program_needs_no_descriptor(sshd: Sshd) -> None:
    """paramiko would make a pipe, and its reader write to it while we close it."""
    with ssh.connect(sshd.target) as transport:
        before = len(list(Path("/proc/self/fd").iterdir()))
        process = transport.start(["sh", "-c", "echo out; echo err >&2; sleep 0.1; echo end"])
        assert process.receive_line(10) == b"out"
        assert process.receive_line(10) == b"end"
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        process.close()


def test_small_requests_do_not_wait_for_each_other(sshd: Sshd) -> None:
    # Nagle's algorithm and delayed acknowledgements together hold back each of them for 40 ms.
    with ssh.connect(sshd.target) as opened:
        dialled = opened._way.socket
        assert dialled.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_no_command_is_an_error(transport: Transport) -> None:
    for argv in ([], ["a\0b"], "ls -l"):
        with pytest.raises(UsageError):
            transport.run(argv)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        max_size=5,
    )
)
def test_words_arrive_as_they_are(transport: Transport, arguments: list[str]) -> None:
    outcome = transport.run(["printf", r"%s\0", "", *arguments])
    assert outcome.stdout.split(b"\0")[1:-1] == [word.encode() for word in arguments]


def test_put_and_get_any_name_and_any_bytes(transport: Transport, tmp_path: Path) -> None:
    source, board = tmp_path / "source", PurePosixPath(tmp_path / NASTY)
    for data in (BLOB, b""):
        source.write_bytes(data)
        transport.put(source, board)
        assert Path(board).read_bytes() == data
        transport.get(board, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["source", NASTY, "back"])


def test_put_and_get_say_what_is_wrong(transport: Transport, tmp_path: Path) -> None:
    present = tmp_path / "present"
    present.write_bytes(b"x")
    with _raises(HostError, "absent", "no such file"):
        transport.put(tmp_path / "absent", PurePosixPath("/tmp/x"))
    with _raises(BoardError, "no/folder", transport.name):
        transport.put(present, PurePosixPath(tmp_path / "no/folder"))
    with _raises(BoardError, "absent", transport.name):
        transport.get(PurePosixPath(tmp_path / "absent"), tmp_path / "new")
    with _raises(BoardError, str(tmp_path)):
        transport.get(PurePosixPath(tmp_path), tmp_path / "new")
    with _raises(HostError, "no/folder"):
        transport.get(PurePosixPath(present), tmp_path / "no/folder")
    assert [path.name for path in tmp_path.iterdir()] == ["present"]


def test_relative_paths_are_below_home(transport: Transport) -> None:
    assert transport.run(["pwd", "-P"]).text.strip() == str(Path.home().resolve())


def test_a_dialogue(transport: Transport) -> None:
    process = transport.start(["cat"])
    process.send(b"one\ntwo\n\nthr", 5)
    assert [process.receive_line(5) for _ in range(3)] == [b"one", b"two", b""]
    with _raises(BoardError, "'cat'", "did not answer in 0.2 s"):
        process.receive_line(0.2)
    process.send(b"ee\n", 5)
    assert process.receive_line(5) == b"three"
    big = b"x" * 3_000_000
    process.send(big + b"\n", 10)
    assert process.receive_line(10, limit_bytes=len(big)) == big
    assert process.close() == 0
    assert process.close() == 0
    with pytest.raises(BoardError, match="closed"):
        process.send(b"x", 1)


def test_a_slow_reader_is_given_time_as_long_as_it_reads(transport: Transport) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do head -c 1000000 >/dev/null; sleep 0.15; done; cat >&2"
    process = transport.start(["sh", "-c", script])
    process.send(b"x" * 9_000_000, 0.8)
    assert process.close() == 0


def test_a_line_has_a_limit(transport: Transport) -> None:
    process = transport.start(["yes", "x" * 500])
    assert process.receive_line(5, limit_bytes=500) == b"x" * 500
    with _raises(BoardError, "longer than 499 bytes"):
        process.receive_line(5, limit_bytes=499)
    process.close(0.2)


def test_a_process_that_ends_says_why(transport: Transport) -> None:
    process = transport.start(["sh", "-c", "echo because >&2; exit 4"])
    with _raises(BoardError, "'sh'", "ended", "because"):
        process.receive_line(10)
    assert process.close() == 4


def test_sending_to_a_program_that_is_gone_or_asleep(transport: Transport) -> None:
    process = transport.start(["sh", "-c", "echo because >&2; exit 4"])
    with _raises(BoardError, "ended before it took its input", "because"):
        for _ in range(200):
            process.send(b"x" * 10000, 2)
            time.sleep(0.01)
    process.close()
    process = transport.start(["sleep", "5"])
    with _raises(BoardError, "took no input for 0.3 s"):
        process.send(b"x" * 10_000_000, 0.3)
    began = time.monotonic()
    assert process.close(0.2) == -1
    assert time.monotonic() - began < 3


# --- this machine -------------------------------------------------------------------------------


def test_the_whole_process_group_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = 'sleep 60 & echo $! >"$1"; sleep 60 & echo $! >>"$1"; exit 0'
    with LocalTransport() as local, pytest.raises(BoardError):
        local.run(["sh", "-c", script, "sh", str(pids)], timeout_s=0.5)
    time.sleep(0.1)
    for pid in pids.read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z"


def test_closing_the_transport_ends_its_processes() -> None:
    with LocalTransport() as local:
        process = local.start(["sh", "-c", "echo $$; exec sleep 60"])
        pid = int(process.receive_line(5))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_only_programs_below_the_root_are_emulated(tmp_path: Path) -> None:
    emulator = ("/bin/echo", "emulated:")
    root = PurePosixPath(tmp_path)
    (tmp_path / "script").write_text("#!/bin/sh\necho native $SEEN\n")
    (tmp_path / "script").chmod(0o755)
    with EmulatedTransport(emulator, {"SEEN": "env"}, (root,), "pretend") as board:
        assert board.run([root / "bin/run", "x"]).text == f"emulated: {root}/bin/run x\n"
        assert board.run([root / "bin/run", "x"]).argv == (f"{root}/bin/run", "x")
        assert board.run(["sh", "-c", "echo $SEEN"]).text == "env\n"
        assert board.run([root / "script"]).text == "native env\n"
        assert board.run([root / ".." / "edge-nothing"]).exit_code == 127
        process = board.start([root / "bin/run", "y"])
        assert process.receive_line(5) == f"emulated: {root}/bin/run y".encode()
        process.close()


# --- SSH ----------------------------------------------------------------------------------------


def test_all_commands_share_one_connection(own_sshd: Callable[..., Sshd]) -> None:
    server = own_sshd()
    with ssh.connect(server.target) as board:
        for _ in range(3):
            assert board.run(["true"]).ok
        assert len(server.sessions()) == 1
        assert board.name == f"{getpass.getuser()}@127.0.0.1"


def test_an_unknown_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    stranger = replace(sshd.target, known_hosts=(tmp_path / "none",))
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.folder / "host_ed25519.pub")], capture_output=True, text=True
    ).stdout.split()[1]
    with _raises(UnreachableError, "ssh-ed25519", fingerprint, f"ssh -p {sshd.port}", "once"):
        ssh.connect(stranger)
    assert not (tmp_path / "none").exists()


def test_a_changed_host_key_is_refused_even_if_unknown_ones_are_not(
    sshd: Sshd, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    other = keygen(tmp_path / "other").with_name("other.pub").read_text()
    known.write_text(f"# a comment\n[127.0.0.1]:{sshd.port} {other}")
    changed = replace(sshd.target, known_hosts=(known,), accept_unknown_host=True)
    with _raises(UnreachableError, "HAS CHANGED", f"{known}:2", "ssh-keygen -f", "-R") as caught:
        ssh.connect(changed)
    remedy = str(caught.value).partition("with '")[2].removesuffix("'")
    subprocess.run(["sh", "-c", remedy], check=True, capture_output=True)
    with ssh.connect(changed) as board:  # forgotten, so it is new, and new ones are accepted here
        assert board.run(["true"]).ok
    assert sshd.host_key() in known.read_text()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("hashed", [False, True])
def test_whichever_host_key_is_recorded_is_asked_for(
    sshd: Sshd, tmp_path: Path, kind: str, hashed: bool
) -> None:
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key(kind)}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True)
        assert "127.0.0.1" not in known.read_text()
    with ssh.connect(replace(sshd.target, known_hosts=(known,))) as board:
        assert board.run(["true"]).ok


def test_a_refused_login_names_what_was_tried(sshd: Sshd, tmp_path: Path) -> None:
    wrong = keygen(tmp_path / "wrong")
    locked = keygen(tmp_path / "locked", passphrase="secret words")
    who = f"{getpass.getuser()}@127.0.0.1:{sshd.port} refused the login"
    with _raises(UnreachableError, who, str(wrong), "ssh-copy-id"):
        ssh.connect(replace(sshd.target, identity_files=(wrong,)))
    with _raises(UnreachableError, who, f"{locked} (needs a passphrase)", "ssh-add"):
        ssh.connect(replace(sshd.target, identity_files=(locked,)))
    with _raises(UnreachableError, who, "nothing: no key and no agent"):
        ssh.connect(replace(sshd.target, identity_files=()))


def test_several_identity_files_are_tried_in_order(sshd: Sshd, tmp_path: Path) -> None:
    wrong = [keygen(tmp_path / f"wrong{kind}", kind) for kind in ("rsa", "ecdsa")]
    (tmp_path / "garbage").write_text("no key")
    files = (tmp_path / "absent", tmp_path / "garbage", *wrong, *sshd.target.identity_files)
    with ssh.connect(replace(sshd.target, identity_files=files)) as board:
        assert board.run(["true"]).ok


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = str(tmp_path_factory.mktemp("agent") / "socket")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not Path(path).exists():
        time.sleep(0.02)
    yield path
    process.terminate()
    process.wait()


def test_an_agent_unlocks_what_a_file_can_not(sshd: Sshd, agent: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    locked = tmp_path / "folder/key"
    for suffix in ("", ".pub"):
        shutil.copy(
            sshd.target.identity_files[0].with_name(f"user_key{suffix}"), f"{locked}{suffix}"
        )
    env = {**os.environ, "SSH_AUTH_SOCK": agent}
    strangers = [str(keygen(tmp_path / f"stranger{n}")) for n in range(8)]
    subprocess.run(["ssh-add", "-q", *strangers, str(locked)], env=env, check=True)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(locked)], check=True)
    target = replace(sshd.target, identity_files=(locked,), agent_socket=agent)
    # Eight other keys come first in the agent; a server hangs up after six.
    for only in (False, True):
        with ssh.connect(replace(target, identities_only=only)) as board:
            assert board.run(["true"]).ok
    with _raises(UnreachableError, "no-agent"):
        ssh.connect(replace(target, agent_socket=str(tmp_path / "no-agent")))


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = SshTarget("127.0.0.1", "pi", port=port, alias="rpi4")
    with _raises(
        UnreachableError,
        f"no board answers at rpi4 (tried pi@127.0.0.1:{port}: connection refused)",
        "--host user@address",
        "Host rpi4",
    ):
        ssh.connect(target)
    with _raises(UnreachableError, "does not resolve"):
        ssh.connect(SshTarget("no-such-board.invalid", "pi"))


def test_a_server_that_says_nothing_meets_the_deadline() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        began = time.monotonic()
        with _raises(UnreachableError, "no board answers"):
            ssh.connect(SshTarget("127.0.0.1", "pi", port=mute.getsockname()[1]), timeout_s=1)
        assert time.monotonic() - began < 5


def test_a_link_that_is_cut_during_the_login_is_waited_for_once(
    own_sshd: Callable[..., Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each key."""
    server = own_sshd()
    keys = tuple(keygen(tmp_path / f"key{number}") for number in range(3))
    target = replace(server.target, identity_files=keys)
    for module in (login, ssh):
        monkeypatch.setattr(module, "AGENT_TIMEOUT_S", 1.0)
    offers: list[str] = []
    stopped: list[int] = []

    def silence(transport: paramiko.Transport, user: str) -> None:
        offers.append("none")
        for pid in server.sessions():
            stopped.extend((pid, *children(pid)))
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        ask(transport, user)

    def offered(transport: paramiko.Transport, user: str, key: paramiko.PKey) -> list[str]:
        offers.append(key.get_name())
        return offer(transport, user, key)

    ask, offer = paramiko.Transport.auth_none, paramiko.Transport.auth_publickey
    monkeypatch.setattr(paramiko.Transport, "auth_none", silence)
    monkeypatch.setattr(paramiko.Transport, "auth_publickey", offered)
    try:
        with _raises(UnreachableError, "gave no answer to a login for 1 s", "the link was cut"):
            ssh.connect(target)
        assert offers == ["none"] and stopped
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def _ssh_config(folder: Path, body: str) -> Path:
    config = folder / "config"
    (folder / "more").write_text(body)
    config.write_text(f"Include {folder}/more\n")
    return config


def _host(name: str, server: Sshd, *lines: str) -> str:
    return "\n    ".join(
        [
            f"Host {name}",
            "HostName 127.0.0.1",
            f"Port {server.port}",
            f"User {getpass.getuser()}",
            f"IdentityFile {server.folder}/%d-no-such-key",
            f"IdentityFile {server.folder}/user_key",
            "IdentityAgent none",
            "GlobalKnownHostsFile none",
            *lines,
            "",
        ]
    )


def test_an_alias_in_an_included_file(sshd: Sshd, tmp_path: Path) -> None:
    body = _host("rpi4", sshd, f"UserKnownHostsFile {sshd.known_hosts}") + "\n"
    config = _ssh_config(tmp_path, body)
    with ssh.connect(ssh.resolve("rpi4", config=config)) as board:
        assert board.run(["true"]).ok


def test_a_host_key_alias(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"the-one-on-the-desk {sshd.host_key()}\n")
    alias = "HostKeyAlias the-one-on-the-desk"
    config = _ssh_config(tmp_path, _host("rpi4", sshd, f"UserKnownHostsFile {known}", alias))
    with ssh.connect(ssh.resolve("rpi4", config=config)) as board:
        assert board.run(["true"]).ok
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key()}\n")
    with _raises(UnreachableError, "not known", f"'ssh -F {config} rpi4' once"):
        ssh.connect(ssh.resolve("rpi4", config=config))


def test_through_a_jump_host(own_sshd: Callable[..., Sshd], sshd: Sshd, tmp_path: Path) -> None:
    jump = own_sshd()
    known = tmp_path / "known"
    known.write_text(jump.known_hosts.read_text() + sshd.known_hosts.read_text())
    files = f"UserKnownHostsFile {known}"
    config = _ssh_config(
        tmp_path,
        _host("gate", jump, files) + _host("rpi4", sshd, files, "ProxyJump gate"),
    )
    target = ssh.resolve("rpi4", config=config)
    with ssh.connect(target) as board:
        assert board.run(["cat"], stdin=BLOB).stdout == BLOB
        assert len(jump.sessions()) == 1
        jump.drop_connections()
        began = time.monotonic()
        with pytest.raises(BoardError):
            board.run(["sleep", "30"], timeout_s=5)
        assert time.monotonic() - began < 5
    known.write_text(sshd.known_hosts.read_text())
    with _raises(UnreachableError, "no board answers at rpi4", "the jump host gate is not known"):
        ssh.connect(target)


def test_through_a_proxy_command(sshd: Sshd, tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "link = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): link.sendall(data)\n"
        "    link.shutdown(socket.SHUT_WR)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := link.recv(65536): os.write(1, data)\n"
    )
    command = f"ProxyCommand {sys.executable} {relay} %h %p"
    config = _ssh_config(
        tmp_path, _host("rpi4", sshd, f"UserKnownHostsFile {sshd.known_hosts}", command)
    )
    with ssh.connect(ssh.resolve("rpi4", config=config)) as board:
        assert board.run(["cat"], stdin=BLOB).stdout == BLOB
    relay.write_text("import sys; sys.exit('the relay is on fire')")
    with _raises(UnreachableError, "no board answers at rpi4", "the relay is on fire"):
        ssh.connect(ssh.resolve("rpi4", config=config))


def test_without_an_ssh_client(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text(_host("rpi4", sshd, f"UserKnownHostsFile {sshd.known_hosts}"))
    monkeypatch.setenv("PATH", str(tmp_path))
    target = ssh.resolve("rpi4", config=config)
    assert "no 'ssh' here" in target.note
    with ssh.connect(target) as board:
        assert board.run(["true"]).ok


def _later(delay_s: float, do: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(delay_s, do)
    timer.start()
    return timer


@pytest.fixture
def doomed(own_sshd: Callable[..., Sshd]) -> Iterator[tuple[Sshd, SshTransport]]:
    server = own_sshd()
    with ssh.connect(server.target) as board:
        yield server, board


def test_the_server_dies_while_a_file_is_fetched(
    doomed: tuple[Sshd, SshTransport], tmp_path: Path
) -> None:
    server, board = doomed
    os.mkfifo(tmp_path / "slow")
    feeder = subprocess.Popen(
        ["sh", "-c", 'while :; do echo x; sleep 0.01; done >"$1"', "sh", tmp_path / "slow"],
        stderr=subprocess.DEVNULL,
    )
    try:
        timer = _later(0.5, server.drop_connections)
        with _raises(BoardError, "copying", "the connection was lost"):
            board.get(PurePosixPath(tmp_path / "slow"), tmp_path / "target", timeout_s=5)
        timer.join()
    finally:
        feeder.kill()
        feeder.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow", "sshd0"]
    with _raises(UnreachableError, "is gone"):
        board.run(["true"])


def test_the_server_dies_while_a_file_is_sent(
    doomed: tuple[Sshd, SshTransport], tmp_path: Path
) -> None:
    server, board = doomed
    source = tmp_path / "source"
    source.write_bytes(BLOB * 20)
    os.mkfifo(tmp_path / "stuck")
    reader = os.open(tmp_path / "stuck", os.O_RDONLY | os.O_NONBLOCK)
    try:
        timer = _later(0.5, server.drop_connections)
        with _raises(BoardError, "copying", "the connection was lost"):
            board.put(source, PurePosixPath(tmp_path / "stuck"), timeout_s=5)
        timer.join()
        board.close()
    finally:
        os.close(reader)


def test_the_server_dies_while_a_program_runs(doomed: tuple[Sshd, SshTransport]) -> None:
    server, board = doomed
    process = board.start(["cat"])
    process.send(b"a\n", 5)
    assert process.receive_line(5) == b"a"
    timer = _later(0.3, server.drop_connections)
    with _raises(BoardError, "'cat'", "the connection was lost"):
        process.receive_line(10)
    timer.join()
    with pytest.raises(BoardError):
        process.send(b"b" * 100_000, 2)
    assert process.close(1) == -1


@pytest.mark.parametrize("verb", ["run", "send", "full", "start", "exec", "put", "get"])
def test_a_link_that_goes_silent_meets_the_deadline(
    doomed: tuple[Sshd, SshTransport],
    tmp_path: Path,
    verb: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stopped server is like a cut cable: TCP stays open and nothing comes back."""
    server, board = doomed
    monkeypatch.setattr(ssh, "_OPEN_TIMEOUT_S", 2.0)
    source = tmp_path / "source"
    source.write_bytes(BLOB * 30)
    process = board.start(["cat"])
    tree = server.sessions()
    for pid in list(tree):
        tree += children(pid)

    def silence() -> None:
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)

    if verb == "full":
        # The socket is full before the channel's window is: paramiko then blocks in send itself.
        link = board._way.socket
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    if verb == "exec":
        # The channel opens; the answer to "exec" never comes.
        ask = paramiko.Channel.exec_command

        def ask_in_silence(channel: paramiko.Channel, command: str) -> None:
            silence()
            ask(channel, command)

        monkeypatch.setattr(paramiko.Channel, "exec_command", ask_in_silence)
    else:
        silence()
    began = time.monotonic()
    try:
        with pytest.raises(BoardError):
            if verb == "run":
                board.run(["true"], timeout_s=1)
            elif verb in ("send", "full"):
                process.send(source.read_bytes(), 1)
            elif verb in ("start", "exec"):
                other = board.start(["cat"])
                other.receive_line(1)
            elif verb == "put":
                board.put(source, PurePosixPath(tmp_path / "target"), timeout_s=1)
            else:
                board.get(PurePosixPath(source), tmp_path / "target", timeout_s=1)
        assert time.monotonic() - began < 5
        board.close()
        assert not (tmp_path / "target").exists()
    finally:
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
