from __future__ import annotations

from pathlib import Path

import pytest

from edge import facts
from edge.errors import BoardError, UsageError
from edge.facts import Zone
from edge.testing import FakeTransport
from tests.unit import boards

AARCH64 = "7f454c4602010100000000000000000003" + "00b700"
ARM = "7f454c4601010100000000000000000003" + "002800"
GOOD = f"""Welcome to Raspberry Pi OS! load=high
root=/home/pi/.local/share/edge
user=pi
kernel=Linux 6.6.31+rpt-rpi-v8
kernel_machine=aarch64
shell_elf={AARCH64}
libc=glibc 2.36
writable=yes
free_kib=1000
mount=/home
features= fp asimd crc32
MemTotal=900000
cores=4
libraries=libc.so.6 libstdc++.so.6
mounts=/dev/mmcblk0p2 / ext4 rw,noatime 0 0
mounts=/dev/sda1 /home ext4 rw,noexec,relatime 0 0
"""


def test_facts_of_a_raspberry_pi_with_a_login_banner() -> None:
    found = facts.parse(GOOD)
    assert (found.machine, found.glibc, found.user) == ("aarch64", (2, 36), "pi")
    assert found.free_bytes == 1000 * 1024
    assert found.features == ("fp", "asimd", "crc32")
    assert found.libraries == {"libc.so.6", "libstdc++.so.6"}
    assert found.noexec


def test_a_32_bit_system_on_a_64_bit_kernel_is_32_bit() -> None:
    found = facts.parse(GOOD.replace(AARCH64, ARM))
    assert (found.machine, found.kernel_machine) == ("armv7l", "aarch64")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("ldd (Debian GLIBC 2.31-13+rpt2+rpi1+deb11u11) 2.31", (2, 31)),
        ("ldd (Ubuntu GLIBC 2.27-3ubuntu1.6) 2.27", (2, 27)),
        ("ldd (GNU libc) 2.39", (2, 39)),
        ("ld.so (Debian GLIBC 2.36-9) stable release version 2.36.", (2, 36)),
        ("musl libc (aarch64) Version 1.2.4", None),
        ("", None),
    ],
)
def test_spellings_of_the_c_library(text: str, version: tuple[int, int] | None) -> None:
    assert facts.parse(GOOD.replace("glibc 2.36", text)).glibc == version


@pytest.mark.parametrize("number", ["9" * 5000, "²", "-1", "0x10", "1e9"])
def test_a_number_that_is_none_is_unknown(number: str) -> None:
    assert facts.parse(GOOD.replace("free_kib=1000", f"free_kib={number}")).free_bytes is None


def test_a_virtual_machine_is_known_whatever_its_board_file_says() -> None:
    assert not facts.parse(GOOD + "hardware=raspberrypi,4-model-b brcm,bcm2711\n").emulated
    assert facts.parse(GOOD + "hardware=linux,dummy-virt\n").emulated


def test_what_a_board_can_not_say_is_unknown_not_zero() -> None:
    text = GOOD.replace("free_kib=1000", "free_kib=").replace("cores=4", "cores=")
    found = facts.parse(text)
    assert (found.free_bytes, found.cores) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("root=/home/pi/.local/share/edge", "root="),
        GOOD.replace(AARCH64, ""),
        GOOD.replace(AARCH64, "23212f62696e2f7368"),
        "",
        "=\n==\n\0",
    ],
)
def test_nonsense_is_a_clear_error(text: str) -> None:
    with pytest.raises(BoardError):
        facts.parse(text)


# --- what real boards are known to say ------------------------------------------------------------


