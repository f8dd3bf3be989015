"""History: what went live on a board, when and by whom, as its ``deployments.log`` tells."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from edge import layout, store
from edge.layout import DeviceLayout
from edge.transport import Transport

VERBS = ("deploy", "rollback", "failed", "undeploy")

_TAIL_BYTES = 1 << 18
"""Of the log: some thousand lines."""

_LINE = re.compile(
    r"(?P<time>\S{19,32}) (?P<id>[0-9a-f]{16,64}|-) (?P<who>\S{1,600}) board=(?P<board>\S{1,128})"
    r"(?: (?P<verb>[a-z]{1,16}))?(?P<flags>(?: --[a-z-]{1,32})*)",
    re.ASCII,
)


@dataclass(frozen=True)
class Entry:
    """One line.

    :ivar time: by the clock of the machine that did it.
    :ivar id: of the release that is live since; None: none is.
    :ivar who: ``ada@desk``.
    :ivar verb: one of :data:`VERBS`; ``failed``: it was live until its ``on_switch`` failed.
    :ivar flags: those that matter: ``--no-smoke``.
    """

    time: datetime.datetime
    id: str | None
    who: str
    board: str
    verb: str
    flags: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        words = [
            self.time.isoformat(timespec="seconds"),
            self.id or "-",
            quote(self.who, safe="@:+"),
            f"board={self.board}",
            self.verb,
            *self.flags,
        ]
        return " ".join(words) + "\n"


def entry(board: str, release_id: str | None, verb: str, flags: Sequence[str] = ()) -> Entry:
    """What this user of this machine does now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return Entry(now, release_id, store.who(), board, verb, tuple(flags))


def read(transport: Transport, device: DeviceLayout) -> tuple[Entry, ...]:
    """The last lines of the board's log, the oldest first; what is no line of ours is passed over.

    :raises BoardError: the link was lost.
    """
    outcome = transport.run(["tail", "-c", str(_TAIL_BYTES), device.log])
    return parse(outcome.text if outcome.ok else "")


def parse(text: str) -> tuple[Entry, ...]:
    """See :func:`read`."""
    found = []
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if not match:
            continue
        try:
            time = datetime.datetime.fromisoformat(match["time"])
            board = layout.safe_name(match["board"])
        except Exception:
            continue
        who = "".join(c if c.isprintable() else "?" for c in unquote(match["who"]))
        release_id = None if match["id"] == "-" else match["id"]
        verb = match["verb"] or "deploy"
        found.append(Entry(time, release_id, who, board, verb, tuple(match["flags"].split())))
    return tuple(found)


def before(entries: Iterable[Entry], live: str | None, there: Collection[str]) -> str | None:
    """The release that was live before ``live``, of those that are still there."""
    for found in reversed(tuple(entries)):
        if found.verb == "failed":
            continue
        if found.id is not None and found.id != live and found.id in there:
            return found.id
    return None
