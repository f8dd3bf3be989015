"""Which engine runs what on which board: by running it.

    python -m tests.engine_matrix            # print the table
    python -m tests.engine_matrix --write    # and put it into docs/engines.md

Each cell is a tiny model whose outputs are compared with this machine's interpreter; or the words
with which the engine refused it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge import agreement, board, deploy, reference, report, runner, runtime, session, tiny
from edge.artifact import Artifact
from edge.deploy import Choice
from edge.errors import EdgeError, UsageError
from edge.options import DEFAULT, Options
from edge.reference import Arrays, Reference
from edge.release import Release
from edge.session import Session

BOARDS = ("qemu-aarch64", "qemu-virt", "localhost")
DOCUMENT = Path(__file__).parents[1] / "docs" / "engines.md"
BEGIN = "<!-- made by `python -m tests.engine_matrix --write` -->"
END = "<!-- end of what was made -->"


ENGINES = tuple(engine for engine in runtime.ENGINES if engine not in runtime.MODELS)
"""Those that run .tflite files."""

_STRINGS = dict.fromkeys(ENGINES, "strings")
_DTYPES = {
    "string": _STRINGS,
    "float16": {"numpy": "can't run node 2, CAST"},
    "int16": {"numpy": "quantized to int16", "compiled": "gives no buffer of int16"},
    "int64": {"compiled": "gives no buffer of int64"},
    "bool": {"numpy": "can't run node 0, LOGICAL_NOT"},
}
_SIGNATURE = {"native": "only Python's signature runner", "numpy": "has a subgraph of its own"}
_OUTPUT = {
    "litert": "depends on what the inputs hold",
    "compiled": "failed to invoke",
    "numpy": "can't run node 0, FILL",
}
_SEVERAL = {"numpy": "can't run node 0, CAST", "compiled": "gives no buffer of int64"}
_VARIABLE = {"numpy": "can't run node 0, CALL_ONCE"}
_SHAPE: Arrays = {"dims": np.array([2, 3], np.int32), "value": np.array(7, np.float32)}


@dataclass(frozen=True)
class Kind:
    """A column: a model, and how it is opened.

    :ivar inputs: for models that not every number suits; else random ones.
    :ivar refusals: engine -> words of the message that it answers with instead.
    """

    name: str
    model: bytes
    options: Options = DEFAULT
    inputs: Arrays | None = field(default=None, compare=False)
    refusals: Mapping[str, str] = field(default_factory=dict)


def kinds() -> tuple[Kind, ...]:
    """All columns."""
    dtypes = tuple(
        Kind(name, tiny.elementwise(name), refusals=_DTYPES.get(name, {})) for name in tiny.DTYPES
    )
    return (
        *dtypes,
        Kind("several inputs", tiny.several(), refusals=_SEVERAL),
        Kind("signature", tiny.two_signatures(), Options(signature="add"), refusals=_SIGNATURE),
        Kind("dynamic shape", tiny.dynamic(), Options(batch=3)),
        Kind("dynamic output", tiny.dynamic_output(), inputs=_SHAPE, refusals=_OUTPUT),
        Kind("variable", tiny.counter(), refusals=_VARIABLE),
    )


@dataclass(frozen=True)
class Cell:
    """What happened.

    :ivar state: ``ok``, ``refused`` or ``wrong``.
    """

    board: str
    engine: str
    runtime: str
    kind: str
    state: str
    text: str = ""


def fill(
    opened: Session, engine: str, wanted: Sequence[Kind], runtime_name: str | None = None
) -> Iterator[Cell]:
    """The cells of one engine on one board.

    :param runtime_name: another runtime than the engine's first.

    An engine that has no runtime for the board refuses all kinds with the same words; engine numpy
    refuses some models before there is a release.
    """
    name = opened.board.name
    choice = Choice(engine=engine, runtime=runtime_name)
    with tempfile.TemporaryDirectory() as folder:
        refused: dict[str, str] = {}
        paths: dict[str, Path] = {}
        for kind in wanted:
            path = Path(folder) / f"{kind.name.replace(' ', '-')}.tflite"
            path.write_bytes(kind.model)
            try:
                _release(opened, choice, [path])
            except UsageError as error:
                refused[kind.name] = str(error).removeprefix(f"{path}: ")
            else:
                paths[kind.name] = path
        for kind in wanted:
            if kind.name in refused:
                text = refused[kind.name]
                words = kind.refusals.get(engine)
                state = "refused" if not paths or (words and words in text) else "wrong"
                yield Cell(name, engine, "", kind.name, state, text)
        if not paths:
            return
        release = _release(opened, choice, list(paths.values()))
        with deploy.staged(opened, release, _told):
            runs = [kind for kind in wanted if kind.name in paths]
            for kind, model in zip(runs, release.models, strict=True):
                state, text = _try(opened, release, model, kind, Path(folder))
                yield Cell(name, engine, release.runtime, kind.name, state, text)


def _release(opened: Session, choice: Choice, paths: list[Path]) -> Release:
    return deploy.prepare(
        opened.board,
        deploy.models(paths, _told),
        _told,
        choice=choice,
        interpreter=deploy.python_for(opened, choice),
    )


def _try(
    opened: Session, release: Release, model: Artifact, kind: Kind, folder: Path
) -> tuple[str, str]:
    words = kind.refusals.get(release.engine)
    expected = _expected(model, kind, words, folder)
    try:
        got, _ = runner.infer(
            opened, release, model, expected.inputs_file, options=kind.options, each=False
        )
    except EdgeError as error:
        understood = words is not None and words in str(error)
        text = str(error).removeprefix(f"{opened.transport.name}: ")
        return ("refused" if understood else "wrong"), text
    if words is not None:
        return "wrong", "it ran, though it was said not to"
    try:
        found = agreement.compare(kind.name, got, expected)
    except EdgeError as error:
        return "wrong", str(error)
    if not found.ok:
        return "wrong", f"differs by {found.largest_difference:.3g}, allowed {found.bound:.3g}"
    return "ok", ""


def _expected(model: Artifact, kind: Kind, words: str | None, folder: Path) -> Reference:
    if words != _STRINGS["tflite"]:
        return reference.compute(model.path, kind.inputs, kind.options)
    inputs = folder / "refused.npz"
    reference.save(inputs, {"input": np.zeros((1, 4), np.int8)})
    return Reference(inputs, {}, {}, "none")


def _told(line: str) -> None:
    sys.stderr.write(f"  {line}\n")


def rows(cells: Sequence[Cell], columns: Sequence[str]) -> list[str]:
    """The table in Markdown, and below it each refusal once."""
    notes: dict[str, int] = {}
    lines = [
        f"| board | engine | runtime | {' | '.join(columns)} |",
        f"|---|---|---|{'---|' * len(columns)}",
    ]
    for place, engine in dict.fromkeys((cell.board, cell.engine) for cell in cells):
        found = {c.kind: c for c in cells if (c.board, c.engine) == (place, engine)}
        marks = []
        for column in columns:
            cell = found[column]
            if cell.state == "ok":
                marks.append("yes")
            else:
                text = general(cell)
                number = notes.setdefault(text, len(notes) + 1)
                marks.append(f"{'no' if cell.state == 'refused' else '**wrong**'} ({number})")
        runtime_name = next((c.runtime for c in found.values() if c.runtime), "none")
        lines.append(f"| {place} | {engine} | {runtime_name} | {' | '.join(marks)} |")
    return [*lines, "", *(f"{number}. {text}" for text, number in notes.items())]


def general(cell: Cell) -> str:
    """What a refusal says anywhere: without the board's name, and where the model lies on it."""
    text = re.sub(r"\S+/(?=[^/\s]+\.tflite\b)", "", " ".join(cell.text.split()))
    return re.sub(r"^(\S+\.tflite: )\S+: ", r"\1", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/engines.md")
    parser.add_argument("--board", action="append", choices=BOARDS, help="only this one")
    options = parser.parse_args()
    cells: list[Cell] = []
    for name in options.board or BOARDS:
        with session.connect(board.load(name), _told) as opened:
            for engine in ENGINES:
                cells += fill(opened, engine, kinds())
    lines = rows(cells, [kind.name for kind in kinds()])
    report.settle()
    print("\n".join(lines))
    if options.write:
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        body = "\n".join(lines)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    return 1 if any(cell.state == "wrong" for cell in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
