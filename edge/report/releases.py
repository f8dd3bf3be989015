"""Releases: what a deploy did, to one board or to many, and what a board holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from edge.report import duration, size, table

if TYPE_CHECKING:
    from edge.bundle import Bundle
    from edge.canary import Comparison as CanaryComparison
    from edge.deploy import Deployment
    from edge.fleet import Fleet, Result
    from edge.installed import Installed

_STATES = {"live": "green", "failed": "red", "unknown": "red", "not started": "yellow"}


def deployment_lines(done: Deployment) -> list[str]:
    """What happened, for people."""
    wanted = done.release
    plural = "" if done.sent_files == 1 else "s"
    sent = f"{done.sent_files} file{plural}, {size(done.sent_bytes)} sent"
    if not done.sent_files:
        sent = "nothing to send"
    live = "is live" if done.changed else "is live already"
    lines = [
        f"{done.board} ({done.target}): release {wanted.id} {live}, "
        f"{len(wanted.models)} model{'s' if len(wanted.models) != 1 else ''}, {sent}"
    ]
    if done.previous and done.changed:
        lines.append(f"before: {done.previous}")
    lines += [
        f"checked {a.model}: largest difference from this machine {a.largest_difference:.3g} "
        f"(allowed {a.bound:.3g})"
        for a in done.smoke
    ]
    return lines


def bundle_lines(made: Bundle) -> list[str]:
    wanted = made.release
    models = f"{len(wanted.models)} model{'' if len(wanted.models) == 1 else 's'}"
    return [
        f"{made.path}: release {wanted.id}, {models}, {wanted.runtime}, {size(made.size_bytes)}",
        f"sha256 {made.sha256}",
    ]


def bundle_json(made: Bundle) -> dict[str, Any]:
    return {
        "path": str(made.path),
        "release": made.release.id,
        "runtime": made.release.runtime,
        "models": [model.path.name for model in made.release.models],
        "size_bytes": made.size_bytes,
        "sha256": made.sha256,
        "tar_sha256": made.tar_sha256,
    }


def deployment_json(done: Deployment) -> dict[str, Any]:
    return {
        "board": done.board,
        "target": done.target,
        "release": done.release.id,
        "previous": done.previous,
        "changed": done.changed,
        "runtime": done.release.runtime,
        "models": [a.path.name for a in done.release.models],
        "sent_bytes": done.sent_bytes,
        "sent_files": done.sent_files,
        "smoke": [
            {
                "model": a.model,
                "largest_difference": a.largest_difference,
                "bound": a.bound,
            }
            for a in done.smoke
        ],
    }


def fleet_table(made: Fleet[Deployment]) -> Table:
    """A line a board; why some failed stands in :func:`fleet_lines`."""
    found = table("", ["board", "target", "release", "before", "sent", "time", "result"], left=4)
    found.columns[-1].justify = "left"
    for result in made.results:
        done = result.outcome
        found.add_row(
            result.board,
            result.target,
            done.release.id if done else "",
            (done.previous or "none" if done.changed else "the same") if done else "",
            size(done.sent_bytes) if done else "",
            duration(result.seconds * 1e9) if result.skipped is None else "",
            Text(_state(result), _STATES[_state(result)]),
        )
    return found


def _state(result: Result[Any]) -> str:
    from edge.fleet import CutError

    if result.skipped is not None:
        return "not started"
    if isinstance(result.error, CutError):
        return "unknown"
    return "failed" if result.error else "live"


def fleet_lines(made: Fleet[Any]) -> list[str]:
    """Each failure in a line, why others did not start, and how many of each."""
    lines = [f"{result.board}: {_one_line(result.error)}" for result in made.failures]
    skipped: dict[str, list[str]] = {}
    for result in made.results:
        if result.skipped is not None:
            skipped.setdefault(result.skipped, []).append(result.board)
    lines += [f"not started ({why}): {', '.join(names)}" for why, names in skipped.items()]
    states = [_state(result) for result in made.results]
    counts = [f"{states.count(state)} {state}" for state in _STATES if state in states]
    return [*lines, f"{len(states)} boards: {', '.join(counts)}"]


def fleet_json(
    made: Fleet[Deployment], compared: Mapping[str, Sequence[CanaryComparison]]
) -> dict[str, Any]:
    return {
        "interrupted": made.interrupted,
        "exit_code": made.exit_code,
        "boards": [
            {
                "board": result.board,
                "target": result.target,
                "state": _state(result),
                "seconds": result.seconds,
                "error": result.error and _one_line(result.error),
                "skipped": result.skipped,
                "deployment": result.outcome and deployment_json(result.outcome),
                "canary": [dataclasses.asdict(found) for found in compared.get(result.board, ())],
            }
            for result in made.results
        ],
    }


def _one_line(error: Exception | None) -> str:
    return " ".join(str(error).split("\n"))


def releases_table(target: str, found: Sequence[Installed]) -> Table:
    """What is on a board."""
    made = table(
        f"releases on {target}", ["release", "", "last live", "by", "models", "runs with"], left=6
    )
    for column in ("size", "frees"):
        made.add_column(column, justify="right", no_wrap=True)
    for one in found:
        stored, last = one.stored, one.last
        marks = {"live": stored.live, "pinned": stored.pinned, "in use": stored.in_use}
        when = stored.created if last is None else last.time
        made.add_row(
            stored.id,
            ", ".join(name for name, true in marks.items() if true),
            f"{when:%Y-%m-%d %H:%M} UTC" + ("" if last else " (made)"),
            "" if last is None else " ".join([last.who, *last.flags]),
            "damaged" if one.manifest is None else ", ".join(one.models),
            "" if one.manifest is None else f"{one.manifest.engine}, {one.manifest.runtime}",
            size(stored.size_bytes),
            size(stored.own_bytes),
        )
    return made


def installed_json(one: Installed) -> dict[str, Any]:
    stored, last = one.stored, one.last
    return {
        "release": stored.id,
        "live": stored.live,
        "pinned": stored.pinned,
        "in_use": stored.in_use,
        "created": stored.created.isoformat(),
        "size_bytes": stored.size_bytes,
        "own_bytes": stored.own_bytes,
        "models": None if one.manifest is None else list(one.models),
        "engine": None if one.manifest is None else one.manifest.engine,
        "runtime": None if one.manifest is None else one.manifest.runtime,
        "last": None
        if last is None
        else {
            "time": last.time.isoformat(),
            "who": last.who,
            "board": last.board,
            "verb": last.verb,
            "flags": list(last.flags),
        },
    }
