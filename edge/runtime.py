"""Runtime: what executes models, pinned by version and sha256, taken out of wheels or compiled.

The mere existence of ``edge/runtimes/<name>.toml``, or of ``runtimes/<name>.toml`` in the working
directory, creates a runtime. There are four kinds: a library in a wheel, one that is compiled for
the board, and one out of Debian packages, which edge-run opens; and a module for the board's own
Python. What is pinned of the last two is listed in the file ``<name>.lock`` beside it, written by
``python -m edge.runtime lock <name>``.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from edge import artifact, debian, layout, packaged, tflite, toml, wheels
from edge.artifact import Artifact, ElfFacts
from edge.board import Board
from edge.errors import EdgeError, HostError, UsageError
from edge.python import Python
from edge.wheels import Wheel

IN_PYTHON = (
    *("python", "native", "compiled", "numpy"),
    *("keras-predict", "keras-call", "tf-function", "tf-signature"),
)
"""Engines that need the board's Python: edge_run.py's."""

ENGINES = ("tflite", "litert", "tensorflow", *IN_PYTHON)
"""Ways to run a model; those that are not Python's are adapters in edge-run."""

MODELS = {
    "tensorflow": "SavedModel",
    "tf-signature": "SavedModel",
    **dict.fromkeys(("keras-predict", "keras-call", "tf-function"), ".keras"),
}
"""The kind of model that an engine runs, if it is not a .tflite file."""

WHOLE_CALL = frozenset({"numpy", "keras-predict", "keras-call", "tf-function", "tf-signature"})
"""Engines a sample of which is a whole call, from arrays to arrays; of the others it is the
invocation alone, between copying in and copying out."""

PLACE = "lib/libtflite.so"
"""Where the runtime library stands in a release."""

PACKAGES_PLACE = "python"
"""Folder of a release with unpacked wheels."""

_PREFERRED = (
    *("litert-2.1.0", "litert-2.3.0", "tflite-2.14.1"),
    *("tflite-runtime-2.14.0", "ai-edge-litert-2.1.0"),
)
_PYTHONS = tuple(f"3.{minor}" for minor in range(9, 15))
_ARCHITECTURES = ("aarch64", "armv7l", "x86_64")

_UNUSED = ("*/tests/*", "*/include/*", "*.pyi", "*.dist-info/[!L]*")

# Of numpy's wheel: what importing it does not touch, a third of its size and most of its files.
_NUMPY_UNUSED = (
    *("*/tests/*", "*/include/*", "*.pyi", "numpy/f2py/*", "numpy/distutils/*", "numpy/doc/*"),
    *("*/_examples/*", "numpy/_pyinstaller/*", "numpy/typing/*", "*.a", "*.lib", "*.pxd", "*.h"),
    *("numpy/core/lib/*", "numpy/_core/lib/*", "*.dist-info/[!L]*", "*/conftest.py", "bin/*"),
)

_API = {
    "tflite": ("TfLiteInterpreterCreate", "the TfLite C API", "a libtensorflowlite_c.so"),
    "litert": ("LiteRtCreateCompiledModel", "LiteRT's CompiledModel", "a libLiteRt.so"),
}


@dataclass(frozen=True)
class Package:
    """A wheel for one Python on one architecture."""

    arch: str
    wheel: Wheel


