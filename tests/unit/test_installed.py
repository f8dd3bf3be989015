"""Releases on a board: what is listed, what is gone back to, what is dropped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from edge import abi, board, build, facts, installed
from edge import history as history_module
from edge.artifact import Artifact
from edge.errors import UsageError
from edge.session import Session
from edge.testing import FakeProcess, FakeTransport, Reply
from tests.unit.boards import RASPBERRY_PI_4

SHA = "5" * 64


def manifest(model: str) -> bytes:
    file = {"path": f"models/{model}", "sha256": SHA, "size_bytes": 5, "executable": False}
    made = {"edge": 2, "arch": "aarch64", "engine": "tflite", "runtime": "litert-2.1.0",
            "build": {}, "delegate": None, "files": [file]}  # fmt: skip
    return json.dumps(made, sort_keys=True, indent=1).encode() + b"\n"


def id_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


MANIFESTS = [manifest(f"{name}.tflite") for name in "abcd"]
A, B, C, D = map(id_of, MANIFESTS)


class Board:
    """A board with four releases; ``asked`` is what its store was asked to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, words: str, log: list[str | None]) -> None:
        runner = Artifact(Path("edge-run"), build.RUNNER_PLACE, SHA, 9, executable=True)
        recipe = build.Recipe("zig", "t", None, "generic", False, (), "c", "s")
        monkeypatch.setattr(
            build, "runner", lambda *_: build.Build(runner, Path("libedge.so"), recipe, False)
        )
        lines = [history_module.entry("rpi4", i, "deploy").line for i in log]
        self.asked: list[str] = []
        self.transport = FakeTransport().on(["test"]).on(["sh"])
        self.transport.on(["tail"], stdout="".join(lines).encode())
        self.transport.on(["cat"], stdout=b"".join(MANIFESTS))
        self.transport.on(lambda argv: argv[-1] == "--list", stdout=f"ok {words}\n".encode())
        live = next((w.split(":")[0] for w in words.split() if "c" in w.split(":")[4]), "-")
        self.transport.answer_start(
            lambda argv: argv[1] == "store", lambda: Scripted(self.asked, words, live)
        )
        self.session = Session(
            board.load("rpi4"), self.transport, facts.parse(RASPBERRY_PI_4, now_s=0)
        )


class Scripted(FakeProcess):
    """A store that agrees to everything."""

    def __init__(self, asked: list[str], words: str, live: str) -> None:
        greeting = f"ok edge-store 2 {abi.constant('EDGE_ABI_VERSION')} 9 {live}"
        super().__init__(Reply(greeting.encode()))
        self._asked, self._words, self._live = asked, words, live

    def send(self, data: bytes, timeout_s: float) -> None:
        verb, _, rest = data.decode().splitlines()[0].partition(" ")
        replies = {"list": f"ok {self._words}", "switch": f"ok {self._live}", "quit": "ok bye",
                   "ping": "ok pong"}  # fmt: skip
        if verb not in ("list", "quit", "ping"):
            self._asked.append(f"{verb} {rest.split(' ')[0]}".strip())
        self._script.append(Reply(replies.get(verb, "ok").encode()))


WORDS = f"{D}:400:40:4:c {C}:300:30:3:- {B}:200:20:2:- {A}:100:10:1:-"


def test_what_is_there_and_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    found = installed.releases(Board(monkeypatch, WORDS, [A, D]).session, print)
    assert [one.stored.id for one in found] == [D, C, B, A]
    assert [one.models for one in found] == [(f"{n}.tflite",) for n in "dcba"]
    assert [one.last is not None for one in found] == [True, False, False, True]


def test_a_manifest_of_other_content_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Board(monkeypatch, f"{'0' * 16}:1:1:1:- {WORDS}", [])
    found = installed.releases(made.session, print)
    assert found[0].manifest is None and found[0].models == ()


def test_nothing_deployed_asks_for_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Board(monkeypatch, WORDS, [])
    transport = FakeTransport().on(["test"], exit_code=1)
    session = Session(made.session.board, transport, made.session.facts)
    assert installed.releases(session, print) == ()
    assert installed.undeploy(session, print) == ()
    assert len(transport.commands) == 2


def test_rolling_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Board(monkeypatch, WORDS, [C, B, D])
    assert installed.roll_back(made.session, print) == (D, B)
    assert made.asked == [f"switch {B}", f"settle {B}"]
    made = Board(monkeypatch, WORDS, [C, B, D])
    assert installed.roll_back(made.session, print, to=A[:6]) == (D, A)
    # Without a log, the newest of the others.
    made = Board(monkeypatch, WORDS, [])
    assert installed.roll_back(made.session, print) == (D, C)
    made = Board(monkeypatch, WORDS, [])
    assert installed.roll_back(made.session, print, to=D) == (D, D)
    assert made.asked == []


@pytest.mark.parametrize(
    ("words", "to", "message"),
    [
        (f"{D}:4:4:4:c", None, "has no release to go back to"),
        (WORDS, "zzzz", "has no release 'zzzz'"),
        (WORDS, "", "has no release ''"),
        (f"{'a' * 16}:1:1:1:- {'a' * 15}b:1:1:1:-", "aaa", "has 2 releases 'aaa'"),
    ],
)
def test_no_way_back(
    monkeypatch: pytest.MonkeyPatch, words: str, to: str | None, message: str
) -> None:
    made = Board(monkeypatch, words, [])
    with pytest.raises(UsageError, match=message):
        installed.roll_back(made.session, print, to=to)
    assert made.asked == []


def test_pruning_keeps_what_was_live_last(monkeypatch: pytest.MonkeyPatch) -> None:
    # A was live after B and C, although it is the oldest on the board.
    made = Board(monkeypatch, WORDS, [B, C, A, D])
    dropped, kept = installed.prune(made.session, print, keep=2)
    assert [s.id for s in dropped] == [C, B]
    assert [s.id for s in kept] == [D, A]
    assert made.asked == [f"drop {C}", f"drop {B}"]


@pytest.mark.parametrize(
    ("flag", "names"), [("p", "pinned"), ("u", "in use")], ids=["pinned", "in use"]
)
def test_pruning_spares(monkeypatch: pytest.MonkeyPatch, flag: str, names: str) -> None:
    made = Board(monkeypatch, WORDS.replace(f"{B}:200:20:2:-", f"{B}:200:20:2:{flag}"), [])
    dropped, _ = installed.prune(made.session, print, keep=1)
    assert [s.id for s in dropped] == [C, A]


def test_pruning_never_drops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Board(monkeypatch, WORDS, [])
    with pytest.raises(UsageError, match="undeploy"):
        installed.prune(made.session, print, keep=0)
    assert made.transport.commands == []


@pytest.mark.parametrize("pinned", [True, False])
def test_pinning(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    made = Board(monkeypatch, WORDS, [])
    assert installed.pin(made.session, print, A[:8], pinned=pinned) == A
    assert made.asked == [f"{'pin' if pinned else 'unpin'} {A}"]


@pytest.mark.parametrize("force", [True, False])
def test_undeploying(monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    made = Board(monkeypatch, WORDS, [])
    assert [s.id for s in installed.undeploy(made.session, print, force=force)] == [D, C, B, A]
    assert made.asked[0] == ("clear force" if force else "clear")
    assert made.asked[1].startswith("log ")
