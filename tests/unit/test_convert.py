"""What a conversion refuses before TensorFlow starts, and how its findings read."""

from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import convert, dataset, model
from edge.convert import Conversion, Request, Source, Variant
from edge.errors import HostError, UsageError
from edge.evaluation import Evaluation
from edge.layers import Layer, Parting
from edge.report import conversion
from edge.scoring import Classes, Values, likeness, score
from examples.digits import dataset as digits

KERAS = digits.FOLDER / "cnn.keras"
Usage = namedtuple("Usage", "total used free")


def request(tmp: Path, **changes: Any) -> Request:
    made = Request(convert.source(KERAS), ("float32",), tmp / "out", "cnn")
    return dataclasses.replace(made, **changes)


def test_a_keras_file_is_known_by_its_content(tmp_path: Path) -> None:
    assert convert.source(KERAS).kind == "keras"
    (tmp_path / "a.keras").write_bytes(b"something else")
    with pytest.raises(UsageError, match=r"a\.keras is no Keras file, whatever its name"):
        convert.source(tmp_path / "a.keras")
    with pytest.raises(UsageError, match=r"is a \.tflite file already"):
        convert.source(digits.FOLDER / "models/cnn-int8.tflite")
    with pytest.raises(UsageError, match="no file or folder"):
        convert.source(tmp_path / "none.keras")
    (tmp_path / "a.onnx").write_bytes(b"something else")
    with pytest.raises(UsageError, match=r"comes as \.keras, \.h5, or a SavedModel's folder"):
        convert.source(tmp_path / "a.onnx")


def test_a_saved_model_is_hashed_with_its_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no SavedModel: it has no file saved_model\.pb"):
        convert.source(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "a").write_bytes(b"weights")
    first = convert.source(tmp_path)
    assert (first.kind, first.size_bytes) == ("saved_model", 12)
    (tmp_path / "a").rename(tmp_path / "b")
    assert convert.source(tmp_path).sha256 != first.sha256


def test_variants() -> None:
    assert convert.variants("int8, float32,int8") == ("int8", "float32")
    assert convert.variants("all") == convert.VARIANTS
    with pytest.raises(UsageError, match="--quantize int4: must be of float32, "):
        convert.variants("float32,int4")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"variants": ("float32", "int8")}, "int8: the range of each tensor .* --calibrate FILE"),
        ({"preprocess": "magic"}, "--preprocess magic: must be one of raw, "),
        ({"batch": -1}, "--batch -1"),
        ({"integer": True}, "--io integer is for int8 and int16x8"),
        ({"name": "a/b"}, "choose one with --name"),
        ({"folder": KERAS}, "this is a file: name a folder"),
        ({"folder": Path("/nowhere/at/all")}, "there is no folder /nowhere/at"),
    ],
)
def test_what_is_refused_early(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    convert.check(request(tmp_path))
    with pytest.raises(UsageError, match=said):
        convert.convert(request(tmp_path, **changes), print)
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 1_000_000))
    with pytest.raises(HostError, match=r"has 1 MB free, converting .* takes up to \d+ MB"):
        convert.convert(request(tmp_path), print)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_neither_work_nor_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Any, *_: Any) -> Any:
        (Path(request["work"]) / "half.tflite").write_bytes(b"half")
        raise UsageError("no such operator")

    monkeypatch.setattr(convert, "_converter", refuse)
    with pytest.raises(UsageError, match="no such operator"):
        convert.convert(request(tmp_path), print)
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UsageError):
        convert.convert(request(tmp_path), print)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_folder_to_calibrate_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for a folder name what becomes of its files"):
        convert.samples(tmp_path, None, 0)
    with pytest.raises(UsageError, match=r"no files \.wav in it"):
        convert.samples(tmp_path, "waveform", 0)
    for name in ("b/2.PNG", "a.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = convert.samples(tmp_path, "unit", 0).files
    assert [path.name for path in found] == ["a.jpg", "2.PNG"]
    assert len(convert.samples(tmp_path, "unit", 1).files) == 1


SPECS = {"image": [[1, 8, 8, 1], "float32"]}
SCORES = {"scores": [[1, 10], "float32"]}


def test_data_that_does_not_fit_the_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=np.zeros((3, 28, 28, 1), np.float32))
    wrong = dataset.load(tmp_path / "d.npz")
    with pytest.raises(UsageError, match=r"28x28x1 don't fit .* takes 8x8x1"):
        convert._files(request(tmp_path, data=wrong), tmp_path, SPECS, SCORES)
    calibration = convert.Samples(tmp_path / "d.npz", wrong)
    with pytest.raises(UsageError, match=r"28x28x1 don't fit .* takes 8x8x1"):
        convert._files(request(tmp_path, calibration=calibration), tmp_path, SPECS, SCORES)
    with pytest.raises(UsageError, match="--labels: 2 names for 10 scores"):
        convert._files(request(tmp_path, labels=("a", "b")), tmp_path, SPECS, SCORES)


def test_without_data_there_are_random_samples(tmp_path: Path) -> None:
    found = convert._files(request(tmp_path), tmp_path, SPECS, SCORES)
    assert found["calibration"] is None
    with np.load(found["data"]["file"]) as archive:
        assert archive["image"].shape == (16, 8, 8, 1)


