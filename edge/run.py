"""Run: one measurement. Plan, what was found, and the samples; saved as run.json + samples.bin."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import abi, environment, options, samples, stats, steady
from edge.environment import Environment
from edge.errors import UntrustedError, UsageError
from edge.options import DEFAULT, Options
from edge.samples import Samples
from edge.stats import Percentile

QUANTILES = (0.5, 0.9, 0.99, 0.999)

SCHEMA = 1
"""Of run.json; docs/runs.md has its history."""

SOME = 0.02
"""Share of readings in which a clock may be low: one that rises as the run begins."""
_MOST_CPUS = 4096
_MOST_PACES = 4096
_SLOWER = 0.1
"""Of a core's pace: less may be the neighbour on a shared one."""
_SOME_PACES = 0.05
BUSY = 0.05
"""Of one processor: what other programs may take."""


@dataclass(frozen=True)
class Plan:
    """How to measure one model.

    :ivar count: samples to take, at most.
    :ivar duration_s: stop after this long even with fewer samples; 0: no limit.
    :ivar warmup: invocations before the first sample, at least.
    :ivar iterations: invocations per sample; 0: chosen so that a sample spans 100 clock ticks.
    :ivar options: how the model is opened.
    :ivar cpus: the processors to run on, ``4-7`` or ``0,2``; empty: wherever the board puts it.
    :ivar undisturbed: at the highest priority and in locked memory, as far as the board permits.
    :ivar rate_per_s: invocations that are due per second, whether or not the one before has ended
        (an open loop); 0: each follows the one before (a closed loop).
    :ivar poisson: they are due at random, independent of each other, at that rate on average.
    :ivar idle_s: pause before each invocation.
    :ivar seed: of what is random.
    :ivar settings: ``PATH=VALUE`` of the board, for as long as the run lasts.
    :ivar timeout_s: after which the run is ended; what was recorded by then is kept.
    :ivar gc: Python's garbage collector may run while samples are taken (engine ``python``).
    :ivar call: an invocation is a whole call: copy in, invoke, copy out (engine ``python``).
    :ivar resizes: times, at most, that the batch is changed to another and back after the last
        sample; after ``duration_s`` no further one begins.
    """

    count: int = 500
    duration_s: float = 0.0
    warmup: int = 20
    iterations: int = 0
    options: Options = DEFAULT
    cpus: str = ""
    undisturbed: bool = False
    rate_per_s: float = 0.0
    poisson: bool = False
    idle_s: float = 0.0
    seed: int = 1
    settings: tuple[str, ...] = ()
    timeout_s: float = 3600.0
    gc: bool = False
    call: bool = False
    resizes: int = 0

    @property
    def scenario(self) -> str:
        """``open loop, 50 per second, at random times``."""
        if self.rate_per_s:
            times = "at random times" if self.poisson else "evenly"
            return f"open loop, {self.rate_per_s:g} per second, {times}"
        return f"a pause of {1000 * self.idle_s:g} ms before each" if self.idle_s else "closed loop"


@dataclass(frozen=True)
class Reason:
    """Why a run is not to be trusted as a figure of the board's speed."""

    code: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Pace:
    """How fast cores were between samples: dependent additions, one a cycle on most of them.

    :ivar times_ns: shape ``[n]``, of the clock that samples have.
    :ivar adds_per_ns: shape ``[n]``; where an addition takes a cycle, that is GHz.
    """

    times_ns: npt.NDArray[np.int64]
    adds_per_ns: npt.NDArray[np.float64]

    @classmethod
    def parse(cls, told: Any) -> Pace | None:
        """What a runner reported, if it makes sense and is something."""
        if not isinstance(told, dict):
            return None
        adds, times, elapsed = (told.get(key) for key in ("adds", "time_ns", "elapsed_ns"))
        if not isinstance(times, list) or not isinstance(elapsed, list) or type(adds) is not int:
            return None
        if not times or len(times) != len(elapsed) or len(times) > _MOST_PACES or adds < 1:
            return None
        if not all(type(n) is int and 0 < n < 1 << 62 for n in (*times, *elapsed)):
            return None
        return cls(np.array(times, np.int64), adds / np.array(elapsed, np.float64))

    @property
    def usual(self) -> float:
        """What nine of ten readings do not exceed: their best, but for chance."""
        return float(np.quantile(self.adds_per_ns, 0.9))

    @property
    def slow(self) -> float:
        """Share of readings that are clearly below :attr:`usual`."""
        return float(np.mean(self.adds_per_ns < (1 - _SLOWER) * self.usual))


