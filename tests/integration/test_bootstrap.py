"""A board's first login, from a blank machine to a deploy; and the scripts in real shells."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge import board, bootstrap, debian, layout, machine, session
from edge.console import Console
from edge.machine import Machine
from edge.transport import ssh
from edge.transport.known_hosts import HostKey
from edge.transport.target import SshTarget
from examples.digits import dataset
from tests.sshd import Sshd, start_sshd

MODEL = dataset.FOLDER / "models/mlp-int8.tflite"
BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRk"
KEY = f"ssh-ed25519 {BLOB} me@desk"


# --- the scripts --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH of busybox alone."""
    folder = tmp_path_factory.mktemp("busybox")
    found = shutil.which("busybox")
    program = found or debian.unpack_host_packages(["busybox-static"], print) / "usr/bin/busybox"
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        (folder / name).symlink_to(program)
    return folder


@dataclass(frozen=True)
class Home:
    """A login's home on a board, and the shell there."""

    folder: Path
    shell: str
    path: str

    @property
    def keys(self) -> Path:
        return self.folder / ".ssh/authorized_keys"

    def run(self, script: str, *words: str, path: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.shell, "-c", script, "sh", *words],
            env={"HOME": str(self.folder), "PATH": path or self.path},
            cwd="/",
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    def install(self, key: str = KEY) -> str:
        done = self.run(bootstrap._INSTALL, key, *key.split()[:2])
        assert done.returncode == 0, done.stderr
        assert [path.name for path in self.keys.resolve().parent.iterdir()] == ["authorized_keys"]
        return done.stdout


