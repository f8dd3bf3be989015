"""Make the MobileNetV2 models: the architecture that most published figures are about.

    python -m examples.mobilenet.convert           # into this folder
    python -m examples.mobilenet.convert --out DIR

Weights are seeded random numbers, not trained ones: latency, delegation and memory do not depend on
them, accuracy does, and none is claimed. The int8 model is committed; this is for whoever doubts or
changes it. It needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20
SIZE = 224
CALIBRATION_IMAGES = 16


def main() -> int:
    parser = argparse.ArgumentParser(prog="convert", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder")
    parser.add_argument("--float32", action="store_true", help="also the float32 model (14 MB)")
    options = parser.parse_args()
    try:
        tf: Any = importlib.import_module("tensorflow")
    except ImportError:
        sys.stderr.write("this needs TensorFlow: pip install -e '.[train]'\n")
        return 2
    tf.keras.utils.set_random_seed(SEED)
    model = tf.keras.applications.MobileNetV2(input_shape=(SIZE, SIZE, 3), weights=None)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "mobilenet-v2-int8.tflite").write_bytes(_int8(tf, model))
    if options.float32:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        (options.out / "mobilenet-v2-float32.tflite").write_bytes(converter.convert())
    return 0


def _int8(tf: Any, model: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = _images
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _images() -> Iterator[list[Any]]:
    random = np.random.default_rng(SEED)
    for _ in range(CALIBRATION_IMAGES):
        yield [random.uniform(-1, 1, (1, SIZE, SIZE, 3)).astype(np.float32)]


if __name__ == "__main__":
    sys.exit(main())
