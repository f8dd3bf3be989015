"""A program of its own, for the TensorFlow environment: Keras file or SavedModel -> .tflite files.

It imports nothing of edge. One JSON object comes as its only argument; it answers by lines of JSON
on stdout: ``{"progress": text}`` while it works; once ``{"inputs": …, "outputs": …}``, after which
it reads one line, the files of samples that fit them; and last ``{"done": …}`` or
``{"refused": why}``, where the user can mend it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Read while TensorFlow is being imported; later is too late.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
SCALES: dict[str, Callable[[Any], Any]] = {
    "raw": lambda pixels: pixels,
    "unit": lambda pixels: pixels / 255,
    "signed": lambda pixels: pixels / 127.5 - 1,
    # Mean and deviation of ImageNet's channels, red first, as torchvision documents them.
    "imagenet": lambda pixels: (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225),
}
"""What becomes of pixels, 0 to 255."""
DEFAULT_SIGNATURE = "serving_default"

_answers: Any = None
"""What stdout was; the libraries chatter there too."""


class Refusal(Exception):
    """The user's mistake, in one line."""


def say(**words: Any) -> None:
    _answers.write(json.dumps(words) + "\n")
    _answers.flush()


def main() -> None:
    global _answers
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.argv[1])
    try:
        say(progress="starting TensorFlow")
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        say(done={"export": export, "convert": convert}[request["verb"]](tf, request))
    except Refusal as refusal:
        say(refused=str(refusal))


# --- from the source to one signature --------------------------------------------------------


