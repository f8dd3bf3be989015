"""A board's first login: what is asked, what is believed, and in which order things change."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from edge import board, bootstrap, facts, lab, session, toml
from edge.board import Board
from edge.bootstrap import Bootstrapped, parse_address, read_key
from edge.console import Console
from edge.errors import BoardError, EdgeError, UnreachableError, UsageError
from edge.report import boards as boards_report
from edge.session import Session
from edge.testing import FakeSerial, FakeTransport
from edge.transport import known_hosts, ssh
from edge.transport.known_hosts import HostKey
from edge.transport.target import SshTarget, destination, parts_of
from tests.unit.boards import RASPBERRY_PI_4


def blob(kind: str, *strings: bytes) -> bytes:
    return b"".join(len(s).to_bytes(4, "big") + s for s in (kind.encode(), *strings))


def key_of(letter: str, kind: str = "ssh-ed25519") -> HostKey:
    if kind == "ssh-ed25519":
        return HostKey(kind, blob(kind, letter.encode() * 32))
    return HostKey(kind, blob(kind, b"\1\0\1", letter.encode() * 65))


def spelled(key: HostKey) -> str:
    return f"{key.kind} {base64.b64encode(key.blob).decode()}"


HOST = key_of("h")
HOST_RSA = key_of("r", "ssh-rsa")
OTHER = key_of("o")
MINE = key_of("m")
BOOT = "2d6c5e0a-5f0e-4a0b-9d4e-1a2b3c4d5e6f"
SURVEY = f"""\
trie=Main:
trie=  +-- 0.0.0.0/0 3 0 5
trie=     |-- 0.0.0.0
trie=        /0 universe UNICAST
trie=           |-- 10.0.0.7
trie=              /32 host LOCAL
trie=        |-- 127.0.0.1
trie=           /32 host LOCAL
trie=     |-- 10.0.0.255
trie=        /32 link BROADCAST
trie=     |-- 172.17.0.1
trie=        /32 host LOCAL
trie=     |-- 169.254.3.4
trie=        /32 host LOCAL
trie=     |-- 10.0.0.7
trie=        /32 host LOCAL
inet6=fd00000000000000000000000000aaaa 02 40 00 01     eth0
inet6=fd000000000000000000000000000007 02 40 00 80     eth0
inet6=fd00000000000000000000000000bbbb 02 40 00 40     eth0
inet6=fe800000000000000000000000000007 02 40 20 80     eth0
inet6=00000000000000000000000000000001 01 80 10 80       lo
listens=0100007F:0CEA
listens=00000000:0016
server=sshd
has=sshd
has=systemctl
key={spelled(HOST)} root@board
key={spelled(HOST_RSA)} root@board
boot={BOOT}
end=.
"""


@dataclass
class Desk:
    """A board at a fake line, a network where some addresses answer, and a user's files."""

    folder: Path
    serial: FakeSerial = field(default_factory=lambda: FakeSerial(user="pi", motd="hi\n"))
    network: dict[str, HostKey] = field(default_factory=lambda: {"pi@172.17.0.1:22": OTHER})
    target: dict[str, Any] = field(default_factory=dict)
    """What the user's configuration adds to every target."""
    said: list[str] = field(default_factory=list)
    boot: str = BOOT
    new: bool = True
    """Nothing may have changed before the board is found."""
    login: UnreachableError | None = None
    """How the login over SSH fails."""

    @property
    def known_hosts(self) -> Path:
        return self.folder / "home/known_hosts"

    @property
    def lab(self) -> Path:
        return self.folder / "lab.toml"

    @property
    def installed(self) -> list[str]:
        return [argv[4] for argv in self.serial.commands if argv[2] == bootstrap._INSTALL]

    def survey(self, text: str) -> None:
        self.serial.on(["sh", "-c", bootstrap._SURVEY], stdout=text.encode())

    def installs(self, said: str = "added\n", **more: Any) -> None:
        self.serial.on(["sh", "-c", bootstrap._INSTALL], stdout=said.encode(), **more)

    def resolve(self, host: str) -> SshTarget:
        user, name, port = parts_of(host)
        files = (self.folder / "home/id_rsa", self.folder / "home/id_ed25519")
        made = SshTarget(
            name, user or "me", port=port or 22, identity_files=files,
            known_hosts=(self.known_hosts,),
        )  # fmt: skip
        return replace(made, **self.target)

    def shown(self, target: SshTarget, kinds: list[str], timeout_s: float) -> HostKey:
        assert kinds == [key.kind for key in (HOST, HOST_RSA)]
        assert self.untouched or not self.new, "a change before the board was found"
        if target.address not in self.network:
            raise ssh.NoWay("in many words", "no route to host")
        return self.network[target.address]

    @contextlib.contextmanager
    def connect(self, target: Board, progress: Callable[[str], None]) -> Iterator[Session]:
        assert self.known_hosts.exists(), "a login before the host key is known"
        if self.login is not None:
            raise self.login
        assert target.host is not None
        transport = FakeTransport()
        transport.on(["cat"], stdout=f"{self.boot}\n".encode())
        yield Session(target, transport, facts.parse(RASPBERRY_PI_4, now_s=0))

    @property
    def untouched(self) -> bool:
        return not (self.installed or self.known_hosts.exists() or self.lab.exists())

    def run(self, **wanted: Any) -> Bootstrapped:
        self.serial.closed = False
        plan = bootstrap.plan(wanted.pop("user", "pi"), **wanted)
        with Console(self.serial, "/dev/ttyUSB0", clock=self.serial.clock) as console:
            return bootstrap.bootstrap(board.load("rpi4"), console, plan, "edge", self.said.append)

    def fails(self, kind: type[EdgeError], **wanted: Any) -> str:
        with pytest.raises(kind) as caught:
            self.run(**wanted)
        return str(caught.value)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path)
    made.survey(SURVEY)
    made.installs()
    made.network["pi@10.0.0.7:22"] = HOST
    (tmp_path / "home").mkdir()
    (tmp_path / "home/id_ed25519.pub").write_text(f"{spelled(MINE)} me@desk\n")
    monkeypatch.setenv("EDGE_LAB", str(made.lab))
    monkeypatch.setattr(ssh, "resolve", made.resolve)
    monkeypatch.setattr(ssh, "shown_key", made.shown)
    monkeypatch.setattr(session, "connect", made.connect)
    return made


