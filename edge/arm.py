"""Arm: one side of a comparison, written as flags: ``--threads 4 --no-xnnpack``."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge import bench, options, setting
from edge.deploy import Choice
from edge.errors import UsageError
from edge.options import Options
from edge.run import Plan


@dataclass(frozen=True)
class Arm:
    """What is measured on one side.

    :ivar label: the flags, as the user wrote them.
    """

    label: str
    model: Path
    choice: Choice
    plan: Plan


def parse(flag: str, text: str, plan: Plan, *, model: str | None = None, common: str = "") -> Arm:
    """An arm of ``text``, for what it does not say of ``common``, then of ``model`` and ``plan``.

    :param flag: what the user gave it by, for messages: ``-a``.
    :raises UsageError: in one line, which names the arm: no such flag, or a value that is none.
    """
    where = f"{flag} {shlex.quote(text)}"
    if common:
        where += f" with --common {shlex.quote(common)}"
    try:
        words = [*_words("--common", common), *_words(flag, text)]
        given, unknown = _parser().parse_known_args(words)
        if unknown:
            raise UsageError(f"an arm has no flag {unknown[0]}: docs/comparing.md lists them")
        return _arm(given, text, plan, model)
    except argparse.ArgumentError as error:
        hint = "; a value that begins with - needs a =" if "expected" in str(error) else ""
        raise UsageError(f"{where}: {error}{hint}") from None
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _words(flag: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{flag} is no list of flags ({error}): close each quote") from None


def _arm(given: argparse.Namespace, text: str, plan: Plan, model: str | None) -> Arm:
    opened = Options(
        signature=given.signature,
        shapes=options.shapes(given.shape),
        batch=given.batch,
        threads=given.threads,
        xnnpack=not given.no_xnnpack,
        delegate=None if given.delegate is None else options.delegate(given.delegate),
        ops=given.ops,
    )
    options.check(opened)
    wanted = dataclasses.replace(
        plan,
        options=opened,
        cpus=given.cpus,
        undisturbed=given.undisturbed,
        rate_per_s=given.rate,
        poisson=given.poisson,
        idle_s=bench.seconds("--idle", given.idle),
        settings=tuple(given.set),
    )
    setting.check(wanted.settings)
    bench.check_plan(wanted)
    named = given.model or model
    if named is None:
        raise UsageError("which model? name it with --model FILE.tflite")
    choice = Choice(
        given.engine,
        given.runtime,
        None if given.lib is None else Path(given.lib),
        opened.delegate,
        given.toolchain,
        given.lto or None,
        given.cflags,
        None if opened.ops is None else Path(opened.ops),
    )
    return Arm(text, Path(named), choice, wanted)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("model", "engine", "runtime", "lib", "delegate", "signature", "toolchain", "ops"):
        made.add_argument(f"--{name}")
    made.add_argument("--cflags")
    made.add_argument("--threads", type=_whole, default=1)
    made.add_argument("--batch", type=_whole, default=0)
    made.add_argument("--rate", type=_number, default=0.0)
    made.add_argument("--cpus", default="")
    made.add_argument("--idle", default="0")
    for name in ("shape", "set"):
        made.add_argument(f"--{name}", action="append", default=[])
    for name in ("no-xnnpack", "lto", "undisturbed", "poisson"):
        made.add_argument(f"--{name}", action="store_true")
    return made


def _typed(convert: Callable[[str], float], kind: str) -> Callable[[str], float]:
    def typed(text: str) -> float:
        try:
            number = convert(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise argparse.ArgumentTypeError(f"{text} is no {kind}")
        return number

    return typed


_whole = _typed(int, "whole number")
_number = _typed(float, "number")