@dataclass(frozen=True)
class Runtime:
    """A runtime. What belongs to the other kind is empty.

    :ivar wheels: architecture -> the wheel that holds the library.
    :ivar libraries: architecture -> the library's path in it.
    :ivar order: what is compiled for a board, if no wheel holds the library.
    :ivar packaged: the Debian packages that hold the library, if neither is so.
    :ivar module: of the interpreter, such as ``tflite_runtime.interpreter``.
    :ivar native_symbol: the interpreter's own method, if its library exports it.
    :ivar requirement: the module's package, pinned.
    :ivar files: patterns: what of the package importing the module needs.
    :ivar numpy: versions of numpy it works with: from, and below.
    :ivar packages: the lock file's wheels.
    :ivar features: architecture -> CPU features without which it crashes.
    :ivar also: other engines that can use it.
    :ivar needs: requirements of the module beside numpy.
    :ivar environment: a Python environment of this machine that it runs in instead of a board's
        own Python; empty: it goes along with the release.
    :ivar beside: architecture -> libraries of the same wheel that the library needs beside it.
    :ivar memory_mb: what opening it takes on a board, so far that it may not fit; 0: little.
    """

    name: str
    description: str
    engine: str
    wheels: dict[str, Wheel] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    order: tflite.Order | None = None
    packaged: packaged.Packaged | None = None
    module: str = ""
    native_symbol: str | None = None
    requirement: str = ""
    files: tuple[str, ...] = ()
    numpy: tuple[str, str] = ("0", "9999")
    packages: tuple[Package, ...] = ()
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    environment: str = ""
    beside: dict[str, tuple[str, ...]] = field(default_factory=dict)
    memory_mb: int = 0

    @property
    def engines(self) -> tuple[str, ...]:
        """Those that can use it."""
        return (self.engine, *(["native"] if self.native_symbol else []), *self.also)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those that it has a library for."""
        if self.order is not None:
            return tflite.ARCHITECTURES
        if self.packaged is not None:
            return tuple(sorted(packaged.ARCHITECTURES))
        return tuple(sorted(self.wheels))


def load(name: str) -> Runtime:
    """:raises UsageError: no such runtime, or a wrong key in its file."""
    known = layout.definitions("runtimes", ".toml")
    if name not in known:
        raise UsageError(
            f"no runtime '{name}' (there is: {', '.join(known)}): choose another with --runtime, "
            f"or write runtimes/{name}.toml"
        )
    return _parse(name, known[name], toml.read(known[name]))


def names() -> tuple[str, ...]:
    return tuple(layout.definitions("runtimes", ".toml"))


def is_own(name: str) -> bool:
    """Whether its file is the user's, in the working directory."""
    return layout.definitions("runtimes", ".toml")[name].parent == Path("runtimes")


