"""A switch tells the application, and goes back when it does not come up."""

from __future__ import annotations

import dataclasses

import pytest

from edge import abi, board, facts, switch
from edge.errors import BoardError
from edge.session import Session
from edge.store import Store
from edge.testing import Expect, Fail, FakeProcess, FakeTransport, Reply
from tests.unit.boards import RASPBERRY_PI_4

OLD, NEW = "0" * 16, "1" * 16
GREETING = Reply(f"ok edge-store 2 {abi.constant('EDGE_ABI_VERSION')} 9 {OLD}".encode())
HOOK = ("systemctl", "--user", "restart", "my app")


def session(transport: FakeTransport, *hook: str) -> Session:
    target = dataclasses.replace(board.load("rpi4"), on_switch=hook, on_switch_timeout_s=7.0)
    return Session(target, transport, facts.parse(RASPBERRY_PI_4, now_s=0))


def asked(process: FakeProcess) -> list[str]:
    """The requests, without times and lengths."""
    return [" ".join(line.split()[:2]) for line in process.sent.decode().splitlines()
            if line.split()[0] in ("switch", "settle", "log")]  # fmt: skip


def switched(previous: str, *more: Reply | Fail | Expect) -> tuple[Store, FakeProcess]:
    process = FakeProcess(GREETING, Reply(f"ok {previous}".encode()), *more)
    return Store(process, "pi@fake"), process


def hook_calls(transport: FakeTransport) -> list[str]:
    return [call[2] for call in transport.commands if call[0] == "env"]


def test_a_board_without_an_application() -> None:
    transport = FakeTransport()
    store, process = switched(OLD, Reply(b"ok"))
    assert switch.to(session(transport), store, NEW, "deploy", print) == OLD
    assert asked(process) == [f"switch {NEW}", f"settle {NEW}"]
    assert f" {NEW} " in process.sent.decode().splitlines()[-1]
    assert process.sent.endswith(b"board=rpi4 deploy\n")
    assert transport.commands == []


def test_the_application_is_told_word_by_word() -> None:
    transport = FakeTransport().on(["env"])
    store, process = switched(OLD, Reply(b"ok"))
    flags = ["--no-smoke"]
    switch.to(session(transport, *HOOK), store, NEW, "deploy", print, flags=flags)
    ((_, root, release, *words),) = transport.commands
    assert tuple(words) == HOOK
    assert (root, release) == ("EDGE_ROOT=/home/pi/.local/share/edge", f"EDGE_RELEASE={NEW}")
    assert transport.calls[0].timeout_s == 7.0
    assert process.sent.endswith(b"board=rpi4 deploy --no-smoke\n")


def test_an_application_that_does_not_come_up_gets_the_old_release_back() -> None:
    transport = FakeTransport().on(["env"], exit_code=3, stderr=b"Job failed.\nSee journalctl\n")
    store, process = switched(OLD, Reply(f"ok {NEW}".encode()), Reply(b"ok"))
    failed = r"on_switch failed on pi@fake \(exit code 3: See journalctl\)"
    message = f"{failed}: rolled back, {OLD} is live again"
    with pytest.raises(BoardError, match=message):
        switch.to(session(transport, *HOOK), store, NEW, "deploy", print)
    assert asked(process)[:2] == [f"switch {NEW}", f"switch {OLD}"]
    assert process.sent.endswith(f"{NEW} {store_who()} board=rpi4 failed\n".encode())
    # It is started anew with what is live again.
    assert hook_calls(transport) == [f"EDGE_RELEASE={NEW}", f"EDGE_RELEASE={OLD}"]


def store_who() -> str:
    from edge import store

    return store.who()


def test_the_first_release_of_all_leaves_none_live() -> None:
    transport = FakeTransport().on(["env"], exit_code=1)
    store, process = switched("-", Reply(f"ok {NEW}".encode()), Reply(b"ok"))
    with pytest.raises(BoardError, match="rolled back, no release is live"):
        switch.to(session(transport, *HOOK), store, NEW, "deploy", print)
    assert asked(process)[:2] == [f"switch {NEW}", "switch -"]
    assert hook_calls(transport) == [f"EDGE_RELEASE={NEW}"]


def test_there_is_no_way_back_to_the_same_release() -> None:
    transport = FakeTransport().on(["env"], exit_code=1)
    store, process = switched(NEW)
    with pytest.raises(BoardError, match=f"{NEW}, which was live before, still is"):
        switch.to(session(transport, *HOOK), store, NEW, "deploy", print)
    assert asked(process) == [f"switch {NEW}"]


def test_a_link_that_is_lost_meanwhile_is_told() -> None:
    transport = FakeTransport().on(["env"], exit_code=1)
    store, _ = switched(OLD, Fail("the connection was lost"))
    with pytest.raises(BoardError, match=f"{NEW} is live nevertheless: the connection was lost"):
        switch.to(session(transport, *HOOK), store, NEW, "deploy", print)
