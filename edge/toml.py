"""TOML: read here, by the standard library where it has it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edge.errors import UsageError

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:
    from tomli import TOMLDecodeError, loads

__all__ = ["TOMLDecodeError", "loads", "parse", "quoted", "read", "text"]


def read(path: Path) -> dict[str, Any]:
    """:raises UsageError: the file can't be read or is no TOML; the message has line and column."""
    return parse(path, text(path))


def text(path: Path) -> str:
    """The file's content, its line ends as they are.

    :raises UsageError: it can't be read.
    """
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from None


def parse(path: Path, content: str) -> dict[str, Any]:
    """:raises UsageError: ``content``, which stands in ``path`` or shall, is no TOML."""
    try:
        table: dict[str, Any] = loads(content)
        return table
    except TOMLDecodeError as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None


def quoted(value: str) -> str:
    """A TOML string of one line."""
    return json.dumps(value)
