"""Every engine on every board that this machine can be: by commands, and by what they call.

The boards have names and roots of their own, fresh for each run: a developer's stay as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge import (
    agreement,
    board,
    deploy,
    facts,
    inspection,
    layout,
    reference,
    runner,
    runtime,
    session,
    tiny,
)
from edge import model as model_module
from edge.artifact import Artifact
from edge.deploy import Choice
from edge.errors import UsageError
from edge.facts import Facts
from edge.options import DEFAULT, Options
from edge.python import Python
from edge.release import Release
from edge.session import Session
from edge.testing import FakeTransport
from examples.digits import dataset
from tests import engine_matrix
from tests.engine_matrix import Cell
from tests.integration.test_commands import edge_command, last_line
from tests.integration.test_runner import REPOSITORY, build, cached_tree, example_delegate, zig
from tests.unit import boards as recorded

DIGITS = {model.name: model.path for model in dataset.models()}
FLOAT32, INT8 = DIGITS["mlp-float32"], DIGITS["mlp-int8"]
MOBILENET = REPOSITORY / "examples/mobilenet/mobilenet-v2-int8.tflite"

# Nodes that the delegates take, of how many: by LiteRT, whatever its engine, and by tflite-runtime.
NODES = {
    "mlp-float32": (4, 4, 4),
    "mlp-float16": (10, 10, 10),
    "mlp-dynamic": (4, 2, 4),
    "mlp-int8": (3, 0, 4),
    "cnn-float32": (6, 6, 6),
    "cnn-float16": (12, 12, 12),
    "cnn-dynamic": (6, 4, 6),
    "cnn-int8": (5, 0, 6),
    "mobilenet-v2-int8": (64, 0, 65),
}

Command = Callable[..., subprocess.CompletedProcess[str]]
Standing = Callable[[str, str], tuple[Session, Release]]


# ---- boards of our own --------------------------------------------------------------------------


def own(name: str, suffix: str = "") -> board.Board:
    """An emulated board, or this machine, with an empty root."""
    target = dataclasses.replace(board.load(name), name=f"test-engines-{name}{suffix}")
    root = layout.machines_dir() / target.name
    shutil.rmtree(root, ignore_errors=True)
    return dataclasses.replace(target, root=str(root / "root")) if target.local else target


@pytest.fixture
def connected() -> Iterator[Callable[[str], Session]]:
    """Sessions with boards of our own."""
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(session.connect(own(name), print))


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A release of all models that tests here open, staged once for each board and engine."""
    signatures = tmp_path_factory.mktemp("models") / "signatures.tflite"
    signatures.write_bytes(tiny.two_signatures())
    made: dict[tuple[str, str], tuple[Session, Release]] = {}
    with contextlib.ExitStack() as stack:

        def get(name: str, engine: str) -> tuple[Session, Release]:
            if (name, engine) not in made:
                opened = stack.enter_context(session.connect(own(name, f"-{engine}"), print))
                found = deploy.models([*DIGITS.values(), MOBILENET, signatures], print)
                wanted = deploy.prepared(opened, found, print, Choice(engine=engine))
                stack.enter_context(deploy.staged(opened, wanted, print))
                made[name, engine] = opened, wanted
            return made[name, engine]

        yield get


def named(wanted: Release, path: Path) -> Artifact:
    return next(item for item in wanted.models if item.path.name == path.name)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """``edge WORDS``, where each emulated board is one of our own under its usual name.

    Board files in the working directory hide those that are shipped; roots go by the board's name,
    so that only the names that tests type stay the same.
    """
    (tmp_path / "boards").mkdir()
    roots = []
    for name in ("qemu-aarch64", "qemu-aarch64-bullseye", "qemu-armv7l"):
        ours = f"test-engines-{name}-command"
        roots.append(layout.machines_dir() / ours)
        shutil.copy(REPOSITORY / f"boards/{name}.toml", tmp_path / f"boards/{ours}.toml")
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(layout.cache_dir().parent),
        "EDGE_LAB": str(tmp_path / "lab.toml"),
    }

    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return edge_command(
            *(f"test-engines-{w}-command" if str(w).startswith("qemu-") else str(w) for w in words),
            env=env,
            cwd=tmp_path,
            python_path=str(REPOSITORY),
        )

    for root in roots:
        shutil.rmtree(root, ignore_errors=True)
    yield call
    for root in roots:
        shutil.rmtree(root, ignore_errors=True)


