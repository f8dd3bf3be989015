"""Bench: measure latency on a board, from a release that need not be live."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edge import abi, group, layout, run, runner, runtime, samples, watch
from edge import split as split_module
from edge.artifact import Artifact
from edge.errors import BoardError, UsageError
from edge.release import Release
from edge.run import Plan, Run
from edge.session import Session
from edge.split import Split
from edge.watch import Watch

_LONGEST_S = 3600.0

ROUNDS = 20
"""Turns that the two sides of a split take."""


def measure(
    session: Session,
    release: Release,
    model: Artifact,
    plan: Plan,
    library: abi.Library,
    progress: Callable[[str], None],
    *,
    command: str,
    folder: Path | None = None,
) -> Run:
    """Measure one model of a release that is on the board.

    :param library: libedge of this machine, which maps what the board recorded.
    :param command: what the user typed, for the reproduce line.
    :param folder: of the run, on this machine, such as :meth:`Group.place` gives; it must not be
        there yet. None: a new one in :func:`layout.runs_dir`.
    :raises UsageError: the model does not run with this runtime.
    :raises BoardError: the runner failed, or the link was lost.
    """
    name = PurePosixPath(model.place).name
    progress(f"measuring {name} with engine {release.engine}: {plan.count} samples")
    with runner.work_folder(session) as work:
        recording = work / "samples.bin"
        words = runner.argv(session, release, "bench", model, plan.options)
        with watch.over(session, release, work) as watched:
            report = runner.call(session, [*words, *flags(recording, plan)], _LONGEST_S)
        with _fetched(session, recording, watched, folder) as here:
            return _run(
                *(session, release, model, plan, library, report, here, command),
                engine=release.engine,
                watched=watched.told,
            )


def split(
    session: Session,
    release: Release,
    model: Artifact,
    plan: Plan,
    library: abi.Library,
    progress: Callable[[str], None],
    *,
    command: str,
) -> tuple[tuple[Run, ...], Split]:
    """Measure what a call from Python is made of, against the same call from C.

    Both loops run in one process, on the interpreter that Python built, round by round in random
    order.

    :returns: a run of the invocations alone for each engine, and the split.
    :raises UsageError: the model does not run with this runtime.
    :raises BoardError: the runner failed, or the link was lost.
    """
    name = PurePosixPath(model.place).name
    per_round = max(1, plan.count // ROUNDS)
    progress(
        f"measuring {name}: engines native and python by turns, {ROUNDS} rounds of {per_round} "
        "samples for each part of a call"
    )
    with runner.work_folder(session) as folder:
        recording = folder / "samples.bin"
        words = runner.argv(session, release, "split", model, plan.options, "native")
        with watch.over(session, release, folder) as watched:
            report = runner.call(
                session, [*words, *flags(recording, plan), "--rounds", str(ROUNDS)], _LONGEST_S
            )
        parts = {}
        runs = []
        for engine in split_module.ENGINES:
            for phase in split_module.PHASES:
                # Only the invocations become runs, which the readings belong to.
                readings = watched if phase == "invoke" else None
                with _fetched(
                    session, recording.with_name(f"samples.bin.{engine}.{phase}"), readings
                ) as here:
                    parts[engine, phase] = samples.load(library, here / "samples.bin").latency_ns
                    if phase == "invoke":
                        told = _of_engine(report, engine)
                        runs.append(
                            _run(
                                *(session, release, model, plan, library, told, here, command),
                                engine=engine,
                                watched=watched.told,
                            )
                        )
                    else:
                        shutil.rmtree(here)
    identical = report["split"].get("identical")
    if identical is not None and not isinstance(identical, bool):
        raise BoardError("the runner's report of the split is damaged: deploy again")
    return tuple(runs), split_module.of_samples(name, parts, ROUNDS, identical)


def _of_engine(report: dict[str, Any], engine: str) -> dict[str, Any]:
    """One report for both sides of a split, as a run of this one would have it.

    :raises BoardError: it is no report of a split.
    """
    try:
        iterations = int(report["split"]["iterations"][f"{engine}.invoke"])
    except (KeyError, TypeError, ValueError):
        raise BoardError("the runner's report of the split is damaged: deploy again") from None
    return {**report, "engine": engine, "iterations": iterations}


@contextlib.contextmanager
def _fetched(
    session: Session,
    recording: PurePosixPath,
    watched: Watch | None,
    folder: Path | None = None,
) -> Iterator[Path]:
    """A run's folder on this machine, with what was recorded; gone if the block fails."""
    here = folder or layout.runs_dir() / group.new_id()
    here.mkdir(parents=True)
    try:
        session.transport.get(recording, here / "samples.bin")
        if watched is not None and watched.told is not None:
            session.transport.get(watched.series, here / "env.bin")
        yield here
    except BaseException:
        shutil.rmtree(here)
        raise


