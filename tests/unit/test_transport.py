"""What a transport works out before, or without, talking to anything."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from edge.errors import BoardError, HostError, UnreachableError, UsageError
from edge.testing import Call, Expect, Fail, FakeProcess, FakeTransport, Reply
from edge.transport import Outcome, host_keys, known_hosts, ssh
from edge.transport.command import program, words
from edge.transport.hostfile import appearing, readable
from edge.transport.known_hosts import HostKey
from edge.transport.target import SshTarget, checked_host, from_options, parse_options

ED = HostKey("ssh-ed25519", b"an ed25519 key")
ED_NEW = HostKey("ssh-ed25519", b"another one")
RSA = HostKey("ssh-rsa", b"an rsa key")

PRINTED = """\
host rpi4
user pi
hostname 10.0.0.7
port 2222
certificatefile ~/.ssh/id-%n-cert.pub
identitiesonly yes
identityfile ~/.ssh/%h_%r
identityfile none
identityfile ~/.ssh/id_ed25519
identityagent /run/agent-%u
userknownhostsfile /home/me/known1 /home/me/known2
globalknownhostsfile none
hostkeyalias desk
hashknownhosts yes
stricthostkeychecking accept-new
connecttimeout 7
"""


def _line(names: str, key: HostKey, marker: str = "") -> str:
    return f"{marker} {names} {key.kind} {base64.b64encode(key.blob).decode()} comment\n".lstrip()


# --- commands -----------------------------------------------------------------------------------


def test_words_takes_paths_and_refuses_what_no_system_passes_on() -> None:
    assert words(["ls", PurePosixPath("/a b")]) == ("ls", "/a b")
    for bad in ([], "ls -l", ["a\0"]):
        with pytest.raises(UsageError):
            words(bad)
    assert program(["/usr/bin/edge-run", "x"]) == "edge-run"


# --- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["", "-oProxyCommand=x", "-l", "a b", "a;b", "$(x)", "a\nb", "`x`", "a'b", "a\0"]
)
def test_a_host_that_could_be_an_option_or_a_command_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        checked_host(host)
    with pytest.raises(UsageError, match="is no host"):
        ssh.resolve(host)


def test_a_port_is_written_as_ssh_takes_it() -> None:
    for host in ("10.0.0.7:2222", "pi@board.local:2222"):
        with pytest.raises(UsageError, match=f"has a port: write ssh://{host}$"):
            checked_host(host)


@pytest.mark.parametrize("host", ["rpi4", "pi@10.0.0.7", "fe80::1%eth0", "ssh://pi@[::1]:22"])
def test_an_ordinary_host_passes(host: str) -> None:
    assert checked_host(host) == host


def test_a_target_is_what_ssh_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    target = from_options("rpi4", parse_options(PRINTED), environ={"SSH_AUTH_SOCK": "/other"})
    assert target == SshTarget(
        hostname="10.0.0.7",
        user="pi",
        port=2222,
        alias="rpi4",
        identity_files=(Path("/home/me/.ssh/10.0.0.7_pi"), Path("/home/me/.ssh/id_ed25519")),
        certificate_files=(Path("/home/me/.ssh/id-rpi4-cert.pub"),),
        identities_only=True,
        may_ask=True,
        agent_socket="/run/agent-me",
        known_hosts=(Path("/home/me/known1"), Path("/home/me/known2")),
        host_key_alias="desk",
        accept_unknown_host=True,
        hash_known_hosts=True,
        connect_timeout_s=7,
    )
    assert target.address == "pi@10.0.0.7:2222"
    assert target.host_key_names == ("desk",)


@pytest.mark.parametrize(
    ("option", "socket"),
    [("", "/env"), ("none", ""), ("SSH_AUTH_SOCK", "/env"), ("$MINE", "/mine"), ("/x", "/x")],
)
def test_which_agent(option: str, socket: str) -> None:
    options = {"identityagent": [option]} if option else {}
    environ = {"SSH_AUTH_SOCK": "/env", "MINE": "/mine"}
    assert from_options("h", options, environ=environ).agent_socket == socket


def test_the_ways_through_other_hosts() -> None:
    def proxy(config: Path | None = None, host: str = "10.0.0.7", **options: str) -> list[str]:
        chosen = {k: [v] for k, v in {"hostname": host, "user": "pi", **options}.items()}
        return list(from_options("rpi4", chosen, environ={}, config=config).proxy_argv)

    assert proxy() == proxy(proxyjump="none") == proxy(proxycommand="none") == []
    batch = ["-o", "BatchMode=yes"]
    assert proxy(proxyjump="me@gate:33") == (
        ["ssh", *batch, "-W", "10.0.0.7:22", "--", "ssh://me@gate:33"]
    )
    assert proxy(Path("/cfg"), "::1", proxyjump="a,b,c") == (
        ["ssh", "-F", "/cfg", *batch, "-J", "a,b", "-W", "[::1]:22", "--", "ssh://c"]
    )
    assert proxy(proxycommand="nc -x %r %h %p %n 100%%") == (
        ["sh", "-c", "exec nc -x pi 10.0.0.7 22 rpi4 100%"]
    )
    assert proxy(host="a;b", proxycommand="nc %h")[-1] == "exec nc 'a;b'"


def test_the_names_of_a_host_in_known_hosts() -> None:
    target = SshTarget("10.0.0.7", "pi")
    assert target.host_key_names == ("10.0.0.7",)
    assert replace(target, port=99).host_key_names == ("[10.0.0.7]:99", "10.0.0.7")


# --- host keys ----------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path) -> SshTarget:
    return SshTarget("10.0.0.7", "pi", alias="rpi4", known_hosts=(tmp_path / "known",))


@pytest.mark.parametrize(
    "names",
    [
        "10.0.0.7",
        "other,10.0.0.7",
        "10.0.0.*",
        "10.0.0.?",
        "!10.0.0.8,10.0.0.*",
        # Hashed with a salt: without a name of its own it would be another test each time.
        pytest.param(known_hosts.hashed("10.0.0.7"), id="hashed"),
    ],
)
def test_a_recorded_key_is_accepted(target: SshTarget, names: str) -> None:
    target.known_hosts[0].write_text("junk\n\n# note\nh ssh-rsa ?\n" + _line(names, ED))
    host_keys.check(target, ED)


@pytest.mark.parametrize(
    "names",
    [
        "10.0.0.70",
        "!10.0.0.7,10.0.0.*",
        pytest.param(known_hosts.hashed("x"), id="hashed"),
        "[10.0.0.7]:22",
        "|1|x",
    ],
)
def test_a_line_about_another_host_is_not_for_this_one(target: SshTarget, names: str) -> None:
    target.known_hosts[0].write_text(_line(names, ED))
    with pytest.raises(UnreachableError, match=r"not known: ssh-ed25519 SHA256:.*'ssh rpi4' once"):
        host_keys.check(target, ED)


def test_one_of_several_keys_is_enough_and_a_different_one_is_a_change(target: SshTarget) -> None:
    target.known_hosts[0].write_text(_line("10.0.0.7", RSA) + _line("10.0.0.7", ED))
    with pytest.raises(UnreachableError, match=r"HAS CHANGED.*known:2 .*ssh-keygen -f .* -R 10"):
        host_keys.check(target, ED_NEW)
    with target.known_hosts[0].open("a") as file:
        file.write(_line("10.0.0.7", ED_NEW))
    host_keys.check(target, ED_NEW)


def test_another_type_of_key_is_unknown_not_changed(target: SshTarget) -> None:
    target.known_hosts[0].write_text(_line("10.0.0.7", RSA))
    with pytest.raises(UnreachableError, match=r"not known: .*has only ssh-rsa"):
        host_keys.check(target, ED)


def test_markers(target: SshTarget) -> None:
    target.known_hosts[0].write_text(_line("*", ED, "@cert-authority"))
    with pytest.raises(UnreachableError, match=r"not known: .*@cert-authority"):
        host_keys.check(target, ED)
    target.known_hosts[0].write_text(_line("*", ED) + _line("*", ED, "@revoked"))
    with pytest.raises(UnreachableError, match="@revoked"):
        host_keys.check(target, ED)


def test_the_bare_address_vouches_for_a_port_but_does_not_accuse_it(target: SshTarget) -> None:
    other_port = replace(target, port=2222)
    target.known_hosts[0].write_text(_line("10.0.0.7", ED))
    host_keys.check(other_port, ED)
    with pytest.raises(UnreachableError, match="not known"):
        host_keys.check(other_port, ED_NEW)


@pytest.mark.parametrize("hashed", [False, True])
def test_an_unknown_key_is_recorded_if_the_user_wants_that(target: SshTarget, hashed: bool) -> None:
    lenient = replace(target, accept_unknown_host=True, hash_known_hosts=hashed)
    host_keys.check(lenient, ED)
    assert ("10.0.0.7" in target.known_hosts[0].read_text()) is not hashed
    host_keys.check(target, ED)
    with pytest.raises(UnreachableError, match="HAS CHANGED"):
        host_keys.check(lenient, ED_NEW)


def test_recorded_types_are_asked_for_first(target: SshTarget) -> None:
    offered = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
    assert host_keys.preferred_kinds(target, offered) == offered
    target.known_hosts[0].write_text(_line("10.0.0.7", RSA))
    assert host_keys.preferred_kinds(target, offered)[:2] == ["rsa-sha2-512", "rsa-sha2-256"]


def test_a_fingerprint_is_what_ssh_keygen_prints() -> None:
    # ssh-keygen -lf on a key made for this test
    blob = "AAAAC3NzaC1lZDI1NTE5AAAAIDSlnHtPgHaouwzMmUCSqrbchpgIQrvLB2cPZKp82/WT"
    key = HostKey("ssh-ed25519", base64.b64decode(blob))
    assert key.fingerprint == "SHA256:W+n3/rY5dPWo7IISiC0ya5Ru8Th+Ib8X68l4+ztVHd0"


# --- files on this machine ----------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with pytest.raises(BoardError), appearing(target) as file:
        file.write(b"half")
        raise BoardError("lost")
    assert list(tmp_path.iterdir()) == []
    with appearing(target) as file:
        file.write(b"whole")
    assert target.read_bytes() == b"whole"
    (tmp_path / "plain").write_bytes(b"")
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(HostError), appearing(tmp_path / "no" / "folder"):
        pass


def test_only_a_regular_file_is_readable(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no such file"):
        readable(tmp_path)


@pytest.mark.parametrize("mask", [0, 0o002, 0o077])
def test_others_never_write_to_what_is_made(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with appearing(tmp_path / "fetched") as file:
            file.write(b"x")
        known_hosts.record(tmp_path / "ssh/known", "rpi4", ED)
        (tmp_path / "kept").touch(mode=0o640)
        known_hosts.record(tmp_path / "kept", "rpi4", ED)
    finally:
        os.umask(before)
    assert (tmp_path / "fetched").stat().st_mode & 0o777 == 0o644 & ~mask
    assert (tmp_path / "ssh").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "ssh/known").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o640 & ~mask


# --- the fakes ----------------------------------------------------------------------------------


def test_a_fake_board_answers_by_prefix_and_remembers() -> None:
    board = FakeTransport()
    board.on(["uname"], stdout=b"Linux\n")
    board.on(["uname", "-m"], stdout=b"aarch64\n", exit_code=1)
    board.on(lambda argv: argv[-1] == "gone", raises=BoardError("gone"))
    board.answer(["cat"], lambda call: Outcome(call.argv, 0, call.stdin, b""))
    assert board.run(["uname", "-m"]).text == "aarch64\n"
    assert board.run(["uname", "-r"]).text == "Linux\n"
    assert board.run(["cat"], stdin=b"x", timeout_s=3).stdout == b"x"
    with pytest.raises(BoardError, match="gone"):
        board.run(["anything", "gone"])
    with pytest.raises(AssertionError, match="rm"):
        board.run(["rm", "-rf"])
    assert board.commands[0] == ("uname", "-m")
    assert board.calls[2] == Call("run", ("cat",), b"x", 3)
    board.cut()
    with pytest.raises(UnreachableError):
        board.run(["uname"])


def test_a_fake_board_has_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with FakeTransport() as board:
        board.put(tmp_path / "a", PurePosixPath("/b"))
        board.get(PurePosixPath("/b"), tmp_path / "c")
        assert (tmp_path / "c").read_bytes() == b"data"
        with pytest.raises(BoardError):
            board.get(PurePosixPath("/x"), tmp_path / "d")
    with pytest.raises(AssertionError, match="closed"):
        board.run(["true"])


def test_a_fake_process_follows_its_script() -> None:
    board = FakeTransport().on_start(
        ["edge-run"], Expect(b"hello\n"), Reply(b"ok"), Fail("cut"), exit_code=3
    )
    process = board.start(["edge-run", "store"])
    process.send(b"hel", 1)
    with pytest.raises(AssertionError, match="before the program was sent"):
        process.receive_line(1)
    process.send(b"lo\n", 1)
    assert process.receive_line(1) == b"ok"
    with pytest.raises(BoardError, match="cut"):
        process.receive_line(1)
    assert isinstance(process, FakeProcess)
    process.assert_done()
    assert process.close() == 3
    with pytest.raises(BoardError, match="closed"):
        process.send(b"x", 1)


def test_a_fake_process_does_not_take_anything_else() -> None:
    process = FakeProcess(Expect(b"hello"), stderr=b"why")
    with pytest.raises(AssertionError, match="expected"):
        process.send(b"help", 1)
    process = FakeProcess(Reply(b"12345"), stderr=b"why")
    with pytest.raises(BoardError, match="longer than 4"):
        process.receive_line(1, limit_bytes=4)
    with pytest.raises(BoardError, match="why"):
        process.receive_line(1)
    with pytest.raises(AssertionError, match="never came"):
        FakeProcess(Reply(b"x")).assert_done()


def test_a_program_named_by_its_content_goes_by_its_verb() -> None:
    assert (
        program(("/srv/edge/store/" + "0123456789ab" + "c" * 52, "store")) == "0123456789ab… store"
    )
    assert program(("/bin/cat", "x")) == "cat"
