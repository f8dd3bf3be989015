"""The commands as invoke parses them: one that does not parse keeps all others from running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from invoke.collection import Collection
from invoke.program import Program
from invoke.tasks import Task

from edge import tasks
from edge.tasks import namespace


def every(collection: Collection, path: str = "") -> Iterator[tuple[str, Task]]:  # type: ignore[type-arg]
    for name, task in collection.tasks.items():
        yield f"{path}{name}", task
    for name, inner in collection.collections.items():
        yield from every(inner, f"{name}.")


@pytest.mark.parametrize("name, task", list(every(namespace)))
def test_a_command_explains_each_of_its_flags_and_no_other(
    name: str,
    task: Task,  # type: ignore[type-arg]
) -> None:
    arguments = task.get_arguments()
    unexplained = [argument.name for argument in arguments if not argument.help]
    assert unexplained == []
    assert task.body.__doc__, name


@pytest.mark.parametrize("name", [name for name, _ in every(namespace)])
def test_help_may_follow_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(namespace[name], "positional", namespace[name].positional)
    words = ["edge", name, "--help"]
    tasks._let_help_follow(words)
    Program(name="edge", binary="edge", namespace=namespace).run(words, exit=False)
    assert capsys.readouterr().out.startswith(f"Usage: edge [--core-opts] {name} ")


@pytest.mark.parametrize(
    "words, told",
    [
        ("bench", "--board is missing: name of the board: see `invoke boards`"),
        ("evaluate --board b", "--model is missing: a .tflite file"),
    ],
)
def test_what_is_missing_is_told_with_what_it_is(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Program(name="edge", binary="edge", namespace=namespace).run(
        ["edge", *words.split()], exit=False
    )
    assert capsys.readouterr().err == f"edge: {told}\n"