# --- the whole ----------------------------------------------------------------------------------


def test_from_a_serial_login_to_an_entry_in_the_lab(desk: Desk) -> None:
    done = desk.run(serial="/dev/ttyUSB0")
    assert desk.installed == [f"{spelled(MINE)} me@desk"]
    argv = desk.serial.commands[-1]
    assert list(argv[5:]) == spelled(MINE).split()
    assert desk.known_hosts.read_text() == (
        f"10.0.0.7 {spelled(HOST)}\n10.0.0.7 {spelled(HOST_RSA)}\n"
    )
    assert desk.lab.read_text() == (
        '[boards.rpi4]\nhost = "pi@10.0.0.7"\nserial = "/dev/ttyUSB0"\n'
    )
    assert (done.host, done.host_keys, done.recorded) == ("pi@10.0.0.7", (HOST, HOST_RSA), 2)
    assert (done.key_added, done.lab_changed) == (True, True)
    found = board.load("rpi4")
    assert (found.host, found.serial) == ("pi@10.0.0.7", "/dev/ttyUSB0")
    text = "\n".join(boards_report.bootstrap_lines(done))
    for part in (HOST.fingerprint, HOST_RSA.fingerprint, "next: invoke deploy --board rpi4"):
        assert part in text
    assert boards_report.bootstrap_json(done)["host_keys"][0]["fingerprint"] == HOST.fingerprint


