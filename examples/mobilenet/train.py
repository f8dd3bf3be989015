"""Train MobileNetV2 (alpha 0.35) on handwritten digits: a known architecture, an honest accuracy.

    python -m examples.mobilenet.train            # into this folder
    python -m examples.mobilenet.train --out DIR

About five minutes. It needs the extra ``train``; ``invoke convert`` makes the .tflite files of it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from examples.digits import train as digits
from examples.mobilenet import dataset

ALPHA = 0.35
EPOCHS = 24
BATCH = 32


def main() -> int:
    parser = argparse.ArgumentParser(prog="train", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=dataset.FOLDER, help="folder")
    options = parser.parse_args()
    try:
        tools = digits.import_tools()
    except ImportError as error:
        print(digits.MISSING_EXTRA.format(name=error.name or error), file=sys.stderr)
        return 2
    keras = tools.tensorflow.keras
    split = digits.load_split(tools)
    keras.utils.set_random_seed(digits.SEED)
    network = architecture(keras)
    steps = EPOCHS * (len(split.images) // BATCH)
    network.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    images = dataset.upscaled(split.images)
    network.fit(images, split.labels, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    heldout = split.heldout
    _, accuracy = network.evaluate(dataset.upscaled(heldout.images), heldout.labels, verbose=0)
    print(f"held out: {accuracy:.2%} of {len(heldout.labels)}")
    options.out.mkdir(parents=True, exist_ok=True)
    bare = architecture(keras)  # without the optimizer's state, three times the weights
    bare.set_weights(network.get_weights())
    bare.save(options.out / "mobilenet.keras")
    return 0


def architecture(keras: Any) -> Any:
    image = keras.Input((dataset.SIZE, dataset.SIZE, 3), name=dataset.INPUT)
    network = keras.applications.MobileNetV2(
        input_tensor=image, alpha=ALPHA, weights=None, classes=10, name="mobilenet"
    )
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # 0.999 takes more steps than there are here to forget what it began with.
            layer.momentum = 0.9
    return network


if __name__ == "__main__":
    sys.exit(main())