@pytest.fixture(params=["dash", "bash", "busybox"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    folder = tmp_path / "a home"
    folder.mkdir(mode=0o755)
    if request.param == "busybox":
        applets = request.getfixturevalue("busybox")
        return Home(folder, str(applets / "sh"), str(applets))
    return Home(folder, shutil.which(request.param) or request.param, os.environ["PATH"])


def test_a_key_is_added_once_with_the_right_modes(home: Home) -> None:
    assert home.install() == "added\n"
    assert home.install() == "there\n"
    assert home.keys.read_text() == f"{KEY}\n"
    home.keys.chmod(0o664)
    home.keys.parent.chmod(0o755)
    assert home.install() == "there\n"
    assert home.keys.stat().st_mode & 0o777 == 0o600
    assert home.keys.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("end", ["", "\n"])
def test_what_was_there_stays(home: Home, end: str) -> None:
    before = f"# {KEY}\nssh-rsa AAAA \\n $(id) 'x'\n\n  ssh-ed25519 {BLOB}B other\nlast é{end}"
    home.keys.parent.mkdir()
    home.keys.write_text(before)
    assert home.install() == "added\n"
    assert home.keys.read_text() == f"{before.rstrip(chr(10))}\n{KEY}\n"


@pytest.mark.parametrize("line", [KEY, f"ssh-ed25519 {BLOB}", f'no-pty,from="x y" {KEY} and more'])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_key_that_is_there_is_found(home: Home, line: str, end: str) -> None:
    home.keys.parent.mkdir()
    home.keys.write_text(f"ssh-rsa AAAA x\n{line}{end}")
    assert home.install() == "there\n"
    assert home.keys.read_text() == f"ssh-rsa AAAA x\n{line}{end}"


def test_a_link_stays_a_link_and_a_comment_is_only_text(home: Home) -> None:
    kept = home.folder / "kept"
    kept.mkdir()
    home.keys.parent.mkdir()
    home.keys.symlink_to(kept / "authorized_keys")
    (kept / "authorized_keys").write_text("one\n")
    odd = f"ssh-ed25519 {BLOB} $(touch /tmp/x) `id` 'a' \"b\" \\ ; %s * é"
    assert home.install(odd) == "added\n"
    assert home.keys.is_symlink()
    assert home.keys.read_text() == f"one\n{odd}\n"


def test_a_home_that_others_write_is_told(home: Home) -> None:
    home.folder.chmod(0o775)
    assert home.install() == "loose\nadded\n"


@pytest.mark.parametrize("size", [1000, 3000])
def test_a_disk_that_is_full_changes_nothing(home: Home, size: int) -> None:
    before = "x" * size + "\n"
    home.keys.parent.mkdir()
    home.keys.write_text(before)
    # Files may be 512 or 1024 bytes long: the old keys do not fit, or only they do.
    done = home.run(f"trap '' XFSZ\nulimit -f 1\n{bootstrap._INSTALL}", KEY, *KEY.split()[:2])
    assert done.returncode == 1
    assert "added" not in done.stdout
    assert home.keys.read_text() == before
    assert [path.name for path in home.keys.parent.iterdir()] == ["authorized_keys"]


def test_old_keys_that_can_not_be_copied_stay(home: Home) -> None:
    home.keys.parent.mkdir()
    home.keys.write_text("one\n")
    script = f"cat() {{ echo broken >&2; return 1; }}\n{bootstrap._INSTALL}"
    done = home.run(script, KEY, *KEY.split()[:2])
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "broken\n")
    assert home.keys.read_text() == "one\n"


def test_no_home_at_all(home: Home) -> None:
    gone = Home(home.folder / "gone", home.shell, home.path)
    assert gone.run(bootstrap._INSTALL, KEY, *KEY.split()[:2]).returncode == 1
    assert not gone.folder.exists()


def test_the_survey_runs_in_every_shell(home: Home) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        said = home.run(bootstrap._SURVEY).stdout
        port = server.getsockname()[1]
    lines = said.splitlines()
    assert lines[-1] == "end=."
    assert f"listens=00000000:{port:04X}" in lines
    assert any(line.startswith("trie=") and "127.0.0.1" in line for line in lines)
    assert f"boot={Path(bootstrap._BOOT_FILE).read_text().strip()}" in lines


# --- a server's key before anybody logs in ------------------------------------------------------


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = start_sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_server_shows_the_key_that_is_asked_for(sshd: Sshd, kind: str) -> None:
    name, encoded = sshd.host_key(kind).split()
    shown = ssh.shown_key(sshd.target, [name])
    assert shown == HostKey(name, base64.b64decode(encoded))


def test_a_server_that_says_nothing_is_given_up(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        silent = SshTarget("127.0.0.1", "me", port=server.getsockname()[1])
        with pytest.raises(ssh.NoWay) as caught:
            ssh.shown_key(silent, ["ssh-ed25519"], timeout_s=0.5)
        assert caught.value.reason == "no SSH server answers"
        assert time.monotonic() - began < 8
        port = server.getsockname()[1]
    with pytest.raises(ssh.NoWay) as caught:
        ssh.shown_key(SshTarget("127.0.0.1", "me", port=port), ["ssh-ed25519"], timeout_s=2)
    assert caught.value.reason == "connection refused"


# --- a blank machine ----------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """Somebody with a key pair, a configuration and a lab of their own."""

    folder: Path

    @property
    def known_hosts(self) -> Path:
        return self.folder / ".ssh/known_hosts"

    @property
    def lab(self) -> Path:
        return self.folder / "lab.toml"

    def call(self, *words: str, password: str = "edge") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            env={
                **os.environ,
                "HOME": str(self.folder),
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "XDG_CACHE_HOME": str(layout.cache_dir().parent),
                "EDGE_LAB": str(self.lab),
                "EDGE_PASSWORD": password,
                "SSH_AUTH_SOCK": "",
            },
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=900,
        )
        assert "Traceback" not in done.stdout + done.stderr
        print(done.stdout, done.stderr)
        return done

    def state(self) -> tuple[str, ...]:
        files = (self.known_hosts, self.lab)
        return tuple(file.read_text() if file.exists() else "" for file in files)


@pytest.fixture
def user(tmp_path: Path) -> User:
    made = User(tmp_path)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / "bin").mkdir()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / ".ssh/id_ed25519")],
        check=True,
    )
    # ssh takes the home from the system's list of users, whatever $HOME says.
    config = tmp_path / ".ssh/config"
    config.write_text(f"UserKnownHostsFile {made.known_hosts}\nHashKnownHosts yes\n")
    client = tmp_path / "bin/ssh"
    client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    client.chmod(0o755)
    return made


Start = Callable[[str], Machine]


