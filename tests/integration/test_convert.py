"""Conversions by the real TensorFlow, judged by this machine's interpreter."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge import convert, dataset, model, reference, venv
from edge.convert import Conversion, Request
from edge.errors import UsageError
from edge.options import Options
from edge.scoring import Classes
from examples.custom_op import models as custom_op
from examples.custom_op.export import SHAPE
from examples.digits import dataset as digits
from examples.mobilenet import dataset as mobilenet

KERAS = digits.FOLDER / "cnn.keras"


def request(source: Path, folder: Path, variants: str, **changes: Any) -> Request:
    return Request(
        convert.source(source), convert.variants(variants), folder, source.stem, **changes
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Every variant of the digits network."""
    calibration = convert.samples(digits.FOLDER / digits.CALIBRATION_FILE, None, 100)
    return convert.convert(
        request(
            KERAS,
            tmp_path_factory.mktemp("models") / "digits",
            "all",
            calibration=calibration,
            data=dataset.load(digits.FOLDER / digits.HELDOUT_FILE),
            preprocess="unit",
            labels=tuple("0123456789"),
        ),
        print,
    )


def test_each_variant_is_as_good_as_it_should_be(made: Conversion) -> None:
    assert made.samples == 360
    assert isinstance(made.score, Classes) and made.score.top1 > 0.98
    for variant in made.variants:
        assert isinstance(variant.score, Classes), variant.refusal
        assert abs(variant.score.top1 - made.score.top1) <= 0.01, variant.name
    sizes = {variant.name: variant.size_bytes for variant in made.variants}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    apart = {variant.name: variant.largest_difference or 0.0 for variant in made.variants}
    assert apart["float32"] < 1e-5 < apart["dynamic"] < 0.2
    assert apart["float16"] < apart["int8"] < 0.3


def test_a_file_says_where_it_comes_from_and_is_called_as_the_source_says(
    made: Conversion,
) -> None:
    names = {variant.path.name for variant in made.variants}
    folder = made.variants[0].path.parent
    assert {path.name for path in folder.iterdir()} == names
    for variant in made.variants:
        read = model.read(variant.path)
        assert read.about is not None
        assert read.about.variant == variant.name
        assert read.about.source_sha256 == made.source.sha256
        assert (read.about.preprocessing, read.about.labels) == ("unit", tuple("0123456789"))
        graph = read.subgraphs[0]
        ends = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
        assert [(t.name, t.dtype, t.shape) for t in ends] == [
            ("image", "float32", (1, 8, 8, 1)),
            ("scores", "float32", (1, 10)),
        ]
        assert variant.in_float == {}


def png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Grey, without filters."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_a_saved_model_calibrated_with_a_folder_of_images(tmp_path: Path) -> None:
    done = convert.export(convert.source(KERAS), tmp_path / "exported", print)
    assert done["inputs"] == {"image": [[None, 8, 8, 1], "float32"]}
    assert done["outputs"] == ["scores"]
    images = digits.load_calibration()[:50, ..., 0]
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        png(tmp_path / f"images/{number}.png", np.round(image * 255).astype(np.uint8))
    calibration = convert.samples(tmp_path / "images", "unit", 0)
    found = convert.convert(
        request(
            tmp_path / "exported",
            tmp_path,
            "int8",
            calibration=calibration,
            integer=True,
            batch=2,
            data=dataset.load(digits.FOLDER / digits.HELDOUT_FILE),
        ),
        print,
    )
    (port,) = dataset.of_model(model.read(found.variants[0].path))
    assert (port.name, port.shape, port.dtype) == ("image", (2, 8, 8, 1), "int8")
    # Pixels of 0 to 255 became 0 to 1, in 255 steps.
    assert port.quantization is not None
    assert port.quantization.scales[0] == pytest.approx(1 / 255, rel=0.01)
    assert isinstance(found.variants[0].score, Classes) and found.variants[0].score.top1 > 0.97


