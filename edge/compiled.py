"""Compiled: a runtime that is made here for a board: ordered by name, built, and tried.

What is tried is a float32 and an int8 model, under QEMU on the core that the library was compiled
for: an instruction that this core lacks ends the program, what comes out is compared with this
machine's own interpreter, and the runner tells which nodes XNNPACK took.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge import (
    agreement,
    board,
    build,
    deploy,
    emulator,
    layout,
    model,
    operators,
    reference,
    release,
    runner,
    runtime,
    session,
    source,
    tflite,
    tiny,
    toml,
)
from edge.artifact import Artifact
from edge.board import Board
from edge.errors import BoardError, UsageError
from edge.runtime import Runtime
from edge.tflite import Built, Order

Progress = Callable[[str], None]

_MARK = "# Written by `invoke runtime.build`: it may write it anew."

_EMULATED = {"aarch64": "qemu-aarch64", "armv7l": "qemu-armv7l"}
"""Boards to try a library on."""

MODELS: dict[str, Callable[[], bytes]] = {"float32": tiny.dense, "int8": tiny.quantized}
"""What is tried, by the type of its weights."""


@dataclass(frozen=True)
class Check:
    """What one model did with a library.

    :ivar cpu: the core that was emulated.
    :ivar difference: the largest one to this machine's interpreter, in the output's unit.
    """

    dtype: str
    cpu: str
    nodes_total: int
    nodes_in_xnnpack: int
    difference: float


@dataclass(frozen=True)
class Made:
    """A runtime's library for a board.

    :ivar whole_bytes: size of the library with all operators, for one with few; None: not known.
    :ivar checks: empty if the library lacks the operators of the models that are tried.
    """

    runtime: Runtime
    built: Built
    size_bytes: int
    whole_bytes: int | None
    checks: tuple[Check, ...]


# --- by name --------------------------------------------------------------------------------------


def runtime_for(
    target: Board,
    base: str | None = None,
    *,
    models: Sequence[Path] = (),
    tree: Path | None = None,
    mcpu: str | None = None,
    name: str | None = None,
) -> Runtime:
    """The compiled runtime that a user asks for; a new one gets its file in ``runtimes/``.

    :param base: name of a compiled runtime; None: the board's, else the one that edge ships.
    :param models: leave out operators that none of these uses.
    :param tree: a checkout of TensorFlow.
    :param name: of the new runtime.
    :raises UsageError: it is no compiled runtime, or what was given does not go together.
    """
    chosen = _base(target, base)
    assert chosen.order is not None
    if not models and tree is None and mcpu is None:
        if name is not None:
            raise UsageError(
                f"--name {name}: of what? {chosen.name} has a name; a new runtime differs by "
                "--ops-from, --source or --mcpu"
            )
        return chosen
    order = chosen.order
    if models:
        used = operators.used([model.read(path) for path in models])
        order = dataclasses.replace(order, operators=used)
    if tree is not None:
        source.check_tree(tree, source.load(order.source).version)
        order = dataclasses.replace(order, tree=tree.resolve())
    if mcpu is not None:
        order = dataclasses.replace(order, mcpu=mcpu)
    tflite.check(order, target)
    parts = [chosen.name, *(["own"] if tree else []), *([mcpu] if mcpu else [])]
    made = name or "-".join([*parts, *(path.stem for path in models[:1])])
    _write(layout.safe_name(made, "give it another --name"), chosen, order)
    return runtime.load(made)


def _base(target: Board, name: str | None) -> Runtime:
    if name is not None:
        chosen = runtime.load(name)
        if chosen.order is None:
            raise UsageError(
                f"runtime {name} comes from a wheel, nothing of it is compiled: compiled are "
                f"{', '.join(_compiled())}"
            )
        return chosen
    own = runtime.load(target.runtime)
    return own if own.order is not None else runtime.load(_compiled()[0])


def _compiled() -> list[str]:
    """Those that edge ships come first."""
    names = [name for name in runtime.names() if runtime.load(name).order is not None]
    return sorted(names, key=lambda name: (runtime.is_own(name), name))


def _write(name: str, base: Runtime, order: Order) -> None:
    path = Path("runtimes") / f"{name}.toml"
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_MARK):
        raise UsageError(f"{path} is there, and not by this command: give another --name")
    if name in runtime.names() and not path.exists():
        raise UsageError(f"edge has a runtime {name} already: give another --name")
    what = [f"for {order.mcpu}"] if order.mcpu else []
    what += [f"{len(order.operators)} operators"] if order.operators else []
    what += ["own sources"] if order.tree else []
    description = f"{base.description}: {', '.join(what)}"
    lines = [_MARK, f"description = {toml.quoted(description)}", 'engine = "tflite"', ""]
    lines += ["[source]", f"name = {toml.quoted(order.source)}"]
    lines += [f"tree = {toml.quoted(str(order.tree))}"] if order.tree else []
    lines += [f"mcpu = {toml.quoted(order.mcpu)}"] if order.mcpu else []
    if order.operators:
        lines += ["operators = [", *(f"  {toml.quoted(each)}," for each in order.operators), "]"]
    if base.features:
        lines += ["", "[features]"]
        lines += [f"{arch} = {json.dumps(list(each))}" for arch, each in base.features.items()]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


# --- made and tried -------------------------------------------------------------------------------


def make(chosen: Runtime, target: Board, progress: Progress, *, jobs: int | None = None) -> Made:
    """The library, from the cache or compiled, and what the models did with it.

    :raises HostError: it can't be compiled here; see :func:`tflite.library`.
    :raises BoardError: it computes something else than this machine, or crashes.
    """
    assert chosen.order is not None
    built = tflite.library(chosen.order, target, progress, jobs=jobs)
    whole = None
    if chosen.order.operators:
        everything = dataclasses.replace(chosen.order, operators=())
        if found := tflite.cached(everything, target):
            whole = found.path.stat().st_size
    return Made(
        *(chosen, built, built.path.stat().st_size, whole),
        checks(chosen.order, built, target, progress),
    )


def checks(order: Order, built: Built, target: Board, progress: Progress) -> tuple[Check, ...]:
    """What the models did with the library; kept beside it.

    :raises BoardError: it computes something else than this machine, or crashes.
    """
    kept = built.path.with_name("checks.json")
    if kept.exists():
        return tuple(Check(**values) for values in json.loads(kept.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(prefix="edge-check-") as folder:
        paths = []
        for dtype, make_model in MODELS.items():
            path = Path(folder) / f"check-{dtype}.tflite"
            path.write_bytes(make_model())
            used = operators.used([model.read(path)])
            if not order.operators or set(used) <= set(order.operators):
                paths.append(path)
        found = _tried(built, target, paths, progress) if paths else ()
    text = json.dumps([dataclasses.asdict(each) for each in found])
    kept.write_text(text, encoding="utf-8")
    return found


def _tried(
    built: Built, target: Board, paths: Sequence[Path], progress: Progress
) -> tuple[Check, ...]:
    place = board.load(_EMULATED[target.arch])
    cpu = _emulated_core(built.recipe.mcpu, place, progress)
    place = dataclasses.replace(place, name=f"check-{target.arch}", cpu=cpu)
    progress(f"trying the library on an emulated {cpu}")
    choice = deploy.Choice(engine="tflite", library=built.path)
    checker = build.host_library(progress)
    found = tuple(release.model_artifact(path, checker) for path in paths)
    with session.connect(place, progress) as opened:
        wanted = deploy.prepared(opened, found, progress, choice)
        with deploy.staged(opened, wanted, progress):
            return tuple(_check(opened, wanted, item, cpu) for item in found)


def _check(opened: session.Session, wanted: release.Release, item: Artifact, cpu: str) -> Check:
    expected = reference.compute(item.path)
    got, told = runner.infer(opened, wanted, item, expected.inputs_file, each=False)
    compared = agreement.compare(item.path.name, got, expected)
    if not compared.ok:
        raise BoardError(
            f"the library computes something else on an emulated {cpu} than this machine's "
            f"{expected.interpreter} for {item.path.name} (largest difference "
            f"{compared.largest_difference:.4g}, allowed {compared.bound:.4g}): do not use it"
        )
    delegation = told.get("delegation") or {}
    by_xnnpack = "XNNPACK" in delegation.get("delegates", [])
    return Check(
        item.path.stem.removeprefix("check-"),
        cpu,
        len(model.read(item.path).subgraphs[0].operators),
        int(delegation.get("nodes_delegated") or 0) if by_xnnpack else 0,
        compared.largest_difference,
    )


def _emulated_core(mcpu: str, place: Board, progress: Progress) -> str:
    """The core that was compiled for, if QEMU has it; else the board's that it is tried on."""
    architecture = {"aarch64": "arm64", "armv7l": "armhf"}[place.arch]
    tool = emulator.user_emulator(architecture, progress)
    listed = subprocess.run(
        [*tool.argv, "-cpu", "help"], env=tool.environ(), capture_output=True, text=True
    ).stdout
    core = mcpu.partition("+")[0].replace("_", "-")
    return core if re.search(rf"^\s*{re.escape(core)}\s*$", listed, re.MULTILINE) else place.cpu
