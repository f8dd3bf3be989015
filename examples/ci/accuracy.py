"""Compare what `edge infer --each` brought back with labels, and fail below an accuracy.

``python ci/accuracy.py scores.npz labels.npy --least 0.95``

Only numpy is needed. Exit codes: 0 accurate enough, 1 not, 2 the request is wrong.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt


def accuracy(scores: npt.NDArray[np.generic], labels: npt.NDArray[np.generic]) -> float:
    """Share of samples whose largest score stands at the label's place.

    A sample with a score that is not a number counts as wrong: numpy would call that the largest.

    :param scores: shape ``[n, classes]``, any further axes of length 1.
    :param labels: integers, shape ``[n]``.
    :raises ValueError: the shapes do not go together, or there is no sample.
    """
    if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers [n], not {labels.dtype} {list(labels.shape)}")
    if scores.ndim < 2 or len(scores) != len(labels):
        raise ValueError(
            f"scores {list(scores.shape)} do not belong to {len(labels)} labels: "
            "run edge infer with --each, over the same samples"
        )
    rows = scores.reshape(len(labels), -1).astype(np.float64)
    if labels.min() < 0 or labels.max() >= rows.shape[1]:
        raise ValueError(
            f"labels {labels.min()} to {labels.max()} do not go with {rows.shape[1]} scores each"
        )
    right = (rows.argmax(axis=1) == labels) & np.isfinite(rows).all(axis=1)
    return float(right.mean())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="fail if a model is less accurate than it should be"
    )
    parser.add_argument("scores", type=Path, help=".npz that edge infer wrote")
    parser.add_argument("labels", type=Path, help=".npy with one integer per sample")
    parser.add_argument("--least", type=float, required=True, help="accuracy to reach, 0 to 1")
    parser.add_argument("--output", help="which output of the model, if it has several")
    given = parser.parse_args(arguments)
    if not 0 < given.least <= 1:
        parser.error(f"--least {given.least}: must be above 0 and at most 1")
    try:
        with np.load(given.scores, allow_pickle=False) as outputs:
            name = given.output or (outputs.files[0] if len(outputs.files) == 1 else None)
            if name not in outputs.files:
                parser.error(f"--output must be one of {', '.join(outputs.files)}")
            scores = outputs[name]
        found = accuracy(scores, np.load(given.labels, allow_pickle=False))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        parser.error(str(error))
    ok = found >= given.least
    print(
        f"accuracy {found:.4f} of {len(scores)} samples, at least {given.least:.4f} is wanted: "
        f"{'passed' if ok else 'FAILED'}"
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
