"""study as a user types it, on this machine as the board."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge import group, layout
from edge.claim import LEAST_ROUNDS
from tests.integration.test_commands import MODEL, call, home, last_line
from tests.integration.test_compare import (
    BOARD,
    FLOAT32,
    changed,
    here,
    kept_at_interrupt,
    on_board,
)

__all__ = ["here", "home"]

INT8 = ("--model", str(MODEL))
TINY = (*INT8, "--model", str(FLOAT32))
STUDY = ("study", *BOARD, *TINY, "--rounds", str(LEAST_ROUNDS))


def left_of(changed: set[str]) -> list[str]:
    """What a command must take away again: releases, and its work folders."""
    return [path for path in changed if path.startswith(("releases/", "/dev/shm/"))]


def test_a_study_end_to_end(here: dict[str, str], tmp_path: Path) -> None:
    before, report = on_board(here), tmp_path / "report.md"
    asked = ("--questions", "python,resources", "--output", str(report))
    result = call(*STUDY, *asked, "--json", env=here)
    assert result.returncode == 0, result.stderr
    assert re.search(r"round 6 of 6", result.stderr)
    assert not left_of(changed(here, before))

    told = json.loads(result.stdout)
    claims = {claim["key"]: claim for claim in told["claims"]}
    assert {claim["topic"] for claim in claims.values()} == {"python", "resources"}
    assert not told["emulated"] and told["rounds"] == LEAST_ROUNDS
    # This machine has Python, so it was asked; what has no model here says so.
    for key in ("python-magnitude", "python-constant", "python-memory", "python-start"):
        assert claims[key]["verdict"] != "not asked" and claims[key]["cases"]
    assert claims["python-large"]["reason"].startswith("no model here has 10 M")
    assert claims["python-memory"]["verdict"] == "confirmed"
    # Whatever ran, it computed what this machine's reference says.
    assert len(told["answers"]) >= 6 and all(answer["ok"] for answer in told["answers"])
    # Every case is of cells that were measured, in all rounds.
    cells = {cell["name"]: cell for cell in told["cells"]}
    for claim in claims.values():
        for case in claim["cases"]:
            a, b = cells[case["a"]], cells[case["b"]]
            assert case["rounds"] <= min(len(a["latency_ns"]), len(b["latency_ns"]))
            assert case["low"] <= case["value"] <= case["high"]
            if claim["quantity"] == "memory":
                ratio = b["peak_bytes"][0] / a["peak_bytes"][0]
                assert case["value"] == pytest.approx(ratio, rel=0.1)

    # The report says the same.
    text = report.read_text(encoding="utf-8")
    for claim in claims.values():
        part = text.partition(f"### “{claim['text']}”")[2].partition("\n### ")[0]
        assert f"**{claim['sentence']}**" in part
        outcomes = re.findall(r"\| (holds|fails|undecided) \|$", part, flags=re.MULTILINE)
        assert outcomes == [case["outcome"] for case in claim["cases"]]
    folder = layout.runs_dir() / told["folder"]
    assert group.load(folder).kind == "study"
    assert len(list(folder.glob("*/run.json"))) == LEAST_ROUNDS * len(group.load(folder).arms)


def test_an_interrupt_keeps_the_rounds_and_cleans_the_board(here: dict[str, str]) -> None:
    before = on_board(here)
    kept = kept_at_interrupt("round 2 of 6", *STUDY, "--questions", "xnnpack", env=here)
    assert len(kept) >= 8
    assert not left_of(changed(here, before))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--questions", "pyton"), "--questions pyton: must be of python, runtime"),
        (("--rounds", "5"), "--rounds 5: must be 6 to 999"),
        (("--batch", "1"), "--batch 1: must be 2 to"),
        (("--longest", "soon"), "--longest soon: write a time"),
        (("--output", "report.txt"), "name a .md file"),
        (("--output", "no-such/report.md"), "in a folder that is there"),
        (("--model", "no.tflite"), "no model no.tflite"),
        (("--model", str(MODEL), "--model", str(MODEL)), "two files of one name"),
        (
            ("--questions", "serving", *INT8),
            "there is no Keras file of a float32 model here",
        ),
    ],
)
def test_a_wrong_request_is_one_line(
    here: dict[str, str], words: tuple[str, ...], expected: str
) -> None:
    result = call("study", *BOARD, *words, env=here)
    assert result.returncode == 2, result.stderr
    assert expected in last_line(result)
