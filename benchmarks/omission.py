"""What a closed loop does not see: a stall of 100 ms once a second, at the same rate both ways.

A model that answers in half a millisecond, and stops for 100 ms once a second, is asked 200 times a
second. In a closed loop each request waits for the answer before it, and then pauses for the rest
of the 5 ms: a stall delays the requests behind it, and they are never counted as late. In an open
loop requests are due by the clock, and latency counts from when one was due (Tene, How NOT to
Measure Latency, 2013). What is true is computed from the schedule. Runs on this machine; the model
is edge-run's ``--synthetic``, whose latencies are known.

``python -m benchmarks.omission [--seconds N] [--virtual] [--json]``
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge import board, build, report, samples
from edge.errors import EdgeError, HostError

INTERVAL_US = 5000
US = 500
PERIOD_MS = 1000
STALL_MS = 100
SPEC = f"stall:us={US},period_ms={PERIOD_MS},stall_ms={STALL_MS}"

QUANTILES = (0.5, 0.9, 0.99, 1.0)

Latencies = npt.NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--virtual", action="store_true", help="by a clock of its own: no waiting")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        found = {
            "closed loop": measure(
                ["--idle-us", str(INTERVAL_US - US)], options.seconds, options.virtual
            ),
            "open loop": measure(
                ["--interval-us", str(INTERVAL_US)], options.seconds, options.virtual
            ),
        }
    except EdgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    found["the truth"] = truth(options.seconds)
    if options.json:
        print(json.dumps({name: quantiles_ns(each) for name, each in found.items()}))
        return 0
    clock = "virtual time" if options.virtual else "this machine's time"
    print(f"{SPEC}, {1_000_000 // INTERVAL_US} requests a second, {options.seconds} s, {clock}:")
    for line in lines(found):
        print(line)
    return 0


def measure(flags: list[str], seconds: int, virtual: bool) -> Latencies:
    """Latencies in nanoseconds.

    :raises HostError: edge-run can't be built, or failed.
    """
    library = build.host_library(report.progress)
    runner = build.runner(board.load("localhost"), report.progress).runner.path
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "samples.bin"
        words = [str(runner), "bench", "--synthetic", SPEC, "--samples", str(recording), *flags]
        words += ["--duration-ms", str(1000 * seconds), "--warmup", "0", "--warmup-ms", "0"]
        words += ["--iterations", "1", *(["--virtual"] if virtual else [])]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise HostError(f"edge-run failed: {result.stderr.strip()}")
        return np.array(samples.load(library, recording).latency_ns)


def truth(seconds: int) -> Latencies:
    """What each request waits that is due every interval, from the stalls' times alone, in
    nanoseconds: a request that is served in a stall ends after it."""
    free_ms, done_ms = 0.0, []
    for number in range(seconds * 1_000_000 // INTERVAL_US):
        due_ms = number * INTERVAL_US / 1000
        begin_ms = max(due_ms, free_ms)
        free_ms = begin_ms + US / 1000
        into_ms = begin_ms % PERIOD_MS
        if begin_ms >= PERIOD_MS and into_ms < STALL_MS:  # the first comes after a period
            free_ms += STALL_MS - into_ms
        done_ms.append(free_ms - due_ms)
    return 1e6 * np.array(done_ms)


def quantiles_ns(latency_ns: Latencies) -> dict[str, float]:
    found = {f"p{100 * q:g}": float(np.quantile(latency_ns, q)) for q in QUANTILES}
    return {**found, "late": float(np.mean(latency_ns > 1000 * INTERVAL_US))}


def lines(found: dict[str, Latencies]) -> list[str]:
    """A row each; the last column is the share that took longer than the interval."""
    made = [f"{'':12}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}{'late':>9}"]
    for name, latency_ns in found.items():
        values = list(quantiles_ns(latency_ns).values())
        row = "".join(f"{report.duration(ns):>10}" for ns in values[:-1])
        made.append(f"{name:12}{row}{100 * values[-1]:>7.1f} %")
    return made


if __name__ == "__main__":
    sys.exit(main())
