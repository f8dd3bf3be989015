"""Logins of other kinds: fish, csh, busybox; no SFTP, no coreutils; start-up files that print.

The shells are real ones, unpacked beside this machine's own; none is installed.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge import board, build, debian, facts, probe
from edge import store as store_module
from edge.errors import BoardError, UsageError
from edge.store import Blob
from edge.transport import ssh
from edge.transport.command import MAX_LINE_BYTES, login_line
from edge.transport.local import LocalTransport
from tests.integration.test_transport import NASTY
from tests.sshd import Sshd, start_sshd

SHELLS = ("dash", "bash", "zsh", "fish", "tcsh", "csh", "ash")


@dataclass(frozen=True)
class Shell:
    argv: tuple[str, ...]
    env: dict[str, str]

    def run(self, line: bytes, **more: str) -> subprocess.CompletedProcess[bytes]:
        """``<shell> -c <line>``, as an SSH server does."""
        env = {**os.environ, **self.env, **more}
        return subprocess.run([*self.argv, "-c", line], env=env, capture_output=True, timeout=60)


def _unpacked(name: str) -> Path:
    return debian.unpack_host_packages([name], print)


@pytest.fixture(scope="session")
def applets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH of busybox alone."""
    folder = tmp_path_factory.mktemp("busybox")
    program = _unpacked("busybox-static") / "usr/bin/busybox"
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        (folder / name).symlink_to(program)
    return folder


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH of what edge uses on a board, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    names = (
        "sh env cat mkdir chmod rm head tail od tr uname id awk grep sed df cut sort dirname date"
    )
    for name in names.split():
        program = shutil.which(name)
        assert program
        (folder / name).symlink_to(program)
    return folder


@pytest.fixture(scope="session")
def shells(tmp_path_factory: pytest.TempPathFactory, applets: Path) -> Callable[[str], Shell]:
    home = tmp_path_factory.mktemp("home")
    # What a user's start-up files may do to a command's name.
    (home / ".cshrc").write_text("alias cat 'echo aliased'\nalias printf 'echo aliased'\n")
    (home / ".config/fish").mkdir(parents=True)
    (home / ".config/fish/config.fish").write_text("function cat\n  echo aliased\nend\n")
    links = tmp_path_factory.mktemp("shells")

    def shell(name: str) -> Shell:
        env = {"HOME": str(home), "TERM": "dumb"}
        if name in ("dash", "bash"):
            return Shell((name,), env)
        if name == "ash":
            return Shell(
                (str(applets / "ash"),), {**env, "PATH": f"{applets}:{os.environ['PATH']}"}
            )
        root = _unpacked("tcsh" if name == "csh" else name)
        program = root / "usr/bin" / ("tcsh" if name == "csh" else name)
        if name == "csh":  # by its name it behaves as the old one
            if not (links / "csh").exists():
                (links / "csh").symlink_to(program)
            program = links / "csh"
        libraries = sorted({str(so.parent) for so in (root / "usr/lib").glob("*/*.so*")})
        # Not for what the shell starts.
        loader = ("env", f"LD_LIBRARY_PATH={':'.join(libraries)}") if libraries else ()
        return Shell((*loader, str(program)), env)

    return shell


# --- words --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tell(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that says what it was given; its own name needs no quoting."""
    script = tmp_path_factory.mktemp("tell") / "tell"
    script.write_text("#!/bin/dash\nprintf '%s\\0' \"$@\"\n")
    script.chmod(0o755)
    return str(script)


ODD = [
    *["", " ", "a b", "'", "''", "\\", "\\\\", "\\'", "'\\''", "!", "!!", "!$", "!a:p", "^a^b^"],
    *["\n", "\n\n", "a\n", "\na", "\\\n", "'\n", "!\n", "\t", "\r", "\x01\x7f\x1b[0m"],
    *["~", "~root", "$HOME", "$(id)", "`id`", "${x}", "$", "%s", "%self", "%1", "=ls", "@", "a=b"],
    *["*", "?", "[a]", "{a,b}", "{}", "#", "a#b", "&", "|", ";", "<", ">", "(", ")", '"', '"$x"'],
    *["-n", "--", "-", "\\n", "\\101", "\\0", "é", "\udcff\udc80", "😀", NASTY],
]


