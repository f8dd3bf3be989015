"""A board that means harm: it can neither run anything here, nor write, fill memory, or hang us.

A real SSH server whose every command is a program of the attacker's; and the whole command line in
front of it.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from edge import board, build, deploy, layout
from edge.errors import BoardError, UnreachableError
from edge.transport import ssh
from edge.transport.ssh import SshTarget
from tests.integration.test_commands import MODEL
from tests.integration.test_transport import _host, _ssh_config
from tests.sshd import Sshd, start_sshd
from tests.unit import boards

ROOT = Path(__file__).parents[2]
MEMORY_BYTES = 3 << 30
"""Of address space beyond the libraries; what floods us would pass it in seconds."""

_BOARD = """
import json, os, sys, time

told = json.load(open(sys.argv[1]))
command = os.environ["SSH_ORIGINAL_COMMAND"]
out, err = sys.stdout.buffer, sys.stderr.buffer

def play(acts):
    for act in acts:
        stream = err if act.get("to") == "err" else out
        if "wait" in act:
            sys.stdin.buffer.readline()
        stream.write(act.get("text", "").encode() * act.get("times", 1))
        stream.flush()
        while act.get("for_ever"):
            stream.write(act["for_ever"].encode())
            stream.flush()
            time.sleep(act.get("every_s", 0))

for part, acts in told.items():
    if part in command:
        play(acts)
        break
