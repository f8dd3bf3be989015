"""TFLite's C library for a board, compiled here: by CMake and zig, from pinned sources.

A library is a function of its recipe, and stands in the cache under the recipe's hash. What is
compiled of it stands in a build tree, so that an interrupted build goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge import artifact, build, layout, operators, source, toolchain
from edge.artifact import ElfFacts
from edge.board import Board
from edge.errors import HostError, UsageError
from edge.once import Once

Progress = Callable[[str], None]

LIBRARY = "libtensorflowlite_c.so"

ARCHITECTURES = ("aarch64", "armv7l")

_LEAST_CORE = {"armv7l": "cortex-a8"}
"""What a board without a core of its own choice gets: the least one with NEON. One library then
runs on Cortex-A7, A8, A9 and A15, because it has neither fused multiply-add nor division."""

_SPACE_BYTES = 500 << 20
"""What a build takes of the disk, unpacked sources included."""

_JOB_BYTES = 700 << 20
"""What a compiler takes of the memory, at most."""

_TOLD_EVERY_S = 10.0

_DIAGNOSED = re.compile(
    r"^\S+:\d+:\d+: (fatal )?error: |^CMake Error|^ld\.lld: error: ", re.MULTILINE
)


@dataclass(frozen=True)
class Order:
    """What of TFLite is wanted, whatever the board.

    :ivar source: name of the pinned sources.
    :ivar tree: a checkout of TensorFlow instead of the pinned one; the other packages stay.
    :ivar operators: names of the only operators in it; empty: all of them.
    :ivar mcpu: the core; None: the board's.
    """

    source: str
    tree: Path | None = None
    operators: tuple[str, ...] = ()
    mcpu: str | None = None


@dataclass(frozen=True)
class Recipe:
    """What went into a library: where these are equal, the bytes are. No paths and no times.

    :ivar operators: as :class:`Order`.
    :ivar compiler: its name and version.
    :ivar sources: sha256 of TFLite's sources and what they need, and of what is ours.
    """

    source: str
    target: str
    glibc: str
    mcpu: str
    operators: tuple[str, ...]
    compiler: str
    sources: str

    @property
    def id(self) -> str:
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Built:
    """A library in the cache.

    :ivar compiled: False if it was there already.
    :ivar took_s: how long compiling took; 0 if it was there already.
    """

    path: Path
    recipe: Recipe
    compiled: bool = dataclasses.field(compare=False)
    took_s: float = dataclasses.field(compare=False, default=0.0)


_made: Once[Built] = Once()


def library(order: Order, target: Board, progress: Progress, *, jobs: int | None = None) -> Built:
    """The library for a board, from the cache, else compiled: minutes.

    :param jobs: compilers at a time; None: as many as there are processors, and memory for.
    :raises UsageError: there is none for this architecture, core, tree or set of operators.
    :raises HostError: sources, a compiler, memory or disk space are lacking, or it failed.
    """
    recipe, arguments = _planned(order, target)
    place = layout.libraries_dir() / f"{order.source}-{target.arch}-{recipe.id}"
    made: list[Built] = []

    def make() -> Built:
        found = _existing(place, recipe)
        made.append(found or _compile(order, target, recipe, arguments, place, progress, jobs))
        return made[0]

    # Once in this process, however many boards of it are deployed to at the same time.
    found = _made.get(place, make)
    return found if made else dataclasses.replace(found, compiled=False, took_s=0.0)


def check(order: Order, target: Board) -> None:
    """What can be found wrong with an order before anything is fetched.

    :raises UsageError: there is none for this architecture, core or tree.
    """
    _planned(order, target)


def cached(order: Order, target: Board) -> Built | None:
    """The library if it is in the cache; nothing is compiled."""
    recipe, _ = _planned(order, target)
    return _existing(layout.libraries_dir() / f"{order.source}-{target.arch}-{recipe.id}", recipe)


def needs(arch: str) -> ElfFacts:
    """What a library will ask of a board: its C library, in the version that the board has."""
    return ElfFacts(
        machine=arch,
        bits=32 if arch == "armv7l" else 64,
        needed=("libc.so.6", "libm.so.6"),
        versions={},
        defined=frozenset(),
        undefined=frozenset(),
    )


def core(order: Order, target: Board) -> str:
    """What the compiler is told of the processor."""
    if order.mcpu is not None:
        return order.mcpu
    return _LEAST_CORE.get(target.arch, target.mcpu) if target.mcpu == "generic" else target.mcpu


def _planned(order: Order, target: Board) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe, and what CMake is told about the compiler."""
    if target.arch not in ARCHITECTURES:
        raise UsageError(
            f"TFLite is compiled for {' and '.join(ARCHITECTURES)}, and board {target.name} is "
            f"{target.arch}: choose another --runtime"
        )
    chain = toolchain.load("zig", target.arch)
    mcpu = core(order, target)
    arguments = chain.cmake_arguments(glibc=target.glibc, mcpu=mcpu)
    compiler = build.compiler_of(arguments)
    build.check_cores(dataclasses.replace(target, mcpu=mcpu), chain, build.cores_of(compiler))
    described = source.load(order.source)
    if order.tree is not None:
        source.check_tree(order.tree, described.version)
    ours = _hash_ours((*chain.files, *sorted(_folder().rglob("*"))))
    theirs = source.identity(described, order.tree)
    recipe = Recipe(
        source=order.source,
        target=build.target_of(compiler),
        glibc=target.glibc,
        mcpu=mcpu,
        operators=order.operators,
        compiler=build.version_of(compiler),
        sources=hashlib.sha256(f"{ours} {theirs}".encode()).hexdigest(),
    )
    return recipe, arguments


