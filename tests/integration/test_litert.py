"""The engine for LiteRT's CompiledModel: the real library, on this machine and for the board."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge import abi, agreement, board, build, emulator, image, reference, runtime, session, tiny
from edge.options import Options, Shape
from edge.reference import Arrays
from examples.digits import dataset
from tests.integration.test_runner import MODELS, NODES, Runner, sanitized_tree

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the host build of these tests is for x86-64 Linux",
)


class LitertRunner(Runner):
    def model(
        self, model: Path = MODELS / "mlp-float32.tflite", library: Path | None = None
    ) -> Any:
        return ["--engine", "litert", *super().model(model, library)]


@pytest.fixture(scope="session")
def library() -> Path:
    return runtime.fetch(runtime.load("litert-2.3.0"), "x86_64", print).path


@pytest.fixture(scope="session")
def runner(library: Path) -> LitertRunner:
    runner = build.runner(board.load("localhost"), print).runner
    return LitertRunner([str(runner.path)], library)


@pytest.fixture(scope="session")
def host() -> abi.Library:
    return build.host_library(print)


CORTEX_A72 = """processor : 0
Features : fp asimd evtstrm crc32 cpuid
CPU implementer : 0x41
CPU architecture: 8
CPU variant : 0x0
CPU part : 0xd08
CPU revision : 3

"""
"""A board's own /proc/cpuinfo: with this machine's, which names no ARM core, LiteRT crashes."""


@pytest.fixture(scope="session")
def board_runner(tmp_path_factory: pytest.TempPathFactory) -> LitertRunner:
    """The board's program and library, under the emulator."""
    target = board.load("qemu-aarch64")
    assert target.image is not None
    program = build.runner(target, print).runner.path
    tool = emulator.user_emulator("arm64", print)
    sysroot = tmp_path_factory.mktemp("sysroot")
    for path in image.sysroot(image.load(target.image), print).iterdir():
        if path.name != "proc":
            (sysroot / path.name).symlink_to(path)
    (sysroot / "proc").mkdir()
    (sysroot / "proc/cpuinfo").write_text(CORTEX_A72)
    argv = [*tool.argv, "-L", str(sysroot), "-cpu", target.cpu, str(program)]
    library = runtime.fetch(runtime.load("litert-2.3.0"), "aarch64", print).path
    return LitertRunner(argv, library, extra=dict(tool.env))


def infer(
    runner: Runner, model: Path, inputs: Arrays, folder: Path, *flags: str
) -> tuple[Arrays, dict[str, Any]]:
    reference.save(folder / "in.npz", inputs)
    report = runner.report(
        *("infer", *runner.model(model), *flags),
        *("--input", folder / "in.npz", "--output", folder / "out.npz"),
    )
    with np.load(folder / "out.npz") as got:
        return {name: got[name] for name in got.files}, report


def agrees(
    runner: Runner, model: Path, folder: Path, options: Options | None = None, *flags: str
) -> dict[str, Any]:
    expected = reference.compute(model, options=options or Options())
    given = (options or Options()).argv()
    got, report = infer(runner, model, expected.inputs, folder, *given, *flags)
    found = agreement.compare(model.name, got, expected)
    assert found.ok, found
    return report


def written(folder: Path, content: bytes, name: str = "m.tflite") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


# ---- real models -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NODES))
def test_digits_agree_with_python(runner: LitertRunner, name: str, tmp_path: Path) -> None:
    report = agrees(runner, MODELS / f"{name}.tflite", tmp_path, None, "--each")
    assert report["engine"] == "litert"
    assert report["runtime_version"] == "2.3.0"
    assert report["warnings"] == []
    total, taken = NODES[name]
    delegation = report["delegation"]
    # As the TfLite C API has it counted: the int8 softmax is no node of XNNPACK's in both.
    assert (delegation["nodes_total"], delegation["nodes_delegated"]) == (total, taken)
    assert delegation["partitions"] == 1


@pytest.mark.parametrize("name", ["cnn-float32", "mlp-int8"])
def test_digits_agree_on_the_board(board_runner: LitertRunner, name: str, tmp_path: Path) -> None:
    report = agrees(board_runner, MODELS / f"{name}.tflite", tmp_path, None, "--each")
    assert report["runtime_version"] == "2.3.0"
    assert report["delegation"]["nodes_delegated"] == NODES[name][1]


def test_without_xnnpack(runner: LitertRunner, tmp_path: Path) -> None:
    model = MODELS / "cnn-float32.tflite"
    report = agrees(runner, model, tmp_path, Options(xnnpack=False), "--each")
    assert report["delegation"]["applied"] is False
    assert not any("XNNPACK" in line for line in report["runtime_log"])
    assert report["warnings"] == []
    report = agrees(runner, model, tmp_path, Options(xnnpack=False, threads=2), "--each")
    assert "one thread" in report["warnings"][0]


