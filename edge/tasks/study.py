"""The questions that people argue about, asked on a board."""

from __future__ import annotations

from typing import Any

from edge.tasks import command


@command.task(
    auto_shortflags=False,  # more flags than letters
    iterable=["model"],
    help={
        "board": command.BOARD,
        "host": command.HOST,
        "model": "a .tflite file, instead of the bundled ones; may be given several times; "
        "variants of a model are told by their names: name-float32.tflite, name-int8.tflite",
        "questions": "some of them, joined by commas: docs/questions.md has their names",
        "rounds": "of each a process per cell, in random order, at most",
        "longest": "begin no further round after so long, such as 13m, if there are enough",
        "batch": "examples in a large batch",
        "seed": "of the random order",
        "tensorflow": "also send TensorFlow's library over a link, 0.9 GB",
        "output": "a .md file for the report",
        "wait": command.WAIT,
        "json": command.JSON,
    },
)
def study(
    _: Any,
    board: str,
    model: list[str],
    host: str | None = None,
    questions: str = "",
    rounds: str = "10",
    longest: str = "13m",
    batch: str = "32",
    seed: str = "1",
    tensorflow: bool = False,
    output: str | None = None,
    wait: str = "0",
    json: bool = False,
) -> None:
    """What people say about TFLite, Python, Keras and int8: measured on a board, with verdicts.

    invoke study --board rpi4
    invoke study --board rpi4 --questions python,quantization --output report.md
    invoke study --board rpi4 --model m-float32.tflite --model m-int8.tflite

    Every way of running the models that the board has takes its turns; what it lacks is left out,
    and the report says why. docs/questions.md has the claims, and their verdicts on two boards.
    """
    import datetime

    from edge import board as board_module
    from edge import build as build_module
    from edge import deploy, group, report, session
    from edge import questions as questions_module
    from edge import study as study_module
    from edge.report import study as study_report

    claims = questions_module.claims([each for each in questions.split(",") if each])
    path = study_module.report_file(command.path(output))
    most = study_module.rounds_of(int(command.number("--rounds", rounds)))
    large = study_module.batch_of(int(command.number("--batch", batch)))
    longest_s = study_module.longest_of(longest)
    order = int(command.number("--seed", seed))
    wait_s = command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    paths = [command.path(each) for each in model] or study_module.bundled()
    deploy.models(paths, report.progress)
    asked = study_module.Asked(
        *(claims, study_module.subjects(paths), most, large, longest_s),
        own=bool(model),
        heavy=tensorflow,
        seed=order,
    )
    library = build_module.host_library(report.progress)
    with session.connect(target, report.progress) as opened:
        made = study_module.run(
            *(opened, asked, lambda arms: group.create("study", command.typed(), arms)),
            *(library, report.progress, report.update),
            measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            command=command.typed(),
            wait_s=wait_s,
        )
    if path is not None:
        path.write_text(study_report.markdown(made), encoding="utf-8")
    if json:
        report.print_json(study_report.study_json(made))
    elif path is not None:
        report.print_line(f"{len(made.verdicts)} verdicts: {path}")
    else:
        study_report.print_study(made)
