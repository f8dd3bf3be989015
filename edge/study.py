"""Study: the claims of :mod:`edge.questions`, asked on one board, and what became of each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edge import (
    abi,
    agreement,
    bench,
    claim,
    convert,
    deploy,
    inspection,
    layout,
    model,
    preflight,
    reference,
    rounds,
    runner,
    runtime,
)
from edge import split as split_module
from edge.agreement import Agreement
from edge.artifact import Artifact
from edge.cell import KERAS, SAVED, Cell, Figures, Inventory, Subject, Way, subject
from edge.claim import Claim, Verdict
from edge.comparison import troubles
from edge.deploy import Choice
from edge.errors import BoardError, EdgeError, UnreachableError, UsageError
from edge.group import MOST_ROUNDS, Group
from edge.options import Options
from edge.questions import NO_KERAS, SMALL
from edge.release import Release
from edge.rounds import Contender
from edge.run import Plan, Run
from edge.session import Session
from edge.split import Split

Progress = Callable[[str], None]

BUNDLED = (
    "digits/models/mlp-float32.tflite",
    "digits/models/mlp-int8.tflite",
    "digits/models/cnn-float32.tflite",
    "digits/models/cnn-int8.tflite",
    "mobilenet/mobilenet-float32.tflite",
    "mobilenet/mobilenet-int8.tflite",
    "mobilenet/mobilenet-v2-int8.tflite",
)
"""Of examples/: models of rising size."""

BUSY = 0.05
"""Share of the processors: less is what any system does by itself."""
_MOST_BATCH = 4096

PLAN = Plan(count=4000, duration_s=0.3, warmup=3)
"""Of a cell in a round: a p99 has bounds from 368 samples on that are independent of each other."""

_SPLIT_WORK = 40_000_000
"""Multiply-accumulates of a series of a split, about: a large model has fewer samples."""
_SPLIT_SAMPLES = (2 * bench.ROUNDS, 20 * bench.ROUNDS)


@dataclass(frozen=True)
class Answer:
    """What a way made of a model's first input.

    :ivar agreement: with this machine's reference; None: there is no answer, and why.
    """

    way: Way
    subject: Subject
    agreement: Agreement | None
    why: str = ""


@dataclass(frozen=True)
class Study:
    """What was asked on a board, and what came of it.

    :ivar emulated: its times say nothing about a real board.
    :ivar rounds: that were measured, of ``most`` that were asked for; fewer if the next one would
        have ended after ``longest_s``.
    :ivar measured: the figures of each cell that could be measured.
    :ivar refused: the other cells, and why.
    :ivar left_out: models that were not asked about, and why.
    :ivar remarks: what a reader should know of the rounds.
    :ivar busy: share of the board's processors that other programs took, before each round.
    """

    board: str
    target: str
    system: str
    emulated: bool
    measured_at: str
    command: str
    rounds: int
    inventory: Inventory
    measured: dict[Cell, Figures]
    refused: dict[Cell, str]
    splits: dict[tuple[Way, Subject], Split]
    verdicts: tuple[Verdict, ...]
    answers: tuple[Answer, ...] = ()
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    folder: str = ""
    most: int = 0
    longest_s: float = 0.0
    busy: tuple[float, ...] = ()


# --- models ---------------------------------------------------------------------------------------


def bundled() -> list[Path]:
    """:raises UsageError: this is no checkout, which has them."""
    found = [layout.data_dir("examples") / name for name in BUNDLED]
    if missing := [path for path in found if not path.is_file()]:
        raise UsageError(
            f"the models of a study come with edge's checkout, {missing[0]} is not there: name "
            "your own with --model"
        )
    return found


def subjects(paths: Sequence[Path]) -> tuple[Subject, ...]:
    """Models, the least work first.

    :param paths: as :func:`deploy.models` has looked through them.
    :raises UsageError: a file is named twice.
    """
    found = [subject(path, _work(path)) for path in paths]
    if len({each.path.name for each in found}) < len(found):
        raise UsageError("--model names two files of one name: rename one")
    return tuple(sorted(found, key=lambda each: (each.work, each.name)))


def _work(path: Path) -> int:
    graphs = inspection.of_model(model.read(path)).graphs
    return sum(graph.multiply_accumulates for graph in graphs)


def _exported(one: Subject, progress: Progress) -> Subject:
    """With its SavedModel, made of its Keras file once and kept in the cache.

    :raises EdgeError: as :func:`convert.export`.
    """
    if one.keras is None:
        return one
    source = convert.source(one.keras)
    folder = layout.exports_dir() / source.sha256[:16]
    with layout.exclusive(folder, progress):
        saved = folder / one.family
        if not saved.is_dir():
            progress(f"exporting {one.keras.name} as a SavedModel")
            convert.export(source, saved, progress)
    return dataclasses.replace(one, saved=saved)


def chosen(
    found: tuple[Subject, ...], *, own: bool, emulated: bool
) -> tuple[tuple[Subject, ...], tuple[str, ...]]:
    """Those to ask about, and why the others are left out: bundled ones that an emulated board
    would take minutes for, to say nothing about a real one."""
    if own or not emulated:
        return found, ()
    left = [each for each in found if each.work >= SMALL]
    why = "it would take minutes, emulated: name it with --model to ask all the same"
    return (
        tuple(each for each in found if each.work < SMALL),
        tuple(f"{each.name}: {why}" for each in left),
    )


# --- what a user may ask --------------------------------------------------------------------------


def report_file(path: Path | None) -> Path | None:
    """``path``, if a report can be written there.

    :raises UsageError: it has another ending, or no folder.
    """
    if path is None:
        return None
    if path.suffix != ".md":
        raise UsageError(f"--output {path}: the report is Markdown: name a .md file")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"--output {path}: name a file in a folder that is there")
    return path


def rounds_of(number: int) -> int:
    """:raises UsageError: too few for an interval, or more than a group numbers."""
    if not claim.LEAST_ROUNDS <= number <= MOST_ROUNDS:
        raise UsageError(f"--rounds {number}: must be {claim.LEAST_ROUNDS} to {MOST_ROUNDS}")
    return number


def batch_of(number: int) -> int:
    """:raises UsageError: it is no large batch."""
    if not 2 <= number <= _MOST_BATCH:
        raise UsageError(f"--batch {number}: must be 2 to {_MOST_BATCH} examples")
    return number


def longest_of(text: str) -> float:
    """In seconds.

    :raises UsageError: it is no time above 0.
    """
    if (longest_s := bench.seconds("--longest", text)) <= 0:
        raise UsageError(f"--longest {text}: must be more than 0 seconds")
    return longest_s


# --- ways -----------------------------------------------------------------------------------------


def ways(
    session: Session, engines: Sequence[str], progress: Progress, *, heavy: bool = False
) -> tuple[tuple[Way, ...], dict[str, str]]:
    """What a board has for each of ``engines``, before anything is sent; what it lacks, and why.

    :param heavy: TensorFlow's library may go over a link.
    :raises UnreachableError: the link is lost.
    """
    found: list[Way] = []
    missing: dict[str, str] = {}
    for engine in engines:
        if engine not in runtime.ENGINES:
            missing[engine] = f"edge has no engine {engine}"
            continue
        if engine == "tensorflow" and not (heavy or session.board.local):
            missing[engine] = "TensorFlow's library is 0.9 GB: --tensorflow sends it over the link"
            continue
        try:
            interpreter = deploy.python_for(session, Choice(engine), progress)
        except UnreachableError:
            raise
        except EdgeError as error:
            missing[engine] = str(error)
            continue
        names = []
        for name in runtime.for_engine(engine):
            one = runtime.load(name)
            if interpreter is not None:
                fits = runtime.has_wheel(one, interpreter)
                what = f"Python {interpreter.version} on {interpreter.machine}"
            else:
                fits, what = session.board.arch in one.wheels, session.board.arch
            if fits:
                names.append(name)
            else:
                missing.setdefault(engine, f"runtime {name} has nothing for {what}")
        for name in names:
            missing.pop(engine, None)
            found.append(Way(engine, name))
            if engine in ("tflite", "litert"):
                found.append(Way(engine, name, xnnpack=False))
            if engine == "python":
                found.append(Way(engine, name, call=True))
                found += [Way(engine, name, call=True, gc=True)] if name == names[0] else []
    return tuple(found), missing


@dataclass
class _Releases:
    """What goes to the board: a release for each engine and runtime, of the models it can run.

    :ivar refused: engine, runtime, and the model's file -> why the board does not take it.
    """

    session: Session
    progress: Progress
    found: dict[tuple[str, str], Release] = field(default_factory=dict)
    refused: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def prepare(self, way: Way, files: Sequence[Path]) -> None:
        """:raises UnreachableError: the link is lost."""
        models = list(deploy.models(list(files), self.progress))
        release, why = self._made(way, models)
        if release is None and len(models) > 1:
            # One that it can't run must not keep the others out.
            alone = {item: self._made(way, [item])[1] for item in models}
            models = [item for item, why in alone.items() if not why]
            self._refuse(way, {item.path.name: why for item, why in alone.items() if why})
            release, why = self._made(way, models) if models else (None, why)
        if release is None:
            self._refuse(way, {item.path.name: why for item in models})
        else:
            self.found[way.engine, way.runtime] = release

    def _refuse(self, way: Way, whys: dict[str, str]) -> None:
        self.refused |= {(way.engine, way.runtime, name): why for name, why in whys.items()}

    def _made(self, way: Way, models: Sequence[Artifact]) -> tuple[Release | None, str]:
        """The release, or why there is none."""
        choice = Choice(way.engine, way.runtime)
        try:
            release = deploy.prepared(self.session, models, self.progress, choice)
            preflight.insist(
                deploy.look(
                    *(self.session, release.artifacts, release.models, release.size_bytes),
                    *(release.runtime, self.progress),
                )
            )
        except UnreachableError:
            raise
        except (UsageError, BoardError) as error:
            return None, str(error)
        return release, ""

    def why_not(self, cell: Cell) -> str:
        """Empty if the board takes what the cell needs."""
        return self.refused.get((cell.way.engine, cell.way.runtime, _file(cell).name), "")

    def of(self, way: Way) -> Release:
        return self.found[way.engine, way.runtime]

    def model(self, cell: Cell) -> Artifact:
        """What the cell runs, in its release."""
        name = _file(cell).name
        return next(m for m in self.of(cell.way).models if PurePosixPath(m.place).name == name)


def _file(cell: Cell) -> Path:
    found = cell.subject.file(cell.way.engine)
    assert found is not None  # a case without the model is none
    return found


# --- measuring ------------------------------------------------------------------------------------


@dataclass
class Told:
    """Where a study is, for people: told before each cell, and by what was measured, how long the
    rest takes.

    :ivar tell: takes the text.
    :ivar most: rounds.
    """

    tell: Callable[[str], None]
    cells: Sequence[Cell]
    most: int
    clock_s: Callable[[], float] = time.monotonic
    _took_s: dict[int, float] = field(default_factory=dict)
    _began: tuple[int, float] | None = None
    _done: int = 0
    _turns: dict[int, int] = field(default_factory=dict)
    _out: set[int] = field(default_factory=set)

    def turn(self, arm: int) -> None:
        """A cell begins; the one before has ended."""
        self._end()
        self._began = arm, self.clock_s()
        self._turns[arm] = self._turns.get(arm, 0) + 1
        total = self.most * (len(self.cells) - len(self._out))
        total += sum(self._turns[each] for each in self._out)
        text = f"cell {self._done + 1} of {total}"
        if (left_s := self.left_s(arm)) is not None:
            text += f", about {_time(left_s)} left"
        self.tell(f"{text}: {self.cells[arm].name}")

    def left_out(self, arm: int) -> None:
        """It has no further turn."""
        self._out.add(arm)

    def _end(self) -> None:
        if self._began is not None:
            arm, began_s = self._began
            self._took_s[arm] = self.clock_s() - began_s
            self._done += 1

    def round_s(self) -> float:
        """Of the cells so far, each as it took the last time."""
        return sum(self._took_s.values())

    def left_s(self, arm: int) -> float | None:
        """With the turn of ``arm`` that begins: each cell as it took the last time, and those that
        had no turn yet as the others on average. None: nothing was measured yet."""
        if not self._took_s:
            return None
        mean_s = self.round_s() / len(self._took_s)
        turns = {each: self.most - self._turns.get(each, 0) for each in range(len(self.cells))}
        turns[arm] += 1
        return sum(
            count * self._took_s.get(each, mean_s)
            for each, count in turns.items()
            if each not in self._out
        )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@dataclass(frozen=True)
class Asked:
    """What a user asked for.

    :ivar own: the models are the user's, not the bundled ones.
    :ivar heavy: TensorFlow's library may go over a link.
    """

    claims: tuple[Claim, ...]
    subjects: tuple[Subject, ...]
    rounds: int
    batch: int
    longest_s: float
    own: bool
    heavy: bool = False
    seed: int = 1
    plan: Plan = PLAN


def run(
    session: Session,
    asked: Asked,
    group_of: Callable[[tuple[str, ...]], Group],
    library: abi.Library,
    progress: Progress,
    tell: Callable[[str], None],
    *,
    measured_at: str,
    command: str,
    wait_s: float = 0.0,
) -> Study:
    """Ask the claims on a board. What was live there stays live.

    :param group_of: makes the group of the rounds; it is given the cells' names.
    :param tell: how far it is, beside the last line of ``progress``.
    :raises UsageError: nothing of what was asked can be measured there.
    :raises EdgeError: as :func:`rounds.measure`.
    """
    began_s = time.monotonic()
    emulated = session.board.emulated or session.facts.emulated
    wanted, left_out = chosen(asked.subjects, own=asked.own, emulated=emulated)
    stock, releases = _stock(session, asked, wanted, progress)
    wanted_cells = claim.wanted(asked.claims, stock)
    refused = {cell: why for cell in wanted_cells if (why := releases.why_not(cell))}
    cells = [cell for cell in wanted_cells if cell not in refused]
    if not cells:
        told = "; ".join(dict.fromkeys(stock.missing.values())) or "no model fits the questions"
        raise UsageError(f"nothing of this can be asked on {session.board.name}: {told}")
    measured: dict[Cell, Figures] = {}
    busy: list[float] = []
    with deploy.staged(session, list(releases.found.values()), progress, wait_s=wait_s):
        answers = tuple(_answers(session, releases, cells, progress))
        splits = dict(_splits(session, releases, cells, library, progress, command, refused))
        measured |= {cell: figures for cell, figures in _parts(splits) if cell in set(cells)}
        whole = [cell for cell in cells if not cell.phase]
        runs = (
            _rounds(
                *(session, asked, releases, whole, library, progress, tell, refused, busy),
                place=group_of(tuple(cell.name for cell in whole)),
                until_s=began_s + asked.longest_s,
            )
            if whole
            else {}
        )
    measured |= {cell: figures_of(found) for cell, found in runs.items() if found}
    return Study(
        board=session.board.name,
        target=session.transport.name,
        system=session.facts.system,
        emulated=emulated,
        measured_at=measured_at,
        command=command,
        rounds=max((len(found) for found in runs.values()), default=0),
        inventory=stock,
        measured=measured,
        refused=refused,
        splits=splits,
        verdicts=tuple(claim.judge(each, stock, measured, refused) for each in asked.claims),
        answers=answers,
        left_out=left_out,
        remarks=tuple(line for cell, found in runs.items() for line in troubles(found, cell.name)),
        busy=tuple(busy),
        folder=next((f[0].id.rpartition("/")[0] for f in runs.values() if f), ""),
        most=asked.rounds,
        longest_s=asked.longest_s,
    )


def _stock(
    session: Session, asked: Asked, wanted: tuple[Subject, ...], progress: Progress
) -> tuple[Inventory, _Releases]:
    """What the board can be asked, and what has to be there for it."""
    engines = [e for e in runtime.ENGINES if any(e in n for c in asked.claims for n in c.needs)]
    # Without a model for it TensorFlow need not be there.
    useless = [] if any(each.keras for each in wanted) else [*KERAS, *SAVED]
    engines = [engine for engine in engines if engine not in useless]
    there, missing = ways(session, engines, progress, heavy=asked.heavy)
    missing |= dict.fromkeys(useless, NO_KERAS)
    if any(way.engine in SAVED for way in there):
        wanted = tuple(_exported(each, progress) for each in wanted)
    stock = Inventory(session.board.name, there, wanted, missing, asked.batch)
    releases = _Releases(session, progress)
    # Only what is asked about is fetched, and taken along.
    files: dict[tuple[str, str], dict[Path, None]] = {}
    for cell in claim.wanted(asked.claims, stock):
        files.setdefault((cell.way.engine, cell.way.runtime), {})[_file(cell)] = None
    for key, paths in files.items():
        releases.prepare(Way(*key), list(paths))
    lost = files.keys() - releases.found.keys()
    there = tuple(way for way in there if (way.engine, way.runtime) not in lost)
    for engine, name in sorted(lost):
        why = next(why for key, why in releases.refused.items() if key[:2] == (engine, name))
        left = any(way.engine == engine for way in there)
        missing[f"{engine} {name}" if left else engine] = why
    return dataclasses.replace(stock, ways=there, missing=missing), releases


def _answers(
    session: Session, releases: _Releases, cells: Sequence[Cell], progress: Progress
) -> Iterator[Answer]:
    """What each way computes of each model's first input, beside this machine's reference.

    ``native`` is left out: it is Python's own interpreter, and a split compares their bits.
    """
    asked = dict.fromkeys(
        Cell(Way(cell.way.engine, cell.way.runtime), cell.subject)
        for cell in cells
        if cell.way.engine != "native"
    )
    progress(f"comparing {len(asked)} answers with this machine's reference")
    for cell in asked:
        expected = reference.compute(cell.subject.path)
        release, item = releases.of(cell.way), releases.model(cell)
        try:
            got, _ = runner.infer(session, release, item, expected.inputs_file, each=False)
            if len(got) == len(expected.outputs) == 1:  # Keras names it otherwise
                got = dict(zip(expected.outputs, got.values(), strict=True))
            found = agreement.compare(cell.subject.name, got, expected)
        except UnreachableError:
            raise
        except (UsageError, BoardError) as error:
            yield Answer(cell.way, cell.subject, None, runner.plain(session, str(error)))
        else:
            yield Answer(cell.way, cell.subject, found)


_LOOK = "read -r first </proc/stat; sleep 0.5; read -r last </proc/stat; echo $first; echo $last"


def _others(session: Session) -> list[float]:
    """Share of the processors that is taken while nothing of ours runs: one number, or none if the
    board does not tell (proc(5), /proc/stat: ticks of user, nice, system, idle, iowait and more).

    :raises UnreachableError: the link is lost.
    """
    lines = session.transport.run(["sh", "-c", _LOOK]).text.splitlines()
    try:
        first, last = ([int(word) for word in line.split()[1:9]] for line in lines)
    except ValueError:
        return []
    spent = [after - before for before, after in zip(first, last, strict=True)]
    return [1 - (spent[3] + spent[4]) / sum(spent)] if sum(spent) > 0 and len(spent) > 4 else []


def _rounds(
    session: Session,
    asked: Asked,
    releases: _Releases,
    cells: list[Cell],
    library: abi.Library,
    progress: Progress,
    tell: Callable[[str], None],
    refused: dict[Cell, str],
    busy: list[float],
    *,
    place: Group,
    until_s: float,
) -> dict[Cell, tuple[Run, ...]]:
    """The runs of each cell, in the order of the rounds."""
    told = Told(tell, cells, asked.rounds)

    def begin(number: int, medians: rounds.Medians) -> None:
        progress(f"round {number} of {asked.rounds}")
        busy.extend(_others(session))

    def leave_out(arm: int, error: EdgeError) -> None:
        # Of the letter that the arm has in the group nobody else knows.
        refused[cells[arm]] = runner.plain(session, str(error).partition(": ")[2])
        told.left_out(arm)

    def enough(medians: rounds.Medians) -> bool:
        most = max(map(len, medians))
        return most >= claim.LEAST_ROUNDS and time.monotonic() + told.round_s() > until_s

    progress(f"measuring {len(cells)} cells, each in up to {asked.rounds} rounds")
    found = rounds.measure(
        *(session, place, [_contender(cell, releases, asked.plan) for cell in cells]),
        *(library, progress),
        count=asked.rounds,
        seed=asked.seed,
        begin=begin,
        enough=enough,
        families=[cell.subject.family for cell in cells],
        turn=lambda number, arm: told.turn(arm),
        leave_out=leave_out,
    )
    return dict(zip(cells, found, strict=True))


def _contender(cell: Cell, releases: _Releases, plan: Plan) -> Contender:
    opened = Options(batch=cell.batch if cell.batch != 1 else 0, xnnpack=cell.way.xnnpack)
    how = dataclasses.replace(plan, options=opened, call=cell.way.call, gc=cell.way.gc)
    return Contender(releases.of(cell.way), releases.model(cell), how)


def figures_of(runs: Sequence[Run]) -> Figures:
    """What a cell's runs came to."""
    p99s = [{p.quantile: p.value for p in run.percentiles()}.get(0.99) for run in runs]
    counted = [run.report.get("collections") for run in runs]
    known = [count for count in counted if type(count) is int]
    return Figures(
        latency_ns=tuple(run.median_ns for run in runs),
        p99_ns=tuple(p99s),
        start_ns=tuple(run.cold_start_ns for run in runs),
        peak_bytes=tuple(float(run.report["peak_rss_bytes"] or 0) for run in runs),
        collections=sum(known) if known else None,
        delegated=runs[0].delegated,
    )


