from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from edge import artifact, board, facts, preflight
from edge.artifact import Artifact, ElfFacts
from edge.errors import BoardError, UsageError
from edge.facts import Facts
from tests.unit import boards

FACTS = Facts(
    root=PurePosixPath("/home/pi/.local/share/edge"),
    user="pi",
    kernel="Linux 6.6",
    kernel_machine="aarch64",
    machine="aarch64",
    libc="glibc 2.36",
    glibc=(2, 36),
    writable=True,
    free_bytes=1 << 30,
    noexec=False,
    features=(),
    memory_bytes=1 << 30,
    cores=4,
    emulated=False,
    libraries=frozenset({"libc.so.6", "libstdc++.so.6"}),
)
ELF = ElfFacts(
    "aarch64", 64, ("libc.so.6", "libstdc++.so.6"), {"GLIBC": (2, 30)}, frozenset(), frozenset()
)
FILE = Artifact(Path("libLiteRt.so"), "lib/libtflite.so", "0" * 64, 9 << 20)


def findings(
    monkeypatch: pytest.MonkeyPatch, facts: Facts = FACTS, elf: ElfFacts = ELF
) -> tuple[preflight.Finding, ...]:
    monkeypatch.setattr(artifact, "elf_facts", lambda _: elf)
    return preflight.look(board.load("rpi4"), facts, (FILE,), FILE.size_bytes)


def test_a_fitting_board_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(monkeypatch)
    assert {f.level for f in found} == {"ok"}
    assert [f.check for f in found] == ["userland", "libLiteRt.so", "disk"]
    preflight.insist(found)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"machine": "armv7l"}, UsageError, ["armv7l", "its kernel is aarch64", "--board"]),
        ({"glibc": (2, 27)}, UsageError, ["needs glibc 2.30", "has 2.27", "--runtime"]),
        ({"glibc": None, "libc": "musl libc"}, BoardError, ["another C library", "musl"]),
        ({"libraries": frozenset({"libc.so.6"})}, BoardError, ["libstdc++.so.6", "install"]),
        ({"writable": False}, BoardError, ["pi can't write", "lab.toml"]),
        ({"noexec": True}, BoardError, ["noexec", "lab.toml"]),
        ({"free_bytes": 10 << 20}, BoardError, ["10 MiB free", "13 MiB"]),
    ],
)
def test_what_stops_a_deploy(
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    kind: type[Exception],
    words: list[str],
) -> None:
    found = findings(monkeypatch, dataclasses.replace(FACTS, **change))  # type: ignore[arg-type]
    with pytest.raises(kind) as error:
        preflight.insist(found)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_library_for_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(monkeypatch, elf=dataclasses.replace(ELF, machine="x86_64"))
    with pytest.raises(UsageError, match="built for x86_64, the board's system is aarch64"):
        preflight.insist(found)


def test_just_enough_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = dataclasses.replace(FACTS, glibc=(2, 30), free_bytes=(9 << 20) + (4 << 20))
    preflight.insist(findings(monkeypatch, exact))


def test_what_is_unknown_does_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = dataclasses.replace(
        FACTS, glibc=None, libc="", free_bytes=None, libraries=frozenset()
    )
    preflight.insist(findings(monkeypatch, unknown))


# --- proposals ----------------------------------------------------------------------------------

NEEDED = ("libc.so.6", "libstdc++.so.6")
LITERT_230 = ElfFacts(
    "aarch64", 64, NEEDED, {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 30)}, frozenset(), frozenset()
)
LITERT_210 = ElfFacts(
    "aarch64", 64, NEEDED, {"GLIBC": (2, 30), "GLIBCXX": (3, 4, 26)}, frozenset(), frozenset()
)
TFLITE_RUNTIME = ElfFacts(
    "aarch64", 64, ("libc.so.6",), {"GLIBC": (2, 27)}, frozenset(), frozenset()
)
RUNTIMES = (
    ("litert-2.3.0", LITERT_230),
    ("litert-2.1.0", LITERT_210),
    ("tflite-runtime-2.14.0 --engine python", TFLITE_RUNTIME),
)
BULLSEYE = dataclasses.replace(
    FACTS,
    glibc=(2, 31),
    libc="glibc 2.31",
    provides={"GLIBCXX": (3, 4, 28), "CXXABI": (1, 3, 12), "GCC": (7, 0, 0)},
)