@dataclass(frozen=True)
class Run:
    """One measurement of one model on one board.

    :ivar emulated: its times say nothing about the speed of a real board.
    :ivar engine: what ran the model.
    :ivar runtime_sha256: of the runtime's library, or of the list of its files.
    :ivar report: what the runner printed: cold start, delegation, memory, clock, warnings.
    :ivar watched: what the board's readings are; None if it was not watched.
    :ivar environment: those readings, env.bin.
    """

    id: str
    board: str
    target: str
    emulated: bool
    model: str
    model_sha256: str
    runtime_sha256: str
    runner_sha256: str
    runtime: str
    engine: str
    kernel: str
    measured_at: str
    command: str
    plan: Plan
    report: dict[str, Any]
    samples: Samples = dataclasses.field(compare=False)
    watched: dict[str, Any] | None = None
    environment: Environment | None = dataclasses.field(default=None, compare=False)

    @functools.cached_property
    def settled_at(self) -> int | None:
        """The first sample of the steady part; None if the run never settled."""
        return steady.since(self.samples.latency_ns)

    @property
    def _span_ns(self) -> tuple[int, int]:
        """From the first sample's start to the last one's end; there is a sample."""
        first, last = self.samples.records[0], self.samples.records[-1]
        return int(first["start_ns"]), int(last["start_ns"]) + int(last["elapsed_ns"])

    @functools.cached_property
    def meanwhile(self) -> Environment | None:
        """How the board was between the first sample and the last; None: not known."""
        if self.environment is None or not len(self.samples):
            return None
        found = self.environment.between(*self._span_ns)
        return found if len(found) else None

    @property
    def cpus(self) -> frozenset[int]:
        """The processors that samples ended on."""
        cpus = self.samples.records["cpu"]
        known = cpus[(cpus >= 0) & (cpus < _MOST_CPUS)]
        return frozenset(np.flatnonzero(np.bincount(known)).tolist())

    @functools.cached_property
    def others(self) -> float | None:
        """Processors' worth of work that other programs did meanwhile; None: not known."""
        own_ns = self.report.get("cpu_ns")
        if self.meanwhile is None or type(own_ns) is not int:
            return None
        begin_ns, end_ns = self._span_ns
        return self.meanwhile.others(begin_ns, end_ns, own_ns) if end_ns > begin_ns else None

    @property
    def median_ns(self) -> float:
        """Of nanoseconds per invocation in the steady part, as they were recorded; no estimate.

        For comparing runs that took turns: what bounds it is how it differs from turn to turn.
        """
        return stats.median(self.samples.latency_ns[self.settled_at or 0 :])

    @property
    def cold_start_ns(self) -> float:
        """From opening the runtime to the end of the first invocation."""
        return float(sum(v for k, v in self.report["cold_start"].items() if k.endswith("_ns")))

    @property
    def delegated(self) -> str:
        """``4/5``: nodes that the delegate took, of all."""
        taken = self.report["delegation"]
        if taken is None:
            return ""
        if not taken["applied"]:
            return "off"
        if taken["nodes_total"] < 0:
            return "on"  # this engine does not tell how many
        return f"{taken['nodes_delegated']}/{taken['nodes_total']}"

    @functools.cached_property
    def far_out(self) -> tuple[int, float]:
        """How many samples of the steady part lie far above the others, and the longest of all, in
        nanoseconds per invocation. They are in every figure."""
        latency = self.samples.latency_ns[self.settled_at or 0 :]
        return int(np.count_nonzero(stats.far_out(latency))), float(np.max(latency, initial=0.0))

    @functools.cached_property
    def pace(self) -> Pace | None:
        """How fast the cores were; None: not known."""
        return Pace.parse(self.report.get("pace"))

    @property
    def throughput_per_s(self) -> float | None:
        """Invocations per second of the time spent in them; between samples none is counted."""
        records = self.samples.records
        elapsed_ns = int(records["elapsed_ns"].sum(dtype=np.uint64))
        count = int(records["iterations"].sum(dtype=np.int64))
        return 1e9 * count / elapsed_ns if elapsed_ns else None

    @functools.cached_property
    def throttled(self) -> float | None:
        """Share of samples that a Raspberry Pi's firmware throttled; None: the board can't say."""
        if self.meanwhile is None:
            return None
        records = self.samples.records
        middle_ns = records["start_ns"].astype(np.int64) + (records["elapsed_ns"] // 2).astype(
            np.int64
        )
        return self.meanwhile.throttled(middle_ns)

    def governors(self) -> list[str]:
        """Of the processors that samples ended on, as far as the board told them."""
        told = (self.watched or {}).get("settings", {})
        return environment.governors(told, self.cpus)

    def percentiles(self) -> list[Percentile]:
        """Of nanoseconds per invocation: those that the samples of the steady part support.

        Where there is no such part, of all samples; the verdict says so.
        """
        return list(self._percentiles)

    @functools.cached_property
    def _percentiles(self) -> tuple[Percentile, ...]:
        found = stats.percentiles(self.samples.latency_ns[self.settled_at or 0 :], QUANTILES)
        return tuple(p for p in found if p is not None)

    def verdict(self) -> list[Reason]:
        """Empty if the run may be trusted."""
        return list(_reasons(self))