def _run(
    session: Session,
    release: Release,
    model: Artifact,
    plan: Plan,
    library: abi.Library,
    report: dict[str, Any],
    here: Path,
    command: str,
    *,
    engine: str,
    watched: dict[str, Any] | None,
) -> Run:
    found = Run(
        id=here.relative_to(layout.runs_dir()).as_posix(),
        board=session.board.name,
        target=session.transport.name,
        # A board file may say what it likes: the machine's own word counts too.
        emulated=session.board.emulated or session.facts.emulated,
        model=PurePosixPath(model.place).name,
        model_sha256=model.sha256,
        runtime_sha256=release.runtime_sha256,
        runner_sha256=release.runner.sha256,
        runtime=release.runtime,
        engine=engine,
        kernel=session.facts.kernel,
        measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=command,
        plan=plan,
        report=report,
        samples=samples.load(library, here / "samples.bin"),
        watched=watched,
        environment=run.surroundings(here, watched),
    )
    run.save(found, here)
    return found


def groups(engines: str | None) -> tuple[tuple[str | None, ...], ...]:
    """Engines joined by commas, as they are measured: ``native`` and ``python`` by turns.

    :raises UsageError: an unknown engine, or one twice.
    """
    if engines is None:
        return ((None,),)
    names = engines.split(",")
    for name in names:
        if name not in runtime.ENGINES:
            raise UsageError(f"no engine '{name}': choose of {', '.join(runtime.ENGINES)}")
    if len(set(names)) != len(names):
        raise UsageError(f"--engine {engines}: names an engine twice")
    if not set(split_module.ENGINES) <= set(names):
        return tuple((name,) for name in names)
    others = [(name,) for name in names if name not in split_module.ENGINES]
    return (*others, split_module.ENGINES)


def check_plan(plan: Plan) -> None:
    """:raises UsageError: a number of the plan makes no sense."""
    for flag, value, least in (
        ("--count", plan.count, 1),
        ("--warmup", plan.warmup, 0),
        ("--iterations", plan.iterations, 0),
        ("--duration", plan.duration_s, 0),
    ):
        if value < least:
            raise UsageError(f"{flag} {value}: must be at least {least}")


def flags(recording: PurePosixPath, plan: Plan) -> list[str | PurePosixPath]:
    return [
        *("--samples", recording, "--count", str(plan.count), "--warmup", str(plan.warmup)),
        *("--duration-ms", str(round(1000 * plan.duration_s))),
        *("--iterations", str(plan.iterations) if plan.iterations else "auto"),
        *("--seed", str(plan.seed)),
        *(["--interval-us", str(round(1e6 / plan.rate_per_s))] if plan.rate_per_s else []),
        *(["--poisson"] if plan.poisson else []),
        *(["--idle-us", str(round(1e6 * plan.idle_s))] if plan.idle_s else []),
        *(["--cpus", plan.cpus] if plan.cpus else []),
        *(["--undisturbed"] if plan.undisturbed else []),
    ]