_MODELS = """
import sys
import tensorflow as tf

class Root(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 3, 3), tf.float32, name="matrix")])
    def root(self, matrix):
        return {"root": tf.linalg.cholesky(matrix)}

class Loudness(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, name="sound")])
    def loudness(self, sound):
        return {"loudness": tf.reduce_mean(tf.abs(sound), axis=1, keepdims=True)}

root, loudness = Root(), Loudness()
tf.saved_model.save(root, sys.argv[1] + "/root", signatures=root.root)
tf.saved_model.save(loudness, sys.argv[1] + "/loudness", signatures=loudness.loudness)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with an operator that TFLite has not, and one that listens."""
    folder = tmp_path_factory.mktemp("saved")
    python = venv.environment("tensorflow", print).python
    subprocess.run([python, "-I", "-c", _MODELS, folder], check=True, capture_output=True)
    return folder


def test_an_operator_that_tflite_has_not_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="float32: TFLite has no operator for Cholesky"):
        convert.convert(request(saved / "root", tmp_path / "out", "float32"), print)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)  # asked anew
    convert.convert(request(KERAS, tmp_path / "out", "float32"), print)
    assert list(place.iterdir()) == []


def test_a_custom_operator_from_tensorflow_to_its_kernel(tmp_path: Path) -> None:
    python = venv.environment("tensorflow", print).python
    subprocess.run(
        [python, "-m", "examples.custom_op.export", tmp_path / "leaky"],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
    )
    asked = request(tmp_path / "leaky", tmp_path, "float32", ops=str(custom_op.OPS))
    [variant] = convert.convert(asked, print).variants
    assert variant.largest_difference is not None and variant.largest_difference < 1e-6
    [node] = model.read(variant.path).subgraphs[0].operators
    assert node.custom == "LeakyThreshold"
    # The example's committed model is what the converter writes, options and all.
    x = np.linspace(-2, 2, math.prod(SHAPE), dtype="f4").reshape(SHAPE)
    options = Options(ops=str(custom_op.OPS))
    for path in (variant.path, custom_op.MODELS / "custom.tflite"):
        here = reference.compute(path, {"x": x}, options)
        np.testing.assert_array_equal(here.outputs["y"], custom_op.expected(x))
    with pytest.raises(UsageError, match="unresolved custom op"):
        reference.compute(variant.path, {"x": x})


def test_a_folder_of_sounds(saved: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    (tmp_path / "sounds").mkdir()
    for number in range(8):
        with wave.open(str(tmp_path / f"sounds/{number}.wav"), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(16000)
            # Shorter than the input: the rest is silence.
            file.writeframes(random.integers(-20000, 20000, (300, 2), np.int16).tobytes())
    calibration = convert.samples(tmp_path / "sounds", "waveform", 0)
    found = convert.convert(
        request(
            saved / "loudness",
            tmp_path,
            "int8",
            calibration=calibration,
            shapes=(("sound", (1, 400)),),
        ),
        print,
    )
    assert found.samples == 8
    assert found.variants[0].largest_difference is not None
    assert found.variants[0].largest_difference < 0.02 < found.range
    sound = np.zeros((1, 400), np.float32)
    here = reference.compute(found.variants[0].path, {"sound": sound})
    assert np.abs(here.outputs["loudness"]).max() < 0.01


def test_what_is_no_model_after_all(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(UsageError, match=r"Keras 3\..* can't load .*a\.keras"):
        convert.export(convert.source(path), tmp_path / "out", print)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.keras"]


def test_the_record_of_mobilenet_is_true_of_the_committed_files() -> None:
    folder = Path(__file__).parents[2] / "examples/mobilenet"
    record = json.loads((folder / "accuracies.json").read_text(encoding="utf-8"))
    assert record["source"]["sha256"] == convert.source(folder / "mobilenet.keras").sha256
    for entry in record["variants"]:
        about = model.read(folder.parents[1] / entry["path"]).about
        assert about is not None and about.source_sha256 == record["source"]["sha256"]
        assert entry["score"]["top1"] > 0.95
    entry = next(e for e in record["variants"] if e["name"] == "float32")
    heldout = digits.load_heldout()
    here = reference.compute(
        folder / "mobilenet-float32.tflite",
        {mobilenet.INPUT: mobilenet.upscaled(heldout.images)},
        keep=False,
    )
    (scores,) = here.outputs.values()
    right = float((scores.argmax(axis=1) == heldout.labels).mean())
    assert abs(right - entry["score"]["top1"]) <= 0.01
