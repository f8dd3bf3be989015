"""How much longer does ``invoke --list`` take than with an empty tasks file?

``python -m benchmarks.list_time [--rounds N]``
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge import stats


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    invoke = str(Path(sys.executable).with_name("invoke"))
    times: dict[str, list[float]] = {"edge": [], "empty": []}
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "tasks.py"
        empty.write_text(
            "from invoke import task\n\n\n@task\ndef nothing(_):\n    pass\n", encoding="utf-8"
        )
        sides = [("edge", Path.cwd()), ("empty", Path(folder))]
        order = random.Random(1)
        for _ in range(options.rounds):
            order.shuffle(sides)
            for name, place in sides:
                began = time.perf_counter()
                subprocess.run([invoke, "--list"], cwd=place, check=True, capture_output=True)
                times[name].append(time.perf_counter() - began)
    ratio = stats.paired_ratio(times["edge"], times["empty"])
    print(
        f"invoke --list: edge {1e3 * stats.median(times['edge']):.0f} ms, "
        f"empty tasks file {1e3 * stats.median(times['empty']):.0f} ms; "
        f"ratio {ratio.value:.2f} (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
