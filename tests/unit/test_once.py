from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge import artifact
from edge.once import Once, once


def test_threads_that_ask_at_once_get_the_one_that_is_made() -> None:
    together = threading.Barrier(4, timeout=10)
    begun = threading.Event()
    made: list[object] = []
    shared: Once[object] = Once()

    def make() -> object:
        made.append(object())
        begun.wait(0.05)  # what a second maker would need to be seen
        return made[-1]

    def ask() -> object:
        together.wait()
        return shared.get("key", make)

    with ThreadPoolExecutor(4) as pool:
        got = [future.result() for future in [pool.submit(ask) for _ in range(4)]]
    assert len(made) == 1
    assert set(map(id, got)) == {id(made[0])}


def test_keys_do_not_wait_for_each_other() -> None:
    shared: Once[str] = Once()
    with ThreadPoolExecutor(1) as pool:
        got = shared.get("a", lambda: pool.submit(shared.get, "b", lambda: "b").result(10))
    assert got == "b"


def test_a_failure_is_not_kept() -> None:
    answers = iter([ValueError("first"), None])

    @once
    def ask(word: str) -> str:
        if (error := next(answers)) is not None:
            raise error
        return word

    with pytest.raises(ValueError, match="first"):
        ask("x")
    assert ask("x") == ask("x") == "x"


def test_a_file_is_hashed_once_until_somebody_writes_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"one")
    first = artifact.hash_file(path)
    path.write_bytes(b"two")  # within one tick of the clock, and as long
    second = artifact.hash_file(path)
    assert first != second
    with monkeypatch.context() as patched:
        patched.setattr(artifact, "_hash", lambda path: "read again")
        assert artifact.hash_file(path) == "read again"  # too fresh to tell
    monkeypatch.setattr(artifact, "_FRESH_NS", 0)
    assert artifact.hash_file(path) == second
    monkeypatch.setattr(artifact, "_hash", lambda path: "read again")
    assert artifact.hash_file(path) == second
    os.utime(path, ns=(1, 1))
    assert artifact.hash_file(path) == "read again"
