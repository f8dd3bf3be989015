"""What executes models: which runtimes there are, and those that are compiled here."""

from __future__ import annotations

from typing import Any

from edge.tasks import command


@command.task(name="list", help={"json": command.JSON})
def runtime_list(_: Any, json: bool = False) -> None:
    """List the runtimes, and what each is for.

    invoke runtime
    """
    from edge import report, runtime
    from edge.report import runtimes

    found = [runtime.load(name) for name in runtime.names()]
    if json:
        report.print_json([runtimes.runtime_json(each) for each in found])
    else:
        report.print_table(runtimes.runtimes_table(found))


@command.task(
    name="build",
    iterable=["ops_from"],
    help={
        "board": command.BOARD,
        "runtime": "one that is compiled, see `invoke runtime`; else the board's own",
        "ops-from": "a .tflite file: leave out operators that no such model uses; may be repeated",
        "source": "a checkout of TensorFlow 2.14 of your own, instead of Debian's sources",
        "mcpu": "the core to compile for, such as cortex-a76, instead of the board's",
        "name": "of the new runtime, with --ops-from, --source or --mcpu",
        "jobs": "compilers at a time; 0: as many as there are processors, and memory for",
        "json": command.JSON,
    },
)
def runtime_build(
    _: Any,
    board: str,
    ops_from: list[str],
    runtime: str | None = None,
    source: str | None = None,
    mcpu: str | None = None,
    name: str | None = None,
    jobs: str = "0",
    json: bool = False,
) -> None:
    """Compile TFLite's library for a board, and see what it does.

    invoke runtime.build --board beaglebone-black
    invoke runtime.build --board beaglebone-black --ops-from m.tflite --name mine
    invoke runtime.build --board rpi5 --mcpu cortex-a76 --name tflite-a76

    Minutes once; then it is in the cache. With --ops-from, --source or --mcpu it becomes a runtime
    of its own, runtimes/NAME.toml, which --runtime takes by name. docs/source-builds.md has more.
    """
    from edge import board as board_module
    from edge import compiled, report
    from edge.report import runtimes

    at_once = int(command.number("--jobs", jobs))
    target = board_module.load(board)
    chosen = compiled.runtime_for(
        target,
        runtime,
        models=tuple(command.path(each) for each in ops_from),
        tree=command.path(source),
        mcpu=mcpu,
        name=name,
    )
    made = compiled.make(chosen, target, report.progress, jobs=at_once or None)
    if json:
        report.print_json(runtimes.made_json(made))
        return
    for line in runtimes.made_lines(made):
        report.print_line(line)
