"""The store's client against scripted programs: what it sends, and what it makes of any answer."""

from __future__ import annotations

import datetime
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import abi
from edge import store as store_module
from edge.artifact import Artifact
from edge.errors import BoardError, EdgeError, HostError, UsageError
from edge.store import Blob, Damaged, Held, State, Store, Stored
from edge.testing import Expect, Fail, FakeProcess, FakeTransport, Reply

ABI = abi.constant("EDGE_ABI_VERSION")
GREETING = Reply(b"ok edge-store 2 %d 12345 -" % ABI)
SHA, OTHER = "a" * 64, "b" * 64
ID, OLD_ID = "0123456789abcdef", "f" * 16
ROOT = PurePosixPath("/home/pi/edge root")
RUNNER = ROOT / "store" / SHA


def talk(*script: Expect | Reply | Fail) -> tuple[Store, FakeProcess]:
    process = FakeProcess(GREETING, *script)
    return Store(process, "pi@fake"), process


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    # What can't be packed goes as it is.
    path.write_bytes(random.Random(0).randbytes(SIZE))
    return path


SIZE = 512_000


def framed(content: bytes) -> bytes:
    """As the protocol carries what can't be packed."""
    pieces = [content[at : at + 262144] for at in range(0, len(content), 262144)]
    return b"".join(b"%d %d\n" % (len(piece), len(piece)) + piece for piece in pieces)


# --- opening


def test_open_names_root_owner_and_timeout_and_reads_the_greeting() -> None:
    board = FakeTransport().on_start([RUNNER, "store"], GREETING)
    store = store_module.open(board, RUNNER, ROOT, owner="Ada Löve@desk", idle_timeout_s=7)
    assert store.free_bytes == 12345
    assert board.commands == [
        (
            str(RUNNER), "store", "--root", str(ROOT), "--owner", "Ada%20L%C3%B6ve@desk",
            "--idle-timeout", "7",
        )
    ]  # fmt: skip


def test_an_owner_is_one_word_and_not_endless() -> None:
    for owner, expected in (("", "unknown"), ("x" * 999, "x" * 200), ("a\nb c", "a%0Ab%20c")):
        board = FakeTransport().on_start([RUNNER], GREETING)
        store_module.open(board, RUNNER, ROOT, owner=owner)
        assert board.commands[0][5] == expected


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"ok edge-store 1 999 5 -", r"speaks store protocol 1, ABI 999.*deploy with this edge"),
        (b"ok edge-store 1 %d 5 -" % ABI, "speaks store protocol 1"),
        (b"err 12 held by Ada%20L since 2026-01-02T03:04:05Z", "held by Ada L since 2026.*: wait"),
        (b"err 12 held by %1B[31mred since now", r"held by \?\[31mred since"),
        (b"err 9 no space for 5 bytes", "pi@fake: no space for 5 bytes"),
        (b"Welcome to pi, the friendly board", "Welcome to pi.*login shell prints"),
        (b"", "answered ''"),
        (b"ok", "not in its protocol"),
        (b"ok edge-store 2 1 -5 -", "not in its protocol"),
        (b"ok edge-store 2 1 5 ../..", "not in its protocol"),
        (b"ok edge-store 2 1 5 - more", "not in its protocol"),
        (b"ok edge-store 2 1 " + b"9" * 5000 + b" -", "not in its protocol"),
        (b"err 0 fine", "not in its protocol"),
        (b"err 99 what", "not in its protocol"),
        (b"err -1 what", "not in its protocol"),
        (b"err " + b"9" * 5000, "not in its protocol"),
        (b"\xff\xfe\x1b[2J", r"answered '\ufffd\ufffd\?\[2J'"),
        (b"x" * 70_000, "longer than"),
    ],
)
def test_a_greeting_that_is_none(greeting: bytes, message: str) -> None:
    board = FakeTransport().on_start([RUNNER], Reply(greeting))
    with pytest.raises(BoardError, match=message) as caught:
        store_module.open(board, RUNNER, ROOT, owner="me")
    assert len(str(caught.value)) < 1500 and str(caught.value).isprintable()
    process = board.processes[0]
    assert isinstance(process, FakeProcess) and process.closed


