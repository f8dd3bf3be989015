"""What is too slow for `make test`, on an emulated aarch64 board.

    python -m tests.nightly              # both
    python -m tests.nightly --tensorflow # TensorFlow's C API
    python -m tests.nightly --tuned      # TFLite compiled for one core

The first downloads TensorFlow's wheel for aarch64 (260 MB), and sends its library (0.93 GB). The
second compiles TFLite for a Cortex-A76: four minutes, unless the cache has it.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile

import numpy as np

from edge import (
    agreement,
    board,
    compiled,
    deploy,
    layout,
    reference,
    runner,
    session,
)
from edge.board import Board
from edge.deploy import Choice
from examples.digits import dataset
from tests import engine_matrix, tensorflow_models

CORE = "cortex-a76"


def _told(line: str) -> None:
    sys.stderr.write(f"  {line}\n")


def _board(name: str) -> Board:
    """Emulated, with nothing on it."""
    target = dataclasses.replace(board.load("qemu-aarch64"), name=f"nightly-{name}")
    shutil.rmtree(layout.machines_dir() / target.name, ignore_errors=True)
    return target


def tensorflow() -> int:
    """:returns: how many models came out otherwise than here."""
    folder = tensorflow_models.made()
    failures = 0
    with session.connect(_board("tensorflow"), _told) as opened:
        found = deploy.models([folder / name for name in tensorflow_models.NAMES], _told)
        release = deploy.prepared(opened, found, _told, Choice(engine="tensorflow"))
        with deploy.staged(opened, release, _told):
            for model in release.models:
                path = tensorflow_models.MODELS / f"{model.path.name}-float32.tflite"
                expected = reference.compute(path)
                got, report = runner.infer(
                    *(opened, release, model, expected.inputs_file), each=False, timeout_s=1800
                )
                (have,), (want,) = got.values(), expected.outputs.values()
                difference = float(np.abs(have - want).max())
                failures += difference > 1e-5
                version = report["runtime_version"]
                print(f"{model.path.name}: TensorFlow {version} differs by {difference:.2g}")
    return failures


def tuned() -> int:
    """A library for one core beside the wheel's: what runs, and what comes out.

    :returns: how often it differed from the wheel, or by too much from this machine.
    """
    target = dataclasses.replace(_board("tuned"), cpu=CORE)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where the new runtime's file goes
        chosen = compiled.runtime_for(board.load("rpi5"), mcpu=CORE, name="tuned")
        made = compiled.make(chosen, board.load("rpi5"), _told)
        for check in made.checks:
            print(f"{check.dtype} on {check.cpu}: XNNPACK has {check.nodes_in_xnnpack} nodes")
        with session.connect(target, _told) as opened:
            kinds = engine_matrix.kinds()
            wheel, own = (
                {c.kind: c.state for c in engine_matrix.fill(opened, "tflite", kinds, name)}
                for name in ("litert-2.1.0", chosen.name)
            )
            for kind in kinds:
                print(f"{kind.name}: wheel {wheel[kind.name]}, compiled {own[kind.name]}")
                failures += own[kind.name] != wheel[kind.name] or own[kind.name] == "wrong"
            paths = [each.path for each in dataset.models()]
            choice = Choice(runtime=chosen.name)
            release = deploy.prepared(opened, deploy.models(paths, _told), _told, choice)
            with deploy.staged(opened, release, _told):
                for model in release.models:
                    expected = reference.compute(model.path)
                    got, _ = runner.infer(opened, release, model, expected.inputs_file, each=False)
                    found = agreement.compare(model.path.name, got, expected)
                    failures += not found.ok
                    print(f"{model.path.name}: differs by {found.largest_difference:.2g}")
    return failures


def main() -> int:
    jobs = {"tensorflow": tensorflow, "tuned": tuned}
    parser = argparse.ArgumentParser(prog="nightly", description=__doc__.splitlines()[0])
    for name in jobs:
        parser.add_argument(f"--{name}", action="store_true", help="this one")
    options = vars(parser.parse_args())
    failures = 0
    for name in [name for name in jobs if options[name]] or jobs:
        try:
            failures += jobs[name]()
        finally:
            shutil.rmtree(layout.machines_dir() / f"nightly-{name}", ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
