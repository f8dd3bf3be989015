"""What was measured and kept: `invoke runs.…`."""

from __future__ import annotations

from typing import Any

from edge.tasks import command


@command.task(
    name="list",
    help={
        "last": "so many, the newest; 0: all",
        "board": "a name or a pattern, as for --model and --engine",
        "model": "of the file, such as 'cnn-*'",
        "engine": "tflite, litert, python or native",
        "kind": "run, or what a group of runs is for, such as compare",
        "trusted": "leave out what is not trusted",
        "since": "a date or a time, or 7d or 12h for so long ago",
        "json": command.JSON,
    },
)
def runs_list(
    _: Any,
    last: str = "20",
    board: str | None = None,
    model: str | None = None,
    engine: str | None = None,
    kind: str | None = None,
    trusted: bool = False,
    since: str | None = None,
    json: bool = False,
) -> None:
    """List the runs that are kept on this machine, the newest last.

    invoke runs
    invoke runs --board 'rpi4*' --since 7d --trusted

    Runs that belong together are one row. A folder that can't be read is listed as damaged,
    whatever is asked for. docs/runs.md says what is in them.
    """
    from edge import archive, report
    from edge.report import runs as runs_report

    found = archive.select(
        archive.entries(),
        board=board,
        model=model,
        engine=engine,
        kind=kind,
        trusted=trusted,
        since=since,
        last=max(0, int(command.number("--last", last))),
    )
    if json:
        report.print_json([runs_report.entry_json(entry) for entry in found])
    elif found:
        report.print_table(runs_report.archive_table(found))
        for line in runs_report.archive_lines(found):
            report.print_line(line)
    else:
        report.print_line("no such run; `invoke bench` makes one")


def _print_runs(entry: Any, runs: Any) -> None:
    from edge import report
    from edge.report import runs as runs_report

    emulated = any(run.emulated for run in runs)
    report.print_table(runs_report.runs_table(runs, report.title(entry.id, emulated)))
    for run in runs:
        report.print_line(f"{run.id}, {run.model}, engine {run.engine}, {run.runtime}:")
        for line in runs_report.run_lines(run):
            report.print_line(f"  {line}")


@command.task(name="show", positional=["run"], help={"run": command.RUN, "json": command.JSON})
def runs_show(_: Any, run: str, json: bool = False) -> None:
    """Print a run, or the runs of a group, as when it was measured.

    invoke runs.show last
    invoke runs.show 20261122-0315
    """
    from edge import archive, report
    from edge import build as build_module
    from edge.report import runs as runs_report

    entry = archive.find(run)
    runs = archive.load(entry, build_module.host_library(report.progress))
    if json:
        told = runs_report.entry_json(entry)
        report.print_json({**told, "runs": [runs_report.run_json(each) for each in runs]})
        return
    _print_runs(entry, runs)
    if entry.grouped:
        for line in runs_report.group_lines(archive.arms(runs), archive.compared(entry, runs)):
            report.print_line(line)
    for line in runs_report.archive_lines([each for each in entry.runs if each.damage]):
        report.print_line(line)


@command.task(
    name="compare",
    positional=["first", "second"],
    help={"first": command.RUN, "second": "another one", "json": command.JSON},
)
def runs_compare(_: Any, first: str, second: str, json: bool = False) -> None:
    """Print two runs, or two groups of runs, side by side.

    invoke runs.compare 20261122-0315 last

    They did not take turns, so no difference is claimed. What is emulated is not compared with what
    is not.
    """
    from edge import archive, report
    from edge import build as build_module
    from edge.report import runs as runs_report

    entries = [archive.find(each) for each in (first, second)]
    archive.comparable(*entries)
    library = build_module.host_library(report.progress)
    loaded = [archive.load(entry, library) for entry in entries]
    if json:
        report.print_json([runs_report.run_json(run) for runs in loaded for run in runs])
        return
    alone = [runs[0] for entry, runs in zip(entries, loaded, strict=True) if not entry.grouped]
    if alone:
        report.print_table(runs_report.side_by_side(alone))
    for entry, runs in zip(entries, loaded, strict=True):
        if entry.grouped:
            for line in runs_report.group_lines(archive.arms(runs), archive.compared(entry, runs)):
                report.print_line(f"{entry.id}: {line}")
    for run in alone:
        for line in runs_report.verdict_lines(run):
            report.print_line(f"{run.id}: {line}")


@command.task(
    name="export",
    positional=["run"],
    help={"run": command.RUN, "output": "a .csv or a .json file", "json": command.JSON},
)
def runs_export(_: Any, run: str, output: str, json: bool = False) -> None:
    """Write every sample of a run, as it was recorded, for other programs.

    invoke runs.export last --output samples.csv

    A .csv has the samples; the board's readings are in samples.env.csv beside it. A .json has both
    and the run itself.
    """
    from edge import archive, report
    from edge import build as build_module
    from edge.report import runs as runs_report

    entry = archive.find(run)
    path = archive.output_file(entry, command.path(output))
    (found,) = archive.load(entry, build_module.host_library(report.progress))
    files = archive.export(found, runs_report.run_json(found), path)
    if json:
        report.print_json({"id": found.id, "files": [str(file) for file in files]})
    else:
        report.print_line(f"{len(found.samples)} samples written to {', '.join(map(str, files))}")
