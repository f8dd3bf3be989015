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
from edge import release as release_module
from edge.artifact import Artifact
from edge.errors import BoardError, EdgeError, UsageError
from edge.options import DEFAULT, Options
from edge.reference import Arrays
from edge.release import Release
from edge.session import Session
from edge.transport import Outcome

INFER_TIMEOUT_S = 300.0

VERBS = frozenset({"infer", "bench", "inspect", "split", "facts"})

_CRASHED = ("edge-run: the runtime crashed", "edge-run: crashed")

_REPORTED = frozenset({"delegation", "cold_start", "peak_rss_bytes", "warnings"})
"""What every report has, whatever its verb."""


def argv(
    session: Session,
    release: Release,
    verb: str,
    model: Artifact,
    options: Options,
    engine: str | None = None,
) -> list[str | PurePosixPath]:
    """The command that runs ``verb`` on a model of a release, without the verb's own flags.

    :param engine: another engine of the release's runtime than the release's own.
    """
    home = session.device.release(release.id)
    chosen = engine or release.engine
    script = release.script
    words: list[str | PurePosixPath]
    if script is None:
        words = [home / build.RUNNER_PLACE, verb, "--engine", chosen, "--lib", home / runtime.PLACE]
    else:
        words = [script.program, "-B", home / release_module.SCRIPT_PLACE, verb, "--engine", chosen]
        words += ["--module", script.module]
        if chosen == "native" and script.native_symbol is not None:
            words += ["--native-symbol", script.native_symbol]
    place = None
    if options.delegate is not None:
        place = home / release_module.delegate_place(options.delegate)
    return [*words, "--model", home / model.place, *options.argv(place)]


def inputs_file(path: Path) -> Path:
    """``path``, looked through before it goes anywhere.

    :raises UsageError: it is missing, neither .npz nor .npy, or damaged.
    """
    if path.suffix not in (".npz", ".npy"):
        raise UsageError(f"{path}: inputs come as .npz or .npy: save them with numpy's np.savez")
    if not path.is_file():
        raise UsageError(f"no file {path}: check the path")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            found.close()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} can't be read ({error}): save it with numpy's np.savez or np.save"
        ) from None
    return path


def outputs_file(path: Path) -> Path:
    """``path``, if a file can be written there.

    :raises UsageError: its folder is missing, or it is a folder itself.
    """
    if path.is_dir():
        raise UsageError(f"--output {path}: this is a folder: name a file in it, such as y.npz")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}: make it first")
    return path


def infer(
    session: Session,
    release: Release,
    model: Artifact,
    inputs_file: Path,
    *,
    options: Options = DEFAULT,
    each: bool = True,
    dequantize: bool = False,
    timeout_s: float | None = None,
) -> tuple[Arrays, dict[str, Any]]:
    """Run a model of a release on the board over the arrays of ``inputs_file`` (.npz or .npy).

    :param each: the first axis of every input counts samples; outputs are concatenated.
    :param dequantize: quantized inputs are given, and quantized outputs come back, as real numbers.
    :returns: outputs by name, and what the runner reported.
    :raises UsageError: the model, library or inputs do not fit each other.
    :raises BoardError: the run failed, or ended by a signal.
    """
    with work_folder(session) as folder, tempfile.TemporaryDirectory() as temporary:
        given = folder / f"in{inputs_file.suffix}"
        session.transport.put(inputs_file, given)
        report = call(
            session,
            [
                *argv(session, release, "infer", model, options),
                *("--input", given, "--output", folder / "out.npz"),
                *(["--each"] if each else []),
                *(["--dequantize"] if dequantize else []),
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


def inspect(
    session: Session, release: Release, model: Artifact, options: Options = DEFAULT
) -> dict[str, Any]:
    """Open a model of a release on the board, and report what its delegates took.

    :raises UsageError: the model or library do not fit.
    :raises BoardError: the run failed, or ended by a signal.
    """
    return call(session, argv(session, release, "inspect", model, options), INFER_TIMEOUT_S)


def call(
    session: Session, words: Sequence[str | PurePosixPath], timeout_s: float
) -> dict[str, Any]:
    """Run a runner, which prints one JSON object.

    :raises EdgeError: by its exit code, with its own message.
    """
    outcome = session.transport.run(words, timeout_s=timeout_s)
    verb = next((str(word) for word in words[1:] if str(word) in VERBS), str(words[-1]))
    if outcome.exit_code != 0:
        if outcome.exit_code >= 128 or outcome.exit_code < 0:
            raise BoardError(_ended_by_signal(verb, session.transport.name, outcome))
        message = (outcome.error_text.splitlines() or [""])[-1].removeprefix("edge-run: ")
        abi.check(outcome.exit_code, f"{session.transport.name}: {message}")
    try:
        report = json.loads(outcome.stdout)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not set(report) >= _REPORTED:
        raise BoardError(
            f"edge-run {verb} on {session.transport.name} printed no report: "
            f"{outcome.text[:100]!r}; deploy again"
        )
    return report


def _ended_by_signal(verb: str, where: str, outcome: Outcome) -> str:
    """edge-run's own words say whose crash it was; without them (SIGKILL, Python) nobody knows."""
    signal = outcome.exit_code - 128 if outcome.exit_code >= 128 else -outcome.exit_code
    said = [line for line in outcome.error_text.splitlines() if line.startswith(_CRASHED)]
    if said:
        return f"{where}: {said[-1].removeprefix('edge-run: ')}"
    return (
        f"{verb} on {where} was ended by signal {signal} {outcome.error_text[-200:]}".rstrip()
        + "; the runtime crashed on this model, or the board ran out of memory"
    )


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