# --- requests


def test_have_tells_bytes() -> None:
    blobs = [(SHA, 10), (OTHER, 10), ("c" * 64, 10), ("d" * 64, 10), ("e" * 64, 0)]
    lines = b"".join(b"%s %d\n" % (sha.encode(), size) for sha, size in blobs)
    store, process = talk(Expect(b"have 5\n" + lines), Reply(b"ok have none part:4 part:10 none"))
    # A part that is complete is not stored yet: something of it is left to put.
    assert list(store.have(blobs).values()) == [10, None, 4, 9, None]
    process.assert_done()


def test_have_asks_in_batches() -> None:
    blobs = [(f"{i:064x}", 1) for i in range(1025)]
    script: list[Expect | Reply] = []
    for start, count in ((0, 512), (512, 512), (1024, 1)):
        lines = "".join(f"{sha} 1\n" for sha, _ in blobs[start : start + count])
        script += [Expect(f"have {count}\n{lines}".encode()), Reply(b"ok" + b" have" * count)]
    store, process = talk(*script)
    assert set(store.have(blobs).values()) == {1}
    process.assert_done()
    assert store.have([]) == {}


@pytest.mark.parametrize("offset", [0, 300_000, SIZE])
def test_put_sends_the_rest_and_tells_how_much(model: Path, offset: int) -> None:
    head = f"put {SHA} {SIZE} {offset} 555\n".encode()
    store, process = talk(Expect(head + framed(model.read_bytes()[offset:])), Reply(b"ok stored"))
    sent: list[int] = []
    store.put([Blob(model, SHA, SIZE, executable=True, offset_bytes=offset)], sent.append)
    assert sum(sent) == SIZE - offset
    process.assert_done()


def test_put_does_not_wait_for_each_reply(model: Path) -> None:
    content = model.read_bytes()
    one = f"put {SHA} {SIZE} 0 444\n".encode() + framed(content)
    two = f"put {OTHER} 10 0 444\n".encode() + framed(content[:10])
    # Both are sent before the first reply is there to be read.
    store, process = talk(Expect(one + two), Reply(b"ok stored"), Reply(b"ok have"))
    store.put([Blob(model, SHA, SIZE), Blob(model, OTHER, 10)])
    process.assert_done()


def test_put_waits_for_replies_now_and_then(model: Path) -> None:
    count = store_module._AHEAD + 2
    blobs = [Blob(model, f"{number:064x}", 1) for number in range(count)]
    asked = [Expect(f"put {b.sha256} 1 0 444\n".encode() + framed(model.read_bytes()[:1]))
             for b in blobs]  # fmt: skip
    first, rest = asked[: store_module._AHEAD + 1], asked[store_module._AHEAD + 1 :]
    store, process = talk(*first, Reply(b"ok stored"), *rest, *[Reply(b"ok stored")] * (count - 1))
    store.put(blobs)
    process.assert_done()


def test_put_stops_at_a_refusal_and_the_connection_goes_on(model: Path) -> None:
    count = store_module._AHEAD + 10
    blobs = [Blob(model, f"{number:064x}", 1) for number in range(count)]
    replies = [Reply(b"err 9 no space for 1 bytes"), *[Reply(b"ok stored")] * store_module._AHEAD]
    store, process = talk(*replies, Expect(b"ping\n"), Reply(b"ok pong"))
    process._script.insert(0, Expect(b""))
    sent: list[int] = []
    with pytest.raises(BoardError, match="no space for 1 bytes"):
        store.put(blobs, sent.append)
    assert len(sent) == store_module._AHEAD + 1
    process._unmatched = b""
    store.ping()
    process.assert_done()


