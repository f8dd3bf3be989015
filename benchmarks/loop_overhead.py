"""Does edge's measuring loop cost anything? Its median against a bare C loop's.

Both call the same function of the same library on the same interpreter: ``Interpreter::Invoke`` of
tflite-runtime, on the interpreter that Python made, through its native handle. Both read the same
clock. They take turns in rounds of shuffled order within one process; printed is the paired ratio
of the rounds' medians with its 95 % interval. Runs on this machine, natively.

``python -m benchmarks.loop_overhead [--model FILE] [--rounds N] [--count N] [--warmup N] [--json]``
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from edge import abi, build, report, samples, stats
from examples.digits import dataset

INVOKE = "_ZN6tflite4impl11Interpreter6InvokeEv"
"""``tflite::Interpreter::Invoke()``: on these ABIs a plain function of one pointer."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    smallest = min(dataset.models(), key=lambda model: model.size_bytes).path
    parser.add_argument("--model", type=Path, default=smallest)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--count", type=int, default=2000, help="samples a round and side")
    parser.add_argument("--warmup", type=int, default=50, help="invocations before these")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if importlib.util.find_spec("tflite_runtime") is None:
        sys.stderr.write(
            "this needs tflite-runtime, whose interpreter C can call: run it with Python 3.10 "
            "or 3.11 on Linux\n"
        )
        return 2
    ratio, medians = compare(options.model, options.rounds, options.count, options.warmup)
    if options.json:
        print(json.dumps({"ratio": vars(ratio), "median_ns": medians}))
        return 0
    print(
        f"{options.model.name}, {options.rounds} rounds of {options.count} samples each side, "
        f"native on this machine:\n"
        f"edge {medians['edge']:.0f} ns, bare loop {medians['bare']:.0f} ns; "
        f"edge / bare = {ratio.value:.4f} "
        f"({100 * ratio.confidence:.0f} % interval {ratio.low:.4f} to {ratio.high:.4f})"
    )
    return 0


def compare(
    model: Path, rounds: int, count: int, warmup: int
) -> tuple[stats.Ratio, dict[str, float]]:
    """Interleave both loops; the ratio edge / bare and each side's median of round medians."""
    library = build.host_library(report.progress)
    f = abi.ffi()
    interpreter, invoke, keep = _interpreter(model)
    with tempfile.TemporaryDirectory() as folder:
        bare_ffi, bare = _bare_loop(Path(folder))
        recording = Path(folder) / "samples.bin"
        medians: dict[str, list[float]] = {"edge": [], "bare": []}
        elapsed = np.zeros(count, np.uint64)

        def edge_round() -> float:
            recorder = f.new("edge_recorder **")
            library.check(library.lib.edge_recorder_open(str(recording).encode(), count, recorder))
            plan = f.new("edge_plan *", {"warmup": warmup, "samples": count, "iterations": 1})
            function = f.cast("edge_invoke_fn", invoke)
            context = f.cast("void *", interpreter)
            library.check(library.lib.edge_measure(recorder[0], plan, function, context))
            library.check(library.lib.edge_recorder_close(recorder[0]))
            return stats.median(samples.load(library, recording).latency_ns)

        def bare_round() -> float:
            function = bare_ffi.cast("int32_t (*)(void *)", invoke)
            context = bare_ffi.cast("void *", interpreter)
            target = bare_ffi.from_buffer("uint64_t[]", elapsed)
            warm = bare_ffi.new("uint64_t[]", warmup)
            for amount, place in ((warmup, warm), (count, target)):
                if bare.bare_loop(function, context, amount, place) != 0:
                    raise RuntimeError("the interpreter failed in the bare loop")
            return stats.median(elapsed)

        sides = [("edge", edge_round), ("bare", bare_round)]
        order = random.Random(1)
        for _ in range(rounds):
            order.shuffle(sides)
            for name, measure in sides:
                medians[name].append(measure())
        del keep
    ratio = stats.paired_ratio(medians["edge"], medians["bare"])
    return ratio, {name: stats.median(values) for name, values in medians.items()}


def _interpreter(model: Path) -> tuple[int, int, Any]:
    """Addresses of the interpreter and of its Invoke, and what keeps them valid."""
    module = importlib.import_module("tflite_runtime.interpreter")
    wrapper = importlib.import_module("tflite_runtime._pywrap_tensorflow_interpreter_wrapper")
    made = module.Interpreter(model_path=str(model), num_threads=1)
    made.allocate_tensors()
    f = cffi.FFI()
    f.cdef(f"void {INVOKE}(void);")
    library: Any = f.dlopen(wrapper.__file__)
    address = int(f.cast("uintptr_t", f.addressof(library, INVOKE)))
    return made._native_handle(), address, (made, library)


def _bare_loop(folder: Path) -> tuple[cffi.FFI, Any]:
    target = folder / "bare_loop.so"
    source = Path(__file__).with_name("bare_loop.c")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-O2", "-shared", "-fPIC"]
    subprocess.run([*compiler, "-o", str(target), str(source)], check=True)
    f = cffi.FFI()
    f.cdef("int32_t bare_loop(int32_t (*)(void *), void *, uint64_t, uint64_t *);")
    return f, f.dlopen(str(target))


if __name__ == "__main__":
    sys.exit(main())