def test_the_second_time_nothing_changes(desk: Desk) -> None:
    desk.run()
    before = desk.known_hosts.read_text(), desk.lab.read_text()
    desk.installs("there\n")
    desk.new = False
    done = desk.run()
    assert (done.recorded, done.key_added, done.lab_changed) == (0, False, False)
    assert (desk.known_hosts.read_text(), desk.lab.read_text()) == before
    assert "was already in" in "\n".join(boards_report.bootstrap_lines(done))


def test_nobody_stays_logged_in_on_the_line(desk: Desk) -> None:
    desk.run()
    assert desk.serial.sent.endswith(b"\x15exit\r")
    desk.survey("")
    desk.fails(BoardError, address="10.0.0.9")
    assert desk.serial.sent.endswith(b"\x03\x15exit\r")


def test_a_refused_login_leaves_the_line_alone(desk: Desk) -> None:
    desk.serial._password = "secret"
    assert "Login incorrect" in desk.fails(UnreachableError)
    assert not desk.serial.sent.endswith(b"exit\r")
    assert desk.said[-1].startswith("nothing was changed")
    assert desk.untouched


# --- the address --------------------------------------------------------------------------------


def test_an_address_where_another_machine_answers_is_passed_over(desk: Desk) -> None:
    desk.network = {"pi@10.0.0.7:22": OTHER, "pi@[fd00::7]:22": HOST}
    assert desk.run().host == "pi@fd00::7"
    assert "fd00::7 ssh-ed25519" in desk.known_hosts.read_text()


def test_no_address_that_answers_names_them_all(desk: Desk) -> None:
    desk.network = {"pi@172.17.0.1:22": OTHER}
    said = desk.fails(UnreachableError)
    assert "pi@10.0.0.7:22: no route to host" in said
    assert (
        f"pi@172.17.0.1:22: another machine answers, with ssh-ed25519 {OTHER.fingerprint}" in said
    )
    assert HOST.fingerprint in said
    assert "--address HOST[:PORT]" in said
    assert "127.0.0.1" not in said
    assert "169.254" not in said
    assert desk.untouched


def test_a_given_address_is_the_only_one_tried(desk: Desk) -> None:
    desk.network["pi@127.0.0.1:2222"] = HOST
    assert desk.run(address="127.0.0.1:2222").host == "ssh://pi@127.0.0.1:2222"
    assert desk.known_hosts.read_text().startswith("[127.0.0.1]:2222 ssh-ed25519 ")
    assert [line for line in desk.said if "looking" in line] == [
        "looking for the board at pi@127.0.0.1:2222"
    ]


def test_the_address_in_the_lab_comes_first(desk: Desk) -> None:
    desk.lab.write_text('[boards.rpi4]\nhost = "pi@pi.lan"\n')
    desk.network["pi@pi.lan:22"] = HOST
    desk.new = False
    assert desk.run().host == "pi@pi.lan"


