"""The keeper ends its program together with whoever wanted it, unless told to keep it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge import keeper, machine


@contextmanager
def kept(*argv: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The keeper of a program, and the program's process number."""
    with subprocess.Popen(
        [sys.executable, "-I", str(Path(keeper.__file__)), *argv],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            yield process, pid
        finally:
            process.kill()


def say(process: subprocess.Popen[bytes], what: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(what)
    process.stdin.close()


def test_the_program_ends_with_the_lifeline() -> None:
    with kept("sleep", "60") as (process, pid):
        assert not machine._await_end(pid, 0.1)
        say(process, b"")
        assert machine._await_end(pid, 5)
        assert process.wait(5) == 128 + signal.SIGKILL


def test_a_keeper_whose_user_is_gone_already_ends_its_program(tmp_path: Path) -> None:
    """It must not fail before it has killed: whoever sees it end may take the machine."""
    lock = tmp_path / "lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        read, write = os.pipe()
        os.close(read)
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(keeper.__file__)), "sleep", "60"],
            stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE,
            pass_fds=[held.fileno()],
        )  # fmt: skip
        os.close(write)
    _, errors = process.communicate(timeout=10)
    with lock.open() as mine:
        fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert (process.returncode, errors) == (128 + signal.SIGKILL, b"")


def test_half_a_word_is_no_word() -> None:
    with kept("sleep", "60") as (process, pid):
        say(process, keeper.KEEP[:-1])
        assert machine._await_end(pid, 5)


def test_a_kept_program_goes_on_without_the_lifeline() -> None:
    with kept("sleep", "60") as (process, pid):
        say(process, keeper.KEEP)
        assert not machine._await_end(pid, 0.3)
        process.terminate()
        assert machine._await_end(pid, 5)
        assert process.wait(5) == 128 + signal.SIGKILL


def test_the_program_ends_with_its_keeper() -> None:
    with kept("sleep", "60") as (process, pid):
        process.kill()
        assert machine._await_end(pid, 5)


def test_the_programs_exit_code_is_the_keepers() -> None:
    with kept("sh", "-c", "exit 7") as (process, _):
        assert process.wait(5) == 7
