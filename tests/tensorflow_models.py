"""The digits models for TensorFlow: the weights of the .tflite files in Keras's own form.

    python -m tests.tensorflow_models FOLDER     # in the environment `tensorflow`

makes FOLDER/mlp.keras, FOLDER/mlp/ (a SavedModel), and the same for cnn, from FOLDER/weights.npz.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

MODELS = Path(__file__).parents[1] / "examples/digits/models"
NAMES = ("mlp", "cnn")


def made() -> Path:
    """The folder with the models, made once and kept in the cache."""
    from edge import artifact, layout, venv

    key = artifact.hash_file(Path(__file__))[:16]
    folder = layout.cache_dir() / "tests" / f"tensorflow-models-{key}"
    with layout.exclusive(folder.parent, print):
        if not folder.is_dir():
            python = venv.environment("tensorflow", print).python
            with layout.published(folder) as part:
                np.savez(part / "weights.npz", **_weights())
                subprocess.run([python, Path(__file__), part], check=True, capture_output=True)
    return folder


def _weights() -> dict[str, Any]:
    """By model and order of its layers, as Keras wants them."""
    from edge import model

    found = {}
    for name in NAMES:
        path = MODELS / f"{name}-float32.tflite"
        arrays, layer = model.constants(path), 0
        for operator in model.read(path).subgraphs[0].operators:
            if operator.name not in ("CONV_2D", "FULLY_CONNECTED"):
                continue
            kernel, bias = (arrays[index] for index in operator.inputs[1:])
            found[f"{name}_{layer}_kernel"] = np.moveaxis(kernel, 0, -1)
            found[f"{name}_{layer}_bias"] = bias
            layer += 1
    return found


def _make(folder: Path) -> None:
    import importlib

    keras = importlib.import_module("keras")
    layers = keras.layers
    networks = {
        "mlp": [
            keras.Input((64,), name="pixels"),
            layers.Dense(64, activation="relu"),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        "cnn": [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ],
    }
    weights = np.load(folder / "weights.npz")
    for name, network in networks.items():
        model = keras.Sequential(network, name=name)
        for number, layer in enumerate(each for each in model.layers if each.weights):
            kinds = ("kernel", "bias")
            layer.set_weights([weights[f"{name}_{number}_{kind}"] for kind in kinds])
        model.save(folder / f"{name}.keras")
        model.export(folder / name, verbose=False)


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