def test_put_sends_a_damaged_part_again_once(model: Path) -> None:
    content = model.read_bytes()
    again = Expect(f"put {SHA} {SIZE} 0 444\n".encode() + framed(content))
    store, process = talk(
        Expect(f"put {SHA} {SIZE} 9 444\n".encode() + framed(content[9:])),
        Reply(b"err 13 damaged"),
        again,
        Reply(b"ok stored"),
        again,
        Reply(b"err 13 damaged"),
    )
    store.put([Blob(model, SHA, SIZE, offset_bytes=9)])
    with pytest.raises(Damaged, match="damaged"):
        store.put([Blob(model, SHA, SIZE)])
    process.assert_done()


def test_put_of_a_file_that_became_shorter_ends_the_connection(model: Path) -> None:
    store, process = talk()
    with pytest.raises(HostError, match="became shorter"):
        store.put([Blob(model, SHA, SIZE + 1)])
    # Framing is lost: not another byte, not even a quit.
    sent = len(process.sent)
    with pytest.raises(BoardError, match="is lost"):
        store.ping()
    store.close()
    assert len(process.sent) == sent and process.closed


def test_put_of_a_file_that_grew_sends_what_was_announced(model: Path) -> None:
    content = framed(model.read_bytes()[:10])
    store, process = talk(Expect(f"put {SHA} 10 0 444\n".encode() + content), Reply(b"ok stored"))
    store.put([Blob(model, SHA, 10)])
    process.assert_done()


def test_put_of_a_missing_file_asks_nothing(tmp_path: Path) -> None:
    store, process = talk(Expect(b"ping\n"), Reply(b"ok pong"))
    with pytest.raises(HostError, match="can't read"):
        store.put([Blob(tmp_path / "none", SHA, 1)])
    store.ping()
    process.assert_done()


def test_what_the_store_said_before_it_ended(model: Path) -> None:
    class Ends(FakeProcess):
        def send(self, data: bytes, timeout_s: float) -> None:
            raise BoardError("broken pipe")

    for last, message in (
        (Reply(b"err 15 no byte for 30 s"), "no byte for 30 s"),
        (Reply(b"ok"), "broken pipe"),
        (Fail("gone"), "broken pipe"),
        (Reply(b"garbage"), "broken pipe"),
    ):
        store = Store(Ends(GREETING, last), "pi@fake")
        with pytest.raises(BoardError, match=message):
            store.put([Blob(model, SHA, SIZE)])


def test_releases() -> None:
    links = {"bin/edge-run": SHA, "models/m": OTHER}
    request = Expect(f"release {ID} 2 3\nbin/edge-run {SHA}\nmodels/m {OTHER}\n".encode() + b"{}\n")
    store, process = talk(
        request, Reply(b"ok created"),
        request, Reply(b"ok have"),
        Expect(b"switch %s\n" % ID.encode()), Reply(b"ok -"),
        Expect(b"switch %s\n" % ID.encode()), Reply(b"ok " + OLD_ID.encode()),
        Expect(b"current\n"), Reply(b"ok " + ID.encode()),
        Expect(b"log 5\nline\n"), Reply(b"ok"),
        Expect(b"log 5\nline\n"), Reply(b"ok"),
        Expect("log 3\né\n".encode()), Reply(b"ok"),
        Expect(b"drop %s\n" % OLD_ID.encode()), Reply(b"ok"),
        Expect(b"switch -\n"), Reply(b"ok " + ID.encode()),
        Expect(b"settle %s 5\nline\n" % ID.encode()), Reply(b"ok"),
        Expect(b"settle %s 0\n" % ID.encode()), Reply(b"ok"),
        Expect(b"pin %s\n" % ID.encode()), Reply(b"ok"),
        Expect(b"unpin %s\n" % ID.encode()), Reply(b"ok"),
        Expect(b"clear\n"), Reply(b"ok"),
        Expect(b"clear force\n"), Reply(b"ok"),
        Expect(b"ping\n"), Reply(b"ok pong"),
        Expect(b"quit\n"), Reply(b"ok bye"),
    )  # fmt: skip
    assert store.create_release(ID, links, b"{}\n") is True
    assert store.create_release(ID, links, b"{}\n") is False
    assert store.switch(ID) is None
    assert store.switch(ID) == OLD_ID
    assert store.current() == ID
    store.append_log("line")
    store.append_log("line\n")
    store.append_log("é")
    store.drop(OLD_ID)
    assert store.switch(None) == ID
    store.settle(ID, "line")
    store.settle(ID)
    store.pin(ID)
    store.unpin(ID)
    store.clear()
    store.clear(force=True)
    store.ping()
    assert store.quit() == 0
    process.assert_done()
    assert process.closed


