"""Runner: edge-run on a board, its verbs called from here."""

from __future__ import annotations

import contextlib
import json
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edge import abi, build, runtime
from edge.errors import BoardError, EdgeError
from edge.reference import Arrays
from edge.session import Session

INFER_TIMEOUT_S = 300.0

_REPORTED = frozenset({"delegation", "cold_start", "peak_rss_bytes", "warnings"})
"""What every report has, whatever its verb."""


def infer(
    session: Session,
    release_id: str,
    model: str,
    inputs_file: Path,
    *,
    each: bool = True,
    threads: int = 1,
    timeout_s: float | None = None,
) -> tuple[Arrays, dict[str, Any]]:
    """Run a model of a release on the board over the arrays of ``inputs_file`` (.npz).

    :param each: the first axis of every input counts samples; outputs are concatenated.
    :returns: outputs by tensor name, and what the runner reported.
    :raises UsageError: the model, library or inputs do not fit each other.
    :raises BoardError: the run failed, or ended by a signal.
    """
    home = session.device.release(release_id)
    with work_folder(session) as folder, tempfile.TemporaryDirectory() as temporary:
        session.transport.put(inputs_file, folder / "in.npz")
        report = call(
            session,
            [
                *(home / build.RUNNER_PLACE, "infer"),
                *("--lib", home / runtime.PLACE, "--model", home / "models" / model),
                *("--input", folder / "in.npz", "--output", folder / "out.npz"),
                *("--threads", str(threads), *(["--each"] if each else [])),
            ],
            INFER_TIMEOUT_S if timeout_s is None else timeout_s,
        )
        local = Path(temporary) / "out.npz"
        session.transport.get(folder / "out.npz", local)
        try:
            with np.load(local, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}, report
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise BoardError(
                f"{session.transport.name} gave outputs that are no .npz ({error}): deploy again"
            ) from None


def call(session: Session, argv: Sequence[str | PurePosixPath], timeout_s: float) -> dict[str, Any]:
    """Run edge-run, which prints one JSON object.

    :raises EdgeError: by its exit code, with its own message.
    """
    outcome = session.transport.run(argv, timeout_s=timeout_s)
    if outcome.exit_code != 0:
        if outcome.exit_code >= 128 or outcome.exit_code < 0:
            signal = outcome.exit_code - 128 if outcome.exit_code >= 128 else -outcome.exit_code
            raise BoardError(
                f"{argv[1]} on {session.transport.name} was ended by signal {signal} "
                f"{outcome.error_text[-200:]}".rstrip()
                + "; the runtime crashed on this model, or the board ran out of memory"
            )
        message = (outcome.error_text.splitlines() or [""])[-1].removeprefix("edge-run: ")
        abi.check(outcome.exit_code, f"{session.transport.name}: {message}")
    try:
        report = json.loads(outcome.stdout)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not set(report) >= _REPORTED:
        raise BoardError(
            f"edge-run {argv[1]} on {session.transport.name} printed no report: "
            f"{outcome.text[:100]!r}; deploy again"
        )
    return report


@contextlib.contextmanager
def work_folder(session: Session) -> Iterator[PurePosixPath]:
    """A folder on the board for one run; in memory where the board has room for it there."""
    name = f"edge-{uuid.uuid4().hex[:12]}"
    bases = [PurePosixPath("/dev/shm"), session.device.runs]
    script = (
        'for base in "$1" "$2"; do mkdir -p "$base" 2>/dev/null; '
        'mkdir -m 700 "$base/$3" 2>/dev/null && echo "$base/$3" && exit 0; done; exit 1'
    )
    try:
        outcome = session.transport.run(["sh", "-c", script, "sh", *bases, name])
        folder = PurePosixPath(outcome.text.strip())
        if not outcome.ok or folder not in [base / name for base in bases]:
            raise BoardError(
                f"{session.transport.name} has no room for a work folder: {outcome.error_text}; "
                f"check {session.device.runs}"
            )
        yield folder
    finally:
        # Both places: an interrupt may come before we know which it is.
        with contextlib.suppress(EdgeError):
            session.transport.run(["rm", "-rf", *(base / name for base in bases)], timeout_s=10.0)
