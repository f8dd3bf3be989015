"""Kernels of the user's own, compiled for real and run by real runtimes, in every way there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

from edge import agreement, board, deploy, layout, ops, reference, runner, session, tiny
from edge.deploy import Choice
from edge.errors import BoardError, UsageError
from edge.options import Options
from examples.custom_op import models as example
from examples.custom_op.export import SHAPE

CUSTOM = example.MODELS / "custom.tflite"

_ODD = """
#include <algorithm>
#include <vector>
#include "edge_op.h"
static int open_axis(edge_op_call *call) { call->outputs[0].dims[0] = -1; return 0; }
static int same(edge_op_call *call) {
  edge_op_same_shape(&call->outputs[0], &call->inputs[0]);
  return 0;
}
static int fail(edge_op_call *call) {
  std::vector<int> table(edge_op_elements(&call->inputs[0]), 1);
  if (std::find(table.begin(), table.end(), 2) != table.end()) return 0;
  return edge_op_fail(call, "its table is worn out");
}
EDGE_OP(open_axis, "OpenAxis", open_axis, fail, NULL)
EDGE_OP(fails, "Fails", same, fail, NULL)
"""

_OTHER_HEADER = """
__attribute__((visibility("default"))) unsigned edge_op_library[6] = {8, 8, 8};
__attribute__((visibility("default"), section("edge_op_names")))
const char name[] = "NobodyHasThis";
"""

WAYS = [
    pytest.param("localhost", "litert", None, id="litert"),
    pytest.param("localhost", "python", "tflite-runtime-2.14.0", id="tflite-runtime"),
    pytest.param("localhost", "native", "tflite-runtime-2.14.0", id="native"),
    pytest.param("localhost", "python", "ai-edge-litert-2.1.0", id="ai-edge-litert"),
    pytest.param("qemu-aarch64", "tflite", "litert-2.1.0", id="tflite"),
    pytest.param("qemu-virt", "tflite", "litert-2.1.0", id="over-ssh"),
    pytest.param("qemu-virt", "litert", "litert-2.3.0", id="over-ssh-litert"),
]


@pytest.fixture(autouse=True, scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The board that is this machine keeps its releases in a home of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(layout.cache_dir().parent))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


def ran(
    place: str,
    choice: Choice,
    path: Path,
    options: Options,
    folder: Path,
    inputs: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What a board makes of ``inputs``, or of the reference's own; what it reported, and those."""
    target = dataclasses.replace(board.load(place), name=f"test-ops-{place}")
    given = folder / "in.npz"
    found = deploy.models([path], print, options)
    if inputs is None:
        shape = SHAPE if path == CUSTOM else (1, 4)
        inputs = {"x": np.linspace(-2, 2, int(np.prod(shape)), dtype="f4").reshape(shape)}
    reference.save(given, inputs)
    with session.connect(target, print) as opened:
        wanted = deploy.prepared(opened, found, print, choice)
        with deploy.staged(opened, wanted, print):
            outputs, report = runner.infer(
                opened, wanted, wanted.models[0], given, options=options, each=False
            )
    return outputs, report, inputs


@pytest.mark.parametrize(("place", "engine", "runtime"), WAYS)
def test_a_kernel_computes_what_numpy_does(
    place: str, engine: str, runtime: str | None, tmp_path: Path
) -> None:
    choice = Choice(engine, runtime, ops=example.OPS)
    options = Options(ops=str(example.OPS))
    outputs, report, inputs = ran(place, choice, CUSTOM, options, tmp_path)
    assert report["engine"] == engine
    np.testing.assert_array_equal(outputs["y"], example.expected(inputs["x"]))


