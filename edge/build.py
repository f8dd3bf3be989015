"""Board -> runner: CMake with the board's toolchain, incremental, in the cache."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import os
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge import abi, artifact, board, layout, toolchain
from edge.artifact import Artifact
from edge.board import Board
from edge.errors import HostError, UsageError
from edge.once import Once, once
from edge.toolchain import Toolchain

RUNNER_PLACE = "bin/edge-run"


@dataclass(frozen=True)
class Recipe:
    """What went into a build: where these are equal, the bytes are. No paths and no times.

    :ivar target: as the compiler spells it.
    :ivar glibc: the oldest C library it was linked for; None if the compiler brings its own.
    :ivar compiler: its name and version.
    :ivar sources: sha256 of the firmware and the toolchain file.
    """

    toolchain: str
    target: str
    glibc: str | None
    mcpu: str
    lto: bool
    cflags: tuple[str, ...]
    compiler: str
    sources: str


@dataclass(frozen=True)
class Build:
    """What a build made.

    :ivar runner: the ``edge-run`` binary.
    :ivar library: ``libedge.so`` beside it.
    :ivar recipe: what it was made of; ``dataclasses.asdict`` fits JSON.
    :ivar compiled: False if everything was up to date.
    """

    runner: Artifact
    library: Path
    recipe: Recipe
    compiled: bool = field(compare=False)


def runner(
    target: Board,
    progress: Callable[[str], None],
    *,
    toolchain_name: str | None = None,
    lto: bool | None = None,
    cflags: str | None = None,
) -> Build:
    """Build edge-run for ``target``; what is given overrides its board file.

    :param cflags: more flags for the compiler, quoted as in a shell.
    :raises UsageError: no such toolchain for the board's architecture, no such core, or no flags.
    :raises HostError: the compiler is missing or failed; the message has its first error line.
    """
    chain = toolchain.load(toolchain_name or target.toolchain, target.arch)
    flags = _flags(target.cflags if cflags is None else cflags)
    tuned = target.lto if lto is None else lto
    arguments = chain.cmake_arguments(glibc=target.glibc, mcpu=target.mcpu, lto=tuned, cflags=flags)
    compiler = compiler_of(arguments)
    check_cores(target, chain, cores_of(compiler))
    recipe = _recipe(chain, compiler, target.glibc, target.mcpu, tuned, flags)
    return _build(chain, recipe, arguments, progress)


@dataclass(frozen=True)
class Kernels:
    """The library that a build made of the user's kernels.

    :ivar compiled: False if everything was up to date.
    """

    path: Path
    recipe: Recipe
    compiled: bool = field(compare=False)


def kernels(
    target: Board,
    folder: Path,
    names: Sequence[str],
    progress: Callable[[str], None],
    *,
    toolchain_name: str | None = None,
    lto: bool | None = None,
    cflags: str | None = None,
) -> Kernels:
    """Build one library of the sources ``names`` in ``folder``; the rest as for :func:`runner`.

    :raises UsageError: a source does not compile; ``progress`` has had the compiler's lines.
    """
    chain = toolchain.load(toolchain_name or target.toolchain, target.arch)
    flags = _flags(target.cflags if cflags is None else cflags)
    tuned = target.lto if lto is None else lto
    arguments = chain.cmake_arguments(glibc=target.glibc, mcpu=target.mcpu, lto=tuned, cflags=flags)
    compiler = compiler_of(arguments)
    check_cores(target, chain, cores_of(compiler))
    recipe = _recipe(chain, compiler, target.glibc, target.mcpu, tuned, flags)
    return _kernels(chain, recipe, arguments, folder, names, progress)


def host_kernels(folder: Path, names: Sequence[str], progress: Callable[[str], None]) -> Kernels:
    """:func:`kernels` for this machine, with what made :func:`host_library`."""
    chain, arguments, recipe = _host()
    return _kernels(chain, recipe, arguments, folder, names, progress)


def _kernels(
    chain: Toolchain,
    recipe: Recipe,
    arguments: tuple[str, ...],
    folder: Path,
    names: Sequence[str],
    progress: Callable[[str], None],
) -> Kernels:
    given = folder.resolve()
    arguments = (*arguments, f"-DEDGE_OPS={';'.join(names)}", f"-DEDGE_OPS_FOLDER={given}")
    made = dataclasses.replace(recipe, sources=_hash_kernels(given, chain.files))
    source = layout.firmware_dir() / "ops"
    try:
        what = f"the kernels in {folder} for {_described(chain, recipe)}"
        tree, compiled = _grow(chain, made, arguments, source, what, progress)
    except _Refused as refused:
        for line in refused.output.strip().splitlines():
            progress(line)
        raise UsageError(
            f"--ops {folder} does not compile: {first_error(refused.output)} (whole output: "
            f"{refused.log})"
        ) from None
    return Kernels(tree / "libops.so", made, compiled)


def host_library(progress: Callable[[str], None]) -> abi.Library:
    """libedge for this machine, opened; built and opened once."""
    return _host_library.get((), lambda: _open_host_library(progress))


def host_library_file(progress: Callable[[str], None]) -> Path:
    """The file of :func:`host_library`, for other programs of this machine."""
    chain, arguments, recipe = _host()
    return _build(chain, recipe, arguments, progress).library


def _open_host_library(progress: Callable[[str], None]) -> abi.Library:
    return abi.Library(host_library_file(progress))


def _host() -> tuple[Toolchain, tuple[str, ...], Recipe]:
    chain = toolchain.load("zig", platform.machine())
    arguments = chain.cmake_arguments(glibc="2.28", mcpu="generic")
    return chain, arguments, _recipe(chain, compiler_of(arguments), "2.28", "generic", False, ())


_host_library: Once[abi.Library] = Once()
_builds: Once[Build] = Once()


def _build(
    chain: Toolchain,
    recipe: Recipe,
    arguments: tuple[str, ...],
    progress: Callable[[str], None],
) -> Build:
    """Once in this process for one recipe and place, however many boards of it are deployed to."""
    place = (layout.firmware_dir(), layout.builds_dir())
    made: list[Build] = []

    def make() -> Build:
        made.append(_compile(chain, recipe, arguments, progress))
        return made[0]

    found = _builds.get((recipe, arguments, place), make)
    return found if made else dataclasses.replace(found, compiled=False)


def _compile(
    chain: Toolchain,
    recipe: Recipe,
    arguments: tuple[str, ...],
    progress: Callable[[str], None],
) -> Build:
    what = f"edge-run for {_described(chain, recipe)}"
    tree, compiled = _grow(chain, recipe, arguments, layout.firmware_dir(), what, progress)
    binary = artifact.of_file(tree / "edge-run", RUNNER_PLACE, executable=True)
    return Build(binary, tree / "libedge.so", recipe, compiled)


def _described(chain: Toolchain, recipe: Recipe) -> str:
    with_what = [f"glibc {recipe.glibc}"] if recipe.glibc else []
    with_what += [recipe.mcpu, *(["lto"] if recipe.lto else []), *recipe.cflags]
    return f"{chain.arch} with {chain.name} ({', '.join(with_what)})"


def _grow(
    chain: Toolchain,
    recipe: Recipe,
    arguments: tuple[str, ...],
    source: Path,
    what: str,
    progress: Callable[[str], None],
) -> tuple[Path, bool]:
    """The build tree of a CMake project, up to date; and whether it was not before."""
    # One tree per source folder, compiler and set of flags: switching boards never rebuilds the
    # others. A configured tree follows neither its compiler nor its toolchain files.
    key = hashlib.sha256("\0".join([str(source), recipe.compiler, *arguments]).encode())
    for path in chain.files:
        key.update(path.read_bytes())
    # Resolved: CMake writes down where the tree is, and a link that led there may be gone tomorrow.
    tree = layout.builds_dir().resolve() / f"{chain.name}-{chain.arch}-{key.hexdigest()[:12]}"
    ninja = tool("ninja")
    try:
        tree.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"can't create {tree}: {error.strerror}; free the path") from None
    # Two builds at once in one tree leave it with a log that neither trusts.
    with layout.exclusive(tree, progress):
        if not configured(tree):
            progress(f"configuring {what}")
            call(
                [
                    *(tool("cmake"), "-G", "Ninja", "-S", str(source), "-B", str(tree)),
                    *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_MAKE_PROGRAM={ninja}", *arguments),
                ],
                what,
            )
        pending = call([ninja, "-C", str(tree), "-n"], what)
        compiled = "no work to do" not in pending
        if compiled:
            progress(f"compiling {what}")
            call([ninja, "-C", str(tree)], what)
    return tree, compiled


# --- the recipe ---------------------------------------------------------------------------------


def _recipe(
    chain: Toolchain,
    compiler: tuple[str, ...],
    glibc: str,
    mcpu: str,
    lto: bool,
    cflags: tuple[str, ...],
) -> Recipe:
    target = target_of(compiler)
    return Recipe(
        toolchain=chain.name,
        target=target,
        glibc=glibc if target.endswith(f".{glibc}") else None,
        mcpu=mcpu,
        lto=lto,
        cflags=cflags,
        compiler=version_of(compiler),
        sources=_hash_sources(layout.firmware_dir(), chain.files),
    )


def _flags(text: str) -> tuple[str, ...]:
    try:
        flags = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"cflags = {text!r}: {error}; quote it as in a shell") from None
    if any(";" in flag for flag in flags):
        raise UsageError(f"cflags = {text!r}: CMake would cut it at the semicolon; leave it out")
    return flags


@once
def compiler_of(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The command that the toolchain file chooses; nothing is configured for it."""
    script = layout.data_dir("toolchains") / "compiler.cmake"
    said = call([tool("cmake"), *arguments, "-P", str(script)], "edge-run")
    return tuple(said.split("\n")[:-1])


