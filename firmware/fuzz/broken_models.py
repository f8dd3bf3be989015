"""Breaks models on purpose and lets edge-run run each, to see who notices, and who crashes.

    python firmware/fuzz/broken_models.py --runner build/edge-run --engine litert --lib libLiteRt.so

Every model runs in a process of its own. What comes of it:

    refused      edge-run's own checker says that the file is damaged
    runtime      the runtime library refuses it, in words
    ran          it ran, for not every change breaks something
    crashed      the runtime library crashed; edge-run says so, and its exit is the signal's
    hung         no end within the timeout
    OURS         anything else: a crash of edge-run itself, or a failure that it doesn't explain

The last two are defects of edge: the exit code is 1 if there is one, and --save keeps the models.
The same --seed makes the same models.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import itertools
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge import tiny

MEMORY_BYTES = 8 << 30
"""A tensor may claim any size; one process gets no more. Not under AddressSanitizer, which maps
terabytes of shadow."""

SANITIZER_EXIT = 99
CHECKER = re.compile(r"edge-run: \S+ (is cut or damaged|is damaged|is not a TFLite|has schema)")
CRASH = re.compile(r"edge-run: the runtime crashed by (SIG\w+) while [^:]+: ")
FRAME = re.compile(r"^ +#\d+ 0x[0-9a-f]+ .*?\((/[^+()]+)\+0x", re.MULTILINE)
NOT_TO_BLAME = re.compile(r"/lib(asan|ubsan|c|m|pthread|stdc\+\+|gcc_s)[.-]|/ld-linux")
NUMBERS = (0, 1, 2, 3, 4, 7, 16, 255, 4096, 65536, 1 << 24, 1 << 30, 0x7FFFFFFF, -1, -2, -(1 << 31))


# ---- models ------------------------------------------------------------------------------------


def models() -> dict[str, bytes]:
    return {
        "float32": tiny.elementwise("float32"),
        "int8": tiny.quantized("int8"),
        "int16": tiny.quantized("int16"),
        "delegable": tiny.delegable(),
        "several": tiny.several(),
        "signatures": tiny.two_signatures(),
        "dynamic": tiny.dynamic(),
        "dynamic-output": tiny.dynamic_output(),
        "counter": tiny.counter(),
    }


@dataclass(frozen=True)
class Place:
    """A number in a model that a runtime acts on: what it is, where, and struct's letter for it."""

    what: str
    at: int
    kind: str


class Reader:
    """As much of TFLite's schema 3 as it takes to find those numbers in a model that is whole."""

    def __init__(self, model: bytes) -> None:
        self._model = model

    def number(self, at: int, kind: str = "I") -> int:
        return int(struct.unpack_from("<" + kind, self._model, at)[0])

    def field(self, table: int, index: int) -> int:
        """Where a table's field stands; 0 if it is absent."""
        vtable = table - self.number(table, "i")
        if self.number(vtable, "H") <= 4 + 2 * index:
            return 0
        offset = self.number(vtable + 4 + 2 * index, "H")
        return table + offset if offset else 0

    def scalar(self, what: str, table: int, index: int, kind: str) -> Iterator[Place]:
        at = self.field(table, index)
        if at:
            yield Place(what, at, kind)

    def vector(self, what: str, table: int, index: int, kind: str) -> Iterator[Place]:
        at = self.field(table, index)
        if at:
            at += self.number(at)
            yield Place(what + " count", at, "I")
            for i in range(self.number(at)):
                yield Place(what, at + 4 + struct.calcsize(kind) * i, kind)

    def tables(self, table: int, index: int) -> Iterator[int]:
        for place in self.vector("", table, index, "I"):
            if not place.what:
                yield place.at + self.number(place.at)

    def places(self) -> Iterator[Place]:
        model = self.number(0)
        for code in self.tables(model, 1):
            yield from self.scalar("old operator code", code, 0, "b")
            yield from self.scalar("operator version", code, 2, "i")
            yield from self.scalar("operator code", code, 3, "i")
        for subgraph in self.tables(model, 2):
            for tensor in self.tables(subgraph, 0):
                yield from self.tensor(tensor)
            yield from self.vector("subgraph input", subgraph, 1, "i")
            yield from self.vector("subgraph output", subgraph, 2, "i")
            for operator in self.tables(subgraph, 3):
                yield from self.operator(operator)
        for buffer in self.tables(model, 4):
            data = self.field(buffer, 0)
            if data:
                yield Place("buffer size", data + self.number(data), "I")
        for signature in self.tables(model, 7):
            yield from self.scalar("signature's subgraph", signature, 4, "I")
            for side in (0, 1):
                for name in self.tables(signature, side):
                    yield from self.scalar("signature's tensor", name, 1, "I")

    def tensor(self, tensor: int) -> Iterator[Place]:
        yield from self.vector("dimension", tensor, 0, "i")
        yield from self.scalar("type", tensor, 1, "b")
        yield from self.scalar("buffer", tensor, 2, "I")
        yield from self.scalar("is variable", tensor, 5, "b")
        yield from self.vector("signature dimension", tensor, 7, "i")
        quantization = self.field(tensor, 4)
        if quantization:
            quantization += self.number(quantization)
            yield from self.vector("scale", quantization, 2, "f")
            yield from self.vector("zero point", quantization, 3, "q")
            yield from self.scalar("quantized dimension", quantization, 6, "i")

    def operator(self, operator: int) -> Iterator[Place]:
        yield from self.scalar("opcode index", operator, 0, "I")
        yield from self.vector("operator input", operator, 1, "i")
        yield from self.vector("operator output", operator, 2, "i")
        yield from self.scalar("options type", operator, 3, "b")
        options = self.field(operator, 4)
        if options:
            options += self.number(options)
            size = self.number(options - self.number(options, "i") + 2, "H")
            for at in range(options + 4, options + size):
                yield Place("option", at, "b")


