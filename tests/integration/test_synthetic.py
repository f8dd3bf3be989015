"""What is made of latencies that are known: the runner's own loop, by a clock that they move."""

from __future__ import annotations

import json
import math
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as sp

from edge import abi, board, build, samples, stats
from edge.run import Plan, Run

READING_NS = 20
"""What each sample is longer than its latency by: the virtual clock's own cost."""


@pytest.fixture(scope="session")
def runner() -> Path:
    return build.runner(board.load("localhost"), print).runner.path


@dataclass
class Bench:
    """`edge-run bench --synthetic`, its recording read back."""

    runner: Path
    library: abi.Library
    folder: Path

    def words(self, spec: str, seed: int, *flags: str) -> list[str]:
        recording = self.folder / f"{seed}.bin"
        return [
            *(str(self.runner), "bench", "--synthetic", spec, "--samples", str(recording)),
            *("--seed", str(seed), "--warmup", "0", "--warmup-ms", "0", "--iterations", "auto"),
            *flags,
        ]

    def run(self, spec: str, seed: int = 1, count: int = 2000, *flags: str) -> Run:
        done = subprocess.run(
            self.words(spec, seed, "--virtual", "--count", str(count), *flags),
            capture_output=True,
            check=True,
        )
        return self.of(seed, json.loads(done.stdout))

    def of(self, seed: int, report: dict[str, Any]) -> Run:
        told: dict[str, Any] = {
            "delegation": None,
            "cold_start": {},
            "peak_rss_bytes": None,
            "warnings": [],
        }
        return Run(
            *("r", "b", "t", False, "m", "", "", "", "none", "synthetic", "Linux"),
            measured_at="2026-01-01T00:00:00+00:00",
            command="",
            plan=Plan(count=1),
            report={**told, **report},
            samples=samples.load(self.library, self.folder / f"{seed}.bin"),
        )


@pytest.fixture
def bench(runner: Path, library: abi.Library, tmp_path: Path) -> Bench:
    return Bench(runner, library, tmp_path)


RUNS, COUNT = 1000, 2000
US, SPREAD, RHO = 100, 0.2, 0.8


def uniform(quantile: float) -> float:
    return 1000 * US * (1 - SPREAD + 2 * SPREAD * quantile) + READING_NS


@dataclass(frozen=True)
class Shape:
    """A known distribution.

    :ivar density: at a quantile, per ns; 0: all of it in one place.
    :ivar tau: integrated autocorrelation time, in samples.
    """

    spec: str
    true_ns: Callable[[float], float]
    density: Callable[[float], float]
    tau: float = 1.0


