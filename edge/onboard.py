"""edge_run.py: edge-run's verbs on the board's own Python, by an interpreter's Python module.

This file goes to the board alone. It needs Python 3.9, numpy, the module, and libedge.so, which
records the samples. Flags, reports and exit codes are those of edge-run.
"""

# ruff: noqa: B905 (Python 3.9 knows no strict zip)
from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import io
import json
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

# edge_status
INTERNAL, USAGE, NO_FILE, BAD_FILE, BAD_MODEL, UNSUPPORTED_OP = 1, 2, 3, 4, 5, 6
BAD_INPUT, BAD_LIBRARY, NO_SPACE, NO_MEMORY, IO, RUNTIME, INTERRUPTED = 7, 8, 9, 10, 11, 14, 15

COLD_STEPS = (
    "library_open",
    "model_load",
    "interpreter_create",
    "allocate_tensors",
    "first_invoke",
)
PHASES = ("copy_in", "invoke", "copy_out", "call")  # edge_phase
ENDS = ("count", "duration", "capacity", "signal")  # edge_end
ENGINES = ("python", "native")  # that split sets against each other
FROM_TENSORFLOW = ("keras-predict", "keras-call", "tf-function", "tf-signature")
# By a module of edge's own, which has an Interpreter like TFLite's.
WAYS = ("numpy", "compiled", *FROM_TENSORFLOW)
MAX_RANK = 8
SETTLE = 2  # calls before a round of a series, to bring it into the caches

np: Any = None  # numpy, imported when its time is taken


class Failure(Exception):
    """Ends the program: one line, and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- libedge --------------------------------------------------------------------------------------


class Plan(ctypes.Structure):
    _fields_ = (
        ("warmup", ctypes.c_uint64),
        ("warmup_ns", ctypes.c_uint64),
        ("samples", ctypes.c_uint64),
        ("duration_ns", ctypes.c_uint64),
        ("iterations", ctypes.c_uint32),
        ("poisson", ctypes.c_uint32),
        ("interval_ns", ctypes.c_uint64),
        ("idle_ns", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
    )


class Measured(ctypes.Structure):
    _fields_ = (
        ("warmup", ctypes.c_uint64),
        ("minor_faults", ctypes.c_uint64),
        ("major_faults", ctypes.c_uint64),
        ("voluntary_switches", ctypes.c_uint64),
        ("involuntary_switches", ctypes.c_uint64),
        ("cpu_ns", ctypes.c_uint64),
        ("iterations", ctypes.c_uint32),
        ("ended_by", ctypes.c_int32),
    )


class Pace(ctypes.Structure):
    _fields_ = (("time_ns", ctypes.c_uint64), ("elapsed_ns", ctypes.c_uint64))


class Delegation(ctypes.Structure):
    _fields_ = (
        ("applied", ctypes.c_int32),
        ("nodes_total", ctypes.c_int32),
        ("nodes_delegated", ctypes.c_int32),
        ("partitions", ctypes.c_int32),
    )


class Node(ctypes.Structure):
    _fields_ = (("subgraph", ctypes.c_int32), ("node", ctypes.c_int32))


class Header(ctypes.Structure):
    _fields_ = (
        ("magic", ctypes.c_uint8 * 8),
        ("abi_version", ctypes.c_uint32),
        ("header_bytes", ctypes.c_uint32),
        ("sample_bytes", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("capacity", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("tick_ns", ctypes.c_uint64),
        ("clock_cost_ns", ctypes.c_uint64),
        ("loop_cost_ns", ctypes.c_uint64),
    )


ABI_VERSION = 3
PACE_ADDS, MAX_PACES = 16384, 512  # EDGE_PACE_ADDS, EDGE_MAX_PACES

STRUCTURES = {
    "edge_plan": Plan,
    "edge_measured": Measured,
    "edge_pace": Pace,
    "edge_delegation": Delegation,
    "edge_node": Node,
    "edge_recording_header": Header,
}

_P, _TEXT = ctypes.c_void_p, ctypes.c_char_p
_I32, _U32, _U64 = ctypes.c_int32, ctypes.c_uint32, ctypes.c_uint64

FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "edge_abi_version": (_U32, ()),
    "edge_error": (_TEXT, ()),
    "edge_model_check": (_I32, (_TEXT,)),
    "edge_recorder_open": (_I32, (_TEXT, _U64, _P)),
    "edge_recorder_wait": (_I32, (_P, _P, _P)),
    "edge_recorder_append": (_I32, (_P, _U64, _U64, _U32, _U64)),
    "edge_recorder_paces": (_I32, (_P, _P, _I32)),
    "edge_recorder_set_costs": (None, (_P, _U64, _U64)),
    "edge_recorder_measured": (None, (_P, _P)),
    "edge_recorder_close": (_I32, (_P,)),
    "edge_measure": (_I32, (_P, _P, _P, _P)),
    "edge_native_open": (_I32, (_P, _P, _P)),
    "edge_native_close": (None, (_P,)),
    "edge_native_add_input": (_I32, (_P, _P, _P, _U64)),
    "edge_native_add_output": (_I32, (_P, _P, _P, _U64)),
    "edge_native_run": (_I32, (_P, _I32)),
    "edge_native_measure": (_I32, (_P, _I32, _P, _U64, _U64, _U32)),
    "edge_observed": (_I32, (_P, _P, _I32)),
    "edge_limit_memory": (_I32, (_U64, _I32)),
}
"""What is called of edge.h: result and arguments; every pointer but a text is an address."""


class Edge:
    """libedge; its failures become ours. Python's lock is free while a call runs."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise Failure(BAD_LIBRARY, f"can't open {path}: {error}; deploy again") from None
        for name, (result, arguments) in FUNCTIONS.items():
            try:
                function = getattr(self._library, name)
            except AttributeError:
                raise Failure(BAD_LIBRARY, f"{path} lacks {name}: deploy again") from None
            function.restype, function.argtypes = result, arguments
        if self.call("abi_version") != ABI_VERSION:
            raise Failure(BAD_LIBRARY, f"{path} is of another version of edge: deploy again")

    def call(self, name: str, *arguments: Any) -> Any:
        return getattr(self._library, f"edge_{name}")(*arguments)

    def check(self, name: str, *arguments: Any) -> None:
        code = self.call(name, *arguments)
        if code != 0:
            raise Failure(code, self.call("error").decode("utf-8", "replace"))


class Recorder:
    """A samples file being written."""

    def __init__(self, edge: Edge, path: str, capacity: int) -> None:
        self.edge, self.path = edge, path
        self.handle = ctypes.c_void_p()
        edge.check("recorder_open", os.fsencode(path), capacity, ctypes.byref(self.handle))

    def header(self) -> Header:
        """As it is now: the file is mapped, so reading it shows what was written."""
        with Path(self.path).open("rb") as file:
            return Header.from_buffer_copy(file.read(ctypes.sizeof(Header)))

    def elapsed_ns(self) -> list[int]:
        """Of the samples so far."""
        head = self.header()
        data = Path(self.path).read_bytes()[head.header_bytes :]
        starts = range(0, head.count * head.sample_bytes, head.sample_bytes)
        return [int.from_bytes(data[at + 8 : at + 16], "little") for at in starts]

    def wait(self, plan: Plan) -> int | None:
        """Until the next sample may start: when it was due, 0 for now; None after a signal."""
        due = ctypes.c_uint64()
        code = self.edge.call("recorder_wait", self.handle, ctypes.byref(plan), ctypes.byref(due))
        return None if code == INTERRUPTED else due.value

    def append(self, start_ns: int, elapsed_ns: int, iterations: int, due_ns: int = 0) -> None:
        self.edge.check("recorder_append", self.handle, start_ns, elapsed_ns, iterations, due_ns)

    def paces(self) -> dict[str, Any]:
        """As edge-run reports them."""
        found = (Pace * MAX_PACES)()
        count = self.edge.call("recorder_paces", self.handle, found, MAX_PACES)
        return {
            "adds": PACE_ADDS,
            "time_ns": [each.time_ns for each in found[:count]],
            "elapsed_ns": [each.elapsed_ns for each in found[:count]],
        }

    def set_costs(self, clock_ns: int, loop_ns: int) -> None:
        self.edge.call("recorder_set_costs", self.handle, clock_ns, loop_ns)

    def measured(self) -> Measured:
        result = Measured()
        self.edge.call("recorder_measured", self.handle, ctypes.byref(result))
        return result

    def close(self) -> None:
        handle, self.handle = self.handle, ctypes.c_void_p()
        self.edge.check("recorder_close", handle)


# --- flags ----------------------------------------------------------------------------------------

HELP = """usage: edge_run.py VERB [flags]

  infer    run a model on given inputs
  bench    measure a model, sample by sample
  inspect  say what delegates took of a model
  split    measure the parts of a call, from Python and from C, in one process

Flags are those of `edge-run VERB`, and:
  --engine NAME           python; native: C loops on Python's own interpreter; or one of edge's own
                          modules: numpy, compiled, keras-predict, keras-call, tf-function,
                          tf-signature (python)
  --module NAME           the interpreter's module (tflite_runtime.interpreter)
  --packages DIR          unpacked wheels, put in front of Python's path (../python)
  --native-symbol SYMBOL  the interpreter's method that its library exports, for engine native
  --lib FILE              libedge.so (../lib/libedge.so)
  --rounds N, --seed N    split: rounds of every series, and the seed of their order
  --gc on|off             bench, engine python: may the garbage collector run meanwhile? (off)
  --call                  bench, engine python: an invocation is a whole call, with copying
"""

