"""How long an emulated board takes until it can be used: booted, and resumed from its saved state.

    python -m benchmarks.boot [BOARD...]

Five starts of each kind, of the machine ``bench-boot``. *up* is from the command to the first word
of the board's SSH server; *command* to the end of the first command, over a connection of its own.
A boot includes saving the state. The image is built before, and its time told if it had to be.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import time
from pathlib import Path

from edge import board as board_module
from edge import image, report, session
from edge.board import Board
from edge.transport import ssh

RUNS = 5
NAME = "bench-boot"


def main(names: list[str]) -> None:
    boards = [board_module.load(name) for name in names] or [
        found for found in board_module.load_all() if found.emulation == "machine"
    ]
    table = report.table(
        f"{RUNS} starts each, seconds: median, least to most; on {_here()}",
        ["board", "image built", "boot: up", "boot: command", "resume: up", "resume: command"],
    )
    for board in boards:
        assert board.image is not None
        began = time.monotonic()
        built = image.build(image.load(board.image), report.progress)
        took_s = time.monotonic() - began
        columns = []
        for cold in (True, False):
            ups, commands = [], []
            for number in range(RUNS):
                if cold:
                    for state in built.directory.glob("state-*"):
                        shutil.rmtree(state)
                up_s, command_s = _start(board, fresh=cold and number == 0)
                ups.append(up_s)
                commands.append(command_s)
            columns += [_spread(ups), _spread(commands)]
        table.add_row(board.name, f"{took_s:.1f}" if took_s > 1 else "before", *columns)
    report.print_table(table)


def _start(board: Board, *, fresh: bool) -> tuple[float, float]:
    began = time.monotonic()
    with session.start(board, report.progress, name=NAME, fresh=fresh) as machine:
        up_s = time.monotonic() - began
        with ssh.connect(session.guest_target(machine.access)) as transport:
            assert transport.run(["true"]).ok
        return up_s, time.monotonic() - began


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f}, {min(seconds):.2f} to {max(seconds):.2f}"


def _here() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    load = os.getloadavg()[0]
    name = models[0] if models else platform.machine()
    return f"{name}, {os.cpu_count()} cores, load {load:.1f} before"


if __name__ == "__main__":
    main(sys.argv[1:])