def test_a_server_on_another_port(desk: Desk) -> None:
    desk.survey(SURVEY.replace(":0016", ":08AE").replace("server=sshd", "server=sshd\nport=2222"))
    desk.network["pi@10.0.0.7:2222"] = HOST
    assert desk.run().host == "ssh://pi@10.0.0.7:2222"
    desk.survey(SURVEY.replace(":0016", ":08AE"))
    assert "not on port 22: give --address" in desk.fails(BoardError)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pi.lan", ("pi.lan", None)),
        ("10.0.0.7:2222", ("10.0.0.7", 2222)),
        ("fd00::7", ("fd00::7", None)),
        ("[fd00::7]:22", ("fd00::7", 22)),
        ("[fd00::7]", ("fd00::7", None)),
        ("fe80::1%eth0", ("fe80::1%eth0", None)),
    ],
)
def test_an_address_is_taken_apart(text: str, parts: tuple[str, int | None]) -> None:
    assert parse_address(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pi@10.0.0.7",
        "a b",
        "-oX",
        "x:0",
        "x:65536",
        "x:y",
        "[x]:1",
        "a:b:c",
        "x:",
        "$(id)",
        "a/b",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        parse_address(text)


# --- what the board says ------------------------------------------------------------------------


def addresses(text: str) -> tuple[str, ...]:
    serial = FakeSerial(user="pi", logged_in=True)
    keys = f"key={spelled(HOST)}\nlistens=00000000:0016\nend=.\n"
    serial.on(["sh"], stdout=f"{text}\n{keys}".encode())
    with Console(serial, "line", clock=serial.clock) as console:
        console.login("pi", None)
        return bootstrap.survey(console).addresses


def test_addresses_from_the_kernel() -> None:
    assert addresses(SURVEY) == ("10.0.0.7", "172.17.0.1", "fd00::7", "fd00::aaaa")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("tool=2: eth0    inet 10.0.0.7/24 brd 10.0.0.255 scope global eth0", ("10.0.0.7",)),
        ("tool=          inet addr:10.0.0.7  Bcast:10.0.0.255  Mask:255.255.255.0", ("10.0.0.7",)),
        ("tool=        inet 10.0.0.7  netmask 255.255.255.0  broadcast 10.0.0.255", ("10.0.0.7",)),
        ("tool=          inet6 addr: fd00::7/64 Scope:Global", ("fd00::7",)),
        (
            "tool=2: eth0 inet6 fd00::1/64 scope global temporary\ntool=x inet6 fd00::2/64",
            ("fd00::2", "fd00::1"),
        ),
        ("tool=x inet 169.254.3.4/16", ("169.254.3.4",)),
        ("tool=x inet 169.254.3.4/16\ntool=x inet 10.0.0.7/8", ("10.0.0.7",)),
        ("tool=x inet 127.0.0.1/8\ntool=x inet6 ::1/128\ntool=x inet6 fe80::1/64", ()),
        ("tool=x inet 999.1.1.1/8\ntool=x inet 10.0.0.7;reboot", ("10.0.0.7",)),
        ("trie=|-- 1.2.3.4.5\ntrie=/32 host LOCAL\ninet6=zz\ninet6=-oX 1 1 1 1 1", ()),
        ("tool=x inet 0.0.0.0\ntool=x inet 224.0.0.1\ntool=x inet6 ::", ()),
    ],
)
def test_addresses_from_what_else_there_is(said: str, found: tuple[str, ...]) -> None:
    assert addresses(said) == found


def test_a_board_without_a_server_is_told_how_to_start_one(desk: Desk) -> None:
    quiet = SURVEY.replace("listens=00000000:0016\nserver=sshd\n", "")
    for has, line in {
        "has=sshd\nhas=systemctl": "sudo systemctl enable --now ssh",
        "has=sshd": "sudo /usr/sbin/sshd",
        "has=dropbear": "sudo dropbear -R",
        "": "sudo apt-get install openssh-server",
    }.items():
        desk.survey(quiet.replace("has=sshd\nhas=systemctl", has))
        said = desk.fails(BoardError)
        assert "no SSH server runs" in said
        assert f"`{line}`" in said
    assert desk.untouched


def test_a_server_that_only_the_board_reaches_is_none(desk: Desk) -> None:
    for alone in ("0100007F", "0" * 24 + "01000000"):
        only = SURVEY.replace("listens=00000000:0016\nserver=sshd\n", f"listens={alone}:0016\n")
        desk.survey(only)
        assert "no SSH server runs" in desk.fails(BoardError)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!!",
        "ssh-ed25519 AAAA",
        f"ssh-rsa {spelled(HOST).split()[1]}",
        spelled(HostKey("ssh-ed25519", HOST.blob[:-1])),
        spelled(HostKey("ssh-ed25519", HOST.blob + b"\0\0\0\0")),
        spelled(HostKey("ssh-dss", blob("ssh-dss", b"x"))),
        f"* {spelled(HOST)[:20]}",
    ],
)
def test_a_host_key_that_is_none_is_not_believed(desk: Desk, line: str) -> None:
    keys = [f"key={spelled(key)} root@board\n" for key in (HOST, HOST_RSA)]
    desk.survey(SURVEY.replace(keys[0], f"key={line}\n").replace(keys[1], ""))
    assert "shows no host key" in desk.fails(BoardError)


