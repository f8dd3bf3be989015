"""Release: files that go live together, named by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge import abi, artifact, build, layout, runtime
from edge.artifact import Artifact
from edge.errors import UsageError
from edge.options import Delegate

SCRIPT_PLACE = "bin/edge_run.py"
"""The runner for the board's own Python."""

LIBEDGE_PLACE = "lib/libedge.so"

_DELEGATES = PurePosixPath("lib/delegate")


@dataclass(frozen=True)
class Script:
    """How the board's own Python runs models.

    :ivar program: the Python on the board.
    :ivar module: what has the class ``Interpreter``.
    :ivar native_symbol: the runtime's own method to invoke, for engine ``native``; None without.
    """

    program: str
    module: str
    native_symbol: str | None


@dataclass(frozen=True)
class Release:
    """Files and what they are.

    :ivar id: first 16 digits of the manifest's sha256: the same content has the same id anywhere.
    :ivar runtime: its name, or ``file:`` and the name of a library of the user's own.
    :ivar engine: what runs the models unless another engine of the same runtime is asked for.
    :ivar manifest: canonical JSON, what ``id`` is the hash of.
    :ivar script: None if the models run without Python.
    """

    id: str
    artifacts: tuple[Artifact, ...]
    runtime: str
    engine: str
    manifest: bytes
    script: Script | None = None

    @property
    def runner(self) -> Artifact:
        return self.at(build.RUNNER_PLACE)

    @property
    def models(self) -> tuple[Artifact, ...]:
        return tuple(a for a in self.artifacts if a.place.startswith("models/"))

    @property
    def runtime_sha256(self) -> str:
        """Of the runtime's library; of the list of its files if there are several."""
        places = (runtime.PLACE, "python/")
        found = sorted(a.sha256 for a in self.artifacts if a.place.startswith(places))
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        return sum({a.sha256: a.size_bytes for a in self.artifacts}.values())

    def at(self, place: str) -> Artifact:
        return next(a for a in self.artifacts if a.place == place)


def delegate_place(delegate: Delegate) -> PurePosixPath:
    """Where a delegate's library stands: in the release, or where the board has it."""
    path = PurePosixPath(delegate.path)
    return path if delegate.on_board else _DELEGATES / layout.safe_name(path.name)


def delegate_artifact(delegate: Delegate) -> Artifact:
    """:raises UsageError: it is missing, no library, or no external delegate."""
    found = artifact.of_file(delegate.file, str(delegate_place(delegate)))
    if "tflite_plugin_create_delegate" not in artifact.elf_facts(found.path).defined:
        raise UsageError(
            f"{found.path} is no external delegate: it does not export "
            "tflite_plugin_create_delegate"
        )
    return found


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
    arch: str,
    files: Sequence[Artifact],
    models: Sequence[Artifact],
    *,
    runtime_name: str,
    engine: str,
    recipe: Mapping[str, object] | None = None,
    script: Script | None = None,
    delegate: Delegate | None = None,
) -> Release:
    """Put a release together.

    :param files: the runner, and what it needs to run models.
    :param recipe: how the runner was built.
    :param delegate: what models are opened with; its settings belong to the release's id, because
        other settings may compute something else.
    :raises UsageError: no model, or two different models under one file name.
    """
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
    artifacts = (*files, *by_place.values())
    manifest = {
        "edge": 2,
        "arch": arch,
        "engine": engine,
        "runtime": runtime_name,
        "build": dict(recipe or {}),
        "delegate": None
        if delegate is None
        else {"path": str(delegate_place(delegate)), "settings": delegate.settings},
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
    name = hashlib.sha256(text).hexdigest()[:16]
    return Release(name, artifacts, runtime_name, engine, text, script)