SHAPES = {
    "constant": Shape(f"noisy:us={US}", lambda _: 1000 * US + READING_NS, lambda _: 0),
    "noisy": Shape(f"noisy:us={US},spread={SPREAD}", uniform, lambda _: 1 / (2000 * US * SPREAD)),
    "bimodal": Shape(
        f"bimodal:us={US},spread={SPREAD},slow_us=300,share=0.2",
        lambda q: uniform(q / 0.8) if q < 0.8 else 300_000 + READING_NS,
        lambda q: 0.8 / (2000 * US * SPREAD) if q < 0.8 else 0,
    ),
    "heavy tail": Shape(
        f"heavy:us={US}",
        lambda q: 1000 * US / (1 - q) + READING_NS,
        lambda q: (1 - q) ** 2 / (1000 * US),
    ),
    # The latency before again with chance RHO: k samples apart they are alike by RHO ** k.
    "correlated": Shape(
        f"correlated:us={US},spread={SPREAD},rho={RHO}",
        uniform,
        lambda _: 1 / (2000 * US * SPREAD),
        (1 + RHO) / (1 - RHO),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_99_percent_interval_holds_the_truth_and_is_not_wider_than_it_must_be(
    bench: Bench, name: str
) -> None:
    shape = SHAPES[name]
    latencies = [bench.run(shape.spec, seed, COUNT).samples.latency_ns for seed in range(RUNS)]
    for quantile in (0.5, 0.9):
        found = [stats.percentile(each, quantile, 0.99) for each in latencies]
        given = [p for p in found if p is not None]
        assert len(given) == RUNS
        true_ns = shape.true_ns(quantile)
        # Latencies are whole nanoseconds on the board.
        held = sum(p.low - 1 <= true_ns <= p.high + 1 for p in given) / RUNS
        assert 0.98 <= held <= 1.0
        density = shape.density(quantile)
        if density:
            error = math.sqrt(quantile * (1 - quantile) * shape.tau / COUNT) / density
            width = float(np.mean([p.high - p.low for p in given]))
            assert width <= 1.5 * 2 * float(sp.norm.ppf(0.995)) * error
        else:
            assert all(p.high - p.low <= 1 for p in given)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_level_is_trusted(bench: Bench, name: str) -> None:
    runs = [bench.run(SHAPES[name].spec, seed, COUNT) for seed in range(200)]
    doubted = [run for run in runs if run.verdict()]
    assert len(doubted) <= 0.02 * len(runs), [run.verdict() for run in doubted]


def codes(run: Run) -> set[str]:
    return {reason.code for reason in run.verdict()}


def test_what_drifts_never_settles(bench: Bench) -> None:
    for seed in range(100):
        run = bench.run("drifting:us=100,spread=0.1,per_s=0.5", seed, 10_000)
        assert run.settled_at is None
        assert codes(run) == {"never-settled"}


def test_what_warms_up_settles_and_is_trusted(bench: Bench) -> None:
    """After 50 ms a quarter of what it is slower by is left, after 450 ms a hundredth."""
    wrong = 0
    for seed in range(100):
        run = bench.run("warming:us=100,spread=0.1,factor=2,at_s=0.05", seed, 20_000)
        assert codes(run) == set()
        assert run.settled_at is not None and run.settled_at > 0
        began_s = int(run.samples.records["start_ns"][run.settled_at]) / 1e9
        # What is left of it there is small beside the spread.
        assert 1 / (1 + began_s / 0.05) ** 2 < 0.05
        (median,) = (p for p in run.percentiles() if p.quantile == 0.5)
        wrong += not median.low <= 100_000 * 1.002 + READING_NS <= median.high * 1.002
    assert wrong <= 15


def test_throttling_shows_in_latency_and_in_the_pace_of_the_core(bench: Bench) -> None:
    for seed in range(100):
        run = bench.run("throttling:us=100,spread=0.1,at_s=1,factor=1.5", seed, 15_000)
        assert "pace" in codes(run)
        assert codes(run) & {"slowed", "never-settled"}
        assert run.pace is not None
        assert (run.pace.adds_per_ns.max(), round(run.pace.adds_per_ns.min(), 2)) == (1, 0.67)


def test_an_open_loop_tells_of_stalls_that_a_closed_one_leaves_out(bench: Bench) -> None:
    """100 ms in every second nothing moves: a tenth of what is due then waits 50 ms on average."""
    spec = "stall:us=500,period_ms=1000,stall_ms=100"
    closed = bench.run(spec, 1, 20_000).samples.latency_ns
    opened = bench.run(spec, 1, 20_000, "--interval-us", "1000").samples.latency_ns
    # One at a time: one sample a second meets the stall.
    assert np.quantile(closed, 0.99) < 501_000
    assert 100e6 <= closed.max() <= 101e6
    # A thousand are due a second; the hundred in the stall wait, and as many after them until the
    # queue is gone. The i-th of those waits 100 ms - i * 0.5 ms.
    assert np.quantile(opened, 0.75) < 501_000
    assert np.quantile(opened, 0.9) == pytest.approx(50e6, rel=0.1)
    assert np.quantile(opened, 0.99) == pytest.approx(95e6, rel=0.1)


def test_real_time_takes_at_least_as_long_as_it_says(bench: Bench) -> None:
    words = bench.words("noisy:us=200", 1, "--count", "100")
    done = subprocess.run(words, capture_output=True, check=True)
    assert bench.of(1, json.loads(done.stdout)).samples.latency_ns.min() >= 200_000


def test_what_a_model_recorded_before_it_crashed_is_there(bench: Bench) -> None:
    done = subprocess.run(
        bench.words("crash:us=100,at=40", 1, "--virtual", "--count", "100"), capture_output=True
    )
    assert done.returncode == -signal.SIGSEGV
    found = samples.load(bench.library, bench.folder / "1.bin")
    # Invocations that chose how many make a sample are not among them.
    assert 0 < len(found) <= 40
    assert (found.latency_ns >= 100_000).all()


@pytest.mark.parametrize("spec", ["hang:us=100,at=400", "noisy:us=100"])
def test_nobody_records_on_when_nobody_waits_any_more(bench: Bench, spec: str) -> None:
    """The watcher beside a measurement ends it, also one that does not listen to signals."""
    measuring = subprocess.Popen(
        bench.words(spec, 1, "--duration-ms", "600000"), stdout=subprocess.PIPE
    )
    recording = bench.folder / "1.bin"
    watching = subprocess.Popen(
        [
            *(str(bench.runner), "watch", "--series", str(bench.folder / "env.bin")),
            *("--samples", str(recording), "--tell-ms", "20"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert watching.stdin is not None and watching.stdout is not None
    try:
        assert b"columns" in watching.stdout.readline()
        before, there = -1, 0
        # What hangs has hung when nothing is added from one line to the next.
        while there < 300 or (spec.startswith("hang") and there != before):
            before = there
            there = json.loads(watching.stdout.readline()).get("samples", 0)
        watching.stdin.write(b"\n")
        watching.stdin.close()
        code = measuring.wait(60)
        assert watching.wait(60) == 0
    finally:
        for process in (measuring, watching):
            process.kill()
            process.wait()
    assert code == (-signal.SIGKILL if spec.startswith("hang") else 15)
    assert len(samples.load(bench.library, recording)) >= 300


def test_nothing_is_left_of_a_measurement_whose_host_is_gone(bench: Bench) -> None:
    bench.folder = bench.folder / "edge-0"
    bench.folder.mkdir()
    measuring = subprocess.Popen(
        bench.words("noisy:us=100", 1, "--duration-ms", "600000"), stdout=subprocess.DEVNULL
    )
    watching = subprocess.Popen(
        [
            *(str(bench.runner), "watch", "--series", str(bench.folder / "env.bin")),
            *("--samples", str(bench.folder / "1.bin"), "--tell-ms", "20"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert watching.stdin is not None and watching.stdout is not None
    try:
        watching.stdout.readline()
        while json.loads(watching.stdout.readline()).get("samples", 0) < 10:
            pass
        watching.stdin.close()
        assert measuring.wait(60) == 15
        watching.wait(60)
    finally:
        for process in (measuring, watching):
            process.kill()
            process.wait()
    assert not bench.folder.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--synthetic", "sinus"], "no shape 'sinus'"),
        (["--synthetic", "noisy", "--poisson"], "--interval-us"),
        (["--synthetic", "noisy", "--interval-us", "5", "--idle-us", "5"], "exclude"),
        (["--synthetic", "noisy", "--interval-us", "5", "--iterations", "3"], "one invocation"),
        (["--synthetic", "noisy", "--cpus", "0-"], "0-"),
        (["--synthetic", "noisy", "--cpus", "1023"], "no processors 1023"),
    ],
)
def test_wrong_flags_are_one_line(bench: Bench, flags: list[str], said: str) -> None:
    words = [str(bench.runner), "bench", "--samples", str(bench.folder / "s.bin"), *flags]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
