from __future__ import annotations

from pathlib import Path

import pytest

from edge import artifact, board, layout, runtime, tflite, toolchain
from edge.errors import UsageError
from edge.python import Python
from edge.wheels import Wheel

GOOD = """
description = "a runtime"
engine = "tflite"

[wheel.aarch64]
project = "some-project"
version = "1.0"
python = "3.11"
platform = "manylinux_2_17_aarch64"
sha256 = "0123"
library = "a/lib.so"
"""


COMPILED = """
description = "made here"
engine = "tflite"

[source]
name = "tflite-2.14.1"
operators = ["SOFTMAX", "CONV_2D", "SOFTMAX"]
mcpu = "cortex-a7"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runtimes").mkdir()
    return tmp_path / "runtimes"


def test_the_shipped_runtime_is_pinned() -> None:
    wheel = runtime.load("litert-2.1.0").wheels["aarch64"]
    assert wheel.version == "2.1.0"
    assert len(wheel.sha256) == 64


def test_one_file_adds_a_runtime(folder: Path) -> None:
    (folder / "mine.toml").write_text(GOOD, encoding="utf-8")
    assert runtime.load("mine").wheels["aarch64"].project == "some-project"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("sha256", "sha265"), ["mine.toml", "wheel.aarch64.sha265", "known"]),
        (GOOD.replace('sha256 = "0123"\n', ""), ["'wheel.aarch64.sha256' is missing"]),
        (GOOD.replace('"tflite"', '"torch"'), ["engine = 'torch'", "tflite"]),
        (GOOD.replace("engine", "motor"), ["unknown key 'motor'"]),
        (GOOD.replace("[wheel.aarch64]", "[wheel]"), ["mine.toml", "[wheel.aarch64]"]),
        ("engine =", ["no valid TOML"]),
    ],
)
def test_a_wrong_runtime_file_is_one_clear_line(folder: Path, text: str, words: list[str]) -> None:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        runtime.load("mine")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_one_file_adds_a_runtime_that_is_compiled(folder: Path) -> None:
    (folder / "mine.toml").write_text(COMPILED, encoding="utf-8")
    mine = runtime.load("mine")
    assert mine.order == tflite.Order(
        "tflite-2.14.1", operators=("CONV_2D", "SOFTMAX"), mcpu="cortex-a7"
    )
    assert (mine.engines, mine.architectures) == (("tflite",), ("aarch64", "armv7l"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (COMPILED.replace('"tflite"', '"litert"'), "what is compiled is for tflite"),
        (COMPILED.replace("name =", "nom ="), r"unknown key 'source\.nom'"),
        (COMPILED.replace('["SOFTMAX", "CONV_2D", "SOFTMAX"]', "[1]"), "must be a list such as"),
        (COMPILED + '\n[wheel.aarch64]\nlibrary = "x"\n', "unknown key 'wheel'"),
    ],
)
def test_a_wrong_file_for_what_is_compiled(folder: Path, text: str, words: str) -> None:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        runtime.load("mine")


def test_a_32_bit_board_gets_what_is_compiled_for_it() -> None:
    for name in ("beaglebone-black", "rpi2", "rpi3-32bit"):
        chosen = runtime.load(board.load(name).runtime)
        assert chosen.order is not None
        assert chosen.features["armv7l"] == ("neon",)


def test_a_runtime_without_this_architecture(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no library for armv7l \(it has: aarch64\)"):
        runtime.fetch(runtime.load("litert-2.1.0"), "armv7l", print)


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("x86_64", r"for x86_64 there is --runtime litert-2\.3\.0, tflite-runtime-.*, ai-edge-"),
        ("armv7l", r"for armv7l there is --runtime tflite-2\.14\.1, .*, tflite-runtime-2\.14\.0$"),
        ("riscv64", r"for riscv64 there is none: bring one of your own with --lib$"),
    ],
)
def test_a_runtime_for_other_processors_names_those_that_fit(arch: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        runtime.fetch(runtime.load("litert-2.1.0"), arch, print)


def test_an_unknown_runtime_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"litert-2\.1\.0"):
        runtime.load("litert-9")


def test_a_wheel_in_the_cache_is_used_only_with_its_pinned_hash(folder: Path) -> None:
    (folder / "mine.toml").write_text(GOOD, encoding="utf-8")
    wheel = runtime.load("mine").wheels["aarch64"]
    cached = layout.wheels_dir() / wheel.sha256 / "some.whl"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"tampered with")
    # Fetching it again needs a process, which a unit test refuses: the bad file was not taken.
    with pytest.raises(AssertionError, match="start no process"):
        runtime.fetch(runtime.load("mine"), "aarch64", print)
    assert not cached.exists()


def test_a_library_of_ones_own_must_have_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "lib.so"
    text.write_text("not a library", encoding="utf-8")
    with pytest.raises(UsageError, match="no program or library"):
        runtime.own_library(text)
    facts = artifact.ElfFacts("aarch64", 64, (), {}, frozenset({"other"}), frozenset())
    monkeypatch.setattr(artifact, "elf_facts", lambda _: facts)
    with pytest.raises(UsageError, match="TfLiteInterpreterCreate"):
        runtime.own_library(text)


def test_a_library_for_the_other_engine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(b"")
    defined = frozenset({"LiteRtCreateCompiledModel"})
    facts = artifact.ElfFacts("aarch64", 64, (), {}, defined, frozenset())
    monkeypatch.setattr(artifact, "elf_facts", lambda _: facts)
    assert runtime.own_library(path, "litert").place == runtime.PLACE
    with pytest.raises(UsageError, match="--engine litert"):
        runtime.own_library(path)
    with pytest.raises(UsageError, match="leave --lib away"):
        runtime.own_library(path, "python")


# --- for Python -----------------------------------------------------------------------------------

PYTHON = """
description = "a package"
engine = "python"
module = "some.interpreter"
requirement = "some==1.0"
files = ["some/a.py", "some/*.so"]
numpy = ["1.23.2", "2"]