def _reasons(run: Run) -> list[Reason]:
    found = []
    if run.emulated:
        found.append(
            Reason(
                "emulated",
                "emulated: these times say nothing about a real board's speed",
                "measure on the board itself",
            )
        )
    if len(run.samples) < stats.needed(0.5):
        found.append(
            Reason(
                "too-few-samples",
                f"{len(run.samples)} samples support no percentile",
                f"take at least {stats.needed(0.5)} (--count)",
            )
        )
    if "failure" in run.report:
        found.append(
            Reason("unfinished", f"it ended early: {run.report['failure']}", "measure again")
        )
    found += _changes(run)
    found += _surroundings(run)
    found += _settings(run)
    for text in run.report.get("warnings", []):
        if text == run.report.get("without_xnnpack"):
            remedy = (
                "`invoke inspect` with this board says why; docs/runtimes.md has other runtimes"
            )
            if "no XNNPACK delegate" in text:  # of the library: no model has any
                text = f"no XNNPACK int8 kernels, nor float32 ones: {text}"
            found.append(Reason("no-xnnpack", text, remedy))
        else:
            found.append(Reason("runtime-warning", text, "see docs/firmware.md"))
    if run.samples.remainder_bytes:
        found.append(
            Reason("cut-short", "the recording ends in the middle of a sample", "measure again")
        )
    return found


