"""The commands as invoke parses them: one that does not parse keeps all others from running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from invoke.collection import Collection
from invoke.tasks import Task

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
