"""Profile: which operators an invocation's time goes to, from a process of its own on the board."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edge import layout, model, runner, stats
from edge.artifact import Artifact
from edge.errors import BoardError, UsageError
from edge.model import Model
from edge.release import Release
from edge.run import Run
from edge.session import Session

SCHEMA = 1
"""Of profile.json; docs/runs.md has its history."""

FILE = "profile.json"
ENGINE = "tflite"

_INVOCATIONS = 100
"""At most: medians need no more."""
_LONGEST_S = 3600.0
_NAME_LIMIT = 200
_BUILTIN = "built-in kernel"
_KERNEL = "kernel of --ops"


@dataclass(frozen=True)
class Operator:
    """One node of the plan that the runtime executed.

    :ivar name: as the model's file has it; a delegate's node is called as the runtime calls it.
    :ivar node: as the file numbers it; what a delegate added has a number beyond the file's.
    :ivar by: who ran it: ``built-in kernel``, ``kernel of --ops``, ``XNNPACK``, or the external
        delegate's path.
    :ivar contains: operator -> how many of the file's nodes a delegate's node stands for; empty if
        it is none, or shares them with another node of that subgraph.
    :ivar elapsed_ns: per invocation, without operators that ran inside of it, such as a loop's.
    :ivar runs: per invocation: 0 in a branch not taken, several in a loop.
    """

    name: str
    subgraph: int
    node: int
    by: str
    contains: dict[str, int]
    elapsed_ns: tuple[int, ...]
    runs: tuple[int, ...]

    @property
    def median_ns(self) -> float:
        """Nanoseconds per invocation."""
        return stats.median(self.elapsed_ns)

    @property
    def median_runs(self) -> float:
        return stats.median(self.runs)

    @property
    def delegated(self) -> bool:
        return self.by not in (_BUILTIN, _KERNEL)


@dataclass(frozen=True)
class Profile:
    """Where the time of an invocation goes.

    :ivar invokes_ns: whole invocations with the profiler on, which ``operators`` are parts of.
    :ivar unprofiled_ns: the median of the run that the profile belongs to.
    :ivar operators: the slowest first.
    """

    model: str
    engine: str
    emulated: bool
    unprofiled_ns: float
    invokes_ns: tuple[int, ...]
    operators: tuple[Operator, ...]

    @property
    def invoke_ns(self) -> float:
        """The median of the invocations with the profiler on."""
        return stats.median(self.invokes_ns)

    @property
    def operators_ns(self) -> float:
        """The sum of the operators' medians."""
        return sum(each.median_ns for each in self.operators)

    @property
    def rest_ns(self) -> float:
        """What no operator took: the interpreter's own work, and the profiler's. Medians need not
        add up, so it may be negative."""
        return self.invoke_ns - self.operators_ns

    @property
    def cost(self) -> float:
        """Of an invocation without the profiler: what the profiler adds."""
        return self.invoke_ns / self.unprofiled_ns - 1


def check(engine: str) -> None:
    """:raises UsageError: the engine tells no time per operator."""
    if engine == ENGINE:
        return
    why = {
        "litert": "edge does not call LiteRT's profiler",
        "python": "the interpreter of Python has no profiler",
        "native": "the interpreter of Python has no profiler",
    }
    raise UsageError(
        f"--profile: engine {engine} can't: {why.get(engine, 'it has no profiler')}"
        f"; choose --engine {ENGINE}"
    )


def take(
    session: Session,
    release: Release,
    artifact: Artifact,
    run: Run,
    progress: Callable[[str], None],
) -> Profile:
    """Profile the model of a run that has just ended, and keep that in the run's folder.

    A process of its own: the run was measured without a profiler.

    :raises UsageError: the runtime has no profiler.
    :raises BoardError: the runner failed, or its report is damaged.
    """
    name = PurePosixPath(artifact.place).name
    progress(f"profiling {name}")
    plan = run.plan
    count = min(plan.count, _INVOCATIONS)
    if plan.duration_s:
        count = max(1, min(count, int(plan.duration_s * 1e9 / max(run.median_ns, 1.0))))
    words = [
        *runner.argv(session, release, "profile", artifact, plan.options),
        *("--warmup", str(plan.warmup), "--count", str(count)),
    ]
    told = runner.call(session, words, _LONGEST_S)
    found = parse(told, model.read(artifact.path), run)
    save(found, layout.runs_dir() / run.id)
    return found


def parse(report: Mapping[str, Any], read: Model, run: Run) -> Profile:
    """What ``edge-run profile`` said, by the names of the model's own file.

    :raises BoardError: it is no such report.
    """
    try:
        invokes_ns = _numbers(report["invokes_ns"])
        if not invokes_ns:
            raise ValueError("no invocation")
        told = report["operators"]
        if not isinstance(told, list) or not told:
            raise ValueError("no operator")
        taken = _taken(report["delegation"]["nodes"])
        nodes = collections.Counter(
            _number(each["subgraph"]) for each in told if each["delegate"] is not None
        )
        operators = [
            _operator(each, read, taken if nodes[each["subgraph"]] == 1 else [], len(invokes_ns))
            for each in told
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BoardError(f"the runner's profile is damaged ({error}): deploy again") from None
    return Profile(
        model=run.model,
        engine=run.engine,
        emulated=run.emulated,
        unprofiled_ns=run.median_ns,
        invokes_ns=invokes_ns,
        operators=tuple(sorted(operators, key=lambda each: -each.median_ns)),
    )


def _operator(
    told: Mapping[str, Any], read: Model, taken: list[tuple[int, int]], count: int
) -> Operator:
    number, node = _number(told["subgraph"]), _number(told["node"])
    elapsed_ns, runs = _numbers(told["elapsed_ns"]), _numbers(told["runs"])
    if len(elapsed_ns) != count or len(runs) != count:
        raise ValueError("a series of another length than the others'")
    graph = read.subgraphs[number].operators if number < len(read.subgraphs) else ()
    by = told["delegate"]
    contains: dict[str, int] = {}
    if by is not None:
        by = _text(by)
        for index in (index for subgraph, index in taken if subgraph == number):
            inner = graph[index].custom or graph[index].name if index < len(graph) else "?"
            contains[inner] = contains.get(inner, 0) + 1
    if node < len(graph):
        name = graph[node].custom or graph[node].name
    else:
        name = _text(told["name"])
    return Operator(
        name=name,
        subgraph=number,
        node=node,
        # Without a delegate, what the file does not have stands for a node of a custom operator.
        by=by if by is not None else _BUILTIN if node < len(graph) else _KERNEL,
        contains=contains,
        elapsed_ns=elapsed_ns,
        runs=runs,
    )


def _taken(nodes: Any) -> list[tuple[int, int]]:
    """(subgraph, node) of what delegates took; none if the engine can't tell."""
    if nodes is None:
        return []
    return [(_number(subgraph), _number(node)) for subgraph, node in nodes]


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{str(value)[:40]!r} for a number")
    return value


def _numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list):
        raise ValueError("no list of numbers")
    return tuple(_number(value) for value in values)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > _NAME_LIMIT:
        raise ValueError("a name that is none")
    return value


def save(profile: Profile, folder: Path) -> None:
    """Write profile.json, every time of every operator, beside the run's run.json."""
    text = json.dumps({**dataclasses.asdict(profile), "schema": SCHEMA}, indent=1, sort_keys=True)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")
