"""The commands: parse, call, print.

Everything heavier is imported by the task that needs it, so that listing the tasks stays quick.
"""

from __future__ import annotations

import functools
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
_LIB = "a libtensorflowlite_c.so of your own instead of a runtime"
_TOOLCHAIN = "a toolchain of toolchains/ instead of the board's"
_TARGET = {
    "board": _BOARD,
    "host": _HOST,
    "model": _MODEL,
    "runtime": _RUNTIME,
    "lib": _LIB,
    "json": _JSON,
}
"""What deploying and measuring share."""


def _clear(body: Callable[..., None]) -> Callable[..., None]:
    """Turn errors into one line and their own exit code; nobody should meet a traceback."""

    @functools.wraps(body)
    def wrapped(*arguments: Any, **options: Any) -> None:
        from edge import report
        from edge.errors import EdgeError

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
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise Exit(f"edge: this machine: {error.strerror or error}{where}", 4) from None
        except Exception:
            raise Exit(f"edge: a defect in edge; please report {_defect_log()}", 4) from None

    return wrapped


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


def _path(text: str | None) -> Any:
    from pathlib import Path

    return None if text is None else Path(text)


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


@task(help={"board": _BOARD, "toolchain": _TOOLCHAIN, "json": _JSON})
@_clear
def build(_: Any, board: str, toolchain: str | None = None, json: bool = False) -> None:
    """Cross-compile the device binary for a board.

    invoke build --board rpi4
    """
    from edge import artifact, report
    from edge import board as board_module
    from edge import build as build_module

    made = build_module.runner(board_module.load(board), report.progress, toolchain_name=toolchain)
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
            }
        )
    else:
        report.print_line(
            f"{made.runner.path}  {report.size(made.runner.size_bytes)}  {elf.machine}, "
            f"needs {', '.join(elf.needed)} (glibc {versions.get('GLIBC', 'any')})"
            + ("" if made.compiled else "; was up to date")
        )


@task(
    iterable=["model"],
    help={
        **_TARGET,
        "toolchain": _TOOLCHAIN,
        "smoke": "before the switch, compare each model's output with this machine's",
    },
)
@_clear
def deploy(
    _: Any,
    board: str,
    model: list[str],
    host: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    toolchain: str | None = None,
    smoke: bool = True,
    json: bool = False,
) -> None:
    """Build, check, push what changed, verify on the board, switch live.

    invoke deploy --board rpi4 --model m.tflite
    invoke deploy --board rpi4 --host pi@10.0.0.7 --model a.tflite --model b.tflite

    Without --host, the board's name is the SSH host: address, user and key come from ~/.ssh/config.
    Whatever fails, the release that was live stays live.
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import report, session

    target = board_module.load(board, host=host)
    wanted = deploy_module.prepare(
        target,
        _models(model),
        report.progress,
        runtime_name=runtime,
        library=_path(lib),
        toolchain_name=toolchain,
    )
    with session.connect(target, report.progress) as opened:
        done = deploy_module.deploy(opened, wanted, report.progress, smoke=smoke)
    if json:
        report.print_json(report.deployment_json(done))
    else:
        for line in report.deployment_lines(done):
            report.print_line(line)


@task(
    iterable=["model"],
    help={
        **_TARGET,
        "count": "samples to take (p99 with bounds on both sides needs 368)",
        "duration": "stop after this many seconds even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        "iterations": "invocations per sample; 0: as many as the board's clock needs",
        "threads": "threads of the runtime",
        "xnnpack": "use the XNNPACK delegate",
    },
)
@_clear
def bench(
    _: Any,
    board: str,
    model: list[str],
    host: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    count: str = "500",
    duration: str = "0",
    warmup: str = "20",
    iterations: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    json: bool = False,
) -> None:
    """Measure latency on a board; what is live there stays live.

    invoke bench --board rpi4 --model m.tflite
    invoke bench --board rpi4 --model m.tflite --count 4000 --threads 4

    Every sample is kept; docs/measuring.md says how to read the result.
    """
    from edge import bench as bench_module
    from edge import board as board_module
    from edge import build as build_module
    from edge import deploy as deploy_module
    from edge import report, session
    from edge.run import Plan

    plan = Plan(
        count=int(_number("--count", count)),
        duration_s=_number("--duration", duration, whole=False),
        warmup=int(_number("--warmup", warmup)),
        iterations=int(_number("--iterations", iterations)),
        threads=int(_number("--threads", threads)),
        xnnpack=xnnpack,
    )
    bench_module.check_plan(plan)
    target = board_module.load(board, host=host)
    wanted = deploy_module.prepare(
        target, _models(model), report.progress, runtime_name=runtime, library=_path(lib)
    )
    library = build_module.host_library(report.progress)
    with (
        session.connect(target, report.progress) as opened,
        deploy_module.staged(opened, wanted, report.progress),
    ):
        runs = [
            bench_module.measure(
                opened, wanted, m, plan, library, report.progress, command=_command()
            )
            for m in wanted.models
        ]
    if json:
        report.print_json([report.run_json(run) for run in runs])
        return
    label = " (emulated)" if any(run.emulated for run in runs) else ""
    report.print_table(report.runs_table(runs, f"{target.name}{label}, {wanted.runtime}"))
    for run in runs:
        report.print_line(f"{run.model}:")
        for line in report.run_lines(run):
            report.print_line(f"  {line}")


@task(help={"board": _BOARD, "host": _HOST, "runtime": _RUNTIME, "lib": _LIB, "json": _JSON})
@_clear
def doctor(
    _: Any,
    board: str,
    host: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    json: bool = False,
) -> None:
    """Say what would stop a deploy to a board, and what mends it.

    invoke doctor --board rpi4 --host pi@10.0.0.7
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import report, session

    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        files, _name = deploy_module.loadable(
            target, report.progress, runtime_name=runtime, library=_path(lib)
        )
        findings = deploy_module.check(opened, files, sum(file.size_bytes for file in files))
        where = opened.transport.name
    if json:
        report.print_json(
            {
                "board": target.name,
                "target": where,
                "findings": [vars(finding) for finding in findings],
            }
        )
    else:
        report.print_table(report.findings_table(f"{target.name} ({where})", findings))
    stops = [finding for finding in findings if finding.level == "stop"]
    if stops:
        raise Exit(code=3)


namespace = Collection(boards, build, deploy, bench, doctor)


def main() -> None:
    """Console script ``edge``: the same tasks, outside a checkout too."""
    from edge import __version__

    Program(name="edge", binary="edge", namespace=namespace, version=__version__).run()
