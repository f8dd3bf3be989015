from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import pytest

from edge import artifact, board, preflight
from edge.artifact import Artifact, ElfFacts
from edge.errors import BoardError, UsageError
from edge.facts import Facts

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
