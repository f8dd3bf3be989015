"""Evaluation: a dataset through a model on a board, each prediction beside this machine's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import dataset, layers, model, reference, runner, scoring
from edge.artifact import Artifact
from edge.dataset import Dataset
from edge.errors import BoardError, UsageError
from edge.layers import Parting
from edge.model import Model, Quantization
from edge.options import DEFAULT, Options
from edge.reference import Arrays
from edge.release import Release
from edge.scoring import Likeness, Score
from edge.session import Session

_PIECE_BYTES = 8 << 20
_PIECE_SAMPLES = 128
"""Of a dataset, at once: a run must end within its deadline, and somebody wants to see how far."""


@dataclass(frozen=True)
class Evaluation:
    """:ivar output: name of the output that is judged.
    :ivar score: of the board; None without labels. ``score_here``: of this machine.
    :ivar interpreter: this machine's.
    :ivar likeness: of the board's outputs to this machine's, as real numbers.
    :ivar step: the output's quantization step; None if it is of real numbers.
    :ivar labels: names of the classes, as the file has them.
    """

    model: str
    board: str
    runtime: str
    emulated: bool
    samples: int
    output: str
    interpreter: str
    score: Score | None
    score_here: Score | None
    likeness: Likeness
    step: float | None
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Question:
    """A model and a dataset that fit each other.

    :ivar inputs: as the model takes them.
    :ivar wanted: this machine's answer.
    """

    read: Model
    output: str
    inputs: Arrays
    labels: npt.NDArray[Any] | None
    wanted: Arrays
    interpreter: str

    @property
    def quantization(self) -> Quantization | None:
        """Of the output."""
        graph = self.read.subgraphs[0]
        tensors = [graph.tensors[index] for index in graph.outputs]
        return next(each.quantization for each in tensors if each.name == self.output)

    def real(self, outputs: Arrays) -> npt.NDArray[Any]:
        """The output as real numbers, shape ``[n, ...]``."""
        return dataset.dequantized(outputs[self.output], self.quantization)


def question(path: Path, data: Dataset, output: str | None, options: Options = DEFAULT) -> Question:
    """Put data and model together, and ask this machine first.

    :param output: name of the output that the labels are about; None: the first.
    :raises UsageError: they do not fit each other, or no interpreter here runs the model.
    """
    read = model.read(path)
    graph = read.subgraphs[0]
    names = [graph.tensors[index].name for index in graph.outputs]
    chosen = output or names[0]
    if chosen not in names:
        raise UsageError(f"{path} has no output '{output}' (it has: {', '.join(names)})")
    inputs = dataset.fit(data, dataset.of_model(read))
    here = reference.compute(path, inputs, options, keep=False)
    count = len(here.outputs[chosen])
    labels = None if data.labels is None else data.labels[:count]
    made = Question(read, chosen, inputs, labels, here.outputs, here.interpreter)
    if labels is not None:
        scoring.score(made.real(here.outputs), labels)
    return made


def evaluate(
    opened: Session,
    release: Release,
    artifact: Artifact,
    asked: Question,
    progress: Callable[[str], None],
    options: Options = DEFAULT,
) -> tuple[Evaluation, Arrays]:
    """Ask the board what this machine was asked.

    :returns: what it says, and the board's outputs.
    :raises BoardError: a run failed, or gave other outputs than the model has.
    """
    there = run(opened, release, artifact, asked.inputs, progress, options)
    for name, want in asked.wanted.items():
        found = there.get(name)
        if found is None or found.shape != want.shape or found.dtype != want.dtype:
            raise BoardError(
                f"{artifact.path.name}: the board's output '{name}' is not of the kind that it is "
                "on this machine: deploy again"
            )
    mine, theirs = asked.real(asked.wanted), asked.real(there)
    quantization = asked.quantization
    labels = asked.labels
    score = None if labels is None else scoring.score(theirs, labels)
    classes = isinstance(score, scoring.Classes) or (score is None and mine[0].size > 1)
    found_about = asked.read.about
    return (
        Evaluation(
            artifact.path.name,
            opened.board.name,
            release.runtime,
            opened.board.emulated,
            len(mine),
            asked.output,
            asked.interpreter,
            score,
            None if labels is None else scoring.score(mine, labels),
            scoring.likeness(mine, theirs, labels, classes=classes),
            None if quantization is None else quantization.scales[0],
            () if found_about is None else found_about.labels,
        ),
        there,
    )


_LAYER_SAMPLES = 8
_LAYER_BYTES = 128 << 20
"""Of all results together: they cross the link, and a board holds those of a run in memory."""


def batches_of_layers(read: Model, batch: int) -> int:
    """How many runs' results are fetched: of eight samples, or as many as are not too large."""
    graph = read.subgraphs[0]
    each = sum(model.tensor_bytes(graph.tensors[index]) for *_, index in layers.shown(read))
    return max(1, min(_LAYER_SAMPLES // batch, _LAYER_BYTES // max(each, 1)))


def part(
    opened: Session,
    release: Release,
    exposed: Artifact,
    asked: Question,
    found: Evaluation,
    there: Arrays,
    progress: Callable[[str], None],
    options: Options = DEFAULT,
) -> Parting:
    """Where in the network the board parts from this machine, on the samples that differ most.

    :param exposed: the model as :func:`edge.layers.expose` wrote it.
    :param there: the board's outputs of the model itself, for all samples.
    """
    batch = max(port.shape[0] for port in dataset.of_model(asked.read) if port.shape)
    count = len(next(iter(asked.inputs.values())))
    worst = [each.sample for each in found.likeness.differing]
    starts = list(dict.fromkeys(i // batch * batch for i in [*worst, *range(count)]))
    chosen = [i + k for i in starts[: batches_of_layers(asked.read, batch)] for k in range(batch)]
    inputs = {name: array[chosen] for name, array in asked.inputs.items()}
    here = reference.compute(exposed.path, inputs, options, keep=False).outputs
    got = run(opened, release, exposed, inputs, progress, options)
    return Parting(
        tuple(chosen),
        layers.compare(asked.read, here, got),
        layers.as_model(asked.read, got, there, chosen),
    )


def run(
    opened: Session,
    release: Release,
    artifact: Artifact,
    inputs: Arrays,
    progress: Callable[[str], None],
    options: Options = DEFAULT,
) -> Arrays:
    """Samples through a model on the board, piece by piece."""
    count = len(next(iter(inputs.values())))
    bytes_each = max(1, sum(array.nbytes for array in inputs.values()) // count)
    batch = max(
        (port.shape[0] for port in dataset.of_model(model.read(artifact.path)) if port.shape),
        default=1,
    )
    piece = max(batch, min(_PIECE_SAMPLES, _PIECE_BYTES // bytes_each) // batch * batch)
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "samples.npz"
        for start in range(0, count, piece):
            progress(f"{artifact.path.name}: sample {start} of {count} on {opened.transport.name}")
            reference.save(
                file, {name: array[start : start + piece] for name, array in inputs.items()}
            )
            outputs, _ = runner.infer(opened, release, artifact, file, options=options)
            for name, array in outputs.items():
                parts.setdefault(name, []).append(array)
    return {name: np.concatenate(each) for name, each in parts.items()}
