"""A board's serial line."""

from __future__ import annotations

from typing import Any

from edge.tasks import command


@command.task(
    help={
        "board": command.BOARD,
        "serial": "a device such as /dev/ttyUSB0, or socket://HOST:PORT, instead of lab.toml's",
        "baud": "bits per second",
        "log": "append everything that is received to this file",
    }
)
def console(
    _: Any, board: str, serial: str | None = None, baud: str = "115200", log: str | None = None
) -> None:
    """Sit at a board's serial line, as in a terminal; ctrl-] leaves.

    invoke console --board rpi4 --serial /dev/ttyUSB0
    invoke console --board qemu-virt
    echo uname -a | invoke console --board rpi4

    Without --serial the port is the board's `serial` in lab.toml, or the line of the emulated
    machine that runs. docs/serial.md says how to find the port and who may open it.
    """
    from edge import board as board_module
    from edge import terminal
    from edge.console import Console

    port = terminal.port_of(board_module.load(board), serial)
    with Console.open(
        port, baud=int(command.number("--baud", baud)), log=command.path(log)
    ) as opened:
        terminal.interact(opened, f"{board} on {port}")


@command.task(
    help={
        "board": command.BOARD,
        "serial": "its serial line, instead of lab.toml's: see `invoke console`",
        "baud": "bits per second",
        "user": "who logs in, on the line and then over SSH; else whom `ssh` would log in",
        "password-file": "its first line is the password; else $EDGE_PASSWORD, or you are asked",
        "key": "your public key, FILE.pub, instead of the first one that `ssh` would use",
        "address": "HOST or HOST:PORT of its SSH server, instead of what the board says",
        "force": "replace another host or serial in lab.toml",
        "json": command.JSON,
    }
)
def bootstrap(
    _: Any,
    board: str,
    serial: str | None = None,
    baud: str = "115200",
    user: str | None = None,
    password_file: str | None = None,
    key: str | None = None,
    address: str | None = None,
    force: bool = False,
    json: bool = False,
) -> None:
    """From a freshly flashed board with a serial login to one that deploys reach.

    invoke bootstrap --board rpi4 --serial /dev/ttyUSB0 --user pi

    Over the serial line: reads the board's addresses and host keys, and puts your public key on it.
    Here: records the host keys in your known_hosts and the address in lab.toml, when a server with
    one of these keys has answered there. Run twice, it changes nothing.
    """
    from edge import board as board_module
    from edge import bootstrap as bootstrap_module
    from edge import report, terminal
    from edge.console import Console
    from edge.report import boards as boards_report

    target = board_module.load(board)
    login = bootstrap_module.login_name(target, user)
    port = terminal.port_of(target, serial)
    number = int(command.number("--baud", baud))
    plan = bootstrap_module.plan(
        login, address=address, key=command.path(key), serial=serial, force=force
    )
    secret = bootstrap_module.password(login, port, command.path(password_file))
    with Console.open(port, baud=number) as opened:
        done = bootstrap_module.bootstrap(target, opened, plan, secret, report.progress)
    if json:
        report.print_json(boards_report.bootstrap_json(done))
    else:
        for line in boards_report.bootstrap_lines(done):
            report.print_line(line)
