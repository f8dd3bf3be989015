"""Which boards there are, what they say of themselves, and what stands in the way."""

from __future__ import annotations

from typing import Any

from invoke.exceptions import Exit

from edge.tasks import command


@command.task(help={"json": command.JSON})
def boards(_: Any, json: bool = False) -> None:
    """List what can be targeted; each is a file in boards/.

    To add one, write boards/NAME.toml: docs/boards.md lists the keys.
    """
    from edge import board, report
    from edge.report import boards as boards_report

    found = board.load_all()
    if json:
        report.print_json([boards_report.board_json(b) for b in found])
    else:
        report.print_table(boards_report.boards_table(found))


@command.task(
    help={
        "host": "SSH destination, such as pi@10.0.0.7",
        "name": "of the new board: boards/NAME.toml is written",
        "force": "overwrite a board of that name",
        "json": command.JSON,
    }
)
def probe(_: Any, host: str, name: str, force: bool = False, json: bool = False) -> None:
    """Read the facts of a real board and write a board file for it.

    invoke probe --host pi@10.0.0.7 --name mypi

    What the board says of its system, cores, memory, clocks, temperatures and Pythons stands in the
    file's comments; afterwards `--board mypi --host pi@10.0.0.7` works everywhere.
    """
    from edge import deploy as deploy_module
    from edge import probe as probe_module
    from edge import report, session

    probe_module.checked_name(name)
    seen = session.visit(host, report.progress)
    text = probe_module.board_file(
        seen.facts,
        seen.condition,
        name,
        seen=seen.described,
        runtimes=deploy_module.candidates(seen.facts, seen.facts.machine, report.progress),
    )
    path = probe_module.write(name, text, force=force)
    if json:
        report.print_json({"name": name, "path": str(path), "text": text})
        return
    report.print_line(text.rstrip())
    report.print_line(f"written to {path}; `invoke doctor --board {name} --host {host}` goes on")
    report.print_line("to leave --host away from now on, put into lab.toml:")
    report.print_line(probe_module.lab_entry(name, host).rstrip())


@command.task(
    iterable=["model"],
    help={**command.STACK, "model": "find room for these models too", "engine": command.ENGINE},
)
def doctor(
    _: Any,
    board: str,
    model: list[str],
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    json: bool = False,
) -> None:
    """Say what would stop a deploy to a board or spoil a measurement, and what mends it.

    invoke doctor --board rpi4 --host pi@10.0.0.7

    Each remedy is the line to type. Nothing is changed on the board.
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import facts, preflight, report, session
    from edge.report import boards as boards_report

    options = command.options(None, [], "0", "1", True, delegate, ops)
    choice = command.choice(engine, runtime, lib, options)
    target = board_module.load(board, host=host)
    deploy_module.check(target, choice)
    found = deploy_module.models(command.models(model), report.progress, options) if model else ()
    with session.connect(target, report.progress) as opened:
        made = deploy_module.stack(
            target,
            report.progress,
            choice=choice,
            interpreter=deploy_module.python_for(opened, choice),
            facts=opened.facts,
        )
        size = sum(file.size_bytes for file in (*made.files, *found))
        findings = deploy_module.look(
            opened, made.files, found, size, made.runtime, report.progress
        )
        condition = facts.read_condition(opened.transport)
        findings = tuple(dict.fromkeys(findings + preflight.spoilers(opened.facts, condition)))
        where = opened.transport.name
    if json:
        report.print_json(
            {
                "board": target.name,
                "target": where,
                "runtime": made.runtime,
                "engine": made.engine,
                "findings": [vars(finding) for finding in findings],
            }
        )
    else:
        title = f"{target.name} ({where}), engine {made.engine}, {made.runtime}"
        report.print_table(boards_report.findings_table(title, findings))
    stops = [finding for finding in findings if finding.level == "stop"]
    if stops:
        raise Exit(code=3)
