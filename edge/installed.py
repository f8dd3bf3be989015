"""Installed: the releases that are on a board, and what may become of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge import build, history, release, switch
from edge import store as store_module
from edge.artifact import Artifact
from edge.errors import BoardError, UsageError
from edge.history import Entry
from edge.release import Manifest
from edge.session import Session
from edge.store import Store, Stored

Progress = Callable[[str], None]

KEEP = 3
"""Releases that ``prune`` keeps unless it is told otherwise: the live one and two to go back to."""

_MANIFESTS_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Installed:
    """A release on a board.

    :ivar manifest: what it consists of; None if it is damaged.
    :ivar last: when it was last made live, and by whom; None if the log does not tell.
    """

    stored: Stored
    manifest: Manifest | None
    last: Entry | None

    @property
    def models(self) -> tuple[str, ...]:
        if self.manifest is None:
            return ()
        paths = [PurePosixPath(file.path).parts for file in self.manifest.files]
        return tuple(dict.fromkeys(parts[1] for parts in paths if parts[0] == "models"))


def releases(session: Session, progress: Progress) -> tuple[Installed, ...]:
    """What is on the board, the newest first; nobody's lock is waited for.

    :raises BoardError: the board failed.
    """
    device, transport = session.device, session.transport
    if not transport.run(["test", "-d", device.releases]).ok:
        return ()
    runner = _runner(session, progress)
    program = device.blob(runner.sha256)
    if not transport.run(["test", "-x", program]).ok:
        store_module.install_runner(transport, runner.path, runner.sha256, device.root)
    found = store_module.listed(transport, program, device.root)
    manifests = _manifests(session, found)
    entries = {entry.id: entry for entry in history.read(transport, device)}
    return tuple(Installed(s, manifests.get(s.id), entries.get(s.id)) for s in found)


def _manifests(session: Session, found: tuple[Stored, ...]) -> dict[str, Manifest]:
    """By id; an id is the beginning of its manifest's hash, so that none can pass for another."""
    places = [session.device.release(stored.id) / "manifest.json" for stored in found]
    if not places:
        return {}
    outcome = session.transport.run(["cat", *places], timeout_s=_MANIFESTS_TIMEOUT_S)
    manifests = {}
    for text in _objects(outcome.text):
        digest = hashlib.sha256(text.encode()).hexdigest()
        for stored in found:
            if digest.startswith(stored.id):
                with contextlib.suppress(BoardError):
                    manifests[stored.id] = release.parse_manifest(text.encode())
    return manifests


def _objects(text: str) -> Iterator[str]:
    """JSON objects, one after the other, each ended by a newline; up to the first that is none."""
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield text[at : end + 1]
        at = end + 1


def roll_back(
    session: Session, progress: Progress, *, to: str | None = None, wait_s: float = 0.0
) -> tuple[str | None, str]:
    """Make an earlier release live again: verified, ``on_switch`` run, as with a deploy.

    :param to: its id, or the beginning of it; the one that was live before by default.
    :return: what was live, and what is.
    :raises UsageError: there is no such release.
    :raises BoardError: it is damaged, or the application did not come up with it.
    """
    with _held(session, progress, wait_s) as store:
        there = {stored.id for stored in store.releases()}
        entries = history.read(session.transport, session.device)
        if to is not None:
            target = _named(session, to, there)
        else:
            before = history.before(entries, store.live, there)
            others = [stored.id for stored in store.releases() if not stored.live]
            if before is None and not others:
                raise UsageError(
                    f"{session.transport.name} has no release to go back to: "
                    f"`invoke releases --board {session.board.name}` shows what there is"
                )
            target = before or others[0]
        if target == store.live:
            return target, target
        progress(f"verifying {target} on the board")
        return switch.to(session, store, target, "rollback", progress), target


def prune(
    session: Session, progress: Progress, *, keep: int = KEEP, wait_s: float = 0.0
) -> tuple[tuple[Stored, ...], tuple[Stored, ...]]:
    """Drop old releases.

    :param keep: how many stay, those that were live last; the live one, pinned ones, and those that
        a running process was started from stay in any case.
    :return: what was dropped, and what stays.
    :raises UsageError: ``keep`` is less than 1.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: must be at least 1; `invoke undeploy` removes all")
    with _held(session, progress, wait_s) as store:
        entries = history.read(session.transport, session.device)
        ages = {entry.id: number for number, entry in enumerate(entries)}
        found = sorted(
            store.releases(), key=lambda s: (s.live, ages.get(s.id, -1), s.created), reverse=True
        )
        dropped = [s for s in found[keep:] if not (s.live or s.pinned or s.in_use)]
        for stored in dropped:
            progress(f"dropping {stored.id}")
            store.drop(stored.id)
        return tuple(dropped), tuple(s for s in found if s not in dropped)


def pin(
    session: Session, progress: Progress, release_id: str, *, pinned: bool, wait_s: float = 0.0
) -> str:
    """Keep a release from being dropped, or no longer; its whole id."""
    with _held(session, progress, wait_s) as store:
        found = _named(session, release_id, {stored.id for stored in store.releases()})
        store.pin(found) if pinned else store.unpin(found)
        return found


def undeploy(
    session: Session, progress: Progress, *, force: bool = False, wait_s: float = 0.0
) -> tuple[Stored, ...]:
    """Remove every release, the live one first; what was removed.

    :param force: also if a running process was started from one.
    """
    if not session.transport.run(["test", "-d", session.device.releases]).ok:
        return ()
    with _held(session, progress, wait_s) as store:
        found = store.releases()
        store.clear(force=force)
        store.append_log(history.entry(session.board.name, None, "undeploy").line)
        return found


def _named(session: Session, wanted: str, there: set[str]) -> str:
    found = [name for name in sorted(there) if wanted and name.startswith(wanted)]
    if len(found) != 1:
        how_many = "no release" if not found else f"{len(found)} releases"
        raise UsageError(
            f"{session.transport.name} has {how_many} '{wanted}': "
            f"`invoke releases --board {session.board.name}` lists them"
        )
    return found[0]


def _runner(session: Session, progress: Progress) -> Artifact:
    return build.runner(session.board, progress).runner


@contextlib.contextmanager
def _held(session: Session, progress: Progress, wait_s: float) -> Iterator[Store]:
    runner = _runner(session, progress)
    store, _ = store_module.hold(
        session.transport, runner, session.device.root, progress, wait_s=wait_s
    )
    with store, store.heartbeat(on_lost=session.transport.close):
        yield store