def test_a_raspberry_pi_4() -> None:
    found = facts.parse(boards.RASPBERRY_PI_4, now_s=1795000002)
    assert (found.model, found.system) == (
        "Raspberry Pi 4 Model B Rev 1.4",
        "Debian GNU/Linux 12 (bookworm)",
    )
    assert (found.cpus, found.cpu) == ((("cortex-a72", 4),), "cortex-a72")
    assert found.provides == {"GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13), "GCC": (12, 0, 0)}
    assert found.memory_available_bytes == 3201568 * 1024
    assert (found.memory_limit_bytes, found.cpu_limit, found.swap_used_bytes) == (None, None, 0)
    assert (found.page_bytes, found.cpus_allowed, found.read_only) == (4096, "0-3", False)
    assert found.clock_ahead_s == -2
    assert found.throttled == 0x50005


def test_how_a_raspberry_pi_4_is() -> None:
    found = facts.parse_condition(boards.RASPBERRY_PI_4_CONDITION)
    [clock] = found.clocks
    assert (clock.policy, clock.cores, clock.governor) == ("policy0", "0 1 2 3", "ondemand")
    assert "performance" in clock.governors
    assert (clock.min_mhz, clock.max_mhz, clock.now_mhz) == (600, 1800, 600)
    assert found.zones == (Zone("cpu-thermal", 71.578, 110),)
    assert (found.load, found.sudo, found.vcgencmd) == (0.08, "yes", "throttled=0x50005")
    assert "video" in found.groups
    assert found.pythons == {"/usr/bin/python3": "3.11.2", "/usr/bin/python3.11": "3.11.2"}


def test_a_64_bit_kernel_hides_what_a_32_bit_program_can_use() -> None:
    found = facts.parse(boards.RASPBERRY_PI_3_32_BIT)
    assert (found.machine, found.glibc, found.throttled) == ("armv7l", (2, 31), 0)
    assert {"neon", "vfpv4", "asimd"} <= set(found.features)
    assert "neon" not in facts.parse(boards.RASPBERRY_PI_4).features


def test_a_jetson_nano_without_limits_of_cgroup_version_1() -> None:
    found = facts.parse(boards.JETSON_NANO)
    assert (found.glibc, found.cpu, found.throttled) == ((2, 27), "cortex-a57", None)
    assert (found.memory_limit_bytes, found.cpu_limit) == (None, None)
    assert found.swap_used_bytes == 100000 * 1024
    condition = facts.parse_condition(boards.JETSON_NANO_CONDITION)
    assert condition.pythons == {"/usr/bin/python3": "3.6.9"}
    assert [zone.limit_celsius for zone in condition.zones] == [100, 97, None]
    assert condition.clocks[0].hardware_max_mhz == 1479


def test_an_alpine_with_musl_and_a_read_only_root() -> None:
    found = facts.parse(boards.ALPINE)
    assert (found.libc, found.glibc) == ("musl 1.2.5", None)
    assert found.read_only
    assert found.provides == {}


def test_a_container_on_a_board_with_two_kinds_of_core() -> None:
    found = facts.parse(boards.CONTAINER_ON_RK3399)
    assert (found.cpus, found.cpu) == ((("cortex-a53", 4), ("cortex-a72", 2)), "cortex-a72")
    assert (found.memory_limit_bytes, found.cpu_limit) == (512 << 20, 0.5)
    condition = facts.parse_condition(boards.CONTAINER_ON_RK3399_CONDITION)
    assert [clock.cores for clock in condition.clocks] == ["0 1 2 3", "4 5"]
    assert [zone.name for zone in condition.zones] == ["cpu-thermal"]


def test_a_kernel_that_prints_one_part_for_all_cores_and_a_core_unknown_to_us() -> None:
    text = boards.BEAGLEBONE_BLACK.replace("cores=1", "cores=4")
    assert facts.parse(text).cpus == (("cortex-a8", 4),)
    strange = facts.parse(text.replace("0x41 0xc08", "0x99 0x123"))
    assert strange.cpus == (("implementer 0x99 part 0x123", 4),)
    assert facts.parse(text.replace("cpu=0x41 0xc08\n", "")).cpus == (
        ("ARMv7 Processor rev 2 (v7l)", 4),
    )


def test_what_a_board_says_can_not_steer_a_terminal() -> None:
    found = facts.parse(boards.ALPINE.replace("model=", "model=\x1b]0;x\x07\u202e"))
    assert found.model.isprintable()


@pytest.mark.parametrize(
    "text",
    ["policy=x", "policy=policy0//////", "zone=", "zone=a/b/c", "load=high", "python=3.11", "\0"],
)
def test_nonsense_about_the_condition_is_nothing(text: str) -> None:
    found = facts.parse_condition(text)
    assert (found.clocks, found.zones, found.load, dict(found.pythons)) == ((), (), None, {})


# --- the way the answers come ---------------------------------------------------------------------


def board_that_prints(text: str) -> FakeTransport:
    return FakeTransport().on(["sh", "-s", "--"], stdout=text.encode())


def framed(text: str) -> str:
    return f"\nedge-answers-begin\n{text}edge-answers-end\n"


def test_reading_asks_once_and_keeps_the_script_off_the_command_line() -> None:
    board = board_that_prints(framed(boards.RASPBERRY_PI_4))
    assert facts.read(board, "some root").user == "pi"
    [call] = board.calls
    assert call.argv == ("sh", "-s", "--", "some root")
    assert b"shell_elf" in call.stdin


@pytest.mark.parametrize(
    "text",
    ["hello pi\n" + framed(boards.RASPBERRY_PI_4), framed(boards.RASPBERRY_PI_4) + "bye\n"],
)
def test_a_login_that_prints_is_named(text: str) -> None:
    with pytest.raises(BoardError, match=r"prints '(hello pi|bye)' with every command.*~/.bashrc"):
        facts.read(board_that_prints(text), "x")


@pytest.mark.parametrize("text", ["", "edge-answers-begin\nroot=/x\n", "no shell here\n"])
def test_an_answer_that_was_cut_off_is_an_error(text: str) -> None:
    with pytest.raises(BoardError, match="POSIX shell"):
        facts.read(board_that_prints(text), "x")


# --- a folder with another system's libraries -----------------------------------------------------


def test_a_folder_without_a_c_library_is_no_root(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no libc\.so\.6"):
        facts.in_sysroot(facts.parse(boards.RASPBERRY_PI_4), tmp_path, "aarch64", "cortex-a72")


def test_a_root_speaks_for_its_release_and_its_core_for_its_features(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libc.so.6").write_bytes(b"\0GNU C Library stable release version 2.31.\0")
    here = facts.parse(boards.RASPBERRY_PI_4)
    found = facts.in_sysroot(here, tmp_path, "armv7l", "cortex-a8")
    assert (found.glibc, found.libc, found.machine) == ((2, 31), "glibc 2.31", "armv7l")
    assert "neon" in found.features and "vfpv4" not in found.features
    assert found.libraries == {"libc.so.6"}
    assert not found.provides
    assert found.root == here.root
