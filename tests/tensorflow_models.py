"""The digits models for TensorFlow: the example's Keras files, and SavedModels of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from edge import artifact, convert, layout

EXAMPLES = Path(__file__).parents[1] / "examples/digits"
MODELS = EXAMPLES / "models"
NAMES = ("mlp", "cnn")


def made() -> Path:
    """A folder with NAME.keras and a SavedModel's folder NAME, made once and kept in the cache."""
    files = [EXAMPLES / f"{name}.keras" for name in NAMES]
    key = "-".join(artifact.hash_file(file)[:8] for file in files)
    folder = layout.cache_dir() / "tests" / f"tensorflow-models-{key}"
    with layout.exclusive(folder.parent, print):
        if not folder.is_dir():
            with layout.published(folder) as part:
                for file in files:
                    shutil.copyfile(file, part / file.name)
                    convert.export(convert.source(file), part / file.stem, print)
    return folder
