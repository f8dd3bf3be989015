"""What do other tools say of the same model, and what does edge's loop add to a bare program?

Three programs around the same library file, LiteRT 2.3.0's ``libLiteRt.so``, on one thread:
``edge-run bench``; ``bare_litert.cc``, a loop of two clock readings around each invocation; and
``litert-benchmark``, which the same wheel brings. Each is a process of its own in each round; the
order within a round is shuffled. Printed are the paired ratios of the rounds' medians to the bare
program's, with 95 % intervals. Runs on this machine, natively.

``python -m benchmarks.peers [--model FILE]... [--rounds N] [--count N] [--json]``
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge import abi, board, build, layout, report, samples, stats, venv
from edge.errors import EdgeError, HostError
from edge.stats import Ratio
from examples.digits import dataset

FOLDER = Path(__file__).parent
MOBILENET = FOLDER.parent / "examples/mobilenet/mobilenet-v2-int8.tflite"
WARMUP_MS = 200
_TURN_NS = 0.25e9
"""Short, because what else runs on a machine changes within seconds, and should meet all three."""

RESOLUTION_MS = 0.01
"""Of what litert-benchmark prints."""
FINE = 0.01
"""A step that is more than this share of the value says too little to compare."""


@dataclass(frozen=True)
class Abilities:
    """What a tool says, as its output and its source show."""

    timed: str
    clock: str
    resolution: str
    percentiles: str
    bounds: str
    warm_up: str
    throttling: str
    samples: str


ABILITIES = {
    "bare loop": Abilities(
        *("LiteRtRunCompiledModel", "MONOTONIC_RAW", "1 ns", "none", "no"),
        *("a given time", "no", "yes"),
    ),
    "edge": Abilities(
        *("the same call", "MONOTONIC_RAW", "1 ns", "p50 to p99.9", "95 %"),
        *("found in the samples", "seen, run not trusted", "yes"),
    ),
    "litert-benchmark": Abilities(
        *("the call from Python", "MONOTONIC", "0.01 ms", "p5, p50, p95", "no"),
        *("a given number of runs", "no", "no"),
    ),
}


@dataclass(frozen=True)
class Found:
    """One tool on one model.

    :ivar median_ns: the median of the rounds' medians.
    :ivar ratio: to the bare loop, paired by rounds; None if what the tool prints is too coarse.
    """

    tool: str
    median_ns: float
    ratio: Ratio | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    smallest = min(dataset.models(), key=lambda model: model.size_bytes).path
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument(
        "--count", type=int, default=0, help="samples a round; 0: as many as a short turn takes"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = {
            model.name: compare(model, options.rounds, options.count)
            for model in options.model or [MOBILENET, smallest]
        }
    except EdgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if options.json:
        values = {name: [dataclasses.asdict(e) for e in each] for name, each in found.items()}
        print(json.dumps(values, indent=1))
        return 0
    for name, each in found.items():
        print(f"{name}, {options.rounds} rounds, native on this machine:")
        for line in lines(each):
            print(f"  {line}")
    print("what each can say:")
    for line in abilities_lines():
        print(f"  {line}")
    return 0


def compare(model: Path, rounds: int, count: int) -> list[Found]:
    """All three by turns.

    :raises HostError: a tool can't be installed or built, or failed.
    """
    peers = venv.installed(FOLDER / "peers.lock", report.progress)
    library = peers.packages / "ai_edge_litert/libLiteRt.so"
    runner = build.runner(board.load("localhost"), report.progress).runner.path
    host = build.host_library(report.progress)
    with tempfile.TemporaryDirectory(dir=_memory()) as temporary:
        folder = Path(temporary)
        program = bare_program(folder)
        taken = count or _short_turn(program, library, model, folder)
        tools: dict[str, Callable[[], float]] = {
            "bare loop": lambda: bare(program, library, model, taken, folder / "bare.bin"),
            "edge": lambda: edge(runner, host, library, model, taken, folder / "edge.bin"),
            "litert-benchmark": lambda: litert_benchmark(peers.python, model, taken),
        }
        medians = by_turns(tools, rounds, random.Random(1), report.progress)
    return summary(medians)


def by_turns(
    tools: Mapping[str, Callable[[], float]],
    rounds: int,
    order: random.Random,
    progress: Callable[[str], None],
) -> dict[str, list[float]]:
    """A median per tool and round, the tools in random order within each round."""
    medians: dict[str, list[float]] = {name: [] for name in tools}
    names = list(tools)
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        order.shuffle(names)
        for name in names:
            medians[name].append(tools[name]())
    return medians


def summary(medians: dict[str, list[float]]) -> list[Found]:
    """Ratios to the bare loop; none where a tool's resolution drowns them."""
    bare_ns = medians["bare loop"]
    found = []
    for name, each in medians.items():
        coarse = name == "litert-benchmark" and FINE * stats.median(bare_ns) < 1e6 * RESOLUTION_MS
        ratio = None if coarse or name == "bare loop" else stats.paired_ratio(each, bare_ns)
        found.append(Found(name, stats.median(each), ratio))
    return found