def refusal(
    monkeypatch: pytest.MonkeyPatch,
    facts: Facts,
    elf: ElfFacts,
    alternatives: preflight.Alternatives | None,
) -> str:
    monkeypatch.setattr(artifact, "elf_facts", lambda _: elf)
    found = preflight.look(
        board.load("rpi4"), facts, (FILE,), 0, runtime="litert-2.3.0", alternatives=alternatives
    )
    with pytest.raises(UsageError) as error:
        preflight.insist(found)
    return str(error.value)


def test_a_mismatch_names_both_sides_and_proposes_what_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert refusal(monkeypatch, BULLSEYE, LITERT_230, lambda: RUNTIMES) == (
        "libLiteRt.so of litert-2.3.0 needs glibc 2.34 and GLIBCXX_3.4.30, the board has 2.31 and "
        "3.4.28; --runtime litert-2.1.0 fits (needs glibc 2.30 and GLIBCXX_3.4.26), "
        "tflite-runtime-2.14.0 --engine python too"
    )


def test_on_a_jetson_nano_only_an_older_runtime_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    nano = facts.parse(boards.JETSON_NANO)
    text = refusal(monkeypatch, nano, LITERT_230, lambda: RUNTIMES)
    assert "the board has 2.27 and 3.4.25" in text
    assert text.endswith(
        "; --runtime tflite-runtime-2.14.0 --engine python fits (needs glibc 2.27)"
    )


def test_if_nothing_fits_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ancient = dataclasses.replace(BULLSEYE, glibc=(2, 19), libc="glibc 2.19")
    text = refusal(monkeypatch, ancient, LITERT_230, lambda: RUNTIMES)
    assert "no runtime that edge knows fits" in text
    assert "--runtime" in refusal(monkeypatch, ancient, LITERT_230, None)


def test_a_new_c_library_with_an_old_libstdcxx_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = dataclasses.replace(BULLSEYE, glibc=(2, 36))
    text = refusal(monkeypatch, mixed, LITERT_230, None)
    assert "needs GLIBCXX_3.4.30, the board has 3.4.28" in text


def test_a_runtime_for_another_machine_does_not_fit() -> None:
    for_x86 = dataclasses.replace(LITERT_210, machine="x86_64")
    fit = preflight.fitting(BULLSEYE, [("x86", for_x86), ("arm", LITERT_210)])
    assert [name for name, _ in fit] == ["arm"]


def test_alternatives_are_not_asked_when_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> list[tuple[str, ElfFacts]]:
        raise AssertionError("asked, and perhaps downloaded, for nothing")

    monkeypatch.setattr(artifact, "elf_facts", lambda _: LITERT_210)
    found = preflight.look(board.load("rpi4"), BULLSEYE, (FILE,), 0, alternatives=asked)
    assert {finding.level for finding in found} == {"ok"}


def test_a_program_that_does_not_fit_is_not_the_runtimes_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = Artifact(Path("edge-run"), "bin/edge-run", "0" * 64, 1)
    monkeypatch.setattr(artifact, "elf_facts", lambda _: LITERT_230)
    found = preflight.look(
        board.load("rpi4"), BULLSEYE, (program,), 0, runtime="r", alternatives=lambda: RUNTIMES
    )
    [stop] = [finding for finding in found if finding.level == "stop"]
    assert stop.text.startswith("edge-run needs glibc 2.34")
    assert "toolchain zig" in stop.remedy


def test_a_shipped_library_counts_as_the_boards_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = dataclasses.replace(BULLSEYE, libraries=frozenset({"libc.so.6"}), provides={})
    shipped = Artifact(Path("shipped.so"), "lib/libstdc++.so.6", "1" * 64, 1)
    provides = ElfFacts(
        "aarch64", 64, ("libc.so.6",), {"GLIBC": (2, 18)}, frozenset(), frozenset(),
        {"GLIBCXX": (3, 4, 28), "GLIBC": (2, 0)},
    )  # fmt: skip
    monkeypatch.setattr(
        artifact, "elf_facts", lambda path: provides if path == shipped.path else LITERT_210
    )
    for files, level in (((FILE,), "stop"), ((FILE, shipped), "ok")):
        found = preflight.look(board.load("rpi4"), bare, files, 0)
        assert next(f for f in found if f.check == FILE.path.name).level == level
    # Not its glibc: that is the board's own.
    assert "GLIBC" not in preflight.offered(FACTS_WITHOUT_LIBC, [("x.so", provides)]).versions