"""


@dataclass(frozen=True)
class Board:
    """An SSH server, and what each command with a certain word in it does there."""

    server: Sshd
    script: Path

    def does(self, **acts: list[dict[str, object]]) -> None:
        words = {"facts": "sh -s", "store": " store ", "copy": "cat", "all": ""}
        told = {words.get(name, name): value for name, value in acts.items()}
        self.script.write_text(json.dumps(told))


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "board.py").write_text(_BOARD)
    script = folder / "script.json"
    command = f"ForceCommand exec {sys.executable} -S -E {folder}/board.py {script}"
    server = start_sshd(folder / "sshd", command)
    yield Board(server, script)
    server.stop()


@pytest.fixture
def hostile(_server: Board) -> Board:
    _server.does(all=[])
    return _server


# --- the transport ------------------------------------------------------------------------------

FLOOD = "x" * 65536
ATTACKS: dict[str, list[dict[str, object]]] = {
    "endless output": [{"for_ever": FLOOD}],
    "endless errors": [{"to": "err", "for_ever": FLOOD}],
    "endless lines": [{"for_ever": "ok edge-store\\n" * 1000}],
    "drops": [{"for_ever": "x", "every_s": 0.05}],
    "drops of errors": [{"to": "err", "for_ever": "x", "every_s": 0.05}],
}


VERBS = ("run", "send", "receive", "put", "get")
FAIR = {("get", "drops"), ("put", "drops"), ("receive", "endless lines")}
"""Slow is no crime, and lines are what was asked for."""


@pytest.mark.parametrize(
    ("verb", "attack"), [(v, a) for v in VERBS for a in ATTACKS if (v, a) not in FAIR]
)
def test_no_output_holds_or_fills_us(
    hostile: Board, tmp_path: Path, verb: str, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile.does(all=ATTACKS[attack])
    for name in ("MAX_OUTPUT_BYTES", "MAX_FILE_BYTES"):
        monkeypatch.setattr(f"edge.transport.ssh.{name}", 4 << 20)
    source = tmp_path / "source"
    source.write_bytes(bytes(1 << 22))
    with ssh.connect(hostile.server.target) as there:
        began = time.monotonic()
        with pytest.raises(BoardError) as caught:
            if verb == "run":
                there.run(["true"], stdin=bytes(1 << 22), timeout_s=2)
            elif verb == "put":
                there.put(source, PurePosixPath("/tmp/x"), timeout_s=2)
            elif verb == "get":
                there.get(PurePosixPath("/tmp/x"), tmp_path / "target", timeout_s=2)
            else:
                process = there.start(["true"])
                if verb == "send":
                    process.send(bytes(1 << 24), 2)
                process.receive_line(2)
        # For ever is longer than this, on a busy machine, too.
        assert time.monotonic() - began < 60
        assert len(str(caught.value)) < 4000
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    "greeting",
    [b"SSH-2.0-" + b"x" * 100_000, b"\n" * 1000, b"hello\r\n" * 10, b"\0" * 1000, b""],
    ids=["long", "empty lines", "chatter", "zeros", "nothing"],
)
def test_a_greeting_without_end(greeting: bytes) -> None:
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        link, _ = listener.accept()
        with link:
            while not over.is_set():
                try:
                    link.sendall(greeting or b"SSH-2.0-x\r\n\0\0")
                except OSError:
                    return
                over.wait(0.01)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        try:
            with pytest.raises(UnreachableError, match="no board answers") as caught:
                port = listener.getsockname()[1]
                ssh.connect(SshTarget("127.0.0.1", "pi", port=port), timeout_s=2)
        finally:
            over.set()
            thread.join()
        assert time.monotonic() - began < 20
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 4000


def test_a_server_writes_no_words_onto_the_terminal(tmp_path: Path) -> None:
    """What refuses a login may say why, and says it on our screen."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                link.sendall(b"SSH-\x1b]0;owned\x07\x1b[2J-x\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(UnreachableError) as caught:
            ssh.connect(SshTarget("127.0.0.1", "pi", port=listener.getsockname()[1]), timeout_s=5)
        thread.join()
    assert "owned" in str(caught.value)
    assert str(caught.value).isprintable()


# --- the command line ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Caller:
    """Somebody who uses edge on this machine: a home of their own, and our cache."""

    home: Path
    env: dict[str, str]

    def call(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        invoke = Path(sys.executable).with_name("invoke")
        limit = (MEMORY_BYTES, MEMORY_BYTES)
        return subprocess.run(
            [invoke, "--search-root", ROOT, *words],
            env=self.env,
            cwd=self.home,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
            umask=0,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit),
        )

    def listing(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in sorted(self.home.rglob("*"))
        }


@pytest.fixture(scope="module")
def _built() -> None:
    """What a command would make first, so that its deadline here is for what the board does."""
    target = board.load("rpi4")
    build.host_library(print)
    deploy.prepare(target, deploy.models([MODEL], print), print)


@pytest.fixture
def caller(hostile: Board, _built: None, tmp_path: Path) -> Caller:
    settings = tmp_path / "settings"
    settings.mkdir()
    config = _ssh_config(
        settings, _host("evil", hostile.server, f"UserKnownHostsFile {hostile.server.known_hosts}")
    )
    (settings / "bin").mkdir()
    client = settings / "bin/ssh"
    client.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{config}" "$@"\n')
    client.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    env = {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(layout.cache_dir().parent),
        "EDGE_LAB": str(home / "lab.toml"),
        "PATH": f"{settings}/bin:{os.environ['PATH']}",
    }
    return Caller(home, env)


EVIL = (
    "$(touch pwned)`touch pwned`;touch pwned;'\"|&"
    "\x1b]0;owned\x07\x1b[2J[red]red[/][/]{}%s:smile:\u202e"
)


def _facts(**other: str) -> str:
    told = boards.RASPBERRY_PI_4
    for key, value in other.items():
        told = "\n".join(
            f"{key}={value}" if line.startswith(f"{key}=") else line for line in told.split("\n")
        )
    return f"\nedge-answers-begin\n{told}edge-answers-end\n"


def _screen(done: subprocess.CompletedProcess[bytes], *codes: int) -> str:
    """All that was printed; nothing of it steers a terminal or is a stack trace."""
    text = (done.stdout + done.stderr).decode()
    assert done.returncode in codes, text[-2000:]
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert "Traceback" not in text
    assert "defect" not in text, text[-2000:]
    assert len(text) < 100_000
    return text


TEXTS = ["user", "kernel", "kernel_machine", "system", "model", "libc", "hardware", "mount"]


def test_evil_words_are_shown_and_nothing_else(hostile: Board, caller: Caller) -> None:
    before = caller.listing()
    evil = _facts(**dict.fromkeys(TEXTS, EVIL), features=EVIL, cpu_name=EVIL, page=EVIL)
    hostile.does(facts=[{"text": evil}])
    for words in (["doctor", "--board", "rpi4"], ["doctor", "--board", "rpi4", "--json"]):
        _screen(caller.call(*words, "--host", "evil"), 0, 3)
    assert "[red]red[/]" in _screen(
        caller.call("doctor", "--board", "rpi4", "--host", "evil"), 0, 3
    )
    assert caller.listing() == before


def test_a_board_file_made_of_evil_words_is_still_one(hostile: Board, caller: Caller) -> None:
    evil = _facts(**dict.fromkeys(["user", "kernel", "system", "model", "cpu_name"], EVIL))
    hostile.does(facts=[{"text": evil}])
    before = caller.listing()
    _screen(caller.call("probe", "--host", "evil", "--name", "mine"), 0, 3)
    made = {name for name in caller.listing() if name not in before}
    assert made <= {str(caller.home / "boards"), str(caller.home / "boards/mine.toml")}
    assert [name for name in made if Path(name).stat().st_mode & 0o022] == []
    _screen(caller.call("boards"), 0)


@pytest.mark.parametrize(
    "facts",
    [
        [{"text": "x" * 1000, "times": 30_000}],
        [{"text": _facts(model="y" * 1_000_000)}],
        [{"for_ever": FLOOD}],
        [{"to": "err", "for_ever": "\x1b[31m" * 10000}],
        [{"text": _facts(free_kib="9" * 5000, cores="9" * 400, MemTotal="-1", page="0")}],
        [{"text": _facts(cores="٣", MemTotal="1e999", page="nan", cpu_max="0 0")}],
        [{"text": _facts(root="../../x")}],
        [{"text": _facts(root="/")}],
        [{"text": ""}],
    ],
    ids=["long line", "long value", "flood", "error flood", "numbers", "nan", "..", "/", "none"],
)
def test_whatever_a_board_answers_first(
    hostile: Board, caller: Caller, facts: list[dict[str, object]]
) -> None:
    hostile.does(facts=facts)
    before = caller.listing()
    _screen(caller.call("doctor", "--board", "rpi4", "--host", "evil"), 0, 3, 5)
    assert caller.listing() == before


_SHA = "0" * 64


@pytest.mark.parametrize(
    "store",
    [
        [{"for_ever": FLOOD}],
        [{"for_ever": "ok\n"}],
        [{"for_ever": "\n"}],
        [{"to": "err", "for_ever": FLOOD}],
        [{"text": "ok edge-store 2 1 99999999999999999999999 -\n"}],
        [{"text": "ok edge-store 2 1 100000000000 ../../x\n"}],
        [{"text": f"ok edge-store {EVIL} {EVIL} 1 -\n"}],
        [{"text": f"err 12 {EVIL}\n"}],
        [{"text": f"err 999999999999 {EVIL}\n"}],
        [{"text": "\0" * 100_000}],
        [{"text": EVIL * 1000, "to": "err"}],
    ],
    ids=lambda acts: json.dumps(acts)[:50],
)
def test_whatever_a_store_answers(
    hostile: Board, caller: Caller, store: list[dict[str, object]]
) -> None:
    hostile.does(facts=[{"text": _facts(free_kib="90000000")}], store=store, all=[])
    before = caller.listing()
    words = ["deploy", "--board", "rpi4", "--host", "evil", "--model", str(MODEL)]
    assert "store" in _screen(caller.call(*words), 3, 5).splitlines()[-1]
    assert caller.listing() == before