def _changes(run: Run) -> list[Reason]:
    """What the level of the latencies did, beyond warming up."""
    latency, cut = run.samples.latency_ns, run.settled_at
    if cut is None:
        tenth = len(latency) // 10
        first, last = stats.median(latency[:tenth]), stats.median(latency[-tenth:])
        return [
            Reason(
                "never-settled",
                "the latencies never settled: the first tenth took "
                f"{first / last:.2f} times as long as the last",
                "measure for longer (--count), let the board cool, or stop other programs",
            )
        ]
    if cut < max(1, len(latency) // 10):
        return []
    before, after = stats.median(latency[:cut]), stats.median(latency[cut:])
    if after < (1 + steady.NEGLIGIBLE) * before:
        return []
    return [
        Reason(
            "slowed",
            f"after {cut} of {len(latency)} samples it became {after / before:.2f} times as slow, "
            "and stayed so",
            "let the board cool, or see what else began to run on it",
        )
    ]


def _surroundings(run: Run) -> list[Reason]:
    """What the board did besides."""
    found, seen, pace = [], run.meanwhile, run.pace
    if pace is not None and pace.slow > _SOME_PACES:
        found.append(
            Reason(
                "pace",
                f"the cores were at {pace.adds_per_ns.min():.2f} to {pace.usual:.2f} additions per "
                f"ns, clearly slower in {_percent(pace.slow)} of the readings",
                "cool the board, and stop what else runs: it is throttled or shared, whatever its "
                "clock says",
            )
        )
    if seen is None:
        return found
    if share := run.throttled:
        found.append(
            Reason(
                "throttled",
                f"throttled, or short of power, for {_percent(share)} of samples",
                "cool the board, and give it a stronger power supply",
            )
        )
    clock = seen.lower_clock(run.cpus)
    if clock is not None and clock[2] > SOME:
        fell = (
            f"the clock was below its {clock[0]:.0f} MHz in {_percent(clock[2])} of the readings, "
            f"down to {clock[1]:.0f} MHz"
        )
        if moving := [name for name in run.governors() if name != "performance"]:
            found.append(
                Reason(
                    "governor",
                    f"{fell}: its governor is {' and '.join(moving)}",
                    "measure with --set governor=performance",
                )
            )
        else:
            found.append(
                Reason(
                    "clock",
                    fell,
                    "cool the board; `invoke doctor` says whether its clock is capped",
                )
            )
    others = run.others
    if others is not None and others > BUSY:
        found.append(
            Reason(
                "load",
                f"other programs took {others:.2f} of a processor",
                "stop them: `top` on the board shows which",
            )
        )
    return found


def _settings(run: Run) -> list[Reason]:
    """What somebody, or the board itself, set differently while it was measured."""
    watched = run.watched or {}
    before, after = watched.get("settings"), watched.get("settings_after")
    if before is None or after is None:
        return []
    changed = [
        f"{name} from {before.get(name, 'nothing')} to {after.get(name, 'nothing')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if not changed:
        return []
    return [
        Reason(
            "settings-changed",
            f"the board's settings changed meanwhile: {', '.join(changed)}",
            "see which program on the board sets them, and measure again",
        )
    ]


def _percent(share: float) -> str:
    """A share above 0 is never ``0 %``."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def insist(runs: Sequence[Run]) -> None:
    """:raises UntrustedError: a run is not trusted; it says for which reasons, by their codes."""
    doubted = [run for run in runs if run.verdict()]
    if doubted:
        codes = dict.fromkeys(reason.code for run in doubted for reason in run.verdict())
        raise UntrustedError(
            f"{len(doubted)} of {len(runs)} runs not trusted ({', '.join(codes)}): "
            "docs/measuring.md has what to do about each"
        )


def unfinished(error: str) -> dict[str, Any]:
    """The report of a run whose runner made none: what it would say is not known."""
    return {
        "failure": error,
        "ended_by": "failure",
        "delegation": None,
        "cold_start": {},
        "peak_rss_bytes": None,
        "iterations": None,
        "warnings": [],
    }


def save(run: Run, folder: Path) -> None:
    """Write run.json beside the samples.bin and env.bin that are already in ``folder``."""
    files = ("samples", "environment")
    values = {f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.name not in files}
    values["plan"] = dataclasses.asdict(run.plan)
    values["schema"] = SCHEMA
    values["summary"] = _summary(run)
    text = json.dumps(values, indent=1) + "\n"
    (folder / "run.json").write_text(text, encoding="utf-8")


def _summary(run: Run) -> dict[str, Any]:
    """What a listing shows, so that it need not open every run's samples."""
    return {
        "samples": len(run.samples),
        "median_ns": run.median_ns if len(run.samples) else None,
        "reasons": [reason.code for reason in run.verdict()],
    }


def read(folder: Path) -> dict[str, Any]:
    """What run.json says, without the samples.

    :raises UsageError: there is none, or another version's.
    """
    try:
        values = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        if (schema := values.pop("schema", 0)) != SCHEMA:
            newer = isinstance(schema, int) and schema > SCHEMA
            remedy = "read it with the edge that wrote it" if newer else "measure again"
            raise ValueError(f"its schema is {schema}, not {SCHEMA}: {remedy}")
        return values
    except FileNotFoundError:
        raise UsageError(
            f"{folder} has no run.json: the run was broken off, or is still going on"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{folder} holds no run that this version reads: {error}") from None


def surroundings(folder: Path, watched: dict[str, Any] | None) -> Environment | None:
    """The readings in ``folder``; None if the board was not watched.

    :raises UsageError: the file is missing or damaged.
    """
    told = environment.parse_told(watched)
    return None if told is None else environment.load(folder / "env.bin", told)


def load(folder: Path, library: abi.Library) -> Run:
    """:raises UsageError: the folder holds no run of this version."""
    values = read(folder)
    try:
        values.pop("summary", None)
        plan = values["plan"]
        plan["settings"] = tuple(plan["settings"])
        values["plan"] = Plan(**{**plan, "options": options.restore(plan["options"])})
        values["watched"] = environment.parse_told(values.get("watched"))
        values["environment"] = surroundings(folder, values["watched"])
        return Run(**values, samples=samples.load(library, folder / "samples.bin"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder} holds no run that this version reads: {error}") from None
