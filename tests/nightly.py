"""What is too slow for `make test`: TensorFlow's C API on an emulated aarch64 board.

    python -m tests.nightly

Downloads TensorFlow's wheel for aarch64 (260 MB), and sends its library (0.93 GB) to qemu-aarch64.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys

import numpy as np

from edge import board, deploy, layout, reference, runner, session
from edge.deploy import Choice
from tests import tensorflow_models


def _told(line: str) -> None:
    sys.stderr.write(f"  {line}\n")


def main() -> int:
    target = dataclasses.replace(board.load("qemu-aarch64"), name="nightly-aarch64")
    root = layout.machines_dir() / target.name
    shutil.rmtree(root, ignore_errors=True)
    folder = tensorflow_models.made()
    failures = 0
    try:
        with session.connect(target, _told) as opened:
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
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
