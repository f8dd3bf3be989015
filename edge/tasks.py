"""The commands: parse, call, print.

Everything heavier is imported by the task that needs it, so that listing the tasks stays quick.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any

from invoke.collection import Collection
from invoke.exceptions import Exit
from invoke.program import Program
from invoke.tasks import task

_JSON = "print one JSON object instead of text"
_BOARD = "name of the board: see `invoke boards`"
_HOST = "SSH destination, such as pi@10.0.0.7, instead of the board's own"
_MODEL = "a .tflite file; may be given several times"
_RUNTIME = "a runtime of edge/runtimes instead of the board's"
_LIB = "a runtime library of your own, such as libtensorflowlite_c.so"
_TOOLCHAIN = "a toolchain of toolchains/ instead of the board's"
_ENGINE = "tflite, litert, python or native: see docs/engines.md; else the runtime's own"
_STACK = {
    "board": _BOARD,
    "host": _HOST,
    "runtime": _RUNTIME,
    "lib": _LIB,
    "delegate": "external:PATH?key=value; external:board:/PATH is a library that is there already",
    "json": _JSON,
}
"""What runs on which board."""

_RUN = "its id, the beginning of it, or last: see `invoke runs`"
_WAIT = "seconds to wait if somebody else holds the board; 0: be told who, and end"

_OPTIONS = {
    "signature": "key of a signature; inputs and outputs then have its names",
    "shape": "an input's shape, NAME=1x224x224x3; may be given several times",
    "batch": "first axis of every input that has no --shape; 0: as in the model",
    "threads": "threads of the runtime",
    "xnnpack": "use the XNNPACK delegate",
}
"""How a model is opened."""

_SCENARIO = {
    "rate": "invocations due per second, whether or not the one before has ended; latency then "
    "counts from when one was due; 0: one after the other",
    "poisson": "with --rate: due at random times",
    "idle": "pause before each invocation, such as 200ms",
    "cpus": "run on these processors alone: 4-7, or 0,2, or big",
    "undisturbed": "at the highest priority and in locked memory, as far as the board permits",
    "set": "governor=NAME, or /sys/devices/system/cpu/…=VALUE, for as long as a run lasts; the "
    "board puts it back; may be given several times",
    "timeout": "end a run after so long, such as 90s or 10m; what was recorded is kept",
}
"""When invocations begin, and where."""

_FLEET = {
    "board": "names and patterns joined by commas, such as rpi4-kitchen,'rpi3-*'; a pattern means "
    "boards of lab.toml, or definitions if it matches none of them",
    "all": "every board that has an entry in lab.toml",
    "jobs": "boards at a time; 0: 8",
    "canary": "deploy to so many of them first, compare their latency with that of the release "
    "before, and go on only if all hold",
    "max-failures": "start no further board when so many have failed; 0: try all",
    "max-slowdown": "how much slower, in percent, a model may become on a canary",
}
"""Which boards, and how far to go."""

_BUILD = {
    "toolchain": _TOOLCHAIN,
    "lto": "optimize the runner at link time",
    "cflags": "more compiler flags for the runner, as one text",
}


def _clear(body: Callable[..., None]) -> Callable[..., None]:
    """Turn errors into one line and their own exit code; nobody should meet a traceback."""

    @functools.wraps(body)
    def wrapped(*arguments: Any, **options: Any) -> None:
        from edge import report
        from edge.errors import EdgeError

        # As ssh does: programs run out of the cache, and others must not write to it.
        os.umask(os.umask(0o022) | 0o022)
        try:
            try:
                body(*arguments, **options)
            finally:
                report.settle()
        except Exit:
            raise
        except EdgeError as error:
            raise Exit(f"edge: {' '.join(str(error).split())}", error.exit_code) from None
        except KeyboardInterrupt:
            raise Exit("edge: interrupted; nothing went live", 130) from None
        except BrokenPipeError:
            raise Exit(code=141) from None
        except Exception as error:
            raise Exit(f"edge: {_explained(error)}", 4) from None

    return wrapped


def _explained(error: Exception) -> Any:
    """What to tell of an error that nobody foresaw; called where it is caught."""
    from edge.errors import HostError

    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return HostError(f"this machine: {error.strerror or error}{where}")
    return HostError(f"a defect in edge; please report {_defect_log()}")


def _defect_log() -> str:
    import traceback

    from edge import layout

    path = layout.logs_dir() / "defect.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return str(path)


def _command() -> str:
    return shlex.join(["invoke" if "invoke" in sys.argv[0] else "edge", *sys.argv[1:]])


def _models(paths: list[str]) -> Any:
    from pathlib import Path

    from edge.errors import UsageError

    if not paths:
        raise UsageError("which model? name it with --model FILE.tflite")
    return [Path(path) for path in paths]


def _number(flag: str, text: str, *, whole: bool = True) -> float:
    """invoke would convert it too, but shows a traceback where that fails."""
    import math

    from edge.errors import UsageError

    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{flag} {text}: must be {kind}")
    return number


def _seconds(flag: str, text: str) -> float:
    from edge.errors import UsageError

    if (seconds := _number(flag, text, whole=False)) < 0:
        raise UsageError(f"{flag} {text}: must be 0 or more seconds")
    return seconds


def _path(text: str | None) -> Any:
    from pathlib import Path

    return None if text is None else Path(text)


def _engines(names: str | None) -> tuple[str | None, ...]:
    """Engines joined by commas; native delegates what python does, on the same interpreter."""
    from edge import bench

    return tuple(name for group in bench.groups(names) for name in group)


def _options(
    signature: str | None,
    shape: list[str],
    batch: str,
    threads: str,
    xnnpack: bool,
    delegate: str | None,
) -> Any:
    from edge import options

    made = options.Options(
        signature=signature,
        shapes=options.shapes(shape),
        batch=int(_number("--batch", batch)),
        threads=int(_number("--threads", threads)),
        xnnpack=xnnpack,
        delegate=None if delegate is None else options.delegate(delegate),
    )
    options.check(made)
    return made


def _plan(
    options: Any,
    *,
    count: str,
    duration: str,
    warmup: str,
    iterations: str = "0",
    rate: str,
    poisson: bool,
    idle: str,
    cpus: str,
    undisturbed: bool,
    set: list[str],
    timeout: str,
) -> Any:
    """How to measure, looked at before any board is reached."""
    from edge import bench, setting
    from edge.run import Plan

    setting.check(set)
    made = Plan(
        count=int(_number("--count", count)),
        duration_s=bench.seconds("--duration", duration),
        warmup=int(_number("--warmup", warmup)),
        iterations=int(_number("--iterations", iterations)),
        options=options,
        rate_per_s=_number("--rate", rate, whole=False),
        poisson=poisson,
        idle_s=bench.seconds("--idle", idle),
        cpus=cpus,
        undisturbed=undisturbed,
        settings=tuple(set),
        timeout_s=bench.seconds("--timeout", timeout),
    )
    bench.check_plan(made)
    return made


def _choice(
    engine: str | None,
    runtime: str | None,
    lib: str | None,
    options: Any,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
) -> Any:
    from edge.deploy import Choice

    return Choice(engine, runtime, _path(lib), options.delegate, toolchain, lto or None, cflags)


@task(help={"json": _JSON})
@_clear
def boards(_: Any, json: bool = False) -> None:
    """List what can be targeted; each is a file in boards/.

    To add one, write boards/NAME.toml: docs/boards.md lists the keys.
    """
    from edge import board, report

    found = board.load_all()
    if json:
        report.print_json([report.board_json(b) for b in found])
    else:
        report.print_table(report.boards_table(found))


@task(help={"board": _BOARD, **_BUILD, "json": _JSON})
@_clear
def build(
    _: Any,
    board: str,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
    json: bool = False,
) -> None:
    """Cross-compile the device binary for a board.

    invoke build --board rpi4
    invoke build --board rpi4 --lto --cflags "-Os"
    """

    from edge import artifact, report
    from edge import board as board_module
    from edge import build as build_module

    made = build_module.runner(
        board_module.load(board),
        report.progress,
        toolchain_name=toolchain,
        lto=lto or None,
        cflags=cflags,
    )
    elf = artifact.elf_facts(made.runner.path)
    versions = {key: ".".join(map(str, value)) for key, value in elf.versions.items()}
    if json:
        report.print_json(
            {
                "path": str(made.runner.path),
                "sha256": made.runner.sha256,
                "size_bytes": made.runner.size_bytes,
                "machine": elf.machine,
                "needed": list(elf.needed),
                "symbol_versions": versions,
                "compiled": made.compiled,
                "recipe": dataclasses.asdict(made.recipe),
            }
        )
    else:
        report.print_line(
            f"{made.runner.path}  {report.size(made.runner.size_bytes)}  {elf.machine}, "
            f"needs {', '.join(elf.needed)} (glibc {versions.get('GLIBC', 'any')})"
            + ("" if made.compiled else "; was up to date")
        )


@task(
    auto_shortflags=False,  # more flags than letters
    iterable=["model", "shape"],
    help={
        **_STACK,
        "model": _MODEL,
        "engine": _ENGINE,
        **_OPTIONS,
        **_BUILD,
        "smoke": "before the switch, compare each model's output with this machine's",
        **_FLEET,
        "verify": "read everything on the board back, also if nothing has changed",
        "wait": _WAIT,
    },
)
@_clear
def deploy(
    _: Any,
    model: list[str],
    shape: list[str],
    board: str | None = None,
    all: bool = False,
    host: str | None = None,
    jobs: str = "0",
    canary: str = "0",
    max_failures: str = "0",
    max_slowdown: str = "10",
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
    smoke: bool = True,
    verify: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Build, check, push what changed, verify on the board, switch live.

    invoke deploy --board rpi4 --model m.tflite
    invoke deploy --board rpi4 --host pi@10.0.0.7 --model a.tflite --model b.tflite
    invoke deploy --board rpi2 --engine python --model m.tflite
    invoke deploy --board 'rpi4-*' --canary 1 --model m.tflite
    invoke deploy --all --max-failures 3 --model m.tflite

    Without --host, the board's name is the SSH host: address, user and key come from ~/.ssh/config.
    Whatever fails, the release that was live stays live. How models are opened (--signature,
    --shape, --batch, --threads) matters here for the check alone.
    """
    from edge import board as board_module
    from edge import build as build_module
    from edge import canary as canary_module
    from edge import deploy as deploy_module
    from edge import fleet, report, session

    options = _options(signature, shape, batch, threads, xnnpack, delegate)
    choice = _choice(engine, runtime, lib, options, toolchain, lto, cflags)
    targets = board_module.select(board, all=all, host=host)
    bounds = fleet.Bounds(
        jobs=int(_number("--jobs", jobs)),
        canary=int(_number("--canary", canary)),
        max_failures=int(_number("--max-failures", max_failures)),
    )
    fleet.check(bounds, len(targets))
    tolerance = canary_module.tolerance(_number("--max-slowdown", max_slowdown, whole=False))
    wait_s = _seconds("--wait", wait)
    for target in targets:
        deploy_module.check(target, choice)
    found = deploy_module.models(_models(model), report.progress, options)
    library = build_module.host_library(report.progress)
    canaries = {target.name for target in targets[: bounds.canary]}
    compared: dict[str, Any] = {}

    def one(opened: Any, progress: Any) -> Any:
        def compare(_: Any, wanted: Any, previous: str | None) -> None:
            compared[opened.board.name] = canary_module.compare(
                *(opened, previous, wanted, library, progress),
                options=options,
                tolerance=tolerance,
            )
            canary_module.insist(opened, compared[opened.board.name])

        return deploy_module.onto(
            opened,
            found,
            progress,
            choice=choice,
            options=options,
            smoke=smoke,
            before_switch=compare if opened.board.name in canaries else None,
            wait_s=wait_s,
            verify=verify,
        )

    if len(targets) == 1:
        with session.connect(targets[0], report.progress) as opened:
            done = one(opened, report.progress)
        if json:
            report.print_json(report.deployment_json(done))
        else:
            for line in report.deployment_lines(done):
                report.print_line(line)
        return
    made = fleet.run(targets, one, report.board_progress, bounds=bounds, explain=_explained)
    if json:
        report.print_json(report.fleet_json(made, compared))
    else:
        report.print_table(report.fleet_table(made))
        for line in report.fleet_lines(made):
            report.print_line(line)
    if made.exit_code:
        raise Exit(code=made.exit_code)