FACTS_WITHOUT_LIBC = dataclasses.replace(FACTS, libc="", glibc=None)


# --- the rest of what stops or warns ------------------------------------------------------------


def look(facts: Facts, **options: Any) -> dict[str, preflight.Finding]:
    target = dataclasses.replace(board.load("rpi4"), arch=facts.machine)
    return {f.check: f for f in preflight.look(target, facts, (), 0, **options)}


def test_a_cortex_a8_lacks_what_a_runtime_uses() -> None:
    black = facts.parse(boards.BEAGLEBONE_BLACK)
    options = {"runtime": "tflite-runtime-2.14.0", "needs_features": ("neon", "vfpv4")}
    stop = look(black, **options)["cpu"]
    assert (stop.level, stop.users_fault) == ("stop", True)
    assert "tflite-runtime-2.14.0 needs the CPU features neon, vfpv4" in stop.text
    assert "the board's cortex-a8 has no vfpv4 (it has half, thumb" in stop.text
    assert look(facts.parse(boards.RASPBERRY_PI_3_32_BIT), **options)["cpu"].level == "ok"
    silent = dataclasses.replace(black, features=())
    assert "unknown" in look(silent, **options)["cpu"].text


def test_a_read_only_disk_is_told_from_a_forbidden_one() -> None:
    assert "remount,rw" in look(facts.parse(boards.ALPINE))["disk"].remedy
    forbidden = dataclasses.replace(FACTS, writable=False)
    assert "pi can't write" in look(forbidden)["disk"].text


@pytest.mark.parametrize(
    ("model_mib", "level"), [(100, "ok"), (500, "ok"), (501, "warning"), (1001, "stop")]
)
def test_a_model_must_find_room_in_memory(model_mib: int, level: str) -> None:
    free = dataclasses.replace(FACTS, memory_available_bytes=1000 << 20)
    model = Artifact(Path("m.tflite"), "models/m.tflite", "0" * 64, model_mib << 20)
    small = Artifact(Path("s.tflite"), "models/s.tflite", "1" * 64, 1)
    found = look(free, models=(small, model))["memory"]
    assert found.level == level
    assert f"m.tflite is {model_mib} MiB, the board has 1000 MiB of memory free" in found.text


def test_a_large_runtime_must_find_room_in_memory() -> None:
    small = dataclasses.replace(FACTS, memory_available_bytes=300_000_000)
    stop = look(small, runtime="tensorflow-2.20.0", needs_memory_mb=350)["memory"]
    assert (stop.level, stop.users_fault) == ("stop", True)
    assert "takes about 350 MB of memory" in stop.text and "has 300 MB free" in stop.text
    enough = dataclasses.replace(FACTS, memory_available_bytes=400_000_000)
    assert "memory" not in look(enough, runtime="tensorflow-2.20.0", needs_memory_mb=350)


def test_a_containers_memory_is_less_than_the_boards() -> None:
    model = Artifact(Path("m.tflite"), "models/m.tflite", "0" * 64, 600 << 20)
    container = facts.parse(boards.CONTAINER_ON_RK3399)
    assert "512 MiB" in look(container, models=(model,))["memory"].text


@pytest.mark.parametrize(
    ("ahead_s", "level", "words"),
    [
        (-3.0, "ok", "3 s"),
        (300.0, "ok", "300 s"),
        (-301.0, "warning", "5 minutes behind"),
        (7300.0, "warning", "2 hours ahead of"),
        (-86400.0 * 900, "warning", "2 years behind"),
    ],
)
def test_a_clock_that_is_off(ahead_s: float, level: str, words: str) -> None:
    found = look(dataclasses.replace(FACTS, clock_ahead_s=ahead_s))["clock"]
    assert (found.level, words in found.text) == (level, True), found.text


def test_a_board_that_is_short_of_power_now_is_warned_of_before_a_deploy() -> None:
    found = preflight.look(board.load("rpi4"), facts.parse(boards.RASPBERRY_PI_4), (), 0)
    told = [(f.level, f.text) for f in found if f.check == "firmware"]
    assert told == [
        ("warning", "now: undervoltage (bit 0)"),
        ("warning", "now: the clock is throttled (bit 2)"),
    ]
    once = dataclasses.replace(FACTS, throttled=0x50000)
    assert "firmware" not in look(once)


# --- what spoils a measurement ------------------------------------------------------------------


