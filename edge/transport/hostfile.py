"""Files on this machine, at either end of a copy."""

from __future__ import annotations

import contextlib
import os
import tempfile
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
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            # mkstemp's 0600 is for secrets; a fetched file gets what any new file gets.
            mask = os.umask(0)
            os.umask(mask)
            part.chmod(0o666 & ~mask)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"can't write {target}: {error.strerror}") from error