[features]
armv7l = ["neon"]
"""


def packages(folder: Path) -> None:
    """A runtime for Python 3.11, whose wheels are unpacked already; numpy not for armv7l."""
    pairs = []
    for arch in ("aarch64", "armv7l"):
        for project in ("some", "numpy") if arch == "aarch64" else ("some",):
            sha256 = f"{project}-{arch}"
            pairs.append(runtime.Package(arch, Wheel(project, "1.0", "3.11", "any", sha256)))
            files = layout.wheels_dir() / sha256 / "files"
            for name in ("a.py", "b.so", "tests/t.py", "c.pyi", "core/include/d.h"):
                path = files / project / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(name, encoding="utf-8")
    (folder / "mine.toml").write_text(PYTHON, encoding="utf-8")
    (folder / "mine.lock").write_text(runtime.lock_text("mine", pairs), encoding="utf-8")


def board_python(
    version: str = "3.11", arch: str = "aarch64", numpy: str | None = "1.24"
) -> Python:
    return Python("python3", version, arch, "cp" + version.replace(".", ""), numpy)


def places(python: Python) -> list[str]:
    return [a.place for a in runtime.fetch_packages(runtime.load("mine"), python, print)]


def test_only_what_importing_needs_goes_to_the_board(folder: Path) -> None:
    packages(folder)
    assert places(board_python()) == ["python/some/a.py", "python/some/b.so"]
    assert runtime.load("mine").features["armv7l"] == ("neon",)
    assert "mine" in runtime.for_engine("python") and "mine" not in runtime.for_engine("native")


@pytest.mark.parametrize(
    ("own", "pushed"),
    [(None, True), ("1.23.1", True), ("1.23.2", False), ("1.26.4", False), ("2.0.0rc1", True)],
)
def test_numpy_goes_along_where_the_boards_own_will_not_do(
    folder: Path, own: str | None, pushed: bool
) -> None:
    packages(folder)
    found = [place for place in places(board_python(numpy=own)) if "numpy" in place]
    assert found == (["python/numpy/a.py", "python/numpy/b.so"] if pushed else [])


@pytest.mark.parametrize(
    ("python", "words"),
    [
        (board_python("3.13"), ["has wheels for Python 3.11 on aarch64", "has Python 3.13"]),
        (board_python("3.13"), ["use --runtime ai-edge-litert-2.1.0 --engine python"]),
        (board_python("3.12"), ["use --runtime ai-edge-litert-2.1.0 --engine python"]),
        (board_python("3.14"), ["use --engine tflite"]),
        (board_python("3.14", arch="x86_64"), ["use --engine litert"]),
        (board_python(arch="riscv64"), ["for aarch64, armv7l;", "--engine tflite --lib FILE"]),
        (board_python("3.13", arch="armv7l"), ["use --engine tflite"]),
        (board_python(arch="armv7l", numpy=None), ["no wheel of numpy for armv7l", "apt install"]),
        (board_python(arch="armv7l", numpy=None), ["or use --engine tflite"]),
        (board_python(arch="armv7l", numpy="2.1"), ["its own is 2.1"]),
    ],
)
def test_a_python_that_no_wheel_is_for(folder: Path, python: Python, words: list[str]) -> None:
    packages(folder)
    with pytest.raises(UsageError) as error:
        places(python)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_runtime_without_its_lock_file_says_how_to_write_it(folder: Path) -> None:
    (folder / "mine.toml").write_text(PYTHON, encoding="utf-8")
    with pytest.raises(UsageError, match=r"python -m edge\.runtime lock mine"):
        places(board_python())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PYTHON.replace("module", "modul"), "unknown key 'modul'"),
        (PYTHON.replace('["1.23.2", "2"]', '["1.23.2"]'), "numpy must hold"),
        (PYTHON.replace('["1.23.2", "2"]', '"1"'), "'numpy' must be a list"),
        (PYTHON.replace('["neon"]', '"neon"'), "features.armv7l must be a list"),
    ],
)
def test_a_wrong_file_for_python(folder: Path, text: str, words: str) -> None:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        runtime.load("mine")


def test_engines_have_their_runtimes_in_an_order() -> None:
    assert runtime.for_engine("tflite")[0] == "litert-2.1.0"
    assert runtime.for_engine("litert")[0] == "litert-2.3.0"
    assert runtime.for_engine("python") == ("tflite-runtime-2.14.0", "ai-edge-litert-2.1.0")
    assert runtime.for_engine("native") == ("tflite-runtime-2.14.0",)
    with pytest.raises(
        UsageError, match="must be one of tflite, litert, tensorflow, python, native"
    ):
        runtime.for_engine("torch")


def test_a_library_is_no_package_and_a_package_no_library(folder: Path) -> None:
    with pytest.raises(UsageError, match="--engine python"):
        runtime.fetch(runtime.load("tflite-runtime-2.14.0"), "aarch64", print)
    with pytest.raises(UsageError, match="--engine tflite"):
        runtime.fetch_packages(runtime.load("litert-2.1.0"), board_python(), print)


def test_every_shipped_wheel_is_pinned_once() -> None:
    for name in runtime.for_engine("python"):
        loaded = runtime.load(name)
        hashes = [p.wheel.sha256 for p in loaded.packages]
        assert all(len(sha256) == 64 for sha256 in hashes)
        assert len(set(hashes)) == len(hashes) > 10
        versions = {p.wheel.version for p in loaded.packages if p.wheel.project != "numpy"}
        assert versions == {loaded.requirement.partition("==")[2]}
    assert runtime.load("tflite-runtime-2.14.0").features["armv7l"] == ("neon", "vfpv4")


def test_one_file_adds_a_toolchain(folder: Path) -> None:
    chains = folder.parent / "toolchains"
    chains.mkdir()
    (chains / "mine-aarch64.cmake").write_text("# a compiler\n", encoding="utf-8")
    found = toolchain.load("mine", "aarch64")
    assert found.file == (chains / "mine-aarch64.cmake").resolve()
    assert "-DEDGE_GLIBC=2.31" in found.cmake_arguments(glibc="2.31", mcpu="generic")
    with pytest.raises(UsageError, match="write toolchains/mine-armv7l"):
        toolchain.load("mine", "armv7l")


def test_shipped_toolchains() -> None:
    names = {(chain.name, chain.arch) for chain in toolchain.load_all()}
    assert {("zig", "aarch64"), ("gnu", "aarch64"), ("zig", "x86_64")} <= names