def for_engine(engine: str) -> tuple[str, ...]:
    """Names of the runtimes that an engine can use, the one to try first in front.

    :raises UsageError: no such engine, or a broken runtime file.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine '{engine}': it must be one of {', '.join(ENGINES)}")
    names = [name for name in layout.definitions("runtimes", ".toml") if engine in _engines(name)]
    return tuple(sorted(names, key=lambda n: (n not in _PREFERRED, _preference(n), n)))


def _engines(name: str) -> tuple[str, ...]:
    return load(name).engines


def _preference(name: str) -> int:
    return _PREFERRED.index(name) if name in _PREFERRED else 0


# --- files ----------------------------------------------------------------------------------------


def _parse(name: str, path: Path, table: dict[str, Any]) -> Runtime:
    if table.get("engine") in IN_PYTHON:
        return _parse_python(name, path, table)
    if "source" in table:
        return _parse_compiled(name, path, table)
    if "debian" in table:
        return _parse_packaged(name, path, table)
    _check(
        *(path, table, {"description": str, "engine": str, "wheel": dict}),
        {"features": dict, "memory_mb": int},
    )
    if table["engine"] not in ENGINES:
        known = ", ".join(engine for engine in ENGINES if engine != "native")
        raise UsageError(f"{path}: engine = {table['engine']!r}: must be one of {known}")
    keys = dict.fromkeys(("project", "version", "python", "platform", "sha256", "library"), str)
    found, libraries, beside = {}, {}, {}
    for arch, entry in table["wheel"].items():
        if not isinstance(entry, dict):
            raise UsageError(f"{path}: [wheel] must hold a table per architecture: [wheel.aarch64]")
        _check(path, entry, keys, {"beside": list}, f"wheel.{arch}.")
        libraries[arch] = entry["library"]
        beside[arch] = tuple(str(name) for name in entry.get("beside", ()))
        found[arch] = Wheel(**{key: entry[key] for key in keys if key != "library"})
    return Runtime(
        name,
        table["description"],
        table["engine"],
        wheels=found,
        libraries=libraries,
        features=_features(path, table),
        beside=beside,
        memory_mb=table.get("memory_mb", 0),
    )


def _parse_compiled(name: str, path: Path, table: dict[str, Any]) -> Runtime:
    texts = dict.fromkeys(("description", "engine"), str)
    _check(path, table, {**texts, "source": dict}, {"features": dict})
    if table["engine"] != "tflite":
        raise UsageError(f"{path}: engine = {table['engine']!r}: what is compiled is for tflite")
    given = table["source"]
    _check(
        *(path, given, {"name": str}, {"tree": str, "operators": list, "mcpu": str}, "source."),
    )
    operators = given.get("operators", [])
    if not all(isinstance(each, str) for each in operators):
        raise UsageError(f'{path}: source.operators must be a list such as ["CONV_2D"]')
    order = tflite.Order(
        given["name"],
        Path(given["tree"]) if "tree" in given else None,
        tuple(sorted(set(operators))),
        given.get("mcpu"),
    )
    return Runtime(
        *(name, table["description"], table["engine"]),
        order=order,
        features=_features(path, table),
    )


def _parse_packaged(name: str, path: Path, table: dict[str, Any]) -> Runtime:
    texts = dict.fromkeys(("description", "engine"), str)
    _check(path, table, {**texts, "debian": dict}, {"features": dict})
    given = table["debian"]
    _check(path, given, {"suite": str, "library": str, "packages": list}, {}, "debian.")
    lock = path.with_suffix(".lock")
    found = packaged.Packaged(
        *(given["suite"], given["library"], tuple(str(each) for each in given["packages"])),
        debian.load_lock(lock) if lock.exists() else (),
    )
    return Runtime(
        *(name, table["description"], table["engine"]),
        packaged=found,
        features=_features(path, table),
    )


def _parse_python(name: str, path: Path, table: dict[str, Any]) -> Runtime:
    texts = dict.fromkeys(("description", "engine", "module", "requirement"), str)
    _check(
        path,
        table,
        {**texts, "files": list, "numpy": list},
        {"native_symbol": str, "features": dict, "also": list, "needs": list, "environment": str},
    )
    numpy = tuple(str(version) for version in table["numpy"])
    if len(numpy) != 2 or not all(re.fullmatch(r"[0-9]+(\.[0-9]+)*", v) for v in numpy):
        raise UsageError(
            f'{path}: numpy must hold the first version and the one too many: ["1", "2"]'
        )
    return Runtime(
        name,
        table["description"],
        table["engine"],
        module=table["module"],
        native_symbol=table.get("native_symbol"),
        requirement=table["requirement"],
        files=tuple(str(pattern) for pattern in table["files"]),
        numpy=(numpy[0], numpy[1]),
        packages=_packages(path.with_suffix(".lock")),
        features=_features(path, table),
        also=tuple(str(engine) for engine in table.get("also", ())),
        needs=tuple(str(requirement) for requirement in table.get("needs", ())),
        environment=table.get("environment", ""),
    )


def _packages(path: Path) -> tuple[Package, ...]:
    """The lock file's; none if it was not written yet."""
    if not path.exists():
        return ()
    table = toml.read(path)
    _check(path, table, {"wheel": list}, {})
    keys = dict.fromkeys(("project", "version", "python", "platform", "sha256"), str)
    found = []
    for entry in table["wheel"]:
        _check(path, entry, {**keys, "arch": str}, {}, "wheel.")
        found.append(Package(entry["arch"], Wheel(**{key: entry[key] for key in keys})))
    return tuple(found)