def _folder() -> Path:
    """The CMake project, and what stands in for libraries that are not compiled."""
    return layout.firmware_dir() / "tflite"


def _hash_ours(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(f"{path.name}\0{artifact.hash_file(path)}\n".encode())
    return digest.hexdigest()


def _existing(place: Path, recipe: Recipe) -> Built | None:
    path = place / LIBRARY
    return Built(path, recipe, compiled=False) if path.is_file() else None


# --- compiling ------------------------------------------------------------------------------------


def _compile(
    order: Order,
    target: Board,
    recipe: Recipe,
    arguments: tuple[str, ...],
    place: Path,
    progress: Progress,
    jobs: int | None,
) -> Built:
    """For :func:`library`, when the cache lacks it."""
    what = f"{order.source} for {target.arch} (glibc {recipe.glibc}, {recipe.mcpu})"
    sources = source.unpacked(source.load(order.source), progress)
    tensorflow = (order.tree or sources / "tensorflow").resolve()
    given = (
        *("-S", str(_folder()), *arguments),
        *(f"-DEDGE_SOURCES={sources}", f"-DEDGE_TENSORFLOW={tensorflow}"),
    )
    key = hashlib.sha256("\0".join([*given, recipe.compiler, *order.operators]).encode())
    tree = layout.builds_dir() / f"tflite-{target.arch}-{key.hexdigest()[:12]}"
    with layout.exclusive(tree, progress):
        if found := _existing(place, recipe):  # by another process, which held the tree
            return found
        _insist_on_space(tree)
        began = time.monotonic()
        if not build.configured(tree):
            progress(f"configuring {what}")
            _configure(tree, given, order.operators, tensorflow / "tensorflow/lite", what)
        _ninja(tree, jobs or _jobs(), progress, what)
        made = tree / LIBRARY
        _check(made, target, recipe)
        with layout.exclusive(layout.libraries_dir(), progress), layout.published(place) as part:
            shutil.copyfile(made, part / LIBRARY)
            text = json.dumps(dataclasses.asdict(recipe), indent=1)
            (part / "recipe.json").write_text(f"{text}\n", encoding="utf-8")
        took_s = time.monotonic() - began
    progress(f"compiled {what} in {took_s:.0f} s")
    return Built(place / LIBRARY, recipe, compiled=True, took_s=took_s)


def _insist_on_space(tree: Path) -> None:
    free = shutil.disk_usage(tree).free
    if free < _SPACE_BYTES:
        raise HostError(
            f"compiling TFLite takes {_SPACE_BYTES >> 20} MiB of disk space, and {tree} has "
            f"{free >> 20} MiB: free some, or set XDG_CACHE_HOME to another disk"
        )


def _configure(
    tree: Path, given: tuple[str, ...], wanted: tuple[str, ...], lite: Path, what: str
) -> None:
    chosen = []
    if wanted:
        register = (lite / operators.REGISTER).read_text(encoding="utf-8")
        found = operators.chosen(wanted, operators.registrations(register))
        registering = tree / "registering.cc"
        registering.write_text(operators.registering(found), encoding="utf-8")
        kernels = ";".join(operators.kernels(found, lite))
        chosen = [f"-DEDGE_REGISTERING={registering}", f"-DEDGE_KERNELS={kernels}"]
    ninja = build.tool("ninja")
    command = [build.tool("cmake"), "-G", "Ninja", "-B", str(tree), *given, *chosen]
    build.call([*command, f"-DCMAKE_MAKE_PROGRAM={ninja}"], what)


def _jobs() -> int:
    """As many compilers as this machine has processors, and memory for."""
    try:
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        if match := re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE):
            available = int(match[1]) << 10
    except (OSError, ValueError):
        return os.cpu_count() or 1
    return max(1, min(os.cpu_count() or 1, available // _JOB_BYTES))


def _ninja(tree: Path, jobs: int, progress: Progress, what: str) -> None:
    progress(f"compiling {what}, {jobs} at a time: minutes, once")
    output = _run_ninja(tree, jobs, progress)
    if output is not None and killed(output) and jobs > 1:
        progress("a compiler was ended, as it is when memory runs out: going on with one at a time")
        output = _run_ninja(tree, 1, progress)
    if output is None:
        return
    log = layout.logs_dir() / "runtime-build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(output, encoding="utf-8")
    if "No space left on device" in output:
        reason = "the disk is full: free some space and run again; what is compiled is kept"
    elif killed(output):
        reason = (
            "a compiler was ended, as it is when memory runs out: close other programs and run "
            "again; what is compiled is kept"
        )
    else:
        reason = build.first_error(output)
    raise HostError(f"can't compile {what}: {reason} (whole output: {log})")


def killed(output: str) -> bool:
    """Whether a failed build's compilers had nothing to complain about: they were ended."""
    return not _DIAGNOSED.search(output)


def _run_ninja(tree: Path, jobs: int, progress: Progress) -> str | None:
    """None if all is compiled, else what was said."""
    said: list[str] = []
    told_s = time.monotonic()
    command = [build.tool("ninja"), "-C", str(tree), f"-j{jobs}"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=build.environment(),
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                count = re.match(r"\[(\d+)/(\d+)\]", line)
                if count is None or "FAILED" in line:
                    said.append(line)
                elif time.monotonic() - told_s >= _TOLD_EVERY_S:
                    told_s = time.monotonic()
                    progress(f"compiled {count[1]} of {count[2]} files")
            return "".join(said) if process.wait() else None
        except BaseException:
            process.terminate()  # ninja removes what is half written
            process.wait()
            raise


def _check(path: Path, target: Board, recipe: Recipe) -> None:
    """:raises HostError: the library would not be loaded by the board."""
    elf = artifact.elf_facts(path)
    wanted = tuple(int(part) for part in recipe.glibc.split("."))
    strange = [name for name in elf.needed if not _C_LIBRARY.match(name)]
    if (
        elf.machine != target.arch
        or strange
        or elf.versions.get("GLIBC", ()) > wanted
        or "TfLiteInterpreterCreate" not in elf.defined
    ):
        raise HostError(
            f"{path} came out wrong ({elf.machine}, needs {', '.join(elf.needed)}, glibc "
            f"{'.'.join(map(str, elf.versions.get('GLIBC', ())))}): please report it"
        )


_C_LIBRARY = re.compile(r"lib(c|m|dl|pthread|rt)\.so\.|ld-linux")
