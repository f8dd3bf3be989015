"""Cell: one thing that a study measures: a way to run models, a model, a batch; and its figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIANTS = ("float32", "float16", "dynamic", "int8", "int16x8")
"""How a model's numbers are kept: the last word of its file's name, as in ``cnn-int8.tflite``."""


@dataclass(frozen=True)
class Way:
    """A way to run models.

    :ivar engine: one of ``runtime.ENGINES``.
    :ivar runtime: its name.
    :ivar xnnpack: the XNNPACK delegate is used.
    :ivar call: what is timed is a whole call, with copying in and out, not the invocation alone.
    :ivar gc: Python's garbage collector may run meanwhile.
    """

    engine: str
    runtime: str
    xnnpack: bool = True
    call: bool = False
    gc: bool = False

    @property
    def plain(self) -> bool:
        """The invocation alone, as everybody has it."""
        return self.xnnpack and not (self.call or self.gc)

    @property
    def name(self) -> str:
        """``python tflite-runtime-2.14.0, whole call, collector on``."""
        more = (
            ", without XNNPACK" if not self.xnnpack else "",
            ", whole call" if self.call else "",
            ", collector on" if self.gc else "",
        )
        return f"{self.engine} {self.runtime}{''.join(more)}"


KERAS = ("keras-predict", "keras-call", "tf-function")
"""Engines that run Keras's own file of a model."""
SAVED = ("tf-signature", "tensorflow")
"""Engines that run a SavedModel."""


@dataclass(frozen=True)
class Subject:
    """A model that is measured.

    :ivar family: what its variants have in common: ``cnn`` of ``cnn-int8.tflite``.
    :ivar variant: one of :data:`VARIANTS`, or nothing.
    :ivar work: multiply-accumulates of an example.
    :ivar keras: the file that a float32 model was converted from, if it is there.
    :ivar saved: its SavedModel, if there is one.
    """

    path: Path
    family: str
    variant: str
    work: int
    keras: Path | None = None
    saved: Path | None = None

    @property
    def name(self) -> str:
        return self.path.stem

    def file(self, engine: str) -> Path | None:
        """What that engine runs of it."""
        return self.keras if engine in KERAS else self.saved if engine in SAVED else self.path


def subject(path: Path, work: int) -> Subject:
    """A model by its file's name; Keras's file is ``cnn.keras`` beside ``cnn-float32.tflite``, or
    one folder up."""
    found = re.fullmatch(rf"(.+)[-_]({'|'.join(VARIANTS)})", path.stem)
    if found is None:
        return Subject(path, path.stem, "", work)
    places = [folder / f"{found[1]}.keras" for folder in (path.parent, path.parent.parent)]
    keras = next((place for place in places if place.is_file()), None)
    return Subject(path, found[1], found[2], work, keras if found[2] == "float32" else None)


@dataclass(frozen=True)
class Cell:
    """:ivar batch: examples in an invocation.
    :ivar phase: a part of a call, one of ``split.PHASES``, measured by ``native`` and ``python`` by
        turns on one interpreter; empty: an invocation, in a process of its own each round.
    """

    way: Way
    subject: Subject
    batch: int = 1
    phase: str = ""

    @property
    def name(self) -> str:
        batch = f", batch {self.batch}" if self.batch != 1 else ""
        phase = f", {self.phase.replace('_', ' ')}" if self.phase else ""
        return f"{self.subject.name}{batch}{phase}: {self.way.name}"


@dataclass(frozen=True)
class Figures:
    """What a cell came to, in the order of the rounds, which are those of all cells.

    :ivar latency_ns: median of an invocation (with a phase: of that part of a call).
    :ivar p99_ns: None in a round whose samples support none.
    :ivar start_ns: cold start: opening the runtime to the end of the first invocation.
    :ivar peak_bytes: the most memory that was resident.
    :ivar collections: how often Python's garbage collector ran while samples were taken; None where
        it was off, or there is none.
    :ivar delegated: nodes that a delegate took, of all; empty where the engine does not tell.
    """

    latency_ns: tuple[float, ...]
    p99_ns: tuple[float | None, ...] = ()
    start_ns: tuple[float, ...] = ()
    peak_bytes: tuple[float, ...] = ()
    collections: int | None = None
    delegated: str = ""


Measured = Mapping[Cell, Figures]


@dataclass(frozen=True)
class Inventory:
    """What a board can be asked.

    :ivar ways: that run there.
    :ivar subjects: the models, the least work first.
    :ivar missing: engine, runtime or ``TensorFlow`` -> why it is none of the ways.
    :ivar batch: of the measurements with a large batch.
    """

    board: str
    ways: tuple[Way, ...]
    subjects: tuple[Subject, ...]
    missing: Mapping[str, str]
    batch: int = 32

    def of(self, *engines: str) -> tuple[Way, ...]:
        """The ways with one of these engines, in that order."""
        return tuple(way for engine in engines for way in self.ways if way.engine == engine)
