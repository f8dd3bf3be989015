"""Which data fits which model, and what is said of data that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import dataset, model
from edge.dataset import Port
from edge.errors import UsageError
from edge.model import Quantization
from examples.digits import dataset as digits

IMAGE = Port("image", (1, 8, 8, 1), "float32")


def made(path: Path, **arrays: Any) -> dataset.Dataset:
    np.savez(path / "d.npz", **arrays)
    return dataset.load(path / "d.npz")


def images(count: int = 4) -> Any:
    return np.zeros((count, 8, 8, 1), np.float32)


def test_labels_are_found_by_their_usual_names(tmp_path: Path) -> None:
    for name in dataset.LABELS:
        data = made(tmp_path, image=images(), **{name: np.arange(4)})
        assert list(data.arrays) == ["image"]
        assert data.labels is not None and data.labels.tolist() == [0, 1, 2, 3]
    assert made(tmp_path, image=images()).labels is None


def test_labels_of_another_name_and_fewer_samples(tmp_path: Path) -> None:
    made(tmp_path, image=images(), digit=np.arange(4))
    data = dataset.load(tmp_path / "d.npz", "digit", limit=3)
    assert data.labels is not None and len(data) == len(data.labels) == 3
    with pytest.raises(UsageError, match=r"no array 'class' \(it has: image, digit\)"):
        dataset.load(tmp_path / "d.npz", "class")


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"image": images(0)}, "holds no samples"),
        ({"label": np.arange(3)}, "holds no samples"),
        ({"image": np.full((2, 8, 8, 1), np.nan)}, "no finite numbers"),
        ({"image": np.array(["a"])}, "no list of numbers"),
        ({"image": np.float32(1)}, "no list of numbers"),
    ],
)
def test_what_is_no_dataset(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made(tmp_path, **arrays)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        dataset.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match="can't be read"):
        dataset.load(tmp_path / "bad.npz")
    with pytest.raises(UsageError, match=r"comes as \.npz"):
        dataset.load(tmp_path / "d.csv")


def test_an_only_array_fits_an_only_input_whatever_its_name(tmp_path: Path) -> None:
    assert list(dataset.fit(made(tmp_path, x=images()), [IMAGE])) == ["image"]
    other = Port("mask", (1, 8, 8, 1), "float32")
    with pytest.raises(UsageError, match=r"no array 'image' .* \(it has: x\)"):
        dataset.fit(made(tmp_path, x=images()), [IMAGE, other])


def test_samples_of_another_shape(tmp_path: Path) -> None:
    data = made(tmp_path, image=np.zeros((4, 64), np.float32))
    with pytest.raises(UsageError, match=r"samples of 64 don't fit .*'image', which takes 8x8x1"):
        dataset.fit(data, [IMAGE])
    # What is open takes anything.
    dataset.fit(data, [Port("image", (1, -1), "float32")])


def test_different_numbers_of_samples(tmp_path: Path) -> None:
    data = made(tmp_path, image=images(4), label=np.arange(3))
    with pytest.raises(UsageError, match="different numbers of samples: image 4, the labels 3"):
        dataset.fit(data, [IMAGE])


def test_only_whole_batches(tmp_path: Path) -> None:
    data = made(tmp_path, image=images(5))
    assert len(dataset.fit(data, [Port("image", (2, 8, 8, 1), "float32")])["image"]) == 4
    with pytest.raises(UsageError, match="holds 5 samples, the model takes 8 at once"):
        dataset.fit(data, [Port("image", (8, 8, 8, 1), "float32")])


def test_types(tmp_path: Path) -> None:
    step = Quantization((0.5,), (3,), 0)
    real = np.array([[-100.0], [-0.3], [0.0], [1.0], [100.0]], np.float32)
    quantized = Port("x", (1, 1), "int8", step)
    fitted = dataset.fit(made(tmp_path, x=real), [quantized])["x"]
    assert fitted.dtype == np.int8
    assert fitted.ravel().tolist() == [-128, 2, 3, 5, 127]
    assert dataset.dequantized(fitted, step).ravel().tolist() == [-65.5, -0.5, 0.0, 1.0, 62.0]
    pixels = np.array([[7], [255]], np.uint8)
    as_real = dataset.fit(made(tmp_path, x=pixels), [Port("x", (1, 1), "float32")])["x"]
    assert as_real.dtype == np.float32 and as_real.ravel().tolist() == [7.0, 255.0]
    with pytest.raises(UsageError, match=r"uint8 does not fit .* int8; give real numbers"):
        dataset.fit(made(tmp_path, x=pixels), [quantized])
    with pytest.raises(UsageError, match=r"uint8 does not fit .* of int8$"):
        dataset.fit(made(tmp_path, x=pixels), [Port("x", (1, 1), "int8")])


def test_what_a_model_takes() -> None:
    (port,) = dataset.of_model(model.read(digits.FOLDER / "models/cnn-int8.tflite"))
    assert (port.name, port.shape, port.dtype) == ("image", (1, 8, 8, 1), "int8")
    assert port.quantization is not None
    held = dataset.load(digits.FOLDER / digits.HELDOUT_FILE)
    expected = next(m for m in digits.models() if m.name == "cnn-int8").encode(
        digits.load_heldout().images
    )
    assert np.array_equal(dataset.fit(held, [port])["image"], expected)
