"""How long, and with how much memory, is a run of ten million samples opened and summarised?

A process of its own opens the recording and makes what a table shows of it: percentiles with
bounds, where it settled, the verdict. Printed are the time, and by how much its memory grew, beside
the file's size.

``python -m benchmarks.summary [--samples 10000000]``
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edge import abi, build, report

_CHILD = """
import json, sys, time
from pathlib import Path
from edge import abi, build, run, samples
library = build.host_library(lambda line: None)
status = Path("/proc/self/status").read_text
resident = lambda key: int(status().split(key + ":")[1].split()[0]) * 1024
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
begin = time.perf_counter()
found = run.Run(
    *("r", "b", "t", False, "m", "", "", "", "none", "tflite", "Linux"),
    measured_at="2026-01-01T00:00:00+00:00", command="", plan=run.Plan(),
    report={"delegation": None, "cold_start": {}, "peak_rss_bytes": None, "warnings": []},
    samples=samples.load(library, Path(sys.argv[1])))
found.percentiles(), found.verdict(), found.median_ns, found.far_out
elapsed_s = time.perf_counter() - begin
print(json.dumps({"elapsed_s": elapsed_s, "extra_bytes": resident("VmHWM") - before}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000_000)
    count = parser.parse_args().samples
    build.host_library(print)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.bin"
        size_bytes = write(path, count)
        found = measured(str(path))
    extra = found["extra_bytes"]
    print(f"{count} samples, {report.size(size_bytes)}")
    print(f"  opened and summarised in {found['elapsed_s']:.2f} s")
    print(
        f"  memory at most {report.size(extra)} more than before, the mapped file included: "
        f"{extra / size_bytes:.2f} of its size"
    )


def write(path: Path, count: int) -> int:
    """A recording of latencies that follow each other a little; its size in bytes."""
    random = np.random.default_rng(1)
    records = np.zeros(count, abi.sample_dtype())
    records["elapsed_ns"] = 100_000 + 5_000 * random.random(count)
    records["start_ns"] = np.cumsum(records["elapsed_ns"]) + 1
    records["due_ns"] = records["start_ns"]
    records["iterations"] = 1
    f = abi.ffi()
    header: Any = f.new("edge_recording_header *")
    f.memmove(header.magic, b"EDGESMPL", 8)
    header.abi_version = abi.constant("EDGE_ABI_VERSION")
    header.header_bytes, header.sample_bytes = f.sizeof(header[0]), records.itemsize
    header.capacity = header.count = count
    header.tick_ns = 1
    with path.open("wb") as file:
        file.write(f.buffer(header))
        records.tofile(file)
    return path.stat().st_size


def measured(path: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", _CHILD, path], capture_output=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