def test_which_operators_compute_in_float() -> None:
    folder = digits.FOLDER / "models"
    assert convert.in_float_of(model.read(folder / "cnn-int8.tflite")) == {}
    found = convert.in_float_of(model.read(folder / "cnn-float32.tflite"))
    assert found["CONV_2D"] == 2 and next(iter(found)) == "CONV_2D"


# --- how it reads ---------------------------------------------------------------------------------

CLASSES = score(np.eye(3)[[0, 1, 1]], np.array([0, 1, 2]))
VALUES = Values(3, 0.5, 0.6, 1.25)


def converted(score: Any) -> Conversion:
    variant = Variant("int8", Path("m-int8.tflite"), 1500, score, 0.25, {"EXP": 2})
    refused = Variant("int16x8", Path("m-int16x8.tflite"), 1600, None, None, {}, "no kernel")
    source = Source(Path("m.keras"), "keras", "ab", 2000)
    return Conversion(source, "tensorflow 2", "d.npz", 3, 4.0, score, (variant, refused))


@pytest.mark.parametrize("found", [CLASSES, VALUES, None])
def test_a_conversion_as_a_table(found: Any) -> None:
    made = conversion.conversion_table(converted(found), {})
    cells = [list(column.cells) for column in made.columns]
    assert {len(each) for each in cells} == {3}
    assert cells[0][1] == "m-int8.tflite" and cells[-1][1] == "2 EXP"
    assert cells[2][1:] == ["0.25", ""]
    if found is not None:
        shown = {Classes: ["66.67 %", ""], Values: ["0.5", "1.25"]}[type(found)]
        assert [column[1] for column in cells[3:5]] == shown
    lines = conversion.conversion_lines(converted(found), "rpi4")
    assert "int16x8 was not run here: no kernel" in lines
    said = conversion.conversion_json(converted(found), {})
    assert said["variants"][0]["in_float"] == {"EXP": 2}


def evaluated(**changes: Any) -> Evaluation:
    here, there = np.eye(3)[[0, 1, 1]], np.eye(3)[[0, 1, 2]]
    labels = np.array([0, 1, 2])
    made = Evaluation(
        *("m.tflite", "rpi4", "litert", False, 3, "scores", "tflite-runtime 2.14.0"),
        score(there, labels),
        score(here, labels),
        likeness(here, there, labels, classes=True),
        0.5,
        ("null", "eins", "zwei"),
    )
    return dataclasses.replace(made, **changes)


def test_an_evaluation_names_classes_and_steps() -> None:
    lines = conversion.evaluation_lines(evaluated())
    assert "top-1 100.00 % (here: 66.67 %)" in lines
    assert "the same prediction as here: 2 of 3" in lines
    assert any("2 of 3; largest difference 1, 2 steps" in line for line in lines)
    assert not any("EMULATED" in line for line in lines)
    assert "EMULATED" in conversion.evaluation_lines(evaluated(emulated=True))[0]
    table = conversion.differing_table(evaluated())
    assert table is not None
    row = [next(iter(column.cells)) for column in table.columns]
    assert row == ["2", "zwei", "eins", "zwei", "1"]
    confusion = conversion.confusion_table(evaluated())
    assert confusion is not None and confusion.columns[3].header == "zwei"


def test_many_classes_are_pairs_and_no_matrix() -> None:
    found = score(np.eye(40)[[1, 1, 2]], np.array([0, 0, 2]))
    made = evaluated(score=found, score_here=found, labels=())
    assert conversion.confusion_table(made) is None
    assert "most confused: 0 taken for 1: 2" in conversion.evaluation_lines(made)


def test_values_and_no_labels() -> None:
    lines = conversion.evaluation_lines(evaluated(score=VALUES, score_here=VALUES))
    assert any("mean absolute error 0.5 (here: 0.5)" in line for line in lines)
    lines = conversion.evaluation_lines(evaluated(score=None, score_here=None))
    assert "no labels: agreement only" in lines


def layer(node: int, unequal: int, added: float) -> Layer:
    name = f"fused;layer_{node};"
    return Layer(node, "CONV_2D", name, "int8", 100, unequal, 0.5, 1.0, added, added)


def test_a_long_network_shows_what_adds_most_and_where_it_begins() -> None:
    layers = [layer(0, 0, 0.0), layer(1, 1, 1e-9), *(layer(n, 5, n / 100) for n in range(2, 60))]
    table = conversion.layers_table(Parting((0, 1), tuple(layers), 2))
    nodes = list(table.columns[0].cells)
    assert nodes[0] == "1" and nodes[-1] == "59" and len(nodes) == 25
    assert next(iter(table.columns[2].cells)) == "layer_1"
    lines = conversion.layers_lines(Parting((0, 1), tuple(layers), 2))
    assert lines[0].startswith("they part first at node 1, CONV_2D; node 59, CONV_2D, adds")
    assert "for 2 of 2 samples" in lines[1]
    equal = Parting((0,), (layer(0, 0, 0.0),), 0)
    assert "all results are equal" in conversion.layers_lines(equal)[0]
    assert conversion.evaluation_json(evaluated(), equal)["layers"]["as_model"] == 0
