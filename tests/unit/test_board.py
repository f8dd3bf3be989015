from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from edge import board, image, runtime, toolchain
from edge.errors import UsageError

GOOD = """
description = "a board"
arch = "aarch64"
cpu = "cortex-a72"
cores = 4
memory_mib = 1024
glibc = "2.28"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an own boards folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boards").mkdir()
    return tmp_path / "boards"


def test_this_machine_is_a_board_that_speaks_for_itself() -> None:
    here = board.load("localhost")
    assert (here.local, here.arch, here.verified) == (True, platform.machine(), "itself")
    assert here.cores == os.cpu_count()
    assert here.memory_mib > 0
    assert here.runtime == "litert-2.3.0"


def test_this_machine_has_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="localhost is this machine"):
        board.load("localhost", host="pi@10.0.0.7")
    lab = tmp_path / "lab.toml"
    monkeypatch.setenv("EDGE_LAB", str(lab))
    lab.write_text('[boards.localhost]\nroot = "/srv/edge"\n', encoding="utf-8")
    assert board.load("localhost").root == "/srv/edge"


def test_every_shipped_board_loads() -> None:
    names = {b.name for b in board.load_all()}
    assert {"qemu-aarch64", "qemu-virt", "rpi4", "rpi5", "rpi-zero2w"} <= names


@pytest.mark.parametrize("name", board.files())
def test_a_shipped_board_names_what_exists(name: str) -> None:
    found = board.load(name)
    assert toolchain.load(found.toolchain, found.arch).file.exists()
    assert runtime.load(found.runtime).name == found.runtime
    if found.image is not None:
        architecture = {"aarch64": "arm64", "armv7l": "armhf"}[found.arch]
        assert image.load(found.image).architecture == architecture


def test_a_board_file_says_where_its_values_are_from() -> None:
    for name, path in board.files().items():
        if board.load(name).verified == "datasheet":
            assert path.read_text(encoding="utf-8").startswith("# Source: ")


def test_hardware_values_are_not_claimed_to_be_verified() -> None:
    for found in board.load_all():
        assert found.emulated == (found.verified == "emulated")


def test_a_file_in_the_working_directory_is_a_board(folder: Path) -> None:
    (folder / "mine.toml").write_text(GOOD, encoding="utf-8")
    assert board.load("mine").cpu == "cortex-a72"
    assert board.load("mine").toolchain == "zig"


def test_a_file_in_the_working_directory_hides_a_shipped_board(folder: Path) -> None:
    (folder / "rpi4.toml").write_text(GOOD.replace("1024", "8192"), encoding="utf-8")
    assert board.load("rpi4").memory_mib == 8192


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + 'gilbc = "2.31"', ["mine.toml", "'gilbc'", "did you mean 'glibc'"]),
        (GOOD.replace("cores = 4", 'cores = "4"'), ["'cores'", "whole number"]),
        (GOOD.replace("cores = 4", "cores = true"), ["'cores'", "whole number"]),
        (GOOD.replace("cores = 4", "cores = 0"), ["cores", "at least 1"]),
        (GOOD.replace('"2.28"', '"new"'), ["glibc", "version such as"]),
        (GOOD.replace('"cortex-a72"', '"a72; rm -rf /"'), ["cpu", "core's name"]),
        (GOOD.replace("cores = 4\n", ""), ["'cores' is missing"]),
        (GOOD + 'lto = "yes"', ["'lto'", "true or false"]),
        (GOOD + "cflags = ['-O3']", ["'cflags'", "text"]),
        (GOOD + 'verified = "sure"', ["verified", "hardware"]),
        (GOOD + 'emulation = "user"', ["image"]),
        (GOOD + 'emulation = "magic"\nimage = "x"', ["emulation", "machine"]),
        (GOOD + 'local = "yes"', ["'local'", "true or false"]),
        (GOOD + 'local = true\nemulation = "user"\nimage = "x"', ["local", "not emulated"]),
        ("cores = = 4", ["no valid TOML", "line 1"]),
    ],
)
def test_a_wrong_board_file_is_one_clear_line(folder: Path, text: str, words: list[str]) -> None:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        board.load("mine")
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_board_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'rpi4'"):
        board.load("rpi-4")


@pytest.mark.parametrize("name", ["../boards/rpi4", "/etc/passwd", ""])
def test_a_board_is_a_name_not_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="no board"):
        board.load(name)


def test_the_lab_file_adds_where_a_board_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab.toml"
    monkeypatch.setenv("EDGE_LAB", str(lab))
    lab.write_text('[boards.rpi4]\nhost = "pi@10.0.0.7"\nroot = "/srv/edge"\n', encoding="utf-8")
    assert (board.load("rpi4").host, board.load("rpi4").root) == ("pi@10.0.0.7", "/srv/edge")
    assert board.load("rpi4", host="other").host == "other"
    assert board.load("rpi4").python == "python3"
    assert board.load("rpi5").host is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[boards.rpi44]\nhost = "x"\n', ["boards.rpi44", "did you mean 'rpi4'"]),
        ('[boards.rpi4]\nhots = "x"\n', ["boards.rpi4.hots", "did you mean 'host'"]),
        ('[boards.mine]\nhost = "x"\n', ["boards.mine", 'kind = "rpi4"']),
        ('[boards.mine]\nkind = "rpi44"\n', ["boards.mine.kind", "did you mean 'rpi4'"]),
        ('[boards.rpi5]\nkind = "rpi4"\n', ["boards.rpi5", "board of its own", "rpi5.toml"]),
        ('[boards."a,b"]\nkind = "rpi4"\n', ['"a,b"', "letters, digits"]),
        ('[boards."../x"]\nkind = "rpi4"\n', ['"../x"', "letters, digits"]),
        ('[boards.rpi4]\non_switch = "reboot"\n', ["on_switch", "list of words"]),
        ("[boards.rpi4]\non_switch = [1]\n", ["on_switch", "list of words"]),
        ('[boards.rpi4]\non_switch = ["a\\u0000"]\n', ["on_switch", "list of words"]),
        ("[boards.rpi4]\non_switch = []\n", ["on_switch", "is empty"]),
        ('[boards.rpi4]\nsudo = "yes"\n', ["sudo", "true or false"]),
        ("[boards.rpi4]\non_switch_timeout_s = 0\n", ["on_switch_timeout_s", "more than 0"]),
        ("[boards.rpi4]\non_switch_timeout_s = inf\n", ["on_switch_timeout_s", "more than 0"]),
        ("[boards.rpi4]\non_switch_timeout_s = nan\n", ["on_switch_timeout_s", "more than 0"]),
        ("[boards.rpi4]\non_switch_timeout_s = true\n", ["on_switch_timeout_s", "a number"]),
        ('[board.rpi4]\nhost = "x"\n', ["'board'", "did you mean 'boards'"]),
        ('[boards.rpi4]\npython = "-c"\n', ["boards.rpi4.python", "absolute path", "'-c'"]),
        ("boards = 4\n", ["table of tables"]),
        ("[boards]\nrpi4 = 4\n", ["boards.rpi4"]),
    ],
)
def test_a_wrong_lab_file_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    lab = tmp_path / "lab.toml"
    monkeypatch.setenv("EDGE_LAB", str(lab))
    lab.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        board.load("rpi4")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_example_lab_file_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).parents[2] / "lab.example.toml"
    monkeypatch.setenv("EDGE_LAB", str(example))
    assert board.load("rpi4").host == "pi@10.0.0.7"
    kitchen = board.load("rpi4-kitchen")
    assert (kitchen.kind, kitchen.host, kitchen.cpu) == ("rpi4", "pi@10.0.0.8", "cortex-a72")
    assert kitchen.on_switch == ("systemctl", "--user", "restart", "camera")
    assert kitchen.on_switch_timeout_s == 20.0
    # Nobody's sudo is used unasked.
    assert kitchen.sudo is False


# --- several boards -------------------------------------------------------------------------------

LAB = """
[boards.rpi4-kitchen]
kind = "rpi4"
host = "pi@10.0.0.8"

