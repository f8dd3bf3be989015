"""What may follow a deploy, on a booted virtual machine over real SSH."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from edge import deploy, history, installed, store
from edge.artifact import Artifact
from edge.errors import BoardError, UsageError
from edge.machine import Machine
from edge.session import Session
from edge.store import Held
from examples.digits import dataset
from tests.conftest import connect

ONE, TWO, THREE = ("mlp-int8",), ("mlp-int8", "cnn-int8"), ("mlp-int8", "mlp-dynamic")


def models(names: tuple[str, ...]) -> tuple[Artifact, ...]:
    folder = dataset.FOLDER / dataset.MODELS_FOLDER
    return deploy.models([folder / f"{name}.tflite" for name in names], print)


def put_live(opened: Session, names: tuple[str, ...]) -> str:
    return deploy.onto(opened, models(names), print).release.id


def live(opened: Session) -> str | None:
    outcome = opened.transport.run(["readlink", opened.device.current])
    return PurePosixPath(outcome.text.strip()).name if outcome.ok else None


def is_whole(opened: Session) -> bool:
    check = 'cd "$1" && sha256sum -c SHA256SUMS'
    return opened.transport.run(["sh", "-c", check, "sh", opened.device.current]).ok


def with_hook(opened: Session, *words: str, timeout_s: float = 20.0) -> Session:
    target = dataclasses.replace(opened.board, on_switch=words, on_switch_timeout_s=timeout_s)
    return dataclasses.replace(opened, board=target)


def test_what_is_live_already_is_one_question(
    guest: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = models(ONE)
    with connect(guest) as opened:
        first = deploy.onto(opened, found, print)
    with connect(guest) as opened:
        asked: list[object] = []
        run = opened.transport.run
        monkeypatch.setattr(
            opened.transport,
            "run",
            lambda argv, **rest: asked.append(argv) or run(argv, **rest),  # type: ignore[func-returns-value]
        )
        monkeypatch.setattr(opened.transport, "start", None)
        again = deploy.onto(opened, found, print)
        assert (again.changed, again.sent_bytes, again.release.id) == (False, 0, first.release.id)
        assert len(asked) == 1


@pytest.mark.parametrize("how", ["flipped", "shorter", "gone", "rebooted", "verified"])
def test_what_is_live_and_not_in_order_is_put_in_order(guest: Machine, how: str) -> None:
    with connect(guest) as opened:
        wanted = put_live(opened, ONE)
        library = opened.device.current / "lib/libtflite.so"
        damage = {
            "flipped": 'chmod u+w "$1"; printf x | dd of="$1" bs=1 seek=4096 conv=notrunc',
            "shorter": 'chmod u+w "$1"; dd if=/dev/null of="$1" bs=1 seek=4096',
            "gone": 'rm -f "$1"',
        }
        if how in damage:
            assert opened.transport.run(["sh", "-c", damage[how], "sh", library]).ok
            assert not is_whole(opened)
    if how == "rebooted":
        guest.reboot()
    with connect(guest) as opened:
        done = deploy.onto(opened, models(ONE), print, verify=how == "verified")
        assert (done.changed, live(opened)) == (False, wanted)
        library_bytes = done.release.at("lib/libtflite.so").size_bytes
        # What is whole is not sent; and nothing became live that was not before.
        assert done.sent_bytes == (library_bytes if how in ("flipped", "shorter") else 0)
        assert is_whole(opened)
        assert len(history.read(opened.transport, opened.device)) == 1
        assert deploy.onto(opened, models(ONE), print).sent_bytes == 0


def test_back_and_forth(guest: Machine) -> None:
    with connect(guest) as opened:
        one, two = put_live(opened, ONE), put_live(opened, TWO)
        assert installed.roll_back(opened, print) == (two, one)
        assert live(opened) == one and is_whole(opened)
        assert installed.roll_back(opened, print) == (one, two)
        three = put_live(opened, THREE)
        assert installed.roll_back(opened, print, to=one[:5]) == (three, one)
        with pytest.raises(UsageError, match="has no release 'ffff'"):
            installed.roll_back(opened, print, to="ffff")
        entries = history.read(opened.transport, opened.device)
        assert [(e.id, e.verb) for e in entries] == [
            (one, "deploy"), (two, "deploy"), (one, "rollback"), (two, "rollback"),
            (three, "deploy"), (one, "rollback"),
        ]  # fmt: skip
        assert {e.who for e in entries} == {store.who()}


def test_a_damaged_release_is_not_gone_back_to(guest: Machine) -> None:
    with connect(guest) as opened:
        one, two = put_live(opened, TWO), put_live(opened, THREE)
        blob = opened.device.release(one) / "models/cnn-int8.tflite"
        flip = 'chmod u+w "$1"; printf x | dd of="$1" bs=1 seek=99 conv=notrunc'
        assert opened.transport.run(["sh", "-c", flip, "sh", blob]).ok
        with pytest.raises(BoardError, match=r"cnn-int8.tflite is damaged"):
            installed.roll_back(opened, print)
        assert live(opened) == two and is_whole(opened)


def test_the_list_and_what_is_dropped(guest: Machine) -> None:
    with connect(guest) as opened:
        one, two, three = (put_live(opened, names) for names in (ONE, TWO, THREE))
        found = {one.stored.id: one for one in installed.releases(opened, print)}
        assert found.keys() == {one, two, three}
        assert [found[i].stored.live for i in (one, two, three)] == [False, False, True]
        assert found[two].models == ("cnn-int8.tflite", "mlp-int8.tflite")
        size_bytes = (dataset.FOLDER / "models/cnn-int8.tflite").stat().st_size
        # Its own are its model, its manifest and its sums.
        assert size_bytes < found[two].stored.own_bytes < size_bytes + 8000
        assert found[two].stored.size_bytes > 8_000_000
        last = found[two].last
        assert last is not None and last.who == store.who()

        assert installed.pin(opened, print, one[:6], pinned=True) == one
        with _running_from(opened, two):
            dropped, kept = installed.prune(opened, print, keep=1)
            assert (dropped, {s.id for s in kept}) == ((), {one, two, three})
            assert {s.id for s in kept if s.in_use} == {two}
            with pytest.raises(BoardError, match=f"{two} is in use by process"):
                installed.undeploy(opened, print)
            assert live(opened) == three and is_whole(opened)
        dropped, _ = installed.prune(opened, print, keep=1)
        assert [s.id for s in dropped] == [two]
        installed.pin(opened, print, one, pinned=False)
        dropped, kept = installed.prune(opened, print, keep=1)
        assert ([s.id for s in dropped], [s.id for s in kept]) == ([one], [three])
        assert is_whole(opened)

        assert [s.id for s in installed.undeploy(opened, print)] == [three]
        assert live(opened) is None
        left = opened.transport.run(["find", opened.device.root, "-type", "f"]).text.split()
        names = {PurePosixPath(path).name for path in left}
        # The runner that did it can't remove itself.
        assert {n for n in names if len(n) != 64} == {"deployments.log", "lock"}
        assert history.read(opened.transport, opened.device)[-1].verb == "undeploy"


@contextlib.contextmanager
def _running_from(opened: Session, release_id: str) -> Iterator[None]:
    """Something that works in a release's folder."""
    folder = opened.device.release(release_id)
    process = opened.transport.start(
        ["sh", "-c", 'cd "$1" && echo there && exec cat', "sh", folder]
    )
    try:
        assert process.receive_line(20) == b"there"
        yield
    finally:
        process.close()