_SWITCHES = {
    *("--no-xnnpack", "--each", "--dequantize", "--help"),
    *("--poisson", "--undisturbed", "--call"),
}
_LISTS = {"--input", "--shape"}
_NUMBERS = {
    "--threads": (1, 1024, 1),
    "--batch": (1, 2**31 - 1, 0),
    "--warmup": (0, 2**32 - 1, 10),
    "--warmup-ms": (0, 86400000, 200),
    "--count": (1, 100000000, 1000),
    "--duration-ms": (0, 86400000, 0),
    "--iterations": (1, 2**32 - 1, 0),
    "--interval-us": (1, 86400000000, 0),
    "--idle-us": (1, 86400000000, 0),
    "--rounds": (1, 10000, 10),
    "--memory": (1, 2**63 - 1, 0),
    "--resizes": (0, 1000, 0),
    "--seed": (0, 2**64 - 1, 1),
}
_TEXTS = {
    *("--engine", "--model", "--lib", "--signature", "--delegate", "--ops", "--output"),
    *("--samples", "--module", "--packages", "--native-symbol", "--cpus", "--gc"),
}
_MODEL_FLAGS = {
    *("--engine", "--model", "--lib", "--signature", "--shape", "--batch", "--delegate"),
    *("--ops", "--threads", "--no-xnnpack", "--module", "--packages", "--native-symbol", "--help"),
}
_BENCH_FLAGS = {
    *("--samples", "--count", "--warmup", "--warmup-ms", "--duration-ms", "--iterations"),
    *("--input", "--interval-us", "--poisson", "--idle-us", "--seed", "--cpus", "--undisturbed"),
}
VERBS = {
    "infer": _MODEL_FLAGS | {"--input", "--each", "--output", "--dequantize", "--memory"},
    "bench": _MODEL_FLAGS | _BENCH_FLAGS | {"--gc", "--call", "--resizes"},
    "inspect": _MODEL_FLAGS,
    "split": _MODEL_FLAGS
    | (_BENCH_FLAGS - {"--interval-us", "--poisson", "--idle-us"})
    | {"--rounds"},
}


class Flags:
    """The flags of one verb; what was not given has its default."""

    def __init__(self, verb: str, words: Sequence[str]) -> None:
        self.verb = verb
        self._given: dict[str, Any] = {}
        queue = list(words)
        while queue:
            name = queue.pop(0)
            name, attached, value = name.partition("=") if name.startswith("--") else (name, "", "")
            if name not in VERBS[verb]:
                what = "unknown flag" if name.startswith("-") else "unexpected argument"
                self.wrong(f"{what} {name}; `edge_run.py --help` lists the flags")
            if name in _SWITCHES:
                if attached:
                    self.wrong(f"{name} takes no value")
                self._given[name] = True
                continue
            if not attached:
                if not queue:
                    self.wrong(f"{name} needs a value")
                value = queue.pop(0)
            if name in _LISTS:
                self._given.setdefault(name, []).append(value)
            else:
                self._given[name] = self._number(name, value) if name in _NUMBERS else value

    def wrong(self, message: str) -> NoReturn:
        raise Failure(USAGE, f"{self.verb}: {message}")

    def _number(self, name: str, text: str) -> int:
        least, most, _ = _NUMBERS[name]
        auto = name == "--iterations"
        if auto and text == "auto":
            return 0
        if not (text.isascii() and text.isdigit() and least <= int(text[:20]) <= most):
            self.wrong(
                f"{name} takes {'auto or ' if auto else ''}a whole number from {least} to {most}, "
                f"not '{text}'"
            )
        return int(text)

    def given(self, name: str) -> bool:
        return name in self._given

    def text(self, name: str) -> str | None:
        value: str | None = self._given.get(name)
        return value

    def required(self, name: str, question: str) -> str:
        value: str | None = self._given.get(name)
        if not value:
            self.wrong(f"{name} is missing: {question}")
        return value

    def texts(self, name: str) -> list[str]:
        return list(self._given.get(name, []))

    def number(self, name: str) -> int:
        return int(self._given.get(name, _NUMBERS[name][2]))

    def on(self, name: str) -> bool:
        return name in self._given

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for text in self.texts("--shape"):
            name, equals, axes = text.rpartition("=")
            words = axes.split("x")
            if not equals or not name or not all(w.isascii() and w.isdigit() for w in words):
                self.wrong(f"--shape {text}: must be NAME=1x224x224x3")
            shape = tuple(int(word[:20]) for word in words)
            if len(shape) > MAX_RANK or max(shape) >= 2**31 or min(shape) < 1:
                self.wrong(f"--shape {text}: at most {MAX_RANK} axes, each from 1 to 2^31 - 1")
            if name in found:
                self.wrong(f"--shape {text}: '{name}' is given twice")
            found[name] = shape
        return found

    def delegate(self) -> tuple[str, dict[str, str]] | None:
        text = self.text("--delegate")
        if text is None:
            return None
        kind, _, rest = text.partition(":")
        path, _, query = rest.partition("?")
        options: dict[str, str] = {}
        for pair in query.split("&") if query else []:
            key, equals, value = pair.partition("=")
            if not equals or not key:
                self.wrong(f"--delegate {text}: after ? come key=value pairs joined by &")
            options[unquote(key)] = unquote(value)
        if kind != "external" or not path:
            self.wrong(f"--delegate {text}: must be external:PATH?key=value")
        return unquote(path), options


# --- this process ---------------------------------------------------------------------------------


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()


def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()


def peak_resident_bytes() -> int:
    for line in Path("/proc/self/status").read_bytes().splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_memory(path: str) -> bool:
    """On a memory disk, as far as the mount table tells."""
    device = Path(path).stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines():
            if line.split()[2] == wanted:
                return line.partition(" - ")[2].split()[0] in ("tmpfs", "ramfs")
    return True


def memory_failure(memory_limit: int, said: object) -> Failure:
    return Failure(
        NO_MEMORY,
        f"the model needs more than the {memory_limit // 1000000} MB of memory that are free: end "
        "other programs on the board, make the model smaller, or take a board with more memory "
        f"({one_line(said) or 'an allocation failed'})",
    )


@contextlib.contextmanager
def limited_memory(edge: Edge, limit: int) -> Iterator[None]:
    """A model that needs more than ``limit`` bytes fails; 0: no limit."""
    if not limit:
        yield
        return
    # A copy, because standard error itself is captured at times.
    edge.check("limit_memory", limit, os.dup(2))
    try:
        yield
    except MemoryError as error:
        raise memory_failure(limit, error) from None
    except Failure as failure:
        words = ("bad_alloc", "out of memory", "Cannot allocate memory", "ailed to allocate")
        if failure.code == NO_MEMORY or any(each in str(failure) for each in words):
            raise memory_failure(limit, failure) from None
        raise


class Chatter:
    """What libraries print, kept for the report.

    :cvar streams: of which descriptors; see :func:`own_output`.
    """

    streams: tuple[int, ...] = (2,)

    def __init__(self) -> None:
        self.text = ""

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        sys.stderr.flush()
        with tempfile.TemporaryFile() as kept:
            original = os.dup(2)
            try:
                for stream in self.streams:
                    os.dup2(kept.fileno(), stream)
                yield
            finally:
                sys.stderr.flush()
                for stream in self.streams:
                    os.dup2(original, stream)
                os.close(original)
                kept.seek(0)
                self.text += kept.read().decode("utf-8", "replace")

    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line]


def own_output() -> Any:
    """Standard output for the caller alone: what libraries print goes to standard error now."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    Chatter.streams = (1, 2)
    return os.fdopen(kept, "wb")


class Stop:
    """SIGINT, SIGTERM and SIGHUP only ask to end, while this lives; ignored ones stay ignored."""

    def __init__(self) -> None:
        self.by: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.getsignal(number)
            if self._before[number] is not signal.SIG_IGN:
                signal.signal(number, self._asked)
        return self

    def _asked(self, number: int, _: object) -> None:
        self.by = signal.Signals(number).name

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class SymbolInfo(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def own_symbol(library: str, symbol: str) -> int | None:
    """Address of what the library itself exports. One that it is linked with may export the same,
    out of another build: the wheels of LiteRT hold two copies of TFLite."""
    try:
        address = ctypes.cast(getattr(ctypes.CDLL(library), symbol), ctypes.c_void_p).value
    except (AttributeError, OSError):
        return None
    found = SymbolInfo()
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(found))
    own = found.file is not None and Path(os.fsdecode(found.file)).samefile(library)
    return address if own else None


# --- the model ------------------------------------------------------------------------------------


class Tensor(NamedTuple):
    name: str
    number: int  # of the runtime's
    dtype: Any  # a type of numpy
    shape: tuple[int, ...]
    open_shape: tuple[int, ...]  # with -1 for axes that the model leaves open
    scale: float
    zero_point: int

    @property
    def quantized(self) -> bool:
        return self.scale > 0 and self.dtype_name in ("int8", "uint8", "int16", "int32")

    @property
    def dtype_name(self) -> str:
        return str(np.dtype(self.dtype).name)


def tensor_of(name: str, details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    signature = details.get("shape_signature", details["shape"])
    return Tensor(
        name,
        int(details["index"]),
        details["dtype"],
        tuple(int(axis) for axis in details["shape"]),
        tuple(int(axis) for axis in signature),
        float(scale),
        int(zero_point),
    )


def unresolved_op(said: str) -> str | None:
    """The operator that the runtime says it doesn't have."""
    for before, after in (
        ("unresolved custom op: ", "."),
        ("Didn't find op for builtin opcode '", ". "),
    ):
        if before in said:
            return said.partition(before)[2].partition(after)[0].partition("\n")[0].replace("'", "")
    flex = "Regular TensorFlow ops are not supported"
    if flex in said:
        node = said.partition(flex)[2].partition(" (")[2].partition(")")[0]
        return node or "of TensorFlow (Flex)"
    return None