@task(help={"board": _BOARD, "host": _HOST, "json": _JSON})
@_clear
def releases(_: Any, board: str, host: str | None = None, json: bool = False) -> None:
    """List the releases on a board: which is live, when and by whom it became so, what is in it.

    invoke releases --board rpi4
    """
    from edge import board as board_module
    from edge import installed, report, session

    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        found = installed.releases(opened, report.progress)
        where = opened.transport.name
    if json:
        report.print_json([report.installed_json(one) for one in found])
    elif found:
        report.print_table(report.releases_table(f"{target.name} ({where})", found))
    else:
        report.print_line(f"{target.name} ({where}): nothing is deployed")


@task(
    help={
        "board": _BOARD,
        "host": _HOST,
        "to": "id of a release, or its beginning, instead of the one that was live before",
        "wait": _WAIT,
        "json": _JSON,
    }
)
@_clear
def rollback(
    _: Any,
    board: str,
    host: str | None = None,
    to: str | None = None,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Make an earlier release live again; nothing is sent.

    invoke rollback --board rpi4
    invoke rollback --board rpi4 --to 3f2a

    It is verified on the board first, and the board's on_switch runs, as with a deploy. Twice in a
    row leads back to where it began.
    """
    from edge import board as board_module
    from edge import installed, report, session

    wait_s = _seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        before, now = installed.roll_back(opened, report.progress, to=to, wait_s=wait_s)
        where = opened.transport.name
    if json:
        report.print_json(
            {"board": target.name, "target": where, "release": now, "previous": before}
        )
    elif before == now:
        report.print_line(f"{target.name} ({where}): release {now} is live already")
    else:
        report.print_line(f"{target.name} ({where}): release {now} is live, before: {before}")


@task(
    help={
        "board": _BOARD,
        "host": _HOST,
        "keep": "how many releases stay, those that were live last",
        "wait": _WAIT,
        "json": _JSON,
    }
)
@_clear
def prune(
    _: Any,
    board: str,
    host: str | None = None,
    keep: str = "3",
    wait: str = "0",
    json: bool = False,
) -> None:
    """Drop old releases from a board.

    invoke prune --board rpi4 --keep 2

    The live one, pinned ones (`invoke pin`) and those that a running process was started from stay
    in any case.
    """
    from edge import board as board_module
    from edge import installed, report, session

    number, wait_s = int(_number("--keep", keep)), _seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        dropped, kept = installed.prune(opened, report.progress, keep=number, wait_s=wait_s)
        where = opened.transport.name
    freed = sum(stored.own_bytes for stored in dropped)
    if json:
        report.print_json(
            {
                "board": target.name,
                "target": where,
                "dropped": [stored.id for stored in dropped],
                "kept": [stored.id for stored in kept],
            }
        )
    else:
        names = ", ".join(stored.id for stored in dropped) or "nothing"
        report.print_line(
            f"{target.name} ({where}): dropped {names}"
            + (f", at least {report.size(freed)} freed" if dropped else "")
            + f"; {len(kept)} stay"
        )


@task(
    help={
        "board": _BOARD,
        "host": _HOST,
        "release": "its id, or the beginning of it: see `invoke releases`",
        "remove": "let it be dropped again",
        "wait": _WAIT,
        "json": _JSON,
    }
)
@_clear
def pin(
    _: Any,
    board: str,
    release: str,
    host: str | None = None,
    remove: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Keep a release on a board whatever `invoke prune` drops.

    invoke pin --board rpi4 --release 3f2a
    invoke pin --board rpi4 --release 3f2a --remove
    """
    from edge import board as board_module
    from edge import installed, report, session

    wait_s = _seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        found = installed.pin(opened, report.progress, release, pinned=not remove, wait_s=wait_s)
        where = opened.transport.name
    if json:
        report.print_json(
            {"board": target.name, "target": where, "release": found, "pinned": not remove}
        )
    else:
        state = "may be dropped" if remove else "is pinned"
        report.print_line(f"{target.name} ({where}): release {found} {state}")


@task(
    help={
        "board": _BOARD,
        "host": _HOST,
        "force": "also if a program that runs was started from a release",
        "wait": _WAIT,
        "json": _JSON,
    }
)
@_clear
def undeploy(
    _: Any,
    board: str,
    host: str | None = None,
    force: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Remove every release from a board, pinned ones too; its deployments.log stays.

    invoke undeploy --board rpi4
    """
    from edge import board as board_module
    from edge import installed, report, session

    wait_s = _seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        removed = installed.undeploy(opened, report.progress, force=force, wait_s=wait_s)
        where = opened.transport.name
    if json:
        report.print_json(
            {"board": target.name, "target": where, "removed": [stored.id for stored in removed]}
        )
    else:
        names = ", ".join(stored.id for stored in removed) or "nothing was deployed"
        report.print_line(f"{target.name} ({where}): removed: {names}")


@task(
    iterable=["model"],
    help={
        **{name: text for name, text in _STACK.items() if name != "host"},
        "model": _MODEL,
        "engine": "tflite or litert: see docs/engines.md; else the board's own",
        **_BUILD,
        "output": "the file to write: .tar.zst, or .tar for machines without zstd",
        "force": "replace a file that is there",
    },
)
@_clear
def bundle(
    _: Any,
    board: str,
    model: list[str],
    output: str,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
    force: bool = False,
    json: bool = False,
) -> None:
    """Write a release as one file, with an install.sh that makes it live without a network.

    invoke bundle --board rpi4 --model m.tflite --output app.tar.zst

    No board is reached: docs/bundle.md says what is in it, and what is not.
    """
    from edge import board as board_module
    from edge import bundle as bundle_module
    from edge import deploy as deploy_module
    from edge import options as options_module
    from edge import report

    given = None if delegate is None else options_module.delegate(delegate)
    choice = _choice(
        engine, runtime, lib, options_module.Options(delegate=given), toolchain, lto, cflags
    )
    path = bundle_module.output_file(_path(output), force=force)
    target = board_module.load(board)
    bundle_module.check(target, choice)
    deploy_module.check(target, choice)
    found = deploy_module.models(_models(model), report.progress)
    wanted = deploy_module.prepare(target, found, report.progress, choice=choice)
    made = bundle_module.write(wanted, target, path, report.progress, delegate=given)
    if json:
        report.print_json(report.bundle_json(made))
    else:
        for line in report.bundle_lines(made):
            report.print_line(line)


@task(
    iterable=["model", "shape", "set"],
    help={
        **_STACK,
        "model": _MODEL,
        "engine": "one of tflite, litert, python, native, or several joined by commas",
        **_OPTIONS,
        "count": "samples to take (p99 with bounds on both sides needs 368)",
        "duration": "stop after this many seconds even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        "iterations": "invocations per sample; 0: as many as the board's clock needs",
        **_SCENARIO,
        "until": "measure in fresh processes until each model's time is known within so much, 1%",
        "rounds": "processes per model at most, with --until",
        "cold": "open each model in so many fresh processes, and show each step of the cold start",
        "strict": "end with exit code 7 if a run is not trusted",
        "profile": "then, in a process of its own, say which operators the time goes to",
        "wait": _WAIT,
    },
)
@_clear
def bench(
    _: Any,
    board: str,
    model: list[str],
    shape: list[str],
    set: list[str],
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    count: str = "500",
    duration: str = "0",
    warmup: str = "20",
    iterations: str = "0",
    rate: str = "0",
    poisson: bool = False,
    idle: str = "0",
    cpus: str = "",
    undisturbed: bool = False,
    timeout: str = "3600",
    until: str | None = None,
    rounds: str = "50",
    cold: str = "0",
    profile: bool = False,
    strict: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Measure latency on a board; what is live there stays live.

    invoke bench --board rpi4 --model m.tflite
    invoke bench --board rpi4 --model m.tflite --count 4000 --threads 4
    invoke bench --board rpi4 --model m.tflite --engine native,python
    invoke bench --board rpi4 --model m.tflite --rate 20 --poisson
    invoke bench --board orangepi-5 --model m.tflite --cpus big --set governor=performance
    invoke bench --board rpi4 --model m.tflite --until 1%
    invoke bench --board rpi4 --model m.tflite --cold 20
    invoke bench --board rpi4 --model m.tflite --profile

    Every sample is kept; docs/measuring.md says how to read the result. Engines native and python
    together run by turns on one interpreter: the table then splits a call into its parts.
    """
    from edge import bench as bench_module
    from edge import board as board_module
    from edge import build as build_module
    from edge import deploy as deploy_module
    from edge import profile as profile_module
    from edge import report, session
    from edge import run as run_module
    from edge.errors import UsageError

    options = _options(signature, shape, batch, threads, xnnpack, delegate)
    plan = _plan(
        options,
        count=count,
        duration=duration,
        warmup=warmup,
        iterations=iterations,
        rate=rate,
        poisson=poisson,
        idle=idle,
        cpus=cpus,
        undisturbed=undisturbed,
        set=set,
        timeout=timeout,
    )
    groups = bench_module.groups(engine)
    if (plan.rate_per_s or plan.idle_s) and any(len(each) > 1 for each in groups):
        raise UsageError("--rate and --idle: measure native and python one by one, not together")
    in_rounds = _rounds_wanted(until, rounds, cold)
    if in_rounds and profile:
        raise UsageError("--profile goes with a single measurement, not with --until or --cold")
    wait_s = _seconds("--wait", wait)
    target = board_module.load(board, host=host)
    for group in groups:
        deploy_module.check(target, _choice(group[0], runtime, lib, options))
    found = deploy_module.models(_models(model), report.progress, options)
    library = build_module.host_library(report.progress)
    if in_rounds:
        choices = [_choice(name, runtime, lib, options) for name in _engines(engine)]
        with session.connect(target, report.progress) as opened:
            in_fresh = _in_rounds(opened, found, choices, plan, library, in_rounds, wait_s, json)
        if strict:
            run_module.insist(in_fresh)
        return
    runs: list[Any] = []
    splits: list[Any] = []
    profiles: list[Any] = []
    with session.connect(target, report.progress) as opened:
        for group in groups:
            choice = _choice(group[0], runtime, lib, options)
            wanted = deploy_module.prepared(opened, found, report.progress, choice)
            if profile:
                profile_module.check(wanted.engine)
            with deploy_module.staged(opened, wanted, report.progress, wait_s=wait_s):
                for item in wanted.models:
                    arguments = (opened, wanted, item, plan, library, report.progress)
                    if len(group) == 1:
                        runs.append(
                            bench_module.measure(*arguments, command=_command(), live=report.live)
                        )
                    else:
                        both, parts = bench_module.split(*arguments, command=_command())
                        runs += both
                        splits.append(parts)
                    if profile:
                        given = (opened, wanted, item, runs[-1], report.progress)
                        profiles.append(profile_module.take(*given))
    if json:
        found_runs = [report.run_json(run) for run in runs]
        more = {
            "splits": [report.split_json(each) for each in splits],
            "profiles": [report.profile_json(each) for each in profiles],
        }
        more = {key: values for key, values in more.items() if values}
        report.print_json({"runs": found_runs, **more} if more else found_runs)
        if strict:
            run_module.insist(runs)
        return
    emulated = any(run.emulated for run in runs)
    report.print_table(report.runs_table(runs, report.title(target.name, emulated)))
    for parts in splits:
        report.print_table(report.split_table(parts, emulated=emulated))
        for line in report.split_lines(parts):
            report.print_line(f"  {line}")
    for run in runs:
        report.print_line(f"{run.model}, engine {run.engine}, {run.runtime}:")
        for line in report.run_lines(run):
            report.print_line(f"  {line}")
    for each in profiles:
        report.print_table(report.profile_table(each))
        for line in report.profile_lines(each):
            report.print_line(f"  {line}")
    if strict:
        run_module.insist(runs)


def _rounds_wanted(until: str | None, most: str, cold: str) -> Any:
    """A precision.Goal for --until, a number for --cold; None: neither is given."""
    from edge import group, precision
    from edge.errors import UsageError

    opens = int(_number("--cold", cold))
    if not 0 <= opens <= group.MOST_ROUNDS:
        raise UsageError(f"--cold {cold}: must be 0 to {group.MOST_ROUNDS} processes")
    if until is None:
        return opens or None
    if opens:
        raise UsageError("--until and --cold measure two things: give one of them")
    return precision.goal(until, int(_number("--rounds", most)))


def _in_rounds(
    opened: Any,
    found: Any,
    choices: list[Any],
    plan: Any,
    library: Any,
    wanted: Any,
    wait_s: float,
    json: bool,
) -> list[Any]:
    """bench --until and --cold: each model with each engine, in processes of its own; the runs."""
    from edge import deploy as deploy_module
    from edge import report, rounds

    cold = isinstance(wanted, int)
    one: Callable[..., Any] = rounds.cold if cold else rounds.until
    results: list[Any] = []
    for choice in choices:
        release = deploy_module.prepared(opened, found, report.progress, choice)
        with deploy_module.staged(opened, release, report.progress, wait_s=wait_s):
            for item in release.models:
                results.append(
                    one(
                        opened,
                        rounds.Contender(release, item, plan),
                        library,
                        report.progress,
                        wanted,
                        command=_command(),
                        begin=functools.partial(
                            report.round_begins,
                            item.path.name,
                            most=wanted if cold else wanted.most,
                        ),
                    )
                )
    runs = [run for each in results for run in each.runs]
    title = report.title(opened.board.name, runs[0].emulated)
    if json:
        report.print_json([report.in_rounds_json(each) for each in results])
        return runs
    report.print_table((report.cold_table if cold else report.until_table)(results, title))
    for each in results:
        for line in (report.cold_lines if cold else report.until_lines)(each):
            report.print_line(line)
    return runs


@task(
    auto_shortflags=False,  # more flags than letters
    help={
        "board": _BOARD,
        "host": _HOST,
        "a": "one arm's flags as one text, such as '--threads 1': docs/comparing.md lists them",
        "b": "the other arm's flags",
        "common": "flags for both arms, as one text; an arm's own come after them",
        "model": "a .tflite file, for each arm that names none",
        "rounds": "of each a process per arm, in random order",
        "count": "samples per process",
        "duration": "seconds per process, even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        "seed": "of the random order",
        "strict": "exit code 7 if a round's run is not to be trusted",
        "wait": _WAIT,
        "json": _JSON,
    },
)
@_clear
def compare(
    _: Any,
    board: str,
    a: str,
    b: str,
    model: str | None = None,
    common: str = "",
    host: str | None = None,
    rounds: str = "20",
    count: str = "500",
    duration: str = "1",
    warmup: str = "20",
    seed: str = "1",
    strict: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Is B faster than A, and by how much? Both run by turns, in fresh processes.

    invoke compare --board rpi4 --model m.tflite -a "--threads 1" -b "--threads 4"
    invoke compare --board rpi4 -a "--model old.tflite" -b "--model new.tflite" --rounds 40
    invoke compare --board rpi4 --model m.tflite -a "" -b "--no-xnnpack" --common "--batch 4"

    docs/comparing.md says what is claimed. What is live on the board stays live.
    """
    from edge import arm, comparison, deploy, group, report, session
    from edge import board as board_module
    from edge import build as build_module
    from edge import rounds as rounds_module
    from edge.errors import UntrustedError
    from edge.run import Plan

    plan = Plan(
        count=int(_number("--count", count)),
        duration_s=_seconds("--duration", duration),
        warmup=int(_number("--warmup", warmup)),
    )
    arms = [
        arm.parse(flag, text, plan, model=model, common=common)
        for flag, text in (("-a", a), ("-b", b))
    ]
    wanted_rounds = _rounds(rounds, comparison.LEAST_ROUNDS)
    order, wait_s = int(_number("--seed", seed)), _seconds("--wait", wait)
    target = board_module.load(board, host=host)
    for each in arms:
        deploy.check(target, each.choice)
    found = [deploy.models([e.model], report.progress, e.plan.options) for e in arms]
    library = build_module.host_library(report.progress)
    with session.connect(target, report.progress) as opened:
        releases = [
            deploy.prepared(opened, models, report.progress, each.choice)
            for each, models in zip(arms, found, strict=True)
        ]
        with deploy.staged(opened, releases, report.progress, wait_s=wait_s):
            ours, theirs = rounds_module.measure(
                opened,
                group.create("compare", _command(), tuple(each.label for each in arms)),
                [
                    rounds_module.Contender(release, release.models[0], each.plan)
                    for release, each in zip(releases, arms, strict=True)
                ],
                library,
                report.progress,
                count=wanted_rounds,
                seed=order,
                begin=functools.partial(report.round_begins, "comparing", most=wanted_rounds),
            )
    made = comparison.of_runs(ours, theirs, (arms[0].label, arms[1].label))
    if json:
        report.print_json(report.comparison_json(made, ours, theirs))
    else:
        title = report.title(target.name, made.emulated)
        report.print_table(report.comparison_table(made, ours, theirs, title))
        for line in report.comparison_lines(made, ours):
            report.print_line(line)
    if strict and (made.remarks or made.emulated):
        why = "; ".join(made.remarks) or "emulated: no speed of a real board"
        raise UntrustedError(f"not trusted: {why}")


def _rounds(text: str, least: int) -> int:
    from edge import group
    from edge.errors import UsageError

    if not least <= (number := int(_number("--rounds", text))) <= group.MOST_ROUNDS:
        raise UsageError(f"--rounds {text}: must be {least} to {group.MOST_ROUNDS}")
    return number


@task(
    auto_shortflags=False,  # more flags than letters
    iterable=["model", "shape", "set"],
    help={
        **_STACK,
        "baseline": "a .toml file of earlier rounds; commit it",
        "update": "write what is measured into the file instead of comparing",
        "tolerance": "with --update: how much slower a model may become, kept in the file; else "
        "what the file has, or 5%",
        "model": _MODEL,
        "engine": _ENGINE,
        **_OPTIONS,
        "rounds": "processes per model",
        "count": "samples per process",
        "duration": "seconds per process, even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        **_SCENARIO,
        "wait": _WAIT,
    },
)
@_clear
def check(
    _: Any,
    board: str,
    baseline: str,
    model: list[str],
    shape: list[str],
    set: list[str],
    host: str | None = None,
    update: bool = False,
    tolerance: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    rounds: str = "10",
    count: str = "500",
    duration: str = "1",
    warmup: str = "20",
    rate: str = "0",
    poisson: bool = False,
    idle: str = "0",
    cpus: str = "",
    undisturbed: bool = False,
    timeout: str = "3600",
    wait: str = "0",
    json: bool = False,
) -> None:
    """Has a model become slower than a baseline permits? Exit code 6 if so.

    invoke check --board rpi4 --model m.tflite --baseline perf.toml --update --tolerance 5%
    invoke check --board rpi4 --model m.tflite --baseline perf.toml

    It fails only if that can be claimed with 99 % confidence: docs/comparing.md.
    """
    from edge import baseline as baseline_module
    from edge import board as board_module
    from edge import build as build_module
    from edge import comparison, deploy, group, precision, report, session
    from edge import rounds as rounds_module
    from edge.errors import UsageError

    options = _options(signature, shape, batch, threads, xnnpack, delegate)
    plan = _plan(
        options,
        count=count,
        duration=duration,
        warmup=warmup,
        rate=rate,
        poisson=poisson,
        idle=idle,
        cpus=cpus,
        undisturbed=undisturbed,
        set=set,
        timeout=timeout,
    )
    wanted_rounds = _rounds(rounds, baseline_module.LEAST_ROUNDS)
    if tolerance is not None and not update:
        raise UsageError("--tolerance goes into the baseline: give it together with --update")
    allowed = None if tolerance is None else precision.percentage("--tolerance", tolerance)
    wait_s, path = _seconds("--wait", wait), _path(baseline)
    entries = baseline_module.load(path, create=update)
    choice = _choice(engine, runtime, lib, options)
    target = board_module.load(board, host=host)
    deploy.check(target, choice)
    found = deploy.models(_models(model), report.progress, options)
    keys = [(target.name, item.path.name, baseline_module.flags(plan)) for item in found]
    before = [] if update else [baseline_module.find(entries, path, key) for key in keys]
    library = build_module.host_library(report.progress)
    measured: list[Any] = []
    with session.connect(target, report.progress) as opened:
        wanted = deploy.prepared(opened, found, report.progress, choice)
        for then, item in zip(before, found, strict=not update):
            baseline_module.insist_same(
                then,
                model_sha256=item.sha256,
                engine=wanted.engine,
                runtime=wanted.runtime,
                emulated=opened.board.emulated or opened.facts.emulated,
            )
        with deploy.staged(opened, wanted, report.progress, wait_s=wait_s):
            for item in found:
                (runs,) = rounds_module.measure(
                    opened,
                    group.create("check", _command()),
                    [rounds_module.Contender(wanted, wanted.at(item.place), plan)],
                    library,
                    report.progress,
                    count=wanted_rounds,
                    begin=functools.partial(
                        report.round_begins, item.path.name, most=wanted_rounds
                    ),
                )
                measured.append(runs)
    if update:
        entries = baseline_module.updated(
            entries,
            [
                baseline_module.entry(
                    runs, baseline_module.tolerance(entries, key, allowed), key[2]
                )
                for runs, key in zip(measured, keys, strict=True)
            ],
        )
        baseline_module.save(path, entries)
        if json:
            report.print_json({"baseline": str(path), "updated": [list(key) for key in keys]})
        else:
            for runs in measured:
                for line in report.updated_lines(str(path), runs):
                    report.print_line(line)
        return
    checks = [
        baseline_module.check(
            then,
            baseline_module.entry(runs, then.tolerance, then.flags),
            comparison.troubles(runs, then.model),
        )
        for then, runs in zip(before, measured, strict=True)
    ]
    if json:
        report.print_json([report.check_json(each) for each in checks])
    else:
        title = report.title(target.name, checks[0].now.emulated)
        report.print_table(report.checks_table(checks, title))
        for each, runs in zip(checks, measured, strict=True):
            for line in report.check_lines(each, runs):
                report.print_line(line)
    baseline_module.insist(checks)


@task(
    iterable=["shape"],
    help={
        **_STACK,
        "model": "a .tflite file",
        "input": "arrays by input name (.npz), or one array for a model with one input (.npy)",
        "output": "where the outputs go, as .npz",
        "each": "the first axis of every input counts samples: run each, join the outputs",
        "dequantize": "give quantized inputs, and get quantized outputs, as real numbers",
        "engine": _ENGINE,
        **_OPTIONS,
    },
)
@_clear
def infer(
    _: Any,
    board: str,
    model: str,
    input: str,
    output: str,
    shape: list[str],
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    each: bool = False,
    dequantize: bool = False,
    json: bool = False,
) -> None:
    """Run a model on a board over your own arrays, and fetch what it made of them.

    invoke infer --board rpi4 --model m.tflite --input x.npz --output y.npz
    invoke infer --board rpi4 --model int8.tflite --input image.npy --output y.npz --dequantize

    What is live on the board stays live. Save arrays with numpy's np.savez.
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import reference, report, runner, session

    options = _options(signature, shape, batch, threads, xnnpack, delegate)
    choice = _choice(engine, runtime, lib, options)
    target = board_module.load(board, host=host)
    deploy_module.check(target, choice)
    arrays, place = runner.inputs_file(_path(input)), runner.outputs_file(_path(output))
    found = deploy_module.models(_models([model]), report.progress, options)
    with session.connect(target, report.progress) as opened:
        wanted = deploy_module.prepared(opened, found, report.progress, choice)
        with deploy_module.staged(opened, wanted, report.progress):
            report.progress(f"running {found[0].path.name} on the board")
            outputs, told = runner.infer(
                opened,
                wanted,
                wanted.models[0],
                arrays,
                options=options,
                each=each,
                dequantize=dequantize,
            )
    reference.save(place, outputs)
    if json:
        report.print_json(told)
    else:
        for line in report.inference_lines(outputs, told, output):
            report.print_line(line)


@task(
    positional=["model"],
    iterable=["shape"],
    help={
        **_STACK,
        "model": "a .tflite file",
        "engine": "one of tflite, litert, python, or several joined by commas; else the board's",
        **_OPTIONS,
    },
)
@_clear
def inspect(
    _: Any,
    model: str,
    shape: list[str],
    board: str | None = None,
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    json: bool = False,
) -> None:
    """Say what a model consists of, and what a board's runtime makes of it.

    invoke inspect m.tflite
    invoke inspect m.tflite --board rpi4
    invoke inspect m.tflite --board localhost --engine litert,python

    With a board: how many nodes the runtime's delegates take, which stay behind, and why. See
    docs/inspecting.md.
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import inspection, report, runner, session
    from edge import model as model_module
    from edge.errors import UsageError

    options = _options(signature, shape, batch, threads, xnnpack, delegate)
    if board is None and (host or engine or runtime or lib):
        raise UsageError(
            "--host, --engine, --runtime and --lib belong to a board: name it by --board"
        )
    target = None if board is None else board_module.load(board, host=host)
    engines = _engines(engine)
    if target is not None:
        for name in engines:
            deploy_module.check(target, _choice(name, runtime, lib, options))
    found = deploy_module.models(_models([model]), report.progress, options)
    read = model_module.read(found[0].path)
    contents = inspection.of_model(read)
    told: list[tuple[str, Any]] = []
    if target is not None:
        with session.connect(target, report.progress) as opened:
            for name in engines:
                choice = _choice(name, runtime, lib, options)
                wanted = deploy_module.prepared(opened, found, report.progress, choice)
                with deploy_module.staged(opened, wanted, report.progress):
                    report.progress(f"opening {found[0].path.name} with engine {wanted.engine}")
                    said = runner.inspect(opened, wanted, wanted.models[0], options)
                told.append((wanted.runtime, inspection.delegation(read, said)))
    if json:
        report.print_json(report.inspection_json(contents, told))
        return
    for line in report.contents_lines(contents):
        report.print_line(line)
    report.print_table(report.ports_table(contents))
    report.print_table(report.kinds_table(contents))
    if told:
        report.print_table(report.delegation_table(told))
        for name, delegation in told:
            for line in report.delegation_lines(name, delegation):
                report.print_line(line)


@task(
    help={
        "host": "SSH destination, such as pi@10.0.0.7",
        "name": "of the new board: boards/NAME.toml is written",
        "force": "overwrite a board of that name",
        "json": _JSON,
    }
)
@_clear
def probe(_: Any, host: str, name: str, force: bool = False, json: bool = False) -> None:
    """Read the facts of a real board and write a board file for it.

    invoke probe --host pi@10.0.0.7 --name mypi

    What the board says of its system, cores, memory, clocks, temperatures and Pythons stands in the
    file's comments; afterwards `--board mypi --host pi@10.0.0.7` works everywhere.
    """
    from edge import deploy as deploy_module
    from edge import probe as probe_module
    from edge import report, session

    probe_module.checked_name(name)
    seen = session.visit(host, report.progress)
    text = probe_module.board_file(
        seen.facts,
        seen.condition,
        name,
        seen=seen.described,
        runtimes=deploy_module.candidates(seen.facts, seen.facts.machine, report.progress),
    )
    path = probe_module.write(name, text, force=force)
    if json:
        report.print_json({"name": name, "path": str(path), "text": text})
        return
    report.print_line(text.rstrip())
    report.print_line(f"written to {path}; `invoke doctor --board {name} --host {host}` goes on")
    report.print_line("to leave --host away from now on, put into lab.toml:")
    report.print_line(probe_module.lab_entry(name, host).rstrip())


@task(
    iterable=["model"],
    help={**_STACK, "model": "find room for these models too", "engine": _ENGINE},
)
@_clear
def doctor(
    _: Any,
    board: str,
    model: list[str],
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    json: bool = False,
) -> None:
    """Say what would stop a deploy to a board or spoil a measurement, and what mends it.

    invoke doctor --board rpi4 --host pi@10.0.0.7

    Each remedy is the line to type. Nothing is changed on the board.
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import facts, preflight, report, session

    options = _options(None, [], "0", "1", True, delegate)
    choice = _choice(engine, runtime, lib, options)
    target = board_module.load(board, host=host)
    deploy_module.check(target, choice)
    found = deploy_module.models(_models(model), report.progress) if model else ()
    with session.connect(target, report.progress) as opened:
        made = deploy_module.stack(
            target,
            report.progress,
            choice=choice,
            interpreter=deploy_module.python_for(opened, choice),
            facts=opened.facts,
        )
        size = sum(file.size_bytes for file in (*made.files, *found))
        findings = deploy_module.look(
            opened, made.files, found, size, made.runtime, report.progress
        )
        condition = facts.read_condition(opened.transport)
        findings = tuple(dict.fromkeys(findings + preflight.spoilers(opened.facts, condition)))
        where = opened.transport.name
    if json:
        report.print_json(
            {
                "board": target.name,
                "target": where,
                "runtime": made.runtime,
                "engine": made.engine,
                "findings": [vars(finding) for finding in findings],
            }
        )
    else:
        title = f"{target.name} ({where}), engine {made.engine}, {made.runtime}"
        report.print_table(report.findings_table(title, findings))
    stops = [finding for finding in findings if finding.level == "stop"]
    if stops:
        raise Exit(code=3)


@task(
    help={
        "board": _BOARD,
        "serial": "a device such as /dev/ttyUSB0, or socket://HOST:PORT, instead of lab.toml's",
        "baud": "bits per second",
        "log": "append everything that is received to this file",
    }
)
@_clear
def console(
    _: Any, board: str, serial: str | None = None, baud: str = "115200", log: str | None = None
) -> None:
    """Sit at a board's serial line, as in a terminal; ctrl-] leaves.

    invoke console --board rpi4 --serial /dev/ttyUSB0
    invoke console --board qemu-virt
    echo uname -a | invoke console --board rpi4

    Without --serial the port is the board's `serial` in lab.toml, or the line of the emulated
    machine that runs. docs/serial.md says how to find the port and who may open it.
    """
    from edge import board as board_module
    from edge import terminal
    from edge.console import Console

    port = terminal.port_of(board_module.load(board), serial)
    with Console.open(port, baud=int(_number("--baud", baud)), log=_path(log)) as opened:
        terminal.interact(opened, f"{board} on {port}")


@task(
    help={
        "board": _BOARD,
        "serial": "its serial line, instead of lab.toml's: see `invoke console`",
        "baud": "bits per second",
        "user": "who logs in, on the line and then over SSH; else whom `ssh` would log in",
        "password-file": "its first line is the password; else $EDGE_PASSWORD, or you are asked",
        "key": "your public key, FILE.pub, instead of the first one that `ssh` would use",
        "address": "HOST or HOST:PORT of its SSH server, instead of what the board says",
        "force": "replace another host or serial in lab.toml",
        "json": _JSON,
    }
)
@_clear
def bootstrap(
    _: Any,
    board: str,
    serial: str | None = None,
    baud: str = "115200",
    user: str | None = None,
    password_file: str | None = None,
    key: str | None = None,
    address: str | None = None,
    force: bool = False,
    json: bool = False,
) -> None:
    """From a freshly flashed board with a serial login to one that deploys reach.

    invoke bootstrap --board rpi4 --serial /dev/ttyUSB0 --user pi

    Over the serial line: reads the board's addresses and host keys, and puts your public key on it.
    Here: records the host keys in your known_hosts and the address in lab.toml, when a server with
    one of these keys has answered there. Run twice, it changes nothing.
    """
    from edge import board as board_module
    from edge import bootstrap as bootstrap_module
    from edge import report, terminal
    from edge.console import Console

    target = board_module.load(board)
    login = bootstrap_module.login_name(target, user)
    port = terminal.port_of(target, serial)
    number = int(_number("--baud", baud))
    plan = bootstrap_module.plan(login, address=address, key=_path(key), serial=serial, force=force)
    secret = bootstrap_module.password(login, port, _path(password_file))
    with Console.open(port, baud=number) as opened:
        done = bootstrap_module.bootstrap(target, opened, plan, secret, report.progress)
    if json:
        report.print_json(report.bootstrap_json(done))
    else:
        for line in report.bootstrap_lines(done):
            report.print_line(line)


@task(
    help={
        "board": "an emulated board: see `invoke boards`",
        "name": "of the machine, for several of one board; the board's own by default",
        "fresh": "with a new disk: what was deployed to it is gone",
        "blank": "a new disk as on a freshly flashed board: no key on it, for `invoke bootstrap`",
        "port": "for SSH, on this machine's loopback interface; 0: one that is free",
        "json": _JSON,
    }
)
@_clear
def up(
    _: Any,
    board: str,
    name: str | None = None,
    fresh: bool = False,
    blank: bool = False,
    port: str = "0",
    json: bool = False,
) -> None:
    """Start an emulated board, which then runs until `invoke qemu.down`.

    invoke qemu.up --board qemu-virt
    invoke qemu.up --board qemu-virt --name second

    --board NAME then reaches it from every command; a second one of the same board is --host NAME.
    The first start boots and saves a state; the next ones resume from it.
    """
    from edge import board as board_module
    from edge import machine, report, session
    from edge.errors import UsageError

    number = int(_number("--port", port))
    if not 0 <= number < 65536:
        raise UsageError(f"--port {port}: must be from 1 to 65535, or 0")
    target = board_module.load(board)
    access = machine.running(name or target.name)
    if access is None:
        started = session.start(
            target, report.progress, name=name, fresh=fresh, blank=blank, ssh_port=number
        )
        started.detach()
        access = started.access
    elif fresh or blank or number not in (0, access.ssh_port):
        raise UsageError(f"machine {access.name} is up already: `invoke qemu.down` comes first")
    else:
        report.progress(f"{access.name} is up already")
    if json:
        report.print_json(report.machine_json(access))
    else:
        for line in report.machine_lines(access, target.name):
            report.print_line(line)


@task(
    help={
        "board": "an emulated board",
        "name": "of the machine, if it has one of its own",
        "all": "every machine that `qemu.up` has started",
        "json": _JSON,
    }
)
@_clear
def down(
    _: Any,
    board: str | None = None,
    name: str | None = None,
    all: bool = False,
    json: bool = False,
) -> None:
    """Shut an emulated board down in order; its power is cut if that takes too long.

    invoke qemu.down --board qemu-virt
    invoke qemu.down --all

    Its disk stays: the next `invoke qemu.up` finds on it what was deployed.
    """
    from edge import board as board_module
    from edge import machine, report
    from edge.errors import UsageError
    from edge.machine import Machine

    if all == bool(name or board):
        raise UsageError("which machine? name it by --board or --name, or say --all")
    if all:
        names = [found for found, access in machine.all_running() if access and access.kept]
    else:
        names = [name or board_module.load(str(board)).name]
    stopped = []
    for each in names:
        access = machine.running(each)
        if access is None:
            report.progress(f"machine {each} is not running")
        elif not access.kept:
            raise UsageError(
                f"machine {each} belongs to a command that runs, process {access.owner_pid}, and "
                "ends with it: interrupt that one"
            )
        else:
            report.progress(f"shutting {each} down")
            Machine.attach(each, report.progress).stop()
            stopped.append(each)
    if json:
        report.print_json({"stopped": stopped})
    else:
        report.print_line(f"down: {', '.join(stopped)}" if stopped else "nothing to shut down")


@task(help={"json": _JSON})
@_clear
def status(_: Any, json: bool = False) -> None:
    """List the emulated boards that run: since when, and how to reach them."""
    from edge import machine, report

    found = machine.all_running()
    if json:
        report.print_json(
            [{"name": name, **(report.machine_json(access) if access else {})}
             for name, access in found]
        )  # fmt: skip
    elif found:
        report.print_table(report.machines_table(found))
    else:
        report.print_line("no emulated board runs; `invoke qemu.up --board qemu-virt` starts one")


@task(name="image", help={"board": "an emulated board", "json": _JSON})
@_clear
def build_image(_: Any, board: str, json: bool = False) -> None:
    """Build what an emulated board boots from Debian packages, if it is not built yet.

    invoke qemu.image --board qemu-virt

    `qemu.up` does it too; this way a CI job can fill its cache first.
    """
    from edge import board as board_module
    from edge import image, report
    from edge.errors import UsageError

    target = board_module.load(board)
    if target.image is None:
        raise UsageError(f"board {board} is not emulated: `invoke boards` shows which are")
    described = image.load(target.image)
    made = image.build(described, report.progress)
    if json:
        report.print_json(report.image_json(made))
    else:
        report.print_line(report.image_line(made))


@task(
    name="list",
    help={
        "last": "so many, the newest; 0: all",
        "board": "a name or a pattern, as for --model and --engine",
        "model": "of the file, such as 'cnn-*'",
        "engine": "tflite, litert, python or native",
        "kind": "run, or what a group of runs is for, such as compare",
        "trusted": "leave out what is not trusted",
        "since": "a date or a time, or 7d or 12h for so long ago",
        "json": _JSON,
    },
)
@_clear
def runs_list(
    _: Any,
    last: str = "20",
    board: str | None = None,
    model: str | None = None,
    engine: str | None = None,
    kind: str | None = None,
    trusted: bool = False,
    since: str | None = None,
    json: bool = False,
) -> None:
    """List the runs that are kept on this machine, the newest last.

    invoke runs
    invoke runs --board 'rpi4*' --since 7d --trusted

    Runs that belong together are one row. A folder that can't be read is listed as damaged,
    whatever is asked for. docs/runs.md says what is in them.
    """
    from edge import archive, report

    found = archive.select(
        archive.entries(),
        board=board,
        model=model,
        engine=engine,
        kind=kind,
        trusted=trusted,
        since=since,
        last=max(0, int(_number("--last", last))),
    )
    if json:
        report.print_json([report.entry_json(entry) for entry in found])
    elif found:
        report.print_table(report.archive_table(found))
        for line in report.archive_lines(found):
            report.print_line(line)
    else:
        report.print_line("no such run; `invoke bench` makes one")


def _print_runs(entry: Any, runs: Any) -> None:
    from edge import report

    emulated = any(run.emulated for run in runs)
    report.print_table(report.runs_table(runs, report.title(entry.id, emulated)))
    for run in runs:
        report.print_line(f"{run.id}, {run.model}, engine {run.engine}, {run.runtime}:")
        for line in report.run_lines(run):
            report.print_line(f"  {line}")


@task(name="show", positional=["run"], help={"run": _RUN, "json": _JSON})
@_clear
def runs_show(_: Any, run: str, json: bool = False) -> None:
    """Print a run, or the runs of a group, as when it was measured.

    invoke runs.show last
    invoke runs.show 20261122-0315
    """
    from edge import archive, report
    from edge import build as build_module

    entry = archive.find(run)
    runs = archive.load(entry, build_module.host_library(report.progress))
    if json:
        told = report.entry_json(entry)
        report.print_json({**told, "runs": [report.run_json(each) for each in runs]})
        return
    _print_runs(entry, runs)
    if entry.grouped:
        for line in report.group_lines(archive.arms(runs), archive.compared(entry, runs)):
            report.print_line(line)
    for line in report.archive_lines([each for each in entry.runs if each.damage]):
        report.print_line(line)


@task(
    name="compare",
    positional=["first", "second"],
    help={"first": _RUN, "second": "another one", "json": _JSON},
)
@_clear
def runs_compare(_: Any, first: str, second: str, json: bool = False) -> None:
    """Print two runs, or two groups of runs, side by side.

    invoke runs.compare 20261122-0315 last

    They did not take turns, so no difference is claimed. What is emulated is not compared with what
    is not.
    """
    from edge import archive, report
    from edge import build as build_module

    entries = [archive.find(each) for each in (first, second)]
    archive.comparable(*entries)
    library = build_module.host_library(report.progress)
    loaded = [archive.load(entry, library) for entry in entries]
    if json:
        report.print_json([report.run_json(run) for runs in loaded for run in runs])
        return
    alone = [runs[0] for entry, runs in zip(entries, loaded, strict=True) if not entry.grouped]
    if alone:
        report.print_table(report.side_by_side(alone))
    for entry, runs in zip(entries, loaded, strict=True):
        if entry.grouped:
            for line in report.group_lines(archive.arms(runs), archive.compared(entry, runs)):
                report.print_line(f"{entry.id}: {line}")
    for run in alone:
        for line in report.verdict_lines(run):
            report.print_line(f"{run.id}: {line}")


@task(
    name="export",
    positional=["run"],
    help={"run": _RUN, "output": "a .csv or a .json file", "json": _JSON},
)
@_clear
def runs_export(_: Any, run: str, output: str, json: bool = False) -> None:
    """Write every sample of a run, as it was recorded, for other programs.

    invoke runs.export last --output samples.csv

    A .csv has the samples; the board's readings are in samples.env.csv beside it. A .json has both
    and the run itself.
    """
    from edge import archive, report
    from edge import build as build_module

    entry = archive.find(run)
    path = archive.output_file(entry, _path(output))
    (found,) = archive.load(entry, build_module.host_library(report.progress))
    files = archive.export(found, report.run_json(found), path)
    if json:
        report.print_json({"id": found.id, "files": [str(file) for file in files]})
    else:
        report.print_line(f"{len(found.samples)} samples written to {', '.join(map(str, files))}")


runs = Collection("runs", runs_show, runs_compare, runs_export)
runs.add_task(runs_list, default=True)
qemu = Collection("qemu", up, down, status, build_image)
namespace = Collection(
    boards,
    build,
    deploy,
    releases,
    rollback,
    prune,
    pin,
    undeploy,
    bundle,
    bench,
    runs,
    compare,
    check,
    infer,
    inspect,
    probe,
    doctor,
    console,
    bootstrap,
    qemu,
)


def main() -> None:
    """Console script ``edge``: the same tasks, outside a checkout too."""
    from edge import __version__

    Program(name="edge", binary="edge", namespace=namespace, version=__version__).run()
