"""Bench: measure latency on a board, from a release that need not be live."""

from __future__ import annotations

import datetime
import shutil
import uuid
from collections.abc import Callable
from pathlib import PurePosixPath

from edge import abi, build, layout, run, runner, runtime, samples
from edge.artifact import Artifact
from edge.errors import UsageError
from edge.release import Release
from edge.run import Plan, Run
from edge.session import Session

_LONGEST_S = 3600.0


def measure(
    session: Session,
    release: Release,
    model: Artifact,
    plan: Plan,
    library: abi.Library,
    progress: Callable[[str], None],
    *,
    command: str,
) -> Run:
    """Measure one model of a release that is on the board.

    :param library: libedge of this machine, which maps what the board recorded.
    :param command: what the user typed, for the reproduce line.
    :raises UsageError: the model does not run with this runtime.
    :raises BoardError: the runner failed, or the link was lost.
    """
    name = PurePosixPath(model.place).name
    home = session.device.release(release.id)
    run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    here = layout.runs_dir() / run_id
    progress(f"measuring {name}: {plan.count} samples")
    with runner.work_folder(session) as folder:
        recording = folder / "samples.bin"
        report = runner.call(session, _argv(home, name, recording, plan), _LONGEST_S)
        here.mkdir(parents=True)
        try:
            session.transport.get(recording, here / "samples.bin")
        except BaseException:
            shutil.rmtree(here)
            raise
    found = Run(
        id=run_id,
        board=session.board.name,
        target=session.transport.name,
        # A board file may say what it likes: the machine's own word counts too.
        emulated=session.board.emulated or session.facts.emulated,
        model=name,
        model_sha256=model.sha256,
        library_sha256=release.library.sha256,
        runner_sha256=release.runner.sha256,
        runtime=release.runtime,
        kernel=session.facts.kernel,
        measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        command=command,
        plan=plan,
        report=report,
        samples=samples.load(library, here / "samples.bin"),
    )
    run.save(found, here)
    return found


def check_plan(plan: Plan) -> None:
    """:raises UsageError: a number of the plan makes no sense."""
    for flag, value, least in (
        ("--count", plan.count, 1),
        ("--threads", plan.threads, 1),
        ("--warmup", plan.warmup, 0),
        ("--iterations", plan.iterations, 0),
        ("--duration", plan.duration_s, 0),
    ):
        if value < least:
            raise UsageError(f"{flag} {value}: must be at least {least}")


def _argv(
    home: PurePosixPath, name: str, recording: PurePosixPath, plan: Plan
) -> list[str | PurePosixPath]:
    return [
        *(home / build.RUNNER_PLACE, "bench"),
        *("--lib", home / runtime.PLACE, "--model", home / "models" / name),
        *("--samples", recording, "--count", str(plan.count), "--warmup", str(plan.warmup)),
        *("--duration-ms", str(round(1000 * plan.duration_s))),
        *("--iterations", str(plan.iterations) if plan.iterations else "auto"),
        *("--threads", str(plan.threads), *([] if plan.xnnpack else ["--no-xnnpack"])),
    ]