def test_which_warning_says_that_xnnpack_computes_nothing(
    runner: LitertRunner, tmp_path: Path
) -> None:
    model = written(tmp_path, tiny.elementwise("int64"))
    report = runner.report("inspect", *runner.model(model))
    assert report["without_xnnpack"] == "XNNPACK took none of the model's nodes"
    assert report["without_xnnpack"] in report["warnings"]
    plain = runner.report("inspect", *runner.model(model), "--no-xnnpack")
    assert plain["without_xnnpack"] is None
    taken = runner.report("inspect", *runner.model(MODELS / "cnn-float32.tflite"))
    assert taken["without_xnnpack"] is None


def test_which_nodes_xnnpack_took(runner: LitertRunner) -> None:
    report = runner.report("inspect", *runner.model(MODELS / "cnn-int8.tflite"))
    assert report["delegation"]["nodes"] == [[0, node] for node in range(5)]
    assert report["delegation"]["delegates"] == ["XNNPACK"]


def test_every_cold_step_takes_time(runner: LitertRunner) -> None:
    report = runner.report("infer", *runner.model())
    steps = [value for key, value in report["cold_start"].items() if key.endswith("_ns")]
    assert len(steps) == 5
    assert all(step > 0 for step in steps)


def test_bench(runner: LitertRunner, tmp_path: Path) -> None:
    report = runner.report(
        *("bench", *runner.model(), "--samples", tmp_path / "s.bin"),
        *("--count", "20", "--warmup", "1", "--warmup-ms", "0", "--threads", "2"),
    )
    assert (report["samples"], report["threads"]) == (20, 2)
    assert report["resizes"] is None


def test_bench_times_another_batch_and_back(runner: LitertRunner, tmp_path: Path) -> None:
    few = ("--samples", tmp_path / "s.bin", "--count", "5", "--warmup-ms", "0", "--resizes", "3")
    report = runner.report("bench", *runner.model(), *few, "--batch", "4")
    resizes = report["resizes"]
    assert (resizes["other_batch"], resizes["refusal"]) == (1, None)
    assert report["inputs"][0]["shape"] == [4, 64]
    assert [len(resizes[key]) for key in ("resize_ns", "first_invoke_ns")] == [3, 3]
    assert all(time_ns > 0 for time_ns in resizes["resize_ns"] + resizes["first_invoke_ns"])
    brief = (*few[:-1], "1000", "--duration-ms", "1", "--batch", "4")
    assert len(runner.report("bench", *runner.model(), *brief)["resizes"]["resize_ns"]) < 1000
    fixed = runner.model(MODELS / "cnn-int8.tflite")
    resizes = runner.report("bench", *fixed, *few, "--batch", "1")["resizes"]
    assert (resizes["other_batch"], resizes["resize_ns"]) == (2, [])
    assert "can't take the shape [2, 8, 8, 1]" in resizes["refusal"]
    assert "failed to prepare" in resizes["refusal"]  # the runtime's own words
    runner.fails(2, "--resizes needs --batch", "bench", *runner.model(), *few)


@pytest.mark.parametrize("name", ["mlp-float32", "mlp-int8"])
def test_another_batch_gives_what_opening_with_it_gives(
    library: Path, name: str, host: abi.Library
) -> None:
    images = np.random.default_rng(3).random((9, 64), np.float32)
    if "int8" in name:
        images = (images * 255 - 128).astype(np.int8)
    with opened(host, library, MODELS / f"{name}.tflite", 2) as model:
        called(host, model, images[:2])
        for batch in (9, 1, 5):
            assert host.lib.edge_model_resize(model, batch, abi.ffi().new("uint64_t *")) == 0
            got = called(host, model, images[:batch])
            with opened(host, library, MODELS / f"{name}.tflite", batch) as fresh:
                np.testing.assert_array_equal(got, called(host, fresh, images[:batch]))


@contextlib.contextmanager
def opened(host: abi.Library, library: Path, model: Path, batch: int) -> Iterator[Any]:
    ffi = abi.ffi()
    paths = [ffi.new("char[]", str(each).encode()) for each in (library, model)]
    options = ffi.new("edge_options *", {"engine": 1, "threads": 1, "use_xnnpack": 1})
    options.library_path, options.model_path, options.batch = *paths, batch
    handle = ffi.new("edge_model **")
    assert host.lib.edge_model_open(options, handle) == 0, ffi.string(host.lib.edge_error())
    try:
        yield handle[0]
    finally:
        host.lib.edge_model_close(handle[0])


