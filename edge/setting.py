"""Setting: what a board's kernel is told for as long as a run lasts, such as a governor."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edge import board as board_module
from edge import facts, preflight
from edge.errors import UsageError
from edge.facts import Condition
from edge.session import Session

_PLACE = "/sys/devices/system/cpu/"
_GOVERNOR = "governor="


def check(words: Sequence[str]) -> None:
    """Look at what ``--set`` was given, before anybody is asked.

    :raises UsageError: one is neither ``governor=NAME`` nor a file below the kernel's settings of
        processors with a value.
    """
    for word in words:
        path, _, value = word.partition("=")
        file = re.fullmatch(rf"{_PLACE}[A-Za-z0-9_/.-]+", path) and ".." not in path
        if not (path == "governor" or file) or not re.fullmatch(r"[!-~][ -~]{0,99}", value):
            raise UsageError(
                f"--set {word}: write governor=NAME, such as governor=performance, or {_PLACE}"
                "FILE=VALUE"
            )


def resolve(session: Session, words: Sequence[str]) -> tuple[str, ...]:
    """``PATH=VALUE`` of this board for each of ``words``, which :func:`check` has seen.

    :raises UsageError: the board has no such governor, is none, or nobody allowed to set it.
    """
    if not words:
        return ()
    if session.board.emulation == "user":
        raise UsageError(
            f"--set: {session.board.name} has no kernel of its own, its settings are this "
            "machine's: take a whole emulated machine, or a board"
        )
    condition = facts.read_condition(session.transport)
    settings = [each for word in words for each in _expanded(session, condition, word)]
    _check_permission(session, condition, [each.partition("=")[0] for each in settings])
    return tuple(settings)


def _expanded(session: Session, condition: Condition, word: str) -> list[str]:
    if not word.startswith(_GOVERNOR):
        return [word]
    governor, where = word.removeprefix(_GOVERNOR), session.transport.name
    if not condition.clocks:
        raise UsageError(f"--set {word}: the kernel of {where} lets nobody choose a governor")
    for clock in condition.clocks:
        if not re.fullmatch(r"policy[0-9]{1,4}", clock.policy):
            raise UsageError(f"--set {word}: {where} calls a group of cores {clock.policy!r}")
        if clock.governors and governor not in clock.governors:
            raise UsageError(
                f"--set {word}: cores {clock.cores} of {where} have {', '.join(clock.governors)}"
            )
    return [f"{_PLACE}cpufreq/{c.policy}/scaling_governor={governor}" for c in condition.clocks]


def _check_permission(session: Session, condition: Condition, paths: list[str]) -> None:
    if condition.sudo == "root":
        return
    user, where = session.facts.user or "USER", session.transport.name
    if condition.sudo == "none":
        raise UsageError(f"--set: {where} has no sudo: log in as root, by --host root@ADDRESS")
    if not session.board.sudo:
        raise UsageError(
            f"--set: {user} on {where} is not root: write sudo = true into "
            f"[boards.{session.board.name}] of {board_module.lab_file()}"
            + (
                ""
                if condition.sudo == "yes"
                else f", and on the board `{preflight.sudoers(user, paths)}`"
            )
        )
