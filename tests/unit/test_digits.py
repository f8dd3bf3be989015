"""The committed digits example: its files are what the record says, and the numpy side is right."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.digits import dataset, train
from examples.digits.dataset import DigitsModel, TensorFacts

NAMES = tuple(
    f"{family}-{quantization}"
    for family in ("cnn", "mlp")
    for quantization in ("float32", "float16", "dynamic", "int8")
)
MODELS = {model.name: model for model in dataset.models()}
FLOATING = [model for model in MODELS.values() if model.input.scale is None]
QUANTIZED = [model for model in MODELS.values() if model.input.scale is not None]


def by_name(model: DigitsModel) -> str:
    return model.name


def test_record_and_folder_hold_the_same_eight_models() -> None:
    files = {path.name for path in (dataset.FOLDER / dataset.MODELS_FOLDER).iterdir()}
    assert tuple(MODELS) == NAMES
    assert files == {f"{name}.tflite" for name in NAMES}


@pytest.mark.parametrize("model", MODELS.values(), ids=by_name)
def test_file_is_the_recorded_one(model: DigitsModel) -> None:
    content = model.path.read_bytes()
    assert len(content) == model.size_bytes
    assert hashlib.sha256(content).hexdigest() == model.sha256
    assert content[4:8] == b"TFL3"


@pytest.mark.parametrize("model", MODELS.values(), ids=by_name)
def test_tensor_names_in_the_file_are_the_recorded_ones(model: DigitsModel) -> None:
    content = model.path.read_bytes()
    for tensor in (model.input, model.output):
        stored = len(tensor.name).to_bytes(4, "little") + tensor.name.encode() + b"\0"
        assert stored in content
    # What the converter had called them: a signature's own names alone would satisfy the above.
    assert b"serving_default_" not in content
    assert b"PartitionedCall" not in content


@pytest.mark.parametrize("model", MODELS.values(), ids=by_name)
def test_model_is_as_accurate_as_the_example_promises(model: DigitsModel) -> None:
    floor = 0.97 if model.name.startswith("cnn") else 0.95
    assert floor <= model.accuracy <= 1.0
    # A share of 360 images, not a number typed in.
    assert model.accuracy * 360 == pytest.approx(round(model.accuracy * 360))


def test_int8_models_are_quantized_at_both_ends_and_the_others_at_neither() -> None:
    assert {model.name for model in QUANTIZED} == {"cnn-int8", "mlp-int8"}
    assert {model.output.dtype for model in QUANTIZED} == {"int8"}
    assert {tensor.dtype for m in FLOATING for tensor in (m.input, m.output)} == {"float32"}


def test_heldout_images_are_360_greyscale_images_in_0_to_1() -> None:
    heldout = dataset.load_heldout()
    assert heldout.images.shape == (360, 8, 8, 1)
    assert heldout.images.dtype == np.float32
    assert (float(heldout.images.min()), float(heldout.images.max())) == (0.0, 1.0)
    # Real data: each pixel is a count out of 16, and no image occurs twice.
    assert np.array_equal(heldout.images * 16, np.round(heldout.images * 16))
    assert len(np.unique(heldout.images.reshape(360, 64), axis=0)) == 360


def test_heldout_labels_hold_a_fifth_of_every_digit() -> None:
    labels = dataset.load_heldout().labels
    assert labels.shape == (360,)
    assert labels.dtype == np.int64
    digits, counts = np.unique(labels, return_counts=True)
    assert digits.tolist() == list(range(10))
    # The whole data set has 174 to 183 of each.
    assert counts.min() >= 35
    assert counts.max() <= 37


def test_heldout_labels_belong_to_their_images() -> None:
    heldout = dataset.load_heldout()
    flat = heldout.images.reshape(360, 64)
    means = np.stack([flat[heldout.labels == digit].mean(axis=0) for digit in range(10)])
    distances = ((flat[:, None, :] - means[None]) ** 2).sum(axis=2)
    # The nearest mean image finds nine of ten; with labels out of order it would find one of ten.
    assert (distances.argmin(axis=1) == heldout.labels).mean() > 0.85


def test_heldout_arrays_cannot_be_changed_by_accident() -> None:
    heldout = dataset.load_heldout()
    with pytest.raises(ValueError, match="read-only"):
        heldout.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        heldout.labels[0] = 0


def test_heldout_file_has_an_array_for_each_input_name_uncompressed() -> None:
    path = dataset.FOLDER / dataset.HELDOUT_FILE
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    heldout = dataset.load_heldout()
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays) == {"image", "pixels", "label"}
        for model in FLOATING:
            array = arrays[model.input.name]
            assert array[:1].shape == model.input.shape
            assert np.array_equal(array, model.encode(heldout.images))


@pytest.mark.parametrize("model", MODELS.values(), ids=by_name)
def test_encode_gives_one_input_per_image(model: DigitsModel) -> None:
    images = dataset.load_heldout().images
    encoded = model.encode(images)
    assert encoded.dtype == np.dtype(model.input.dtype)
    assert encoded.shape == (360, *model.input.shape[1:])
    assert np.array_equal(encoded, model.encode(images.reshape(360, 64).astype(np.float64)))


@pytest.mark.parametrize("model", QUANTIZED, ids=by_name)
def test_int8_encode_loses_no_more_than_half_a_step(model: DigitsModel) -> None:
    images = dataset.load_heldout().images
    scale = model.input.scale
    assert scale is not None
    restored = model.input.dequantize(model.encode(images)).reshape(images.shape)
    # Half a step and a hair for float32. All of 0..1 must be in range, so nothing is clipped here.
    assert np.abs(restored - images).max() <= scale * 0.501


@pytest.mark.parametrize("model", QUANTIZED, ids=by_name)
def test_int8_encode_clips_what_the_type_cannot_hold(model: DigitsModel) -> None:
    images = np.stack([np.full((8, 8, 1), value, np.float32) for value in (-9.0, 9.0)])
    encoded = model.encode(images)
    assert (encoded[0] == -128).all()
    assert (encoded[1] == 127).all()


def test_quantization_follows_the_formula() -> None:
    tensor = TensorFacts("t", "int8", (1, 4), scale=0.5, zero_point=10)
    stored = np.array([-128, 9, 10, 127], np.int8)
    real = np.array([-69.0, -0.5, 0.0, 58.5], np.float32)
    assert tensor.dequantize(stored).tolist() == real.tolist()
    assert tensor.quantize(real).tolist() == stored.tolist()


@pytest.mark.parametrize("model", QUANTIZED, ids=by_name)
def test_int8_decode_spans_the_probabilities(model: DigitsModel) -> None:
    raw = np.full((2, 10), -128, np.int8)
    raw[0, 3] = 127
    scores = model.decode(raw)
    assert scores.dtype == np.float32
    assert scores.shape == (2, 10)
    assert scores[0, 3] == pytest.approx(1.0, abs=1 / 128)
    assert (scores[1] == 0.0).all()
    assert scores[0].argmax() == 3


@pytest.mark.parametrize("model", FLOATING, ids=by_name)
def test_float_decode_changes_nothing(model: DigitsModel) -> None:
    raw = np.linspace(0, 1, 10, dtype=np.float32)[np.newaxis]
    assert np.array_equal(model.decode(raw), raw)


def test_encode_refuses_integers_and_other_sizes() -> None:
    model = MODELS["cnn-float32"]
    counts: Any = np.zeros((1, 8, 8, 1), np.uint8)
    with pytest.raises(ValueError, match=r"must be floats in 0\.\.1, not uint8"):
        model.encode(counts)
    for shape in ((1, 8, 7, 1), (8,), (64,)):
        with pytest.raises(ValueError, match=r"do not fit \[n, 8, 8, 1\]"):
            model.encode(np.zeros(shape, np.float32))


def test_decode_refuses_another_type_and_another_length() -> None:
    model = MODELS["mlp-int8"]
    with pytest.raises(ValueError, match="dtype is int8, not float32"):
        model.decode(np.zeros((1, 10), np.float32))
    with pytest.raises(ValueError, match="does not end in 10 scores"):
        model.decode(np.zeros((1, 9), np.int8))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [("int8", None, 0), ("int8", 0.1, None), ("float32", 0.1, None), ("float32", None, 0)],
)
def test_half_a_quantization_is_refused(
    dtype: str, scale: float | None, zero_point: int | None
) -> None:
    with pytest.raises(ValueError, match="integers need both, floats take neither"):
        TensorFacts("t", dtype, (1,), scale, zero_point)


def test_another_folder_is_read_instead(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dataset.models(tmp_path)
    with pytest.raises(FileNotFoundError):
        dataset.load_heldout(tmp_path)
    record = json.loads((dataset.FOLDER / dataset.RECORD_FILE).read_text(encoding="utf-8"))
    record["models"] = record["models"][:1]
    (tmp_path / dataset.RECORD_FILE).write_text(json.dumps(record), encoding="utf-8")
    shutil.copy(dataset.FOLDER / dataset.HELDOUT_FILE, tmp_path)
    path = tmp_path / "models" / "cnn-float32.tflite"
    assert dataset.models(tmp_path) == (dataclasses.replace(MODELS["cnn-float32"], path=path),)
    assert len(dataset.load_heldout(tmp_path).labels) == 360


@pytest.mark.parametrize("missing", ["tensorflow", "sklearn"])
@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_training_without_the_extra_says_how_to_get_it(
    missing: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def import_module(name: str) -> None:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    # import_tools sets them for TensorFlow; named here, they are put back after the test.
    for variable in ("TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(variable, "")
    with monkeypatch.context() as patched:
        patched.setattr(importlib, "import_module", import_module)
        assert train.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert missing in printed.err
    assert "pip install 'edge-tflite[train]'" in printed.err


@pytest.mark.parametrize(("change", "code"), [(0.0, 0), (-0.01, 0), (0.01, 0), (-0.0101, 1)])
def test_check_allows_one_point(
    change: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_check(monkeypatch, change) == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(NAMES)
    assert [line.split()[0] for line in lines if "more than one point" in line] == (
        ["mlp-int8"] if code else []
    )


def test_check_fails_on_other_heldout_images_and_on_a_missing_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_check(monkeypatch, 0.0, shift=1) == 1
    assert "held-out images are not the committed ones" in capsys.readouterr().out
    assert run_check(monkeypatch, None) == 1
    assert "only old" in capsys.readouterr().out


def run_check(monkeypatch: pytest.MonkeyPatch, change: float | None, shift: int = 0) -> int:
    """``train.check`` with training replaced: the last model changed (or left out if None)."""
    last = MODELS["mlp-int8"]
    produced = [*MODELS.values()][:-1]
    if change is not None:
        produced.append(dataclasses.replace(last, accuracy=last.accuracy + change))

    def produce(tools: Any, out: Path) -> tuple[DigitsModel, ...]:
        heldout = dataset.load_heldout()
        images = np.roll(heldout.images, shift, axis=0)
        np.savez(out / dataset.HELDOUT_FILE, image=images, label=heldout.labels)
        return tuple(produced)

    monkeypatch.setattr(train, "produce", produce)
    tools: Any = None
    return train.check(tools)


def test_a_tensor_is_renamed_in_place() -> None:
    content = b"head" + b"\x07\0\0\0long:00\0" + b"tail"
    renamed = train.rename_tensor(content, "long:00", "new")
    assert renamed == b"head" + b"\x03\0\0\0new\0\0\0\0\0" + b"tail"
    for old, new in (("absent", "new"), ("long:00", "a longer name")):
        with pytest.raises(ValueError, match="cannot rename"):
            train.rename_tensor(content, old, new)
    with pytest.raises(ValueError, match="cannot rename"):
        train.rename_tensor(content * 2, "long:00", "new")
