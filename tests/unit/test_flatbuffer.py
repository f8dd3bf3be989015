"""A .tflite file changed: what it says of itself, and where its results come out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge import about, evaluation, flatbuffer, inspection, layers, model
from edge.about import About
from edge.errors import UsageError
from edge.report.models import contents_lines
from examples.digits import dataset

MODELS = dataset.FOLDER / dataset.MODELS_FOLDER
CNN = MODELS / "cnn-int8.tflite"
NOTE = About("cnn.keras", "ab" * 32, "int8", "tensorflow 2.20.0", "unit", ("null", "eins"))


def noted(folder: Path, note: bytes) -> Path:
    tables = flatbuffer.load(CNN)
    flatbuffer.add_note(tables, about.KEY, note)
    flatbuffer.save(folder / "noted.tflite", tables)
    return folder / "noted.tflite"


def test_what_is_noted_is_read_and_all_else_stays(tmp_path: Path) -> None:
    path = noted(tmp_path, about.dumps(NOTE))
    old, new = model.read(CNN), model.read(path)
    assert new.about == NOTE and old.about is None
    assert set(new.metadata) == {*old.metadata, about.KEY}
    assert new.subgraphs[0].operators == old.subgraphs[0].operators
    assert new.signatures == old.signatures
    assert [p.name for p in tmp_path.iterdir()] == ["noted.tflite"]
    lines = contents_lines(inspection.of_model(new))
    assert "preprocessing: unit" in lines and "labels: null, eins" in lines
    assert any(f"converted from cnn.keras (sha256 {'ab' * 32}) to int8" in line for line in lines)


def test_constant_data_stays_aligned_for_vectors(tmp_path: Path) -> None:
    path = noted(tmp_path, b"{}")
    content = path.read_bytes()
    found = 0
    for buffer in flatbuffer.load(path).buffers:
        if buffer.data is not None and len(buffer.data) > 16:
            assert content.index(bytes(buffer.data)) % 16 == 0
            found += 1
    assert found > 3


def test_a_note_set_twice_is_there_once(tmp_path: Path) -> None:
    tables = flatbuffer.load(noted(tmp_path, b"old"))
    flatbuffer.add_note(tables, about.KEY, about.dumps(NOTE))
    flatbuffer.save(tmp_path / "twice.tflite", tables)
    assert model.read(tmp_path / "twice.tflite").about == NOTE
    assert [flatbuffer.name(e.name) for e in tables.metadata].count(about.KEY) == 1


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"no json",
        b"[1]",
        b'{"labels": 1}',
        b'{"labels": []}',
        about.dumps(NOTE).replace(b'"unit"', b"7"),
        about.dumps(NOTE).replace(b'"eins"', b"[]"),
        about.dumps(NOTE).replace(b'"variant"', b'"kind"'),
        b"[" * 100_000,
    ],
)
def test_a_note_of_somebody_elses_is_nobodys(tmp_path: Path, note: bytes) -> None:
    assert model.read(noted(tmp_path, note)).about is None


def test_labels_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("cat\n\n dog \n", encoding="utf-8")
    assert about.labels(path) == ("cat", "dog")
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(UsageError, match="holds no names"):
        about.labels(path)
    with pytest.raises(UsageError, match="can't be read"):
        about.labels(tmp_path / "none.txt")


def test_tensors_are_named_as_their_signature(tmp_path: Path) -> None:
    tables = flatbuffer.load(CNN)
    tables.subgraphs[0].tensors[0].name = "serving_default_image:0"
    flatbuffer.name_ports(tables)
    flatbuffer.save(tmp_path / "named.tflite", tables)
    graph = model.read(tmp_path / "named.tflite").subgraphs[0]
    assert [graph.tensors[i].name for i in (*graph.inputs, *graph.outputs)] == ["image", "scores"]


def test_every_result_becomes_an_output(tmp_path: Path) -> None:
    read = model.read(CNN)
    layers.expose(CNN, read, tmp_path / "all.tflite")
    exposed = model.read(tmp_path / "all.tflite")
    assert len(exposed.subgraphs[0].outputs) == len(read.subgraphs[0].operators)
    assert exposed.signatures == ()
    names = [exposed.subgraphs[0].tensors[i].name for i in exposed.subgraphs[0].outputs]
    assert names == [layers.tensor_name(i) for i in exposed.subgraphs[0].outputs]


def made_up(read: model.Model, **changes: int) -> dict[str, npt.NDArray[Any]]:
    """Results of two samples; a node named ``node_2`` is off by so many steps."""
    graph = read.subgraphs[0]
    made = {}
    for number, _, index in layers.shown(read):
        tensor = graph.tensors[index]
        array = np.full((2, *tensor.shape[1:]), 10, tensor.dtype)
        array.flat[0] += changes.get(f"node_{number}", 0)
        made[layers.tensor_name(index)] = array
    return made


def test_where_two_machines_part() -> None:
    read = model.read(CNN)
    same = layers.compare(read, made_up(read), made_up(read))
    assert layers.Parting((0, 1), same, 2).first is None
    found = layers.compare(read, made_up(read), made_up(read, node_1=1, node_2=40, node_3=1))
    parting = layers.Parting((0, 1), found, 2)
    assert parting.first is not None and parting.first.node == 1
    assert parting.worst is not None and parting.worst.node == 2
    assert parting.worst.unequal == 1
    assert parting.worst.largest_steps == pytest.approx(40)
    # Node 3 only hands on what it was given.
    assert found[3].added < 0 < found[2].added


def test_outputs_beside_those_of_the_model_itself() -> None:
    read = model.read(CNN)
    (index,) = read.subgraphs[0].outputs
    exposed = made_up(read)
    whole = {"scores": np.concatenate([exposed[layers.tensor_name(index)]] * 3)}
    assert layers.as_model(read, exposed, whole, [0, 5]) == 2
    whole["scores"][5] += 1
    assert layers.as_model(read, exposed, whole, [0, 5]) == 1


def test_large_results_are_fetched_of_fewer_samples() -> None:
    read = model.read(CNN)
    assert evaluation.batches_of_layers(read, 1) == 8
    assert evaluation.batches_of_layers(read, 3) == 2
    assert evaluation.batches_of_layers(read, 100) == 1
    graph = read.subgraphs[0]
    large = tuple(
        dataclasses.replace(t, shape=(64, 1024, 1024)) if t.shape[:1] == (1,) else t
        for t in graph.tensors
    )
    read = dataclasses.replace(read, subgraphs=(dataclasses.replace(graph, tensors=large),))
    assert evaluation.batches_of_layers(read, 1) == 1


def test_a_model_without_results_has_no_layers() -> None:
    read = model.read(CNN)
    graph = dataclasses.replace(read.subgraphs[0], operators=())
    with pytest.raises(UsageError, match="no intermediate results"):
        layers.shown(dataclasses.replace(read, subgraphs=(graph,)))