def called(host: abi.Library, model: Any, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    ffi, tensor = abi.ffi(), abi.ffi().new("edge_tensor *")
    data = ffi.from_buffer(np.ascontiguousarray(array))
    assert host.lib.edge_model_set_input(model, 0, data, len(data)) == 0
    assert host.lib.edge_model_invoke(model) == 0
    assert host.lib.edge_model_output(model, 0, tensor) == 0
    result = np.empty(tuple(tensor.dims[0 : tensor.rank]), array.dtype)
    assert result.nbytes == tensor.size_bytes
    assert host.lib.edge_model_get_output(model, 0, ffi.from_buffer(result), result.nbytes) == 0
    return result


# ---- what models can be ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [each for each in tiny.DTYPES if each != "string"])
def test_every_type(runner: LitertRunner, dtype: str, tmp_path: Path) -> None:
    report = agrees(runner, written(tmp_path, tiny.elementwise(dtype)), tmp_path)
    [tensor] = report["inputs"]
    assert tensor["dtype"] == dtype
    if dtype in tiny.ZERO_POINTS:
        assert (tensor["scale"], tensor["zero_point"]) == (tiny.SCALE, tiny.ZERO_POINTS[dtype])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantized(runner: LitertRunner, dtype: str, tmp_path: Path) -> None:
    agrees(runner, written(tmp_path, tiny.quantized(dtype)), tmp_path)


def test_several_inputs_and_outputs(runner: LitertRunner, tmp_path: Path) -> None:
    agrees(runner, written(tmp_path, tiny.several()), tmp_path)


def test_a_scalar(runner: LitertRunner, tmp_path: Path) -> None:
    got, _ = infer(runner, written(tmp_path, tiny.scalar()), {"x": np.array(4, "f4")}, tmp_path)
    assert got["y"].shape == ()
    assert got["y"] == 7


def test_signatures(runner: LitertRunner, tmp_path: Path) -> None:
    model = written(tmp_path, tiny.two_signatures())
    # Without a key: the primary subgraph, by the names of its tensors, as for other engines.
    agrees(runner, model, tmp_path)
    a, b = np.array([[5, 7]], "f4"), np.array([[1, 10]], "f4")
    got, report = infer(runner, model, {"a": a, "b": b}, tmp_path, "--signature", "add")
    assert report["signature"] == "add"
    np.testing.assert_array_equal(got["sum"], a + b)
    np.testing.assert_array_equal(got["difference"], a - b)
    agrees(runner, model, tmp_path, Options(signature="double"))
    runner.fails(
        *(7, "there is no signature 'nope'; the model's are 'double', 'add'"),
        *("infer", *runner.model(model), "--signature", "nope"),
    )
    plain = written(tmp_path, tiny.delegable(), "plain.tflite")
    runner.fails(
        7, "the model has none", "infer", *runner.model(plain), "--signature", "serving_default"
    )


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (Options(), (1, 1, 3)),
        (Options(batch=5), (5, 1, 3)),
        (Options(shapes=(("x", (2, 7, 3)),)), (2, 7, 3)),
        (Options(shapes=(("x", (2, 7, 3)),), signature="serving_default"), (2, 7, 3)),
        (Options(batch=5, xnnpack=False), (5, 1, 3)),
    ],
)
def test_shapes(runner: LitertRunner, options: Options, shape: Shape, tmp_path: Path) -> None:
    model = written(tmp_path, tiny.dynamic())
    x: npt.NDArray[Any] = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    got, report = infer(runner, model, {"x": x}, tmp_path, *options.argv())
    np.testing.assert_array_equal(got["y"], x * np.array([2, 3, 4], "f4"))
    assert report["outputs"][0]["shape"] == list(shape)
    assert bool(report["warnings"]) == (not options.shapes)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--shape", "x=2x7x4"], "can't take the shape [2, 7, 4] of input 'x': "),
        (["--shape", "x=2x7"], "input 'x' has 3 axes, [1, 1, 3]: it can't have the shape [2, 7]"),
        (["--shape", "z=1x1x3"], "there is no input 'z' to give a shape; the model's inputs are "),
        (["--shape", "x=2000000000x2000000000x3"], "more than this board's memory"),
    ],
)
def test_shapes_that_do_not_fit(
    runner: LitertRunner, flags: Sequence[str], words: str, tmp_path: Path
) -> None:
    model = written(tmp_path, tiny.dynamic())
    runner.fails(7, words, "infer", *runner.model(model), *flags)


def test_variables_start_as_the_file_has_them(runner: LitertRunner, tmp_path: Path) -> None:
    model = written(tmp_path, tiny.counter())
    got, report = infer(runner, model, {"step": np.array([1, 1, 3], "f4")}, tmp_path, "--each")
    np.testing.assert_array_equal(got["count"], np.array([1, 2, 5], "f4"))
    # Of both subgraphs: all but the call of the one that sets the variable.
    assert report["delegation"]["nodes_total"] == 7
    assert report["delegation"]["nodes_delegated"] == 6


