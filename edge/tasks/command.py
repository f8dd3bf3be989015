"""What commands share: the words of their help, reading flags, and how they end."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task as invoke_task

JSON = "print one JSON object instead of text"
BOARD = "name of the board: see `invoke boards`"
HOST = "SSH destination, such as pi@10.0.0.7, instead of the board's own"
MODEL = "a .tflite file; may be given several times"
RUNTIME = "a runtime of edge/runtimes instead of the board's"
LIB = "a runtime library of your own, such as libtensorflowlite_c.so"
OPS = "a folder of kernels for the model's custom operators: see docs/custom-operators.md"
TOOLCHAIN = "a toolchain of toolchains/ instead of the board's"
ENGINE = "how to run models, such as tflite or python (docs/engines.md); else the runtime's own way"

STACK = {
    "board": BOARD,
    "host": HOST,
    "runtime": RUNTIME,
    "lib": LIB,
    "delegate": "external:PATH?key=value; external:board:/PATH is a library that is there already",
    "ops": OPS,
    "json": JSON,
}
"""What runs on which board."""

RUN = "its id, the beginning of it, or last: see `invoke runs`"
WAIT = "seconds to wait if somebody else holds the board; 0: be told who, and end"

OPTIONS = {
    "signature": "key of a signature; inputs and outputs then have its names",
    "shape": "an input's shape, NAME=1x224x224x3; may be given several times",
    "batch": "first axis of every input that has no --shape; 0: as in the model",
    "threads": "threads of the runtime",
    "xnnpack": "use the XNNPACK delegate",
}
"""How a model is opened."""

SCENARIO = {
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

FLEET = {
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

BUILD = {
    "toolchain": TOOLCHAIN,
    "lto": "optimize the runner at link time",
    "cflags": "more compiler flags for the runner, as one text",
}


def task(**hints: Any) -> Callable[[Callable[..., None]], Any]:
    """A command: invoke's task of the same hints. Only what ``positional`` names can be given
    without its flag; errors become one line and their own exit code, so that nobody meets a
    traceback."""
    hints = {"positional": [], **hints}

    def made(body: Callable[..., None]) -> Any:
        return invoke_task(**hints)(_clear(body, hints.get("help", {})))

    return made


def _clear(body: Callable[..., None], help: Mapping[str, str]) -> Callable[..., None]:
    parameters = list(inspect.signature(body).parameters.values())[1:]
    needed = [each.name for each in parameters if each.default is inspect.Parameter.empty]

    @functools.wraps(body)
    def wrapped(context: Any, **given: Any) -> None:
        from edge import report
        from edge.errors import EdgeError, UsageError

        # As ssh does: programs run out of the cache, and others must not write to it.
        os.umask(os.umask(0o022) | 0o022)
        try:
            try:
                for name in needed:
                    if given[name] is None:
                        raise UsageError(f"--{name} is missing: {help[name]}")
                body(context, **given)
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
            raise Exit(f"edge: {explained(error)}", 4) from None

    return wrapped


def explained(error: Exception) -> Any:
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


def typed() -> str:
    """The command line, for the reproduce line of what it measures."""
    return shlex.join(["invoke" if "invoke" in sys.argv[0] else "edge", *sys.argv[1:]])


def models(paths: list[str]) -> Any:
    from pathlib import Path

    from edge.errors import UsageError

    if not paths:
        raise UsageError("which model? name it with --model FILE.tflite")
    return [Path(path) for path in paths]


def number(flag: str, text: str, *, whole: bool = True) -> float:
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


def seconds(flag: str, text: str) -> float:
    from edge.errors import UsageError

    if (seconds := number(flag, text, whole=False)) < 0:
        raise UsageError(f"{flag} {text}: must be 0 or more seconds")
    return seconds


def path(text: str | None) -> Any:
    from pathlib import Path

    return None if text is None else Path(text)


def engines(names: str | None) -> tuple[str | None, ...]:
    """Engines joined by commas; native delegates what python does, on the same interpreter."""
    from edge import bench

    return tuple(name for group in bench.groups(names) for name in group)


def options(
    signature: str | None,
    shape: list[str],
    batch: str,
    threads: str,
    xnnpack: bool,
    delegate: str | None,
    ops: str | None = None,
) -> Any:
    from edge import options

    made = options.Options(
        signature=signature,
        shapes=options.shapes(shape),
        batch=int(number("--batch", batch)),
        threads=int(number("--threads", threads)),
        xnnpack=xnnpack,
        delegate=None if delegate is None else options.delegate(delegate),
        ops=ops,
    )
    options.check(made)
    return made


def plan(
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
        count=int(number("--count", count)),
        duration_s=bench.seconds("--duration", duration),
        warmup=int(number("--warmup", warmup)),
        iterations=int(number("--iterations", iterations)),
        options=options,
        rate_per_s=number("--rate", rate, whole=False),
        poisson=poisson,
        idle_s=bench.seconds("--idle", idle),
        cpus=cpus,
        undisturbed=undisturbed,
        settings=tuple(set),
        timeout_s=bench.seconds("--timeout", timeout),
    )
    bench.check_plan(made)
    return made


def choice(
    engine: str | None,
    runtime: str | None,
    lib: str | None,
    options: Any,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
) -> Any:
    from edge.deploy import Choice

    return Choice(
        *(engine, runtime, path(lib), options.delegate, toolchain, lto or None, cflags),
        path(options.ops),
    )
