"""Release: files that go live together, named by their content."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edge import abi, artifact, build, layout, runtime
from edge.artifact import Artifact
from edge.errors import BoardError, UsageError
from edge.options import Delegate

SCRIPT_PLACE = "bin/edge_run.py"
"""The runner for the board's own Python."""

LIBEDGE_PLACE = "lib/libedge.so"

_DELEGATES = PurePosixPath("lib/delegate")

_FORMAT = 2
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_FILES = 4096
_MAX_FILE_BYTES = 1 << 50
_PATH = re.compile(r"[A-Za-z0-9._+-]{1,255}(/[A-Za-z0-9._+-]{1,255}){0,30}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,32}")
_STORES_OWN = frozenset({"manifest.json", "SHA256SUMS"})


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
        """Files, and folders of files: SavedModels."""
        by_name: dict[str, list[Artifact]] = {}
        for each in self.artifacts:
            folder, *names = PurePosixPath(each.place).parts
            if folder == "models":
                by_name.setdefault(names[0], []).append(each)
        return tuple(_model(files) for files in by_name.values())

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
        return next(a for a in (*self.artifacts, *self.models) if a.place == place)


def _model(files: Sequence[Artifact]) -> Artifact:
    _, name, *below = PurePosixPath(files[0].place).parts
    if not below:
        return files[0]
    return artifact.joined(files, files[0].path.parents[len(below) - 1], f"models/{name}")


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
    """A model, looked through before it goes anywhere: a .tflite file, one of Keras's (.keras), or
    the folder of a SavedModel.

    :raises UsageError: it is missing, none of these, damaged, or its name can't go on a board.
    """
    if not path.exists():
        raise UsageError(f"no model {path}: check the path")
    place = str(PurePosixPath("models") / layout.safe_name(path.absolute().name))
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise UsageError(
                f"{path} is a folder, and no SavedModel (there is no saved_model.pb): name a "
                ".tflite file in it"
            )
        return artifact.of_folder(path, place)
    if path.suffix == ".keras":
        if not zipfile.is_zipfile(path):
            raise UsageError(f"{path} is no model of Keras 3, or a damaged one: save it again")
    else:
        library.check_model(path)
    return artifact.of_file(path, place)


def kind(model: Artifact) -> str:
    """``SavedModel``, ``.keras`` or ``.tflite``."""
    if model.path.is_dir():
        return "SavedModel"
    return ".keras" if model.path.suffix == ".keras" else ".tflite"


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
    artifacts = (*files, *(part for each in by_place.values() for part in artifact.parts(each)))
    manifest = {
        "edge": _FORMAT,
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


# --- manifests from elsewhere ---------------------------------------------------------------------


@dataclass(frozen=True)
class ManifestFile:
    """A file of a release, as its manifest names it.

    :ivar path: in the release; it can't leave it.
    """

    path: str
    sha256: str
    size_bytes: int
    executable: bool


@dataclass(frozen=True)
class Manifest:
    """A release that is somewhere else, by its own word.

    :ivar id: what the text hashes to; whoever asked for a release by its id compares the two.
    :ivar delegate: None if models are opened without one.
    """

    id: str
    arch: str
    engine: str
    runtime: str
    files: tuple[ManifestFile, ...]
    delegate: Delegate | None

    @property
    def models(self) -> tuple[ManifestFile, ...]:
        return tuple(file for file in self.files if file.path.startswith("models/"))


def parse_manifest(text: bytes) -> Manifest:
    """A manifest that a board or somebody's bundle holds: believed in nothing.

    :raises BoardError: it is none, or one of another edge; in one line, without its own words.
    """
    try:
        return _manifest(text)
    except (ValueError, RecursionError) as error:
        what = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise BoardError(
            f"a release's manifest.json is damaged or of another edge ({what}): deploy again"
        ) from None


def _manifest(text: bytes) -> Manifest:
    if len(text) > _MAX_MANIFEST_BYTES:
        raise ValueError("more than 1 MiB")
    try:
        found = json.loads(text.decode(), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON at byte {error.pos}") from None
    except UnicodeDecodeError:
        raise ValueError("no UTF-8") from None
    if not isinstance(found, dict) or type(found.get("edge")) is not int:
        raise ValueError("no 'edge'")
    if found["edge"] != _FORMAT:
        raise ValueError(f"not of format {_FORMAT}")
    keys = {"edge", "arch", "engine", "runtime", "build", "delegate", "files"}
    _has(found, keys, "the manifest")
    for key in ("arch", "engine"):
        if not (isinstance(found[key], str) and _WORD.fullmatch(found[key])):
            raise ValueError(f"'{key}' is no word")
    if not isinstance(found["build"], dict):
        raise ValueError("'build' is no table")
    files = found["files"]
    if not isinstance(files, list) or not 0 < len(files) <= _MAX_FILES:
        raise ValueError(f"'files' is no list of 1 to {_MAX_FILES}")
    parsed = tuple(_manifest_file(entry, f"files[{n}]") for n, entry in enumerate(files))
    places = {file.path for file in parsed}
    folders = {str(folder) for place in places for folder in PurePosixPath(place).parents}
    if len(places) != len(parsed) or places & (folders | _STORES_OWN):
        raise ValueError("'files' has a path twice, a file for a folder, or the store's own")
    return Manifest(
        hashlib.sha256(text).hexdigest()[:16],
        found["arch"],
        found["engine"],
        _line(found["runtime"], "runtime"),
        parsed,
        None if found["delegate"] is None else _manifest_delegate(found["delegate"]),
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice")
    return made


def _has(value: Any, keys: set[str], what: str) -> None:
    if not isinstance(value, dict) or value.keys() != keys:
        raise ValueError(f"{what} has not exactly {', '.join(sorted(keys))}")


def _line(value: Any, what: str) -> str:
    if not (isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable()):
        raise ValueError(f"'{what}' is no line of text")
    return value


def _manifest_file(entry: Any, what: str) -> ManifestFile:
    _has(entry, {"path", "sha256", "size_bytes", "executable"}, what)
    path, sha256, size = entry["path"], entry["sha256"], entry["size_bytes"]
    # Without these two words no path of such components leaves its folder.
    if (
        not (isinstance(path, str) and len(path) <= 1024 and _PATH.fullmatch(path))
        or {".", ".."} & set(path.split("/"))
    ):  # fmt: skip
        raise ValueError(f"{what}.path is no path in a release")
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise ValueError(f"{what}.sha256 is no hash")
    if type(size) is not int or not 0 <= size <= _MAX_FILE_BYTES:
        raise ValueError(f"{what}.size_bytes is no size")
    if type(entry["executable"]) is not bool:
        raise ValueError(f"{what}.executable is not true or false")
    return ManifestFile(path, sha256, size, entry["executable"])


def _manifest_delegate(value: Any) -> Delegate:
    _has(value, {"path", "settings"}, "delegate")
    path = PurePosixPath(_line(value["path"], "delegate.path"))
    if not path.is_absolute() and (
        path.parent != _DELEGATES or not _PATH.fullmatch(str(path)) or path.name == ".."
    ):
        raise ValueError("'delegate.path' is neither absolute nor a delegate's of the release")
    settings = value["settings"]
    if not isinstance(settings, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(word, str) for word in pair)
        for pair in settings
    ):
        raise ValueError("'delegate.settings' is no list of pairs")
    pairs = tuple((key, setting) for key, setting in settings)
    return Delegate(str(path), path.is_absolute(), pairs)
