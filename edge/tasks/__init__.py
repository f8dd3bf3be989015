"""The commands: parse, call, print. One file for each thing that they are about.

Everything heavier is imported by the task that needs it, so that listing the tasks stays quick.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from types import TracebackType

from invoke.collection import Collection
from invoke.program import Program

from edge.tasks import (
    boards,
    conversion,
    firmware,
    measure,
    models,
    qemu,
    releases,
    runs,
    runtimes,
    serial,
    study,
)

_runs = Collection("runs", runs.runs_show, runs.runs_compare, runs.runs_export)
_runs.add_task(runs.runs_list, default=True)
_qemu = Collection("qemu", qemu.up, qemu.down, qemu.status, qemu.build_image)
_runtime = Collection("runtime", runtimes.runtime_build)
_runtime.add_task(runtimes.runtime_list, default=True)
namespace = Collection(
    boards.boards,
    firmware.build,
    releases.deploy,
    releases.releases,
    releases.rollback,
    releases.prune,
    releases.pin,
    releases.undeploy,
    releases.bundle,
    measure.bench,
    _runs,
    measure.compare,
    measure.check,
    measure.sweep,
    study.study,
    conversion.convert,
    conversion.export,
    models.infer,
    models.evaluate,
    models.inspect,
    boards.probe,
    boards.doctor,
    serial.console,
    serial.bootstrap,
    _qemu,
    _runtime,
)


def _let_help_follow(words: Sequence[str]) -> None:
    """``invoke inspect --help`` asks for help: invoke would take it for the name of a model."""
    for before, word in itertools.pairwise(words):
        if word == "--help" and before in namespace.task_names:
            namespace[before].positional = []


_let_help_follow(sys.argv)


def _end_with_the_reader(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """``invoke COMMAND --help | head``: help is printed by invoke, which would show a traceback."""
    if issubclass(kind, BrokenPipeError):
        os._exit(141)  # as a program that the signal ends; what is left to print has no reader
    _before(kind, error, trace)


_before, sys.excepthook = sys.excepthook, _end_with_the_reader


def main() -> None:
    """Console script ``edge``: the same tasks, outside a checkout too."""
    from edge import __version__

    Program(name="edge", binary="edge", namespace=namespace, version=__version__).run()