@pytest.fixture
def start() -> Iterator[Start]:
    machines: list[Machine] = []

    def begin(name: str) -> Machine:
        wanted = f"test-blank-{name}"
        assert machine.running(wanted) is None
        machines.append(session.start(board.load(name), print, name=wanted, blank=True))
        return machines[-1]

    yield begin
    for each in machines:
        each.kill()
        shutil.rmtree(layout.machines_dir() / each.name, ignore_errors=True)


def asked(guest: Machine, name: str, *more: str) -> list[str]:
    where = f"{guest.ssh_host}:{guest.ssh_port}"
    words = ["bootstrap", "--board", name, "--user", "edge", "--address", where, *more]
    return [*words, "--serial", guest.console_url]


def test_from_a_blank_machine_to_a_deploy(user: User, start: Start, sshd: Sshd) -> None:
    guest = start("qemu-virt")
    deploy = ["deploy", "--board", "qemu-virt", "--model", str(MODEL)]
    there = f"ssh://edge@{guest.ssh_host}:{guest.ssh_port}"
    untouched = user.state()

    refused = user.call(*deploy, "--host", there)
    assert refused.returncode == 5
    assert "is not known" in refused.stderr

    wrong = user.call(*asked(guest, "qemu-virt"), password="wrong")
    assert wrong.returncode == 5
    assert "the board says 'Login incorrect' to user 'edge'" in wrong.stderr

    words = asked(guest, "qemu-virt")
    words[words.index("--address") + 1] = f"127.0.0.1:{sshd.port}"
    other = user.call(*words)
    assert other.returncode == 5
    assert "another machine answers" in other.stderr
    assert "nothing was changed" in other.stderr
    assert user.state() == untouched
    with Console.open(guest.console_url) as console:
        console.login("edge", "edge")
        assert not console.run(["ls", ".ssh/authorized_keys"]).ok

    user.lab.write_text("# mine\n")
    first = user.call(*asked(guest, "qemu-virt", "--json"))
    assert first.returncode == 0, first.stderr
    done = json.loads(first.stdout)
    assert done["host"] == there
    assert (done["known_hosts"]["added"], done["key"]["added"]) == (1, True)
    key = done["host_keys"][0]
    assert key["type"] == "ssh-ed25519"
    printed = subprocess.run(
        ["ssh-keygen", "-lf", f"{guest.image.keys.host}.pub"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.split()[1] == key["fingerprint"]
    assert user.lab.read_text() == (
        f'# mine\n\n[boards.qemu-virt]\nhost = "{there}"\nserial = "{guest.console_url}"\n'
    )
    assert "127.0.0.1" not in user.known_hosts.read_text()

    live = user.call(*deploy)
    assert live.returncode == 0, live.stderr
    assert "is live" in live.stdout

    after = user.state()
    # The line is in lab.toml now.
    again = user.call(*asked(guest, "qemu-virt")[:-2])
    assert again.returncode == 0, again.stderr
    assert "was already in ~edge/.ssh/authorized_keys" in again.stdout
    assert user.state() == after
    with Console.open(guest.console_url) as console:
        console.login("edge", "edge")
        keys = console.run(["cat", ".ssh/authorized_keys"]).text
    assert keys == (user.folder / ".ssh/id_ed25519.pub").read_text()

    user.known_hosts.write_text(f"[127.0.0.1]:{guest.ssh_port} {sshd.host_key()}\n")
    changed = user.call(*asked(guest, "qemu-virt"))
    assert changed.returncode == 5
    assert f"{user.known_hosts}:1 has another ssh-ed25519 key" in changed.stderr


def test_dropbear_as_root(user: User, start: Start) -> None:
    guest = start("qemu-virt-dropbear")
    with Console.open(guest.console_url) as console:
        console.login("root", "edge")
        file = "/etc/ssh/dropbear_ed25519_host_key"
        said = console.run(["dropbearkey", "-y", "-f", file]).text.splitlines()
    own = guest.image.keys.public(guest.image.keys.host)
    assert bootstrap._host_keys(said) == bootstrap._host_keys([own]) != ()
    words = asked(guest, "qemu-virt-dropbear")
    words[words.index("edge")] = "root"
    done = user.call(*words)
    assert done.returncode == 0, done.stderr
    assert "root@127.0.0.1" in done.stdout
    doctor = user.call("doctor", "--board", "qemu-virt-dropbear")
    assert doctor.returncode == 0, doctor.stdout
