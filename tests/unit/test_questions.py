"""What benchmarks.questions makes of a study, and that docs/questions.md is of today's claims."""

from __future__ import annotations

import re
from typing import Any

import pytest

from benchmarks import questions
from benchmarks.questions import Earlier
from edge.questions import TOPICS, claims

THEN = Earlier("a thing", "int8-faster", "m-float32: litert", "m-int8: litert", 0.4)


def told(value: float) -> dict[str, Any]:
    case = {"a": "m-float32: litert litert-2.3.0", "b": "m-int8: litert litert-2.3.0"}
    other = {"a": "x", "b": "y", "value": 9.0, "low": 8.0, "high": 10.0}
    return {
        "claims": [
            {
                "key": "int8-faster",
                "cases": [other, {**case, "value": value, "low": value / 1.1, "high": value * 1.1}],
            },
            {"key": "int8-twice", "cases": [{**case, "value": 7.0, "low": 6.0, "high": 8.0}]},
        ]
    }


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (0.5, "same direction, same size"),
        (0.1, "same direction, another size"),
        (1.5, "the other direction"),
    ],
)
def test_earlier_ratios_are_set_beside_those_of_now(
    now: float, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "EARLIER", (THEN,))
    lines = questions.earlier_lines(told(now))
    assert lines[-1] == f"| a thing | 0.4 | {now:.3g} [{now / 1.1:.3g}, {now * 1.1:.3g}] | {text} |"


def test_without_such_a_case_there_is_no_table() -> None:
    assert questions.earlier_lines({"claims": []}) == []


def test_a_reason_follows_where_they_differ() -> None:
    known = Earlier("a thing", "int8-faster", "", "", 0.4, "it is another model")
    assert questions.agreement(known, 0.1).endswith("another size: it is another model")
    assert questions.agreement(known, 0.4) == "same direction, same size"


def test_reports_go_one_level_down() -> None:
    assert questions.deeper("# a\n\n# b\n## c\nno #\n") == "## a\n\n## b\n### c\nno #\n"


def test_a_boards_part_is_replaced_alone() -> None:
    page = questions.page(
        {"localhost": "## localhost: a\n\n### x\n", "qemu-virt": "## qemu-virt: b\n"}
    )
    assert page.startswith(questions.head())
    old = questions.parts(page)
    assert old == {"localhost": "## localhost: a\n\n### x\n", "qemu-virt": "## qemu-virt: b\n"}
    new = questions.part("# qemu-virt (EMULATED): c\n", {"emulated": True, "claims": []})
    again = questions.page(old | {"qemu-virt": new})
    assert questions.parts(again) == {**old, "qemu-virt": "## qemu-virt (EMULATED): c\n"}


def test_the_head_names_every_topic() -> None:
    head = questions.head()
    for name, question in TOPICS.items():
        assert f"| `{name}` | {question} |" in head


def test_the_page_is_of_todays_claims_and_boards() -> None:
    text = questions.FILE.read_text(encoding="utf-8")
    assert text.startswith(questions.head())
    parts = questions.parts(text)
    assert list(parts) == list(questions.BOARDS)
    for board, part in parts.items():
        assert ("EMULATED" in part.splitlines()[0]) == (board != "localhost")
    known = {claim.text for claim in claims()}
    said = {b: re.findall(r"^#### “(.*)”$", part, re.MULTILINE) for b, part in parts.items()}
    assert set(said["localhost"]) == known
    # Emulated, some questions take too long; none of another day's is left.
    assert set(said["qemu-virt"]) <= known and said["qemu-virt"]
