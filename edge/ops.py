"""Ops: the user's kernels for custom operators, one library of them, compiled for a board."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge import artifact, build, model
from edge.artifact import Artifact
from edge.board import Board
from edge.build import Recipe
from edge.errors import UsageError

PLACE = "lib/libops.so"

_SOURCES = (".c", ".cc", ".cpp", ".cxx")
_NAME = re.compile(r"[A-Za-z0-9._+-]+")
_NAMES_SECTION = "edge_op_names"  # of edge_op.h

_RUNTIMES_OWN = frozenset(
    {"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"}
)
"""Custom operators that every TFLite has kernels for (tflite/core/kernels/register.cc)."""


@dataclass(frozen=True)
class Library:
    """Kernels for one kind of board.

    :ivar names: of the operators, sorted.
    """

    artifact: Artifact
    names: tuple[str, ...]
    recipe: Recipe
    compiled: bool


def sources(folder: Path) -> tuple[str, ...]:
    """The names of what is compiled in ``folder``; the folders in it are passed over.

    :raises UsageError: it is no folder, has no sources, or a name that CMake would cut.
    """
    if not folder.is_dir():
        raise UsageError(f"--ops {folder}: there is no such folder: name the one with your kernels")
    found = sorted(path.name for path in folder.iterdir() if path.suffix in _SOURCES)
    if not found:
        raise UsageError(
            f"--ops {folder}: no source in it: kernels are {', '.join(_SOURCES)} files, as "
            "docs/custom-operators.md has them"
        )
    for name in found:
        if not _NAME.fullmatch(name):
            raise UsageError(f"--ops {folder / name}: rename it: letters, digits and . _ + - only")
    if ";" in str(folder.resolve()):
        raise UsageError(f"--ops {folder}: CMake would cut its path at the semicolon: move it")
    return tuple(found)


def library(
    folder: Path,
    target: Board,
    progress: Callable[[str], None],
    *,
    toolchain_name: str | None = None,
    lto: bool | None = None,
    cflags: str | None = None,
) -> Library:
    """Compile the kernels in ``folder`` for a board, as its runner is: see :func:`build.runner`.

    :raises UsageError: there are none, or they do not compile; then ``progress`` has the compiler's
        lines.
    """
    made = build.kernels(
        *(target, folder, sources(folder), progress),
        toolchain_name=toolchain_name,
        lto=lto,
        cflags=cflags,
    )
    return _read(folder, made)


def here(folder: Path, progress: Callable[[str], None]) -> Library:
    """The same for this machine, whose own interpreter says what a model computes."""
    return _read(folder, build.host_kernels(folder, sources(folder), progress))


def _read(folder: Path, made: build.Kernels) -> Library:
    text = artifact.section(made.path, _NAMES_SECTION)
    names = tuple(sorted(word.decode("utf-8", "replace") for word in text.split(b"\0") if word))
    if not names:
        raise UsageError(
            f"--ops {folder}: no kernel in it: enter each with EDGE_OP, as "
            "docs/custom-operators.md shows"
        )
    twice = [name for number, name in enumerate(names[1:]) if name == names[number]]
    if twice:
        raise UsageError(f"--ops {folder}: two kernels for the operator {twice[0]}: drop one")
    return Library(artifact.of_file(made.path, PLACE), names, made.recipe, made.compiled)


def unknown(path: Path, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The custom operators of a model that neither ``names`` nor a runtime by itself has, sorted.

    Those of TensorFlow (Flex) are not counted: no kernel of edge's is meant to stand in for them.
    """
    found = {
        node.custom
        for graph in model.read(path).subgraphs
        for node in graph.operators
        if node.custom is not None and not node.custom.startswith("Flex")
    }
    return tuple(sorted(found - _RUNTIMES_OWN - set(names)))
