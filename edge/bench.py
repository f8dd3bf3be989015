"""Bench: measure latency on a board, from a release that need not be live."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edge import abi, group, layout, run, runner, runtime, samples, setting, watch
from edge import split as split_module
from edge.artifact import Artifact
from edge.errors import BoardError, EdgeError, UsageError
from edge.release import Release
from edge.run import Plan, Run
from edge.session import Session
from edge.split import Split
from edge.watch import Tick, Watch

BIG = "big"
"""For ``Plan.cpus``: the cores of the board's biggest kind."""

_MOST_PER_S = 100_000.0
_CPUS = r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*"

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
    live: Callable[[Tick], None] | None = None,
    watched: bool = True,
) -> Run:
    """Measure one model of a release that is on the board.

    :param library: libedge of this machine, which maps what the board recorded.
    :param command: what the user typed, for the reproduce line.
    :param folder: of the run, on this machine, such as :meth:`Group.place` gives; it must not be
        there yet. None: a new one in :func:`layout.runs_dir`.
    :param live: told now and then, from another thread, how far the run is.
    :param watched: read the board's clock, temperature and load meanwhile.
    :raises UsageError: the model does not run with this runtime.
    :raises BoardError: the runner failed, or the link was lost.
    """
    name = PurePosixPath(model.place).name
    how = f", {plan.scenario}" if plan.rate_per_s or plan.idle_s else ""
    progress(f"measuring {name} with engine {release.engine}: {plan.count} samples{how}")
    plan = resolved(session, plan)
    with runner.work_folder(session) as work:
        recording = work / "samples.bin"
        words = runner.argv(session, release, "bench", model, plan.options)
        failure: BaseException | None = None
        nobody = contextlib.nullcontext(Watch(work / "env.bin"))
        beside = watch.over(
            *(session, release, work, recording),
            settings=plan.settings,
            live=live,
            warn=progress,
        )
        with beside if watched else nobody as seen:
            try:
                report = runner.call(session, [*words, *flags(recording, plan)], plan.timeout_s)
            except (EdgeError, KeyboardInterrupt) as error:
                failure, report = error, run.unfinished(str(error) or "interrupted")

        def kept() -> Run:
            with _fetched(session, recording, seen, folder) as here:
                found = _run(
                    *(session, release, model, plan, library, report, here, command),
                    engine=release.engine,
                    watched=seen.told,
                )
                if failure is not None and not len(found.samples):
                    raise BoardError("there is nothing to keep")
                return found

        if failure is None:
            return kept()
        # By now nobody records any more.
        with contextlib.suppress(EdgeError):
            begun = kept()
            progress(
                f"{len(begun.samples)} samples until then are kept: invoke runs.show {begun.id}"
            )
        raise failure


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
    plan = resolved(session, plan)
    with runner.work_folder(session) as folder:
        recording = folder / "samples.bin"
        words = runner.argv(session, release, "split", model, plan.options, "native")
        with watch.over(
            *(session, release, folder, recording), settings=plan.settings, warn=progress
        ) as watched:
            report = runner.call(
                session, [*words, *flags(recording, plan), "--rounds", str(ROUNDS)], plan.timeout_s
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


def resolved(session: Session, plan: Plan) -> Plan:
    """The plan as this board follows it: its big cores by number, its settings by their files.

    :raises UsageError: it has no such cores or settings.
    """
    cpus = plan.cpus
    if cpus == BIG:
        cpus = session.facts.big_cores
        if not cpus:
            raise UsageError(
                f"--cpus {BIG}: {session.transport.name} has one kind of core, or does not say "
                "which is which: name them by number, such as --cpus 0-3"
            )
    return dataclasses.replace(plan, cpus=cpus, settings=setting.resolve(session, plan.settings))


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


_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(flag: str, text: str) -> float:
    """Of ``200ms``, ``1.5s`` or ``10m``; a number alone is in seconds.

    :raises UsageError: it is no time, or below 0.
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([a-z]*)", text.strip())
    unit = _UNITS_S.get(found[2] or "s") if found else None
    if found is None or unit is None:
        raise UsageError(f"{flag} {text}: write a time such as 200ms, 1.5s or 10m")
    return float(found[1]) * unit


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
    if not 0 <= plan.rate_per_s <= _MOST_PER_S:
        raise UsageError(f"--rate {plan.rate_per_s:g}: must be above 0, {_MOST_PER_S:g} at most")
    if plan.poisson and not plan.rate_per_s:
        raise UsageError("--poisson: at which rate? add --rate, in invocations per second")
    if plan.rate_per_s and plan.idle_s:
        raise UsageError(
            "--rate and --idle exclude each other: either is when an invocation begins"
        )
    if plan.iterations > 1 and (plan.rate_per_s or plan.idle_s):
        raise UsageError(
            f"--iterations {plan.iterations}: with --rate or --idle a sample is one invocation"
        )
    if plan.cpus and plan.cpus != BIG and not re.fullmatch(_CPUS, plan.cpus):
        raise UsageError(f"--cpus {plan.cpus}: write 4-7, or 0,2, or {BIG}")
    if plan.timeout_s <= 0:
        raise UsageError(f"--timeout {plan.timeout_s:g}: must be more than 0 seconds")


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
        *(["--gc", "on"] if plan.gc else []),
        *(["--call"] if plan.call else []),
        *(["--resizes", str(plan.resizes)] if plan.resizes else []),
    ]