@once
def version_of(compiler: tuple[str, ...]) -> str:
    said = call([*compiler, "--version"], "edge-run").partition("\n")[0].strip()
    if "c++" in compiler[1:]:  # zig is many compilers, this one is clang
        zig = compiler[: compiler.index("c++", 1)]
        return f"zig {call([*zig, 'version'], 'edge-run').strip()} ({said})"
    return said


@once
def target_of(compiler: tuple[str, ...]) -> str:
    if "-target" in compiler:
        return compiler[compiler.index("-target") + 1]
    return call([*compiler, "-dumpmachine"], "edge-run").strip()


def _hash_kernels(folder: Path, toolchain_files: Iterable[Path]) -> str:
    """Of the user's folder, whose headers count too, and of what is ours beside it."""
    firmware = layout.firmware_dir()
    ours = [firmware / "ops" / "CMakeLists.txt", firmware / "src" / "cxx_runtime.cc"]
    ours += (firmware / "include").glob("*.h")
    named = {f"edge/{path.name}": path for path in (*ours, *toolchain_files)}
    named.update(
        {f"ops/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}
    )
    return _digest(named)


def _hash_sources(firmware: Path, toolchain_files: Iterable[Path]) -> str:
    """Of what is compiled and how, by names that are the same in every checkout."""
    sources = [path for name in ("src", "include") for path in (firmware / name).rglob("*")]
    named = {
        path.relative_to(firmware).as_posix(): path
        for path in [firmware / "CMakeLists.txt", *sources]
        if path.is_file()
    }
    named.update({f"toolchains/{path.name}": path for path in toolchain_files})
    return _digest(named)


def _digest(named: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(named.items()):
        digest.update(f"{name}\0{artifact.hash_file(path)}\n".encode())
    return digest.hexdigest()


# --- the core -----------------------------------------------------------------------------------


@once
def cores_of(compiler: tuple[str, ...]) -> frozenset[str]:
    """The cores that a compiler knows, from its complaint about one that does not exist."""
    command = [*compiler, "-mcpu=no-such-core", "-fsyntax-only", "-x", "c++", os.devnull]
    return parse_cores(_run(command).stderr)


def parse_cores(complaint: str) -> frozenset[str]:
    """zig lists them one a line, with underscores; GCC after ``valid arguments are:``."""
    listed = re.findall(r"^ (\w+)$", complaint, re.MULTILINE)
    for words in re.findall(r"valid arguments are: ([^;\n]*)", complaint):
        listed += words.split()
    return frozenset(name.replace("_", "-") for name in listed)


def check_cores(target: Board, chain: Toolchain, known: frozenset[str]) -> None:
    """:raises UsageError: the compiler lists its cores, and the board's is none of them."""
    for key, value in (("mcpu", target.mcpu), ("cpu", target.cpu)):
        core = value.partition("+")[0].replace("_", "-")
        if not known or core in known | _NO_CORES:
            continue
        close = difflib.get_close_matches(core, sorted(known), n=3, cutoff=0.5)
        raise UsageError(
            f"{board.files().get(target.kind or target.name, target.name)}: {key} = {value!r}: "
            f"{chain.name} knows no such {chain.arch} core"
            + (f"; near it: {', '.join(close)}" if close else "")
        )


_NO_CORES = frozenset({"generic", "native", "max"})
"""What a board file may say instead: any core, this machine's, all that QEMU has."""


# --- the tools ----------------------------------------------------------------------------------


def configured(tree: Path) -> bool:
    """Whether ninja can go on in a tree. It asks the CMake that made the tree, which may have gone
    with the Python that it came with."""
    try:
        cache = (tree / "CMakeCache.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    found = re.search(r"^CMAKE_COMMAND:INTERNAL=(.+)$", cache, re.MULTILINE)
    return found is not None and Path(found[1]).exists() and (tree / "build.ninja").exists()


def tool(name: str) -> str:
    """cmake and ninja come as wheels beside this Python; the system's own serve as well."""
    scripts = Path(sysconfig.get_path("scripts")) / name
    found = str(scripts) if scripts.exists() else shutil.which(name)
    if found is None:
        raise HostError(f"{name} is not installed: `pip install {name}`")
    return found


def environment() -> dict[str, str]:
    """This process's own; zig keeps what it compiled of its C library where all trees share it."""
    variables = dict(os.environ)
    variables.setdefault("ZIG_GLOBAL_CACHE_DIR", str(layout.builds_dir() / "zig"))
    variables.setdefault("ZIG_LOCAL_CACHE_DIR", str(layout.builds_dir() / "zig-local"))
    return variables


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment()
        )
    except OSError as error:
        raise HostError(f"can't run {command[0]}: {error.strerror}") from None


def call(command: list[str], what: str) -> str:
    result = _run(command)
    output = result.stdout + result.stderr
    if result.returncode != 0:
        log = layout.logs_dir() / "build.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output, encoding="utf-8")
        raise _Refused(what, output, log)
    return output


class _Refused(HostError):
    """A compiler's, or CMake's: its output is there, too."""

    def __init__(self, what: str, output: str, log: Path) -> None:
        super().__init__(f"can't build {what}: {first_error(output)} (whole output: {log})")
        self.output, self.log = output, log


def first_error(output: str) -> str:
    lines = [line.strip() for line in output.strip().splitlines()]
    for number, line in enumerate(lines):
        if line.startswith("CMake Error") and number + 1 < len(lines):
            # CMake breaks long lines, and adds where it was called from.
            rest = itertools.takewhile(_is_prose, lines[number + 1 :])
            return " ".join(rest)
        if "error:" in line:
            return line
    return lines[-1] if lines else "no output"


def _is_prose(line: str) -> bool:
    return line != "" and not line.startswith("Call Stack")