def spoilers(answers: str, condition: str) -> list[tuple[str, str, str]]:
    found = preflight.spoilers(
        facts.parse(answers, now_s=1795000000), facts.parse_condition(condition)
    )
    assert all(bool(f.remedy) == (f.level != "ok") for f in found)
    return [(f.check, f.level, f"{f.text} -> {f.remedy}") for f in found]


def test_what_spoils_figures_on_a_raspberry_pi() -> None:
    found = spoilers(boards.RASPBERRY_PI_4, boards.RASPBERRY_PI_4_CONDITION)
    assert [(check, level) for check, level, _ in found] == [
        ("governor", "warning"),
        ("firmware", "warning"),
        ("firmware", "warning"),
        ("temperature", "warning"),
        ("load", "ok"),
        ("swap", "ok"),
        ("clock", "ok"),
    ]
    texts = [text for _, _, text in found]
    assert texts[0] == (
        "cores 0 1 2 3: governor ondemand, 600 to 1800 MHz, now 600: the clock moves under load -> "
        "on the board: `echo performance | sudo tee "
        "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor`"
    )
    assert "now: undervoltage (bit 0) -> use the board's own power supply" in texts[1]
    assert "now: the clock is throttled (bit 2) -> cool the board" in texts[2]
    assert "72 °C, it slows down at 80 °C" in texts[3]


def test_what_was_once_is_told_from_what_is_now() -> None:
    text = boards.RASPBERRY_PI_4.replace("throttled=50005", "throttled=80000")
    found = spoilers(text, boards.RASPBERRY_PI_4_CONDITION)
    [(_, level, words)] = [f for f in found if f[0] == "firmware"]
    assert level == "warning"
    assert words.startswith("once since the start: the soft temperature limit is reached (bit 19)")


def test_what_spoils_figures_on_a_jetson_nano_and_the_sudoers_line_that_helps() -> None:
    found = spoilers(boards.JETSON_NANO, boards.JETSON_NANO_CONDITION)
    by_check = {check: text for check, level, text in found if level == "warning"}
    assert sorted(by_check) == ["clock limit", "governor", "load", "sudo", "swap"]
    assert (
        "`echo 'nvidia ALL=(root) NOPASSWD: /usr/bin/tee "
        "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor' | "
        "sudo tee /etc/sudoers.d/edge-governor`"
    ) in by_check["sudo"]
    assert "918 of 1479 MHz -> on the board: `echo 1479000 | sudo tee" in by_check["clock limit"]
    assert "98 MiB of memory are swapped out" in by_check["swap"]


def test_a_line_of_sudoers_permits_each_file_and_all_of_them() -> None:
    assert preflight.sudoers("pi", ["/sys/a", "/sys/b", "/sys/a"]) == (
        "echo 'pi ALL=(root) NOPASSWD: /usr/bin/tee /sys/a, /usr/bin/tee /sys/b, "
        "/usr/bin/tee /sys/a /sys/b' | sudo tee /etc/sudoers.d/edge-governor"
    )


def test_what_spoils_figures_in_a_container() -> None:
    found = spoilers(boards.CONTAINER_ON_RK3399, boards.CONTAINER_ON_RK3399_CONDITION)
    warnings = [text for _, level, text in found if level == "warning"]
    assert len(warnings) == 5, warnings
    assert "governor powersave, 408 to 1800 MHz, now 408" in warnings[0]
    assert "offers powersave only" in warnings[0]
    assert "61 °C, it slows down at 70 °C" in warnings[1]
    assert "the cores differ (4 x cortex-a53, 2 x cortex-a72)" in warnings[2]
    assert "may use cores 0-1,4, 3 of 6" in warnings[3]
    assert "has 0.5 of 6 processors' time" in warnings[4]
    assert any("cores 5 are isolated" in text for _, level, text in found if level == "ok")


def test_a_login_that_may_not_ask_the_firmware() -> None:
    text = boards.RASPBERRY_PI_4.replace("throttled=50005", "throttled=")
    condition = boards.RASPBERRY_PI_4_CONDITION.replace(" video", "").replace(
        "vcgencmd=throttled=0x50005", "vcgencmd=Can't open device file: /dev/vcio"
    )
    [(_, level, words)] = [f for f in spoilers(text, condition) if f[0] == "firmware"]
    assert level == "warning"
    assert "/dev/vcio -> on the board: `sudo usermod -aG video pi`" in words