def test_only_the_key_itself_of_a_hostile_line_is_recorded(desk: Desk) -> None:
    desk.survey(SURVEY.replace("key=ssh-ed25519", "key=@cert-authority * x ssh-ed25519"))
    desk.run()
    assert desk.known_hosts.read_text().splitlines()[0] == f"10.0.0.7 {spelled(HOST)}"


def test_keys_from_a_scan_of_itself_count_when_no_file_can_be_read(desk: Desk) -> None:
    desk.survey(SURVEY.replace("key=", "scanned=127.0.0.1 "))
    assert desk.run().host_keys == (HOST, HOST_RSA)


def test_a_board_without_a_shell(desk: Desk) -> None:
    desk.serial.on(["sh", "-c", bootstrap._SURVEY], stdout=b"", exit_code=127)
    assert "exit 127" in desk.fails(BoardError)


# --- known_hosts --------------------------------------------------------------------------------


def test_another_key_for_the_name_stops_everything(desk: Desk) -> None:
    desk.known_hosts.write_text(f"# mine\n10.0.0.7 {spelled(OTHER)}\n")
    desk.new = False
    said = desk.fails(UnreachableError)
    assert f"{desk.known_hosts}:2 has another ssh-ed25519 key for 10.0.0.7" in said
    assert OTHER.fingerprint in said
    assert HOST.fingerprint in said
    assert f"ssh-keygen -f {desk.known_hosts} -R 10.0.0.7" in said
    assert not desk.installed
    assert not desk.lab.exists()
    assert desk.said[-1].startswith("nothing was changed")


def test_a_key_that_is_known_is_not_recorded_again(desk: Desk) -> None:
    lines = f"10.0.0.7,pi {spelled(HOST)}\n10.0.0.7 {spelled(OTHER)}\n"
    desk.known_hosts.write_text(lines)
    desk.new = False
    assert desk.run().recorded == 1
    assert desk.known_hosts.read_text() == f"{lines}10.0.0.7 {spelled(HOST_RSA)}\n"


def test_a_revoked_key_stops_everything(desk: Desk) -> None:
    desk.known_hosts.write_text(f"@revoked * {spelled(HOST_RSA)}\n")
    desk.new = False
    assert "@revoked" in desk.fails(UnreachableError)
    assert not desk.installed


def test_a_configuration_that_hashes_names(desk: Desk) -> None:
    desk.target = {"hash_known_hosts": True, "host_key_alias": "desk"}
    desk.run()
    assert "desk" not in desk.known_hosts.read_text()
    recorded = known_hosts.load([desk.known_hosts]).of("desk")
    assert [entry.key for entry in recorded] == [HOST, HOST_RSA]


def test_no_file_for_host_keys(desk: Desk) -> None:
    desk.target = {"known_hosts": ()}
    assert "keeps no known_hosts" in desk.fails(UsageError)


def test_a_line_without_an_end_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "a/known_hosts"
    known_hosts.record(file, "a", HOST)
    file.write_text(file.read_text().rstrip("\n"))
    known_hosts.record(file, "b", OTHER)
    assert file.read_text() == f"a {spelled(HOST)}\nb {spelled(OTHER)}\n"


# --- keys of the user ---------------------------------------------------------------------------


