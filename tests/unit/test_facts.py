from __future__ import annotations

import pytest

from edge import facts
from edge.errors import BoardError

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
library=libc.so.6
library=libstdc++.so.6
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