def one_line(text: object) -> str:
    return " ".join(str(text).split())


class Model:
    """A model in Python's interpreter; its steps are timed, its chatter kept."""

    def __init__(self, flags: Flags, edge: Edge, *, verbose: bool = False) -> None:
        self.path = flags.required("--model", "which .tflite file?")
        self.signature = flags.text("--signature")
        self.threads = flags.number("--threads")
        self.chatter = Chatter()
        self.warnings: list[str] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._batched: set[str] = set()  # inputs whose first axis is the batch
        self.elapsed_ns = dict.fromkeys(COLD_STEPS, 0)
        self.memory: dict[str, dict[str, int]] = {step: {} for step in COLD_STEPS}
        self._edge = edge
        self._delegate = flags.delegate()
        self._ops = flags.text("--ops")
        self._engine = flags.text("--engine")
        self._own = self._engine in WAYS
        self._builtin = flags.on("--no-xnnpack")
        self._xnnpack = not self._builtin and not self._own
        self._runner: Any = None  # of a signature whose subgraph is not the first one
        self._inputs: dict[str, Any] = {}  # for the runner
        self._outputs: dict[str, Any] = {}  # of the runner
        self._method: Any = None  # what C calls, if C is to invoke
        # First, because runtimes read beyond the end of a cut file.
        if self._engine not in FROM_TENSORFLOW:
            edge.check("model_check", os.fsencode(self.path))
        with self.chatter.captured():
            module_name = flags.text("--module") or "tflite_runtime.interpreter"
            if self._engine == "numpy":  # its matrix products start threads of their own
                for library in ("OPENBLAS", "OMP", "MKL"):
                    os.environ[f"{library}_NUM_THREADS"] = str(self.threads)
            with self._step("library_open"):
                self._module = self._import(module_name)
            self.library = self._extension()
            self.runtime_version = self._version(module_name)
            if verbose:
                self._be_verbose()
            self._create()
            shapes, batch = flags.shapes(), flags.number("--batch")
            if self._has_own_subgraph():
                # While there is a runner, the interpreter allocates nothing; it resizes by itself.
                self._allocate()
                self._runner = self._signature_runner()
                self._resize(shapes, batch)
            else:
                self._resize(shapes, batch)
                self._allocate()
        self.inputs = self._read_inputs()
        self._check_dtypes()
        self._warn_of_open_axes()

    # --- opening

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        before = resource.getrusage(resource.RUSAGE_SELF)
        begin = clock_ns()
        try:
            yield
        finally:
            self.elapsed_ns[name] = clock_ns() - begin
            after = resource.getrusage(resource.RUSAGE_SELF)
            self.memory[name] = {
                "rss_bytes": resident_bytes(),
                "peak_rss_bytes": peak_resident_bytes(),
                "minor_faults": after.ru_minflt - before.ru_minflt,
                "major_faults": after.ru_majflt - before.ru_majflt,
            }

    def _import(self, name: str) -> Any:
        global np
        try:
            np = importlib.import_module("numpy")
            return importlib.import_module(name)
        except ImportError as error:
            raise Failure(
                BAD_LIBRARY,
                f"this board's Python {sys.version.split()[0]} can't import {name}: "
                f"{one_line(error)}; choose another --runtime, or install what is missing",
            ) from None

    def _extension(self) -> str:
        """The file that executes models."""
        wrapper = getattr(self._module, "_interpreter_wrapper", self._module)
        return str(getattr(wrapper, "__file__", "") or self._module.__file__)

    @staticmethod
    def _version(module_name: str) -> str:
        package = sys.modules[module_name.partition(".")[0]]
        return str(getattr(package, "__version__", ""))

    def _be_verbose(self) -> None:
        # Where the library exports it; others say as much as they like.
        name = (
            "_ZN6tflite16logging_internal13MinimalLogger21SetMinimumLogSeverityENS_11LogSeverityE"
        )
        address = own_symbol(self.library, name)
        if address is not None:
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(address)(0)

    def _create(self) -> None:
        if self._own:
            with self._step("interpreter_create"):
                try:
                    self.interpreter = self._module.Interpreter(
                        self.path, self.threads, self._engine, self.signature, not self._builtin
                    )
                except (ValueError, RuntimeError) as error:
                    what = f"{self._module.__name__} can't run {self.path}"
                    raise self.explained(RUNTIME, what, error) from None
            return
        resolvers = self._module.OpResolverType
        resolver = resolvers.AUTO if self._xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with self._step("interpreter_create"):
            # The user's kernels come first: runtimes let operators that they don't know stand only
            # until something else wants the model prepared. Then the observer, which sees the plan
            # before any other delegate takes a node.
            delegates = [] if self._ops is None else [self._load_ops(self._ops)]
            delegates.append(self._load_delegate(self._edge.path, {}))
            if self._delegate is not None:
                delegates.append(self._load_delegate(*self._delegate))
            try:
                self.interpreter = self._module.Interpreter(
                    model_path=self.path,
                    num_threads=self.threads,
                    experimental_delegates=delegates,
                    experimental_op_resolver_type=resolver,
                )
            except (ValueError, RuntimeError, SystemError) as error:
                raise self.explained(RUNTIME, f"the runtime can't run {self.path}", error) from None

    def _load_ops(self, path: str) -> Any:
        try:
            return self._module.load_delegate(self._edge.path, {"ops": path})
        except (ValueError, RuntimeError) as error:
            said = one_line(error).partition(self._edge.path)[2].strip() or one_line(error)
            raise Failure(BAD_LIBRARY, said) from None

    def _load_delegate(self, path: str, options: dict[str, str]) -> Any:
        try:
            library = ctypes.CDLL(path)  # first by us: the module's own failure leaves a traceback
            library.tflite_plugin_create_delegate, library.tflite_plugin_destroy_delegate  # noqa: B018
        except (OSError, AttributeError) as error:
            if "/" in path and not Path(path).exists():
                raise Failure(NO_FILE, f"there is no delegate {path}") from None
            raise Failure(
                BAD_LIBRARY,
                f"can't load the delegate {path}: {one_line(error)}: "
                "it is not an external delegate of TFLite: give the plug-in's .so file",
            ) from None
        try:
            return self._module.load_delegate(path, options)
        except (ValueError, RuntimeError) as error:
            said = one_line(error).partition(path)[2].strip() or "it doesn't say why"
            raise Failure(
                RUNTIME, f"{path} creates no delegate: {said}; check its options and its device"
            ) from None

    def _has_own_subgraph(self) -> bool:
        """Whether the signature is of another subgraph than the first."""
        key = self.signature
        if key is None:
            return False
        signatures = self.interpreter.get_signature_list()
        if key not in signatures:
            known = ", ".join(f"'{name}'" for name in signatures)
            raise Failure(
                BAD_INPUT,
                f"there is no signature '{key}'; "
                + (f"the model's are {known}" if known else "the model has none"),
            )
        if self._own:
            return False
        return bool(self.interpreter._interpreter.GetSubgraphIndexFromSignature(key) != 0)

    def _signature_runner(self) -> Any:
        try:
            return self.interpreter.get_signature_runner(self.signature)
        except (ValueError, RuntimeError) as error:
            what = f"the runtime can't run the signature '{self.signature}'"
            raise self.explained(RUNTIME, what, error) from None

    @property
    def by_runner(self) -> bool:
        return self._runner is not None

    def _tensors(self, side: str) -> list[Tensor]:
        if self._runner is not None:
            details = getattr(self._runner, f"get_{side}_details")()
            return [tensor_of(name, each) for name, each in details.items()]
        all_details = getattr(self.interpreter, f"get_{side}_details")()
        if self.signature is None:
            return [tensor_of(each["name"], each) for each in all_details]
        by_index = {each["index"]: each for each in all_details}
        names = self.interpreter._get_full_signature_list()[self.signature][f"{side}s"]
        everything = {d["index"]: d for d in self.interpreter.get_tensor_details()}
        return [tensor_of(n, by_index.get(i, everything[i])) for n, i in names.items()]

    def _read_inputs(self) -> list[Tensor]:
        found = self._tensors("input")
        if self._runner is not None:
            found = [t._replace(shape=self._shapes.get(t.name, t.shape)) for t in found]
        return found

    def outputs(self) -> list[Tensor]:
        """As they are now: a model may decide their shapes while it runs."""
        return self._tensors("output")

    def _resize(self, shapes: dict[str, tuple[int, ...]], batch: int) -> None:
        inputs = self._tensors("input")
        names = ", ".join(f"'{t.name}'" for t in inputs)
        for name in shapes:
            if name not in [t.name for t in inputs]:
                raise Failure(
                    BAD_INPUT,
                    f"there is no input '{name}' to give a shape; the model's inputs are {names}",
                )
        self._shapes = dict(shapes)
        if batch:
            left = [t for t in inputs if t.name not in shapes and t.shape]
            if not left:
                raise Failure(
                    BAD_INPUT, "there is no input left whose first axis the batch could be"
                )
            self._batched = {t.name for t in left}
            self._shapes.update({t.name: (batch, *t.shape[1:]) for t in left})
        for tensor in inputs:
            shape = self._shapes.get(tensor.name)
            if shape is None:
                continue
            if len(shape) != len(tensor.shape):
                raise Failure(
                    BAD_INPUT,
                    f"input '{tensor.name}' has {len(tensor.shape)} axes, {list(tensor.shape)}: "
                    f"it can't have the shape {list(shape)}",
                )
            if math.prod(shape) * np.dtype(tensor.dtype).itemsize > memory_bytes():
                raise Failure(
                    BAD_INPUT,
                    f"input '{tensor.name}' of the shape {list(shape)} is more than this board's "
                    "memory",
                )
            if self._runner is None:
                try:
                    self.interpreter.resize_tensor_input(tensor.number, shape)
                except (ValueError, RuntimeError) as error:
                    what = f"input '{tensor.name}' can't take the shape {list(shape)}"
                    raise self.explained(BAD_INPUT, what, error) from None

    def _allocate(self) -> None:
        """Also what asks the default delegates, in all subgraphs."""
        with self._step("allocate_tensors"):
            try:
                self.interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                if self._shapes:
                    what, code = self._shapes_refused(), BAD_INPUT
                else:
                    what, code = f"the runtime can't allocate the tensors of {self.path}", RUNTIME
                raise self.explained(code, what, error) from None

    def change_batch(self, batch: int) -> int:
        """Of all inputs that got no shape of their own, while the model is open.

        :returns: what resizing and allocating took, in nanoseconds.
        :raises Failure: the model takes no other batch; it is of no use any more then.
        """
        for tensor in self.inputs:
            if tensor.name in self._batched:
                self._shapes[tensor.name] = (batch, *tensor.shape[1:])
        wanted = [(t.number, self._shapes[t.name]) for t in self.inputs if t.name in self._batched]
        begin = clock_ns()
        try:
            for number, shape in wanted:
                self.interpreter.resize_tensor_input(number, shape)
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise self.explained(BAD_INPUT, self._shapes_refused(), error) from None
        elapsed_ns = clock_ns() - begin
        self.inputs = self._read_inputs()
        return elapsed_ns

    def _check_dtypes(self) -> None:
        for side, tensors in (("input", self.inputs), ("output", self.outputs())):
            for tensor in tensors:
                if np.dtype(tensor.dtype).kind in "SUO":
                    raise Failure(
                        BAD_INPUT,
                        f"{side} '{tensor.name}' is made of strings, which edge doesn't carry: "
                        "take the part of the model that works on numbers",
                    )

    def _warn_of_open_axes(self) -> None:
        for tensor in self.inputs:
            if -1 in tensor.open_shape and tensor.name not in self._shapes:
                self.warnings.append(
                    f"the model leaves axes of input '{tensor.name}' open, "
                    f"{list(tensor.open_shape)}: it runs with {list(tensor.shape)}; "
                    "give --batch or --shape for others"
                )

    def explained(self, code: int, what: str, error: BaseException) -> Failure:
        """A failure in the runtime's own words; a lacking operator gets its own code."""
        said = f"{error} {self.chatter.text}"
        operator = unresolved_op(said)
        if operator is not None:
            return Failure(
                UNSUPPORTED_OP,
                f"the runtime lacks the operator {operator} of {self.path}: give a kernel for a "
                "custom operator with --ops, convert the model with operators that the runtime "
                "has, or choose another runtime",
            )
        kernel = f"{error} ".find("the custom operator ")
        if self._ops is not None and kernel >= 0:
            # What the user's kernel said; the runtime then names a node that its file hasn't.
            return Failure(RUNTIME, one_line(str(error)[kernel:].partition("Node number")[0]))
        return Failure(code, f"{what}: {one_line(error)}")

    # --- running

    def set_input(self, tensor: Tensor, array: Any) -> None:
        if self._runner is not None:
            self._inputs[tensor.name] = array
            return
        try:
            self.interpreter.set_tensor(tensor.number, array)
        except ValueError as error:
            # Allocating may claim success and leave a tensor without memory.
            if "unallocated" in str(error):
                what = f"the runtime has no memory for input '{tensor.name}'"
                raise Failure(NO_MEMORY, what) from None
            raise Failure(BAD_INPUT, f"input '{tensor.name}': {one_line(error)}") from None

    def invoke(self) -> None:
        """Once; the first time is timed, and what the runtime prints then is kept."""
        if self.elapsed_ns["first_invoke"]:
            self._invoke()
            return
        with self.chatter.captured(), self._step("first_invoke"):
            self._invoke()

    def _invoke(self) -> None:
        try:
            if self._runner is not None:
                self._outputs = self._runner(**self._inputs)
            elif self._method is None or self._method(self.native_handle()) != 0:
                # After a failure in C, too: it has no words, Python's own call has.
                self.interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            if self._own and self._shapes:  # these learn only now that shapes don't fit
                raise self.explained(BAD_INPUT, self._shapes_refused(), error) from None
            what = f"the runtime failed to invoke {self.path}"
            raise self.explained(RUNTIME, what, error) from None

    def _shapes_refused(self) -> str:
        text = " and ".join(f"{list(s)} of input '{n}'" for n, s in self._shapes.items())
        return f"{self.path} can't take the shape {text}"

    def callable(self) -> Callable[[], object]:
        """What `bench` repeats, with as little around it as there can be."""
        if self._runner is not None:
            return partial(self._runner, **self._inputs)
        # Ways of edge's own may have a shorter path, the one that an application would take.
        invoke: Callable[[], object] = getattr(self.interpreter, "call", self.interpreter.invoke)
        return invoke

    def get_output(self, tensor: Tensor) -> Any:
        if self._runner is not None:
            return self._outputs[tensor.name]
        return self.interpreter.get_tensor(tensor.number)

    def address(self, tensor: Tensor) -> int | None:
        """Where the tensor lies; None if it has no memory yet. Keeps no view: TFLite refuses to
        allocate or run while there is one."""
        try:
            return int(self.interpreter.tensor(tensor.number)().ctypes.data)
        except (ValueError, RuntimeError):
            return None

    def native_method(self, symbol: str | None) -> int:
        """Address of the interpreter's own method.

        :raises Failure: the library does not export it, or the signature has a graph of its own.
        """
        if self._runner is not None:
            raise Failure(
                USAGE,
                f"signature '{self.signature}' has a subgraph of its own, which only Python's "
                "signature runner can run: use --engine python or tflite",
            )
        if not symbol:
            raise Failure(USAGE, "--native-symbol is missing: which method does C call?")
        address = own_symbol(self.library, symbol)
        if address is None:
            raise Failure(
                BAD_LIBRARY,
                f"{self.library} does not export {symbol}: --engine native works with "
                "tflite-runtime only",
            )
        return address

    def go_native(self, symbol: str | None) -> int:
        """From now on C's method is invoked; its address."""
        address = self.native_method(symbol)
        self._method = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)
        return address

    def native_handle(self) -> int:
        return int(self.interpreter._native_handle())

    # --- telling

    def delegation(self) -> tuple[Delegation, list[list[int]]]:
        found = Delegation()
        if self._own:
            if self._engine == "compiled" and not self._builtin:  # XNNPACK took what LiteRT hides
                found = Delegation(1, -1, -1, -1)
            return found, []
        self._edge.check("observed", ctypes.byref(found), None, 0)
        nodes = (Node * max(1, found.nodes_delegated))()
        self._edge.check("observed", ctypes.byref(found), nodes, len(nodes))
        taken = [[node.subgraph, node.node] for node in nodes[: found.nodes_delegated]]
        return found, taken

    def report(self, engine: str, *, nodes: bool = False) -> dict[str, Any]:
        found, taken = self.delegation()
        # The interpreter asks XNNPACK by itself, where it has one, and says so.
        xnnpack = self._xnnpack and "XNNPACK delegate" in self.chatter.text
        names = [Path(self._delegate[0]).name] if self._delegate else []
        names += ["XNNPACK"] if xnnpack else []
        warnings = list(self.warnings)
        without = None
        if self._xnnpack and not xnnpack and not found.nodes_delegated:
            without = (
                "XNNPACK was not asked: the library has none, or keeps it for models with "
                "float32 tensors; every kernel is a built-in one"
            )
            warnings.append(without)
        elif names and found.nodes_delegated == 0:
            warnings += [f"{name} took none of the model's nodes" for name in names]
            without = warnings[-1] if xnnpack else None
        delegation: dict[str, Any] = {
            "applied": bool(names or found.applied),
            "nodes_total": found.nodes_total,
            "nodes_delegated": found.nodes_delegated,
            "partitions": found.partitions,
        }
        if nodes:
            delegation["nodes"] = taken
            delegation["delegates"] = names
        # Python loads the model and creates its interpreter in one call.
        opened = self.memory["library_open"]
        self.memory["model_load"] = {**opened, "minor_faults": 0, "major_faults": 0}
        return {
            "edge_version": EDGE_VERSION,
            "abi_version": ABI_VERSION,
            "engine": engine,
            "library": self.library,
            "runtime_version": self.runtime_version,
            "model": self.path,
            "signature": self.signature,
            "threads": self.threads,
            "inputs": [told(t) for t in self.inputs],
            "outputs": [told(t) for t in self.outputs()],
            "delegation": delegation,
            "cold_start": {
                **{f"{step}_ns": self.elapsed_ns[step] for step in COLD_STEPS},
                **{
                    key: [self.memory[step].get(key, 0) for step in COLD_STEPS]
                    for key in ("rss_bytes", "peak_rss_bytes", "minor_faults", "major_faults")
                },
            },
            "peak_rss_bytes": peak_resident_bytes(),
            "warnings": warnings,
            "without_xnnpack": without,
            "runtime_log": self.chatter.lines(),
        }


