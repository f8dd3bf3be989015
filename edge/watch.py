"""Watch: `edge-run watch` beside a measurement, for as long as that lasts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edge import build, environment
from edge.errors import BoardError
from edge.release import Release
from edge.session import Session

INTERVAL_MS = 100
_ANSWER_S = 15.0


@dataclass
class Watch:
    """What the board says of its readings: filled in as it says so.

    :ivar series: the file on the board.
    :ivar told: for :func:`environment.load`; None if the board is not watched.
    """

    series: PurePosixPath
    told: dict[str, Any] | None = None


@contextlib.contextmanager
def over(
    session: Session, release: Release, folder: PurePosixPath, recording: PurePosixPath
) -> Iterator[Watch]:
    """Record how the board is while the block runs.

    It ends with its input: after a lost link, too; and with it ends whoever still records. Under
    QEMU's user mode the files are this machine's, not a board's, and are left alone.

    :param folder: on the board, for the series.
    :param recording: what is measured meanwhile, on the board.
    :raises BoardError: the board printed something else.
    """
    watch = Watch(folder / "env.bin")
    if session.board.emulation == "user":
        yield watch
        return
    program = session.device.release(release.id) / build.RUNNER_PLACE
    process = session.transport.start(
        [
            *(program, "watch", "--series", watch.series, "--interval-ms", str(INTERVAL_MS)),
            *("--samples", recording),
        ]
    )
    try:
        watch.told = _told(process.receive_line(_ANSWER_S))
        yield watch
    finally:
        process.close()


def _told(line: bytes) -> dict[str, Any]:
    try:
        told = environment.parse_told(json.loads(line))
    except (ValueError, RecursionError):
        told = None
    if told is None:
        raise BoardError(f"edge-run watch printed {line[:60]!r}, which is no report: deploy again")
    return told
