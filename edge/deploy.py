"""Deploy: preflight, push what changed, verify on the board, smoke, switch."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import getpass
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge import (
    agreement,
    artifact,
    build,
    layout,
    model,
    preflight,
    python,
    reference,
    release,
    runner,
    runtime,
    support,
)
from edge import store as store_module
from edge.agreement import Agreement
from edge.artifact import Artifact, ElfFacts
from edge.board import Board
from edge.errors import BoardError, EdgeError, UsageError
from edge.facts import Facts
from edge.options import DEFAULT, Delegate, Options
from edge.preflight import Finding
from edge.python import Python
from edge.release import Release, Script
from edge.runtime import Runtime
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


@dataclass(frozen=True)
class Choice:
    """What a user asked for instead of the board's own.

    :ivar engine: one of ``runtime.ENGINES``.
    :ivar library: a runtime library of the user's own.
    """

    engine: str | None = None
    runtime: str | None = None
    library: Path | None = None
    delegate: Delegate | None = None
    toolchain: str | None = None
    lto: bool | None = None
    cflags: str | None = None


_SMALL_BYTES = 1 << 20
"""Files below that are sent in no time, but a Python package has hundreds."""

OWN = Choice()
"""Everything as the board's file says."""


def models(
    paths: list[Path], progress: Progress, options: Options = DEFAULT
) -> tuple[Artifact, ...]:
    """Model files, looked through before anything is built or reached.

    :raises UsageError: one is missing or damaged, or has no such signature or input.
    """
    checker = build.host_library(progress)
    found = tuple(release.model_artifact(path, checker) for path in paths)
    if options.signature is not None or options.shapes:
        for path in paths:
            _check_names(path, options)
    return found


def _check_names(path: Path, options: Options) -> None:
    read = model.read(path)
    main = read.subgraphs[0]
    inputs = {main.tensors[index].name for index in main.inputs}
    if options.signature is not None:
        signatures = {signature.key: signature for signature in read.signatures}
        if options.signature not in signatures:
            have = ", ".join(f"'{key}'" for key in signatures) or "none"
            raise UsageError(
                f"{path} has no signature '{options.signature}' (it has: {have}): see "
                f"`invoke inspect {path}`"
            )
        inputs = set(signatures[options.signature].inputs)
    for name, _ in options.shapes:
        if name not in inputs:
            raise UsageError(
                f"{path} has no input '{name}' (it has: {', '.join(sorted(inputs))}): see "
                f"`invoke inspect {path}`"
            )


def check(target: Board, choice: Choice) -> None:
    """What of a choice can be found wrong before the board is reached.

    :raises UsageError: its parts do not go together, or a file of it is missing or no library.
    """
    engine, _ = _choose(target, choice, None)
    if choice.library is not None:
        runtime.own_library(choice.library, engine)
    _delegate_files(choice.delegate, engine)


def _delegate_files(delegate: Delegate | None, engine: str) -> list[Artifact]:
    if delegate is None:
        return []
    if engine not in ("tflite", "python"):
        raise UsageError(f"engine {engine} takes no external delegate: use --engine tflite")
    return [] if delegate.on_board else [release.delegate_artifact(delegate)]


@dataclass(frozen=True)
class Stack:
    """What runs models on a board: the files, and what they are.

    :ivar runtime: its name, or ``file:`` and the name of a library of the user's own.
    :ivar recipe: how the runner was built.
    """

    files: tuple[Artifact, ...]
    engine: str
    runtime: str
    recipe: Mapping[str, object]
    script: Script | None