def _splits(
    session: Session,
    releases: _Releases,
    cells: Sequence[Cell],
    library: abi.Library,
    progress: Progress,
    command: str,
    refused: dict[Cell, str],
) -> Iterator[tuple[tuple[Way, Subject], Split]]:
    """Each model's call in parts, by the way whose engine is ``native``."""
    asked = [cell for cell in cells if cell.phase]
    for way, one in dict.fromkeys((c.way, c.subject) for c in asked if c.way.engine == "native"):
        release, item = releases.of(way), releases.model(Cell(way, one))
        least, most = _SPLIT_SAMPLES
        count = min(most, max(least, _SPLIT_WORK * bench.ROUNDS // max(1, one.work)))
        plan = Plan(count=count // bench.ROUNDS * bench.ROUNDS, warmup=PLAN.warmup)
        try:
            _, found = bench.split(session, release, item, plan, library, progress, command=command)
        except UnreachableError:
            raise
        except (UsageError, BoardError) as error:
            refused |= {c: runner.plain(session, str(error)) for c in asked if c.subject == one}
            continue
        yield (way, one), found


def _parts(splits: dict[tuple[Way, Subject], Split]) -> Iterator[tuple[Cell, Figures]]:
    for (way, one), split in splits.items():
        for part in split.parts:
            for engine, rounds_ns in zip(
                split_module.ENGINES, (part.native_rounds_ns, part.python_rounds_ns), strict=True
            ):
                cell = Cell(Way(engine, way.runtime), one, phase=part.phase)
                yield cell, Figures(latency_ns=rounds_ns)
