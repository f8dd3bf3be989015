"""Deploy: preflight, push what changed, verify on the board, smoke, switch."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge import agreement, build, preflight, reference, release, runner, runtime
from edge import store as store_module
from edge.agreement import Agreement
from edge.artifact import Artifact
from edge.board import Board
from edge.errors import BoardError, EdgeError
from edge.preflight import Finding
from edge.release import Release
from edge.session import Session
from edge.store import Store

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Deployment:
    """What a deploy did.

    :ivar previous: id of the release that was live before, or None.
    :ivar sent_bytes: content that went over the link, the runner's first upload included.
    """

    board: str
    target: str
    release: Release
    previous: str | None
    sent_bytes: int
    sent_files: int
    smoke: tuple[Agreement, ...]

    @property
    def changed(self) -> bool:
        return self.previous != self.release.id


def prepare(
    target: Board,
    models: list[Path],
    progress: Progress,
    *,
    runtime_name: str | None = None,
    library: Path | None = None,
    toolchain_name: str | None = None,
) -> Release:
    """Build the runner, fetch the runtime, look through the models.

    :param library: a libtensorflowlite_c of the user's own instead of a runtime's.
    """
    checker = build.host_library(progress)
    found = [release.model_artifact(path, checker) for path in models]
    files, name = loadable(
        target,
        progress,
        runtime_name=runtime_name,
        library=library,
        toolchain_name=toolchain_name,
    )
    return release.make(target.arch, *files, name, found)


def loadable(
    target: Board,
    progress: Progress,
    *,
    runtime_name: str | None = None,
    library: Path | None = None,
    toolchain_name: str | None = None,
) -> tuple[tuple[Artifact, Artifact], str]:
    """The runner and the runtime's library, and the runtime's name."""
    built = build.runner(target, progress, toolchain_name=toolchain_name)
    if library is not None:
        return (built.runner, runtime.own_library(library)), f"file:{library.name}"
    chosen = runtime.load(runtime_name or target.runtime)
    return (built.runner, runtime.fetch(chosen, target.arch, progress)), chosen.name


def check(session: Session, files: tuple[Artifact, ...], send_bytes: int) -> tuple[Finding, ...]:
    """Preflight: would the board load ``files``, and take in ``send_bytes`` of content?"""
    return preflight.look(session.board, session.facts, files, send_bytes)


def deploy(
    session: Session, wanted: Release, progress: Progress, *, smoke: bool = True
) -> Deployment:
    """Make ``wanted`` the live release; at any instant the old or the new one is live and whole.

    :raises UsageError: the release does not fit the board, or a model does not run on it.
    :raises BoardError: the board failed, or computes something else than this machine.
    """
    with staged(session, wanted, progress) as stage:
        checked: list[Agreement] = []
        previous = stage.store.current()
        if previous != wanted.id:
            for model in wanted.models if smoke else ():
                progress(f"checking {model.path.name} on the board")
                checked.append(_smoke(session, wanted, model))
            stage.store.switch(wanted.id)
            stage.keep()
            stage.store.append_log(_log_line(session, wanted, smoke))
        stage.keep()
        return Deployment(
            session.board.name,
            session.transport.name,
            wanted,
            previous,
            stage.sent_bytes,
            stage.sent_files,
            tuple(checked),
        )


@dataclass
class Stage:
    """A release that is whole on the board, while its store is locked for us."""

    store: Store
    sent_bytes: int
    sent_files: int
    kept: bool = False

    def keep(self) -> None:
        """Do not drop the release at the end."""
        self.kept = True


@contextlib.contextmanager
def staged(session: Session, wanted: Release, progress: Progress) -> Iterator[Stage]:
    """Put ``wanted`` beside the live release, under the store's lock.

    A release that was not on the board before is dropped at the end unless it is to be kept.
    """
    device, transport = session.device, session.transport
    program = wanted.runner
    preflight.insist(check(session, (program, wanted.library), program.size_bytes))
    first = store_module.install_runner(transport, program.path, program.sha256, device.root)
    sent_bytes, sent_files = (program.size_bytes, 1) if first else (0, 0)
    with store_module.open(
        transport, device.blob(program.sha256), device.root, owner=_owner()
    ) as store:
        stage = Stage(store, sent_bytes, sent_files)
        created = False
        try:
            _send(stage, wanted, device.root, progress)
            links = {a.place: a.sha256 for a in wanted.artifacts}
            created = store.create_release(wanted.id, links, wanted.manifest)
            # What waits for the board on another channel learns here that the link is gone.
            with store.heartbeat(on_lost=transport.close):
                yield stage
        finally:
            if not stage.kept:
                # After a lost link there is nobody to tell; the next deploy clears up.
                with contextlib.suppress(EdgeError):
                    store.drop(wanted.id) if created else store.sweep()
                    if first:
                        transport.run(["rm", "-f", device.blob(program.sha256)])


def _send(stage: Stage, wanted: Release, root: PurePosixPath, progress: Progress) -> None:
    """Put what the board lacks into its store."""
    contents = {a.sha256: a for a in wanted.artifacts}
    there = stage.store.have([(a.sha256, a.size_bytes) for a in contents.values()])
    missing = [a for a in contents.values() if there[a.sha256] != a.size_bytes]
    send_bytes = sum(a.size_bytes - (there[a.sha256] or 0) for a in missing)
    preflight.insist(preflight.room(root, stage.store.free_bytes, send_bytes))
    for item in missing:
        start = there[item.sha256] or 0
        stage.store.put(
            item.path,
            item.sha256,
            item.size_bytes,
            executable=item.executable,
            offset=start,
            progress=_told(item, start, progress),
        )
        stage.sent_bytes += item.size_bytes - start
        stage.sent_files += 1


def _smoke(session: Session, wanted: Release, model: Artifact) -> Agreement:
    expected = reference.compute(model.path)
    name = PurePosixPath(model.place).name
    got, _ = runner.infer(session, wanted.id, name, expected.inputs_file, each=False)
    result = agreement.compare(name, got, expected)
    if not result.ok:
        raise BoardError(
            f"{name} computes something else on {session.transport.name} than here "
            f"(largest difference {result.largest_difference:.4g}, allowed {result.bound:.4g}, "
            f"reference {expected.interpreter}): the old release stays live; try another --runtime"
        )
    return result


def _told(item: Artifact, offset: int, progress: Progress) -> Callable[[int], None]:
    """A counter of sent bytes that speaks at the start and then every two seconds."""
    progress(f"sending {item.place} ({(item.size_bytes - offset) / 1e6:.2f} MB)")
    began = spoke = time.monotonic()
    sent = offset

    def count(piece_bytes: int) -> None:
        nonlocal sent, spoke
        sent += piece_bytes
        now = time.monotonic()
        if now - spoke >= 2:
            spoke = now
            rate = (sent - offset) / (now - began)
            progress(
                f"  {sent / 1e6:.1f} of {item.size_bytes / 1e6:.1f} MB, {rate / 1e6:.2f} MB/s, "
                f"{(item.size_bytes - sent) / rate:.0f} s left"
            )

    return count


def _owner() -> str:
    return f"{getpass.getuser()}@{platform.node()}"


def _log_line(session: Session, wanted: Release, smoke: bool) -> str:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    flags = "" if smoke else " --no-smoke"
    return f"{now} {wanted.id} {_owner()} board={session.board.name}{flags}\n"
