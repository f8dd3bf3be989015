"""Reading .tflite files without a runtime."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge import model, tiny
from edge.errors import UsageError
from examples.digits import dataset

MODELS = {m.name: m.path for m in dataset.models()}


def made(tmp_path: Path, data: bytes) -> model.Model:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    return model.read(path)


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The model with something of it changed."""
    tables = schema.ModelT.InitFromPackedBuf(data)
    change(tables)
    builder = flatbuffers.Builder()
    builder.Finish(tables.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_a_dense_model_is_read_whole() -> None:
    read = model.read(MODELS["mlp-int8"])
    (graph,) = read.subgraphs
    assert read.version == 3
    assert read.file_bytes == MODELS["mlp-int8"].stat().st_size
    assert read.min_runtime_version == "1.14.0"
    assert read.metadata["min_runtime_version"] == 16
    assert [operator.name for operator in graph.operators] == ["FULLY_CONNECTED"] * 3 + ["SOFTMAX"]
    assert [operator.version for operator in graph.operators] == [4, 4, 4, 2]
    (pixels,) = (graph.tensors[i] for i in graph.inputs)
    assert (pixels.dtype, pixels.shape, pixels.open_axes) == ("int8", (1, 64), ())
    assert pixels.quantization is not None
    assert len(pixels.quantization.scales) == len(pixels.quantization.zero_points) == 1
    assert not pixels.constant
    inputs, weights, bias = graph.input_tensors(graph.operators[0])
    assert inputs == pixels
    assert weights.constant and weights.buffer_bytes == 64 * 64
    assert bias.dtype == "int32"


def test_float_tensors_are_not_quantized() -> None:
    read = model.read(MODELS["mlp-float32"])
    assert {tensor.quantization for tensor in read.subgraphs[0].tensors} == {None}


def test_channels_have_scales_of_their_own(tmp_path: Path) -> None:
    (graph,) = made(tmp_path, tiny.quantized("int8")).subgraphs
    kernel = next(tensor for tensor in graph.tensors if tensor.name == "kernel")
    assert kernel.quantization == model.Quantization((1.0, 1.0), (0, 0), 0)


def test_signatures_name_tensors_of_their_subgraph(tmp_path: Path) -> None:
    read = made(tmp_path, tiny.two_signatures())
    assert [graph.name for graph in read.subgraphs] == ["double", "add"]
    double, add = read.signatures
    assert (double.key, double.subgraph, add.key, add.subgraph) == ("double", 0, "add", 1)
    tensors = read.subgraphs[1].tensors
    assert {n: tensors[i].name for n, i in add.inputs.items()} == {"a": "add_a:0", "b": "add_b:0"}
    assert {n: tensors[i].name for n, i in add.outputs.items()} == {
        "sum": "add_sum:0",
        "difference": "add_difference:0",
    }


def test_custom_operators_are_called_by_their_own_name(tmp_path: Path) -> None:
    (node,) = made(tmp_path, tiny.custom_op("Nobody")).subgraphs[0].operators
    assert (node.name, node.custom) == ("CUSTOM", "Nobody")


@pytest.mark.parametrize(
    "dtype, size",
    [
        *(("float32", 16), ("float16", 8), ("int8", 4), ("uint8", 4), ("int16", 8), ("int64", 32)),
        *(("bool", 4), ("string", 0)),
    ],
)
def test_tensors_have_the_size_of_their_type(tmp_path: Path, dtype: str, size: int) -> None:
    tensor = made(tmp_path, tiny.elementwise(dtype)).subgraphs[0].tensors[0]
    assert tensor.dtype == dtype
    assert model.tensor_bytes(tensor) == size


def test_a_scalar_has_no_axis(tmp_path: Path) -> None:
    tensor = made(tmp_path, tiny.scalar()).subgraphs[0].tensors[0]
    assert tensor.shape == ()
    assert model.tensor_bytes(tensor) == 4


def test_multiply_accumulates_are_those_of_the_layers(tmp_path: Path) -> None:
    (graph,) = made(tmp_path, tiny.quantized()).subgraphs
    # 2 x 2 places, 2 channels, 3 x 3 x 1 weights; then 8 x 2.
    assert [model.multiply_accumulates(graph, n) for n in graph.operators] == [72, 0, 16]


def test_depthwise_layers_multiply_once_for_each_weight() -> None:
    def tensor(shape: model.Shape) -> model.Tensor:
        return model.Tensor("t", "float32", shape, shape, None, 0, 0, False)

    node = model.Operator("DEPTHWISE_CONV_2D", None, 1, (0, 1), (2,))
    tensors = (tensor((1, 4, 4, 6)), tensor((1, 3, 3, 6)), tensor((1, 2, 2, 6)))
    graph = model.Subgraph("g", tensors, (node,), (0,), (2,))
    assert model.multiply_accumulates(graph, node) == 2 * 2 * 6 * 9


def test_weights_are_counted_once_by_their_type() -> None:
    read = model.read(MODELS["mlp-int8"])
    sizes = model.weights(read)
    assert sizes == {"int8": 64 * 64 + 64 * 32 + 32 * 10, "int32": 4 * (64 + 32 + 10)}
    assert list(sizes) == ["int8", "int32"]
    assert [tensor.buffer_bytes for tensor in model.largest_weights(read, 2)] == [4096, 2048]


def test_tensors_that_share_data_count_once(tmp_path: Path) -> None:
    def share(tables: Any) -> None:
        tensors = {tensor.name: tensor for tensor in tables.subgraphs[0].tensors}
        tensors[b"dense_bias"].buffer = tensors[b"kernel_bias"].buffer

    assert model.weights(made(tmp_path, tiny.quantized()))["int32"] == 3 * 8
    assert model.weights(made(tmp_path, changed(tiny.quantized(), share)))["int32"] == 2 * 8


def test_data_may_lie_behind_the_tables(tmp_path: Path) -> None:
    def move(tables: Any) -> None:
        tables.buffers[1].data, tables.buffers[1].offset, tables.buffers[1].size = None, 500, 4

    data = changed(tiny.elementwise("float32"), move)
    with pytest.raises(UsageError, match=r"damaged .*a buffer ends behind the file"):
        made(tmp_path, data)
    constants = [t for t in made(tmp_path, data + bytes(500)).subgraphs[0].tensors if t.constant]
    assert [(tensor.name, tensor.buffer_bytes) for tensor in constants] == [("three", 4)]


def test_operators_beyond_the_first_127_are_known(tmp_path: Path) -> None:
    graph, start = made(tmp_path, tiny.counter()).subgraphs
    names = ["CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ADD", "ASSIGN_VARIABLE"]
    assert [node.name for node in graph.operators] == names
    assert [node.name for node in start.operators] == ["VAR_HANDLE", "ASSIGN_VARIABLE"]
    newest = changed(
        tiny.scalar(), lambda tables: setattr(tables.operatorCodes[0], "builtinCode", 9999)
    )
    assert made(tmp_path, newest).subgraphs[0].operators[0].name == "operator 9999"


@pytest.mark.parametrize(
    "where",
    [
        lambda tables: setattr(tables.subgraphs[0].operators[0], "inputs", [0, 99]),
        lambda tables: setattr(tables.subgraphs[0].operators[0], "outputs", [-2]),
        lambda tables: setattr(tables.subgraphs[0].operators[0], "opcodeIndex", 99),
        lambda tables: setattr(tables.subgraphs[0].tensors[0], "buffer", 99),
        lambda tables: setattr(tables.subgraphs[0], "inputs", [99]),
        lambda tables: setattr(tables.signatureDefs[0], "subgraphIndex", 99),
        lambda tables: setattr(tables.signatureDefs[0].inputs[0], "tensorIndex", 99),
    ],
)
def test_an_index_of_nothing_is_damage(tmp_path: Path, where: Callable[[Any], None]) -> None:
    with pytest.raises(UsageError, match=r"m\.tflite is a damaged TFLite model \(number"):
        made(tmp_path, changed(tiny.two_signatures(), where))


def test_the_arena_holds_what_is_in_use_together(tmp_path: Path) -> None:
    # x stays; of the results two are in use at a time. Each takes 64 bytes.
    read = made(tmp_path, tiny.delegable(6, (1, 16)))
    assert model.arena_bytes(read) == 3 * 64
    read = made(tmp_path, tiny.delegable(6, (1, 17)))
    assert model.arena_bytes(read) == 2 * 128 + 68


def test_axes_that_callers_choose_are_open(tmp_path: Path) -> None:
    tensors = made(tmp_path, tiny.dynamic()).subgraphs[0].tensors
    assert [(t.name, t.open_axes) for t in tensors] == [
        ("x", (0, 1)),
        ("y", (0, 1)),
        ("factors", ()),
    ]


def test_the_arena_grows_with_the_batch() -> None:
    read = model.read(MODELS["mlp-float32"])
    one = model.arena_bytes(read)
    assert one == model.arena_bytes(read, 0, {"pixels": (1, 64)})
    many, more = (model.arena_bytes(read, 0, {"pixels": (n, 64)}) for n in (64, 128))
    assert many is not None and more is not None
    assert many == more - many > 32 * (one or 0)


def test_sizes_that_shapes_leave_open_are_not_guessed(tmp_path: Path) -> None:
    read = made(tmp_path, tiny.dynamic())
    assert model.arena_bytes(read) == 64 + 12
    assert model.arena_bytes(read, 0, {"x": (2, 5, 3)}) is None


def test_a_missing_file_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't read .*absent\.tflite"):
        model.read(tmp_path / "absent.tflite")
    with pytest.raises(UsageError, match="can't read"):
        model.read(tmp_path)
    for data in (b"", b"TFL3", b"PK\3\4 is a zip file", tiny.scalar()[:4] + b"TFL2"):
        with pytest.raises(UsageError, match="is no TFLite model"):
            made(tmp_path, data)


def test_damaged_files_are_refused_without_a_traceback(tmp_path: Path) -> None:
    chance = random.Random(20240131)
    whole = tiny.two_signatures()
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        if chance.random() < 0.3:
            del data[chance.randrange(8, len(data)) :]
        for _ in range(chance.randint(1, 8)):
            data[chance.choice([*range(4), *range(8, len(data))])] = chance.randrange(256)
        try:
            made(tmp_path, bytes(data))
        except UsageError:
            refused += 1
    assert refused > 100