def _features(path: Path, table: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    found = {}
    for arch, names in table.get("features", {}).items():
        if not isinstance(names, list):
            raise UsageError(f'{path}: features.{arch} must be a list, such as ["neon"]')
        found[arch] = tuple(str(name) for name in names)
    return found


def _check(
    path: Path,
    table: dict[str, Any],
    required: Mapping[str, type],
    optional: Mapping[str, type],
    prefix: str = "",
) -> None:
    known = {**required, **optional}
    for key in table:
        if key not in known:
            raise UsageError(
                f"{path}: unknown key '{prefix}{key}'; known: {', '.join(sorted(known))}"
            )
    for key in sorted(set(required) - set(table)):
        raise UsageError(f"{path}: '{prefix}{key}' is missing")
    for key, value in table.items():
        if not isinstance(value, known[key]):
            kind = {str: "a text", list: "a list", int: "a whole number"}.get(known[key], "a table")
            raise UsageError(f"{path}: '{prefix}{key}' must be {kind}")


# --- libraries ------------------------------------------------------------------------------------


def libraries(
    runtime: Runtime, target: Board, progress: Callable[[str], None]
) -> tuple[Artifact, ...]:
    """The runtime's library for a board, which may be compiled for it, and what it needs besides.

    :raises UsageError: as :func:`fetch`.
    :raises HostError: a download failed, or did not have the pinned sha256; or the compiler did.
    """
    if runtime.order is not None and target.arch in runtime.architectures:
        return (artifact.of_file(tflite.library(runtime.order, target, progress).path, PLACE),)
    if runtime.packaged is not None and target.arch in runtime.architectures:
        first, *others = packaged.libraries(runtime.packaged, target.arch, progress)
        return (artifact.of_file(first, PLACE), *(artifact.of_file(p, _beside(p)) for p in others))
    library = fetch(runtime, target.arch, progress)
    members = runtime.beside.get(target.arch, ())
    others = [wheels.member(runtime.wheels[target.arch], name, progress) for name in members]
    return (library, *(artifact.of_file(path, _beside(path)) for path in others))


def _beside(path: Path) -> str:
    """Where a file stands in a release that the runtime's library needs."""
    return str(PurePosixPath(PLACE).with_name(path.name))


def fetch(runtime: Runtime, arch: str, progress: Callable[[str], None]) -> Artifact:
    """The library for ``arch`` out of a wheel, from the cache or the package index.

    :raises UsageError: the runtime has no library for this architecture.
    :raises HostError: the download failed, or did not have the pinned sha256.
    """
    if runtime.engine in IN_PYTHON:
        raise UsageError(
            f"runtime {runtime.name} is a Python package, not a library: use --engine python"
        )
    if arch not in runtime.wheels:
        fit = _built_for(arch)
        raise UsageError(
            f"runtime {runtime.name} has no library for {arch} "
            f"(it has: {', '.join(runtime.architectures)}); for {arch} there is "
            + (f"--runtime {', '.join(fit)}" if fit else "none: bring one of your own with --lib")
        )
    path = wheels.member(runtime.wheels[arch], runtime.libraries[arch], progress)
    return artifact.of_file(path, PLACE)


def _built_for(arch: str) -> tuple[str, ...]:
    """Names of TFLite's runtimes that have something for ``arch``, best ones first."""
    known = dict.fromkeys(
        name for engine in ("tflite", "litert", "python") for name in for_engine(engine)
    )
    return tuple(
        name
        for name in known
        if arch in load(name).architectures or any(p.arch == arch for p in load(name).packages)
    )


def _without_python(arch: str) -> str:
    """Flags that need no Python on a board of ``arch``."""
    for engine in ("tflite", "litert"):
        if any(arch in load(name).architectures for name in for_engine(engine)):
            return f"--engine {engine}"
    return f"--engine tflite --lib FILE (edge knows no library for {arch})"


def own_library(path: Path, engine: str = "tflite") -> Artifact:
    """A library of the user's own, for one of edge-run's engines.

    :raises UsageError: it is missing, no library, or does not export what the engine calls.
    """
    if engine not in _API:
        raise UsageError(
            f"--lib is for the engines {' and '.join(_API)}: --engine {engine} takes no library "
            "of yours; leave --lib away"
        )
    found = artifact.of_file(path, PLACE)
    defined = artifact.elf_facts(path).defined
    symbol, api, example = _API[engine]
    if symbol not in defined:
        other = next((e for e, (s, _, _) in _API.items() if s in defined), None)
        raise UsageError(
            f"{path} does not export {api} ({symbol}): "
            + (
                f"use it with --engine {other}"
                if other
                else f"name {example}, or leave --lib away for the board's own runtime"
            )
        )
    return found


def needs(arch: str, progress: Callable[[str], None]) -> Iterator[tuple[str, ElfFacts]]:
    """What each runtime's library for ``arch`` asks of a board: runtime -> needs, best ones first.

    A runtime that can't be had at the moment is passed over. What is compiled has no XNNPACK: where
    wheels have it, it comes last.
    """
    # Not those for some models or one core alone: others may have to run here.
    compiled = [
        (name, tflite.needs(arch))
        for name in for_engine("tflite")
        if (found := load(name)).order is not None
        and found.order == tflite.Order(found.order.source)
        and arch in found.architectures
    ]
    if arch == "armv7l":
        yield from compiled
    for engine in ("tflite", "litert", "python"):
        for name in for_engine(engine):
            with contextlib.suppress(HostError):
                if path := _largest_library(load(name), arch, progress):
                    yield name, artifact.elf_facts(path)
    if arch != "armv7l":
        yield from compiled


def _largest_library(runtime: Runtime, arch: str, progress: Callable[[str], None]) -> Path | None:
    """The library that does the work; None if there is none for this architecture in a wheel."""
    if runtime.engine not in IN_PYTHON:
        return fetch(runtime, arch, progress).path if arch in runtime.wheels else None
    for package in runtime.packages:
        if package.arch == arch and package.wheel.project == _project(runtime):
            found = wheels.unpacked(package.wheel, progress).rglob("*.so")
            return max(found, key=lambda path: path.stat().st_size, default=None)
    return None


# --- packages for Python --------------------------------------------------------------------------


def fetch_packages(
    runtime: Runtime, python: Python, progress: Callable[[str], None]
) -> tuple[Artifact, ...]:
    """The files that the board's Python imports, below ``python/`` in a release.

    numpy is among them only if the board's own is missing, or none that the runtime works with.

    :raises UsageError: there is no wheel for this Python on this architecture.
    :raises HostError: a download failed, or did not have the pinned sha256.
    """
    if runtime.engine not in IN_PYTHON:
        raise UsageError(f"runtime {runtime.name} is a library: use --engine {runtime.engine}")
    if runtime.environment:
        return ()
    project = _project(runtime)
    there = _wheels_for(runtime, python)
    found: list[Artifact] = []
    if project != "numpy":
        if project not in there:
            raise UsageError(_no_wheel(runtime, python))
        found = _files(there[project], lambda name: _matches(name, runtime.files), progress)
        for other in sorted(set(there) - {project, "numpy"}):
            found += _files(there[other], lambda name: not _matches(name, _UNUSED), progress)
    if not numpy_fits(runtime, python):
        if "numpy" not in there:
            own = f"its own is {python.numpy}" if python.numpy else "it has none"
            raise UsageError(
                f"runtime {runtime.name} needs numpy from {runtime.numpy[0]} and below "
                f"{runtime.numpy[1]} on the board, {own}, and there is no wheel of numpy for "
                f"{python.machine}: install it there (Debian: `apt install python3-numpy`), or use "
                f"{_without_python(python.machine)}"
            )
        found += _files(there["numpy"], lambda name: not _matches(name, _NUMPY_UNUSED), progress)
    return tuple(found)


def has_wheel(runtime: Runtime, python: Python) -> bool:
    """Whether :func:`fetch_packages` would find the module for this Python."""
    project = _project(runtime)
    there = bool(runtime.environment) or project in _wheels_for(runtime, python)
    return there or (project == "numpy" and numpy_fits(runtime, python))


def _wheels_for(runtime: Runtime, python: Python) -> dict[str, Wheel]:
    """Project -> its wheel for this Python."""
    return {
        p.wheel.project: p.wheel
        for p in runtime.packages
        if p.arch == python.machine and _tag(p.wheel) == python.tag
    }


def numpy_fits(runtime: Runtime, python: Python) -> bool:
    """Whether the board's own numpy will do."""
    if python.numpy is None:
        return False
    first, too_many = (_numbers(version) for version in runtime.numpy)
    return first <= _numbers(python.numpy) < too_many


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])


