"""Train the digits models, convert each in four ways, record how well each does.

    python -m examples.digits.train              # into this folder
    python -m examples.digits.train --out DIR    # into another
    python -m examples.digits.train --check      # again, elsewhere, and compare accuracies

The models of the example are committed; this is for whoever doubts or changes them. It needs the
extra ``train``.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib
import json
import os
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from examples.digits import dataset
from examples.digits.dataset import DigitsModel, FloatArray, Heldout, LabelArray, TensorFacts

SEED = 20
HELDOUT_IMAGES = 360
CALIBRATION_IMAGES = 300
TOLERANCE = 0.01
QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")

MISSING_EXTRA = (
    "digits: training needs TensorFlow and scikit-learn ({name} is missing): "
    "pip install 'edge-tflite[train]' (in a checkout: pip install -e '.[train]')"
)


@dataclass(frozen=True)
class Family:
    """A network before conversion: how it is built, and the one input it takes."""

    name: str
    input_name: str
    image_shape: tuple[int, ...]
    layers: Callable[[ModuleType], list[Any]]
    epochs: int


@dataclass(frozen=True)
class Split:
    """The data set, parted: float32 ``[n, 8, 8, 1]`` in 0..1 and int64 ``[n]``."""

    images: FloatArray
    labels: LabelArray
    heldout: Heldout


@dataclass(frozen=True)
class Tools:
    """The two libraries of the extra, imported when they are needed and not before."""

    tensorflow: ModuleType
    datasets: ModuleType
    model_selection: ModuleType


def cnn_layers(layers: ModuleType) -> list[Any]:
    return [
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(10, activation="softmax", name="scores"),
    ]


def mlp_layers(layers: ModuleType) -> list[Any]:
    return [
        layers.Dense(64, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(32, activation="relu"),
        layers.Dense(10, activation="softmax", name="scores"),
    ]


# The inputs differ in name because they differ in shape: an array of heldout.npz under the name of
# a model's input is what that model takes.
FAMILIES = (
    Family("cnn", "image", (8, 8, 1), cnn_layers, epochs=40),
    Family("mlp", "pixels", (64,), mlp_layers, epochs=60),
)


def import_tools() -> Tools:
    """TensorFlow and scikit-learn, quiet and deterministic. Raises ImportError."""
    # Read while TensorFlow is being imported; later is too late.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    datasets = importlib.import_module("sklearn.datasets")
    model_selection = importlib.import_module("sklearn.model_selection")
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")
    # tf.lite.Interpreter announces its end at every construction. The release is pinned.
    warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
    tensorflow.config.experimental.enable_op_determinism()
    return Tools(tensorflow, datasets, model_selection)


def load_split(tools: Tools) -> Split:
    """The data set that scikit-learn carries, the same fifth of every digit held out."""
    digits = tools.datasets.load_digits()
    # Each pixel counts the set ones among 4x4 of a bitmap, hence 16.
    images = (digits.images / 16.0).astype(np.float32)[..., np.newaxis]
    labels = digits.target.astype(np.int64)
    images, heldout_images, labels, heldout_labels = tools.model_selection.train_test_split(
        images, labels, test_size=HELDOUT_IMAGES, stratify=labels, random_state=SEED
    )
    return Split(images, labels, Heldout(heldout_images, heldout_labels))


def train(tools: Tools, family: Family, split: Split) -> Any:
    """A trained Keras model. The held-out images take no part, not even to stop early."""
    keras = tools.tensorflow.keras
    # For each family anew: otherwise a change to the first would change the second.
    keras.utils.set_random_seed(SEED)
    network = keras.Sequential(
        [
            keras.layers.Input(family.image_shape, name=family.input_name),
            *family.layers(keras.layers),
        ],
        name=family.name,
    )
    network.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy")
    images = split.images.reshape(-1, *family.image_shape)
    network.fit(images, split.labels, batch_size=32, epochs=family.epochs, verbose=0)
    return network


def export(tools: Tools, network: Any, family: Family, folder: Path) -> None:
    """A SavedModel with the batch fixed to 1, and the names that users will see."""
    tf = tools.tensorflow
    archive = tf.keras.export.ExportArchive()
    archive.track(network)
    spec = tf.TensorSpec((1, *family.image_shape), tf.float32, name=family.input_name)
    archive.add_endpoint(
        "serving_default",
        lambda image: {"scores": network(image, training=False)},
        input_signature=[spec],
    )
    archive.write_out(str(folder), verbose=False)


def convert(
    tools: Tools, saved_model: Path, family: Family, quantization: str, calibration: FloatArray
) -> bytes:
    """A ``.tflite`` file's content. ``calibration`` is float32 ``[n, *image_shape]``."""
    tf = tools.tensorflow

    def representative() -> Iterator[list[FloatArray]]:
        for index in range(len(calibration)):
            yield [calibration[index : index + 1]]

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    if quantization != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # A scale per neuron makes FULLY_CONNECTED version 12 out of a dynamic range model's, which
        # runtimes up to 2.14 refuse to load; one scale per layer costs no accuracy here.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization == "int8":
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    content: bytes = converter.convert()
    interpreter = tf.lite.Interpreter(model_content=content)
    for details, name in (
        (interpreter.get_input_details(), family.input_name),
        (interpreter.get_output_details(), "scores"),
    ):
        content = rename_tensor(content, details[0]["name"], name)
    return content


