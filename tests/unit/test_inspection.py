"""Reasons for what delegates left, from made-up reports."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from edge import inspection, model, tiny
from edge.errors import BoardError
from edge.model import Model
from examples.digits import dataset

MODELS = {m.name: m.path for m in dataset.models()}
LACKING = "the library has no XNNPACK delegate: every kernel is a built-in one"


@pytest.fixture
def made(tmp_path: Path) -> Any:
    def make(data: bytes) -> Model:
        path = tmp_path / "m.tflite"
        path.write_bytes(data)
        return model.read(path)

    return make


def report(
    total: int,
    nodes: Iterable[tuple[int, int]] | None = (),
    *,
    delegates: Iterable[str] = ("XNNPACK",),
    warnings: Iterable[str] = (),
    log: Iterable[str] = (),
) -> dict[str, Any]:
    """What ``edge-run inspect`` prints, as far as it matters here."""
    taken = None if nodes is None else [list(node) for node in nodes]
    return {
        "engine": "tflite",
        "runtime_version": "2.14.1",
        "delegation": {
            "applied": bool(list(delegates)),
            "nodes_total": -1 if taken is None else total,
            "nodes_delegated": -1 if taken is None else len(taken),
            "partitions": -1 if taken is None else min(1, len(taken)),
            "nodes": taken,
            "delegates": list(delegates),
        },
        "warnings": list(warnings),
        "runtime_log": list(log),
    }


def reasons(found: inspection.Delegation) -> list[str]:
    assert found.left is not None
    return [left.reason for left in found.left]


# --- the model ------------------------------------------------------------------------------------


def test_contents_name_the_ways_in_by_tensor_and_by_signature(made: Any) -> None:
    contents = inspection.of_model(made(tiny.two_signatures()))
    main, double, add = contents.entries
    assert (main.signature, [port.name for port in main.inputs]) == (None, ["double_x:0"])
    assert (double.signature, double.subgraph) == ("double", 0)
    assert (add.signature, add.subgraph) == ("add", 1)
    assert [port.name for port in add.outputs] == ["sum", "difference"]


def test_contents_count_nodes_and_work_by_operator() -> None:
    contents = inspection.of_model(model.read(MODELS["cnn-int8"]))
    assert [(kind.operator, kind.nodes) for kind in contents.kinds] == [
        ("CONV_2D", 2),
        ("FULLY_CONNECTED", 1),
        *(("MAX_POOL_2D", 1), ("RESHAPE", 1), ("SOFTMAX", 1)),
    ]
    conv = 8 * 8 * 16 * 9 + 8 * 8 * 32 * 9 * 16
    assert contents.kinds[0].multiply_accumulates == conv
    assert contents.graphs[0].multiply_accumulates == conv + 512 * 10
    assert contents.kinds[0].versions == (3,)


@pytest.mark.parametrize(
    "data, remark",
    [
        (tiny.custom_op("Nobody"), "custom operators, which .* Nobody"),
        (tiny.elementwise("string"), "string inputs or outputs"),
        (tiny.counter(), "it keeps state"),
        (tiny.dynamic(), "axes left open in 'x': --batch or --shape"),
    ],
)
def test_contents_warn_of_what_needs_care(made: Any, data: bytes, remark: str) -> None:
    with_care = inspection.of_model(made(data))
    assert any(re.search(remark, line) for line in with_care.warnings)
    assert inspection.of_model(made(tiny.scalar())).warnings == ()


@pytest.mark.parametrize("name", [*MODELS])
def test_everything_becomes_json(name: str) -> None:
    read = model.read(MODELS[name])
    contents = json.loads(json.dumps(dataclasses.asdict(inspection.of_model(read))))
    assert contents["file_bytes"] == MODELS[name].stat().st_size
    found = inspection.delegation(read, report(len(read.subgraphs[0].operators)))
    assert json.loads(json.dumps(dataclasses.asdict(found)))["nodes_delegated"] == 0


# --- delegation -----------------------------------------------------------------------------------


def test_a_whole_model_taken_leaves_nothing(made: Any) -> None:
    found = inspection.delegation(made(tiny.delegable(3)), report(3, [(0, 0), (0, 1), (0, 2)]))
    assert (found.nodes_total, found.nodes_delegated, found.left) == (3, 3, ())
    assert inspection.causes(found) == ()


def test_an_engine_that_can_not_tell_which_gives_counts_only(made: Any) -> None:
    found = inspection.delegation(made(tiny.delegable(3)), report(3, None))
    assert (found.nodes_total, found.nodes_delegated, found.partitions) == (3, None, None)
    assert found.left is None and found.builtin_share is None and found.agrees is None
    counted = report(3, [(0, 0)])
    counted["delegation"]["nodes"] = None
    found = inspection.delegation(made(tiny.delegable(3)), counted)
    assert (found.nodes_delegated, found.left) == (1, None)


@pytest.mark.parametrize(
    "data, reason",
    [
        (tiny.custom_op("Nobody"), "custom operator"),
        (tiny.elementwise("string"), "no XNNPACK kernel for GATHER"),
        (tiny.elementwise("bool"), "no XNNPACK kernel for LOGICAL_NOT"),
        (tiny.elementwise("int16"), "dtype int16 has no XNNPACK kernel"),
        (tiny.elementwise("int64"), "dtype int64 has no XNNPACK kernel"),
        (tiny.dynamic(), "dynamic shape (axis 0 of tensor 'x' is -1)"),
        (
            tiny.elementwise("uint8"),
            "quantized uint8, but this runtime's XNNPACK took no uint8 node: most likely built "
            "without its uint8 kernels",
        ),
        (
            tiny.elementwise("float32"),
            "XNNPACK declined it (its parameters or shapes, or this version is too old for it)",
        ),
    ],
)
def test_each_node_left_behind_has_its_reason(made: Any, data: bytes, reason: str) -> None:
    found = inspection.delegation(made(data), report(1))
    assert reasons(found) == [reason]


def test_operators_without_int8_kernels_are_told_from_builds_without() -> None:
    """As LiteRT 2.1 takes this model: all but the last node."""
    read = model.read(MODELS["mlp-int8"])
    found = inspection.delegation(read, report(4, [(0, 0), (0, 1), (0, 2)]))
    assert reasons(found) == ["SOFTMAX has no int8 kernel in XNNPACK"]
    assert found.builtin_share == 0
    assert found.warnings == ()


def test_a_node_is_declined_if_others_of_its_type_were_taken() -> None:
    read = model.read(MODELS["mlp-int8"])
    found = inspection.delegation(read, report(4, [(0, 0), (0, 2)]))
    assert reasons(found)[0].startswith("XNNPACK declined it")


def test_weights_of_8_bits_at_real_activations_are_a_type_of_their_own() -> None:
    """As tflite-runtime 2.14 takes this model."""
    read = model.read(MODELS["cnn-dynamic"])
    found = inspection.delegation(read, report(6, [(0, 0), (0, 2), (0, 3), (0, 5)]))
    assert [(left.node, left.operator) for left in found.left or ()] == [
        (1, "CONV_2D"),
        (4, "FULLY_CONNECTED"),
    ]
    (reason,) = set(reasons(found))
    assert reason.startswith("float32 with weights of 8 bits or fewer, but this runtime's XNNPACK")


def test_a_runtime_without_xnnpack_is_the_reason_for_all() -> None:
    read = model.read(MODELS["cnn-float32"])
    found = inspection.delegation(read, report(6, delegates=(), warnings=[LACKING]))
    assert set(reasons(found)) == {"the runtime was built without XNNPACK"}
    (cause,) = inspection.causes(found)
    assert (cause.nodes, cause.operators["CONV_2D"]) == (6, 2)
    assert found.warnings[0] == LACKING
    assert "100% of the multiply-accumulates run on built-in float kernels" in found.warnings[1]


@pytest.mark.parametrize(
    "name, reason",
    [
        ("cnn-float32", "the runtime was built without XNNPACK"),
        ("cnn-int8", "the runtime has no XNNPACK, or keeps it for models with float32 tensors"),
    ],
)
def test_a_runtime_may_not_ask_xnnpack_at_all(name: str, reason: str) -> None:
    """As tflite-runtime 2.14 runs models without a float32 tensor."""
    warning = (
        "XNNPACK was not asked: the library has none, or keeps it for models with float32 "
        "tensors; every kernel is a built-in one"
    )
    found = inspection.delegation(
        model.read(MODELS[name]), report(6, delegates=(), warnings=[warning])
    )
    told = report(6, delegates=(), warnings=[LACKING])
    assert reasons(inspection.delegation(model.read(MODELS[name]), told))[0] == (
        "the runtime was built without XNNPACK"
    )
    never = {"SOFTMAX has no int8 kernel in XNNPACK"} if name == "cnn-int8" else set()
    assert set(reasons(found)) == {reason} | never
    assert "this was measured to cost" in found.warnings[-1]


def test_what_no_xnnpack_takes_is_not_blamed_on_the_build(made: Any) -> None:
    found = inspection.delegation(
        made(tiny.elementwise("int16")), report(1, delegates=(), warnings=[LACKING])
    )
    assert reasons(found) == ["dtype int16 has no XNNPACK kernel"]


def test_without_a_delegate_asked_for_nothing_is_called_slow() -> None:
    for name in ("cnn-float32", "cnn-int8"):
        found = inspection.delegation(model.read(MODELS[name]), report(6, delegates=()))
        assert set(reasons(found)) == {"no delegate"}
        assert found.warnings == ()


def test_a_refused_graph_is_the_reason_for_all(made: Any) -> None:
    read = made(tiny.dynamic_output())
    refusal = (
        "XNNPACK can't be used, every kernel is a built-in one: Attempting to use a delegate that "
        "only supports static-sized tensors with a graph that has dynamic-sized tensors (tensor#2 "
        "is a dynamic-sized tensor)."
    )
    found = inspection.delegation(read, report(1, delegates=(), warnings=[refusal]))
    assert reasons(found) == ["XNNPACK refused the graph: tensor 'filled' has no fixed size"]
    other = "XNNPACK can't be used, every kernel is a built-in one: the library can't create it"
    found = inspection.delegation(read, report(1, delegates=(), warnings=[other]))
    assert reasons(found) == ["XNNPACK refused the graph: the library can't create it"]


def test_another_delegate_leaves_without_a_reason_of_xnnpacks(made: Any) -> None:
    found = inspection.delegation(
        made(tiny.delegable(2)), report(2, [(0, 0)], delegates=["npu.so"])
    )
    assert reasons(found) == ["the delegate left it, and XNNPACK was not applied"]


@pytest.mark.parametrize("delegates, warnings", [(("XNNPACK",), ()), ((), (LACKING,))])
def test_quantized_work_on_builtin_kernels_is_known_to_be_slow(
    made: Any, delegates: tuple[str, ...], warnings: tuple[str, ...]
) -> None:
    for dtype in ("int8", "uint8"):
        found = inspection.delegation(
            made(tiny.quantized(dtype)), report(3, delegates=delegates, warnings=warnings)
        )
        assert found.builtin_share == 1
        assert f"100% of the multiply-accumulates run on built-in {dtype}" in found.warnings[-1]
        assert "23 times" in found.warnings[-1]


def test_a_share_is_of_the_work_and_not_of_the_nodes(made: Any) -> None:
    found = inspection.delegation(made(tiny.quantized()), report(3, [(0, 0), (0, 1)]))
    assert found.builtin_share == pytest.approx(16 / 88)
    assert found.warnings == ()


# --- the runtime's own words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "where", ["the whole graph.", "subgraph 0.", "subgraph 0 (main).", "subgraph 0 ()."]
)
def test_the_runtimes_log_is_compared(made: Any, where: str) -> None:
    line = (
        "VERBOSE: Replacing {} out of 3 node(s) with delegate (TfLiteXNNPackDelegate) node, "
        f"yielding 3 partitions for {where}"
    )
    read = made(tiny.delegable(3))
    found = inspection.delegation(read, report(3, [(0, 0), (0, 2)], log=["INFO", line.format(2)]))
    assert (found.logged, found.agrees) == (2, True)
    # Applied anew after a change of shapes: the last line holds.
    again = report(3, [(0, 0), (0, 2)], log=[line.format(3), line.format(2)])
    assert inspection.delegation(read, again).agrees is True
    found = inspection.delegation(read, report(3, [(0, 0)], log=[line.format(2)]))
    assert (found.logged, found.agrees) == (2, False)
    assert inspection.delegation(read, report(3, [(0, 0)])).agrees is None
    assert inspection.delegation(read, report(3, None, log=[line.format(2)])).agrees is None


def test_counts_of_several_graphs_and_delegates_add_up(made: Any) -> None:
    line = "Replacing 1 out of 2 node(s) with delegate ({}) node, yielding 2 partitions for {}."
    log = [line.format(d, g) for d in ("A", "B") for g in ("subgraph 0 (main)", "subgraph 1 (x)")]
    found = inspection.delegation(made(tiny.two_signatures()), report(3, [(0, 0)], log=log))
    assert found.logged == 4


def test_old_runtimes_call_each_graph_the_whole(made: Any) -> None:
    line = (
        "Replacing {0} out of {0} node(s) with delegate (A) node, yielding 1 partitions for the "
        "whole graph."
    )
    taken = [(0, 0), (1, 0), (1, 1)]
    log = [line.format(count) for count in (1, 2, 1, 2)]
    found = inspection.delegation(made(tiny.two_signatures()), report(3, taken, log=log))
    assert (found.logged, found.agrees) == (3, True)


# --- reports that are none ------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [[(0, 3)], [(1, 0)], [(-1, 0)]])
def test_nodes_that_the_model_lacks_are_refused(made: Any, nodes: list[tuple[int, int]]) -> None:
    with pytest.raises(BoardError, match="the model has no such node"):
        inspection.delegation(made(tiny.delegable(3)), report(3, nodes))


@pytest.mark.parametrize(
    "key, value",
    [("nodes", [1]), ("nodes", 7), ("nodes_total", None), ("nodes_delegated", "many")],
)
def test_damaged_reports_are_refused(made: Any, key: str, value: object) -> None:
    damaged = report(3)
    damaged["delegation"][key] = value
    with pytest.raises(BoardError, match="report of the delegation is damaged"):
        inspection.delegation(made(tiny.delegable(3)), damaged)
    with pytest.raises(BoardError, match="damaged"):
        inspection.delegation(made(tiny.delegable(3)), {})