EDGE_VERSION = "0.1.0"


def told(tensor: Tensor) -> dict[str, Any]:
    # The shortest text that reads back as the same float32.
    scale = float(str(np.float32(tensor.scale)))
    return {
        "name": tensor.name,
        "dtype": tensor.dtype_name,
        "shape": list(tensor.shape),
        "scale": scale if math.isfinite(scale) else None,
        "zero_point": tensor.zero_point,
    }


# --- arrays ---------------------------------------------------------------------------------------


def standard_input() -> io.BytesIO:
    """All of it, if it begins as an archive or an array does."""
    source = sys.stdin.buffer
    # Piece by piece: asked for more, Python makes room for all of it at once.
    data = bytearray(source.read(8))
    if not data:
        raise Failure(BAD_FILE, "standard input is empty")
    if data[:2] != b"PK" and data[:6] != b"\x93NUMPY"[: len(data)]:
        what = "neither an .npy nor an .npz file of numpy's"
        raise Failure(BAD_FILE, f"standard input brings {what}")
    # Half of the memory is more than any model's inputs, and leaves the board alive.
    most = min(memory_bytes() // 2, 2**31 - 1)
    while piece := source.read(1 << 20):
        data += piece
        if len(data) > most:
            raise Failure(
                NO_MEMORY,
                "standard input brings more than there is memory for: give less at a time",
            )
    return io.BytesIO(data)


def read_arrays(text: str) -> list[tuple[str | None, Any]]:
    """``FILE.npz``, ``FILE.npy`` or ``NAME=FILE.npy``: names, where there are any, and arrays.
    FILE may be ``-``, standard input."""
    name, equals, path = text.partition("=")
    plain = not equals or Path(text).exists()
    path = text if plain else path
    try:
        with standard_input() if path == "-" else Path(path).open("rb") as file:
            path = "standard input" if path == "-" else path
            start = file.read(6)
            file.seek(0)
            if start[:2] == b"PK":
                if not plain:
                    raise Failure(
                        USAGE,
                        f"--input {text}: an .npz names its arrays itself; give --input {path}",
                    )
                with np.load(file, allow_pickle=False) as archive:
                    return [(each, archive[each]) for each in archive.files]
            if start != b"\x93NUMPY":
                raise Failure(BAD_FILE, f"{path} is neither an .npy nor an .npz file of numpy's")
            return [(None if plain else name, np.load(file, allow_pickle=False))]
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise Failure(BAD_FILE, f"can't read {path}: {one_line(error)}") from None
    except OSError as error:
        raise Failure(NO_FILE, f"can't open {path}: {error.strerror}") from None


def match_inputs(
    given: list[tuple[str | None, Any]], tensors: list[Tensor], *, each: bool, dequantize: bool
) -> tuple[list[Any], int]:
    """An array per tensor, of the tensor's dtype, and how many runs they hold."""
    known = {t.name: t for t in tensors}
    names = ", ".join(f"'{t.name}'" for t in tensors)
    by_name: dict[str, Any] = {}
    for name, array in given:
        if name not in known:
            if len(tensors) == 1 and len(given) == 1:
                name = tensors[0].name
            elif name is None:
                raise Failure(
                    BAD_INPUT,
                    "an .npy alone fits a model with one input: give --input NAME=FILE; "
                    f"the model's inputs are {names}",
                )
            else:
                raise Failure(
                    BAD_INPUT, f"there is no input '{name}'; the model's inputs are {names}"
                )
        if name in by_name:
            raise Failure(BAD_INPUT, f"input '{name}' is given twice")
        by_name[str(name)] = array
    arrays, counts = [], []
    for tensor in tensors:
        if tensor.name not in by_name:
            raise Failure(
                BAD_INPUT,
                f"no array for input '{tensor.name}' ({tensor.dtype_name} {list(tensor.shape)}); "
                f"the model's inputs are {names}",
            )
        array = by_name[tensor.name]
        if array.dtype.byteorder == ">":
            raise Failure(BAD_FILE, f"the array for '{tensor.name}' is big-endian: save it as '<'")
        real = dequantize and tensor.quantized
        fits = array.dtype in (np.float32, np.float64) if real else array.dtype == tensor.dtype
        expected = list(tensor.shape)
        if not each:
            fits = fits and list(array.shape) == expected
        else:
            fits = fits and bool(expected) and expected[0] > 0 and array.ndim == len(expected)
            fits = fits and list(array.shape[1:]) == expected[1:]
            fits = fits and array.shape[0] % expected[0] == 0
            counts.append(array.shape[0] // expected[0] if fits else 0)
        if not fits:
            shape = str(expected)
            if each and expected:
                first = "n" if expected[0] == 1 else f"n*{expected[0]}"
                shape = "[" + ", ".join([first, *map(str, expected[1:])]) + "]"
            hint = ""
            if not real and tensor.quantized and array.dtype.kind == "f":
                hint = "; --dequantize takes real numbers"
            raise Failure(
                BAD_INPUT,
                f"input '{tensor.name}' expects "
                f"{'float32 or float64' if real else tensor.dtype_name} {shape}, "
                f"got {array.dtype.name} {list(array.shape)}{hint}",
            )
        array = quantized(array, tensor) if real else array
        if len(set(counts)) > 1:
            raise Failure(
                BAD_INPUT,
                f"input '{tensor.name}' has {counts[-1]} samples, the inputs before it have "
                f"{counts[0]}",
            )
        arrays.append(np.ascontiguousarray(array).reshape(array.shape))
    runs = counts[0] if counts else 1
    if runs == 0:
        raise Failure(BAD_INPUT, "the input arrays hold no sample")
    return arrays, runs


def quantized(array: Any, tensor: Tensor) -> Any:
    """Real numbers in the tensor's own units: rounded half to even, and clamped."""
    info = np.iinfo(tensor.dtype)
    if np.isnan(array).any():
        raise Failure(
            BAD_INPUT,
            f"input '{tensor.name}' is quantized, and an element of its array is not a number",
        )
    steps = np.rint(array.astype(np.float64) / tensor.scale) + tensor.zero_point
    return np.clip(steps, info.min, info.max).astype(tensor.dtype)


def dequantized(array: Any, tensor: Tensor) -> Any:
    if not tensor.quantized:
        return array
    steps = array.astype(np.int64) - tensor.zero_point
    return (steps * np.float64(tensor.scale)).astype(np.float32)


class PlausibleValues:
    """Neither zeros, which some kernels skip, nor denormals, which slow some CPUs down; the same as
    edge-run's. Integers that may be indices stay at 0 and 1."""

    def __init__(self) -> None:
        self._state = 1

    def _words(self, count: int) -> Any:
        """High halves of a 64-bit linear congruential generator's next states."""
        mask = 2**64 - 1
        factor, step = 6364136223846793005, 1442695040888963407
        states = np.empty(count, np.uint64)
        if count == 0:
            return states
        states[0] = (self._state * factor + step) & mask
        known = 1
        while known < count:  # the next `known` states from those that there are
            more = min(known, count - known)
            states[known : known + more] = states[:more] * np.uint64(factor) + np.uint64(step)
            factor, step = factor * factor & mask, (factor + 1) * step & mask
            known += more
        self._state = int(states[-1])
        return states >> np.uint64(32)

    def array(self, tensor: Tensor) -> Any:
        dtype = np.dtype(tensor.dtype)
        words = self._words(int(np.prod(tensor.shape, dtype=np.int64)))
        if dtype == np.float16:
            made = (words >> np.uint64(22) | np.uint64(0x3800)).astype(np.uint16).view(np.float16)
        elif dtype.kind in "fc":
            unit = (words >> np.uint64(8)).astype(np.float64) / 16777216
            made = (0.1 + 0.9 * unit).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind != "b":
            made = (words >> np.uint64(24)).astype(np.uint8).view(dtype)
        elif dtype.itemsize == 2:
            made = (words >> np.uint64(20)).astype(dtype)
        else:
            made = (words >> np.uint64(31)).astype(dtype)
        return made.reshape(tensor.shape)


def zeros(tensor: Tensor) -> Any:
    return np.zeros(tensor.shape, tensor.dtype)


def write_arrays(to: Any, arrays: dict[str, Any]) -> None:
    """An uncompressed .npz; unlike numpy.savez it takes any name, ``file`` too."""
    try:
        with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                part = io.BytesIO()
                np.save(part, array, allow_pickle=False)
                archive.writestr(f"{name}.npy", part.getvalue())
    except BrokenPipeError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        code = NO_SPACE if full else NO_FILE
        name = to if isinstance(to, str) else "standard output"
        raise Failure(code, f"can't write {name}: {error.strerror}") from None


# --- measuring ------------------------------------------------------------------------------------


def run_on(cpus: str) -> None:
    """Only on these processors from now on: ``4-7`` or ``0,2``."""
    chosen: set[int] = set()
    for text in cpus.split(","):
        first, dash, last = text.partition("-")
        numbers = [first, last] if dash else [first]
        if not all(n.isascii() and n.isdigit() and int(n[:5]) < 1024 for n in numbers):
            raise Failure(USAGE, f"--cpus takes processors such as 4-7 or 0,2, not '{cpus}'")
        if int(numbers[-1]) < int(first):
            raise Failure(USAGE, f"--cpus takes processors such as 4-7 or 0,2, not '{cpus}'")
        chosen.update(range(int(first), int(numbers[-1]) + 1))
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, chosen)
    if os.sched_getaffinity(0) != chosen:
        raise Failure(
            USAGE, f"there are no processors {cpus} here, or they are not for this program"
        )


def raise_priority() -> int:
    """The highest that is given: what the process's nice value is then."""
    for nice in range(-20, 0):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)
            break
    return os.getpriority(os.PRIO_PROCESS, 0)


