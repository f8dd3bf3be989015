"""TFLite compiled here: the library, what it computes on which cores, and builds that go wrong.

The library with all operators is taken if the cache has it (`invoke runtime.build --board
beaglebone-black` puts it there: the nightly job). Otherwise one is compiled that has only what the
models here use.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from edge import abi as abi_module
from edge import (
    agreement,
    artifact,
    bench,
    board,
    build,
    compiled,
    deploy,
    layout,
    model,
    operators,
    reference,
    runner,
    runtime,
    session,
    source,
    tflite,
    tiny,
)
from edge.artifact import Artifact
from edge.deploy import Choice
from edge.errors import HostError, UsageError
from edge.run import Plan
from edge.runtime import Runtime
from edge.tflite import Order
from examples.digits import dataset
from tests import engine_matrix
from tests.integration.test_commands import edge_command, last_line

REPOSITORY = Path(__file__).parents[2]
BOARD = "qemu-armv7l"
WHOLE = "tflite-2.14.1"
DIGITS = [each.path for each in dataset.models()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory: what is ordered here gets its file in it."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("source-builds")
        patch.chdir(place)
        yield place


@pytest.fixture(scope="module")
def chosen(folder: Path) -> Runtime:
    """TFLite with all operators, if the cache has it; else with those of the models here."""
    whole = runtime.load(WHOLE)
    target = board.load(BOARD)
    assert whole.order is not None
    if tflite.cached(whole.order, target):
        return whole
    contents = [kind.model for kind in engine_matrix.kinds()]
    contents += [make() for make in compiled.MODELS.values()]
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.tflite")
        paths[-1].write_bytes(content)
    return compiled.runtime_for(target, WHOLE, models=[*paths, *DIGITS], name="few")


@pytest.fixture(scope="module")
def library(chosen: Runtime) -> Artifact:
    [made] = runtime.libraries(chosen, board.load(BOARD), print)
    return made


def on(cpu: str) -> board.Board:
    return dataclasses.replace(board.load(BOARD), name=f"test-source-builds-{cpu}", cpu=cpu)


# --- the library ----------------------------------------------------------------------------------


def test_it_needs_nothing_but_an_old_c_library(library: Artifact) -> None:
    elf = artifact.elf_facts(library.path)
    assert elf.machine == "armv7l"
    assert elf.versions.keys() <= {"GLIBC"} and elf.versions["GLIBC"] <= (2, 28)
    assert {name.partition(".")[0] for name in elf.needed} <= {
        *("libc", "libm", "libdl", "libpthread", "ld-linux-armhf")
    }
    # Nothing of the C++ runtime or of TFLite itself can get in the way of anybody else's.
    assert all(name.startswith("TfLite") for name in elf.defined)


def test_it_asks_no_more_of_the_processor_than_the_least_core_with_neon_has(
    library: Artifact,
) -> None:
    with library.path.open("rb") as file:
        section: Any = ELFFile(file).get_section_by_name(".ARM.attributes")
        told = {
            tag.tag: tag.value
            for sub in section.iter_subsections()
            for part in sub.iter_subsubsections()
            for tag in part.iter_attributes()
        }
    assert told["TAG_CPU_ARCH"] == 10  # ARMv7
    assert told["TAG_FP_ARCH"] == 3  # VFPv3: no fused multiply-add
    assert told["TAG_ADVANCED_SIMD_ARCH"] == 1  # NEON as of ARMv7, without it
    assert told.get("TAG_DIV_USE", 0) == 0  # division only where ARMv7-R has it
    assert told["TAG_ABI_VFP_ARGS"] == 1  # armhf


# Encodings (A32) of what a Cortex-A8 or A9 lacks: mask and value, from the Arm Architecture
# Reference Manual for ARMv7-A and ARMv7-R, A8.8, and for ARMv8-A, F6.1. Where a condition comes
# first it is "always": literals between functions would look like the others.
_BEYOND = {
    "division": (0xFFD0F0F0, 0xE710F010),
    "fused multiply-add, VFPv4": (0xFFB00E10, 0xEEA00A00),
    "fused negate-multiply-add, VFPv4": (0xFFB00E10, 0xEE900A00),
    "fused multiply-add, NEON": (0xFF800F10, 0xF2000C10),
    "half precision, VFP": (0xFFBE0ED0, 0xEEB20A40),
    "half precision, NEON": (0xFFBF0ED0, 0xF3B60600),
    "rounding, selecting, ARMv8": (0xFF000E00, 0xFE000A00),
    "maxNum, ARMv8": (0xFF800F10, 0xF3000F10),
    "AES, ARMv8": (0xFFB30F10, 0xF3B00300),
    "CRC32, ARMv8": (0xFF900DF0, 0xE1000040),
    "acquiring load, ARMv8": (0xFFF00FFF, 0xE1900C9F),
    "releasing store, ARMv8": (0xFFF0FFF0, 0xE180FC90),
}


def beyond(path: Path) -> dict[str, int]:
    """Kind of instruction -> how many words of the code look like one."""
    found: dict[str, int] = {}
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if not section["sh_flags"] & 4:  # SHF_EXECINSTR
                continue
            data = section.data()
            words = np.frombuffer(data[: len(data) // 4 * 4], "<u4")
            for kind, (mask, value) in _BEYOND.items():
                if count := int(((words & np.uint32(mask)) == np.uint32(value)).sum()):
                    found[kind] = found.get(kind, 0) + count
    return found


def test_it_holds_no_instruction_that_the_least_core_lacks(library: Artifact) -> None:
    assert beyond(library.path) == {}


def test_such_instructions_would_be_found(tmp_path: Path) -> None:
    code = "float f(float a, float b, float c) { return __builtin_fmaf(a, b, c); }\n"
    (tmp_path / "x.c").write_text(f"{code}int g(int a, int b) {{ return a / b; }}\n")
    command = [*(sys.executable, "-m", "ziglang", "cc", "-O2", "-c", "x.c", "-o", "x.o")]
    for cpu, wanted in (
        ("cortex_a8", set()),
        ("cortex_a15", {"division", "fused multiply-add, VFPv4"}),
    ):
        target = ["-target", "arm-linux-gnueabihf.2.28", f"-mcpu={cpu}"]
        subprocess.run([*command, *target], cwd=tmp_path, env=build.environment(), check=True)
        assert beyond(tmp_path / "x.o").keys() == wanted


@pytest.mark.parametrize("cpu", ["cortex-a7", "cortex-a8", "cortex-a9"])
def test_all_digits_models_on_each_core(chosen: Runtime, library: Artifact, cpu: str) -> None:
    choice = Choice(runtime=chosen.name)
    with session.connect(on(cpu), print) as opened:
        wanted = deploy.prepared(opened, deploy.models(DIGITS, print), print, choice)
        assert wanted.runtime == chosen.name and wanted.runtime_sha256 == library.sha256
        with deploy.staged(opened, wanted, print):
            for item in wanted.models:
                expected = reference.compute(item.path)
                got, told = runner.infer(opened, wanted, item, expected.inputs_file, each=False)
                assert agreement.compare(item.path.name, got, expected).ok
                assert told["delegation"]["nodes_delegated"] == 0


def test_it_runs_what_the_wheels_library_runs(chosen: Runtime, library: Artifact) -> None:
    with session.connect(on("cortex-a8"), print) as opened:
        kinds = engine_matrix.kinds()
        cells = list(engine_matrix.fill(opened, "tflite", kinds, chosen.name))
    assert {cell.kind: cell.state for cell in cells} == {
        kind.name: "refused" if "tflite" in kind.refusals else "ok" for kind in kinds
    }


def test_a_32_bit_machine_from_build_to_live(chosen: Runtime, library: Artifact) -> None:
    target = dataclasses.replace(
        board.load("qemu-virt-armhf"), name="test-source-builds-machine", runtime=chosen.name
    )
    with session.connect(target, print) as opened:
        script = 'chmod -R u+w "$1" 2>/dev/null; rm -rf "$1"'
        opened.transport.run(["sh", "-c", script, "sh", opened.device.root])
        wanted = deploy.prepared(opened, deploy.models(DIGITS, print), print)
        assert wanted.engine == "tflite" and wanted.runtime_sha256 == library.sha256
        done = deploy.deploy(opened, wanted, print)
        assert [each.model for each in done.smoke] == [item.path.name for item in wanted.models]
        assert len(done.smoke) == 8 and all(each.ok for each in done.smoke)
        current = opened.transport.run(["readlink", opened.device.current])
        assert wanted.id in current.text


@pytest.fixture(scope="module")
def library_here() -> abi_module.Library:
    return build.host_library(print)


def test_a_bench_says_that_xnnpack_has_no_kernels_in_it(
    chosen: Runtime, library: Artifact, library_here: abi_module.Library
) -> None:
    with session.connect(on("cortex-a8"), print) as opened:
        choice = Choice(runtime=chosen.name)
        wanted = deploy.prepared(opened, deploy.models(DIGITS[:1], print), print, choice)
        with deploy.staged(opened, wanted, print):
            plan = Plan(count=30)
            run = bench.measure(
                *(opened, wanted, wanted.models[0], plan, library_here, print),
                command="test",
                folder=layout.runs_dir() / f"test-source-builds-{os.getpid()}",
            )
    shutil.rmtree(layout.runs_dir() / run.id)
    reasons = {reason.code: reason.text for reason in run.verdict()}
    assert "no XNNPACK int8 kernels" in reasons["no-xnnpack"]


def test_what_was_made_is_tried_and_the_outcome_kept(chosen: Runtime, library: Artifact) -> None:
    target = board.load(BOARD)
    library.path.with_name("checks.json").unlink(missing_ok=True)
    made = compiled.make(chosen, target, print)
    assert not made.built.compiled
    assert [(check.dtype, check.nodes_in_xnnpack) for check in made.checks] == [
        ("float32", 0),
        ("int8", 0),
    ]
    assert {check.cpu for check in made.checks} == {"cortex-a8"}
    assert compiled.make(chosen, target, print).checks == made.checks


def test_the_commands_take_it_by_name(chosen: Runtime, library: Artifact, folder: Path) -> None:
    words = ["runtime.build", "--board", BOARD, "--runtime", chosen.name]
    done = edge_command(*words, env=dict(os.environ), cwd=folder, python_path=str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    assert "was in the cache" in done.stdout and "no XNNPACK int8 kernels" in done.stdout
    assert f"use it: --runtime {chosen.name}" in done.stdout


# --- fewer operators ------------------------------------------------------------------------------


def test_a_model_is_refused_before_anything_is_sent_or_compiled(folder: Path) -> None:
    path = folder / "only-dense.tflite"
    path.write_bytes(tiny.dense())
    dense = compiled.runtime_for(board.load(BOARD), WHOLE, models=[path], name="dense")
    assert dense.order == Order(WHOLE, operators=("FULLY_CONNECTED",))
    cnn = next(p for p in DIGITS if p.name == "cnn-int8.tflite")
    with pytest.raises(UsageError, match=r"cnn-int8\.tflite uses CONV_2D, .*runtime dense was"):
        deploy.prepare(
            *(board.load(BOARD), deploy.models([cnn], print), print), choice=Choice(runtime="dense")
        )


def test_every_operator_that_tflite_registers_has_its_file() -> None:
    sources = source.unpacked(source.load(WHOLE), print)
    lite = sources / "tensorflow/tensorflow/lite"
    register = (lite / operators.REGISTER).read_text(encoding="utf-8")
    known = operators.registrations(register)
    assert len(known) == register.count("AddBuiltin(") + register.count("AddCustom(")
    assert len(operators.kernels(known.values(), lite)) > 100
    digits = operators.used([model.read(path) for path in DIGITS])
    assert len(operators.kernels(operators.chosen(digits, known), lite)) < 15


# --- the build ------------------------------------------------------------------------------------


def test_the_same_bytes_wherever_the_sources_and_the_tree_are(tmp_path: Path) -> None:
    """Of three files, which stand for all: each is compiled by the same flags."""
    sources = source.unpacked(source.load(WHOLE), print)
    recipe, arguments = tflite._planned(Order(WHOLE), board.load(BOARD))
    assert recipe.mcpu == "cortex-a8"
    digests = []
    for name in ("here", "a/longer place"):
        place = tmp_path / name
        place.mkdir(parents=True)
        (place / "sources").symlink_to(sources)
        given = ("-S", str(tflite._folder()), *arguments)
        given += (f"-DEDGE_SOURCES={place / 'sources'}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
        lite = place / "sources/tensorflow/tensorflow/lite"
        tree = place / "tree"
        tree.mkdir()
        tflite._configure(tree, given, ("RESHAPE",), lite, "three files")
        # CMake shortens the names of objects whose paths are long.
        commands = json.loads((tree / "compile_commands.json").read_text(encoding="utf-8"))
        wanted = [
            Path(next(c["output"] for c in commands if c["file"].endswith(f"/{each}")))
            for each in ("core/api/op_resolver.cc", "kernels/reshape.cc", "registering.cc")
        ]
        subprocess.run(
            [build.tool("ninja"), "-C", tree, *(path.relative_to(tree) for path in wanted)],
            env=build.environment(),
            check=True,
            capture_output=True,
        )
        digests.append([artifact.hash_file(path) for path in wanted])
    assert digests[0] == digests[1]


def tree_of(tmp_path: Path, *commands: str) -> Path:
    """A tree that ninja builds by these shell commands, one after the other."""
    rules = ["rule run", "  command = $what"]
    for number, what in enumerate(commands):
        rules += [f"build out{number}: run", f"  what = {what}"]
    (tmp_path / "build.ninja").write_text("\n".join([*rules, ""]), encoding="utf-8")
    return tmp_path


def test_compilers_ended_for_memory_are_run_again_one_at_a_time(tmp_path: Path) -> None:
    # The first attempt is ended as the kernel does it, the next one is left alone.
    tree = tree_of(tmp_path, "test -e tried || { touch tried; kill -9 $$$$; }; touch out0")
    said: list[str] = []
    tflite._ninja(tree, 2, said.append, "a library")
    assert (tree / "out0").exists()
    assert any("memory" in line and "one at a time" in line for line in said)


def test_compilers_that_are_ended_again_and_again(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="memory runs out: close other programs and run again"):
        tflite._ninja(tree_of(tmp_path, "kill -9 $$$$"), 2, print, "a library")


def test_a_compilers_complaint_is_no_lack_of_memory(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "complaint").write_text("x.cc:1:2: error: no such thing\n")
    tree = tree_of(tmp_path, "cat complaint && false")
    with pytest.raises(HostError, match=r"can't compile a library: x\.cc:1:2: error: no such"):
        tflite._ninja(tree, 2, said.append, "a library")
    assert not any("one at a time" in line for line in said)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    (tmp_path / "complaint").write_text("x.cc:1:1: error: No space left on device\n")
    tree = tree_of(tmp_path, "cat complaint && false")
    with pytest.raises(HostError, match="the disk is full"):
        tflite._ninja(tree, 1, print, "a library")


def test_an_interrupted_build_goes_on_where_it_was(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, "echo x >> once && touch out0", "touch began && sleep 60 && touch out1"
    )
    program = (
        "import sys; from pathlib import Path; from edge import tflite;"
        "tflite._ninja(Path(sys.argv[1]), 1, print, 'a library')"
    )
    with subprocess.Popen([sys.executable, "-c", program, tree], start_new_session=True) as process:
        for _ in itertools.count():
            if (tree / "began").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) != 0
    text = (tree / "build.ninja").read_text(encoding="utf-8").replace("sleep 60", "true")
    (tree / "build.ninja").write_text(text, encoding="utf-8")
    tflite._ninja(tree, 1, print, "a library")
    assert (tree / "out1").exists()
    assert (tree / "once").read_text() == "x\n"


def test_a_board_that_nothing_is_compiled_for(folder: Path) -> None:
    words = ["runtime.build", "--board", "localhost"]
    done = edge_command(*words, env=dict(os.environ), cwd=folder, python_path=str(REPOSITORY))
    assert done.returncode == 2
    assert "TFLite is compiled for aarch64 and armv7l" in last_line(done)
