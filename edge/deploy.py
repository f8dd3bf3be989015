"""Deploy: preflight, push what changed, verify on the board, smoke, switch."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge import (
    agreement,
    artifact,
    build,
    forward,
    history,
    layout,
    model,
    operators,
    ops,
    preflight,
    python,
    reference,
    release,
    runner,
    runtime,
    support,
    switch,
    venv,
)
from edge import facts as facts_module
from edge import store as store_module
from edge.agreement import Agreement
from edge.artifact import Artifact, ElfFacts
from edge.board import Board
from edge.errors import BoardError, EdgeError, UsageError
from edge.facts import Facts
from edge.layout import DeviceLayout
from edge.options import DEFAULT, Delegate, Options
from edge.preflight import Finding
from edge.python import Python
from edge.release import Release, Script
from edge.runtime import Runtime
from edge.session import Session
from edge.store import Blob, Damaged, Store

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    """Nobody is told."""


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
    :ivar ops: a folder of kernels for custom operators.
    """

    engine: str | None = None
    runtime: str | None = None
    library: Path | None = None
    delegate: Delegate | None = None
    toolchain: str | None = None
    lto: bool | None = None
    cflags: str | None = None
    ops: Path | None = None


BeforeSwitch = Callable[[Session, Release, str | None], None]
"""A last check while both releases are on the board, which raises to keep the old one live: the
session, the new release, the id of the one that is live."""

_SPEAK_S = 2.0
"""Between two lines that tell how far a transfer is."""

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
    if options.ops is not None:
        _check_ops(paths, Path(options.ops), options, progress)
    if options.signature is not None or options.shapes:
        for each in found:
            if release.kind(each) == ".tflite":
                _check_names(each.path, options)
    return found


def _check_ops(paths: list[Path], folder: Path, options: Options, progress: Progress) -> None:
    names = ops.here(folder, progress).names
    for path in paths:
        if options.delegate is None and (lacking := ops.unknown(path, names)):
            raise UsageError(
                f"--ops {folder} has no kernel for the operator {lacking[0]} of {path} (it has: "
                f"{', '.join(names)}): check the names, or add the kernel"
            )


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
    if choice.ops is not None:
        if engine not in _TAKE_OPS:
            raise UsageError(
                f"engine {engine} takes no kernels (--ops): use --engine {', '.join(_TAKE_OPS)}"
            )
        ops.sources(choice.ops)


def _packages(
    chosen: Runtime, interpreter: Python, facts: Facts | None, progress: Progress
) -> tuple[Artifact, ...]:
    """What the processor can't run, nothing that is installed on the board mends."""
    try:
        return runtime.fetch_packages(chosen, interpreter, progress)
    except UsageError:
        if facts is not None:
            needed = chosen.features.get(interpreter.machine, ())
            preflight.insist(preflight.cpu(facts, needed, chosen.name))
        raise


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
    :ivar recipe: how the runner was built; under ``ops``, how the user's kernels were.
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
        files += runtime.libraries(chosen, target, progress)
    else:
        assert interpreter is not None  # engines of Python's are refused without
        script = Script(interpreter.program, chosen.module, chosen.native_symbol)
        files += [
            artifact.of_file(layout.onboard_script(), release.SCRIPT_PLACE, executable=True),
            artifact.of_file(built.library, release.LIBEDGE_PLACE),
            *_packages(chosen, interpreter, facts, progress),
        ]
        if (way := layout.way_module(chosen.module)) is not None:
            files.append(artifact.of_file(way, f"{runtime.PACKAGES_PLACE}/{chosen.module}.py"))
    files += _delegate_files(choice.delegate, engine)
    recipe = dataclasses.asdict(built.recipe)
    if choice.ops is not None:
        kernels = ops.library(
            *(choice.ops, target, progress),
            toolchain_name=choice.toolchain,
            lto=choice.lto,
            cflags=choice.cflags,
        )
        files.append(kernels.artifact)
        recipe["ops"] = dataclasses.asdict(kernels.recipe)
    if facts is not None and chosen.packaged is None:  # which brings its own
        needs = [artifact.elf_facts(file.path) for file in files if file.loaded]
        files += support.files(target.arch, facts, needs, progress)
    name = chosen.name if choice.library is None else f"file:{choice.library.name}"
    return Stack(tuple(files), engine, name, recipe, script)


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
    engine, chosen = _choose(target, choice, interpreter)
    _check_kinds(found, engine)
    if choice.library is None:
        _insist_on_operators(chosen, found)
    written = forward.files(found) if engine == "numpy" else ()  # before anything is built
    made = stack(target, progress, choice=choice, interpreter=interpreter, facts=facts)
    return release.make(
        target.arch,
        [*made.files, *written],
        found,
        runtime_name=made.runtime,
        engine=made.engine,
        recipe=made.recipe,
        script=made.script,
        delegate=choice.delegate,
    )