def stack(
    target: Board,
    progress: Progress,
    *,
    choice: Choice = OWN,
    interpreter: Python | None = None,
    facts: Facts | None = None,
) -> Stack:
    """Build the runner and fetch what runs models.

    :param interpreter: the board's Python, for the engines that need it: see :func:`python_for`.
    :param facts: of the board, to send along the C++ libraries that it lacks.
    :raises UsageError: what was chosen does not go together, or not with this board.
    """
    engine, chosen = _choose(target, choice, interpreter)
    built = build.runner(
        target,
        progress,
        toolchain_name=choice.toolchain,
        lto=choice.lto,
        cflags=choice.cflags,
    )
    files, script = [built.runner], None
    if choice.library is not None:
        files.append(runtime.own_library(choice.library, engine))
    elif not chosen.module:
        files.append(runtime.fetch(chosen, target.arch, progress))
    else:
        assert interpreter is not None  # engines of Python's are refused without
        script = Script(interpreter.program, chosen.module, chosen.native_symbol)
        files += [
            artifact.of_file(layout.onboard_script(), release.SCRIPT_PLACE, executable=True),
            artifact.of_file(built.library, release.LIBEDGE_PLACE),
            *runtime.fetch_packages(chosen, interpreter, progress),
        ]
    files += _delegate_files(choice.delegate, engine)
    if facts is not None:
        needs = [artifact.elf_facts(file.path) for file in files if file.loaded]
        files += support.files(target.arch, facts, needs, progress)
    name = chosen.name if choice.library is None else f"file:{choice.library.name}"
    return Stack(tuple(files), engine, name, dataclasses.asdict(built.recipe), script)


def prepare(
    target: Board,
    found: Sequence[Artifact],
    progress: Progress,
    *,
    choice: Choice = OWN,
    interpreter: Python | None = None,
    facts: Facts | None = None,
) -> Release:
    """A release of ``found``, the models, with what runs them: see :func:`stack`."""
    made = stack(target, progress, choice=choice, interpreter=interpreter, facts=facts)
    return release.make(
        target.arch,
        made.files,
        found,
        runtime_name=made.runtime,
        engine=made.engine,
        recipe=made.recipe,
        script=made.script,
        delegate=choice.delegate,
    )


def _fits(candidate: Runtime, arch: str, interpreter: Python | None) -> bool:
    if interpreter is not None and candidate.module:
        return runtime.has_wheel(candidate, interpreter)
    return arch in candidate.wheels


def prepared(
    session: Session, found: Sequence[Artifact], progress: Progress, choice: Choice = OWN
) -> Release:
    """:func:`prepare` for a board that answers: its Python and its libraries are looked at."""
    return prepare(
        session.board,
        found,
        progress,
        choice=choice,
        interpreter=python_for(session, choice),
        facts=session.facts,
    )


def python_for(session: Session, choice: Choice) -> Python | None:
    """The board's Python, if what was chosen runs in it.

    :raises BoardError: the board has none.
    """
    engine = choice.engine or runtime.load(choice.runtime or session.board.runtime).engine
    if engine not in runtime.IN_PYTHON:
        return None
    return python.read(session.transport, session.python)


def _choose(target: Board, choice: Choice, interpreter: Python | None) -> tuple[str, Runtime]:
    """Engine and runtime, each told by the other or by the board where the user said nothing."""
    if choice.engine is not None and choice.engine not in runtime.ENGINES:
        raise UsageError(f"no engine '{choice.engine}': choose one of {', '.join(runtime.ENGINES)}")
    if choice.library is not None and choice.runtime is not None:
        raise UsageError("--lib and --runtime name two runtimes: give one of them")
    if choice.runtime is not None:
        found = runtime.load(choice.runtime)
        if choice.engine is not None and choice.engine not in found.engines:
            raise UsageError(
                f"runtime {found.name} has engine {found.engine}, not {choice.engine}: "
                f"with --engine {choice.engine} go "
                f"{', '.join(runtime.for_engine(choice.engine)) or 'no runtimes'}"
            )
        return choice.engine or found.engine, found
    own = runtime.load(target.runtime)
    engine = choice.engine or own.engine
    if choice.library is not None and engine in runtime.IN_PYTHON:
        raise UsageError(
            f"engine {engine} takes no --lib: its runtime is a Python package: add --engine tflite "
            "or litert, as the library is"
        )
    if engine in own.engines:
        fitting = [own.name, *runtime.for_engine(engine)]
    else:
        fitting = list(runtime.for_engine(engine))
    if not fitting:
        raise UsageError(f"no runtime has engine {engine}")
    for name in fitting:
        candidate = runtime.load(name)
        if choice.library is not None or _fits(candidate, target.arch, interpreter):
            return engine, candidate
    # None fits: the first one says why.
    return engine, runtime.load(fitting[0])