# --- the application


def test_the_application_is_told(guest: Machine) -> None:
    with connect(guest) as opened:
        told = opened.device.root / "told"
        script = 'echo "$EDGE_RELEASE $EDGE_ROOT" >> "$EDGE_ROOT/told"'
        hooked = with_hook(opened, "sh", "-c", script)
        one, two = put_live(hooked, ONE), put_live(hooked, TWO)
        put_live(hooked, TWO)
        installed.roll_back(hooked, print)
        lines = opened.transport.run(["cat", told]).text.splitlines()
        assert lines == [f"{name} {opened.device.root}" for name in (one, two, one)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sh", "-c", "echo no such unit >&2; exit 5"), r"exit code 5: no such unit"),
        (("sleep", "600"), "did not end in 1 s"),
        (("/no/such/program",), "exit code 127"),
    ],
)
def test_an_application_that_does_not_come_up(
    guest: Machine, words: tuple[str, ...], message: str
) -> None:
    with connect(guest) as opened:
        one = put_live(opened, ONE)
        failing = with_hook(opened, *words, timeout_s=1.0 if words[0] == "sleep" else 20.0)
        with pytest.raises(BoardError, match=rf"{message}.*: rolled back, {one} is live again"):
            deploy.onto(failing, models(TWO), print)
        assert live(opened) == one and is_whole(opened)
        assert history.read(opened.transport, opened.device)[-1].verb == "failed"
        # Mended, the same deploy works.
        assert put_live(opened, TWO) == live(opened)


def test_a_deploy_that_died_before_the_application_was_told(guest: Machine) -> None:
    with connect(guest) as opened:
        put_live(opened, ONE)
        script = 'echo "$EDGE_RELEASE" >> "$EDGE_ROOT/told"'
        hooked = with_hook(opened, "sh", "-c", script)
        with pytest.raises(KeyboardInterrupt):
            deploy.onto(hooked, models(TWO), _interrupting("running sh"))
        two = live(opened)
    with connect(guest) as opened:
        hooked = with_hook(opened, "sh", "-c", script)
        assert deploy.onto(hooked, models(TWO), print).release.id == two
        told = opened.transport.run(["cat", opened.device.root / "told"]).text
        assert told == f"{two}\n"


def _interrupting(beginning: str) -> deploy.Progress:
    def progress(line: str) -> None:
        if line.startswith(beginning):
            raise KeyboardInterrupt

    return progress


# --- somebody else


def test_the_second_waits_or_is_told(guest: Machine) -> None:
    with connect(guest) as opened, connect(guest) as other:
        put_live(opened, ONE)
        lines: list[str] = []
        waits = threading.Event()

        def progress(line: str) -> None:
            lines.append(line)
            if line.startswith("waiting for"):
                waits.set()

        done: list[str] = []
        wanted = deploy.prepared(opened, models(ONE), print)
        with deploy.staged(opened, wanted, print):
            with pytest.raises(Held, match=rf"held by {store.who()} pid \d+ since 20"):
                deploy.onto(other, models(TWO), print)
            assert live(opened) == wanted.id
            second = threading.Thread(
                target=lambda: done.append(
                    deploy.onto(other, models(TWO), progress, wait_s=120).release.id
                )
            )
            second.start()
            assert waits.wait(60)
        second.join(120)
        assert done == [live(opened)]


def test_no_smoke_is_written_down(guest: Machine) -> None:
    with connect(guest) as opened:
        done = deploy.onto(opened, models(ONE), print, smoke=False)
        assert done.smoke == ()
        assert history.read(opened.transport, opened.device)[-1].flags == ("--no-smoke",)
