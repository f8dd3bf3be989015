"""Runner: edge-run on a board, its verbs called from here."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import abi, build, ops, runtime
from edge import release as release_module
from edge.artifact import Artifact
from edge.errors import BoardError, EdgeError, UnreachableError, UsageError
from edge.options import DEFAULT, Options
from edge.reference import Arrays
from edge.release import Release
from edge.session import Session
from edge.transport import Outcome

INFER_TIMEOUT_S = 300.0

OUTPUTS_LIMIT_BYTES = 512 << 20
"""What is taken of a board's outputs: a board that never stops must not fill this machine."""

_SLOWEST_LINK_BYTES_PER_S = 50_000.0
"""Inputs may take as long as they do at this rate, besides the run itself."""

VERBS = frozenset({"infer", "bench", "inspect", "profile", "split", "facts"})

_CRASHED = ("edge-run: the runtime crashed", "edge-run: crashed")

_SIGKILL = 9
"""What the kernel ends a program with when memory runs out; nobody else here does."""

_TEXT_LIMIT = 100
"""Of a report that is none, in a message."""


def plain(session: Session, message: str) -> str:
    """What a runner said, without the board's name, and where a release lies there."""
    release = rf"{re.escape(str(session.device.releases))}/[0-9a-f]+/models/"
    return re.sub(release, "", message).removeprefix(f"{session.transport.name}: ")


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
    if any(file.place == ops.PLACE for file in release.artifacts):
        words += ["--ops", home / ops.PLACE]
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
    memory_bytes: int | None = None,
) -> tuple[Arrays, dict[str, Any]]:
    """Run a model of a release on the board over the arrays of ``inputs_file`` (.npz or .npy).

    One program on the board, which is given the inputs and gives the outputs: nothing of it is
    ever in a file there. Every message names the model.

    :param each: the first axis of every input counts samples; outputs are concatenated.
    :param dequantize: quantized inputs are given, and quantized outputs come back, as real numbers.
    :param memory_bytes: what the run may take; more is a failure of its own, and if memory runs out
        all the same, the board's kernel ends this program before any other.
    :returns: outputs by name, and what the runner reported.
    :raises UsageError: the model, library or inputs do not fit each other.
    :raises BoardError: the run failed, or ended by a signal.
    """
    words = [
        *argv(session, release, "infer", model, options),
        *("--input", "-", "--output", "-"),
        *(["--each"] if each else []),
        *(["--dequantize"] if dequantize else []),
        *([] if memory_bytes is None else ["--memory", str(max(1, memory_bytes))]),
    ]
    given = _content(inputs_file)
    try:
        outcome = session.transport.run(
            words,
            stdin=given,
            timeout_s=(INFER_TIMEOUT_S if timeout_s is None else timeout_s)
            + len(given) / _SLOWEST_LINK_BYTES_PER_S,
            limit_bytes=OUTPUTS_LIMIT_BYTES,
        )
        report, _, archive = checked(session, words, outcome).stdout.partition(b"\n")
        found = _report(session, "infer", report)
        return _arrays(archive, session.transport.name), found
    except UnreachableError:
        raise
    except (UsageError, BoardError) as error:
        name = model.path.name
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None


def _arrays(archive: bytes, where: str) -> Arrays:
    """What a board sent as its outputs, whoever it is: nothing is unpacked, nothing is unpickled,
    and no more memory is taken than was sent.

    :raises BoardError: it is no .npz as the runner writes them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as members:
            entries = members.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("a member is compressed")
            if sum(entry.file_size for entry in entries) > len(archive):
                raise ValueError("its members overlap")
            return {e.filename.removesuffix(".npy"): _array(members.read(e)) for e in entries}
    except Exception as error:  # numpy's and zipfile's readers raise more than they say
        raise BoardError(f"{where} gave outputs that are no .npz ({error}): deploy again") from None


def _array(content: bytes) -> npt.NDArray[Any]:
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):  # type: ignore[no-untyped-call]
        raise ValueError("an array in another version of the format than the runner's")
    header = np.lib.format.read_array_header_1_0(stream)  # type: ignore[no-untyped-call]
    shape, fortran, dtype = header
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape}")
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"an array of {dtype}")
    # By frombuffer, which counts before it believes what the header says of the shape.
    count = math.prod(shape)
    array = np.frombuffer(content, dtype, count, stream.tell())
    return array.reshape(shape, order="F" if fortran else "C").copy()


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
    outcome = checked(session, words, session.transport.run(words, timeout_s=timeout_s))
    return _report(session, _verb(words), outcome.stdout)


def _verb(words: Sequence[str | PurePosixPath]) -> str:
    return next((str(word) for word in words[1:] if str(word) in VERBS), str(words[-1]))


def checked(session: Session, words: Sequence[str | PurePosixPath], outcome: Outcome) -> Outcome:
    """``outcome``, of a runner, if it was a success.

    :raises EdgeError: by its exit code, with its own message.
    """
    if outcome.exit_code >= 128 or outcome.exit_code < 0:
        raise BoardError(_ended_by_signal(_verb(words), session.transport.name, outcome))
    if outcome.exit_code != 0:
        lines = outcome.error_text.splitlines() or [""]
        # Libraries may have something to say after the runner's last word.
        own = [line for line in lines if line.startswith("edge-run: ")] or lines
        message = own[-1].removeprefix("edge-run: ")
        abi.check(outcome.exit_code, f"{session.transport.name}: {message}")
    return outcome


def _report(session: Session, verb: str, text: bytes) -> dict[str, Any]:
    try:
        report = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not _is_report(report):
        raise BoardError(
            f"edge-run {verb} on {session.transport.name} printed no report: "
            f"{text[:_TEXT_LIMIT].decode('utf-8', 'replace')!r}; deploy again"
        )
    return report


def _is_report(found: dict[str, Any]) -> bool:
    """What every report has, whatever its verb, and what is made of it here."""
    delegation, cold_start = found.get("delegation"), found.get("cold_start")
    if not isinstance(delegation, dict) or not isinstance(cold_start, dict):
        return False
    numbers = [found.get("peak_rss_bytes"), found.get("iterations", 0)]
    numbers += [delegation.get(key) for key in ("nodes_total", "nodes_delegated", "partitions")]
    numbers += [value for key, value in cold_start.items() if key.endswith("_ns")]
    warnings = found.get("warnings")
    return (
        all(type(number) is int and abs(number) < 1 << 63 for number in numbers)
        and isinstance(delegation.get("applied"), bool)
        and isinstance(warnings, list)
        and all(isinstance(line, str) for line in warnings)
    )


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON's")


def _ended_by_signal(verb: str, where: str, outcome: Outcome) -> str:
    """edge-run's own words say whose crash it was; without them (SIGKILL, Python) nobody knows."""
    signal = outcome.exit_code - 128 if outcome.exit_code >= 128 else -outcome.exit_code
    said = [line for line in outcome.error_text.splitlines() if line.startswith(_CRASHED)]
    if said:
        return f"{where}: {said[-1].removeprefix('edge-run: ')}"
    if signal == _SIGKILL:
        return (
            f"{verb} on {where} was killed: the board ran out of memory; end other programs on it, "
            "make the model smaller, or take a board with more memory"
        )
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
        'umask 022; for base in "$1" "$2"; do mkdir -p "$base" 2>/dev/null; '
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