def _project(runtime: Runtime) -> str:
    return re.split("[<=>]", runtime.requirement)[0]


def _tag(wheel: Wheel) -> str:
    return "cp" + wheel.python.replace(".", "")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _files(
    wheel: Wheel, wanted: Callable[[str], bool], progress: Callable[[str], None]
) -> list[Artifact]:
    folder = wheels.unpacked(wheel, progress)
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and wanted(name):
            found.append(artifact.of_file(path, f"{PACKAGES_PLACE}/{name}"))
    if not found:
        raise HostError(f"{wheel.project} {wheel.version} holds none of the files wanted of it")
    return found


def _no_wheel(runtime: Runtime, python: Python) -> str:
    have = [p for p in runtime.packages if p.wheel.project == _project(runtime)]
    here = [p.wheel.python for p in have if p.arch == python.machine]
    if here:
        what = f"Python {_range(here)} on {python.machine}"
    elif have:
        what = f"{', '.join(sorted({p.arch for p in have}))}"
    else:
        what = f"nothing: write its lock file with `python -m edge.runtime lock {runtime.name}`"
    others = [
        name
        for name in for_engine("python")
        if name != runtime.name and has_wheel(load(name), python)
    ]
    remedy = f"--runtime {others[0]} --engine python" if others else _without_python(python.machine)
    free_threaded = " (free-threaded)" if python.tag.endswith("t") else ""
    return (
        f"{runtime.requirement.replace('==', ' ')} has wheels for {what}; the board has Python "
        f"{python.version}{free_threaded} on {python.machine}: use {remedy}"
    )


