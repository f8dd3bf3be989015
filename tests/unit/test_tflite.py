"""What is decided about a build of TFLite before anything is compiled, and after."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from edge import board, compiled, runtime, tflite
from edge.errors import HostError, UsageError
from edge.report import runtimes
from edge.tflite import Built, Order, Recipe

RECIPE = Recipe("tflite-2.14.1", "arm-linux-gnueabihf.2.28", "2.28", "cortex-a8", (), "zig 1", "00")
ORDER = Order("tflite-2.14.1")


def test_a_recipe_of_other_things_has_another_id() -> None:
    changes = ({"mcpu": "cortex-a7"}, {"operators": ("ADD",)}, {"sources": "01"})
    for change in changes:
        assert dataclasses.replace(RECIPE, **change).id != RECIPE.id
    assert dataclasses.replace(RECIPE).id == RECIPE.id


def test_boards_without_a_core_of_their_own_choice_share_a_library_with_neon() -> None:
    for name in ("beaglebone-black", "rpi2", "rpi3-32bit"):
        assert tflite.core(ORDER, board.load(name)) == "cortex-a8"
    assert tflite.core(ORDER, board.load("rpi4")) == "generic"
    tuned = dataclasses.replace(board.load("rpi2"), mcpu="cortex-a7")
    assert tflite.core(ORDER, tuned) == "cortex-a7"
    assert tflite.core(dataclasses.replace(ORDER, mcpu="cortex-a9"), tuned) == "cortex-a9"


def test_a_processor_that_nothing_is_compiled_for() -> None:
    other = dataclasses.replace(board.load("rpi2"), arch="riscv64")
    with pytest.raises(UsageError, match="board rpi2 is riscv64: choose another --runtime"):
        tflite.check(ORDER, other)


@pytest.mark.parametrize(
    ("output", "was"),
    [
        ("[3/9] Building x.o\nFAILED: [code=1] x.o\nc++ x.cc\nninja: subcommand failed\n", True),
        ("FAILED: x.o\n/s/x.cc:3:7: error: no such thing\n", False),
        ("FAILED: x.o\n/s/x.cc:3:7: fatal error: 'x.h' file not found\n", False),
        ("FAILED: lib.so\nld.lld: error: undefined symbol: f\n", False),
        ("Killed\nninja: build stopped\n", True),
    ],
)
def test_a_compiler_that_was_ended_did_not_complain(output: str, was: bool) -> None:
    assert tflite.killed(output) is was


def test_a_disk_without_room_is_found_before_hours_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(100, 90, 10 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(HostError, match=r"has 10 MiB: free some, or set XDG_CACHE_HOME"):
        tflite._insist_on_space(tmp_path)


# --- a runtime of one's own -----------------------------------------------------------------------


def test_what_is_ordered_becomes_a_runtime_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    order = Order("tflite-2.14.1", tmp_path / "tree", ("ADD", "CUSTOM Own"), "cortex-a9")
    compiled._write("mine", runtime.load("tflite-2.14.1"), order)
    made = runtime.load("mine")
    assert made.order == order and made.features == {"armv7l": ("neon",)}
    assert "2 operators" in made.description and "cortex-a9" in made.description
    compiled._write("mine", runtime.load("tflite-2.14.1"), order)  # its own file it may write anew
    (tmp_path / "runtimes/mine.toml").write_text("# by hand")
    with pytest.raises(UsageError, match="not by this command: give another --name"):
        compiled._write("mine", runtime.load("tflite-2.14.1"), order)
    with pytest.raises(UsageError, match=r"edge has a runtime litert-2\.1\.0 already"):
        compiled._write("litert-2.1.0", runtime.load("tflite-2.14.1"), order)


def test_the_board_says_which_compiled_runtime_is_meant() -> None:
    for name in ("rpi2", "rpi5"):
        assert compiled.runtime_for(board.load(name)).name == "tflite-2.14.1"
    with pytest.raises(UsageError, match=r"litert-2\.1\.0 comes from a wheel, .*tflite-2\.14\.1"):
        compiled.runtime_for(board.load("rpi5"), "litert-2.1.0")
    with pytest.raises(UsageError, match="--name x: of what"):
        compiled.runtime_for(board.load("rpi2"), name="x")


# --- what is said of it ---------------------------------------------------------------------------


def made(**changes: object) -> compiled.Made:
    built = Built(Path("/c/lib.so"), RECIPE, compiled=True, took_s=61.0)
    checks = (
        compiled.Check("float32", "cortex-a8", 4, 4, 1e-7),
        compiled.Check("int8", "cortex-a8", 3, 0, 0.0),
    )
    plain = compiled.Made(runtime.load("tflite-2.14.1"), built, 900_000, None, checks)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_the_report_says_what_xnnpack_took() -> None:
    lines = runtimes.made_lines(made())
    assert lines[0].startswith(
        "/c/lib.so  900 kB  arm-linux-gnueabihf.2.28, cortex-a8; compiled in"
    )
    assert "float32: XNNPACK took 4 of 4 nodes" in lines[1]
    assert "int8: no XNNPACK int8 kernels: TFLite's own run all 3 nodes" in lines[2]
    assert lines[-1] == "use it: --runtime tflite-2.14.1"


@pytest.mark.parametrize(
    ("whole", "words"), [(2_900_000, "2.90 MB with all operators"), (None, "not in the cache")]
)
def test_fewer_operators_are_told_with_the_size_before(whole: int | None, words: str) -> None:
    recipe = dataclasses.replace(RECIPE, operators=("ADD", "MUL"))
    built = Built(Path("/c/lib.so"), recipe, compiled=False)
    text = "\n".join(runtimes.made_lines(made(built=built, whole_bytes=whole)))
    assert "900 kB with ADD, MUL" in text and words in text and "was in the cache" in text