def test_a_key_file_is_read_without_what_a_line_can_hide(tmp_path: Path) -> None:
    file = tmp_path / "x.pub"
    file.write_text(f"\n# old\n{spelled(MINE)}  me\x1b[31m@d\u00e9sk \n")
    assert read_key(file).line == f"{spelled(MINE)} me[31m@dsk"
    file.write_text(spelled(MINE))
    assert read_key(file).line == spelled(MINE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA me",
        f"ssh-rsa {spelled(MINE).split()[1]} me",
        f'command="rm -rf /" {spelled(MINE)}',
        f"{spelled(MINE)}\n{spelled(HOST)}\n",
        f"ssh-ed25519-cert-v01@openssh.com {spelled(MINE).split()[1]}",
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pub").write_text(text)
    with pytest.raises(UsageError, match="is no public key"):
        read_key(tmp_path / "x.pub")


def test_a_private_key_never_leaves(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "id_ed25519"
    file.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    assert f"give the public one, {file}.pub" in desk.fails(UsageError, key=file)
    assert not desk.serial.sent


def test_without_a_key_nothing_changes(desk: Desk) -> None:
    (desk.folder / "home/id_ed25519.pub").unlink()
    said = desk.fails(UsageError)
    assert "ssh-keygen -t ed25519" in said
    assert str(desk.folder / "home/id_rsa.pub") in said
    assert desk.untouched


def test_a_given_key_goes_instead(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "x.pub").write_text(spelled(OTHER))
    desk.run(key=tmp_path / "x.pub")
    assert desk.installed == [spelled(OTHER)]


# --- what goes wrong later ----------------------------------------------------------------------


def test_a_full_board_is_reported_in_its_words(desk: Desk) -> None:
    desk.installs("", exit_code=1, stderr=b"sh: write error: No space left on device\n")
    assert "No space left on device" in desk.fails(BoardError)
    assert not desk.known_hosts.exists()


def test_a_login_that_is_refused_says_why_it_may_be(desk: Desk) -> None:
    desk.login = UnreachableError("refused")
    said = desk.fails(UnreachableError)
    assert "id_ed25519.pub is on the board: does `ssh -G pi@10.0.0.7` name it" in said
    assert not desk.lab.exists()
    assert "done so far: the key is on the board; its host keys are in" in desk.said[-1]
    desk.installs("loose\nthere\n")
    desk.new = False
    assert "chmod go-w ~" in desk.fails(UnreachableError)


def test_another_board_with_the_same_host_key_is_not_taken_for_it(desk: Desk) -> None:
    desk.boot = "another"
    said = desk.fails(UnreachableError)
    assert "pi@10.0.0.7 is another board, with the same host key" in said
    assert "identityfile" not in said
    assert not desk.lab.exists()


def test_ctrl_c_says_what_was_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(ssh, "shown_key", interrupt)
    with pytest.raises(KeyboardInterrupt):
        desk.run()
    assert desk.said[-1] == "nothing was changed, neither on the board nor here"
    assert desk.untouched

    monkeypatch.setattr(ssh, "shown_key", desk.shown)
    monkeypatch.setattr(bootstrap, "_record", interrupt)
    with pytest.raises(KeyboardInterrupt):
        desk.run()
    desk.new = False
    assert desk.said[-1] == (
        "done so far: the key is on the board; the same command goes on from there"
    )

    typed = desk.serial._perform

    def interrupted_install(argv: tuple[str, ...]) -> None:
        typed(argv)
        if argv[2] == bootstrap._INSTALL:
            raise KeyboardInterrupt

    monkeypatch.setattr(desk.serial, "_perform", interrupted_install)
    with pytest.raises(KeyboardInterrupt):
        desk.run()
    assert "the key may be on the board" in desk.said[-1]

    monkeypatch.setattr(desk.serial, "_perform", interrupt)
    with pytest.raises(KeyboardInterrupt):
        desk.run()
    assert desk.said[-1] == "nothing was changed, neither on the board nor here"


def test_an_install_that_was_cut_off_may_have_been_made(desk: Desk) -> None:
    desk.serial.on(["sh", "-c", bootstrap._INSTALL], takes_s=1000)
    desk.fails(BoardError)
    assert "the key may be on the board, whole or not at all" in desk.said[-1]


# --- who logs in, and with what -----------------------------------------------------------------


def test_the_login_is_whom_ssh_would_log_in(desk: Desk) -> None:
    assert bootstrap.login_name(board.load("rpi4"), None) == "me"
    assert bootstrap.login_name(board.load("rpi4", host="pi@x"), None) == "pi"
    assert bootstrap.login_name(board.load("qemu-virt"), None) == "edge"
    assert bootstrap.login_name(board.load("qemu-virt"), "root") == "root"
    for bad in ("-oX", "a b", "a@b", "", "a/b"):
        with pytest.raises(UsageError, match="is no login's name"):
            bootstrap.login_name(board.load("rpi4"), bad)
    for name in ("localhost", "qemu-aarch64"):
        with pytest.raises(UsageError, match="has no serial line"):
            bootstrap.login_name(board.load(name), "pi")


def test_where_the_password_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("from the file\nnot this\n")
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "typed"

    monkeypatch.setattr("getpass.getpass", ask)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    monkeypatch.delenv(bootstrap.PASSWORD_VARIABLE, raising=False)
    with pytest.raises(UsageError, match="--password-file FILE, or set EDGE_PASSWORD"):
        bootstrap.password("pi", "/dev/ttyUSB0", None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert bootstrap.password("pi", "/dev/ttyUSB0", None) == "typed"
    assert "pi on /dev/ttyUSB0" in asked[0]
    monkeypatch.setitem(os.environ, bootstrap.PASSWORD_VARIABLE, "")
    assert bootstrap.password("pi", "/dev/ttyUSB0", None) == ""
    assert bootstrap.password("pi", "/dev/ttyUSB0", file) == "from the file"
    with pytest.raises(UsageError, match="can't read the password file"):
        bootstrap.password("pi", "/dev/ttyUSB0", tmp_path)
    assert len(asked) == 1


# --- lab.toml -----------------------------------------------------------------------------------

NEW = {"host": "pi@10.0.0.7", "serial": "/dev/ttyUSB0"}
ENTRY = 'host = "pi@10.0.0.7"\nserial = "/dev/ttyUSB0"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[boards.rpi4]\n{ENTRY}"),
        ("# mine", f"# mine\n\n[boards.rpi4]\n{ENTRY}"),
        ("[boards.rpi4]", f"[boards.rpi4]\n{ENTRY}"),
        (
            '[boards.rpi4] # left\nroot = "/data" # big\n\n# more\n[boards.rpi5]\nhost = "x"',
            f"[boards.rpi4] # left\n{ENTRY}"
            'root = "/data" # big\n\n# more\n[boards.rpi5]\nhost = "x"',
        ),
        (
            '[boards.rpi5]\nhost = "pi@10.0.0.7"\n',
            f'[boards.rpi5]\nhost = "pi@10.0.0.7"\n\n[boards.rpi4]\n{ENTRY}',
        ),
        (
            f'[ boards . "rpi4" ]\n{ENTRY}',
            f'[ boards . "rpi4" ]\n{ENTRY}',
        ),
        (
            '[boards.rpi4]\r\nroot = "/data"\r\n',
            '[boards.rpi4]\r\nhost = "pi@10.0.0.7"\r\nserial = "/dev/ttyUSB0"\r\n'
            'root = "/data"\r\n',
        ),
        (
            'boards.rpi4 = { host = "pi@10.0.0.7", serial = "/dev/ttyUSB0" }\n',
            'boards.rpi4 = { host = "pi@10.0.0.7", serial = "/dev/ttyUSB0" }\n',
        ),
    ],
)
def test_the_lab_keeps_what_is_in_it(before: str, after: str) -> None:
    assert lab.edited(before, "rpi4", NEW) == after


def test_another_value_is_replaced_by_force_alone() -> None:
    before = "[boards.rpi4] # a\n'host' = 'pi@old#1' # why\n\nserial=\"/dev/ttyUSB0\"\n"
    with pytest.raises(UsageError, match=r"boards\.rpi4\.host is 'pi@old#1'.*--force"):
        lab.edited(before, "rpi4", NEW)
    assert lab.edited(before, "rpi4", NEW, force=True) == (
        '[boards.rpi4] # a\n\'host\' = "pi@10.0.0.7" # why\n\nserial="/dev/ttyUSB0"\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "boards.rpi4 = { root = '/data' }\n",
        "boards = { rpi5 = { root = '/data' } }\n",
        "[boards]\nrpi4.root = '/data'\n",
        '[boards.rpi4]\nhost = """\nx"""\n',
        "note = '''\n[boards.rpi4]\n'''\n",
    ],
)
def test_a_lab_that_can_not_be_edited_is_left_alone(text: str) -> None:
    with pytest.raises(UsageError, match=r'write host = "pi@10\.0\.0\.7", serial = .* by hand'):
        lab.edited(text, "rpi4", NEW, force=True)


