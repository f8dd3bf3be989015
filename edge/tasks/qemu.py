"""Emulated boards that stay up: `invoke qemu.…`."""

from __future__ import annotations

from typing import Any

from edge.tasks import command


@command.task(
    help={
        "board": "an emulated board: see `invoke boards`",
        "name": "of the machine, for several of one board; the board's own by default",
        "fresh": "with a new disk: what was deployed to it is gone",
        "blank": "a new disk as on a freshly flashed board: no key on it, for `invoke bootstrap`",
        "port": "for SSH, on this machine's loopback interface; 0: one that is free",
        "json": command.JSON,
    }
)
def up(
    _: Any,
    board: str,
    name: str | None = None,
    fresh: bool = False,
    blank: bool = False,
    port: str = "0",
    json: bool = False,
) -> None:
    """Start an emulated board, which then runs until `invoke qemu.down`.

    invoke qemu.up --board qemu-virt
    invoke qemu.up --board qemu-virt --name second

    --board NAME then reaches it from every command; a second one of the same board is --host NAME.
    The first start boots and saves a state; the next ones resume from it.
    """
    from edge import board as board_module
    from edge import machine, report, session
    from edge.errors import UsageError
    from edge.report import boards as boards_report

    number = int(command.number("--port", port))
    if not 0 <= number < 65536:
        raise UsageError(f"--port {port}: must be from 1 to 65535, or 0")
    target = board_module.load(board)
    access = machine.running(name or target.name)
    if access is None:
        started = session.start(
            target, report.progress, name=name, fresh=fresh, blank=blank, ssh_port=number
        )
        started.detach()
        access = started.access
    elif fresh or blank or number not in (0, access.ssh_port):
        raise UsageError(f"machine {access.name} is up already: `invoke qemu.down` comes first")
    else:
        report.progress(f"{access.name} is up already")
    if json:
        report.print_json(boards_report.machine_json(access))
    else:
        for line in boards_report.machine_lines(access, target.name):
            report.print_line(line)


@command.task(
    help={
        "board": "an emulated board",
        "name": "of the machine, if it has one of its own",
        "all": "every machine that `qemu.up` has started",
        "json": command.JSON,
    }
)
def down(
    _: Any,
    board: str | None = None,
    name: str | None = None,
    all: bool = False,
    json: bool = False,
) -> None:
    """Shut an emulated board down in order; its power is cut if that takes too long.

    invoke qemu.down --board qemu-virt
    invoke qemu.down --all

    Its disk stays: the next `invoke qemu.up` finds on it what was deployed.
    """
    from edge import board as board_module
    from edge import machine, report
    from edge.errors import UsageError
    from edge.machine import Machine

    if all == bool(name or board):
        raise UsageError("which machine? name it by --board or --name, or say --all")
    if all:
        names = [found for found, access in machine.all_running() if access and access.kept]
    else:
        names = [name or board_module.load(str(board)).name]
    stopped = []
    for each in names:
        access = machine.running(each)
        if access is None:
            report.progress(f"machine {each} is not running")
        elif not access.kept:
            raise UsageError(
                f"machine {each} belongs to a command that runs, process {access.owner_pid}, and "
                "ends with it: interrupt that one"
            )
        else:
            report.progress(f"shutting {each} down")
            Machine.attach(each, report.progress).stop()
            stopped.append(each)
    if json:
        report.print_json({"stopped": stopped})
    else:
        report.print_line(f"down: {', '.join(stopped)}" if stopped else "nothing to shut down")


@command.task(help={"json": command.JSON})
def status(_: Any, json: bool = False) -> None:
    """List the emulated boards that run: since when, and how to reach them."""
    from edge import machine, report
    from edge.report import boards as boards_report

    found = machine.all_running()
    if json:
        report.print_json(
            [{"name": name, **(boards_report.machine_json(access) if access else {})}
             for name, access in found]
        )  # fmt: skip
    elif found:
        report.print_table(boards_report.machines_table(found))
    else:
        report.print_line("no emulated board runs; `invoke qemu.up --board qemu-virt` starts one")


@command.task(name="image", help={"board": "an emulated board", "json": command.JSON})
def build_image(_: Any, board: str, json: bool = False) -> None:
    """Build what an emulated board boots from Debian packages, if it is not built yet.

    invoke qemu.image --board qemu-virt

    `qemu.up` does it too; this way a CI job can fill its cache first.
    """
    from edge import board as board_module
    from edge import image, report
    from edge.errors import UsageError
    from edge.report import boards as boards_report

    target = board_module.load(board)
    if target.image is None:
        raise UsageError(f"board {board} is not emulated: `invoke boards` shows which are")
    described = image.load(target.image)
    made = image.build(described, report.progress)
    if json:
        report.print_json(boards_report.image_json(made))
    else:
        report.print_line(boards_report.image_line(made))
