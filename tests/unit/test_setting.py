"""What --set means on a board, and who may."""

from __future__ import annotations

import dataclasses

import pytest

from edge import board, facts, setting
from edge.errors import UsageError
from edge.facts import Condition
from edge.session import Session
from edge.testing import FakeTransport
from tests.unit import boards

POLICY = "/sys/devices/system/cpu/cpufreq/policy{}/scaling_governor"


def resolved(
    monkeypatch: pytest.MonkeyPatch,
    *words: str,
    condition: str = boards.RASPBERRY_PI_4_CONDITION,
    sudo: bool = False,
) -> tuple[str, ...]:
    def read(_: object) -> Condition:
        return facts.parse_condition(condition)

    monkeypatch.setattr(facts, "read_condition", read)
    target = dataclasses.replace(board.load("rpi4"), sudo=sudo)
    here = Session(target, FakeTransport(), facts.parse(boards.RASPBERRY_PI_4, now_s=0))
    return setting.resolve(here, words)


ROOT = boards.CONTAINER_ON_RK3399_CONDITION.replace("powersave/powersave", "powersave/performance")


def test_a_governor_is_that_of_every_group_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolved(monkeypatch, "governor=performance", condition=ROOT) == tuple(
        f"{POLICY.format(number)}=performance" for number in (0, 4)
    )


def test_files_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("/sys/devices/system/cpu/cpufreq/boost=0", f"{POLICY.format(0)}=userspace")
    assert resolved(monkeypatch, *words, condition=ROOT) == words
    assert resolved(monkeypatch) == ()


@pytest.mark.parametrize(
    "word",
    [
        "governor", "governor=", "governor=a\nb", "performance", "=", "/etc/passwd=x",
        "/sys/devices/system/cpu/../../../../etc/x=1", "/sys/devices/system/cpu/=1",
        "/sys/devices/system/cpu/cpu*/online=0", "/sys/devices/system/cpu/a b=0",
        "/sys/devices/system/cpu/boost", "/sys/devices/system/cpu/boost=" + "x" * 101,
        "/sys/devices/system/cpu/boost=\x1b[2J", "/sys/devices/system/cpu/'$(x)'=1",
    ],
)  # fmt: skip
def test_what_is_no_setting(word: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        setting.check([word])


def test_what_is_one() -> None:
    setting.check(["governor=performance", "/sys/devices/system/cpu/smt/control=off"])


def test_a_governor_that_some_cores_lack_is_refused_with_those_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match=r"cores 4 5 of .* have powersave"):
        resolved(
            monkeypatch,
            "governor=performance",
            condition=boards.CONTAINER_ON_RK3399_CONDITION,
        )
    with pytest.raises(UsageError, match="lets nobody choose a governor"):
        resolved(monkeypatch, "governor=performance", condition="sudo=root\n")


def test_a_login_that_is_not_root_takes_a_line_of_lab_toml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = (f"{POLICY.format(0)}=performance",)
    with pytest.raises(UsageError) as caught:
        resolved(monkeypatch, "governor=performance")
    assert "sudo = true" in str(caught.value) and "[boards.rpi4]" in str(caught.value)
    assert "sudoers" not in str(caught.value)
    assert resolved(monkeypatch, "governor=performance", sudo=True) == wanted


def test_a_sudo_that_asks_for_a_password_takes_a_line_of_sudoers_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asks = boards.RASPBERRY_PI_4_CONDITION.replace("sudo=yes", "sudo=password")
    with pytest.raises(UsageError) as caught:
        resolved(monkeypatch, "governor=performance", condition=asks)
    assert f"NOPASSWD: /usr/bin/tee {POLICY.format(0)}'" in str(caught.value)
    # It may permit just this; whether it does, only trying tells.
    assert resolved(monkeypatch, "governor=performance", condition=asks, sudo=True)
    none = boards.RASPBERRY_PI_4_CONDITION.replace("sudo=yes", "sudo=none")
    with pytest.raises(UsageError, match="has no sudo: log in as root"):
        resolved(monkeypatch, "governor=performance", condition=none, sudo=True)


def test_under_user_mode_emulation_the_settings_are_this_machines() -> None:
    here = Session(board.load("qemu-aarch64"), FakeTransport())
    with pytest.raises(UsageError, match="has no kernel of its own"):
        setting.resolve(here, ["governor=performance"])