@pytest.mark.parametrize(("place", "engine", "runtime"), [WAYS[0], WAYS[4]])
def test_int8_beside_xnnpack_and_more_than_one_node(
    place: str, engine: str, runtime: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "q.tflite"
    settings = bytes(flexbuffers.Dumps({"slope": 0.25, "threshold": 0.75}))
    path.write_bytes(tiny.custom_and_builtin("LeakyThreshold", settings, "int8"))
    x = np.asarray([[-100, -2, -1, 60]], "int8")
    choice, options = Choice(engine, runtime, ops=example.OPS), Options(ops=str(example.OPS))
    outputs, _, _ = ran(place, choice, path, options, tmp_path, {"x": x})
    scale, zero = tiny.SCALE, tiny.ZERO_POINTS["int8"]
    real = x.astype(float)
    for _ in range(2):
        real = (real - zero) * scale
        real = np.where(real > 0.75, real, 0.25 * real) / scale
        real = np.sign(real) * np.floor(np.abs(real) + 0.5) + zero + 1
    np.testing.assert_array_equal(outputs["y"], real)


def test_a_deploy_compares_with_this_machines_interpreter_with_the_kernel(
    library: object, tmp_path: Path
) -> None:
    options = Options(ops=str(example.OPS))
    found = reference.compute(CUSTOM, options=options)
    np.testing.assert_array_equal(found.outputs["y"], example.expected(found.inputs["x"]))
    builtin = reference.compute(example.MODELS / "builtin.tflite")
    assert agreement.compare("y", builtin.outputs, found).ok
    with pytest.raises(UsageError, match="unresolved custom op"):
        reference.compute(CUSTOM)


def test_a_build_is_the_same_elsewhere_and_knows_its_operators(tmp_path: Path) -> None:
    target = board.load("qemu-aarch64")
    made = ops.library(example.OPS, target, print)
    assert made.names == ("LeakyThreshold",)
    assert made.recipe.target == "aarch64-linux-gnu.2.28"
    again = tmp_path / "kernels with a longer name"
    again.mkdir()
    (again / "leaky_threshold.c").write_bytes((example.OPS / "leaky_threshold.c").read_bytes())
    other = ops.library(again, target, print)
    assert other.artifact.path != made.artifact.path
    assert (other.artifact.sha256, other.recipe) == (made.artifact.sha256, made.recipe)
    (again / "leaky_threshold.h").write_text("")  # a header counts too
    assert ops.library(again, target, print).recipe.sources != made.recipe.sources


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.cc").write_text(_ODD)
    return folder


@pytest.mark.parametrize("engine", ["litert", "python"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OpenAxis", "OpenAxis .node 0. asks for a shape of output 0 that only eval would know"),
        ("Fails", "Fails .node 0. fails: its table is worn out"),
    ],
)
def test_what_a_kernel_says_reaches_the_user(
    odd: Path, engine: str, name: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(tiny.custom_op(name))
    with pytest.raises((BoardError, UsageError), match=f"the custom operator {said}"):
        ran("localhost", Choice(engine, ops=odd), path, Options(ops=str(odd)), tmp_path)


@pytest.mark.parametrize("engine", ["litert", "python"])
def test_without_the_kernel_the_flag_is_named(engine: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks the operator LeakyThreshold of .* with --ops"):
        ran("localhost", Choice(engine), CUSTOM, Options(), tmp_path)


def test_a_library_without_the_models_operator(odd: Path) -> None:
    said = r"no kernel for the operator LeakyThreshold of .* \(it has: Fails, OpenAxis\)"
    with pytest.raises(UsageError, match=said):
        deploy.models([CUSTOM], print, Options(ops=str(odd)))


@pytest.mark.parametrize("engine", ["litert", "python"])
def test_a_library_of_another_header(engine: str, tmp_path: Path) -> None:
    folder, path = tmp_path / "ops", tmp_path / "m.tflite"
    folder.mkdir()
    (folder / "old.c").write_text(_OTHER_HEADER)
    path.write_bytes(tiny.custom_op())
    with pytest.raises((BoardError, UsageError), match=r"edge_op\.h of another version"):
        ran("localhost", Choice(engine, ops=folder), path, Options(ops=str(folder)), tmp_path)


def test_a_source_that_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "wrong.c").write_text("int wrong(void) { return nothing; }\n")
    lines: list[str] = []
    with pytest.raises(UsageError, match=r"does not compile: .*wrong\.c:1:26: error: .*nothing"):
        ops.library(tmp_path, board.load("localhost"), lines.append)
    assert any("return nothing;" in line for line in lines)
    (tmp_path / "wrong.c").write_text("int no_kernel_in_here(void) { return 0; }\n")
    with pytest.raises(UsageError, match="no kernel in it: enter each with EDGE_OP"):
        ops.library(tmp_path, board.load("localhost"), print)
