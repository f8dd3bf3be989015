"""Inspection against what real interpreters do: which nodes they delegate, where tensors stand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge import inspection, model, reference, tiny
from examples.digits import dataset

MODELS = {m.name: m.path for m in dataset.models()}

# A delegate's node has the inputs and outputs of what it took: walking from its outputs back to its
# inputs along the file's own nodes finds them.
_TAKEN = """
import ctypes, glob, importlib, json, os, sys
module, model = sys.argv[1:]
interpreter_class = importlib.import_module(module).Interpreter
if module.startswith("tflite_runtime"):
    folder = os.path.dirname(importlib.import_module(module).__file__)
    library = ctypes.CDLL(glob.glob(folder + "/*.so")[0])
    library[
        "_ZN6tflite16logging_internal13MinimalLogger21SetMinimumLogSeverityENS_11LogSeverityE"
    ](0)
interpreter = interpreter_class(model_path=model)
interpreter.allocate_tensors()
nodes = [n for n in interpreter._get_ops_details() if n["op_name"] != "DELEGATE"]
delegates = [n for n in interpreter._get_ops_details() if n["op_name"] == "DELEGATE"]
makers = {t: n for n in nodes for t in n["outputs"]}
taken = set()
for delegate in delegates:
    todo, begin = list(delegate["outputs"]), set(delegate["inputs"])
    while todo:
        tensor = todo.pop()
        if tensor in makers and tensor not in begin and makers[tensor]["index"] not in taken:
            taken.add(makers[tensor]["index"])
            todo += list(makers[tensor]["inputs"])
print(json.dumps({
    "applied": True,
    "nodes_total": len(nodes),
    "nodes_delegated": len(taken),
    "partitions": len(delegates),
    "nodes": [[0, int(node)] for node in sorted(taken)],
    "delegates": ["XNNPACK"],
}))
"""

# Addresses of all tensors that are no constants, one at a time: a view that is kept alive would be
# one of memory that the interpreter moves.
_ADDRESSES = """
import json, sys
from tflite_runtime.interpreter import Interpreter, OpResolverType
interpreter = Interpreter(
    model_path=sys.argv[1],
    experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
)
interpreter.allocate_tensors()
places = {}
for index in json.loads(sys.argv[2]):
    view = interpreter.tensor(index)()
    places[index] = view.ctypes.data, view.nbytes
    del view
print(json.dumps(places))
"""


def child(script: str, *arguments: str) -> tuple[Any, list[str]]:
    """What it printed, and the interpreter's log."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout), done.stderr.splitlines()


def delegation(package: str, path: Path) -> inspection.Delegation:
    if package not in reference.interpreters():
        pytest.skip(f"{package} has no wheel for this Python")
    counts, log = child(_TAKEN, f"{package.replace('-', '_')}.interpreter", str(path))
    report = {
        "engine": "python",
        "runtime_version": reference.interpreters()[package],
        "delegation": counts,
        "warnings": [],
        "runtime_log": log,
    }
    return inspection.delegation(model.read(path), report)


def left(found: inspection.Delegation) -> list[str]:
    return [node.operator for node in found.left or ()]


@pytest.mark.parametrize(
    "name, taken, total, operators",
    [
        ("mlp-float32", 4, 4, []),
        ("mlp-float16", 10, 10, []),
        ("mlp-dynamic", 2, 4, ["FULLY_CONNECTED", "FULLY_CONNECTED"]),
        ("mlp-int8", 0, 4, ["FULLY_CONNECTED"] * 3 + ["SOFTMAX"]),
        ("cnn-float32", 6, 6, []),
        ("cnn-float16", 12, 12, []),
        ("cnn-dynamic", 4, 6, ["CONV_2D", "FULLY_CONNECTED"]),
        (
            "cnn-int8",
            0,
            6,
            ["CONV_2D", "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"],
        ),
    ],
)
def test_tflite_runtime_takes_no_node_of_8_bits(
    name: str, taken: int, total: int, operators: list[str]
) -> None:
    found = delegation("tflite-runtime", MODELS[name])
    assert (found.nodes_delegated, found.nodes_total) == (taken, total)
    assert left(found) == operators
    assert found.agrees is (True if taken else None)  # of nothing taken it says nothing
    slow = [line for line in found.warnings if "23 times" in line]
    assert len(slow) == (1 if "int8" in name else 0)
    for node in found.left or ():
        assert "most likely built without" in node.reason or node.operator == "SOFTMAX"


