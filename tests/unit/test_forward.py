"""A forward pass in NumPy, written from a .tflite."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import forward, tiny
from edge.errors import UsageError
from edge.ways import numpy as kernels

MODELS = Path(__file__).parents[2] / "examples/digits/models"


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The written function, made ready."""
    monkeypatch.setitem(sys.modules, "edge_numpy", kernels)
    code, data = forward.write(path, path.name, "0" * 64)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace["make"](data)


def test_one_line_is_written_for_each_operator_of_a_model() -> None:
    code, data = forward.write(MODELS / "cnn-float32.tflite", "cnn-float32.tflite", "0" * 64)
    body = code.partition("def forward(t0):")[2]
    names = ["k.conv_2d(", "k.conv_2d(", "k.max_pool_2d(", ".reshape(", "k.fully_connected("]
    lines = [line for line in body.splitlines() if " = " in line]
    assert len(lines) == 6
    for name, line in zip([*names, "k.softmax("], lines, strict=True):
        assert name in line
    assert sum(array.size for array in data.values()) > 5000


@pytest.mark.parametrize("name", ["mlp-float32", "mlp-float16", "mlp-dynamic", "mlp-int8"])
def test_a_written_function_takes_any_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load(MODELS / f"{name}.tflite", monkeypatch)
    x = np.random.default_rng(1).random((3, 64), np.float32)
    x = (255 * x - 128).astype(np.int8) if name == "mlp-int8" else x
    (together,) = run(x)
    singly = np.concatenate([run(x[i : i + 1])[0] for i in range(3)])
    assert np.allclose(together, singly, atol=1e-5)


def test_an_operator_that_numpy_has_not_is_refused_by_name_and_node(tmp_path: Path) -> None:
    path = tmp_path / "branches.tflite"
    path.write_bytes(tiny.branches())
    with pytest.raises(UsageError, match=r"branches.tflite: engine numpy can't run node 3, DIV"):
        forward.write(path, path.name, "0" * 64)


def test_a_type_that_numpy_has_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "int16.tflite"
    path.write_bytes(tiny.elementwise("int16"))
    with pytest.raises(UsageError, match=r"node 0, ADD: 'x' is quantized to int16"):
        forward.write(path, path.name, "0" * 64)


def test_a_scale_becomes_31_bits_and_a_power_of_two() -> None:
    assert forward.fixed_point(0.5) == (1 << 30, 0)
    assert forward.fixed_point(0.75) == (3 << 29, 0)
    assert forward.fixed_point(6.0) == (3 << 29, 3)
    assert forward.fixed_point(1 - 2**-40) == (1 << 30, 1)
    assert forward.fixed_point(2.0**-40) == (0, 0)


@pytest.mark.parametrize("real", [0.3, 0.0017, 1.4, 2.0**-20])
def test_sums_are_rescaled_as_the_reference_kernels_do_it(real: float) -> None:
    multiplier, shift = forward.fixed_point(real)
    sums = np.random.default_rng(2).integers(-(2**26), 2**26, 4000)
    got = kernels.rescaled(sums, kernels.fixed_point(multiplier, shift))
    assert got.tolist() == [_by_hand(int(x), multiplier, shift) for x in sums]


def _by_hand(x: int, multiplier: int, shift: int) -> int:
    """common.h's MultiplyByQuantizedMultiplier, in whole numbers of any size."""
    product = (x << max(shift, 0)) * multiplier
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = math.trunc((product + nudge) / 2**31) if abs(product) < 2**52 else 0
    if abs(product) >= 2**52:
        high = abs(product + nudge) >> 31
        high = high if product + nudge >= 0 else -high
    right = max(-shift, 0)
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> right) + (1 if (high & mask) > threshold else 0)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_the_sum_over_its_window(same: bool, stride: int) -> None:
    random = np.random.default_rng(3)
    x = random.integers(-5, 5, (2, 7, 6, 3)).astype(np.float32)
    w = random.integers(-5, 5, (4, 3, 2, 3)).astype(np.float32)
    got = kernels.conv_2d(
        *(x, kernels.matrix(w), None, (3, 2), (stride, stride), (1, 1), same, None, None)
    )
    down = kernels.before_and_after(7, 3, stride, 1) if same else (0, 0)
    right = kernels.before_and_after(6, 2, stride, 1) if same else (0, 0)
    wide = np.pad(x, ((0, 0), down, right, (0, 0)))
    for row in range(got.shape[1]):
        for column in range(got.shape[2]):
            top, left = row * stride, column * stride
            patch = wide[:, top : top + 3, left : left + 2]
            want = np.einsum("nhwc,ohwc->no", patch, w)
            assert np.array_equal(got[:, row, column], want)


def test_padding_is_not_counted_in_an_average() -> None:
    x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32).reshape(1, 3, 3, 1)
    y = kernels.average_pool_2d(x, (2, 2), (2, 2), True, None, None)
    assert y.ravel().tolist() == [3.0, 4.5, 7.5, 9.0]


def test_weights_are_held_by_floats_wide_enough_for_each_sum() -> None:
    weights = np.full((2, 600), 127, np.int8)
    zeros = np.array([0])
    assert kernels.exact_matrix(weights[:, :500], zeros, 500).dtype == np.float32
    assert kernels.exact_matrix(weights, zeros, 600).dtype == np.float64
