"""This machine's own interpreters, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge import reference
from edge.errors import UsageError
from examples.digits import dataset
from examples.digits.dataset import DigitsModel
from tests.tflite_file import FULLY_CONNECTED, SOFTMAX, with_operator

MODELS = {model.name: model for model in dataset.models()}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def heldout(model: DigitsModel, count: int) -> reference.Arrays:
    return {model.input.name: model.encode(dataset.load_heldout().images[:count])}


def test_each_row_is_an_inference_of_its_own() -> None:
    model = MODELS["cnn-float32"]
    several = reference.compute(model.path, heldout(model, 3)).outputs["scores"]
    assert several.shape == (3, 10)
    for row in range(3):
        inputs = {"image": heldout(model, 3)["image"][row : row + 1]}
        np.testing.assert_array_equal(
            reference.compute(model.path, inputs).outputs["scores"][0], several[row]
        )


def test_the_same_question_is_answered_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    first = reference.compute(MODELS["mlp-int8"].path)

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(reference, "_compute_into", refuse)
    again = reference.compute(MODELS["mlp-int8"].path)
    np.testing.assert_array_equal(again.outputs["scores"], first.outputs["scores"])
    with pytest.raises(AssertionError, match="computed again"):
        reference.compute(MODELS["mlp-float32"].path)


def test_made_up_input_fills_the_range_and_is_always_the_same() -> None:
    inputs = reference.compute(MODELS["mlp-int8"].path).inputs["pixels"]
    assert inputs.dtype == np.int8
    assert inputs.min() < -100
    assert inputs.max() > 100
    np.testing.assert_array_equal(inputs, reference.random_input((1, 64), np.int8))


def test_a_model_too_new_for_one_interpreter_goes_to_the_next(tmp_path: Path) -> None:
    if "tflite-runtime" not in reference.interpreters():
        pytest.skip("tflite-runtime has no wheel for this Python: there is no older one to refuse")
    newer = tmp_path / "newer.tflite"
    model = MODELS["mlp-dynamic"]
    newer.write_bytes(with_operator(model.path.read_bytes(), FULLY_CONNECTED, version=12))
    found = reference.compute(newer, heldout(model, 8))
    assert found.interpreter.startswith("ai-edge-litert")
    same = reference.compute(model.path, heldout(model, 8))
    assert same.interpreter.startswith("tflite-runtime")
    np.testing.assert_allclose(found.outputs["scores"], same.outputs["scores"], atol=0.02)


def test_a_model_that_none_can_run_says_what_each_said(tmp_path: Path) -> None:
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(with_operator(MODELS["mlp-int8"].path.read_bytes(), SOFTMAX, code=200))
    with pytest.raises(UsageError) as error:
        reference.compute(odd)
    for package in reference.interpreters():
        assert f"{package} says" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_input_name_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"inputs are named image; '(imgae|image)'"):
        reference.compute(MODELS["cnn-float32"].path, {"imgae": np.zeros((1, 8, 8, 1))})


def test_any_tensor_name_can_be_saved(tmp_path: Path) -> None:
    arrays: reference.Arrays = {
        "file": np.arange(3),
        "serving_default_x:0": np.ones((2, 2), np.int8),
    }
    reference.save(tmp_path / "x.npz", arrays)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert set(found.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
