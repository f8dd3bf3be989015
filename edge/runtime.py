"""Runtime: a library that executes models, pinned by version and sha256, taken out of a wheel.

The mere existence of ``edge/runtimes/<name>.toml``, or of ``runtimes/<name>.toml`` in the working
directory, creates a runtime.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from edge import artifact, layout, toml
from edge.artifact import Artifact
from edge.errors import HostError, UsageError

ENGINES = ("tflite", "litert")
"""Adapters that edge-run has."""

PLACE = "lib/libtflite.so"
"""Where the runtime library stands in a release."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index, and the library inside it.

    :ivar python: version that the wheel's tag names; the library itself needs no Python.
    :ivar platform: the wheel's platform tag.
    :ivar library: path of the library in the wheel.
    """

    project: str
    version: str
    python: str
    platform: str
    sha256: str
    library: str


@dataclass(frozen=True)
class Runtime:
    """A runtime: its engine, and a wheel per architecture."""

    name: str
    description: str
    engine: str
    wheels: dict[str, Wheel]


def load(name: str) -> Runtime:
    """:raises UsageError: no such runtime, or a wrong key in its file."""
    known = layout.definitions("runtimes", ".toml")
    if name not in known:
        raise UsageError(
            f"no runtime '{name}' (there is: {', '.join(known)}): choose another with --runtime, "
            f"or write runtimes/{name}.toml"
        )
    path = known[name]
    table = toml.read(path)
    _require(path, table, {"description", "engine", "wheel"}, "")
    if table["engine"] not in ENGINES:
        raise UsageError(
            f"{path}: engine = {table['engine']!r}: must be one of {', '.join(ENGINES)}"
        )
    keys = {f.name for f in fields(Wheel)}
    wheels = {}
    for arch, entry in table["wheel"].items():
        if not isinstance(entry, dict):
            raise UsageError(f"{path}: [wheel] must hold a table per architecture: [wheel.aarch64]")
        _require(path, entry, keys, f"wheel.{arch}.")
        wheels[arch] = Wheel(**entry)
    return Runtime(name, table["description"], table["engine"], wheels)


def _require(path: Path, table: dict[str, object], keys: set[str], prefix: str) -> None:
    for key in table:
        if key not in keys:
            raise UsageError(
                f"{path}: unknown key '{prefix}{key}'; known: {', '.join(sorted(keys))}"
            )
    for key in sorted(keys - set(table)):
        raise UsageError(f"{path}: '{prefix}{key}' is missing")


def fetch(runtime: Runtime, arch: str, progress: Callable[[str], None]) -> Artifact:
    """The runtime's library for ``arch``, from the cache or the package index.

    :raises UsageError: the runtime has no library for this architecture.
    :raises HostError: the download failed, or did not have the pinned sha256.
    """
    if arch not in runtime.wheels:
        raise UsageError(
            f"runtime {runtime.name} has no library for {arch} "
            f"(it has: {', '.join(sorted(runtime.wheels))})"
        )
    wheel = runtime.wheels[arch]
    library = layout.wheels_dir() / wheel.sha256 / Path(wheel.library).name
    if not library.exists():
        _unpack(wheel, _download(wheel, progress), library)
    return artifact.of_file(library, PLACE)


def _download(wheel: Wheel, progress: Callable[[str], None]) -> Path:
    folder = layout.wheels_dir() / wheel.sha256
    for path in folder.glob("*.whl"):
        if artifact.hash_file(path) == wheel.sha256:
            return path
        path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"downloading {wheel.project} {wheel.version} ({wheel.platform})")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        requirement = Path(temporary) / "wheel.txt"
        requirement.write_text(
            f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8"
        )
        abi = "cp" + wheel.python.replace(".", "")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "--require-hashes"),
            *("--platform", wheel.platform, "--python-version", wheel.python),
            *("--implementation", "cp", "--abi", abi),
            *("--dest", temporary, "--requirement", str(requirement)),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        found = list(Path(temporary).glob("*.whl"))
        if result.returncode != 0 or len(found) != 1:
            lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
            raise HostError(
                f"can't download {wheel.project} {wheel.version} for {wheel.platform}: "
                f"{lines[0] if lines else result.stderr.strip()[-300:]}; "
                "check the network and pip's index settings (`pip config list`)"
            )
        # pip has compared the hash already; this guards against a pip that did not.
        actual = artifact.hash_file(found[0])
        if actual != wheel.sha256:
            raise HostError(
                f"{found[0].name} has sha256 {actual}, pinned is {wheel.sha256}: not used"
            )
        final = folder / found[0].name
        artifact.move_into_place(found[0], final)
    return final


def _unpack(wheel: Wheel, path: Path, library: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(wheel.library)
    except (KeyError, zipfile.BadZipFile) as error:
        raise HostError(f"{path} does not hold {wheel.library}: {error}") from None
    part = library.with_suffix(".part")
    part.write_bytes(content)
    artifact.move_into_place(part, library)


def own_library(path: Path) -> Artifact:
    """A TfLite C library of the user's own.

    :raises UsageError: it is missing, no library, or does not export the TfLite C API.
    """
    found = artifact.of_file(path, PLACE)
    if "TfLiteInterpreterCreate" not in artifact.elf_facts(path).defined:
        raise UsageError(
            f"{path} does not export the TfLite C API (TfLiteInterpreterCreate): "
            "name a libtensorflowlite_c.so, or leave --lib away for the board's own runtime"
        )
    return found
