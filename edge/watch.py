"""Watch: `edge-run watch` beside a measurement, for as long as that lasts."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edge import build, environment
from edge.errors import BoardError
from edge.release import Release
from edge.session import Session
from edge.transport import Process

INTERVAL_MS = 100
TELL_MS = 500
"""From one line about how far a run is to the next; so much longer may its end take."""
_ANSWER_S = 15.0


@dataclass
class Watch:
    """What the board says of its readings: filled in as it says so.

    :ivar series: the file on the board.
    :ivar told: for :func:`environment.load`; None if the board is not watched. After the block it
        has ``settings_after``, if the board told them.
    """

    series: PurePosixPath
    told: dict[str, Any] | None = None


@dataclass(frozen=True)
class Tick:
    """How far a run is. None: not known, or not yet.

    :ivar samples: so far.
    :ivar rate_per_s: samples a second since the tick before.
    :ivar median_ns: per invocation, of the newest samples.
    :ivar clock_mhz: the lowest of all cores' clocks.
    :ivar celsius: the hottest sensor.
    """

    samples: int | None
    rate_per_s: float | None
    median_ns: float | None
    clock_mhz: float | None
    celsius: float | None


@contextlib.contextmanager
def over(
    session: Session,
    release: Release,
    folder: PurePosixPath,
    recording: PurePosixPath,
    *,
    settings: Sequence[str] = (),
    live: Callable[[Tick], None] | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> Iterator[Watch]:
    """Record how the board is while the block runs.

    It ends with its input: after a lost link, too; and with it ends whoever still records. Under
    QEMU's user mode the files are this machine's, not a board's, and are left alone.

    :param folder: on the board, for the series.
    :param recording: what is measured meanwhile, on the board.
    :param settings: ``PATH=VALUE`` that hold while the block runs; the board itself puts back what
        was there before. See :func:`edge.setting.resolve`.
    :param live: told now and then, from another thread, how far it is. Whatever goes wrong with
        that, the run goes on.
    :param warn: told if a setting was not put back.
    :raises BoardError: the board printed something else, or could not be set.
    """
    watch = Watch(folder / "env.bin")
    if session.board.emulation == "user":
        yield watch
        return
    program = session.device.release(release.id) / build.RUNNER_PLACE
    words: list[str | PurePosixPath] = [program]
    words += ["watch", "--series", watch.series, "--interval-ms", str(INTERVAL_MS)]
    words += ["--samples", recording]
    for setting in settings:
        words += ["--set", setting]
    if settings and session.board.sudo and session.facts.user != "root":
        words += ["--sudo"]
    if live is not None:
        words += ["--tell-ms", str(TELL_MS)]
    process = session.transport.start(words)
    try:
        watch.told = _told(process.receive_line(_ANSWER_S))
        with _listening(process, live):
            yield watch
        _end(process, watch, session, settings, warn)
    finally:
        # What is set is put back before it ends.
        process.close(_ANSWER_S if settings else 5.0)


def _told(line: bytes) -> dict[str, Any]:
    told = environment.parse_told(_object(line))
    if told is None:
        raise BoardError(f"edge-run watch printed {line[:60]!r}, which is no report: deploy again")
    return told


def _object(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


@contextlib.contextmanager
def _listening(process: Process, live: Callable[[Tick], None] | None) -> Iterator[None]:
    """Tell ``live`` what comes while the block runs; afterwards nobody reads from ``process``."""
    if live is None:
        yield
        return
    ended = threading.Event()
    listener = threading.Thread(target=_listen, args=(process, live, ended), daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        listener.join()


def _listen(process: Process, live: Callable[[Tick], None], ended: threading.Event) -> None:
    before: Any = None
    # A board that falls silent, a terminal that is gone: nothing of it is the run's concern.
    with contextlib.suppress(Exception):
        while not ended.is_set():
            told = _object(process.receive_line(10 * TELL_MS / 1000))
            if (tick := parse_tick(told, before)) is not None and not ended.is_set():
                live(tick)
                before = told


def parse_tick(told: Any, before: Any = None) -> Tick | None:
    """What the board said of how far a run is, if it makes sense.

    :param before: what it said the time before.
    """
    if not isinstance(told, dict):
        return None
    numbers = {
        name: told.get(name)
        for name in ("time_ns", "samples", "median_ns", "clock_khz", "temperature_mc")
    }
    if not all(n is None or (type(n) is int and abs(n) < 1 << 63) for n in numbers.values()):
        return None
    time_ns, samples, median_ns, clock_khz, temperature_mc = numbers.values()
    if time_ns is None or any(n is not None and n < 0 for n in (samples, median_ns, clock_khz)):
        return None
    rate_per_s = None
    if samples is not None and before is not None and before.get("samples") is not None:
        elapsed_ns, more = time_ns - before["time_ns"], samples - before["samples"]
        rate_per_s = 1e9 * more / elapsed_ns if elapsed_ns > 0 and more >= 0 else None
    return Tick(
        samples,
        rate_per_s,
        median_ns,
        None if clock_khz is None else clock_khz / 1000,
        None if temperature_mc is None else temperature_mc / 1000,
    )


def _end(
    process: Process,
    watch: Watch,
    session: Session,
    settings: Sequence[str],
    warn: Callable[[str], None],
) -> None:
    """Let it say how the board is set now, and whether what we set was put back."""
    assert watch.told is not None
    deadline, told = time.monotonic() + _ANSWER_S, None
    # Readings that broke off tell of themselves; the run is whole without its last word.
    with contextlib.suppress(BoardError):
        process.send(b"\n", _ANSWER_S)
        while time.monotonic() < deadline:
            told = _object(process.receive_line(_ANSWER_S))
            if isinstance(told, dict) and "settings" in told:
                break
    last = told if isinstance(told, dict) else {}
    if (after := environment.parse_settings(last.get("settings"))) is not None:
        watch.told["settings_after"] = after
    if settings and last.get("not_put_back") != []:
        warn(
            f"warning: {session.transport.name} did not say that it put its settings back: look at "
            + ", ".join(setting.partition("=")[0] for setting in settings)
        )
