"""Lab: entries of lab.toml, written without touching what else is in it.

The file belongs to a person: comments, order and spelling stay. So its text is edited line by line,
and what comes out must parse to exactly what was meant, or nothing is written.
"""

from __future__ import annotations

import copy
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge import board, toml
from edge.errors import HostError, UsageError
from edge.transport.hostfile import appearing

_HEADER = re.compile(r"\s*\[")
_STRING = r'("(?:[^"\\]|\\.)*"|' + r"'[^']*')"


def edited(text: str, name: str, values: Mapping[str, str], *, force: bool = False) -> str:
    """The file's text with ``values`` in ``[boards.<name>]``.

    :raises UsageError: a key has another value and ``force`` is not given, or the text is written
        in a way that can't be edited; the message has the lines to write by hand.
    """
    path = board.lab_file()
    before = toml.parse(path, text)
    entry = _entry(before, name)
    wanted = copy.deepcopy(before)
    wanted.setdefault("boards", {}).setdefault(name, {}).update(values)
    for key, value in values.items():
        if key in entry and entry[key] != value and not force:
            raise UsageError(
                f"{path}: boards.{name}.{key} is {entry[key]!r}, and would become {value!r}: "
                "change it with --force"
            )
    if wanted == before:
        return text
    made = _with_values(text, name, {k: v for k, v in values.items() if entry.get(k) != v})
    try:
        same = toml.loads(made) == wanted
    except toml.TOMLDecodeError:
        same = False
    if not same:
        by_hand = ", ".join(f"{key} = {toml.quoted(value)}" for key, value in values.items())
        raise UsageError(
            f"{path} is written in a way that can't be edited: write {by_hand} into "
            f"boards.{name} by hand"
        )
    return made


def write(name: str, values: Mapping[str, str], *, force: bool = False) -> bool:
    """Put ``values`` into lab.toml; whether that changed it. It appears whole or not at all.

    :raises UsageError: as :func:`edited`.
    :raises HostError: it can't be written.
    """
    path = Path(os.path.realpath(board.lab_file()))
    text = read()
    made = edited(text, name, values, force=force)
    if made == text:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as out:
            if path.exists():
                os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode))
            out.write(made.encode())
    except OSError as error:
        raise HostError(f"can't write {path}: {error.strerror}") from None
    return True


def read() -> str:
    """The text of lab.toml, its line ends as they are; empty if there is none.

    :raises UsageError: it can't be read.
    """
    path = board.lab_file()
    return toml.text(path) if path.exists() else ""


def _entry(lab: Mapping[str, Any], name: str) -> dict[str, Any]:
    entry = lab.get("boards", {})
    entry = entry.get(name, {}) if isinstance(entry, dict) else None
    if not isinstance(entry, dict):
        raise UsageError(
            f"{board.lab_file()}: [boards.{name}] must be a table, as in lab.example.toml"
        )
    return entry


def _with_values(text: str, name: str, values: Mapping[str, str]) -> str:
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    spelled = "|".join(re.escape(word) for word in (name, f'"{name}"', f"'{name}'"))
    ours = re.compile(rf"\s*\[\s*boards\s*\.\s*(?:{spelled})\s*\]\s*(?:#.*)?$")
    starts = [number for number, line in enumerate(lines) if ours.match(line.rstrip("\r\n"))]
    if not starts:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += end
        word = name if re.fullmatch("[A-Za-z0-9_-]+", name) else toml.quoted(name)
        lines += [end] if lines and lines[-1].strip() else []
        lines += [f"[boards.{word}]{end}"]
        starts = [len(lines) - 1]
    if not lines[starts[0]].endswith("\n"):
        lines[starts[0]] += end
    begin = starts[0] + 1
    stop = next((n for n in range(begin, len(lines)) if _HEADER.match(lines[n])), len(lines))
    section = lines[begin:stop]
    new = []
    for key, value in values.items():
        there = re.compile(rf"(\s*(?:{key}|\"{key}\"|'{key}')\s*=\s*){_STRING}(.*)", re.DOTALL)
        for number, line in enumerate(section):
            if found := there.fullmatch(line):
                section[number] = f"{found[1]}{toml.quoted(value)}{found[3]}"
                break
        else:
            new.append(f"{key} = {toml.quoted(value)}{end}")
    return "".join([*lines[:begin], *new, *section, *lines[stop:]])