def lock_memory() -> bool:
    """Whether what is in memory now stays there."""
    current = 1  # MCL_CURRENT; MCL_FUTURE, under a limit, would let any allocation fail
    return bool(ctypes.CDLL(None).mlockall(current) == 0)


class Disturbance:
    """Where the process runs, and what it asks for so as not to be disturbed.

    :ivar told: what became of asking, for the report; None if nobody asked.
    """

    def __init__(self, flags: Flags) -> None:
        """Before the runtime starts threads, which inherit both."""
        self.told: dict[str, Any] | None = None
        cpus = flags.text("--cpus")
        if cpus is not None:
            run_on(cpus)
        if flags.on("--undisturbed"):
            self.told = {"nice": raise_priority(), "memory_locked": False}

    def settle(self) -> None:
        """After the first invoke: a locked page was never faulted in by the model itself."""
        if self.told is not None:
            self.told["memory_locked"] = lock_memory()


class Usage:
    """What the system did to this process, from now on."""

    def __init__(self) -> None:
        self._before = resource.getrusage(resource.RUSAGE_SELF)

    def since(self, measured: Measured) -> None:
        before, after = self._before, resource.getrusage(resource.RUSAGE_SELF)
        measured.minor_faults = after.ru_minflt - before.ru_minflt
        measured.major_faults = after.ru_majflt - before.ru_majflt
        measured.voluntary_switches = after.ru_nvcsw - before.ru_nvcsw
        measured.involuntary_switches = after.ru_nivcsw - before.ru_nivcsw
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        measured.cpu_ns = int(cpu_s * 1e9)