def test_a_list_of_releases() -> None:
    words = f"{ID}:1700000000:100:20:cu {OLD_ID}:0:7:0:- {SHA}:9:9:9:p"
    store, _ = talk(Expect(b"list\n"), Reply(b"ok " + words.encode()), Reply(b"ok"))
    made = datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc)
    first, second, third = store.releases()
    assert first == Stored(ID, made, 100, 20, live=True, pinned=False, in_use=True)
    assert (second.live, second.pinned, second.in_use) == (False, False, False)
    assert (third.id, third.pinned) == (SHA, True)
    assert store.releases() == ()


@pytest.mark.parametrize(
    "word",
    [
        "x", f"{ID}:1:1:1", f"{ID}:1:1:1:", f"{ID}:1:1:1:x", f"{ID}:-1:1:1:-", f"{ID}:1:1:1:-:",
        f"../../{ID}:1:1:1:-", f"{ID}:{9 * 10**17}:1:1:-", f"{ID}:٣:1:1:-", "",
    ],
)  # fmt: skip
def test_no_list_of_releases(word: str) -> None:
    store, _ = talk(Reply(f"ok {ID}:1:1:1:- {word}".encode()))
    with pytest.raises(BoardError, match="not in its protocol"):
        store.releases()


def test_leaving_the_block_quits() -> None:
    store, process = talk(Expect(b"quit\n"), Reply(b"ok bye"))
    with store:
        pass
    process.assert_done()
    assert process.closed


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"err 2 release is current: switch to another one first", UsageError),
        (b"err 3 there is no release", UsageError),
        (b"err 9 no space", BoardError),
        (b"err 11 can't read", BoardError),
        (b"err 13 damaged", BoardError),
        (b"err 1", BoardError),
    ],
)
def test_after_a_refusal_the_connection_goes_on(reply: bytes, kind: type[EdgeError]) -> None:
    store, process = talk(Expect(b"current\n"), Reply(reply), Expect(b"ping\n"), Reply(b"ok pong"))
    with pytest.raises(kind, match="the store on pi@fake: "):
        store.current()
    store.ping()
    process.assert_done()


def test_after_an_interruption_nothing_more_is_asked() -> None:
    store, process = talk(Reply(b"err 15 stopped by a signal"))
    with pytest.raises(BoardError, match="stopped by a signal"):
        store.current()
    sent = process.sent
    store.close()
    assert process.sent == sent and process.closed


def test_a_reply_that_did_not_come_is_not_taken_for_the_next() -> None:
    store, process = talk(Fail("did not answer in 30 s"), Reply(b"ok " + ID.encode()))
    with pytest.raises(BoardError, match="did not answer"):
        store.switch(ID)
    with pytest.raises(BoardError, match="is lost: run the command again"):
        store.current()
    assert b"current" not in process.sent


