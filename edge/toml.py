"""TOML: read here, by the standard library where it has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from edge.errors import UsageError

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:
    from tomli import TOMLDecodeError, loads

__all__ = ["TOMLDecodeError", "loads", "read"]


def read(path: Path) -> dict[str, Any]:
    """:raises UsageError: the file can't be read or is no TOML; the message has line and column."""
    try:
        table: dict[str, Any] = loads(path.read_text(encoding="utf-8"))
        return table
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from None
