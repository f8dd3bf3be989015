"""edge-run and libedge as a user gets them: built by zig, called by their command line.

On this machine the runtime is the fake of firmware/tests, which does what EDGE_FAKE asks for. The
real one runs under QEMU's user mode.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

from edge import abi, board, emulator, image, layout, reference, runtime
from edge import build as firmware_build
from examples.digits import dataset

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "examples/digits/models"
MODEL = MODELS / "mlp-float32.tflite"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the host build of these tests is for x86-64 Linux",
)

NODES = {
    # model: (nodes, taken by XNNPACK of ai-edge-litert 2.1.0); it leaves the int8 softmax alone
    "cnn-dynamic": (6, 6),
    "cnn-float16": (12, 12),
    "cnn-float32": (6, 6),
    "cnn-int8": (6, 5),
    "mlp-dynamic": (4, 4),
    "mlp-float16": (10, 10),
    "mlp-float32": (4, 4),
    "mlp-int8": (4, 3),
}


def build(source: Path, tree: Path, *arguments: str, target: str = "all") -> Path:
    environment = firmware_build.environment()
    for command in (
        [
            *(firmware_build.tool("cmake"), "-G", "Ninja", "-S", str(source), "-B", str(tree)),
            *(f"-DCMAKE_MAKE_PROGRAM={firmware_build.tool('ninja')}", *arguments),
        ],
        [firmware_build.tool("cmake"), "--build", str(tree), "--target", target],
    ):
        result = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
    return tree


def zig(arch: str) -> tuple[str, str]:
    return (
        f"-DCMAKE_TOOLCHAIN_FILE={REPOSITORY / f'toolchains/zig-{arch}.cmake'}",
        f"-DEDGE_PYTHON={sys.executable}",
    )


def cached_tree(name: str) -> Path:
    """A build tree that stays from run to run; CMake ties one to its sources and its compiler."""
    key = hashlib.sha256(f"{REPOSITORY} {sys.executable}".encode()).hexdigest()[:12]
    return layout.builds_dir() / f"test-{name}-{key}"


@pytest.fixture(scope="session")
def host_tree() -> Path:
    tree = cached_tree("zig-x86_64")
    return build(REPOSITORY / "firmware", tree, *zig("x86_64"), "-DEDGE_TESTS=ON")


@pytest.fixture(scope="session")
def board_tree() -> Path:
    tree = cached_tree("zig-aarch64")
    return build(REPOSITORY / "firmware", tree, *zig("aarch64"))


@dataclass
class Runner:
    argv: list[str]
    library: Path
    words: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str | Path) -> list[str]:
        return [*self.argv, *(str(each) for each in arguments)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.extra, "EDGE_FAKE": self.words}

    def call(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            env=self.environment(),
            check=False,
            timeout=300,
        )

    def report(self, *arguments: str | Path) -> dict[str, Any]:
        result = self.call(*arguments)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def fails(self, code: int, part: str, *arguments: str | Path) -> None:
        result = self.call(*arguments)
        assert result.returncode == code, result.stderr
        assert part in result.stderr
        assert result.stderr.startswith("edge-run: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""

    def model(self, model: Path = MODEL, library: Path | None = None) -> list[str | Path]:
        return ["--lib", library or self.library, "--model", model]


@pytest.fixture
def runner(host_tree: Path) -> Runner:
    return Runner([str(host_tree / "edge-run")], host_tree / "tests/libfake_tflite.so")


@pytest.fixture
def board_runner(board_tree: Path) -> Runner:
    target = board.load("qemu-aarch64")
    assert target.image is not None
    tool = emulator.user_emulator("arm64", print)
    sysroot = image.sysroot(image.load(target.image), print)
    library = runtime.fetch(runtime.load(target.runtime), target.arch, print).path
    argv = [*tool.argv, "-L", str(sysroot), "-cpu", target.cpu, str(board_tree / "edge-run")]
    return Runner(argv, library, extra=dict(tool.env))


# ---- the binaries ------------------------------------------------------------------------------


def dynamic_section(elf: ELFFile) -> DynamicSection:
    section = elf.get_section_by_name(".dynamic")
    assert isinstance(section, DynamicSection)
    return section


def dynamic_symbols(elf: ELFFile) -> set[str]:
    """Names that the file offers to others."""
    section = elf.get_section_by_name(".dynsym")
    assert isinstance(section, SymbolTableSection)
    return {
        symbol.name
        for symbol in section.iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
    }


@pytest.mark.parametrize("name", ["edge-run", "libedge.so"])
def test_binaries_need_nothing_but_glibc_2_28(board_tree: Path, name: str) -> None:
    with (board_tree / name).open("rb") as file:
        elf = ELFFile(file)
        assert elf["e_machine"] == "EM_AARCH64"
        needed = {
            str(getattr(tag, "needed"))  # noqa: B009 (pyelftools adds it at run time)
            for tag in dynamic_section(elf).iter_tags()
            if tag.entry.d_tag == "DT_NEEDED"
        }
        assert needed <= {
            *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-aarch64.so.1")
        }
        versions = elf.get_section_by_name(".gnu.version_r")
        assert isinstance(versions, GNUVerNeedSection)
        for _, entries in versions.iter_versions():
            for entry in entries:
                family, _, number = entry.name.partition("_")
                assert family == "GLIBC"
                assert tuple(int(part) for part in number.split(".")) <= (2, 28)


def test_only_the_abi_is_exported(board_tree: Path) -> None:
    declared = set(re.findall(r"\b(edge_\w+)\([^)]*\);", abi.declarations()))
    with (board_tree / "libedge.so").open("rb") as file:
        assert dynamic_symbols(ELFFile(file)) == declared
    with (board_tree / "edge-run").open("rb") as file:
        assert dynamic_symbols(ELFFile(file)) == set()


def test_same_sources_give_the_same_bytes_anywhere(board_tree: Path, tmp_path: Path) -> None:
    for part in ("firmware", "toolchains"):
        shutil.copytree(REPOSITORY / part, tmp_path / "elsewhere" / part)
    source = tmp_path / "elsewhere/firmware"
    tree = build(source, tmp_path / "tree", *zig("aarch64"))
    for name in ("edge-run", "libedge.so"):
        content = (tree / name).read_bytes()
        assert content == (board_tree / name).read_bytes()
        for path in (tmp_path, REPOSITORY, Path(sys.prefix)):
            assert str(path).encode() not in content


def test_nothing_to_do_takes_no_time(board_tree: Path) -> None:
    start = time.monotonic()
    output = subprocess.run(
        [firmware_build.tool("ninja"), "-C", str(board_tree)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "no work to do" in output
    assert time.monotonic() - start < 1


def test_unit_tests_pass_as_zig_builds_them(host_tree: Path) -> None:
    run_ctest(host_tree)


def test_unit_tests_are_clean_under_sanitizers() -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip(
            "no system compiler (g++, clang++): zig's wheel has no AddressSanitizer runtime"
        )
    tree = build(
        REPOSITORY / "firmware",
        cached_tree("sanitized"),
        *(f"-DCMAKE_CXX_COMPILER={compiler}", "-DEDGE_SANITIZE=ON", "-DEDGE_TESTS=ON"),
    )
    run_ctest(tree)


def run_ctest(tree: Path) -> None:
    result = subprocess.run(
        [firmware_build.tool("ctest"), "--test-dir", str(tree), "--output-on-failure"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


# ---- infer -------------------------------------------------------------------------------------


def test_infer_reports_the_model(runner: Runner) -> None:
    report = runner.report("infer", *runner.model())
    assert report["inputs"] == [
        {"name": "x", "dtype": "float32", "shape": [1, 4], "scale": 0, "zero_point": 0}
    ]
    assert report["outputs"][0]["name"] == "y"
    assert report["delegation"] == {
        "applied": True,
        "nodes_total": 5,
        "nodes_delegated": 3,
        "partitions": 2,
    }
    steps = ["library_open_ns", "model_load_ns", "interpreter_create_ns"]
    steps += ["allocate_tensors_ns", "first_invoke_ns"]
    assert [key for key in report["cold_start"] if key.endswith("_ns")] == steps
    assert len(report["cold_start"]["rss_bytes"]) == 5
    assert report["peak_rss_bytes"] >= max(report["cold_start"]["rss_bytes"])
    assert report["runtime_version"] == "0.0.0-fake"
    assert report["warnings"] == []


def test_infer_computes_from_an_npz(runner: Runner, tmp_path: Path) -> None:
    runner.words = "two_inputs"
    x = np.array([[1, 2, 3, 4]], np.float32)
    q = np.array([[1, -2, 3], [4, 5, -6]], np.int8)
    np.savez(tmp_path / "in.npz", q=q, x=x)
    out = tmp_path / "out.npz"
    runner.report("infer", *runner.model(), "--input", tmp_path / "in.npz", "--output", out)
    with np.load(out) as got:
        assert sorted(got.files) == ["r", "y"]
        np.testing.assert_array_equal(got["y"], 2 * x)
        np.testing.assert_array_equal(got["r"], 2 * q)
        assert got["r"].dtype == np.int8


def test_infer_takes_arrays_by_name(runner: Runner, tmp_path: Path) -> None:
    runner.words = "two_inputs"
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    np.save(tmp_path / "q.npy", np.ones((2, 3), np.int8))
    both = [f"--input=x={tmp_path / 'x.npy'}", f"--input=q={tmp_path / 'q.npy'}"]
    runner.report("infer", *runner.model(), *both)
    runner.fails(7, "no array for input 'q' (int8 [2, 3])", "infer", *runner.model(), both[0])
    runner.fails(7, "given twice", "infer", *runner.model(), both[0], both[0])
    runner.fails(
        7,
        "one input: give --input NAME=FILE",
        "infer",
        *runner.model(),
        "--input",
        tmp_path / "x.npy",
    )
    wrong = f"--input=z={tmp_path / 'x.npy'}"
    runner.fails(
        7, "no input 'z'; the model's inputs are 'x', 'q'", "infer", *runner.model(), wrong
    )


def test_infer_runs_each_sample(runner: Runner, tmp_path: Path) -> None:
    x = np.arange(40, dtype=np.float32).reshape(10, 4)
    np.savez(tmp_path / "in.npz", any_name_fits_a_single_input=x)
    out = tmp_path / "out.npz"
    arguments: list[str | Path] = ["--input", tmp_path / "in.npz", "--output", out]
    report = runner.report("infer", *runner.model(), "--each", *arguments)
    assert report["runs"] == 10
    with np.load(out) as got:
        np.testing.assert_array_equal(got["y"], 2 * x)
    runner.fails(
        7,
        "input 'x' expects float32 [1, 4], got float32 [10, 4]",
        "infer",
        *runner.model(),
        *arguments,
    )


def test_each_counts_whole_batches(runner: Runner, tmp_path: Path) -> None:
    runner.words = "two_inputs"
    out = tmp_path / "out.npz"

    def save(q_samples: int, dtype: str = "int8") -> list[str | Path]:
        q: np.ndarray[Any, Any] = np.arange(q_samples * 3).reshape(-1, 3).astype(dtype)
        np.savez(tmp_path / "in.npz", x=np.ones((3, 4), np.float32), q=q)
        return [*runner.model(), "--each", "--input", tmp_path / "in.npz", "--output", out]

    runner.report("infer", *save(6))
    with np.load(out) as got:
        assert got["r"].shape == (6, 3)
    runner.fails(7, "input 'q' has 2 samples, the inputs before it have 3", "infer", *save(4))
    runner.fails(7, "expects int8 [n*2, 3], got int8 [5, 3]", "infer", *save(5))
    runner.fails(7, "expects int8 [n*2, 3], got uint8 [6, 3]", "infer", *save(6, "uint8"))


def test_unreadable_inputs_say_the_remedy(runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    x = np.ones((1, 4), np.float32)
    np.savez_compressed(path, x=x)
    runner.fails(4, "use np.savez", "infer", *runner.model(), "--input", path)
    np.savez(path, x=np.asfortranarray(np.ones((4, 4), np.float32)[:, ::2]))
    runner.fails(4, "Fortran order", "infer", *runner.model(), "--input", path)
    np.savez(path, x=x.astype(">f4"))
    runner.fails(4, "big-endian", "infer", *runner.model(), "--input", path)
    np.savez(path, x=np.array([{}], dtype=object))
    runner.fails(4, "Python objects", "infer", *runner.model(), "--input", path)
    path.write_bytes(path.read_bytes()[:-30])
    runner.fails(4, "cut or damaged", "infer", *runner.model(), "--input", path)
    runner.fails(3, "can't open", "infer", *runner.model(), "--input", tmp_path / "none.npz")
    runner.fails(3, "can't create", "infer", *runner.model(), "--output", tmp_path / "no/out.npz")


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ("model_fails", 5, "not to my taste"),
        ("unresolved_builtin", 6, "lacks the operator BATCH_MATMUL version 4"),
        ("unresolved_custom", 6, "lacks the operator MyOp"),
        ("create_fails", 14, "out of patience"),
        ("invoke_fails", 14, "gather index out of bounds"),
    ],
)
def test_runtime_failures_have_codes(runner: Runner, words: str, code: int, part: str) -> None:
    runner.words = words
    runner.fails(code, part, "infer", *runner.model())


def test_chatter_is_kept_from_standard_error(runner: Runner) -> None:
    runner.words = "chatter"
    report = runner.report("infer", *runner.model())
    assert report["runtime_log"] == ["INFO: a line nobody asked for"]


def test_crash_is_explained_and_stays_a_crash(runner: Runner) -> None:
    runner.words = "crash"
    result = runner.call("infer", *runner.model())
    assert result.returncode == -signal.SIGABRT
    assert "SIGABRT" in result.stderr


def test_bad_files_have_codes(runner: Runner, board_tree: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(MODEL.read_bytes()[:9000])
    runner.fails(5, "cut or damaged", "infer", *runner.model(cut))
    runner.fails(5, "not a TFLite model", "infer", *runner.model(Path(__file__)))
    runner.fails(3, "can't open", "infer", *runner.model(tmp_path / "none"))
    runner.fails(8, "not a shared library", "infer", *runner.model(library=MODEL))
    runner.fails(
        8,
        "is for aarch64, this runner is for x86-64",
        "infer",
        *runner.model(library=board_tree / "libedge.so"),
    )


def test_every_cut_of_a_real_model_is_seen(runner: Runner, host_tree: Path, tmp_path: Path) -> None:
    library = abi.Library(host_tree / "libedge.so")
    whole = (MODELS / "cnn-int8.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert check_model(library, path) == 5, size
    for model in MODELS.glob("*.tflite"):
        assert check_model(library, model) == 0


def check_model(library: abi.Library, path: Path) -> int:
    return int(library.lib.edge_model_check(str(path).encode()))


# ---- bench -------------------------------------------------------------------------------------


def test_bench_records(runner: Runner, tmp_path: Path, host_tree: Path) -> None:
    recording = tmp_path / "s.bin"
    report = runner.report(
        *("bench", *runner.model(), "--samples", recording),
        *("--count", "50", "--iterations", "3", "--warmup", "5", "--warmup-ms", "0"),
    )
    assert report["samples"] == 50
    assert report["iterations"] == 3
    assert report["warmup"] == 5
    assert report["ended_by"] == "count"
    for key in ("tick_ns", "clock_cost_ns", "loop_cost_ns"):
        assert report[key] > 0
    for key in ("minor_faults", "voluntary_switches", "involuntary_switches"):
        assert report[key] >= 0
    content = recording.read_bytes()
    assert content[:8] == b"EDGESMPL"
    assert len(content) == 64 + 50 * 24
    samples = np.frombuffer(content[64:], "<u8,<u8,<u4,<i4")
    assert (samples["f2"] == 3).all()
    assert (np.diff(samples["f0"].astype(np.int64)) > 0).all()


def test_bench_chooses_iterations(runner: Runner, tmp_path: Path) -> None:
    report = runner.report(
        "bench", *runner.model(), "--samples", tmp_path / "s.bin", "--count", "200"
    )
    assert report["iterations"] > 1
    samples = np.frombuffer((tmp_path / "s.bin").read_bytes()[64:], "<u8,<u8,<u4,<i4")
    assert np.median(samples["f1"]) >= 100 * report["tick_ns"]


def test_bench_keeps_its_samples_when_stopped(runner: Runner, tmp_path: Path) -> None:
    recording = tmp_path / "s.bin"
    process = subprocess.Popen(
        runner.command(
            *("bench", *runner.model(), "--samples", recording),
            *("--count", "1000000", "--iterations", "10000", "--warmup-ms", "0"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=runner.environment(),
    )
    try:
        deadline = time.monotonic() + 20
        while count_in(recording) < 100:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 15
    assert errors.startswith("edge-run: stopped by SIGTERM after ")
    report = json.loads(output)
    assert report["ended_by"] == "signal"
    assert recording.stat().st_size == 64 + 24 * report["samples"]
    assert count_in(recording) == report["samples"] >= 100


def count_in(recording: Path) -> int:
    try:
        return int.from_bytes(recording.read_bytes()[32:40], "little")
    except FileNotFoundError:
        return 0


def test_bench_says_why_it_ends(runner: Runner, tmp_path: Path) -> None:
    recording = tmp_path / "s.bin"
    report = runner.report(
        "bench", *runner.model(), "--samples", recording, "--duration-ms", "50", "--warmup-ms", "0"
    )
    assert report["ended_by"] == "duration"
    runner.words = "later_fails"
    runner.fails(14, "gather index", "bench", *runner.model(), "--samples", recording)
    runner.words = ""
    runner.fails(2, "--samples is missing", "bench", *runner.model())
    runner.fails(3, "can't create", "bench", *runner.model(), "--samples", tmp_path / "no/s.bin")


# ---- the rest of the command line --------------------------------------------------------------


def test_facts(runner: Runner, tmp_path: Path) -> None:
    report = runner.report("facts", "--path", tmp_path / "not/yet/there")
    assert report["machine"] == platform.machine()
    assert report["libc"] == {"kind": "glibc", "version": platform.libc_ver()[1]}
    assert report["cpus_online"] >= 1
    assert report["cpu_features"]
    assert 0 < report["mem_available_bytes"] <= report["mem_total_bytes"]
    assert report["page_bytes"] == os.sysconf("SC_PAGESIZE")
    assert report["path"]["examined"] == str(tmp_path)
    assert report["path"]["free_bytes"] > 0
    assert report["path"]["writable"] is True


@pytest.mark.parametrize("verb", [[], ["infer"], ["bench"], ["facts"], ["store"]])
def test_help_teaches(runner: Runner, verb: Sequence[str]) -> None:
    result = runner.call(*verb, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(" ".join(["usage: edge-run", *verb]))


def test_wrong_use_is_one_line(runner: Runner) -> None:
    runner.fails(2, "which verb?")
    runner.fails(2, "unknown verb 'fly'", "fly")
    runner.fails(2, "unknown flag --speed", "infer", *runner.model(), "--speed", "9")
    runner.fails(2, "--threads takes a whole number", "infer", *runner.model(), "--threads", "0")
    runner.fails(2, "--lib is missing", "infer", "--model", MODEL)
    runner.fails(2, "--each needs --input", "infer", *runner.model(), "--each")


# ---- the real runtime, emulated ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NODES))
def test_delegation_of_real_models(board_runner: Runner, name: str) -> None:
    report = board_runner.report("infer", *board_runner.model(MODELS / f"{name}.tflite"))
    total, taken = NODES[name]
    assert report["delegation"] == {
        "applied": True,
        "nodes_total": total,
        "nodes_delegated": taken,
        "partitions": 1,
    }
    plain = board_runner.report(
        "infer", *board_runner.model(MODELS / f"{name}.tflite"), "--no-xnnpack"
    )
    assert plain["delegation"]["applied"] is False
    assert not any("XNNPACK" in line for line in plain["runtime_log"])


VERBOSE = """
extern int set_severity(int) __asm__(
    "_ZN6tflite16logging_internal13MinimalLogger21SetMinimumLogSeverityENS_11LogSeverityE");
