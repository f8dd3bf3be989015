"""Switch: make a release live, tell the application, and go back if it does not come up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from edge import history
from edge.errors import BoardError, EdgeError
from edge.session import Session
from edge.store import Store

Progress = Callable[[str], None]


def to(
    session: Session,
    store: Store,
    release_id: str,
    verb: str,
    progress: Progress,
    *,
    flags: Sequence[str] = (),
) -> str | None:
    """Verify a release that is on the board, make it live, run the board's ``on_switch``.

    :param verb: for the log: one of ``history.VERBS``.
    :param flags: for the log.
    :return: the release that was live before.
    :raises Damaged: a file of it is; the store no longer has that file.
    :raises BoardError: ``on_switch`` failed, and the release before is live again.
    """
    board = session.board
    previous = store.switch(release_id)
    try:
        _tell(session, release_id, progress)
    except BoardError as error:
        if previous == release_id:
            raise BoardError(f"{error}; {release_id}, which was live before, still is") from error
        raise _taken_back(session, store, release_id, previous, error, flags) from error
    store.settle(release_id, history.entry(board.name, release_id, verb, flags).line)
    return previous


def _taken_back(
    session: Session,
    store: Store,
    release_id: str,
    previous: str | None,
    error: BoardError,
    flags: Sequence[str],
) -> BoardError:
    """Make ``previous`` live again, and say so."""
    try:
        store.switch(previous)
        failed = history.entry(session.board.name, release_id, "failed", flags)
        store.append_log(failed.line)
    except EdgeError as lost:
        return BoardError(f"{error}; {release_id} is live nevertheless: {lost}")
    if previous is not None:
        # Started anew, the application is what it was; if that fails too, the first error counts.
        with contextlib.suppress(EdgeError):
            _tell(session, previous, lambda line: None)
    live = "no release is live" if previous is None else f"{previous} is live again"
    return BoardError(
        f"{error}: rolled back, {live}; mend the application, or on_switch in lab.toml"
    )


def _tell(session: Session, release_id: str, progress: Progress) -> None:
    """
    :raises BoardError: ``on_switch`` failed, or took too long.
    """
    board = session.board
    if not board.on_switch:
        return
    progress(f"running {board.on_switch[0]} on the board")
    told = [f"EDGE_ROOT={session.device.root}", f"EDGE_RELEASE={release_id}"]
    try:
        outcome = session.transport.run(
            ["env", *told, *board.on_switch], timeout_s=board.on_switch_timeout_s
        )
    except BoardError as error:
        raise BoardError(f"on_switch failed ({board.on_switch[0]}: {error})") from error
    if not outcome.ok:
        said = (outcome.error_text or outcome.text.strip()).splitlines()[-1:]
        raise BoardError(
            f"on_switch failed on {session.transport.name} "
            f"({': '.join([f'exit code {outcome.exit_code}', *said])})"
        )