def live(name: str) -> str:
    """The release that is live on an emulated board of ``command``."""
    return (layout.machines_dir() / f"test-engines-{name}-command/root/current").readlink().name


def answer(result: subprocess.CompletedProcess[str]) -> Any:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def refused(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> str:
    """It ended with ``code`` and one line, which holds ``parts``."""
    line = last_line(result)
    assert result.returncode == code, result.stderr
    for part in parts:
        assert part in line
    return line


# ---- which engine runs what ---------------------------------------------------------------------


def committed() -> dict[tuple[str, str], dict[str, str]]:
    """States in the table of docs/engines.md, by board and engine; none before it was made."""
    text = engine_matrix.DOCUMENT.read_text(encoding="utf-8")
    made = text.partition(engine_matrix.BEGIN)[2].partition(engine_matrix.END)[0]
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in made.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    if not table:
        return {}
    states = {"yes": "ok", "no": "refused", "**wrong**": "wrong"}
    return {
        (row[0], row[1]): {
            kind: states[mark.split()[0]] for kind, mark in zip(table[0][3:], row[3:], strict=True)
        }
        for row in table[1:]
    }


def check_cells(name: str, engine: str, cells: Sequence[Cell]) -> None:
    wrong = [f"{cell.kind}: {cell.text}" for cell in cells if cell.state == "wrong"]
    assert not wrong
    if row := committed().get((name, engine)):
        told = {cell.kind: row[cell.kind] for cell in cells}
        assert {cell.kind: cell.state for cell in cells} == told


def expected(engine: str, available: bool) -> dict[str, str]:
    """What the columns themselves say, without the document."""
    kinds = engine_matrix.kinds()
    return {k.name: "refused" if engine in k.refusals or not available else "ok" for k in kinds}


@pytest.mark.parametrize("engine", engine_matrix.ENGINES)
def test_each_kind_on_this_machine(connected: Callable[[str], Session], engine: str) -> None:
    here = connected("localhost")
    cells = list(engine_matrix.fill(here, engine, engine_matrix.kinds()))
    check_cells("localhost", engine, cells)
    # Nobody ships the TfLite C API for x86-64.
    available = engine != "tflite" or here.board.arch == "aarch64"
    assert {cell.kind: cell.state for cell in cells} == expected(engine, available)
    if not available:
        assert "x86_64" in cells[0].text


@pytest.mark.parametrize("engine", [e for e in engine_matrix.ENGINES if e != "numpy"])
def test_kinds_on_an_emulated_board(connected: Callable[[str], Session], engine: str) -> None:
    # A Python with numpy takes seconds to start there.
    slow = ["float32", "int8", "string"] if engine in runtime.IN_PYTHON else None
    slow = ["int8"] if engine == "compiled" else slow
    kinds = [k for k in engine_matrix.kinds() if slow is None or k.name in slow]
    cells = list(engine_matrix.fill(connected("qemu-aarch64"), engine, kinds))
    check_cells("qemu-aarch64", engine, cells)
    states = expected(engine, available=True)
    assert {cell.kind: cell.state for cell in cells} == {k.name: states[k.name] for k in kinds}


def test_a_32_bit_board_computes_in_python(command: Command, tmp_path: Path) -> None:
    here = reference.compute(INT8)
    words = ["infer", "--board", "qemu-armv7l", "--model", INT8, "--input", here.inputs_file]
    words += ["--output", tmp_path / "y.npz"]
    told = answer(command(*words, "--engine", "python", "--json"))
    assert told["engine"] == "python"
    with np.load(tmp_path / "y.npz") as there:
        assert agreement.compare("mlp-int8", dict(there), here).ok
    # There is no LiteRT for it.
    refused(command(*words, "--engine", "litert"), 2, "armv7l")


# ---- bench --------------------------------------------------------------------------------------


def test_a_call_from_python_is_split_into_its_parts(command: Command) -> None:
    words = ["bench", "--board", "localhost", "--model", FLOAT32, "--count", "100"]
    words += ["--engine", "native,python"]
    found = answer(command(*words, "--json"))
    assert {run["engine"] for run in found["runs"]} == {"native", "python"}
    assert all(run["samples"] > 0 for run in found["runs"])
    [split] = found["splits"]
    assert split["identical"] is True
    assert [part["phase"] for part in split["parts"]] == ["copy_in", "invoke", "copy_out", "call"]
    for part in split["parts"]:
        for side in ("native", "python", "binding"):
            interval = part[side]
            assert interval["low"] <= interval["value"] <= interval["high"]
        assert part["native"]["value"] > 0 and part["python"]["value"] > 0
    text = command(*words)
    assert text.returncode == 0, text.stderr
    for word in ("copy in", "invoke", "copy out", "binding"):
        assert word in text.stdout


# ---- inspect ------------------------------------------------------------------------------------


def taken(name: str, runtime_name: str) -> tuple[int, int]:
    by_litert, by_tflite_runtime, total = NODES[name]
    return (by_tflite_runtime if runtime_name.startswith("tflite-runtime") else by_litert), total


@pytest.mark.parametrize(
    ("name", "engine"),
    [("localhost", "litert"), ("localhost", "python"), ("qemu-aarch64", "tflite")],
)
def test_nodes_that_delegates_take(standing: Standing, name: str, engine: str) -> None:
    opened, wanted = standing(name, engine)
    for path in (*DIGITS.values(), MOBILENET):
        said = runner.inspect(opened, wanted, named(wanted, path))
        told = inspection.delegation(model_module.read(path), said)
        counts = (told.nodes_delegated, told.nodes_total)
        assert counts == taken(path.stem, wanted.runtime), path.stem
        assert told.agrees is not False, path.stem
        if engine == "tflite":  # the library's own log names the same number
            assert told.agrees is True and told.logged == counts[0], path.stem


def test_a_build_without_quantized_kernels_is_told_slow(command: Command) -> None:
    words = ("inspect", MOBILENET, "--board", "localhost", "--engine", "litert,python", "--json")
    litert, python = answer(command(*words))["delegation"]
    for told in (litert, python):
        counts = (told["nodes_delegated"], told["nodes_total"])
        assert counts == taken("mobilenet-v2-int8", told["runtime"])
        assert told["agrees"] is not False
    slow = [any("23 times" in line for line in told["warnings"]) for told in (litert, python)]
    assert slow == [False, python["runtime"].startswith("tflite-runtime")]


# ---- what does not fit a board ------------------------------------------------------------------


def test_debian_11_takes_the_older_library(command: Command) -> None:
    words = ("deploy", "--board", "qemu-aarch64-bullseye", "--model", INT8, "--json")
    asked = (("--engine", "litert"), ("--runtime", "litert-2.3.0"))
    parts = ("glibc 2.34", "the board has 2.31", "--runtime litert-2.1.0")
    for flags in asked:
        refused(command(*words, *flags), 2, *parts)
    done = answer(command(*words, "--runtime", "litert-2.1.0"))
    assert done["runtime"] == "litert-2.1.0" and done["changed"]
    [smoke] = done["smoke"]
    assert smoke["largest_difference"] <= smoke["bound"]
    assert live("qemu-aarch64-bullseye") == done["release"]


def test_a_library_of_ones_own_serves_in_the_runtimes_place(
    command: Command, tmp_path: Path
) -> None:
    own = tmp_path / "libtensorflowlite_c.so"
    shutil.copy(runtime.fetch(runtime.load("litert-2.1.0"), "aarch64", print).path, own)
    # One byte more, so that the store can't take it for the runtime's: still a library.
    own.write_bytes(own.read_bytes() + b"\0")
    words = ("--board", "qemu-aarch64", "--model", INT8, "--lib", own, "--json")
    done = answer(command("deploy", *words))
    assert done["runtime"] == "file:libtensorflowlite_c.so" and done["changed"]
    [smoke] = done["smoke"]
    assert smoke["largest_difference"] <= smoke["bound"]
    root = layout.machines_dir() / "test-engines-qemu-aarch64-command/root"
    assert (root / "current/lib/libtflite.so").read_bytes() == own.read_bytes()
    refused(command("deploy", *words, "--runtime", "litert-2.1.0"), 2, "--lib and --runtime")
    refused(command("deploy", *words, "--engine", "python"), 2, "takes no --lib", "--engine tflite")


def pretended(name: str, seen: Facts) -> Session:
    """A board that no command may reach: the fake knows no answer."""
    return Session(board.load(name), FakeTransport(), seen)


def test_a_cortex_a8_is_spared_what_it_can_not_run() -> None:
    black = pretended("beaglebone-black", facts.parse(recorded.BEAGLEBONE_BLACK))
    found, wheel = deploy.models([INT8], print), Choice(engine="python")
    # Installing numpy, or another Python, would be in vain.
    for version, numpy in (("3.9", "1.19.5"), ("3.11", None), ("3.13", "2.2")):
        python = Python(
            "/usr/bin/python3", version, "armv7l", f"cp{version.replace('.', '')}", numpy
        )
        with pytest.raises(
            UsageError, match=r"needs the CPU features neon, vfpv4.* no vfpv4 .*--lib"
        ):
            deploy.prepare(
                *(black.board, found, print), choice=wheel, interpreter=python, facts=black.facts
            )
    python = Python("/usr/bin/python3", "3.9", "armv7l", "cp39", "1.24.2")
    wanted = deploy.prepare(
        *(black.board, found, print), choice=wheel, interpreter=python, facts=black.facts
    )
    assert wanted.runtime == "tflite-runtime-2.14.0"
    with pytest.raises(UsageError, match=r"needs the CPU features neon, vfpv4.* no vfpv4 .*--lib"):
        deploy.deploy(black, wanted, print)


def test_the_python_that_lab_toml_names_runs_models(command: Command, tmp_path: Path) -> None:
    beside = tmp_path / "beside/python3"
    beside.parent.mkdir()
    beside.write_text(f'#!/bin/sh\necho >> "{tmp_path}/called"\nexec {sys.executable} "$@"\n')
    beside.chmod(0o755)
    lab = f'[boards.localhost]\nroot = "{tmp_path}/root"\npython = "{beside}"\n'
    (tmp_path / "lab.toml").write_text(lab, encoding="utf-8")
    words = ("--board", "localhost", "--engine", "python", "--model", INT8)
    assert answer(command("deploy", *words, "--json"))["changed"]
    # It was asked what it is, and ran the model.
    assert len((tmp_path / "called").read_text().splitlines()) >= 2


def test_a_jetson_nano_is_told_which_runtime_it_can_load() -> None:
    nano = pretended("jetson-nano", facts.parse(recorded.JETSON_NANO))
    library = runtime.fetch(runtime.load("litert-2.1.0"), nano.board.arch, print)
    findings = deploy.look(nano, (library,), (), 0, "litert-2.1.0", print)
    [stop] = [finding for finding in findings if finding.level == "stop"]
    assert "needs glibc 2.30" in stop.text and "the board has 2.27" in stop.text
    assert "--runtime tflite-runtime-2.14.0" in stop.remedy


# ---- delegates ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> Path:
    """The example delegate for aarch64."""
    return example_delegate()


@pytest.fixture(scope="module")
def foreign() -> Path:
    """The same for x86-64."""
    tree = cached_tree("zig-x86_64")
    flags = (*zig("x86_64"), "-DEDGE_TESTS=ON")
    build(REPOSITORY / "firmware", tree, *flags, target="example_delegate")
    return tree / "libexample_delegate.so"


@pytest.fixture
def additions(tmp_path: Path) -> Path:
    path = tmp_path / "additions.tflite"
    path.write_bytes(tiny.delegable())
    return path


def test_a_delegate_goes_along_and_is_checked(
    command: Command, example: Path, additions: Path
) -> None:
    words = ("--board", "qemu-aarch64", "--json", "--delegate")
    deployed = ("deploy", "--model", additions, *words)
    first = answer(command("deploy", "--model", additions, *words[:-1]))
    assert live("qemu-aarch64") == first["release"]
    # It doubles what it computes: the smoke check sees that before the switch.
    wrong = command(*deployed, f"external:{example}?scale=2")
    refused(wrong, 3, "computes something else", "the old release stays live")
    assert live("qemu-aarch64") == first["release"]
    wrong = command(*deployed, f"external:{example}?refuse=prepare")
    refused(wrong, 3, "libexample_delegate.so", "refuses the model")
    assert live("qemu-aarch64") == first["release"]

    done = answer(command(*deployed, f"external:{example}?scale=1"))
    assert len(done["smoke"]) == 1 and done["release"] != first["release"]
    assert live("qemu-aarch64") == done["release"]
    [told] = answer(command("inspect", additions, *words, f"external:{example}?scale=1"))[
        "delegation"
    ]
    assert Path(told["delegates"][0]).name == "libexample_delegate.so"
    assert (told["nodes_delegated"], told["nodes_total"], told["left"]) == (3, 3, [])
    assert told["agrees"] is True


def test_a_delegate_that_can_not_do_is_refused_before_anything_is_sent(
    command: Command, example: Path, foreign: Path, additions: Path, tmp_path: Path
) -> None:
    text = tmp_path / "delegate.so"
    text.write_text("no library\n", encoding="utf-8")
    other = runtime.fetch(runtime.load("litert-2.1.0"), "aarch64", print).path
    words = ("deploy", "--board", "qemu-aarch64", "--model", additions, "--delegate")
    for asked, parts in (
        ([f"external:{foreign}"], ("x86_64", "aarch64")),
        ([f"external:{text}"], ("delegate.so",)),
        ([f"external:{other}"], (other.name, "tflite_plugin_create_delegate")),
        ([f"external:{tmp_path}/none.so"], ("none.so",)),
        ([f"external:{example}", "--engine", "litert"], ("litert", "--engine tflite")),
    ):
        result = command(*words, *asked)
        refused(result, 2, *parts)
        assert "sending" not in result.stderr


# ---- the user's own arrays ----------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(name: str = "x.npz", **arrays: npt.ArrayLike) -> Path:
        reference.save(tmp_path / name, {key: np.asarray(value) for key, value in arrays.items()})
        return tmp_path / name

    return save


PIXELS = np.zeros((1, 64), np.float32)
NOT_A_NUMBER = np.full((1, 64), np.nan, np.float32)


def test_what_does_not_fit_is_one_line(
    command: Command, saved: Callable[..., Path], tmp_path: Path
) -> None:
    signatures = tmp_path / "signatures.tflite"
    signatures.write_bytes(tiny.two_signatures())
    for model, arrays, flags, parts in (
        (FLOAT32, {"pixels": PIXELS.astype(np.int8)}, [], ("float32 [1, 64], got int8 [1, 64]",)),
        (FLOAT32, {"pixels": PIXELS, "more": PIXELS}, [], ("no input 'more'", "'pixels'")),
        (INT8, {"pixels": NOT_A_NUMBER}, ["--dequantize"], ("'pixels'", "is not a number")),
        (signatures, {}, ["--signature", "triple"], ("'triple'", "'double'", "'add'")),
        (FLOAT32, {"pixels": PIXELS}, ["--shape", "nobody=1x64"], ("'nobody'", "pixels")),
        (FLOAT32, {"pixels": PIXELS}, ["--shape", "pixels=64"], ("pixels", "[64]")),
        (FLOAT32, {"pixels": PIXELS}, ["--shape", "pixels=0x64"], ("at least 1",)),
    ):
        words = ["infer", "--board", "localhost", "--model", model, "--input", saved(**arrays)]
        refused(command(*words, "--output", tmp_path / "y.npz", *flags), 2, *parts)
        assert not (tmp_path / "y.npz").exists()


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("localhost", "litert"),
        ("localhost", "python"),
        ("localhost", "native"),
        ("qemu-aarch64", "tflite"),
    ],
)
def test_each_engine_refuses_arrays_in_the_same_words(
    standing: Standing, saved: Callable[..., Path], name: str, engine: str
) -> None:
    opened, wanted = on_python(standing, name, engine)
    shape = Options(shapes=(("nobody", (1, 64)),))
    signature = Options(signature="triple")
    for path, arrays, options, dequantize, words in (
        (FLOAT32, {"pixels": PIXELS.astype(np.int8)}, DEFAULT, False, "expects float32 [1, 64]"),
        (FLOAT32, {"pixels": PIXELS[:, :9]}, DEFAULT, False, "got float32 [1, 9]"),
        (FLOAT32, {}, DEFAULT, False, "no array for input 'pixels'"),
        (FLOAT32, {"pixels": PIXELS, "more": PIXELS}, DEFAULT, False, "no input 'more'"),
        (INT8, {"pixels": NOT_A_NUMBER}, DEFAULT, True, "is not a number"),
        (FLOAT32, {"pixels": PIXELS}, shape, False, "no input 'nobody'"),
        (Path("signatures.tflite"), {}, signature, False, "the model's are 'double', 'add'"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            runner.infer(
                *(opened, wanted, named(wanted, path), saved(**arrays)),
                options=options,
                each=False,
                dequantize=dequantize,
            )


def on_python(standing: Standing, name: str, engine: str) -> tuple[Session, Release]:
    """Engine native runs from python's release: both are of the same files."""
    opened, wanted = standing(name, "python" if engine == "native" else engine)
    return opened, dataclasses.replace(wanted, engine=engine)


@pytest.mark.parametrize("engine", ["litert", "python", "native"])
def test_each_engine_quantizes_as_by_hand(
    standing: Standing, saved: Callable[..., Path], engine: str
) -> None:
    opened, wanted = on_python(standing, "localhost", engine)
    graph = model_module.read(INT8).subgraphs[0]
    x, y = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert x.quantization and y.quantization
    random = np.random.default_rng(1)
    # Some of it beyond what the type can hold, some halfway between two steps.
    step = x.quantization.scales[0]
    real = (random.uniform(-300, 300, x.shape) * step).astype(np.float32)
    real[0, :8] = (np.arange(8) + 0.5) * step
    by_hand = np.round(real.astype(np.float64) / step) + x.quantization.zero_points[0]
    whole = np.clip(by_hand, -128, 127).astype(np.int8)
    item = named(wanted, INT8)

    def run(array: npt.ArrayLike, dequantize: bool) -> npt.NDArray[Any]:
        given = saved(**{x.name: array})
        found, _ = runner.infer(opened, wanted, item, given, each=False, dequantize=dequantize)
        return found[y.name]

    there, steps = run(real, True), run(whole, False)
    assert there.dtype == np.float32 and steps.dtype == np.int8 and len(set(steps.flat)) > 1
    expected = y.quantization.scales[0] * (steps.astype(np.float64) - y.quantization.zero_points[0])
    np.testing.assert_allclose(there, expected, rtol=1e-6)


# ---- builds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "lto", "cflags"),
    [(["--lto"], True, []), (["--cflags=-Os '-DNOTE=a b'"], False, ["-Os", "-DNOTE=a b"])],
)
def test_a_tuned_build_says_so(
    command: Command, flags: list[str], lto: bool, cflags: list[str]
) -> None:
    made = answer(command("build", "--board", "qemu-aarch64", "--json", *flags))
    assert (made["recipe"]["lto"], made["recipe"]["cflags"]) == (lto, cflags)