def rename_tensor(content: bytes, old: str, new: str) -> bytes:
    """The same flatbuffer with one tensor renamed, in place, to a name no longer than the old one.

    The converter calls tensors ``serving_default_image:0`` and ``StatefulPartitionedCall_1:0``,
    and signatures, which keep the given names, are not in TensorFlow Lite's classic C interface.
    A string cut short moves nothing: the rest stays, byte for byte, as the converter wrote it.
    Raises ValueError if the new name is longer, or the old one is not found exactly once.
    """

    def stored(name: str) -> bytes:
        return struct.pack("<I", len(name)) + name.encode("ascii") + b"\0"

    before, after = stored(old), stored(new)
    if len(after) > len(before) or content.count(before) != 1:
        raise ValueError(f"cannot rename the tensor {old!r} to {new!r} in place")
    return content.replace(before, after.ljust(len(before), b"\0"))


def tensor_facts(details: dict[str, Any]) -> TensorFacts:
    """What the interpreter says about a tensor, without its own types."""
    scale, zero_point = details["quantization"]
    quantized = scale != 0.0
    return TensorFacts(
        name=str(details["name"]),
        dtype=np.dtype(details["dtype"]).name,
        shape=tuple(int(size) for size in details["shape"]),
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
    )


def measure(tools: Tools, name: str, path: Path, heldout: Heldout) -> DigitsModel:
    """The record of the file at ``path``: its hash, its tensors, its accuracy in TensorFlow."""
    content = path.read_bytes()
    interpreter = tools.tensorflow.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    model = DigitsModel(
        name=name,
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        accuracy=0.0,
        input=tensor_facts(taken),
        output=tensor_facts(given),
    )
    correct = 0
    encoded = model.encode(heldout.images)
    for index, label in enumerate(heldout.labels):
        interpreter.set_tensor(taken["index"], encoded[index : index + 1])
        interpreter.invoke()
        scores = model.decode(interpreter.get_tensor(given["index"]))
        correct += int(scores.argmax() == label)
    return dataclasses.replace(model, accuracy=correct / len(heldout.labels))


