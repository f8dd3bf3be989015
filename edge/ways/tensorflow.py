"""edge_tensorflow: Keras and TensorFlow's own ways to call a model, each as an application would.

This file goes to where a Python has TensorFlow. A call takes NumPy arrays and gives NumPy arrays.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

# Read while TensorFlow is imported. Its own log would be thousands of lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
tf: Any = importlib.import_module("tensorflow")

__version__ = tf.__version__
_interpreter_wrapper = tf  # whose file is what executes models

_FIRST_OUTPUT = 1 << 16  # so that numbers of inputs and outputs differ
_DEFAULT = "serving_default"


class Interpreter:
    """Calls a model in one of the ways: keras-predict, keras-call, tf-function, tf-signature."""

    def __init__(
        self, model_path: str, num_threads: int, engine: str, signature: str | None, *_: object
    ) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(num_threads)
        tf.config.threading.set_inter_op_parallelism_threads(num_threads)
        self._key = signature or _DEFAULT
        if engine == "tf-signature":
            self._load_signature(model_path)
        else:
            if signature is not None:
                raise ValueError(f"a model of Keras has no signatures: leave '{signature}' away")
            self._load_keras(model_path, engine)
        self._inputs = [_details(i, *spec) for i, spec in enumerate(self._specs[0])]
        self._outputs = [_details(_FIRST_OUTPUT + i, *s) for i, s in enumerate(self._specs[1])]
        self._given: dict[int, Any] = {}
        self._results: list[Any] = []

    def _load_signature(self, path: str) -> None:
        self._loaded = tf.saved_model.load(path)  # kept: it owns the variables
        signatures = self._loaded.signatures
        if self._key not in signatures:
            known = ", ".join(f"'{key}'" for key in signatures)
            raise ValueError(f"there is no signature '{self._key}'; the model's are {known}")
        function = signatures[self._key]
        takes = function.structured_input_signature[1]
        names = list(takes)
        gives = function.structured_outputs
        self._specs = (
            [(name, takes[name].shape, takes[name].dtype.as_numpy_dtype) for name in names],
            [(name, gives[name].shape, gives[name].dtype.as_numpy_dtype) for name in gives],
        )
        constant = tf.constant

        def call() -> list[Any]:
            found = function(**{n: constant(self._given[i]) for i, n in enumerate(names)})
            return [found[name].numpy() for name in gives]

        self.call = call

    def _load_keras(self, path: str, engine: str) -> None:
        model = tf.keras.models.load_model(path, compile=False)
        self._specs = (
            [(each.name, each.shape, np.dtype(each.dtype).type) for each in model.inputs],
            [(each.name, each.shape, np.dtype(each.dtype).type) for each in model.outputs],
        )
        single = len(model.inputs) == 1

        def arguments() -> Any:
            return self._given[0] if single else list(self._given.values())

        if engine == "keras-predict":

            def call() -> list[Any]:
                return _listed(model.predict(arguments(), verbose=0))

        elif engine == "keras-call":

            def call() -> list[Any]:
                return [each.numpy() for each in _listed(model(arguments(), training=False))]

        else:
            function = tf.function(lambda x: model(x, training=False))
            constant = tf.constant

            def call() -> list[Any]:
                given = arguments()
                x = constant(given) if single else [constant(each) for each in given]
                return [each.numpy() for each in _listed(function(x))]

        self.call = call

    def get_signature_list(self) -> dict[str, Any]:
        return self._get_full_signature_list()

    def _get_full_signature_list(self) -> dict[str, Any]:
        sides = {"inputs": self._inputs, "outputs": self._outputs}
        return {self._key: {k: {d["name"]: d["index"] for d in v} for k, v in sides.items()}}

    def get_input_details(self) -> list[dict[str, Any]]:
        return [dict(each) for each in self._inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [dict(each) for each in self._outputs]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return self.get_input_details() + self.get_output_details()

    def resize_tensor_input(self, index: int, shape: Any) -> None:
        tensor = self._inputs[index]
        for axis, exported, wanted in zip(  # noqa: B905 (Python 3.9)
            range(len(shape)), tensor["exported"], shape
        ):
            if exported not in (-1, wanted):
                raise ValueError(f"axis {axis} of the model is {exported}")
        tensor["shape"] = np.array(shape)

    def allocate_tensors(self) -> None:
        """Nothing is allocated ahead."""

    def set_tensor(self, index: int, array: Any) -> None:
        self._given[index] = array

    def invoke(self) -> None:
        self._given = dict(sorted(self._given.items()))
        self._results = self.call()
        for tensor, array in zip(self._outputs, self._results):  # noqa: B905 (Python 3.9)
            tensor["shape"] = np.array(array.shape)

    def get_tensor(self, index: int) -> Any:
        return self._results[index - _FIRST_OUTPUT]


def _listed(found: Any) -> list[Any]:
    if isinstance(found, dict):
        return list(found.values())
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _details(index: int, name: str, shape: Any, dtype: Any) -> dict[str, Any]:
    """As TFLite's interpreter has them. The batch, open in every model, is 1 unless it is given."""
    exported = [-1 if axis is None else int(axis) for axis in shape]
    closed = [1 if axis == -1 else axis for axis in exported]
    return {
        "name": name,
        "index": index,
        "dtype": dtype,
        "shape": np.array(closed, np.int32),
        "shape_signature": np.array([*closed[:1], *exported[1:]], np.int32),
        "quantization": (0.0, 0),
        "exported": exported,
    }
