"""Tiny models run, with right values, in each of this machine's interpreters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge import reference, tiny

Arrays = dict[str, npt.NDArray[Any]]
Case = tuple[bytes, Arrays, Arrays]

_RUN = """
import importlib, sys
import numpy as np
module, model, inputs, outputs, key, times = sys.argv[1:]
interpreter = importlib.import_module(module).Interpreter(model_path=model)
given = np.load(inputs)
if key:
    results = interpreter.get_signature_runner(key)(**given)
else:
    for detail in interpreter.get_input_details():
        interpreter.resize_tensor_input(detail["index"], given[detail["name"]].shape)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], given[detail["name"]])
    for _ in range(int(times)):
        interpreter.invoke()
    details = interpreter.get_output_details()
    results = {d["name"]: interpreter.get_tensor(d["index"]) for d in details}
strings = {k: v.astype("S") for k, v in results.items() if v.dtype == object}
np.savez(outputs, **{**results, **strings})
"""


def run(
    package: str, folder: Path, model: bytes, inputs: Arrays, *, key: str = "", times: int = 1
) -> Arrays:
    """In a process of its own: two interpreters do not fit into one."""
    if package not in reference.interpreters():
        pytest.skip(f"{package} has no wheel for this Python")
    module = f"{package.replace('-', '_')}.interpreter"
    (folder / "m.tflite").write_bytes(model)
    np.savez(folder / "in.npz", **inputs)
    files = [str(folder / name) for name in ("m.tflite", "in.npz", "out.npz")]
    subprocess.run(
        [sys.executable, "-c", _RUN, module, *files, key, str(times)],
        check=True,
        capture_output=True,
    )
    with np.load(folder / "out.npz") as archive:
        return {name: archive[name] for name in archive.files}


def assert_same(outputs: Arrays, expected: Arrays) -> None:
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)
        assert outputs[name].dtype == array.dtype
        assert outputs[name].shape == array.shape


def numbers(dtype: str, *values: float) -> npt.NDArray[Any]:
    return np.array([values], dtype)


CASES: dict[str, Case] = {
    **{
        dtype: (
            tiny.elementwise(dtype),
            {"x": numbers(dtype, 1, 2, 3, 124)},
            {"y": numbers(dtype, 4, 5, 6, 127)},
        )
        for dtype in tiny.DTYPES[:7]
    },
    "bool": (
        tiny.elementwise("bool"),
        {"x": np.array([[True, False, True, True]])},
        {"y": np.array([[False, True, False, False]])},
    ),
    "string": (
        tiny.elementwise("string"),
        {"x": np.array([b"a", b"bb", b"", b"dddd"])},
        {"y": np.array([b"dddd", b"", b"bb", b"a"])},
    ),
    "a type's end": (
        tiny.elementwise("int8"),
        {"x": numbers("int8", -128, 0, 126, 127)},
        {"y": numbers("int8", -125, 3, 127, 127)},
    ),
    "scalar": (tiny.scalar(), {"x": np.array(2, "f4")}, {"y": np.array(5, "f4")}),
    "delegable": (
        tiny.delegable(5),
        {"x": numbers("f4", 1, 2, 3, 4)},
        {"y5": numbers("f4", 6, 7, 8, 9)},
    ),
    "branches": (
        tiny.branches(),
        {"x": numbers("f4", -1, 0, 1, 3)},
        {"y": numbers("f4", -2, 1.5, 5, 12)},
    ),
    # The first column of its numbers, exactly.
    "dense": (
        tiny.dense(4, seed=7),
        {"x": numbers("f4", 1, 0, 0, 0)},
        {"y": numbers("f4", *np.random.default_rng(7).uniform(-1, 1, (4, 4))[:, 0])},
    ),
    "several": (
        tiny.several(),
        {
            "pixels": np.array([[[1, 2, 3], [6, 5, 4]]], "u1"),
            "offset": np.array([0.5, 0, -1], "f4"),
        },
        {
            "shifted": np.array([[[1.5, 2, 2], [6.5, 5, 3]]], "f4"),
            "total": np.array([20], "f4"),
            "brightest": np.array([[1, 0]], "i8"),
        },
    ),
    "dynamic": (
        tiny.dynamic(),
        {"x": np.ones((2, 5, 3), "f4")},
        {"y": np.tile(np.array([2, 3, 4], "f4"), (2, 5, 1))},
    ),
    "dynamic output": (
        tiny.dynamic_output(),
        {"dims": np.array([2, 3], "i4"), "value": np.array(7, "f4")},
        {"filled": np.full((2, 3), 7, "f4")},
    ),
    # 16 pixels of one step (0.5): nine in each of four windows, twice.
    "quantized int8": (
        tiny.quantized("int8"),
        {"x": np.full((1, 4, 4, 1), -3 + 1, "i1")},
        {"y": numbers("i1", -3 + 72, -3 + 72)},
    ),
    "quantized uint8": (
        tiny.quantized("uint8"),
        {"x": np.full((1, 4, 4, 1), 125 + 1, "u1")},
        {"y": numbers("u1", 125 + 72, 125 + 72)},
    ),
}

each_interpreter = pytest.mark.parametrize("package", ["tflite-runtime", "ai-edge-litert"])


@each_interpreter
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_what_was_promised(package: str, case: str, tmp_path: Path) -> None:
    model, inputs, expected = CASES[case]
    assert_same(run(package, tmp_path, model, inputs), expected)


@each_interpreter
def test_signatures_have_their_own_names_and_graphs(package: str, tmp_path: Path) -> None:
    model = tiny.two_signatures()
    outputs = run(package, tmp_path, model, {"x": numbers("f4", 1, 2, 3, 4)}, key="double")
    assert_same(outputs, {"doubled": numbers("f4", 2, 4, 6, 8)})
    inputs = {"a": numbers("f4", 1, 2), "b": numbers("f4", 10, 5)}
    outputs = run(package, tmp_path, model, inputs, key="add")
    assert_same(outputs, {"sum": numbers("f4", 11, 7), "difference": numbers("f4", -9, -3)})


@each_interpreter
def test_the_counter_remembers(package: str, tmp_path: Path) -> None:
    inputs = {"step": np.array([2], "f4")}
    for times in (1, 3):
        outputs = run(package, tmp_path, tiny.counter(), inputs, times=times)
        assert_same(outputs, {"count": np.array([2 * times], "f4")})


@each_interpreter
def test_nobody_has_the_custom_operator(package: str, tmp_path: Path) -> None:
    inputs = {"x": numbers("f4", 1, 2, 3, 4)}
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(package, tmp_path, tiny.custom_op("Unheard"), inputs)
    assert b"unresolved custom op: Unheard" in caught.value.stderr
