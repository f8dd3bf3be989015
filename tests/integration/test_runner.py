"""edge-run and libedge as a user gets them: built by zig, called by their command line.

On this machine the runtime is the fake of firmware/tests, which does what EDGE_FAKE asks for. The
real one runs under QEMU's user mode.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
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

from edge import abi, board, emulator, image, layout, reference, runtime, tiny
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
    # Tests that run side by side share their trees.
    with layout.exclusive(tree, print):
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
    return layout.builds_dir().resolve() / f"test-{name}-{key}"


@pytest.fixture(scope="session")
def host_tree() -> Path:
    tree = cached_tree("zig-x86_64")
    return build(REPOSITORY / "firmware", tree, *zig("x86_64"), "-DEDGE_TESTS=ON")


@pytest.fixture(scope="session")
def board_tree() -> Path:
    """The tree from which boards are served."""
    return firmware_build.runner(board.load("qemu-aarch64"), print).runner.path.parent


def example_delegate() -> Path:
    """The delegate to try delegates with, for aarch64."""
    tree = cached_tree("zig-aarch64")
    flags = (*zig("aarch64"), "-DEDGE_EXAMPLE_DELEGATE=ON")
    build(REPOSITORY / "firmware", tree, *flags, target="example_delegate")
    return tree / "libexample_delegate.so"


def sanitized_tree(target: str = "all") -> Path:
    """The unit tests, the fuzz targets and edge-run with AddressSanitizer and UBSan."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip(
            "no system compiler (g++, clang++): zig's wheel has no AddressSanitizer runtime"
        )
    return build(
        REPOSITORY / "firmware",
        cached_tree("sanitized"),
        *(f"-DCMAKE_CXX_COMPILER={compiler}", "-DEDGE_SANITIZE=ON", "-DEDGE_TESTS=ON"),
        # Half the time of -O2 to compile; what the optimizer removes, it does not check.
        "-DEDGE_CFLAGS=-O1",
        target=target,
    )


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
            timeout=900,
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
    declared = set(re.findall(r"^\w[\w *]*?\b(\w+)\([^;{}]*\);", abi.declarations(), re.MULTILINE))
    with (board_tree / "libedge.so").open("rb") as file:
        assert dynamic_symbols(ELFFile(file)) == declared
    with (board_tree / "edge-run").open("rb") as file:
        assert dynamic_symbols(ELFFile(file)) == set()


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
    run_ctest(sanitized_tree())


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
    assert report["runtime_log"] == [
        "INFO: a line nobody asked for",
        "INFO: the first invoke takes long",
    ]


@pytest.mark.parametrize(
    ("words", "call"),
    [("crash", "loading the model"), ("invoke_aborts", "invoking the model for the first time")],
)
def test_crash_is_the_runtimes_and_stays_a_crash(runner: Runner, words: str, call: str) -> None:
    runner.words = words
    result = runner.call("infer", *runner.model())
    assert result.returncode == -signal.SIGABRT
    assert f"edge-run: the runtime crashed by SIGABRT while {call}" in result.stderr


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


# ---- infer as a pipe ---------------------------------------------------------------------------


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


X = np.array([[1, 2, 3, 4]], np.float32)


def pipe(
    runner: Runner, given: bytes, *arguments: str | Path
) -> subprocess.CompletedProcess[bytes]:
    """`infer` with its outputs on standard output."""
    return subprocess.run(
        runner.command("infer", *runner.model(), "--output", "-", *arguments),
        input=given,
        capture_output=True,
        env=runner.environment(),
        check=False,
        timeout=900,
    )


