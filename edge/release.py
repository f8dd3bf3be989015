"""Release: files that go live together, named by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge import abi, artifact, build, layout, runtime
from edge.artifact import Artifact
from edge.errors import UsageError


@dataclass(frozen=True)
class Release:
    """Files and what they are.

    :ivar id: first 16 digits of the manifest's sha256: the same content has the same id anywhere.
    :ivar manifest: canonical JSON, what ``id`` is the hash of.
    """

    id: str
    artifacts: tuple[Artifact, ...]
    runtime: str
    manifest: bytes

    @property
    def runner(self) -> Artifact:
        return next(a for a in self.artifacts if a.place == build.RUNNER_PLACE)

    @property
    def library(self) -> Artifact:
        return next(a for a in self.artifacts if a.place == runtime.PLACE)

    @property
    def models(self) -> tuple[Artifact, ...]:
        return tuple(a for a in self.artifacts if a.place.startswith("models/"))

    @property
    def size_bytes(self) -> int:
        return sum({a.sha256: a.size_bytes for a in self.artifacts}.values())


def model_artifact(path: Path, library: abi.Library) -> Artifact:
    """A model file, looked through before it goes anywhere.

    :raises UsageError: it is missing, no .tflite model, damaged, or its name can't go on a board.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the .tflite file in it")
    if not path.exists():
        raise UsageError(f"no model {path}: check the path")
    library.check_model(path)
    return artifact.of_file(path, str(PurePosixPath("models") / layout.safe_name(path.name)))


def make(
    arch: str, runner: Artifact, library: Artifact, runtime_name: str, models: Sequence[Artifact]
) -> Release:
    """:raises UsageError: no model, or two different models under one file name."""
    if not models:
        raise UsageError("a release needs a model: name one with --model FILE.tflite")
    by_place: dict[str, Artifact] = {}
    for model in models:
        other = by_place.setdefault(model.place, model)
        if other.sha256 != model.sha256:
            raise UsageError(
                f"{other.path} and {model.path} would both be {model.place} on the board: "
                "rename one"
            )
    artifacts = (runner, library, *by_place.values())
    manifest = {
        "edge": 1,
        "arch": arch,
        "runtime": runtime_name,
        "files": [
            {
                "path": a.place,
                "sha256": a.sha256,
                "size_bytes": a.size_bytes,
                "executable": a.executable,
            }
            for a in sorted(artifacts, key=lambda a: a.place)
        ],
    }
    text = json.dumps(manifest, sort_keys=True, indent=1).encode() + b"\n"
    return Release(hashlib.sha256(text).hexdigest()[:16], artifacts, runtime_name, text)
