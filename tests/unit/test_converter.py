"""What of the conversion program needs no TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge import convert, converter
from examples.mobilenet import dataset as mobilenet


@pytest.mark.parametrize(
    "name, black, white",
    [
        ("raw", (0, 0, 0), (255, 255, 255)),
        ("unit", (0, 0, 0), (1, 1, 1)),
        ("signed", (-1, -1, -1), (1, 1, 1)),
        ("imagenet", (-2.118, -2.036, -1.804), (2.249, 2.429, 2.64)),
    ],
)
def test_what_becomes_of_pixels(name: str, black: Any, white: Any) -> None:
    pixels = np.array([[[0.0] * 3, [255.0] * 3]])
    made = converter.SCALES[name](pixels)
    assert made[0, 0] == pytest.approx(black, abs=2e-3)
    assert made[0, 1] == pytest.approx(white, abs=2e-3)


def test_both_sides_know_the_same_preprocessings() -> None:
    assert tuple(converter.SCALES) == convert.IMAGES
    assert convert._SUFFIXES["unit"] == converter.IMAGES


def test_only_whole_batches_are_given() -> None:
    data = {"a": np.arange(5), "b": np.arange(5) * 10}
    found = [batch["b"].tolist() for batch in converter._batches(data, 2)]
    assert found == [[0, 10], [20, 30]]


def test_what_tensorflow_says_of_an_operator_becomes_its_name() -> None:
    said = (
        "Could not translate MLIR to FlatBuffer. <unknown>:0: error: 'tf.Cholesky' op is neither a "
        "custom op nor a flex op\nOps: tf.Cholesky {device = ''}, tf.MatrixInverse"
    )
    assert "no operator for Cholesky, MatrixInverse: " in converter._unsupported(said, "float32")
    lists = converter._unsupported("tf.TensorListReserve, tf.While", "int8")
    assert lists.startswith("int8: a recurrent layer") and "--shape" in lists
    other = converter._unsupported("no room\nat all", "int8")
    assert other == "int8: TensorFlow can't convert it: no room"


def test_digits_scaled_up() -> None:
    random = np.random.default_rng(1)
    images = random.random((3, 8, 8, 1), np.float32)
    images[0] = 0.25
    large = mobilenet.upscaled(images)
    assert large.shape == (3, 48, 48, 3) and large.dtype == np.float32
    assert np.allclose(large[0], -0.5)
    assert np.array_equal(large[..., 0], large[..., 2])
    # Corners repeat, and the mean stays: nothing is moved or lost.
    assert large[1, 0, 0, 0] == pytest.approx(2 * images[1, 0, 0, 0] - 1)
    assert large[1].mean() == pytest.approx(2 * images[1].mean() - 1, abs=0.02)