# ---- breaking them -----------------------------------------------------------------------------


def flip_bits(model: bytearray, dice: random.Random) -> str:
    places = [dice.randrange(len(model)) for _ in range(dice.choice((1, 1, 2, 8)))]
    for at in places:
        model[at] ^= 1 << dice.randrange(8)
    return f"bits at {places}"


def truncate(model: bytearray, dice: random.Random) -> str:
    del model[dice.randrange(len(model)) :]
    return f"cut to {len(model)}"


def zero_out(model: bytearray, dice: random.Random) -> str:
    at, size = dice.randrange(len(model)), dice.choice((4, 16, 64))
    model[at : at + size] = bytes(len(model[at : at + size]))
    return f"{size} zeros at {at}"


def swap_words(model: bytearray, dice: random.Random) -> str:
    a, b = (4 * dice.randrange(len(model) // 4) for _ in range(2))
    model[a : a + 4], model[b : b + 4] = model[b : b + 4], model[a : a + 4]
    return f"words at {a} and {b} swapped"


def set_word(model: bytearray, dice: random.Random) -> str:
    at, value = 4 * dice.randrange(len(model) // 4), dice.choice(NUMBERS)
    struct.pack_into("<I", model, at, value & 0xFFFFFFFF)
    return f"word at {at} = {value}"


def set_fields(model: bytearray, dice: random.Random) -> str:
    """One to three numbers that mean something; most of these models pass every check of form."""
    reader = Reader(bytes(model))
    places = list(reader.places())
    kinds = sorted({place.what for place in places})
    said = []
    for _ in range(dice.choice((1, 1, 2, 3))):
        what = dice.choice(kinds)
        place = dice.choice([each for each in places if each.what == what])
        value: float
        if place.kind == "f":
            value = dice.choice((0.0, -1.0, 1e-38, 3e38, float("nan"), float("inf")))
        elif place.kind == "b":
            value = dice.randrange(-128, 128)
        elif what == "operator code":
            value = dice.randrange(210)
        else:
            value = dice.choice((*NUMBERS, reader.number(place.at, place.kind) + 1))
            if place.kind == "I":
                value &= 0xFFFFFFFF
            value = min(max(value, -(1 << 31)), 0xFFFFFFFF if place.kind == "I" else (1 << 31) - 1)
        struct.pack_into("<" + place.kind, model, place.at, value)
        said.append(f"{what} at {place.at} = {value}")
    return ", ".join(said)


CHANGES: tuple[Callable[[bytearray, random.Random], str], ...] = (
    *(flip_bits, truncate, zero_out, swap_words, set_word),
    *[set_fields] * 5,
)


def broken(seed: int, number: int) -> tuple[str, bytes]:
    """What was done, and the model."""
    dice = random.Random(f"{seed}:{number}")
    name, model = dice.choice(sorted(models().items()))
    changed = bytearray(model)
    said = dice.choice(CHANGES)(changed, dice)
    return f"{name}: {said}", bytes(changed)


# ---- running them ------------------------------------------------------------------------------


def sanitized(runner: str) -> bool:
    return b"__asan_init" in Path(runner).read_bytes()


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def judge(exit_code: int | None, said: str) -> tuple[str, str]:
    """The outcome of a run, and more about it."""
    if exit_code is None:
        return "hung", ""
    lines = said.splitlines() or [""]
    if "ERROR: AddressSanitizer" in said:
        modules = [found for found in FRAME.findall(said) if not NOT_TO_BLAME.search(found)]
        kind = re.search(r"AddressSanitizer: (\S+)", said)
        words = kind.group(1) if kind else lines[-1]
        ours = not modules or "edge-run" in Path(modules[0]).name
        return ("OURS" if ours else "crashed"), words
    if "runtime error: " in said:
        return "OURS", next(line for line in lines if "runtime error: " in line)
    if exit_code < 0 or exit_code >= 128:
        number = -exit_code if exit_code < 0 else exit_code - 128
        name = signal.Signals(number).name
        crash = CRASH.match(lines[-1])
        if number == signal.SIGKILL:
            return "crashed", "SIGKILL, out of memory"
        return ("crashed" if crash and crash.group(1) == name else "OURS"), lines[-1] or name
    if exit_code == 0 and not said:
        return "ran", ""
    if not 1 < exit_code < 32 or not lines[-1].startswith("edge-run: ") or len(lines) != 1:
        return "OURS", f"exit {exit_code}: {said[-300:]}"
    return ("refused" if CHECKER.match(lines[-1]) else "runtime"), lines[-1]


def run(arguments: argparse.Namespace, model: bytes) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.tflite"
        file.write_bytes(model)
        command = [*arguments.prefix.split(), arguments.runner, "infer", "--lib", arguments.lib]
        command += ["--engine", arguments.engine, "--model", str(file), *arguments.flags.split()]
        # Its reports go to a file: standard error may be edge-run's to capture when it writes one.
        fatal = ":".join(f"handle_{each}=2" for each in ("segv", "abort", "sigbus", "sigfpe"))
        asan = f"{fatal}:handle_sigill=2:exitcode={SANITIZER_EXIT}:detect_leaks=0"
        asan += f":allocator_may_return_null=1:symbolize=0:log_path={folder}/report"
        try:
            result = subprocess.run(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "ASAN_OPTIONS": asan},
                preexec_fn=None if arguments.prefix or arguments.sanitized else limit_memory,
                timeout=arguments.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return judge(None, "")
        said = result.stderr.decode(errors="replace")
        said += "".join(each.read_text(errors="replace") for each in Path(folder).glob("report*"))
    return judge(result.returncode, said)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--runner", required=True, help="edge-run, plain or sanitized")
    parser.add_argument("--lib", required=True, help="the runtime library")
    parser.add_argument("--engine", default="litert")
    parser.add_argument("--prefix", default="", help="in front of the runner, such as an emulator")
    parser.add_argument("--flags", default="", help="more flags for infer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--minutes", type=float, help="until then, however many")
    parser.add_argument("--only", type=int, help="run this one and say what came of it")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, help="seconds (30; sanitized 120)")
    parser.add_argument("--save", type=Path, help="folder for the models that crashed or hung")
    arguments = parser.parse_args()
    arguments.sanitized = sanitized(arguments.runner)
    arguments.timeout = arguments.timeout or (120.0 if arguments.sanitized else 30.0)

    deadline = time.monotonic() + (arguments.minutes or 0) * 60
    numbers = iter(range(10**9) if arguments.minutes else range(arguments.count))
    if arguments.only is not None:
        numbers = iter([arguments.only])
    outcomes: collections.Counter[str] = collections.Counter()
    reasons: collections.Counter[tuple[str, str]] = collections.Counter()

    def one(number: int) -> tuple[int, str, bytes, str, str]:
        what, model = broken(arguments.seed, number)
        return number, what, model, *run(arguments, model)

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        pending = {pool.submit(one, number) for number in itertools.islice(numbers, arguments.jobs)}
        while pending:
            done, pending = concurrent.futures.wait(
                pending, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for each in done:
                number, what, model, outcome, words = each.result()
                outcomes[outcome] += 1
                reasons[outcome, re.sub(r"/\S+|0x[0-9a-f]+|\d+", "*", words)] += 1
                if outcome in ("hung", "OURS") or arguments.only is not None:
                    print(f"{outcome}: model {number}: {what}: {words}", flush=True)
                if arguments.save and outcome in ("crashed", "hung", "OURS"):
                    arguments.save.mkdir(parents=True, exist_ok=True)
                    (arguments.save / f"{outcome}-{number}.tflite").write_bytes(model)
                if not arguments.minutes or time.monotonic() < deadline:
                    following = next(numbers, None)
                    if following is not None:
                        pending.add(pool.submit(one, following))

    for outcome, most in (("OURS", 100), ("crashed", 100), ("runtime", 10)):
        found = [(times, words) for (kind, words), times in reasons.items() if kind == outcome]
        for times, words in sorted(found, reverse=True)[:most]:
            print(f"{times:6} {outcome}: {words[:160]}")
    order = ("refused", "runtime", "ran", "crashed", "hung", "OURS")
    print(f"{sum(outcomes.values())} models: " + ", ".join(f"{outcomes[o]} {o}" for o in order))
    return 1 if outcomes["hung"] or outcomes["OURS"] else 0


if __name__ == "__main__":
    sys.exit(main())
