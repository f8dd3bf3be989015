"""Runs that are broken off: what was recorded is kept and marked, and the board is left clean."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.test_commands import descendants

REPOSITORY = Path(__file__).parents[2]
MODEL = REPOSITORY / "examples/digits/models/mlp-int8.tflite"
INVOKE = str(Path(sys.executable).with_name("invoke"))
PATIENCE_S = 120.0
_HEADER = struct.Struct("<8sIIIIQQ")  # magic, version, header, sample, pid, capacity, count


class Command:
    """`invoke bench` on this machine, which would go on for an hour."""

    def __init__(self, cache: Path, *flags: str) -> None:
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        self.process = subprocess.Popen(
            [
                *(INVOKE, "bench", "--board", "localhost"),
                *("--engine", "python", "--model", str(MODEL)),
                *("--count", "5000000", "--duration", "3600", *flags),
            ],
            env=self.environment,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_samples(self, before: set[Path]) -> tuple[Path, int]:
        """The folder on the board, and the number of the program that records there."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for folder in work_folders() - before:
                try:
                    head = (folder / "samples.bin").read_bytes()[: _HEADER.size]
                    magic, *_, pid, _, count = _HEADER.unpack(head)
                except (OSError, struct.error):
                    continue
                # Others may measure on this machine, too.
                ours = pid in descendants(self.process.pid)
                if ours and magic == b"EDGESMPL" and count >= 100:
                    return folder, pid
        raise AssertionError(self.process.communicate(timeout=10))

    def show(self, run_id: str) -> dict[str, object]:
        done = subprocess.run(
            [INVOKE, "runs.show", run_id, "--json"],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        (shown,) = json.loads(done.stdout)["runs"]
        assert isinstance(shown, dict)
        return shown


def work_folders() -> set[Path]:
    return set(Path("/dev/shm").glob("edge-????????????"))


def kept(command: Command, errors: str) -> dict[str, object]:
    (line,) = [each for each in errors.splitlines() if "are kept: invoke runs.show" in each]
    found = command.show(line.rsplit(" ", 1)[1])
    verdict = found["verdict"]
    assert isinstance(verdict, list)
    assert "unfinished" in {reason["code"] for reason in verdict}
    samples = found["samples"]
    assert isinstance(samples, int) and samples >= 100
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pid: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if gone(pid) and not folder.exists():
            return
    raise AssertionError(f"process {pid} gone: {gone(pid)}, {folder} there: {folder.exists()}")


@pytest.fixture
def cache() -> Path:
    """The one of all tests: nothing is downloaded again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


def test_a_runner_that_is_killed(cache: Path) -> None:
    before = work_folders()
    command = Command(cache)
    folder, pid = command.wait_for_samples(before)
    os.kill(pid, signal.SIGKILL)
    _, errors = command.process.communicate(timeout=PATIENCE_S)
    assert command.process.returncode == 3
    assert "was killed" in errors.splitlines()[-1]
    kept(command, errors)
    assert not folder.exists()


def test_a_run_that_takes_too_long(cache: Path) -> None:
    before = work_folders()
    command = Command(cache, "--timeout", "12s")
    folder, pid = command.wait_for_samples(before)
    _, errors = command.process.communicate(timeout=PATIENCE_S)
    assert command.process.returncode == 3
    assert "12 s" in errors.splitlines()[-1]
    kept(command, errors)
    wait_until_gone(pid, folder)


def test_an_interrupt(cache: Path) -> None:
    before = work_folders()
    command = Command(cache)
    folder, pid = command.wait_for_samples(before)
    command.process.send_signal(signal.SIGINT)
    _, errors = command.process.communicate(timeout=PATIENCE_S)
    assert command.process.returncode == 130
    kept(command, errors)
    wait_until_gone(pid, folder)


def test_a_host_that_is_gone_leaves_nothing_on_the_board(cache: Path) -> None:
    before = work_folders()
    command = Command(cache)
    folder, pid = command.wait_for_samples(before)
    command.process.kill()
    command.process.wait(PATIENCE_S)
    wait_until_gone(pid, folder)
