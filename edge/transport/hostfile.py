"""Files on this machine, at either end of a copy."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edge.errors import HostError


def readable(source: Path) -> Path:
    """``source``, if its bytes can be copied to a board.

    :raises HostError: it is missing, no regular file (a FIFO would block for ever), or unreadable.
    """
    try:
        if not source.is_file():
            raise HostError(f"can't copy {source} to the board: no such file on this machine")
        with source.open("rb"):
            return source
    except OSError as error:
        raise HostError(f"can't copy {source} to the board: {error.strerror}") from error


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[IO[bytes]]:
    """A file that appears as ``target`` only when the block ended well.

    :raises HostError: this machine can't write it.
    """
    try:
        part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
        # Not mkstemp's 0600, which is for secrets, but what any new file gets: the system applies
        # the umask, which no thread may change to look at it. Others never write.
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"can't write {target}: {error.strerror}") from error