@pytest.mark.parametrize("name", [*MODELS])
def test_litert_leaves_only_softmax_of_8_bits(name: str) -> None:
    found = delegation("ai-edge-litert", MODELS[name])
    assert left(found) == (["SOFTMAX"] if "int8" in name else [])
    assert [node.reason for node in found.left or ()] == (
        ["SOFTMAX has no int8 kernel in XNNPACK"] if "int8" in name else []
    )
    assert found.warnings == ()


@pytest.mark.parametrize("package", ["tflite-runtime", "ai-edge-litert"])
@pytest.mark.parametrize(
    "data, reasons",
    [
        (tiny.elementwise("float32"), []),
        (tiny.dynamic(), []),
        (tiny.elementwise("int16"), ["dtype int16 has no XNNPACK kernel"]),
        (tiny.elementwise("int32"), ["dtype int32 has no XNNPACK kernel"]),
        (tiny.elementwise("int64"), ["dtype int64 has no XNNPACK kernel"]),
        (tiny.elementwise("bool"), ["no XNNPACK kernel for LOGICAL_NOT"]),
        (
            tiny.elementwise("float16"),
            ["dtype float16 has no XNNPACK kernel", "no XNNPACK kernel for CAST"],
        ),
        (tiny.dynamic_output(), ["no XNNPACK kernel for FILL"]),
    ],
)
def test_each_type_is_left_for_the_reason_that_is_told(
    package: str, data: bytes, reasons: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    assert [node.reason for node in delegation(package, path).left or ()] == reasons


def arena(path: Path) -> tuple[int, int]:
    """The estimate, and the span of real addresses."""
    if "tflite-runtime" not in reference.interpreters():
        pytest.skip("tflite-runtime has no wheel for this Python")
    read = model.read(path)
    (graph,) = read.subgraphs
    unpacked = {
        index
        for node in graph.operators
        if node.name == "DEQUANTIZE" and graph.input_tensors(node)[0].constant
        for index in node.outputs
    }
    indices = [i for i, tensor in enumerate(graph.tensors) if not tensor.constant]
    places, _ = child(_ADDRESSES, str(path), json.dumps(indices))

    def span(group: set[int]) -> int:
        found = [places[str(index)] for index in group]
        return max(a + n for a, n in found) - min(a for a, _ in found) if found else 0

    estimate = model.arena_bytes(read)
    assert estimate is not None
    # Unpacked weights stand in an arena of their own.
    return estimate, span(unpacked) + span(set(indices) - unpacked)


@pytest.mark.parametrize("name", ["mlp-float32", "mlp-int8", "cnn-float32"])
def test_the_estimate_is_the_arena_where_kernels_need_no_scratch(name: str) -> None:
    estimate, real = arena(MODELS[name])
    assert estimate == real


@pytest.mark.parametrize(
    "data, size",
    [
        (tiny.delegable(6, (1, 17)), 2 * 128 + 68),
        (tiny.branches((1, 16)), 4 * 64),  # x, and the branches, each computed in place
    ],
)
def test_the_estimate_is_the_arena_of_tiny_models(data: bytes, size: int, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    assert arena(path) == (size, size)


def test_unpacked_weights_are_in_the_estimate() -> None:
    estimate, real = arena(MODELS["mlp-float16"])
    # The last block of an arena ends where its tensor does; the estimate rounds both arenas up.
    assert 0 <= estimate - real < 64


@pytest.mark.parametrize("name", ["cnn-int8", "cnn-dynamic", "cnn-float16", "mlp-dynamic"])
def test_the_estimate_is_a_lower_bound_where_they_do(name: str) -> None:
    estimate, real = arena(MODELS[name])
    assert 0.2 * real < estimate < real