def _arrives(shell: Shell, tell: str, arguments: list[str], **env: str) -> None:
    shown = shell.run(login_line((tell, *arguments)), **env)
    wanted = b"".join(os.fsencode(word) + b"\0" for word in arguments)
    assert (shown.stdout, shown.returncode) == (wanted, 0), (arguments, shown.stderr)


@pytest.mark.parametrize("name", SHELLS)
def test_odd_words_arrive_through_every_login_shell(
    shells: Callable[[str], Shell], tell: str, name: str
) -> None:
    shell = shells(name)
    for locale in ("C", "C.UTF-8"):
        _arrives(shell, tell, ODD, LC_ALL=locale)
    for word in ODD:
        _arrives(shell, tell, [word])
    _arrives(shell, tell, ["x" * 50_000, "!'\\\n" * 1_500])


@pytest.mark.parametrize("name", SHELLS)
def test_any_words_arrive_through_every_login_shell(
    shells: Callable[[str], Shell], tell: str, name: str
) -> None:
    shell = shells(name)
    word = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
    special = st.text(st.sampled_from("'\"\\!$`~\n %^*?{}[]()<>|&;#=@-a0"), max_size=8)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(word | special, min_size=1, max_size=4))
    @example(["\\'!\n"])
    def check(arguments: list[str]) -> None:
        _arrives(shell, tell, arguments)

    check()


@pytest.mark.parametrize("name", SHELLS)
def test_programs_are_run_and_not_a_shells_own_namesakes(
    shells: Callable[[str], Shell], name: str
) -> None:
    shell = shells(name)
    assert shell.run(login_line(("cat", "/dev/null"))).stdout == b""
    assert shell.run(login_line(("printf", "%s", "a!"))).stdout == b"a!"
    assert shell.run(login_line(("edge-no-such-program",))).returncode == 127
    assert shell.run(login_line(("edge-no=such!program",))).returncode == 127
    for line in (("sh", "-c", "exit 7"), ("sh", "-c", "! :; exit 7")):
        assert shell.run(login_line(line)).returncode == 7