def piped(
    runner: Runner, given: bytes, *arguments: str | Path, source: str = "-"
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The report and the outputs, and not a byte besides."""
    result = pipe(runner, given, "--input", source, *arguments)
    assert (result.returncode, result.stderr) == (0, b"")
    line, _, archive = result.stdout.partition(b"\n")
    with np.load(io.BytesIO(archive), allow_pickle=False) as outputs:
        return json.loads(line), dict(outputs)


def refused(runner: Runner, given: bytes, *arguments: str) -> tuple[int, str]:
    """Exit code and the one line."""
    result = pipe(runner, given, *(arguments or ("--input", "-")))
    assert result.stdout == b""
    lines = result.stderr.decode().splitlines()
    assert lines[-1].startswith("edge-run: ")
    assert lines[:-1] == [], lines
    return result.returncode, lines[0].removeprefix("edge-run: ")


@pytest.mark.parametrize("given", [npz(x=X), npy(X)], ids=["npz", "npy"])
def test_arrays_come_and_go_by_pipe(runner: Runner, given: bytes) -> None:
    report, outputs = piped(runner, given)
    assert report["runs"] == 1
    np.testing.assert_array_equal(outputs["y"], 2 * X)


def test_one_of_several_inputs_comes_by_pipe(runner: Runner, tmp_path: Path) -> None:
    runner.words = "two_inputs"
    np.save(tmp_path / "q.npy", np.ones((2, 3), np.int8))
    _, outputs = piped(runner, npy(X), f"--input=q={tmp_path / 'q.npy'}", source="x=-")
    assert sorted(outputs) == ["r", "y"]


def test_much_comes_and_goes_by_pipe(runner: Runner) -> None:
    many = np.arange(1 << 20, dtype=np.float32).reshape(-1, 4)
    report, outputs = piped(runner, npz(x=many), "--each")
    assert report["runs"] == 1 << 18
    np.testing.assert_array_equal(outputs["y"], 2 * many)


def test_what_a_library_prints_disturbs_nothing_in_the_pipe(runner: Runner) -> None:
    runner.words = "talks"
    report, outputs = piped(runner, npz(x=X))
    np.testing.assert_array_equal(outputs["y"], 2 * X)
    # Kept like what it says on standard error: once when the model is loaded, once when it runs.
    assert report["runtime_log"].count("a thought of the library's") == 2
    runner.words = "talks invoke_fails"
    result = pipe(runner, b"")
    assert (result.returncode, result.stdout) == (14, b"")
    assert result.stderr.splitlines()[-1].startswith(b"edge-run: ")


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        (b"", 4, "standard input is empty"),
        (b"PK", 4, "standard input"),
        (npz(x=X)[:-1], 4, "standard input is cut or damaged"),
        (npz(x=X)[:9], 4, "standard input is cut or damaged"),
        (npy(X)[:-1], 4, "standard input"),
        (b"garbage and more of it", 4, "brings neither an .npy nor an .npz file of numpy's"),
        (npz(x=X[:, :3]), 7, "expects float32 [1, 4], got float32 [1, 3]"),
    ],
)
def test_wrong_input_by_pipe_is_one_line(
    runner: Runner, given: bytes, code: int, text: str
) -> None:
    got, line = refused(runner, given)
    assert got == code
    assert text in line


def test_garbage_without_end_is_not_read_to_its_end_by_pipe(runner: Runner) -> None:
    words = ["infer", *runner.model(), "--input", "-", "--output", "-"]
    with Path("/dev/zero").open("rb") as zeros:
        result = subprocess.run(
            runner.command(*words),
            stdin=zeros,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=runner.environment(),
        )
    assert (result.returncode, result.stdout) == (4, "")
    assert "brings neither" in result.stderr


def test_a_reader_that_is_gone_from_the_pipe_is_said(runner: Runner) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        runner.command("infer", *runner.model(), "--output", "-"),
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
        timeout=60,
        env=runner.environment(),
    )
    os.close(write)
    assert result.stderr == "edge-run: nobody reads standard output any more\n"
    assert result.returncode == abi.constant("EDGE_INTERRUPTED")


# ---- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["checked", "thrown", "taken"])
def test_a_model_that_needs_more_memory_fails_by_itself(runner: Runner, how: str) -> None:
    """However the library takes it that its allocation failed."""
    runner.words = f"arena_{how}"
    result = runner.call("infer", *runner.model(), "--memory", "200000000")
    assert result.returncode == abi.constant("EDGE_NO_MEMORY"), result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("edge-run: the model needs more than the 200 MB of memory that are free")
    assert runner.report("infer", *runner.model(), "--memory", "800000000")["runs"] == 1


def test_our_own_arrays_need_memory_too(runner: Runner) -> None:
    many = npy(np.zeros((4 << 20, 4), np.float32))
    code, line = refused(runner, many, "--input", "-", "--each", "--memory", "50000000")
    assert code == abi.constant("EDGE_NO_MEMORY")
    assert "memory" in line


def test_a_library_that_does_not_fit_in_memory(runner: Runner) -> None:
    code, line = refused(runner, b"", "--memory", "1000")
    assert code == abi.constant("EDGE_NO_MEMORY")
    assert "needs more than the 0 MB of memory" in line


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("invoke_aborts", signal.SIGABRT),
        ("invoke_goes_astray", signal.SIGSEGV),
        ("invoke_uses_new_instructions", signal.SIGILL),
    ],
)
def test_a_crash_with_memory_limited_is_still_a_crash(
    runner: Runner, words: str, number: signal.Signals
) -> None:
    runner.words = words
    result = runner.call("infer", *runner.model(), "--memory", "800000000")
    assert result.returncode == -number
    assert f"edge-run: the runtime crashed by {number.name} while invoking" in result.stderr


def test_a_runner_with_memory_limited_is_the_kernels_first_victim(runner: Runner) -> None:
    runner.words = "invoke_sleeps"
    words = ["infer", *runner.model(), "--memory", "800000000"]
    with subprocess.Popen(runner.command(*words), env=runner.environment()) as process:
        try:
            score = Path(f"/proc/{process.pid}/oom_score_adj")
            limits = Path(f"/proc/{process.pid}/limits")
            until = time.monotonic() + 60
            while score.read_text() != "1000\n" and time.monotonic() < until:
                os.sched_yield()
            assert score.read_text() == "1000\n"
            assert re.search(r"^Max data size +800000000 ", limits.read_text(), re.MULTILINE)
        finally:
            process.kill()


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
    assert len(content) == 64 + 50 * 32
    samples = np.frombuffer(content[64:], "<u8,<u8,<u4,<i4,<u8")
    assert (samples["f4"] == samples["f0"]).all()  # a closed loop: due when it began
    assert (samples["f2"] == 3).all()
    assert (np.diff(samples["f0"].astype(np.int64)) > 0).all()


def test_bench_chooses_iterations(runner: Runner, tmp_path: Path) -> None:
    report = runner.report(
        "bench", *runner.model(), "--samples", tmp_path / "s.bin", "--count", "200"
    )
    assert report["iterations"] > 1
    samples = np.frombuffer((tmp_path / "s.bin").read_bytes()[64:], "<u8,<u8,<u4,<i4,<u8")
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
    assert recording.stat().st_size == 64 + 32 * report["samples"]
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


@pytest.mark.parametrize("verb", [[], ["infer"], ["bench"], ["inspect"], ["facts"], ["store"]])
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
    runner.fails(
        2, "--engine is tflite, litert or tensorflow", "infer", *runner.model(), "--engine", "onnx"
    )
    runner.fails(2, "must be NAME=1x224", "infer", *runner.model(), "--shape", "x=4,4")
    twice = ["--shape=x=1x4", "--shape=x=2x4"]
    runner.fails(2, "given twice for 'x'", "infer", *runner.model(), *twice)
    runner.fails(2, "--batch takes a whole number", "infer", *runner.model(), "--batch", "0")
    runner.fails(2, "only external delegates", "infer", *runner.model(), "--delegate", "gpu")


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


@pytest.mark.parametrize("name", sorted(NODES))
def test_the_runtime_counts_the_same_nodes(board_runner: Runner, name: str) -> None:
    report = board_runner.report("inspect", *board_runner.model(MODELS / f"{name}.tflite"))
    delegation = report["delegation"]
    [line] = [line for line in report["runtime_log"] if "Replacing " in line]
    numbers = re.search(r"Replacing (\d+) out of (\d+) node.* yielding (\d+) partitions", line)
    assert numbers is not None
    # The runtime counts the partitions that stay with its own kernels too.
    taken, total, partitions = (int(text) for text in numbers.groups())
    assert delegation["partitions"] <= partitions
    assert delegation["nodes_total"] == total
    assert delegation["nodes_delegated"] == taken == len(delegation["nodes"])
    assert delegation["delegates"] == ["XNNPACK"]
    assert all(0 <= node < total for _, node in delegation["nodes"])
    assert report["cold_start"]["first_invoke_ns"] == 0


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
        *("--batch", "4", "--resizes", "3"),
    )
    assert report["samples"] == 20
    assert report["resizes"]["refusal"] is None
    assert len(report["resizes"]["first_invoke_ns"]) == len(report["resizes"]["resize_ns"]) == 3


# ---- every kind of model, on the real runtime ---------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Callable[[bytes], Path]:
    """A file for a model of `edge.tiny`."""

    def write(model: bytes) -> Path:
        path = tmp_path / "made.tflite"
        path.write_bytes(model)
        return path

    return write


Made = Callable[[bytes], Path]
Arrays = dict[str, npt.NDArray[Any]]


def compute(
    runner: Runner, model: Path, inputs: Arrays, *arguments: str | Path
) -> tuple[Arrays, dict[str, Any]]:
    """Outputs and report of `infer`."""
    given, got = model.with_suffix(".in.npz"), model.with_suffix(".out.npz")
    reference.save(given, inputs)
    report = runner.report(
        *("infer", *runner.model(model), "--input", given, "--output", got, *arguments)
    )
    with np.load(got) as outputs:
        return dict(outputs), report


@pytest.mark.parametrize("flags", [[], ["--no-xnnpack"]])
@pytest.mark.parametrize("dtype", [each for each in tiny.DTYPES if each != "string"])
def test_every_dtype_passes_through(
    board_runner: Runner, made: Made, dtype: str, flags: list[str]
) -> None:
    x: npt.NDArray[Any] = np.array([[0, 1, 5, 7]], dtype)
    expected = ~x if dtype == "bool" else x + np.array(3, dtype)
    outputs, report = compute(board_runner, made(tiny.elementwise(dtype)), {"x": x}, *flags)
    np.testing.assert_array_equal(outputs["y"], expected)
    assert outputs["y"].dtype == dtype
    assert [report[side][0]["dtype"] for side in ("inputs", "outputs")] == [dtype, dtype]


def test_strings_are_refused_by_name(board_runner: Runner, made: Made) -> None:
    model = board_runner.model(made(tiny.elementwise("string")))
    board_runner.fails(7, "input 'x' is made of strings", "infer", *model)


def test_missing_operators_are_named(board_runner: Runner, made: Made) -> None:
    model = board_runner.model(made(tiny.custom_op("NobodyHasThis")))
    board_runner.fails(6, "lacks the operator NobodyHasThis", "infer", *model)


def test_scalars(board_runner: Runner, made: Made) -> None:
    outputs, _ = compute(board_runner, made(tiny.scalar()), {"x": np.array(4, np.float32)})
    assert outputs["y"].shape == ()
    assert outputs["y"] == 7


def test_several_inputs_and_outputs(board_runner: Runner, made: Made) -> None:
    pixels = np.array([[[1, 2, 3], [6, 5, 4]]], np.uint8)
    offset = np.array([0.5, 0.25, 0], np.float32)
    outputs, _ = compute(board_runner, made(tiny.several()), {"pixels": pixels, "offset": offset})
    np.testing.assert_array_equal(outputs["shifted"], pixels + offset)
    np.testing.assert_array_equal(outputs["total"], [22.5])
    np.testing.assert_array_equal(outputs["brightest"], [[2, 0]])
    assert outputs["brightest"].dtype == np.int64


def test_signatures(board_runner: Runner, made: Made) -> None:
    model = made(tiny.two_signatures())
    a, b = np.array([[5, 6]], np.float32), np.array([[1, 2]], np.float32)
    outputs, report = compute(board_runner, model, {"a": a, "b": b}, "--signature", "add")
    np.testing.assert_array_equal(outputs["sum"], a + b)
    np.testing.assert_array_equal(outputs["difference"], a - b)
    assert sorted(outputs) == ["difference", "sum"]
    assert report["signature"] == "add"

    x = np.array([[1, 2, 3, 4]], np.float32)
    outputs, _ = compute(board_runner, model, {"x": x}, "--signature", "double")
    np.testing.assert_array_equal(outputs["doubled"], 2 * x)
    outputs, report = compute(board_runner, model, {"double_x:0": x})
    np.testing.assert_array_equal(outputs["double_y:0"], 2 * x)
    assert report["signature"] is None
    board_runner.fails(
        7,
        "no signature 'nosuch'; the model's are 'double', 'add'",
        *("infer", *board_runner.model(model), "--signature", "nosuch"),
    )


@pytest.mark.parametrize("flags", [[], ["--no-xnnpack"], ["--signature", "serving_default"]])
@pytest.mark.parametrize(
    ("shape", "asked"),
    [
        ((1, 1, 3), []),
        ((4, 1, 3), ["--batch", "4"]),
        ((2, 5, 3), ["--shape", "x=2x5x3"]),
        ((2, 5, 3), ["--shape", "x=2x5x3", "--batch", "2"]),
    ],
)
def test_dynamic_shapes(
    board_runner: Runner,
    made: Made,
    shape: tuple[int, ...],
    asked: list[str],
    flags: list[str],
) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    if asked[-2:-1] == ["--batch"] and len(asked) == 4:
        # With a shape for its only input, no input is left to be batched.
        board_runner.fails(
            7, "no input left", "infer", *board_runner.model(made(tiny.dynamic())), *asked, *flags
        )
        return
    outputs, report = compute(board_runner, made(tiny.dynamic()), {"x": x}, *asked, *flags)
    np.testing.assert_array_equal(outputs["y"], x * [2, 3, 4])
    assert report["outputs"][0]["shape"] == list(shape)
    assert report["delegation"]["nodes_delegated"] == (0 if "--no-xnnpack" in flags else 1)
    open_axes = [each for each in report["warnings"] if "open, [-1, -1, 3]" in each]
    assert len(open_axes) == (0 if "--shape" in asked else 1)


def test_shapes_that_do_not_fit(board_runner: Runner, made: Made) -> None:
    model = ["infer", *board_runner.model(made(tiny.dynamic())), "--shape"]
    board_runner.fails(7, "no input 'z' to give a shape; the model's inputs are 'x'", *model, "z=1")
    for flags in ([], ["--no-xnnpack"], ["--signature", "serving_default"]):
        board_runner.fails(7, "'x' has 3 axes, [1, 1, 3]", *model, "x=1x3", *flags)
        board_runner.fails(7, "can't take the shape [1, 2, 4]", *model, "x=1x2x4", *flags)
        board_runner.fails(
            7, "more than this board's memory", *model, "x=9999999x9999999x3", *flags
        )


def test_an_output_whose_shape_only_invoke_knows(board_runner: Runner, made: Made) -> None:
    dims, value = np.array([2, 3], np.int32), np.array(1.5, np.float32)
    inputs = {"dims": dims, "value": value}
    outputs, report = compute(board_runner, made(tiny.dynamic_output()), inputs)
    np.testing.assert_array_equal(outputs["filled"], np.full((2, 3), 1.5, np.float32))
    assert report["outputs"][0]["shape"] == [2, 3]


@pytest.mark.parametrize("flags", [[], ["--no-xnnpack"], ["--signature", "serving_default"]])
def test_variables_live_from_run_to_run(board_runner: Runner, made: Made, flags: list[str]) -> None:
    for _ in range(2):  # each process starts afresh
        steps = {"step": np.array([1, 2, 3], np.float32)}
        outputs, _ = compute(board_runner, made(tiny.counter()), steps, "--each", *flags)
        np.testing.assert_array_equal(outputs["count"], [1, 3, 6])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_dequantize(board_runner: Runner, made: Made, dtype: str, real: type[Any]) -> None:
    x = np.array([[-1e9, 0.25, 0.75, 3.1]], real)
    outputs, report = compute(board_runner, made(tiny.elementwise(dtype)), {"x": x}, "--dequantize")
    zero = tiny.ZERO_POINTS[dtype]
    limits = np.iinfo(dtype)
    steps = np.clip(np.rint(x.astype(np.float64) / tiny.SCALE) + zero, limits.min, limits.max)
    grown = np.clip(steps + 3, limits.min, limits.max)
    np.testing.assert_array_equal(outputs["y"], (grown - zero) * tiny.SCALE)
    assert outputs["y"].dtype == np.float32
    assert report["inputs"][0]["dtype"] == dtype
    x[0, 1] = np.nan
    reference.save(path := made(b"").with_suffix(".npz"), {"x": x})
    model = board_runner.model(made(tiny.elementwise(dtype)))
    board_runner.fails(
        *(7, "element 1 of its array is not a number"),
        *("infer", *model, "--input", path, "--dequantize"),
    )
    board_runner.fails(7, "--dequantize takes real numbers", "infer", *model, "--input", path)


def test_dequantize_leaves_others_alone(board_runner: Runner, made: Made) -> None:
    x = np.array([[1, 2, 3, 4]], np.float32)
    outputs, _ = compute(board_runner, made(tiny.elementwise("float32")), {"x": x}, "--dequantize")
    np.testing.assert_array_equal(outputs["y"], x + 3)


# ---- external delegates -------------------------------------------------------------------------


@pytest.fixture
def delegate() -> str:
    return f"external:{example_delegate()}"


@pytest.mark.parametrize("flags", [[], ["--no-xnnpack"]])
def test_external_delegate_computes(
    board_runner: Runner, made: Made, delegate: str, flags: list[str]
) -> None:
    x = np.array([[1, 2, 3, 4]], np.float32)
    model = made(tiny.delegable())
    for options, expected in (("", x + 3), ("?scale=2", 8 * x + 14)):
        asked = ["--delegate", delegate + options, *flags]
        outputs, report = compute(board_runner, model, {"x": x}, *asked)
        np.testing.assert_array_equal(outputs["y3"], expected)
        assert report["delegation"] == {
            **{"applied": True, "nodes_total": 3, "nodes_delegated": 3, "partitions": 1}
        }
    report = board_runner.report("inspect", *board_runner.model(model), *asked)
    [line] = [line for line in report["runtime_log"] if "Replacing 3 out of 3" in line]
    assert "ExampleDelegate" in line
    assert report["delegation"]["nodes"] == [[0, 0], [0, 1], [0, 2]]
    path = delegate.removeprefix("external:")
    assert report["delegation"]["delegates"] == [path, *([] if flags else ["XNNPACK"])]


def test_external_delegate_beside_xnnpack(board_runner: Runner, made: Made, delegate: str) -> None:
    x = np.array([[1, 2, 3, 4]], np.float16)
    model = made(tiny.elementwise("float16"))
    # The conversions around the addition stay with the runtime.
    outputs, report = compute(board_runner, model, {"x": x}, f"--delegate={delegate}?scale=2")
    np.testing.assert_array_equal(outputs["y"], 2 * (x + 3))
    assert report["delegation"]["nodes_delegated"] == 1


def test_external_delegate_sees_the_shapes_asked_for(
    board_runner: Runner, made: Made, delegate: str
) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    flags = ["--delegate", delegate, "--batch", "3"]
    outputs, report = compute(board_runner, made(tiny.delegable()), {"x": x}, *flags)
    np.testing.assert_array_equal(outputs["y3"], x + 3)
    assert report["delegation"]["nodes_delegated"] == 3


def test_external_delegates_that_fail(
    board_runner: Runner, made: Made, delegate: str, host_tree: Path
) -> None:
    command = ["infer", *board_runner.model(made(tiny.delegable())), "--delegate"]
    board_runner.fails(
        14, "creates no delegate: told to refuse", *command, f"{delegate}?refuse=create"
    )
    board_runner.fails(14, "refuses the model: it failed", *command, f"{delegate}?refuse=prepare")
    board_runner.fails(14, "its options are scale=", *command, f"{delegate}?colour=red")
    board_runner.fails(3, "can't open", *command, "external:/nowhere.so")
    library = f"external:{board_runner.library}"
    board_runner.fails(8, "lacks tflite_plugin_create_delegate", *command, library)
    foreign = f"external:{host_tree / 'libexample_delegate.so'}"
    board_runner.fails(8, "is for x86-64, this runner is for aarch64", *command, foreign)
    command[2:] = board_runner.model(made(tiny.dynamic_output()))[1:]
    board_runner.fails(14, "tensors of dynamic size", *command, "--delegate", delegate)

    result = board_runner.call(
        *("infer", *board_runner.model(made(tiny.delegable()))),
        *("--delegate", f"{delegate}?crash=invoke"),
    )
    assert result.returncode == -signal.SIGABRT
    assert "the runtime crashed by SIGABRT while invoking the model" in result.stderr


PYTHON_DELEGATE = """
import sys
import numpy as np
import tflite_runtime.interpreter as tflite
delegate = tflite.load_delegate(sys.argv[1], {"scale": "2"})
interpreter = tflite.Interpreter(sys.argv[2], experimental_delegates=[delegate])
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ones((1, 4), np.float32))
interpreter.invoke()
print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist())
"""


def test_the_example_delegate_works_in_python_too(host_tree: Path, made: Made) -> None:
    pytest.importorskip("tflite_runtime")
    result = subprocess.run(
        [
            *(sys.executable, "-c", PYTHON_DELEGATE),
            *(host_tree / "libexample_delegate.so", made(tiny.delegable())),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str([[22.0] * 4])


# ---- libraries that a board lacks ---------------------------------------------------------------


def test_libraries_beside_the_runtime_are_opened_first(
    board_runner: Runner, tmp_path: Path
) -> None:
    root = Path(board_runner.argv[board_runner.argv.index("-L") + 1])
    bare = tmp_path / "root"
    needed = {"ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"}
    brought = {"libgcc_s.so.1", "libstdc++.so.6"}
    found = {path.name: path.resolve() for path in root.rglob("*.so.*")}
    (bare / "lib").mkdir(parents=True)
    for name in needed | {"librt.so.1"}:
        shutil.copy(found[name], bare / "lib" / name)
    board_runner.argv[board_runner.argv.index("-L") + 1] = str(bare)

    (tmp_path / "lib").mkdir()
    library = tmp_path / "lib/libtflite.so"
    shutil.copy(board_runner.library, library)
    model = board_runner.model(MODEL, library=library)
    board_runner.fails(8, "libstdc++.so.6: cannot open shared object file", "infer", *model)
    for name in brought:
        shutil.copy(found[name], library.parent / name)
    assert board_runner.report("infer", *model)["runs"] == 1
    (library.parent / "libstdc++.so.6").write_bytes(found["libstdc++.so.6"].read_bytes()[:5000])
    board_runner.fails(8, "libstdc++.so.6 is cut", "infer", *model)