def produce(tools: Tools, out: Path) -> tuple[DigitsModel, ...]:
    """Everything that is committed for the example, written below ``out``."""
    split = load_split(tools)
    folder = out / dataset.MODELS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    heldout = split.heldout
    # Any: numpy 2 would otherwise hold the dictionary against savez's own keyword, a bool.
    arrays: dict[str, Any] = {
        family.input_name: heldout.images.reshape(-1, *family.image_shape) for family in FAMILIES
    }
    np.savez(out / dataset.HELDOUT_FILE, label=heldout.labels, **arrays)
    np.savez_compressed(out / dataset.CALIBRATION_FILE, image=split.images[:CALIBRATION_IMAGES])
    measured = []
    for family in FAMILIES:
        network = train(tools, family, split)
        calibration = split.images[:CALIBRATION_IMAGES].reshape(-1, *family.image_shape)
        bare = tools.tensorflow.keras.models.clone_model(network)  # no optimizer's state
        bare.set_weights(network.get_weights())
        bare.save(out / f"{family.name}.keras")
        with tempfile.TemporaryDirectory() as temporary:
            export(tools, network, family, Path(temporary))
            for quantization in QUANTIZATIONS:
                name = f"{family.name}-{quantization}"
                path = folder / f"{name}.tflite"
                path.write_bytes(convert(tools, Path(temporary), family, quantization, calibration))
                measured.append(measure(tools, name, path, heldout))
    (out / dataset.RECORD_FILE).write_text(record(tools, measured), encoding="utf-8")
    return tuple(measured)


def record(tools: Tools, measured: Sequence[DigitsModel]) -> str:
    """The text of ``accuracies.json``; ``dataset.models`` reads it."""
    entries = []
    for model in measured:
        entry = dataclasses.asdict(model)
        # The path follows from the name, and would be another on every machine.
        del entry["path"]
        entries.append(entry)
    whole = {
        "measured_with": f"tensorflow {tools.tensorflow.__version__}",
        "heldout_images": HELDOUT_IMAGES,
        "seed": SEED,
        "models": entries,
    }
    return json.dumps(whole, indent=2) + "\n"


def check(tools: Tools) -> int:
    """Train elsewhere and compare with what is committed; 1 if they are not the same in effect."""
    try:
        committed = {model.name: model.accuracy for model in dataset.models()}
        old = dataset.load_heldout()
    except FileNotFoundError as error:
        print(f"digits: nothing to check against: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        measured = {model.name: model.accuracy for model in produce(tools, out)}
        new = dataset.load_heldout(out)
    same_heldout = np.array_equal(old.images, new.images) and np.array_equal(old.labels, new.labels)
    print(f"{'model':<14} {'old':>8} {'new':>8} {'change':>8}")
    failed = 0
    for name in dict.fromkeys((*committed, *measured)):
        before, after = committed.get(name), measured.get(name)
        if before is None or after is None:
            print(f"{name:<14} {'only old' if after is None else 'only new':>17}")
            failed += 1
            continue
        # Rounded, since 0.01 apart is allowed and binary fractions put it on either side.
        apart = round(abs(after - before), 9) > TOLERANCE
        failed += apart
        mark = "  more than one point" if apart else ""
        print(f"{name:<14} {before:>8.2%} {after:>8.2%} {after - before:>+8.2%}{mark}")
    if not same_heldout:
        print("the held-out images are not the committed ones: the columns cannot be compared")
    return 1 if failed or not same_heldout else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.digits.train", description="Train and convert the digits models."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--out",
        type=Path,
        default=dataset.FOLDER,
        metavar="DIR",
        help="write models/, heldout.npz and accuracies.json here (default: the example's folder)",
    )
    where.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if an accuracy is more than one point off the committed one",
    )
    options = parser.parse_args(arguments)
    try:
        tools = import_tools()
    except ImportError as error:
        print(MISSING_EXTRA.format(name=error.name or error), file=sys.stderr)
        return 2
    if options.check:
        return check(tools)
    print(f"{'model':<14} {'accuracy':>8} {'bytes':>8}")
    for model in produce(tools, options.out):
        print(f"{model.name:<14} {model.accuracy:>8.2%} {model.size_bytes:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