def test_a_tensor_that_is_input_and_output(runner: LitertRunner, tmp_path: Path) -> None:
    model = written(tmp_path, passing())
    x = np.array([[1, 2, 3, 4]], "f4")
    got, _ = infer(runner, model, {"x": x}, tmp_path)
    np.testing.assert_array_equal(got["x"], x)
    np.testing.assert_array_equal(got["y"], 2 * x)
    np.testing.assert_array_equal(got["fixed"], np.array([7, 8], "f4"))


def passing() -> bytes:
    """``x`` -> ``y`` = 2x, ``x`` itself, and a constant."""
    file = tiny._File("passing")
    graph = file.graph()
    x, y = graph.input("x", "float32", (1, 4)), graph.output("y", "float32", (1, 4))
    graph.operator("ADD", [x, x], [y], schema.AddOptionsT())
    graph.made.outputs += [x, graph.tensor("fixed", "float32", (2,), data=[7, 8])]
    return file.bytes()


# ---- what does not work ------------------------------------------------------------------------


def test_strings_are_refused(runner: LitertRunner, tmp_path: Path) -> None:
    model = written(tmp_path, tiny.elementwise("string"))
    runner.fails(7, "'x' is made of strings", "infer", *runner.model(model))


def test_an_operator_that_nobody_has(runner: LitertRunner, tmp_path: Path) -> None:
    model = written(tmp_path, tiny.custom_op())
    runner.fails(6, "lacks the operator NobodyHasThis", "infer", *runner.model(model))


def test_an_output_whose_shape_only_invoke_knows(runner: LitertRunner, tmp_path: Path) -> None:
    model = written(tmp_path, tiny.dynamic_output())
    runner.fails(14, "take --engine tflite", "infer", *runner.model(model))


def test_a_cut_model(runner: LitertRunner, tmp_path: Path) -> None:
    content = (MODELS / "mlp-float32.tflite").read_bytes()
    model = written(tmp_path, content[: len(content) // 2])
    runner.fails(5, "is cut or damaged", "infer", *runner.model(model))


def test_delegates_are_not_for_it(runner: LitertRunner) -> None:
    runner.fails(
        2, "--engine tflite", "infer", *runner.model(), "--delegate", "external:/lib/some.so"
    )


def test_only_known_libraries_are_called(
    runner: LitertRunner, library: Path, tmp_path: Path
) -> None:
    other = tmp_path / "libLiteRt.so"
    shutil.copy(library, other)
    with other.open("ab") as file:
        file.write(b"\0")
    sha256 = hashlib.sha256(other.read_bytes()).hexdigest()
    runner.fails(8, sha256, "infer", *runner.model(library=other))
    runner.fails(8, "2.2.0 and 2.3.0", "infer", *runner.model(library=other))


def test_a_library_for_another_machine(runner: LitertRunner) -> None:
    other = runtime.fetch(runtime.load("litert-2.3.0"), "aarch64", print).path
    runner.fails(
        8, "is for aarch64, this runner is for x86-64", *("infer", *runner.model(library=other))
    )


def test_clean_under_sanitizers(library: Path, tmp_path: Path) -> None:
    runner = LitertRunner([str(sanitized_tree("edge-run") / "edge-run")], library)
    agrees(runner, written(tmp_path, tiny.several()), tmp_path)
    agrees(runner, written(tmp_path, tiny.dynamic()), tmp_path, Options(batch=3))
    resized = ("--batch", "3", "--resizes", "2", "--samples", tmp_path / "s.bin", "--count", "5")
    for name in ("mlp-float32", "mlp-int8"):  # XNNPACK and the observer are asked once more
        model = runner.model(MODELS / f"{name}.tflite")
        assert runner.report("bench", *model, *resized)["resizes"]["refusal"] is None
    runner.fails(6, "NobodyHasThis", *("infer", *runner.model(written(tmp_path, tiny.custom_op()))))


# ---- this machine as a board -------------------------------------------------------------------


def test_this_machine_as_a_board(tmp_path: Path) -> None:
    here = dataclasses.replace(board.load("localhost"), root=str(tmp_path / "root"))
    with session.connect(here, print) as opened:
        assert opened.facts.machine == platform.machine()
        assert str(opened.facts.root) == str(tmp_path / "root")
        built = build.runner(here, print)
        put = tmp_path / "edge-run"
        opened.transport.put(built.runner.path, PurePosixPath(put))
        put.chmod(0o755)
        library = runtime.fetch(runtime.load(here.runtime), here.arch, print)
        outcome = opened.transport.run(
            [
                *(str(put), "infer", "--engine", "litert", "--lib", str(library.path)),
                *("--model", str(dataset.models()[0].path)),
            ]
        )
        assert outcome.ok, outcome.error_text