def look(
    session: Session,
    files: tuple[Artifact, ...],
    found: tuple[Artifact, ...],
    send_bytes: int,
    runtime_name: str,
    progress: Progress,
) -> tuple[Finding, ...]:
    """Preflight: would the board load ``files``, and take in ``send_bytes`` of content?

    :param found: the models, which must find room in memory.
    """
    arch = session.board.arch
    features: tuple[str, ...] = ()
    if not runtime_name.startswith("file:"):
        features = runtime.load(runtime_name).features.get(arch, ())
    return preflight.look(
        session.board,
        session.facts,
        tuple(file for file in files if file.loaded),
        send_bytes,
        models=found,
        runtime=runtime_name,
        needs_features=features,
        alternatives=lambda: candidates(session.facts, arch, progress),
    )


def candidates(facts: Facts, arch: str, progress: Progress) -> Iterator[tuple[str, ElfFacts]]:
    """Runtimes that the board's processor can run, and what their libraries ask of its system."""
    for name, needs in runtime.needs(arch, progress):
        features = runtime.load(name).features.get(arch, ())
        if not preflight.missing_features(facts, features):
            yield name, needs


def deploy(
    session: Session,
    wanted: Release,
    progress: Progress,
    *,
    options: Options = DEFAULT,
    smoke: bool = True,
    before_switch: Callable[[Session, Release, str | None], None] | None = None,
) -> Deployment:
    """Make ``wanted`` the live release; at any instant the old or the new one is live and whole.

    :param before_switch: called when all models were checked, under the store's lock, with the id
        of the release that is live; what it raises keeps that one live.
    :raises UsageError: the release does not fit the board, or a model does not run on it.
    :raises BoardError: the board failed, or computes something else than this machine.
    """
    with staged(session, wanted, progress) as stage:
        checked: list[Agreement] = []
        previous = stage.store.current()
        if previous != wanted.id:
            for model in wanted.models if smoke else ():
                progress(f"checking {model.path.name} on the board")
                checked.append(_smoke(session, wanted, model, options))
            if before_switch is not None:
                before_switch(session, wanted, previous)
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
    preflight.insist(
        look(
            session,
            wanted.artifacts,
            wanted.models,
            program.size_bytes,
            wanted.runtime,
            progress,
        )
    )
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
    small = [item for item in missing if item.size_bytes < _SMALL_BYTES]
    if len(small) > 1:
        total = sum(item.size_bytes for item in small)
        progress(f"sending {len(small)} small files ({total / 1e6:.2f} MB)")
    # The small ones first: that one line is said for all of them.
    for item in sorted(missing, key=lambda item: item.size_bytes >= _SMALL_BYTES):
        start = there[item.sha256] or 0
        told = item.size_bytes >= _SMALL_BYTES or len(small) == 1
        stage.store.put(
            item.path,
            item.sha256,
            item.size_bytes,
            executable=item.executable,
            offset=start,
            progress=_told(item, start, progress) if told else lambda _: None,
        )
        stage.sent_bytes += item.size_bytes - start
        stage.sent_files += 1


def _smoke(session: Session, wanted: Release, model: Artifact, options: Options) -> Agreement:
    expected = reference.compute(model.path, options=options)
    name = PurePosixPath(model.place).name
    got, _ = runner.infer(session, wanted, model, expected.inputs_file, options=options, each=False)
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