def _range(versions: list[str]) -> str:
    ordered = sorted(set(versions), key=_numbers)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


# --- the lock file --------------------------------------------------------------------------------


def lock(name: str, progress: Callable[[str], None]) -> Path:
    """Look up the newest wheels or packages that the runtime's file allows; pin them beside it.

    :raises UsageError: no such runtime, or its file pins everything itself.
    """
    chosen = load(name)
    path = layout.definitions("runtimes", ".toml")[name].with_suffix(".lock")
    if chosen.packaged is not None:
        pinned = packaged.resolve(chosen.packaged, progress)
        heading = f"Written by: python -m edge.runtime lock {name}"
        path.write_text(debian.dump_lock(pinned, heading), encoding="utf-8")
        return path
    if chosen.engine not in IN_PYTHON:
        raise UsageError(f"runtime {name} has no lock file: its own file pins it")
    numpy = f"numpy>={chosen.numpy[0]},<{chosen.numpy[1]}"
    found: list[Package] = []
    for python in _PYTHONS:
        for arch in _ARCHITECTURES:
            progress(f"looking up {chosen.requirement} for Python {python} on {arch}")
            if _project(chosen) != "numpy":
                module = wheels.resolve(chosen.requirement, python, arch)
                if module is None:
                    continue
                found.append(Package(arch, module))
            for requirement in (*chosen.needs, numpy):
                if (wheel := wheels.resolve(requirement, python, arch)) is not None:
                    found.append(Package(arch, wheel))
    path = layout.definitions("runtimes", ".toml")[name].with_suffix(".lock")
    path.write_text(lock_text(name, found), encoding="utf-8")
    return path


def lock_text(name: str, packages: list[Package]) -> str:
    lines = [f"# Written by: python -m edge.runtime lock {name}", "wheel = ["]
    for package in packages:
        wheel = package.wheel
        values = {"python": wheel.python, "arch": package.arch, "project": wheel.project}
        values |= {"version": wheel.version, "platform": wheel.platform, "sha256": wheel.sha256}
        pairs = ", ".join(f'{key} = "{value}"' for key, value in values.items())
        lines.append(f"  {{ {pairs} }},")
    return "\n".join([*lines, "]", ""])


def main(words: list[str]) -> int:
    if len(words) != 2 or words[0] != "lock":
        sys.stderr.write("usage: python -m edge.runtime lock NAME\n")
        return UsageError.exit_code
    try:
        sys.stdout.write(f"{lock(words[1], print)}\n")
    except EdgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
