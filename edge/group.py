"""Group: runs that belong together, such as the rounds of a comparison; a folder of their folders.

``runs/ID/group.json`` says what they are for, ``runs/ID/007-b`` is the run of arm b in round 7.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from edge import layout
from edge.errors import UsageError

SCHEMA = 1
"""Of group.json; docs/runs.md has its history."""

FILE = "group.json"
MOST_ROUNDS = 999
"""What three digits number."""


def arm_name(arm: int) -> str:
    """``a`` for the first arm, ``z`` for the 26th, ``aa`` for the next."""
    name = ""
    while arm >= 0:
        arm, letter = divmod(arm, 26)
        name, arm = chr(ord("a") + letter) + name, arm - 1
    return name


@dataclass(frozen=True)
class Group:
    """Why there are several runs.

    :ivar kind: ``compare``, ``until``, ``check``, ``cold`` or ``study``.
    :ivar command: what the user typed.
    :ivar arms: what tells them apart, in the user's words; the first is arm ``a``.
    """

    id: str
    kind: str
    command: str
    arms: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return layout.runs_dir() / self.id

    def place(self, number: int, arm: int = 0) -> Path:
        """The folder for the run of an arm, counted from 0, in a round, counted from 1."""
        return self.folder / f"{number:03}-{arm_name(arm)}"


def new_id() -> str:
    """In order of time, and nobody else's: ``20261122-031500-5c9a1e``."""
    return f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


def create(kind: str, command: str, arms: tuple[str, ...] = ("",)) -> Group:
    """A new group, with its folder."""
    made = Group(new_id(), kind, command, arms)
    made.folder.mkdir(parents=True)
    text = json.dumps({**dataclasses.asdict(made), "schema": SCHEMA}, indent=1, sort_keys=True)
    (made.folder / FILE).write_text(text + "\n", encoding="utf-8")
    return made


def load(folder: Path) -> Group:
    """:raises UsageError: the folder holds no group of this version."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if (schema := values.pop("schema", 0)) != SCHEMA:
            newer = isinstance(schema, int) and schema > SCHEMA
            remedy = "read it with the edge that wrote it" if newer else "measure again"
            raise ValueError(f"its schema is {schema}, not {SCHEMA}: {remedy}")
        values["arms"] = tuple(values["arms"])
        return Group(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder} holds no group that this version reads: {error}") from None
