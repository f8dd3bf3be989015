"""Measure two models by turns on one board, and fail if the first is slower beyond doubt.

``python ci/latency.py models/digits.tflite baseline.tflite --board qemu-virt --tolerance 0.5``

One `edge bench` measures both again and again, in the other order each round. What slows the whole
machine down slows both, so it is the ratio of a round's two medians that is looked at.

Exit codes: 0 no regression can be claimed, 1 regression, 2 the request is wrong, otherwise what
edge itself said: 3 the board failed, 4 this machine failed, 5 nobody answers.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.stats import Ratio, needed, paired_ratio

_DEADLINE_S = 1500.0
_MOST_SAMPLES = 20_000
"""A measurement; keeps what a quick model records small."""
_SIDES = ("candidate", "baseline")


def verdict(found: Ratio, tolerance: float) -> tuple[bool, str]:
    """Whether this is a regression, and the words for it.

    :param tolerance: how much slower is still accepted: 0.5 stands for 50 %.
    """
    limit, percent = 1 + tolerance, f"{100 * tolerance:g} %"
    if found.low > limit:
        return True, f"FAILED: slower by more than {percent}"
    said = f"passed: no regression above {percent} can be claimed"
    if found.high > limit:
        said += ", nor ruled out: the interval reaches beyond it; take more --rounds"
    return False, said


def turns(candidate: Path, baseline: Path, rounds: int, folder: Path) -> list[Path]:
    """Copies of both models, in the order in which they are to be measured.

    Each is named ``r01-candidate.tflite`` and so on, because the models of one `edge bench` may not
    share a name. Equal files are sent once and take no room twice.
    """
    sources = dict(zip(_SIDES, (candidate, baseline), strict=True))
    made = []
    for number in range(rounds):
        for side in _SIDES if number % 2 == 0 else reversed(_SIDES):
            made.append(folder / f"r{number + 1:02}-{side}.tflite")
            shutil.copyfile(sources[side], made[-1])
    return made


def bench(models: Sequence[Path], flags: Sequence[str]) -> list[dict[str, Any]]:
    """What one `edge bench` found of ``models``, in their order.

    :raises SystemExit: with edge's exit code, if it failed.
    """
    words = [str(Path(sys.executable).with_name("edge")), "bench", *flags, "--json"]
    for model in models:
        words += ["--model", str(model)]
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, text=True, timeout=_DEADLINE_S, check=False
        )
    except FileNotFoundError:
        raise _end(f"no {words[0]}: run this with the Python that has edge", 2) from None
    except subprocess.TimeoutExpired:
        raise _end(f"the board took more than {_DEADLINE_S:.0f} s", 3) from None
    if done.returncode:
        # edge's 1 is a flag that it does not know; here 1 stands for a regression.
        raise SystemExit(2 if done.returncode == 1 else done.returncode)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def medians(runs: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Side -> median of each round, in nanoseconds.

    :raises SystemExit: a run has too few samples for a median worth the name.
    """
    found: dict[str, list[float]] = {side: [] for side in _SIDES}
    for run in sorted(runs, key=lambda run: str(run["model"])):
        if run["samples"] < needed(0.5):
            raise _end("too few samples for a median: give more --seconds", 2)
        side = run["model"].removesuffix(".tflite").partition("-")[2]
        found[side].append(run["median_ns"])
    return found


def _end(text: str, code: int) -> SystemExit:
    print(f"latency: {text}", file=sys.stderr)
    return SystemExit(code)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="fail if a model has become slower beyond doubt")
    parser.add_argument("candidate", type=Path, help=".tflite to be judged")
    parser.add_argument("baseline", type=Path, help=".tflite to compare it with")
    parser.add_argument("--board", required=True)
    parser.add_argument("--host", help="SSH destination of a real board")
    parser.add_argument("--engine", help="as for edge bench")
    parser.add_argument("--tolerance", type=float, required=True, help="0.5: up to 50 %% slower")
    parser.add_argument("--rounds", type=int, default=6, help="even, 4 to 98; default: 6")
    parser.add_argument("--seconds", type=float, default=0.5, help="a measurement; default: 0.5")
    given = parser.parse_args(arguments)
    if not 0 <= given.tolerance < math.inf:
        parser.error(f"--tolerance {given.tolerance}: must be 0 or more")
    if given.rounds not in range(4, 99, 2):
        parser.error(f"--rounds {given.rounds}: must be even, 4 to 98, so that each leads as often")
    if not 0 < given.seconds <= 60:
        parser.error(f"--seconds {given.seconds}: must be above 0 and at most 60")
    for path in (given.candidate, given.baseline):
        if not path.is_file():
            parser.error(f"no file {path}")
    flags = [
        "--board",
        given.board,
        "--count",
        str(_MOST_SAMPLES),
        "--duration",
        str(given.seconds),
    ]
    for flag, value in (("--host", given.host), ("--engine", given.engine)):
        flags += [flag, value] if value else []
    with tempfile.TemporaryDirectory() as folder:
        models = turns(given.candidate, given.baseline, given.rounds, Path(folder))
        runs = bench(models, flags)
    found = medians(runs)
    for number, (ours, theirs) in enumerate(zip(*found.values(), strict=True), 1):
        print(f"round {number}: {ours / 1e3:.1f} µs, baseline {theirs / 1e3:.1f} µs")
    first = {run["model"]: run for run in runs}
    taken = [_taken(first[f"r01-{side}.tflite"]["report"]["delegation"]) for side in _SIDES]
    print(f"nodes taken by XNNPACK: {taken[0]}, baseline {taken[1]}")
    if runs[0]["emulated"]:
        print("emulated: no figure here says how fast a real board is")
    seen = paired_ratio(found["candidate"], found["baseline"])
    slower, said = verdict(seen, given.tolerance)
    print(
        f"latency by the baseline's: {seen.value:.3f} [{seen.low:.3f}, {seen.high:.3f}] "
        f"({100 * seen.confidence:g} %, {given.rounds} rounds), limit {1 + given.tolerance:.3f}"
    )
    print(said)
    return 1 if slower else 0


def _taken(delegation: dict[str, Any]) -> str:
    if delegation["nodes_total"] < 0:
        return "not told"  # by this engine
    return f"{delegation['nodes_delegated']} of {delegation['nodes_total']}"


if __name__ == "__main__":
    sys.exit(main())