__attribute__((constructor)) static void be_verbose(void) { set_severity(0); }
"""
"""A library around the runtime: it has all its symbols, and makes it say what delegates take."""


@pytest.mark.parametrize("name", sorted(NODES))
def test_the_runtime_counts_the_same_nodes(board_runner: Runner, name: str, tmp_path: Path) -> None:
    (tmp_path / "verbose.c").write_text(VERBOSE)
    around = tmp_path / "verbose.so"
    subprocess.run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.30"),
            *("-shared", "-fPIC", str(tmp_path / "verbose.c"), str(board_runner.library)),
            *(f"-Wl,-rpath,{board_runner.library.parent}", "-Wl,--allow-shlib-undefined"),
            *("-o", str(around)),
        ],
        check=True,
        capture_output=True,
        env=firmware_build.environment(),
    )
    report = board_runner.report(
        "infer", *board_runner.model(MODELS / f"{name}.tflite", library=around)
    )
    [line] = [line for line in report["runtime_log"] if "Replacing " in line]
    numbers = re.search(r"Replacing (\d+) out of (\d+) node.* yielding (\d+) partitions", line)
    assert numbers is not None
    # The runtime counts the partitions that stay with its own kernels too.
    taken, total, partitions = (int(text) for text in numbers.groups())
    assert report["delegation"]["partitions"] <= partitions
    assert report["delegation"]["nodes_total"] == total
    assert report["delegation"]["nodes_delegated"] == taken


@pytest.mark.parametrize("name", sorted(NODES))
def test_outputs_agree_with_python(board_runner: Runner, name: str, tmp_path: Path) -> None:
    model = next(m for m in dataset.models() if m.name == name)
    generator = np.random.default_rng(1)
    inputs: npt.NDArray[Any]
    shape = (8, *model.input.shape[1:])
    if model.input.dtype == "int8":
        inputs = generator.integers(-128, 128, shape, np.int8)
    else:
        inputs = generator.random(shape, np.float32)
    expected = reference.compute(model.path, {model.input.name: inputs})
    reference.save(tmp_path / "in.npz", expected.inputs)
    board_runner.report(
        *("infer", *board_runner.model(MODELS / f"{name}.tflite"), "--each"),
        *("--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz"),
    )
    with np.load(tmp_path / "out.npz") as got:
        found = got[model.output.name].astype(np.float64)
    tolerance = 2 if model.output.dtype == "int8" else 0.02 if "dynamic" in name else 1e-3
    wanted = expected.outputs[model.output.name].astype(np.float64)
    np.testing.assert_allclose(found, wanted, atol=tolerance)


def test_bench_on_the_real_runtime(board_runner: Runner, tmp_path: Path) -> None:
    report = board_runner.report(
        *("bench", *board_runner.model(), "--samples", tmp_path / "s.bin"),
        *("--count", "20", "--warmup", "1", "--warmup-ms", "0"),
    )
    assert report["samples"] == 20