def test_a_lab_that_is_no_lab(desk: Desk) -> None:
    with pytest.raises(UsageError, match="no valid TOML"):
        lab.edited("[", "rpi4", NEW)
    for text in ("boards = 3", "[boards]\nrpi4 = 3"):
        with pytest.raises(UsageError, match="must be a table"):
            lab.edited(text, "rpi4", NEW)


def test_any_value_comes_back_as_it_was(desk: Desk) -> None:
    for value in ('"', "\\", "\t\n\r\x00\x1f", "é\u2028", "'''", "socket://127.0.0.1:4000"):
        made = lab.edited("", "rpi4", {"serial": value})
        assert toml.loads(made) == {"boards": {"rpi4": {"serial": value}}}


def test_the_file_is_replaced_whole_where_a_link_leads(desk: Desk, tmp_path: Path) -> None:
    real = tmp_path / "kept/mine.toml"
    real.parent.mkdir()
    real.write_text("# mine\r\n", newline="")
    real.chmod(0o640)
    desk.lab.symlink_to(real)
    assert lab.write("rpi4", NEW)
    assert not lab.write("rpi4", NEW)
    assert desk.lab.is_symlink()
    assert real.read_bytes().startswith(b"# mine\r\n\r\n[boards.rpi4]\r\nhost")
    assert real.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in real.parent.iterdir()] == ["mine.toml"]


