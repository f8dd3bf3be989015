"""docs/tutorial.md as a reader types it."""

from __future__ import annotations

import re
from pathlib import Path

from invoke.collection import Collection

from edge.tasks import namespace

DOCUMENT = Path(__file__).parents[2] / "docs/tutorial.md"


def commands() -> list[str]:
    """What stands behind a prompt, in order."""
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def test_every_step_of_the_chain_is_there_in_order() -> None:
    verbs = [line.split()[1] for line in commands() if line.startswith("invoke ")]
    assert verbs == [
        "convert", "inspect", "qemu.up", "evaluate", "deploy", "releases", "bench", "qemu.down",
    ]  # fmt: skip
    known: Collection = namespace
    assert set(verbs) <= set(known.task_names)


def test_no_command_is_hidden_in_another_kind_of_block() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count("```console\n") * 2 == text.count("```")