def _check_kinds(found: Sequence[Artifact], engine: str) -> None:
    wanted = runtime.MODELS.get(engine, ".tflite")
    for each in found:
        if (kind := release.kind(each)) != wanted:
            takers = [e for e in runtime.ENGINES if runtime.MODELS.get(e, ".tflite") == kind]
            raise UsageError(
                f"engine {engine} runs {_KINDS[wanted]}, {each.path} is {_KINDS[kind]}, which is "
                f"for --engine {', '.join(takers)}"
            )


_TAKE_OPS = ("tflite", "litert", "python", "native")

_KINDS = {
    ".tflite": "a .tflite file",
    ".keras": "a model of Keras (.keras)",
    "SavedModel": "a SavedModel's folder",
}


def _insist_on_operators(chosen: Runtime, found: Sequence[Artifact]) -> None:
    """:raises UsageError: a model needs what the runtime's library was built without."""
    if chosen.order is not None and chosen.order.operators:
        for item in found:
            operators.insist(item.path, chosen.order.operators, chosen.name)


def _fits(candidate: Runtime, arch: str, interpreter: Python | None) -> bool:
    if interpreter is not None and candidate.module:
        return runtime.has_wheel(candidate, interpreter)
    return arch in candidate.architectures


def prepared(
    session: Session, found: Sequence[Artifact], progress: Progress, choice: Choice = OWN
) -> Release:
    """:func:`prepare` for a board that answers: its Python and its libraries are looked at."""
    return prepare(
        session.board,
        found,
        progress,
        choice=choice,
        interpreter=python_for(session, choice, progress),
        facts=session.facts,
    )


def python_for(session: Session, choice: Choice, progress: Progress = _silent) -> Python | None:
    """The board's Python, if what was chosen runs in it.

    :raises BoardError: the board has none.
    """
    engine = choice.engine or runtime.load(choice.runtime or session.board.runtime).engine
    if engine not in runtime.IN_PYTHON:
        return None
    environment = _environment(engine, choice)
    if not environment:
        return python.read(session.transport, session.python)
    if not session.board.local:
        raise UsageError(
            f"engine {engine} is TensorFlow in Python, 1.6 GB, which edge has here only: "
            "take --board localhost, or --engine tensorflow with a SavedModel on the board"
        )
    program = venv.environment(environment, progress).python
    return python.read(session.transport, str(program))


def _environment(engine: str, choice: Choice) -> str:
    """The Python environment of this machine that an engine runs in; empty for a board's own."""
    names = [choice.runtime] if choice.runtime else runtime.for_engine(engine)[:1]
    return runtime.load(names[0]).environment if names else ""


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
    first = None
    for name in _runtimes(own, engine):
        candidate = own if name == own.name else runtime.load(name)
        if choice.library is not None or _fits(candidate, target.arch, interpreter):
            return engine, candidate
        first = first or candidate
    if first is None:
        raise UsageError(f"no runtime has engine {engine}")
    # None fits: the first one says why.
    return engine, first


def _runtimes(own: Runtime, engine: str) -> Iterator[str]:
    """Those with ``engine``, the board's own first; the others are looked for only then."""
    if engine in own.engines:
        yield own.name
    yield from runtime.for_engine(engine)


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
    memory_mb = 0
    if not runtime_name.startswith("file:"):
        chosen = runtime.load(runtime_name)
        features, memory_mb = chosen.features.get(arch, ()), chosen.memory_mb
    return preflight.look(
        session.board,
        session.facts,
        tuple(file for file in files if file.loaded),
        send_bytes,
        models=found,
        runtime=runtime_name,
        needs_features=features,
        needs_memory_mb=memory_mb,
        alternatives=lambda: candidates(session.facts, arch, progress),
    )


def candidates(facts: Facts, arch: str, progress: Progress) -> Iterator[tuple[str, ElfFacts]]:
    """Runtimes that the board's processor can run, and what their libraries ask of its system."""
    for name, needs in runtime.needs(arch, progress):
        features = runtime.load(name).features.get(arch, ())
        if not preflight.missing_features(facts, features):
            yield name, needs


