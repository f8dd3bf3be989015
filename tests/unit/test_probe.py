from __future__ import annotations

from pathlib import Path

import pytest

from edge import board, deploy, facts, probe, runtime, toml
from edge.artifact import ElfFacts
from edge.errors import BoardError, UsageError
from tests.unit import boards

SEEN = "pi@10.0.0.7 on 2026-11-21"
NOTHING = facts.parse_condition("")


def elf(glibc: tuple[int, int]) -> ElfFacts:
    return ElfFacts("aarch64", 64, ("libc.so.6",), {"GLIBC": glibc}, frozenset(), frozenset())


def text(answers: str, condition: str = "", **options: object) -> str:
    return probe.board_file(
        facts.parse(answers),
        facts.parse_condition(condition),
        "mine",
        seen=SEEN,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_of_a_raspberry_pi_4() -> None:
    made = text(boards.RASPBERRY_PI_4, boards.RASPBERRY_PI_4_CONDITION)
    assert made == (
        "# Read from pi@10.0.0.7 on 2026-11-21 by `invoke probe`.\n"
        "# model: Raspberry Pi 4 Model B Rev 1.4\n"
        "# system: Debian GNU/Linux 12 (bookworm), Linux 6.6.31+rpt-rpi-v8, glibc 2.36\n"
        "# cores: 4 x cortex-a72\n"
        "# CPU features: fp asimd evtstrm crc32 cpuid\n"
        "# cores 0 1 2 3: 600 to 1800 MHz, governor ondemand\n"
        "# temperatures: cpu-thermal 72 C\n"
        "# disk: 23295 MiB free below /home/pi/.local/share/edge\n"
        "# throttle bits: 0x50005, which `invoke doctor` explains\n"
        "# Python: /usr/bin/python3 3.11.2\n"
        "# Python: /usr/bin/python3.11 3.11.2\n"
        'description = "Raspberry Pi 4 Model B Rev 1.4, Debian GNU/Linux 12 (bookworm)"\n'
        'arch = "aarch64"\n'
        'cpu = "cortex-a72"\n'
        "cores = 4\n"
        "memory_mib = 3793 # as the kernel counts it\n"
        'glibc = "2.28" # what the runner is built for; the board has 2.36\n'
        'verified = "hardware"\n'
    )


@pytest.mark.parametrize(
    ("answers", "arch", "cpu", "glibc"),
    [
        (boards.RASPBERRY_PI_4, "aarch64", "cortex-a72", "2.28"),
        (boards.RASPBERRY_PI_3_32_BIT, "armv7l", "cortex-a53", "2.28"),
        (boards.JETSON_NANO, "aarch64", "cortex-a57", "2.27"),
        (boards.BEAGLEBONE_BLACK, "armv7l", "cortex-a8", "2.28"),
        (boards.CONTAINER_ON_RK3399, "aarch64", "cortex-a72", "2.28"),
    ],
)
def test_the_file_loads_as_a_board(answers: str, arch: str, cpu: str, glibc: str) -> None:
    path = probe.write("mine", text(answers))
    assert path == Path("boards/mine.toml")
    loaded = board.load("mine")
    assert (loaded.arch, loaded.cpu, loaded.glibc) == (arch, cpu, glibc)
    assert loaded.verified == "hardware"
    assert [file.name for file in Path("boards").iterdir()] == ["mine.toml"]


def test_a_virtual_machine_is_not_hardware() -> None:
    machine = boards.RASPBERRY_PI_4.replace("brcm,bcm2711", "linux,dummy-virt")
    assert toml.loads(text(machine))["verified"] == "emulated"


def test_a_disk_says_what_is_wrong_with_it() -> None:
    sealed = boards.JETSON_NANO.replace("ext4 rw,", "ext4 ro,noexec,")
    assert "(mounted read-only, noexec)\n" in text(sealed)
    known = text(boards.JETSON_NANO)
    assert "throttle bits" not in known and "mounted" not in known


def test_the_first_runtime_that_fits_is_proposed() -> None:
    runtimes = [("new", elf((2, 34))), ("old", elf((2, 17))), ("older", elf((2, 4)))]
    made = text(boards.JETSON_NANO, runtimes=runtimes)
    assert 'runtime = "old" # its library fits this system; older would too\n' in made
    none = text(boards.JETSON_NANO, runtimes=runtimes[:1])
    assert "runtime" not in toml.loads(none) and "# no runtime that edge knows fits" in none


def test_a_32_bit_board_is_offered_the_runtime_that_is_compiled_for_it(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_largest_library", lambda *_: None)  # wheels, to be downloaded
    few = '[source]\nname = "tflite-2.14.1"\noperators = ["SOFTMAX"]\n'
    (desk / "runtimes").mkdir()
    (desk / "runtimes/few.toml").write_text(f'description = ""\nengine = "tflite"\n{few}')
    assert "few" in runtime.for_engine("tflite")
    offered = list(deploy.candidates(facts.parse(boards.BEAGLEBONE_BLACK), "armv7l", print))
    assert [name for name, _ in offered] == ["tflite-2.14.1"]
    made = text(boards.BEAGLEBONE_BLACK, runtimes=offered)
    assert toml.loads(made)["runtime"] == "tflite-2.14.1"
    assert list(runtime.needs("x86_64", print)) == []


def test_a_core_that_nobody_knows_is_assumed_and_said_so() -> None:
    made = text(boards.BEAGLEBONE_BLACK.replace("0xc08", "0xfff"))
    assert 'cpu = "cortex-a7" # assumed' in made


def test_what_edge_builds_nothing_for_is_refused() -> None:
    with pytest.raises(BoardError, match=r"musl 1\.2\.5: edge's runner needs glibc"):
        text(boards.ALPINE)
    riscv = boards.RASPBERRY_PI_4.replace("00b700", "00f300")
    with pytest.raises(BoardError, match="ELF machine 243, 64-bit: edge builds for aarch64"):
        text(riscv)


@pytest.mark.parametrize(
    "evil",
    [
        '"\\nverified = "hardware',
        "\\",
        '\\"',
        '"""',
        "'''",
        "x\x85verified = 1\u2028arch = 2",
        "# [table]",
        "${HOME} {{x}} \x1b[31m",
        "é😀",
        "x" * 100_000,
    ],
)
def test_a_board_can_not_write_into_its_file(evil: str) -> None:
    answers = boards.RASPBERRY_PI_4
    for key in ("model", "system", "kernel"):
        answers = answers.replace(f"\n{key}=", f"\n{key}={evil}")
    made = text(answers, f"python=/{evil}/3.11.2\nzone={evil}/1/")
    loaded = toml.loads(made)
    honest = toml.loads(text(boards.RASPBERRY_PI_4))
    assert {**loaded, "description": ""} == {**honest, "description": ""}
    assert made.isascii() and len(made) < 5000


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".", "..", "-x", "A", "a.b", "a b", "a\n", "x" * 64, "ü", "a\0"]
)
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    for call in (
        lambda: probe.checked_name(name),
        lambda: probe.board_file(facts.parse(boards.JETSON_NANO), NOTHING, name, seen=SEEN),
        lambda: probe.write(name, ""),
        lambda: probe.lab_entry(name, "x"),
    ):
        with pytest.raises(UsageError, match="can't be a board's name"):
            call()


def test_nothing_is_overwritten_unless_forced() -> None:
    probe.write("mine", text(boards.JETSON_NANO))
    for name in ("mine", "rpi4"):
        with pytest.raises(UsageError, match=rf"board '{name}' already .*--force"):
            probe.write(name, text(boards.RASPBERRY_PI_4))
    assert board.load("mine").cpu == "cortex-a57"
    probe.write("mine", text(boards.RASPBERRY_PI_4), force=True)
    assert board.load("mine").cpu == "cortex-a72"


def test_the_entry_for_lab_toml() -> None:
    entry = probe.lab_entry("mine", 'pi@x"\n[evil]')
    assert toml.loads(entry) == {"boards": {"mine": {"host": 'pi@x"?[evil]'}}}
