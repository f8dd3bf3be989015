from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge import artifact, image, support
from edge.artifact import Artifact, ElfFacts, Version
from edge.facts import Facts
from tests.unit.test_preflight import FACTS

CXX, GCC = "libstdc++.so.6", "libgcc_s.so.1"


def elf(
    needed: tuple[str, ...], needs: dict[str, Version], provides: Mapping[str, Version] = {}
) -> ElfFacts:
    return ElfFacts("aarch64", 64, needed, needs, frozenset(), frozenset(), provides)


LIBRARY = elf(("libc.so.6", CXX), {"GLIBC": (2, 30), "GLIBCXX": (3, 4, 26)})
MODERN = elf(("libc.so.6", CXX), {"GLIBC": (2, 30), "GLIBCXX": (3, 4, 30)})
SHIPPED = {
    "old": {
        CXX: elf((GCC,), {"GLIBC": (2, 18), "GCC": (4, 2)}, {"GLIBCXX": (3, 4, 28)}),
        GCC: elf(("libc.so.6",), {"GLIBC": (2, 17)}, {"GCC": (7, 0, 0)}),
    },
    "new": {
        CXX: elf((GCC,), {"GLIBC": (2, 36), "GCC": (4, 2)}, {"GLIBCXX": (3, 4, 30)}),
        GCC: elf(("libc.so.6",), {"GLIBC": (2, 35)}, {"GCC": (12, 0, 0)}),
    },
}
HAS_ALL = dataclasses.replace(
    FACTS,
    glibc=(2, 31),
    libraries=frozenset({"libc.so.6", CXX, GCC}),
    provides={"GLIBCXX": (3, 4, 28), "GCC": (7, 0, 0)},
)
HAS_NONE = dataclasses.replace(HAS_ALL, libraries=frozenset({"libc.so.6"}), provides={})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which images were looked into; two exist, the older first."""
    images: list[str] = []

    def fetched(described: SimpleNamespace, _: object) -> dict[str, Path]:
        images.append(described.name)
        return {name: Path(described.name) / name for name in support.LIBRARIES}

    monkeypatch.setattr(support, "_IMAGES", {"aarch64": ("absent", "old", "new")})
    monkeypatch.setattr(image, "names", lambda: ["old", "new"])
    monkeypatch.setattr(image, "load", lambda name: SimpleNamespace(name=name))
    monkeypatch.setattr(support, "_fetched", fetched)
    monkeypatch.setattr(artifact, "elf_facts", lambda path: SHIPPED[path.parent.name][path.name])
    monkeypatch.setattr(artifact, "of_file", lambda path, place: Artifact(path, place, "0" * 64, 1))
    return images


def sent(facts: Facts, *needs: ElfFacts, arch: str = "aarch64") -> list[tuple[str, str]]:
    """Image and place of what is sent along."""
    return [
        (file.path.parent.name, file.place) for file in support.files(arch, facts, needs, print)
    ]


def test_a_board_that_has_all_is_sent_nothing_and_nothing_is_fetched(asked: list[str]) -> None:
    assert sent(HAS_ALL, LIBRARY) == []
    assert asked == []


def test_a_board_that_lacks_both_is_sent_the_oldest_that_do(asked: list[str]) -> None:
    both = [("old", f"lib/{GCC}"), ("old", f"lib/{CXX}")]
    assert sent(HAS_NONE, LIBRARY) == both
    assert asked == ["old"]


def test_a_library_that_is_too_old_is_replaced_alone(asked: list[str]) -> None:
    old = dataclasses.replace(HAS_ALL, provides={"GLIBCXX": (3, 4, 22), "GCC": (7, 0, 0)})
    assert sent(old, LIBRARY) == [("old", f"lib/{CXX}")]
    # Its own helper is too old as well: both go.
    older = dataclasses.replace(old, provides={"GLIBCXX": (3, 4, 22), "GCC": (3, 0)})
    assert sent(older, LIBRARY) == [("old", f"lib/{GCC}"), ("old", f"lib/{CXX}")]


def test_newer_ones_go_only_where_the_c_library_is_new_enough(asked: list[str]) -> None:
    assert sent(HAS_ALL, MODERN) == []
    assert asked == ["old", "new"]
    new = dataclasses.replace(HAS_ALL, glibc=(2, 36))
    assert sent(new, MODERN) == [("new", f"lib/{CXX}")]


def test_what_they_can_not_mend_is_left_to_preflight(asked: list[str]) -> None:
    too_new = elf(("libc.so.6", CXX), {"GLIBC": (2, 99), "GLIBCXX": (3, 4, 26)})
    assert sent(HAS_NONE, too_new) == []
    other = elf(("libopencl.so.1", CXX), {"GLIBC": (2, 17)})
    assert sent(HAS_NONE, other) == []
    assert sent(HAS_NONE, LIBRARY, arch="x86_64") == []


def test_a_board_that_could_not_say_what_it_has_is_sent_nothing(asked: list[str]) -> None:
    unknown = dataclasses.replace(HAS_NONE, libraries=frozenset())
    assert sent(unknown, LIBRARY) == []