def test_a_line_that_no_system_passes_on_is_refused(shells: Callable[[str], Shell]) -> None:
    room = MAX_LINE_BYTES - len("env true ")
    assert shells("bash").run(login_line(("true", "x" * room))).returncode == 0
    with pytest.raises(UsageError, match=r"'true' with its words is 131072 bytes"):
        login_line(("true", "x" * (room + 1)))
    with pytest.raises(OSError, match="too long"):
        shells("bash").run(login_line(("true", "x" * room)) + b"x")
    # Octal numbers are four times as long.
    with pytest.raises(UsageError):
        login_line(("true", "!" * (MAX_LINE_BYTES // 4)))


def test_plain_commands_stay_readable() -> None:
    assert login_line(("sh", "-c", 'cat > "$1"', "sh", "/a b/c")) == (
        b"sh -c 'cat > \"$1\"' sh '/a b/c'"
    )
    assert (
        login_line(("/opt/edge-run", "infer", "--shape=1x2")) == b"/opt/edge-run infer --shape=1x2"
    )
    assert login_line(("rm", "-f", "a")) == b"env rm -f a"
    assert login_line(("echo", "a!")) == (b'sh -c \'eval "$(printf "echo \\047a\\041\\047")"\'')


# --- a board over SSH whose login shell is such a one ---------------------------------------------


@pytest.fixture
def login(
    tmp_path: Path, shells: Callable[[str], Shell], bare: Path
) -> Iterator[Callable[..., Sshd]]:
    """Servers whose every command goes through another shell, with few programs around."""
    servers: list[Sshd] = []

    def serve(name: str, before: str = "") -> Sshd:
        shell = shells(name)
        script = tmp_path / f"login{len(servers)}"
        settings = [f"{key}={value}" for key, value in {**shell.env, "PATH": str(bare)}.items()]
        start = shlex.join(["/usr/bin/env", *settings, *shell.argv])
        script.write_text(f'#!/bin/sh\n{before}\nexec {start} -c "$SSH_ORIGINAL_COMMAND"\n')
        script.chmod(0o755)
        servers.append(start_sshd(tmp_path / f"sshd{len(servers)}", f"ForceCommand {script}"))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


@pytest.mark.parametrize("name", ["fish", "tcsh", "ash"])
def test_a_board_with_another_login_shell_and_little_else(
    login: Callable[..., Sshd], tmp_path: Path, name: str
) -> None:
    """No SFTP server, no sha256sum: what the store needs, the runner brings along."""
    server = login(name)
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 999)
    program = build.runner(board.load("localhost"), print).runner
    root = PurePosixPath(tmp_path / "device root's!")
    with ssh.connect(server.target) as there:
        if name != "ash":  # whose sha256sum is built in
            assert there.run(["sha256sum", "x"]).exit_code == 127
        assert there.run(["sh", "-c", "printf '%s' \"$1\"", "sh", NASTY]).text == NASTY
        place = PurePosixPath(tmp_path / "a!b\\c'd")
        there.put(source, place)
        there.get(place, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == source.read_bytes()
        found = facts.read(there, str(root))
        assert (found.machine, found.root) == ("x86_64", root)
        assert store_module.install_runner(there, program.path, program.sha256, root)
        content = hashlib.sha256(source.read_bytes()).hexdigest()
        blob = root / "store" / program.sha256
        with store_module.open(there, blob, root, owner="me") as store:
            store.put([Blob(source, content, source.stat().st_size)])
            links = {"bin/edge-run": program.sha256, "models/m": content}
            release = hashlib.sha256(b"{}").hexdigest()[:16]
            assert store.create_release(release, links, b"{}")
            assert store.switch(release) is None
    assert Path(root / "current/models/m").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("before", ["echo Welcome, stranger", "printf 'no line end'"])
def test_a_login_that_prints_is_refused_with_the_file_to_mend(
    login: Callable[..., Sshd], before: str
) -> None:
    with (
        ssh.connect(login("ash", before).target) as there,
        pytest.raises(BoardError, match=r"prints '(Welcome, stranger|no line end)' with every"),
    ):
        facts.read(there, "edge")
    # On standard error it spoils nothing.
    with ssh.connect(login("ash", f"{{ {before}; }} >&2").target) as there:
        assert facts.read(there, "edge").machine == "x86_64"


# --- what a board says of itself ------------------------------------------------------------------


def test_busybox_alone_can_answer(applets: Path) -> None:
    full, small = LocalTransport(), LocalTransport("small", {"PATH": str(applets)})
    with full, small:
        complete, found = facts.read(full, "x"), facts.read(small, "x")
        condition = facts.read_condition(small)
    for key in ("machine", "glibc", "provides", "libraries", "features", "cpus", "mount", "root"):
        assert getattr(found, key, None) == getattr(complete, key, None), key
    assert found.page_bytes == complete.page_bytes == os.sysconf("SC_PAGESIZE")
    assert found.provides["GLIBCXX"] >= (3, 4, 20)
    assert abs(found.clock_ahead_s or 99) < 10
    assert condition.load is not None and not condition.pythons


def test_a_board_file_is_made_over_ssh(
    login: Callable[..., Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ssh.connect(login("fish").target) as there:
        found, condition = facts.read(there, "edge"), facts.read_condition(there)
        seen = f"{there.name} on 2026-11-21"
    path = probe.write("mine", probe.board_file(found, condition, "mine", seen=seen))
    assert "127.0.0.1 on 2026-11-21 by `invoke probe`" in path.read_text()
    loaded = board.load("mine")
    assert (loaded.arch, loaded.cores) == ("x86_64", os.cpu_count())
    assert loaded.memory_mib == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >> 20