def lines(found: list[Found]) -> list[str]:
    made = []
    for each in found:
        if each.tool == "bare loop":
            said = "1, by definition"
        elif each.ratio is None:
            said = f"it prints steps of {RESOLUTION_MS} ms: too coarse to compare"
        else:
            said = f"{each.ratio.value:.4f} [{each.ratio.low:.4f}, {each.ratio.high:.4f}]"
        median = report.duration(each.median_ns) if each.median_ns else "0.00 ms"
        made.append(f"{each.tool:17} {median:>8}   to the bare loop: {said}")
    return made


def abilities_lines() -> list[str]:
    names = [field.name for field in dataclasses.fields(Abilities)]
    head = f"{'':12}" + "".join(f"{tool:26}" for tool in ABILITIES)
    rows = [
        f"{name.replace('_', '-'):12}"
        + "".join(f"{getattr(each, name):26}" for each in ABILITIES.values())
        for name in names
    ]
    return [line.rstrip() for line in (head, *rows)]


def edge(
    runner: Path, host: abi.Library, library: Path, model: Path, count: int, file: Path
) -> float:
    """Median in nanoseconds, of what ``edge-run bench`` recorded."""
    call(
        [
            *(str(runner), "bench", "--engine", "litert", "--lib", str(library)),
            *("--model", str(model), "--samples", str(file), "--count", str(count)),
            *("--warmup", "1", "--warmup-ms", str(WARMUP_MS)),
        ]
    )
    return stats.median(samples.load(host, file).latency_ns)


def bare(program: Path, library: Path, model: Path, count: int, file: Path) -> float:
    """Median in nanoseconds, of what the bare program wrote."""
    call([str(program), str(library), str(model), str(count), str(WARMUP_MS), str(file)])
    return stats.median(np.fromfile(file, np.uint64))


def litert_benchmark(python: Path, model: Path, count: int) -> float:
    """Median in nanoseconds, of what ``litert-benchmark`` prints."""
    script = "from ai_edge_litert.tools.benchmark_litert_model import main; main()"
    words = [str(python), "-B", "-c", script, "--model", str(model), "--num_runs", str(count)]
    words += ["--warmup_runs", str(max(5, count // 5)), "--num_threads", "1"]
    return 1e6 * median_ms(call(words))


def median_ms(said: str) -> float:
    """:raises HostError: this is no output of litert-benchmark's."""
    found = re.search(r"^Inference \(median\): +(\d+\.\d\d) ms$", said, re.MULTILINE)
    if found is None:
        raise HostError(f"litert-benchmark printed no median: {said[-200:]!r}")
    return float(found[1])


def call(words: list[str]) -> str:
    """:raises HostError: the program failed."""
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise HostError(f"{words[0]} failed: {result.stderr.strip()[-300:]}")
    return result.stdout


def bare_program(folder: Path) -> Path:
    """Compiled as edge-run is: by zig, with -O2."""
    target = folder / "bare_litert"
    words = [sys.executable, "-m", "ziglang", "c++", "-std=c++17", "-O2"]
    words += ["-I", str(layout.firmware_dir() / "src"), "-o", str(target)]
    call([*words, str(FOLDER / "bare_litert.cc"), "-ldl"])
    return target


def _short_turn(program: Path, library: Path, model: Path, folder: Path) -> int:
    once_ns = bare(program, library, model, 20, folder / "trial.bin")
    return int(min(max(_TURN_NS / once_ns, 20), 5000))


def _memory() -> Path | None:
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