[boards.rpi5]
root = "/srv/edge"

[boards.rpi4-attic]
kind = "rpi4"
on_switch = ["sync"]
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lab.toml"
    monkeypatch.setenv("EDGE_LAB", str(path))
    path.write_text(LAB, encoding="utf-8")
    return path


def names(patterns: str | None, **given: object) -> list[str]:
    return [b.name for b in board.select(patterns, **given)]  # type: ignore[arg-type]


def test_a_unit_is_its_kind_with_a_name_of_its_own(lab: Path) -> None:
    kitchen, kind = board.load("rpi4-kitchen"), board.load("rpi4")
    assert (kitchen.name, kitchen.kind, kitchen.host) == ("rpi4-kitchen", "rpi4", "pi@10.0.0.8")
    assert (kitchen.cpu, kitchen.memory_mib) == (kind.cpu, kind.memory_mib)
    assert (kind.kind, kind.on_switch, kind.on_switch_timeout_s) == (None, (), 30.0)
    assert board.load("rpi4-attic").on_switch == ("sync",)


def test_units_are_listed_among_the_boards(lab: Path) -> None:
    listed = [b.name for b in board.load_all()]
    assert {"rpi4", "rpi4-kitchen", "rpi4-attic"} <= set(listed)
    assert listed == sorted(listed)


def test_a_name_that_is_nearly_a_units_is_told(lab: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'rpi4-kitchen'"):
        board.load("rpi4-kitchn")


def test_boards_are_named_by_commas_in_their_order_and_once(lab: Path) -> None:
    assert names("rpi5, rpi4-attic,rpi5") == ["rpi5", "rpi4-attic"]
    assert names("rpi4-attic,rpi4-*") == ["rpi4-attic", "rpi4-kitchen"]


def test_a_pattern_means_boards_that_somebody_has(lab: Path) -> None:
    assert names("rpi4*") == ["rpi4-kitchen", "rpi4-attic"]
    assert names("rpi?") == ["rpi5"]
    assert names("rpi[4]-[!k]*") == ["rpi4-attic"]


def test_a_pattern_that_matches_nobodys_board_means_definitions(lab: Path) -> None:
    assert names("jetson-*") == ["jetson-nano", "jetson-orin-nano"]


def test_all_is_every_entry_of_the_lab_file_in_its_order(lab: Path) -> None:
    assert names(None, all=True) == ["rpi4-kitchen", "rpi5", "rpi4-attic"]
    lab.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"--all is every board in .*lab.toml, and there is none"):
        names(None, all=True)


def test_a_host_goes_with_one_board(lab: Path) -> None:
    assert board.select("rpi4", host="pi@x")[0].host == "pi@x"
    with pytest.raises(UsageError, match="of one board, not of 2"):
        board.select("rpi4-*", host="pi@x")


@pytest.mark.parametrize(
    ("patterns", "given", "words"),
    [
        ("rpi4-z*", {}, "no board matches 'rpi4-z*' (near it: rpi4"),
        ("rpi4,,rpi5", {}, "empty name"),
        ("", {}, "empty name"),
        ("rpi4,nano", {}, "no board 'nano'"),
        (None, {}, "which board?"),
        ("rpi4", {"all": True}, "which board?"),
    ],
)
def test_a_selection_that_means_nothing_is_one_clear_line(
    lab: Path, patterns: str | None, given: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError) as error:
        names(patterns, **given)
    assert words in str(error.value)
