"""The converter's side: the function in TensorFlow, as a SavedModel, with the operator's name.

    python -m examples.custom_op.export FOLDER      # needs TensorFlow, the extra `train`

``invoke convert FOLDER --ops examples/custom_op/ops`` then makes a .tflite file of it. In a Keras
model the same function is called in a layer.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

THRESHOLD, SLOPE = 0.25, 0.1
SHAPE = (1, 128, 128, 8)


def leaky_threshold(tf: Any) -> Any:
    """The function in TensorFlow's own terms, which train and check it; the attribute makes the
    converter write one operator of that name for it, with the numbers as its options."""
    attributes = {
        "tfl_fusable_op": "b: true",
        "threshold": f"f: {THRESHOLD}",
        "slope": f"f: {SLOPE}",
    }
    written = [f'attr {{ key: "{key}" value {{ {value} }} }}' for key, value in attributes.items()]

    def compute(x: Any) -> Any:
        return tf.where(x > THRESHOLD, x, SLOPE * x)

    name = 'name: "LeakyThreshold"'
    return tf.function(compute, experimental_implements=" ".join([name, *written]))


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m examples.custom_op.export FOLDER", file=sys.stderr)
        return 2
    try:
        tf: Any = importlib.import_module("tensorflow")
    except ImportError as error:
        print(f"no {error.name}: pip install -e '.[train]'", file=sys.stderr)
        return 2
    module, function = tf.Module(), leaky_threshold(tf)

    def serve(x: Any) -> dict[str, Any]:
        return {"y": function(x)}

    taken = [tf.TensorSpec(SHAPE, tf.float32, name="x")]
    module.serve = tf.function(serve, input_signature=taken)
    tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": module.serve})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