def test_a_lab_with_another_host_stops_before_anything_changes(desk: Desk) -> None:
    desk.lab.write_text('[boards.rpi4]\nhost = "pi@10.0.0.99"\n')
    desk.new = False
    assert "--force" in desk.fails(UsageError)
    assert not desk.installed
    assert not desk.known_hosts.exists()
    desk.run(force=True)
    assert desk.lab.read_text() == '[boards.rpi4]\nhost = "pi@10.0.0.7"\n'


# --- a host as an ssh:// address ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("rpi4", ("", "rpi4", None)),
        ("pi@10.0.0.7", ("pi", "10.0.0.7", None)),
        ("ssh://pi@10.0.0.7:2222", ("pi", "10.0.0.7", 2222)),
        ("ssh://[fd00::7]", ("", "fd00::7", None)),
    ],
)
def test_the_parts_of_a_host(host: str, parts: tuple[str, str, int | None]) -> None:
    assert parts_of(host) == parts


def test_what_leads_ssh_there() -> None:
    assert destination("pi", "fd00::7") == "pi@fd00::7"
    assert destination("pi", "fd00::7", 2222) == "ssh://pi@[fd00::7]:2222"
    assert parts_of(destination("pi", "fd00::7", 2222)) == ("pi", "fd00::7", 2222)


def test_a_port_that_is_none() -> None:
    with pytest.raises(UsageError, match="write ssh://user@address:port"):
        parts_of("ssh://pi@x:99999")


def test_an_ssh_address_without_an_ssh_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    found = ssh.resolve("ssh://pi@10.0.0.7:2222")
    assert (found.address, found.alias) == ("pi@10.0.0.7:2222", "")


def test_an_address_in_the_lab_is_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def resolve(host: str) -> SshTarget:
        raise Reached(host)

    monkeypatch.setattr(ssh, "resolve", resolve)
    for host in ("edge@127.0.0.1", "ssh://edge@127.0.0.1:2222"):
        target = board.load("qemu-virt", host=host)
        with pytest.raises(Reached, match=host), session.connect(target, print):
            pass