def onto(
    session: Session,
    found: Sequence[Artifact],
    progress: Progress,
    *,
    choice: Choice = OWN,
    options: Options = DEFAULT,
    smoke: bool = True,
    before_switch: BeforeSwitch | None = None,
    wait_s: float = 0.0,
    verify: bool = False,
) -> Deployment:
    """Make ``found``, the models, live on a board with what runs them: :func:`deploy`, if needed.

    What the board said of itself the last time is enough to guess the release's id; whether that
    one is live, and nothing has touched it since it was found in order, is one question. As long as
    the board was not booted again, what it said is taken to hold.

    :param verify: ask the board again, and read everything back, also if nothing has changed.
    """
    seen = None if verify else session.remembered
    wanted = None
    if seen is not None:
        interpreter = python_for(session, choice, progress)
        wanted = prepare(
            session.board, found, progress, choice=choice, interpreter=interpreter, facts=seen
        )
        device = DeviceLayout(seen.root)
        program = device.blob(wanted.runner.sha256)
        state = store_module.state(session.transport, program, device.root, wanted.id)
        if state.settled:
            return Deployment(
                session.board.name, session.transport.name, wanted, wanted.id, 0, 0, ()
            )
        # Without our runner there, the kernel itself is asked: quicker than all of the facts.
        boot_id = state.boot_id or facts_module.boot_id(session.transport)
        if boot_id and boot_id == seen.boot_id:
            now = dataclasses.replace(
                seen, free_bytes=state.free_bytes, memory_available_bytes=None, clock_ahead_s=None
            )
            session = dataclasses.replace(session, given=now)
        else:
            wanted = None
    return deploy(
        session,
        wanted or prepared(session, found, progress, choice),
        progress,
        options=options,
        smoke=smoke,
        before_switch=before_switch,
        wait_s=wait_s,
        verify=verify,
    )


def deploy(
    session: Session,
    wanted: Release,
    progress: Progress,
    *,
    options: Options = DEFAULT,
    smoke: bool = True,
    before_switch: BeforeSwitch | None = None,
    wait_s: float = 0.0,
    verify: bool = False,
) -> Deployment:
    """Make ``wanted`` the live release; at any instant the old or the new one is live and whole.

    If it is live already, its content is verified, and what is damaged is sent again.

    :param before_switch: called after the check of the models.
    :param wait_s: for the store's lock, if somebody else holds it.
    :param verify: read back what has not changed since it was last found in order, too.
    :raises UsageError: the release does not fit the board, or a model does not run on it.
    :raises BoardError: the board failed, or computes something else than this machine.
    """
    with staged(session, wanted, progress, wait_s=wait_s, verify=verify) as stage:
        checked: Sequence[Agreement] = ()
        previous = stage.store.live
        if previous == wanted.id and _was_told(session, wanted.id):
            # Verified again, repaired perhaps; the application need not hear of it.
            stage.store.switch(wanted.id)
            stage.store.settle(wanted.id)
        else:
            if smoke:
                checked = _gate(session, wanted, options, progress)
            if before_switch is not None:
                before_switch(session, wanted, previous)
            flags = [] if smoke else ["--no-smoke"]
            switch.to(session, stage.store, wanted.id, "deploy", progress, flags=flags)
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


def _was_told(session: Session, release_id: str) -> bool:
    """Did the switch to it come to its end, ``on_switch`` included?"""
    last = history.read(session.transport, session.device)[-1:]
    return [(entry.id, entry.verb != "failed") for entry in last] == [(release_id, True)]


@dataclass
class Stage:
    """A release that is whole on the board, while its store is locked for us."""

    store: Store
    sent_bytes: int = 0
    sent_files: int = 0
    kept: bool = False

    def keep(self) -> None:
        """Do not drop the release at the end."""
        self.kept = True


@contextlib.contextmanager
def staged(
    session: Session,
    wanted: Release | Sequence[Release],
    progress: Progress,
    *,
    wait_s: float = 0.0,
    verify: bool = False,
) -> Iterator[Stage]:
    """Put ``wanted``, one release or several, beside the live release, under the store's lock.

    Those that were not on the board before are dropped at the end unless they are to be kept.

    :param wait_s: for the store's lock, if somebody else holds it.
    :param verify: as :func:`deploy`.
    """
    # The same one twice is one release.
    releases = [wanted] if isinstance(wanted, Release) else list({r.id: r for r in wanted}.values())
    device, transport = session.device, session.transport
    program = releases[0].runner
    for each in releases:
        preflight.insist(
            look(
                session,
                each.artifacts,
                each.models,
                program.size_bytes,
                each.runtime,
                progress,
            )
        )
    store, first = store_module.hold(transport, program, device.root, progress, wait_s=wait_s)
    with store:
        stage = Stage(store)
        if first:
            stage.sent_bytes, stage.sent_files = program.size_bytes, 1
        created: list[str] = []
        try:
            if verify:
                store.unsettle()
            for each in releases:
                if _placed(stage, each, device.root, progress):
                    created.append(each.id)
            # What waits for the board on another channel learns here that the link is gone.
            with store.heartbeat(on_lost=transport.close):
                yield stage
        finally:
            if not stage.kept:
                # After a lost link there is nobody to tell; the next deploy clears up.
                with contextlib.suppress(EdgeError):
                    for release_id in created:
                        store.drop(release_id)
                    if not created:
                        store.sweep()
                    if first:
                        transport.run(["rm", "-f", device.blob(program.sha256)])