def export(tf: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The SavedModel of a Keras file, with its batch left open."""
    return _export(tf, _keras(tf, request["source"]), request["output"])


def _keras(tf: Any, source: str) -> Any:
    say(progress=f"loading {Path(source).name}")
    try:
        model = tf.keras.models.load_model(source, compile=False)
    except Exception as error:
        raise Refusal(
            f"Keras {tf.keras.__version__} can't load {source}: {_line(error)}; if it has classes "
            "of your own, write a SavedModel by model.export(folder), and give the folder"
        ) from None
    try:
        if not model.inputs or not model.outputs:
            raise ValueError
    except (AttributeError, ValueError):
        raise Refusal(
            f"{source} does not say what it takes: a subclassed or unbuilt model; write a "
            "SavedModel of it by model.export(folder), and give the folder"
        ) from None
    return model


def _export(
    tf: Any, model: Any, folder: str, request: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write a SavedModel; with a request, of its shapes: layers then know them from the start."""
    specs = _settled(tf, [(_clean(tensor.name), tensor) for tensor in model.inputs], request)
    # A Sequential does not say, but has one output, of its last layer.
    said = getattr(model, "output_names", None) or [model.layers[-1].name]
    names = [_clean(name) for name in said]
    if len(set(names)) != len(model.outputs):
        names = [f"output_{number}" for number in range(len(model.outputs))]

    def serve(*inputs: Any) -> dict[str, Any]:
        given = list(inputs) if len(inputs) > 1 else inputs[0]
        return dict(zip(names, tf.nest.flatten(model(given, training=False)), strict=True))

    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(DEFAULT_SIGNATURE, serve, input_signature=specs)
    archive.write_out(folder, verbose=False)
    return {
        "signature": DEFAULT_SIGNATURE,
        "inputs": {spec.name: [list(spec.shape), spec.dtype.name] for spec in specs},
        "outputs": names,
        "made_by": f"tensorflow {tf.__version__}, keras {tf.keras.__version__}",
    }


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _signature(tf: Any, folder: str, key: str | None) -> tuple[Any, Any]:
    """A SavedModel, which must be kept alive, and one function of it."""
    try:
        loaded = tf.saved_model.load(folder)
    except Exception as error:
        raise Refusal(f"{folder} is no SavedModel: {_line(error)}") from None
    keys = list(loaded.signatures)
    chosen = key or (keys[0] if len(keys) == 1 else DEFAULT_SIGNATURE)
    if chosen not in keys:
        raise Refusal(f"{folder} has no signature {chosen!r} (it has: {', '.join(keys) or 'none'})")
    return loaded, loaded.signatures[chosen]


def _fixed(
    tf: Any, loaded: Any, function: Any, request: dict[str, Any], folder: str
) -> dict[str, Any]:
    """Save one signature again, with the wanted shapes, and its first axes set if still open."""
    given: dict[str, Any] = dict(function.structured_input_signature[1])
    specs = {each.name: each for each in _settled(tf, list(given.items()), request)}
    names = list(specs)
    module = tf.Module()
    module.source = loaded
    module.call = tf.function(
        lambda *arrays: function(**dict(zip(names, arrays, strict=True))),
        input_signature=list(specs.values()),
    )
    tf.saved_model.save(module, folder, signatures={DEFAULT_SIGNATURE: module.call})
    return specs


def _settled(tf: Any, inputs: list[tuple[str, Any]], request: dict[str, Any] | None) -> list[Any]:
    """Specifications of inputs, with the axes set that the request sets."""
    shapes, batch = (dict(request["shapes"]), request["batch"]) if request else ({}, 0)
    names = [name for name, _ in inputs]
    if unknown := sorted(set(shapes) - set(names)):
        raise Refusal(f"--shape: no input {unknown[0]!r} (there are: {', '.join(names)})")
    made = []
    for name, tensor in inputs:
        open_shape = tf.TensorShape(tensor.shape)
        if open_shape.rank is None:
            raise Refusal(f"input {name!r} has no known number of axes, which TFLite needs")
        shape = list(open_shape)
        if batch and shape and shape[0] is None:
            shape[0] = batch
        if name in shapes:
            if not open_shape.is_compatible_with(shapes[name]):
                raise Refusal(
                    f"--shape {name}={_shape(shapes[name])}: the source takes {_shape(open_shape)}"
                )
            shape = shapes[name]
        made.append(tf.TensorSpec(shape, tensor.dtype, name=name))
    return made


# --- samples -----------------------------------------------------------------------------------


def _samples(tf: Any, files: dict[str, Any], specs: dict[str, Any]) -> dict[str, Any]:
    """Arrays by input name: out of an .npz that fits, or out of a folder by a preprocessing."""
    import numpy as np

    if "file" in files:
        with np.load(files["file"], allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    ((name, spec),) = specs.items() if len(specs) == 1 else (("", None),)
    if spec is None:
        raise Refusal("a folder gives samples for one input, this model has several: use an .npz")
    read = _wave if files["preprocess"] == "waveform" else _image
    say(progress=f"reading {len(files['paths'])} files of {files['folder']}")
    made = []
    for path in files["paths"]:
        try:
            made.append(read(tf, path, spec, files["preprocess"]))
        except Refusal:
            raise
        except Exception as error:
            raise Refusal(f"{path} can't be read: {_line(error)}") from None
    return {name: np.stack(made).astype(spec.dtype.as_numpy_dtype)}


def _image(tf: Any, path: str, spec: Any, scale: str) -> Any:
    shape = list(spec.shape)
    if len(shape) != 4 or None in shape[1:] or shape[3] not in (1, 3):
        raise Refusal(
            f"images don't fit an input of shape {_shape(shape)}: it must be batch, height, width "
            "and 1 or 3 channels; give an .npz"
        )
    if scale == "imagenet" and shape[3] != 3:
        raise Refusal("imagenet is for three channels, this model takes one: use unit or signed")
    pixels = tf.io.decode_image(tf.io.read_file(path), channels=shape[3], expand_animations=False)
    return SCALES[scale](tf.image.resize(pixels, shape[1:3]).numpy())


def _wave(tf: Any, path: str, spec: Any, _: str) -> Any:
    import numpy as np

    shape = list(spec.shape)
    length = shape[1] if len(shape) > 1 else None
    if length is None or shape[2:] not in ([], [1]):
        raise Refusal(
            f"a waveform does not fit an input of shape {_shape(shape)}: it must be batch and "
            "samples; give an .npz"
        )
    sound, _rate = tf.audio.decode_wav(tf.io.read_file(path))
    mono = sound.numpy().mean(axis=1)[:length]
    return np.pad(mono, (0, length - len(mono))).reshape(shape[1:])


def _shape(shape: Any) -> str:
    return "x".join("?" if axis is None else str(axis) for axis in shape)


# --- conversion ----------------------------------------------------------------------------------


def convert(tf: Any, request: dict[str, Any]) -> dict[str, Any]:
    """One .tflite file a variant, and what the source itself makes of the data."""
    import numpy as np

    work = Path(request["work"])
    source = request["source"]
    if request["kind"] == "keras":
        folder = str(work / "exported")
        _export(tf, _keras(tf, source), folder, request)
        source = folder
    loaded, function = _signature(tf, source, request["signature"])
    fixed = str(work / "fixed")
    specs = _fixed(tf, loaded, function, request, fixed)
    say(
        inputs={name: [list(spec.shape), spec.dtype.name] for name, spec in specs.items()},
        outputs={
            name: [None if spec.shape.rank is None else list(spec.shape), spec.dtype.name]
            for name, spec in function.structured_outputs.items()
        },
    )
    answer = json.loads(sys.stdin.readline())
    step = max((spec.shape[0] or 1 for spec in specs.values() if spec.shape.rank), default=1)
    calibration = None
    if answer["calibration"] is not None:
        calibration = _samples(tf, answer["calibration"], specs)
    if answer["data"] is None and calibration is not None:
        np.savez(work / "data.npz", **calibration)
    elif answer["data"] is not None:
        np.savez(work / "data.npz", **_samples(tf, answer["data"], specs))
    if (work / "data.npz").exists():
        say(progress="running the source on the data")
        with np.load(work / "data.npz") as archive:
            data = {name: archive[name] for name in archive.files}
        _, fixed_function = _signature(tf, fixed, DEFAULT_SIGNATURE)
        np.savez(work / "outputs.npz", **_run(tf, fixed_function, data, step))
    for variant in request["variants"]:
        say(progress=f"converting to {variant}")
        content = _converted(tf, fixed, variant, calibration, step, request)
        (work / f"{variant}.tflite").write_bytes(content)
    return {"made_by": f"tensorflow {tf.__version__}, keras {tf.keras.__version__}"}


def _batches(data: dict[str, Any], step: int) -> Iterator[dict[str, Any]]:
    """Whole ones only: what a fixed batch takes."""
    count = min(len(array) for array in data.values())
    for start in range(0, count - step + 1, step):
        yield {name: array[start : start + step] for name, array in data.items()}


def _run(tf: Any, function: Any, data: dict[str, Any], step: int) -> dict[str, Any]:
    import numpy as np

    parts: dict[str, list[Any]] = {}
    for batch in _batches(data, step):
        for name, tensor in function(**{k: tf.constant(v) for k, v in batch.items()}).items():
            parts.setdefault(name, []).append(tensor.numpy())
    return {name: np.concatenate(each) for name, each in parts.items()}


def _converted(
    tf: Any,
    folder: str,
    variant: str,
    calibration: dict[str, Any] | None,
    step: int,
    request: dict[str, Any],
) -> bytes:
    ops = tf.lite.OpsSet
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[DEFAULT_SIGNATURE])
    converter.allow_custom_ops = request["custom"]
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # A scale per neuron makes FULLY_CONNECTED version 12, which runtimes up to 2.14 refuse.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if variant in ("int8", "int16x8"):
        converter.representative_dataset = lambda: _batches(calibration or {}, step)
        quantized, kind = {
            "int8": (ops.TFLITE_BUILTINS_INT8, tf.int8),
            "int16x8": (
                ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
                tf.int16,
            ),
        }[variant]
        # What has no quantized kernel stays in float; the report says what.
        converter.target_spec.supported_ops = [quantized, ops.TFLITE_BUILTINS]
        if request["io"] == "integer":
            converter.inference_input_type = converter.inference_output_type = kind
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return bytes(converter.convert())
    except Exception as error:
        raise Refusal(_unsupported(str(error), variant)) from None


def _unsupported(text: str, variant: str) -> str:
    found = sorted({name for name in re.findall(r"\btf\.([A-Z]\w+)", text)})
    if any(name.startswith("TensorList") for name in found):
        return (
            f"{variant}: a recurrent layer over an axis of open length, for which TFLite has no "
            "operator: set the length, for instance --shape words=1x20, or in the Keras model"
        )
    if found:
        return (
            f"{variant}: TFLite has no operator for {', '.join(found)}: express it by others, or "
            "convert with --custom and give the runtime a custom operator of that name"
        )
    return f"{variant}: TensorFlow can't convert it: {text.strip().splitlines()[0][:300]}"


def _line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


if __name__ == "__main__":
    main()