def test_an_interrupt_leaves_the_connection_in_doubt() -> None:
    store, _ = talk(Fail(KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        store.ping()
    with pytest.raises(BoardError, match="is lost"):
        store.ping()


CALLS: list[Callable[[Store], object]] = [
    lambda store: store.have([(SHA, 10)]),
    lambda store: store.create_release(ID, {}, b""),
    lambda store: store.switch(ID),
    lambda store: store.current(),
    lambda store: store.append_log("x"),
    lambda store: store.drop(ID),
    lambda store: store.settle(ID, "x"),
    lambda store: store.releases(),
    lambda store: store.pin(ID),
    lambda store: store.clear(),
    lambda store: store.ping(),
    lambda store: store.quit(),
]


@pytest.mark.parametrize("call", CALLS)
@given(
    reply=st.one_of(
        st.binary(max_size=80),
        st.text("0123456789 -okerhavpt:\x1b\u0663", max_size=40).map(str.encode),
        st.sampled_from(
            [b"ok have have", b"ok part:0", b"ok part:11", b"ok part:-1", b"ok part:", b"ok  have"]
        ),
    )
)
def test_no_reply_is_more_than_a_board_error(call: Callable[[Store], object], reply: bytes) -> None:
    store, _ = talk(Reply(reply))
    try:
        call(store)
    except EdgeError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 1500
    else:
        assert reply in (
            b"ok have", b"ok none", b"ok created", b"ok -", b"ok", b"ok pong", b"ok bye",
        ) or reply.startswith((b"ok part:", b"ok "))  # fmt: skip


NO_HAVE = [
    b"ok have have", b"ok part:0", b"ok part:11", b"ok part:-1", b"ok part:\xd9\xa3", b"ok  have",
    b"ok HAVE", b"ok",
]  # fmt: skip


@pytest.mark.parametrize("reply", NO_HAVE)
def test_have_believes_no_nonsense(reply: bytes) -> None:
    store, _ = talk(Reply(reply))
    with pytest.raises(BoardError, match="not in its protocol"):
        store.have([(SHA, 10)])
    with pytest.raises(BoardError, match="is lost"):
        store.ping()


# --- heartbeat


def test_the_heart_beats_while_the_block_does_something_else() -> None:
    enough = threading.Event()

    class Counting(FakeProcess):
        pings = 0

        def receive_line(self, timeout_s: float, limit_bytes: int = 65536) -> bytes:
            if not self.sent:
                return super().receive_line(timeout_s, limit_bytes)
            self.pings += 1
            if self.pings == 3:
                enough.set()
            return b"ok pong"

    process = Counting(GREETING)
    store = Store(process, "pi@fake", idle_timeout_s=0)
    with store.heartbeat():
        assert enough.wait(10)
    pings = process.pings
    assert process.sent == b"ping\n" * pings
    assert "store-heartbeat" not in {thread.name for thread in threading.enumerate()}


def test_a_heartbeat_that_fails_shows_at_the_next_call() -> None:
    lost = threading.Event()

    class Dies(FakeProcess):
        def receive_line(self, timeout_s: float, limit_bytes: int = 65536) -> bytes:
            if not self.sent:
                return super().receive_line(timeout_s, limit_bytes)
            lost.set()
            raise BoardError("gone")

    store = Store(Dies(GREETING), "pi@fake", idle_timeout_s=0)
    with store.heartbeat():
        assert lost.wait(10)
    with pytest.raises(BoardError, match="is lost"):
        store.current()


# --- first contact


def test_a_runner_that_is_there_costs_one_question(model: Path) -> None:
    board = FakeTransport().on(["sh"])
    assert store_module.install_runner(board, model, SHA, ROOT) is False
    ((*command, blob, folder, _),) = board.commands
    assert command[:2] == ["sh", "-c"] and command[3:] == ["sh"]
    # The paths are arguments, never part of the script.
    assert str(ROOT) not in command[2]
    assert (blob, folder) == (f"{ROOT}/store/{SHA}", f"{ROOT}/store")


def test_a_runner_is_sent_and_installs_itself(model: Path) -> None:
    board = FakeTransport().on(["sh"], exit_code=10)
    board.on(lambda argv: argv[1:2] == ("store",))
    assert store_module.install_runner(board, model, SHA, ROOT) is True
    sent, started = board.calls
    assert sent.stdin == model.read_bytes()
    part = PurePosixPath(sent.argv[-1])
    assert part.parent == ROOT / "store"
    assert part.name.startswith(f".{SHA}.") and part.name.endswith(".part")
    # Not inside of a shell: where boards are emulated, only a program's own path is known.
    assert started.argv[:4] == (str(part), "store", "--root", str(ROOT))
    assert started.argv[-2:] == ("--install-self", SHA)
    assert started.stdin == b"quit\n"
    # On a link that is cut in the middle it is over in a minute or so, not in five.
    assert all(call.timeout_s <= 30 + SIZE / 5_000 for call in board.calls)


def test_two_uploads_never_share_a_name(model: Path) -> None:
    board = FakeTransport().on(["sh"], exit_code=10)
    board.on(lambda argv: argv[1:2] == ("store",))
    for _ in range(2):
        store_module.install_runner(board, model, SHA, ROOT)
    assert len({argv[-1] for argv in board.commands if argv[0] == "sh"}) == 2


@pytest.mark.parametrize(
    ("exit_code", "stdout", "stderr", "message"),
    [
        (13, b"err 13 the runner arrived damaged\n", b"", "arrived damaged"),
        (126, b"", b"sh: Permission denied", r"Permission denied.*noexec"),
        (126, b"", b"Exec format error", "Exec format error.*another architecture"),
        (139, b"", b"", "exit code 139"),
        (1, b"\x1b[2J" * 5000, b"\x1b[2J", r"does not start \(\?\[2J\)"),
    ],
)
def test_a_runner_that_does_not_start_is_removed(
    model: Path, exit_code: int, stdout: bytes, stderr: bytes, message: str
) -> None:
    board = FakeTransport().on(["sh"], exit_code=10).on(["rm", "-f"])
    board.on(
        lambda argv: argv[1:2] == ("store",), exit_code=exit_code, stdout=stdout, stderr=stderr
    )
    with pytest.raises(BoardError, match=message):
        store_module.install_runner(board, model, SHA, ROOT)
    assert board.commands[-1] == ("rm", "-f", board.commands[0][-1])


def test_a_lock_that_is_held_does_not_undo_the_installation(model: Path) -> None:
    board = FakeTransport().on(["sh"], exit_code=10)
    board.on(lambda argv: argv[1:2] == ("store",), exit_code=12, stdout=b"err 12 held by x since y")
    assert store_module.install_runner(board, model, SHA, ROOT) is True


@pytest.mark.parametrize(
    ("exit_code", "said", "message"),
    [
        (11, b"mkdir: Read-only file system", r"can't create .*/store on .*Read-only file system"),
        (1, b"cat: No space left", r"can't write .*\.part on .*No space left"),
    ],
)
def test_a_runner_that_can_not_be_written(
    model: Path, exit_code: int, said: bytes, message: str
) -> None:
    board = FakeTransport().on(["sh"], exit_code=exit_code, stderr=said).on(["rm", "-f"])
    with pytest.raises(BoardError, match=message):
        store_module.install_runner(board, model, SHA, ROOT)


# --- the lock


def artifact(path: Path) -> Artifact:
    return Artifact(path, "bin/edge-run", SHA, SIZE, executable=True)


HELD = b"err 12 held by %s since 2026-01-02T03:04:05Z"


class Lock:
    """A board whose lock is let go after some tries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, holder: str, tries: int) -> None:
        self.now_s, self.tries = 0.0, tries
        self.board = FakeTransport()
        self.board.answer_start([RUNNER, "store"], lambda: self._answer(quote(holder, safe="@")))
        monkeypatch.setattr("edge.store.time.monotonic", lambda: self.now_s)
        monkeypatch.setattr("edge.store.time.sleep", self._sleep)
        self.said: list[str] = []

    def _answer(self, holder: str) -> FakeProcess:
        self.tries -= 1
        return FakeProcess(GREETING if self.tries < 0 else Reply(HELD % holder.encode()))

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def hold(self, model: Path, wait_s: float = 0.0) -> Store:
        store, sent = store_module.hold(
            self.board, artifact(model), ROOT, self.said.append, wait_s=wait_s
        )
        assert not sent
        return store


def test_a_held_lock_is_refused_at_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(monkeypatch, "bob@other pid 7", 1)
    with pytest.raises(Held, match=r"held by bob@other pid 7 since 2026.*--wait") as caught:
        lock.hold(model)
    assert (caught.value.owner, caught.value.since) == ("bob@other pid 7", "2026-01-02T03:04:05Z")
    assert lock.now_s == 0


def test_a_held_lock_can_be_waited_for(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(monkeypatch, "bob@other pid 7", 20)
    assert lock.hold(model, wait_s=60).free_bytes == 12345
    assert lock.said == [
        "waiting for bob@other pid 7, who holds the board since 2026-01-02T03:04:05Z"
    ]
    lock = Lock(monkeypatch, "bob@other pid 7", 10_000)
    with pytest.raises(Held):
        lock.hold(model, wait_s=60)
    assert 60 <= lock.now_s < 62


def test_ones_own_dead_process_is_waited_for(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a cut link the board holds the lock until it notices."""
    dead = 999_999_998  # above any kernel's limit
    lock = Lock(monkeypatch, f"{store_module.who()} pid {dead}", 50)
    assert lock.hold(model).live is None
    for holder in (
        store_module.owner(),
        f"{store_module.who()} pid 99999999999999999999",
        f"someone@else pid {dead}",
    ):
        lock = Lock(monkeypatch, holder, 50)
        with pytest.raises(Held):
            lock.hold(model)
        assert lock.now_s == 0
    assert store_module.owner().endswith(f" pid {os.getpid()}")


def test_a_board_without_the_runner_gets_it(model: Path) -> None:
    board = FakeTransport().on(["sh"], exit_code=10).on(["chmod"])
    board.on(lambda argv: argv[1:2] == ("store",))
    answers = [FakeProcess(Fail("ended without an answer: not found")), FakeProcess(GREETING)]
    board.answer_start([RUNNER, "store"], lambda: answers.pop(0))
    store, sent = store_module.hold(board, artifact(model), ROOT, print)
    assert sent and store.free_bytes == 12345


def test_a_runner_that_is_there_and_fails_is_told_once(model: Path) -> None:
    board = FakeTransport().on(["sh"])
    board.answer_start([RUNNER, "store"], lambda: FakeProcess(Fail("ended: Exec format error")))
    with pytest.raises(BoardError, match="Exec format error"):
        store_module.hold(board, artifact(model), ROOT, print)
    assert len([call for call in board.calls if call.verb == "start"]) == 1


# --- without the lock


BOOT = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("exit_code", "stdout", "found"),
    [
        (0, f"ok settled {BOOT} 77\n", State(True, BOOT, 77)),
        (0, f"ok unsettled {BOOT} 77\n", State(False, BOOT, 77)),
        (0, "ok settled - 0\n", State(True, "", 0)),
        (0, "ok unsettled - -\n", State()),
        (0, f"ok settled {BOOT}\n", State()),
        (0, "ok settled ../.. 1\n", State()),
        (0, f"ok settled {BOOT} -1\n", State()),
        (0, "settled\n", State()),
        (127, "", State()),
        (1, f"ok settled {BOOT} 77\n", State()),
    ],
)
def test_a_state(exit_code: int, stdout: str, found: State) -> None:
    board = FakeTransport().on([RUNNER, "store"], exit_code=exit_code, stdout=stdout.encode())
    assert store_module.state(board, RUNNER, ROOT, ID) == found
    assert board.commands == [(str(RUNNER), "store", "--root", str(ROOT), "--settled", ID)]


def test_listed() -> None:
    board = FakeTransport().on([RUNNER, "store"], stdout=f"ok {ID}:1:2:3:c\n".encode())
    (found,) = store_module.listed(board, RUNNER, ROOT)
    assert (found.id, found.live, found.size_bytes, found.own_bytes) == (ID, True, 2, 3)
    for code, output in ((0, b"ok x\n"), (0, b""), (1, b"ok\n"), (127, b"\x1b[2J")):
        board = FakeTransport().on([RUNNER, "store"], exit_code=code, stdout=output)
        with pytest.raises(BoardError, match="not in its protocol") as caught:
            store_module.listed(board, RUNNER, ROOT)
        assert str(caught.value).isprintable()