def _placed(stage: Stage, wanted: Release, root: PurePosixPath, progress: Progress) -> bool:
    """Have the release on the board, all of it; whether it was not there before."""
    links = {a.place: a.sha256 for a in wanted.artifacts}
    _send(stage, wanted, root, progress)
    for _ in wanted.artifacts:
        try:
            return stage.store.create_release(wanted.id, links, wanted.manifest)
        except Damaged as damaged:
            # Found out one by one; each is gone from the store, and is sent again.
            progress(f"{damaged}")
            _send(stage, wanted, root, progress)
    return stage.store.create_release(wanted.id, links, wanted.manifest)


def _send(stage: Stage, wanted: Release, root: PurePosixPath, progress: Progress) -> None:
    """Put what the board lacks into its store."""
    contents = {a.sha256: a for a in wanted.artifacts}
    there = stage.store.have([(a.sha256, a.size_bytes) for a in contents.values()])
    missing = [
        Blob(a.path, a.sha256, a.size_bytes, a.executable, there[a.sha256] or 0)
        for a in contents.values()
        if there[a.sha256] != a.size_bytes
    ]
    if not missing:
        return
    send_bytes = sum(blob.size_bytes - blob.offset_bytes for blob in missing)
    preflight.insist(preflight.room(root, stage.store.free_bytes, send_bytes))
    resumed = sum(blob.offset_bytes for blob in missing)
    kept = f"; {resumed / 1e6:.2f} MB of them are there already" if resumed else ""
    files = "1 file" if len(missing) == 1 else f"{len(missing)} files"
    progress(f"sending {files} ({send_bytes / 1e6:.2f} MB{kept})")
    stage.store.put(missing, _told(send_bytes, progress))
    stage.sent_bytes += send_bytes
    stage.sent_files += len(missing)


def _gate(
    session: Session, wanted: Release, options: Options, progress: Progress
) -> list[Agreement]:
    """Run each model on the board against this machine's answer, in the memory that is free."""
    memory_bytes = facts_module.memory_available(session.transport, session.facts)
    checked = []
    for item in wanted.models:
        progress(f"checking {item.path.name} on the board")
        checked.append(_smoke(session, wanted, item, options, memory_bytes))
    return checked


def _smoke(
    session: Session,
    wanted: Release,
    model: Artifact,
    options: Options,
    memory_bytes: int | None,
) -> Agreement:
    if release.kind(model) != ".tflite":
        raise UsageError(
            f"{model.path} is {_KINDS[release.kind(model)]}, and what it computes here is not "
            "known: deploy with --no-smoke if you trust it"
        )
    if options.ops is None and options.delegate is None and (lacking := ops.unknown(model.path)):
        raise UsageError(
            f"{model.path} has the custom operator {lacking[0]}, which no TFLite has: give the "
            "folder with its kernel by --ops, or deploy with --no-smoke if the runtime has it"
        )
    expected = reference.compute(model.path, options=options)
    name = PurePosixPath(model.place).name
    got, _ = runner.infer(
        session,
        wanted,
        model,
        expected.inputs_file,
        options=options,
        each=False,
        memory_bytes=memory_bytes,
    )
    result = agreement.compare(name, got, expected)
    if not result.ok:
        raise BoardError(
            f"{name} computes something else on {session.transport.name} than here "
            f"(largest difference {result.largest_difference:.4g}, allowed {result.bound:.4g}, "
            f"reference {expected.interpreter}): the old release stays live; try another --runtime"
        )
    return result


def _told(total_bytes: int, progress: Progress) -> Callable[[int], None]:
    """A counter of sent bytes that speaks every two seconds."""
    began = spoke = time.monotonic()
    sent = 0

    def count(piece_bytes: int) -> None:
        nonlocal sent, spoke
        sent += piece_bytes
        now = time.monotonic()
        if now - spoke >= _SPEAK_S:
            spoke = now
            rate = sent / (now - began)
            progress(
                f"  {sent / 1e6:.1f} of {total_bytes / 1e6:.1f} MB, {rate / 1e6:.2f} MB/s, "
                f"{(total_bytes - sent) / rate:.0f} s left"
            )

    return count