clock_ns = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC_RAW)


def nothing() -> None:
    pass


def take_sample(function: Callable[[], object], iterations: int) -> tuple[int, int]:
    """Start and duration of ``iterations`` calls; nothing else lies between the two readings."""
    again = repeat(None, iterations)
    start = clock_ns()
    for _ in again:
        function()
    return start, clock_ns() - start


def median(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]


def clock_cost_ns() -> int:
    """Of one reading from Python, by batches: one alone may be shorter than a tick."""
    costs = []
    for _ in range(51):
        start = clock_ns()
        for _ in repeat(None, 64):
            end = clock_ns()
        costs.append((end - start) // 64)
    return median(costs)


def loop_cost_ns(iterations: int) -> int:
    return median([take_sample(nothing, iterations)[1] for _ in range(101)])


def choose_iterations(timed: Callable[[int], int], wanted_ns: int) -> tuple[int, int]:
    """So many that a sample takes ``wanted_ns``; and how many invocations it took to find out."""
    tried, spent = 1, 0
    while True:
        fastest = 2**63
        for trial in range(3):
            fastest = min(fastest, timed(tried))
            spent += tried
            # Slow enough. Once alone may be another program's turn.
            if trial and fastest >= 10 * wanted_ns:
                break
        if fastest >= wanted_ns or tried >= 2**30:
            break
        tried *= 2
    return max(1, min(tried, -(-wanted_ns * tried // max(1, fastest)))), spent


@contextlib.contextmanager
def undisturbed(*, collecting: bool = False) -> Iterator[None]:
    """No garbage collection, unless asked for: it would strike some samples and not others."""
    gc.collect()
    if not collecting:
        gc.disable()
    try:
        yield
    finally:
        gc.enable()


def collections() -> int:
    """How often the garbage collector has run in this process."""
    return sum(int(generation["collections"]) for generation in gc.get_stats())


def measure_in_python(
    function: Callable[[], object], recorder: Recorder, plan: Plan, *, collecting: bool = False
) -> Measured:
    """edge_measure, with the loop in Python."""
    measured = Measured()
    tick_ns = recorder.header().tick_ns
    with Stop() as stop, undisturbed(collecting=collecting):
        begin = clock_ns()
        while measured.warmup < plan.warmup or clock_ns() - begin < plan.warmup_ns:
            function()
            measured.warmup += 1
            if stop.by:
                break
        measured.iterations = 1 if plan.interval_ns or plan.idle_ns else plan.iterations
        if not measured.iterations:
            measured.iterations, spent = choose_iterations(
                lambda count: take_sample(function, count)[1], 125 * tick_ns
            )
            measured.warmup += spent
        recorder.set_costs(clock_cost_ns(), loop_cost_ns(measured.iterations))
        before = Usage()
        begin, taken, end = clock_ns(), 0, "count"
        while taken < plan.samples:
            if stop.by:
                end = "signal"
                break
            due = recorder.wait(plan)
            if due is None:  # a signal: ours, or the same invocation is still to come
                continue
            start, elapsed = take_sample(function, measured.iterations)
            recorder.append(start, elapsed, measured.iterations, due)
            taken += 1
            if plan.duration_ns and start + elapsed - begin >= plan.duration_ns:
                end = "duration"
                break
        before.since(measured)
    measured.ended_by = ENDS.index(end)
    return measured


def measure_in_c(model: Model, method: int, recorder: Recorder, plan: Plan) -> Measured:
    """The interpreter's own method, in edge-run's loop."""
    with undisturbed():
        code = recorder.edge.call(
            "measure", recorder.handle, ctypes.byref(plan), method, model.native_handle()
        )
    if code not in (0, INTERRUPTED):
        message = recorder.edge.call("error").decode("utf-8", "replace")
        model.invoke()  # says in the runtime's own words why it fails, if it does so again
        raise Failure(code, message)
    return recorder.measured()


@contextlib.contextmanager
def native(edge: Edge, method: int, interpreter: int) -> Iterator[ctypes.c_void_p]:
    handle = ctypes.c_void_p()
    edge.check("native_open", method, interpreter, ctypes.byref(handle))
    try:
        yield handle
    finally:
        edge.call("native_close", handle)


# --- verbs ----------------------------------------------------------------------------------------


def libedge(flags: Flags) -> tuple[str, Edge]:
    """The engine's name, and libedge; the packages are put in Python's path."""
    engine = flags.text("--engine") or "python"
    if engine not in (*ENGINES, *WAYS):
        flags.wrong(f"--engine takes {', '.join((*ENGINES, *WAYS))}, not '{engine}'")
    # Not resolved: this file is a link into the store, its siblings are beside the link.
    release = Path(__file__).absolute().parents[1]
    packages = Path(flags.text("--packages") or release / "python")
    if packages.is_dir():
        sys.path.insert(0, str(packages.absolute()))
    return engine, Edge(flags.text("--lib") or str(release / "lib" / "libedge.so"))


def opened(flags: Flags, *, verbose: bool = False) -> tuple[str, Edge, Model]:
    """The engine's name, libedge, and the model."""
    engine, edge = libedge(flags)
    return engine, edge, Model(flags, edge, verbose=verbose)


def infer(flags: Flags) -> dict[str, Any] | None:
    """The report; None if it went out with the arrays."""
    if flags.on("--each") and not flags.texts("--input"):
        flags.wrong("--each needs --input, whose first axis it counts")
    path = flags.text("--output")
    output = own_output() if path == "-" else None
    engine, edge = libedge(flags)
    with limited_memory(edge, flags.number("--memory")):
        report, arrays = inferred(flags, engine, Model(flags, edge))
        if output is None:
            if path:
                write_arrays(path, arrays)
            return report
        try:
            with output:
                output.write(json.dumps(report, allow_nan=False).encode() + b"\n")
                write_arrays(output, arrays)
        except BrokenPipeError:
            raise Failure(INTERRUPTED, "nobody reads standard output any more") from None
    return None


def inferred(flags: Flags, engine: str, model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report and the outputs by name, if they are wanted."""
    each, dequantize = flags.on("--each"), flags.on("--dequantize")
    files, wanted = flags.texts("--input"), flags.given("--output")
    if engine == "native":
        model.go_native(flags.text("--native-symbol"))
    arrays, runs = [zeros(t) for t in model.inputs], 1
    if files:
        given = [pair for text in files for pair in read_arrays(text)]
        arrays, runs = match_inputs(given, model.inputs, each=each, dequantize=dequantize)
    results: dict[str, list[Any]] = {}
    for run in range(runs):
        for tensor, array in zip(model.inputs, arrays):
            size = tensor.shape[0] if each else 0
            model.set_input(tensor, array[run * size : (run + 1) * size] if each else array)
        model.invoke()
        for name, tensor in unique(model.outputs()) if wanted else ():
            array = model.get_output(tensor)
            array = dequantized(array, tensor) if dequantize else array
            before = results.setdefault(name, [])
            if before and before[0].shape != array.shape:
                raise Failure(
                    RUNTIME,
                    f"output '{name}' changed its shape between samples from "
                    f"{list(before[0].shape)} to {list(array.shape)}: run them one by one",
                )
            before.append(array)
    if each:
        joined = {k: np.concatenate([np.atleast_1d(a) for a in v]) for k, v in results.items()}
    else:
        joined = {k: v[0] for k, v in results.items()}
    return {**model.report(engine), "runs": runs}, joined


def unique(tensors: list[Tensor]) -> list[tuple[str, Tensor]]:
    """Two outputs may be the same tensor, and an archive has every name once."""
    found: dict[str, Tensor] = {}
    for number, tensor in enumerate(tensors):
        name = tensor.name or f"output_{number}"
        found[name if name not in found else f"{name}_{number}"] = tensor
    return list(found.items())


def give_inputs(flags: Flags, model: Model, *, own: bool = True) -> list[Any]:
    """Set them.

    :param own: those that were asked for; else made-up ones.
    """
    files = flags.texts("--input") if own else []
    if files:
        given = [pair for text in files for pair in read_arrays(text)]
        arrays, _ = match_inputs(given, model.inputs, each=False, dequantize=False)
    else:
        values = PlausibleValues()
        arrays = [values.array(tensor) for tensor in model.inputs]
    for tensor, array in zip(model.inputs, arrays):
        model.set_input(tensor, array)
    return arrays


def resizes(flags: Flags, model: Model) -> dict[str, Any] | None:
    """What it takes to come back from another batch while the model stays open."""
    times, batch = flags.number("--resizes"), flags.number("--batch")
    if not times:
        return None
    found: dict[str, Any] = {"other_batch": 2 if batch == 1 else 1, "refusal": None}
    found.update(resize_ns=[], first_invoke_ns=[])
    try:
        if model.by_runner:
            what = f"signature '{model.signature}' runs through Python's signature runner"
            raise Failure(BAD_INPUT, f"{what}, which resizes during the call")
        start, longest_ns = clock_ns(), flags.number("--duration-ms") * 1000000
        for number in range(times):
            if number and longest_ns and clock_ns() - start >= longest_ns:
                break
            model.change_batch(found["other_batch"])
            give_inputs(flags, model, own=False)
            model.invoke()
            resize_ns = model.change_batch(batch)
            give_inputs(flags, model)
            begin = clock_ns()
            model.invoke()
            found["first_invoke_ns"].append(clock_ns() - begin)
            found["resize_ns"].append(resize_ns)
    except Failure as failure:
        found["refusal"] = str(failure)
    return found


def plan_of(flags: Flags) -> Plan:
    count = flags.number("--count")
    if flags.number("--duration-ms") and not flags.given("--count"):
        count = 1000000
    return Plan(
        flags.number("--warmup"),
        flags.number("--warmup-ms") * 1000000,
        count,
        flags.number("--duration-ms") * 1000000,
        flags.number("--iterations"),
        flags.on("--poisson"),
        flags.number("--interval-us") * 1000,
        flags.number("--idle-us") * 1000,
        flags.number("--seed"),
    )


def bench(flags: Flags) -> dict[str, Any]:
    path = flags.required("--samples", "where to record, such as /dev/shm/s.bin?")
    plan, disturbance = plan_of(flags), Disturbance(flags)
    if plan.poisson and not plan.interval_ns:
        flags.wrong("--poisson needs --interval-us: how often on average?")
    if plan.interval_ns and plan.idle_ns:
        flags.wrong("--interval-us and --idle-us exclude each other")
    if plan.iterations > 1 and (plan.interval_ns or plan.idle_ns):
        flags.wrong("with --interval-us or --idle-us a sample is one invocation")
    if flags.number("--resizes") and not flags.number("--batch"):
        flags.wrong("--resizes needs --batch: which one to come back to?")
    collecting = flags.text("--gc") == "on"
    if flags.text("--gc") not in (None, "on", "off"):
        flags.wrong(f"--gc takes on or off, not '{flags.text('--gc')}'")
    engine, edge, model = opened(flags)
    if engine != "python" and (collecting or flags.on("--call")):
        flags.wrong(f"--gc on and --call go with --engine python: {engine} loops in C")
    method = model.go_native(flags.text("--native-symbol")) if engine == "native" else 0
    if flags.on("--call") and model.by_runner:
        flags.wrong(f"--call: signature '{model.signature}' runs through Python's signature runner")
    arrays = give_inputs(flags, model)
    model.invoke()
    disturbance.settle()
    recorder = Recorder(edge, path, plan.samples)
    before = collections()
    try:
        if engine == "native":
            measured = measure_in_c(model, method, recorder, plan)
        else:
            function = model.callable()
            if flags.on("--call"):
                function = python_phases(model, arrays)["call"]
            measured = measure_in_python(function, recorder, plan, collecting=collecting)
    except (ValueError, RuntimeError) as error:
        what = f"the runtime failed to invoke {model.path}"
        raise model.explained(RUNTIME, what, error) from None
    finally:
        header, paces = recorder.header(), recorder.paces()
        recorder.close()
    if model.by_runner:
        model.warnings.append(
            f"signature '{model.signature}' runs through Python's signature runner: the time "
            "includes copying inputs and outputs"
        )
    report = model.report(engine)
    if collecting:
        # One of them was asked for, before the loop.
        report["collections"] = collections() - before - 1
    result = benched(report, path, header, measured, paces, disturbance)
    if ENDS[measured.ended_by] != "signal":
        # Last, after the memory was read.
        result["resizes"] = resizes(flags, model)
    return result


def benched(
    report: dict[str, Any],
    path: str,
    header: Header,
    measured: Measured,
    paces: dict[str, Any],
    disturbance: Disturbance,
) -> dict[str, Any]:
    if not in_memory(path):
        report["warnings"].append(
            "the samples are not on a memory disk: writing them back may disturb the run"
        )
    return {
        **report,
        "samples": header.count,
        "iterations": measured.iterations,
        "warmup": measured.warmup,
        "ended_by": ENDS[measured.ended_by],
        "tick_ns": header.tick_ns,
        "clock_cost_ns": header.clock_cost_ns,
        "loop_cost_ns": header.loop_cost_ns,
        "minor_faults": measured.minor_faults,
        "major_faults": measured.major_faults,
        "voluntary_switches": measured.voluntary_switches,
        "involuntary_switches": measured.involuntary_switches,
        "cpu_ns": measured.cpu_ns,
        "pace": paces,
        "undisturbed": disturbance.told,
        "resizes": None,
    }


def inspect(flags: Flags) -> dict[str, Any]:
    engine, _, model = opened(flags, verbose=True)
    return model.report(engine, nodes=True)


# --- the parts of a call --------------------------------------------------------------------------


class Series:
    """One phase of a call by one engine, with a recording of its own.

    :ivar limited_by: why a sample spans ``iterations`` calls: ``call`` (one is long enough),
        ``ticks`` (a hundred of the clock's), ``clock`` (reading it costs), ``flag``.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.iterations, self.limited_by = 1, "flag"
        self.recorder: Any = None

    def wanted_ns(self, header: Header, clock_ns: int) -> int:
        """Of a sample: a hundred ticks, and so much that a reading of the clock is below 2 %."""
        by_ticks, by_clock = 125 * header.tick_ns, 50 * clock_ns
        self.limited_by = "ticks" if by_ticks >= by_clock else "clock"
        return int(max(by_ticks, by_clock))

    def span(self, iterations: int) -> None:
        self.iterations = max(1, iterations)
        if self.iterations == 1:
            self.limited_by = "call"

    def choose(self) -> None:
        raise NotImplementedError

    def record(self, samples: int) -> None:
        raise NotImplementedError


class PythonSeries(Series):
    def __init__(self, phase: str, path: str, function: Callable[[], object]) -> None:
        super().__init__(f"python.{phase}", path)
        self._function = function

    def choose(self) -> None:
        wanted = self.wanted_ns(self.recorder.header(), clock_cost_ns())
        self.span(choose_iterations(lambda n: take_sample(self._function, n)[1], wanted)[0])

    def record(self, samples: int) -> None:
        function, iterations = self._function, self.iterations
        for _ in repeat(None, SETTLE):
            function()
        for _ in repeat(None, samples):
            start, elapsed = take_sample(function, iterations)
            self.recorder.append(start, elapsed, iterations)


class NativeSeries(Series):
    def __init__(self, phase: str, path: str, edge: Edge, handle: ctypes.c_void_p) -> None:
        super().__init__(f"native.{phase}", path)
        self._edge, self._handle, self._phase = edge, handle, PHASES.index(phase)

    def choose(self) -> None:
        # A trial, recorded, because only C reads C's clock.
        trial = Recorder(self._edge, f"{self.path}.trial", 5)
        try:
            self._measure(trial, 5, 0)
            wanted = self.wanted_ns(trial.header(), trial.header().clock_cost_ns)
            fastest = min(trial.elapsed_ns())
            self.span(-(-wanted * trial.measured().iterations // max(1, fastest)))
        finally:
            trial.close()
            Path(trial.path).unlink()

    def record(self, samples: int) -> None:
        self._measure(self.recorder, samples, self.iterations)

    def _measure(self, recorder: Recorder, samples: int, iterations: int) -> None:
        self._edge.check(
            *("native_measure", self._handle, self._phase),
            *(recorder.handle, SETTLE, samples, iterations),
        )


def python_phases(model: Model, arrays: list[Any]) -> dict[str, Callable[[], object]]:
    """As an application would write them: set_tensor, invoke, get_tensor."""
    interpreter = model.interpreter
    invoke, set_tensor, get_tensor = (
        interpreter.invoke,
        interpreter.set_tensor,
        interpreter.get_tensor,
    )
    inputs = [(tensor.number, array) for tensor, array in zip(model.inputs, arrays)]
    outputs = [tensor.number for tensor in model.outputs()]

    def copy_in() -> None:
        for index, array in inputs:
            set_tensor(index, array)

    def copy_out() -> None:
        for index in outputs:
            get_tensor(index)

    def call() -> None:
        for index, array in inputs:
            set_tensor(index, array)
        invoke()
        for index in outputs:
            get_tensor(index)

    return {"copy_in": copy_in, "invoke": invoke, "copy_out": copy_out, "call": call}


def same_outputs(
    edge: Edge, handle: ctypes.c_void_p, model: Model, arrays: list[Any], copies: list[Any]
) -> bool | None:
    """Whether C and Python compute the same, bit for bit; None if Python alone doesn't."""

    def by_python(given: list[Any]) -> list[bytes]:
        for tensor, array in zip(model.inputs, given):
            model.set_input(tensor, array)
        model.interpreter.invoke()
        return [model.get_output(tensor).tobytes() for tensor in model.outputs()]

    first = by_python(arrays)
    by_python([zeros(tensor) for tensor in model.inputs])  # nothing is left that C could find
    edge.check("native_run", handle, PHASES.index("call"))
    from_c = [array.tobytes() for array in copies]
    return from_c == first if by_python(arrays) == first else None


def split(flags: Flags) -> dict[str, Any]:
    path = flags.required("--samples", "where to record, such as /dev/shm/s.bin?")
    disturbance = Disturbance(flags)
    engine, edge, model = opened(flags)
    method = model.native_method(flags.text("--native-symbol"))
    for tensor in model.outputs():
        if model.address(tensor) is None:
            raise Failure(
                USAGE,
                f"output '{tensor.name}' gets its memory only while the model runs, where it may "
                "move: its parts can't be measured from C; measure with --engine python alone",
            )
    arrays = give_inputs(flags, model)
    model.invoke()
    disturbance.settle()
    copies = [np.zeros(tensor.shape, tensor.dtype) for tensor in model.outputs()]
    functions = python_phases(model, arrays)
    with native(edge, method, model.native_handle()) as handle:
        for tensor, array in zip(model.inputs, arrays):
            where = model.address(tensor)
            edge.check("native_add_input", handle, where, array.ctypes.data, array.nbytes)
        for tensor, array in zip(model.outputs(), copies):
            where = model.address(tensor)
            edge.check("native_add_output", handle, array.ctypes.data, where, array.nbytes)
        try:
            identical = same_outputs(edge, handle, model, arrays, copies)
            series: list[Series] = []
            for phase in PHASES:
                series.append(NativeSeries(phase, f"{path}.native.{phase}", edge, handle))
                series.append(PythonSeries(phase, f"{path}.python.{phase}", functions[phase]))
            measured, header, paces = record_rounds(edge, series, functions["call"], flags)
        except (ValueError, RuntimeError) as error:
            what = f"the runtime failed to invoke {model.path}"
            raise model.explained(RUNTIME, what, error) from None
    if identical is None:
        model.warnings.append("the model keeps state: equal inputs give other outputs next time")
    return {
        **benched(model.report(engine), series[0].path, header, measured, paces, disturbance),
        "split": {
            "engines": list(reversed(ENGINES)),
            "files": {each.name: each.path for each in series},
            "iterations": {each.name: each.iterations for each in series},
            "limited_by": {each.name: each.limited_by for each in series},
            "identical": identical,
        },
    }


def record_rounds(
    edge: Edge, series: list[Series], call: Callable[[], object], flags: Flags
) -> tuple[Measured, Header, dict[str, Any]]:
    """All series, interleaved: rounds in shuffled order. Header and paces: of `native.invoke`."""
    plan, measured = plan_of(flags), Measured()
    rounds, order = flags.number("--rounds"), random.Random(flags.number("--seed"))
    for each in series:
        each.recorder = Recorder(edge, each.path, plan.samples)
    with Stop() as stop, undisturbed():
        begin = clock_ns()
        while measured.warmup < plan.warmup or clock_ns() - begin < plan.warmup_ns:
            call()
            measured.warmup += 1
        for each in series:
            each.iterations = plan.iterations
            if not plan.iterations:
                each.choose()
            if isinstance(each, PythonSeries):
                each.recorder.set_costs(clock_cost_ns(), loop_cost_ns(each.iterations))
        before = Usage()
        begin, end = clock_ns(), "count"
        for number in range(rounds):
            share = plan.samples * (number + 1) // rounds - plan.samples * number // rounds
            shuffled = order.sample(series, len(series)) if share else []
            try:
                for each in shuffled:
                    each.record(share)
                    if stop.by:
                        raise Failure(INTERRUPTED, stop.by)
            except Failure as failure:
                if failure.code != INTERRUPTED:
                    raise
                end = "signal"
                break
            if plan.duration_ns and clock_ns() - begin >= plan.duration_ns:
                end = "duration"
                break
        before.since(measured)
    measured.ended_by = ENDS.index(end)
    first = next(each for each in series if each.name == "native.invoke")
    measured.iterations = first.iterations
    header, paces = first.recorder.header(), first.recorder.paces()
    for each in series:
        each.recorder.close()
    return measured, header, paces


# --- the program ----------------------------------------------------------------------------------

RUN: dict[str, Callable[[Flags], dict[str, Any] | None]] = {
    "infer": infer,
    "bench": bench,
    "inspect": inspect,
    "split": split,
}


def run(words: Sequence[str]) -> None:
    if not words:
        raise Failure(USAGE, "which verb? `edge_run.py --help` lists them")
    verb = words[0]
    if verb in ("--help", "-h"):
        sys.stdout.write(HELP)
        return
    if verb not in RUN:
        raise Failure(USAGE, f"unknown verb '{verb}'; `edge_run.py --help` lists them")
    flags = Flags(verb, words[1:])
    if flags.on("--help"):
        sys.stdout.write(HELP)
        return
    report = RUN[verb](flags)
    if report is None:
        return
    json.dump(report, sys.stdout, allow_nan=False)
    sys.stdout.write("\n")
    sys.stdout.flush()
    if report.get("ended_by") == "signal":
        kept = report["samples"]
        raise Failure(INTERRUPTED, f"stopped by a signal after {kept} samples, which are kept")


def main(words: Sequence[str]) -> int:
    try:
        run(words)
    except Failure as failure:
        code, message = failure.code, one_line(failure)
    except MemoryError:
        code, message = NO_MEMORY, "no memory left for this model or its arrays"
    except OSError as error:
        code = NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else IO
        message = one_line(error)
    except KeyboardInterrupt:
        code, message = INTERRUPTED, "stopped by SIGINT"
    except Exception as error:  # a defect; a traceback would bury the line
        code, message = INTERNAL, f"{type(error).__name__}: {one_line(error)}"
    else:
        return 0
    sys.stderr.write(f"edge-run: {message}\n")
    return code


if __name__ == "__main__":
    # A release's folders hold what was deployed and nothing else.
    sys.dont_write_bytecode = True
    sys.exit(main(sys.argv[1:]))
