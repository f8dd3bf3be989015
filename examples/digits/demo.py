"""The whole chain on eight models: deploy to a board, check every prediction, measure, show.

``python -m examples.digits.demo [--board NAME] [--host DESTINATION] [--json]``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge import agreement, bench, board, build, deploy, layout, reference, report, runner, session
from edge.agreement import Agreement
from edge.artifact import Artifact
from edge.deploy import Deployment
from edge.errors import EdgeError
from edge.release import Release
from edge.report import releases as releases_report
from edge.report import runs as runs_report
from edge.run import Plan, Run
from examples.digits import dataset
from examples.digits.dataset import DigitsModel, Heldout


@dataclass(frozen=True)
class Row:
    """One model on the board.

    :ivar accuracy: share of held-out digits that the board got right.
    :ivar agreed: digits for which board and host chose the same answer.
    """

    model: DigitsModel
    accuracy: float
    agreed: int
    outputs: Agreement
    interpreter: str
    run: Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument("--board", default="qemu-virt", help="see `invoke boards`")
    parser.add_argument("--host", help="SSH destination instead of the board's own")
    parser.add_argument("--count", type=int, default=400, help="latency samples per model")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    try:
        try:
            _demo(options)
        finally:
            report.settle()
    except EdgeError as error:
        sys.stderr.write(f"edge: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("edge: interrupted; run it again, it goes on where it was\n")
        return 130
    return 0


def _demo(options: argparse.Namespace) -> None:
    began = time.monotonic()
    target = board.load(options.board, host=options.host)
    models, heldout = dataset.models(), dataset.load_heldout()
    found = deploy.models([m.path for m in models], report.progress)
    wanted = deploy.prepare(target, found, report.progress)
    library = build.host_library(report.progress)
    with session.connect(target, report.progress) as opened:
        done = deploy.deploy(opened, wanted, report.progress)
        rows = []
        plan = Plan(count=options.count)
        command = f"invoke bench --board {target.name} --count {plan.count} --model"
        for model, artifact in zip(models, wanted.models, strict=True):
            report.progress(f"{model.name}: {len(heldout.images)} held-out digits on the board")
            answers = _evaluate(opened, wanted, artifact, model, heldout)
            run = bench.measure(
                opened,
                wanted,
                artifact,
                plan,
                library,
                report.progress,
                command=f"{command} {model.path.relative_to(Path.cwd())}"
                if model.path.is_relative_to(Path.cwd())
                else f"{command} {model.path}",
            )
            rows.append(Row(model, *answers, run))
    if options.json:
        report.print_json(
            {
                "deployment": releases_report.deployment_json(done),
                "models": [_row_json(row, len(heldout.labels)) for row in rows],
            }
        )
        return
    _show(done, rows, len(heldout.labels), time.monotonic() - began)


def _evaluate(
    opened: session.Session,
    live: Release,
    artifact: Artifact,
    model: DigitsModel,
    heldout: Heldout,
) -> tuple[float, int, Agreement, str]:
    """Every held-out digit on the board and on this machine."""
    inputs = {model.input.name: model.encode(heldout.images)}
    here = reference.compute(model.path, inputs)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "heldout.npz"
        reference.save(file, inputs)
        there, _ = runner.infer(opened, live, artifact, file)
    answers = model.decode(there[model.output.name]).argmax(1)
    expected = model.decode(here.outputs[model.output.name]).argmax(1)
    return (
        float(np.mean(answers == heldout.labels)),
        int(np.sum(answers == expected)),
        agreement.compare(model.path.name, there, here),
        here.interpreter,
    )


def _row_json(row: Row, digits: int) -> dict[str, object]:
    return {
        **runs_report.run_json(row.run),
        "accuracy": row.accuracy,
        "agreed": row.agreed,
        "digits": digits,
        "largest_difference": row.outputs.largest_difference,
    }


def _show(done: Deployment, rows: list[Row], digits: int, seconds: float) -> None:
    run = rows[0].run
    label = "EMULATED: times are not a board's" if run.emulated else run.kernel
    # p90 is in the JSON: eight rows of three percentiles with bounds are more than a page is wide.
    ladder = sorted({p.quantile for row in rows for p in row.run.percentiles()} - {0.9})
    table = report.table(
        f"{digits} handwritten digits on {done.board} ({label}), {done.release.runtime}",
        [
            "model",
            "right",
            "as on host",
            "largest diff",
            "delegated",
            *(f"p{100 * q:g} [95 % bounds]" for q in ladder),
            "cold start",
            "peak memory",
        ],
    )
    for row in rows:
        found = {p.quantile: p for p in row.run.percentiles()}
        table.add_row(
            row.model.name,
            f"{100 * row.accuracy:.1f} %",
            f"{row.agreed}/{digits}",
            f"{row.outputs.largest_difference:.2g}",
            row.run.delegated,
            *(report.interval(found.get(q)) for q in ladder),
            report.duration(row.run.cold_start_ns),
            report.size(row.run.report["peak_rss_bytes"]),
        )
    report.print_table(table)
    plan = run.plan
    for line in (
        f"latency: one invocation of the interpreter, {plan.options.threads} thread, "
        f"{plan.count} samples a model; a percentile is shown only if so many samples bound it "
        "on both sides",
        f"as on host: the same digit as {rows[0].interpreter} gave on this machine; largest diff "
        "between the two outputs (int8: in steps of 1/256): kernels for different processors round "
        "and sum differently; allowed are 2 % of the largest value, 4 steps for int8",
        f"sent: {report.size(done.sent_bytes)} in {done.sent_files} files"
        f" of {report.size(done.release.size_bytes)}; release {done.release.id} is live",
        f"took {seconds:.0f} s; samples and facts of each run: {layout.runs_dir()}",
        *(["emulated: no figure above says how fast a real board is"] if run.emulated else []),
        "",
        "The same on a Raspberry Pi that `ssh pi@raspberrypi.local` reaches:",
        "  .venv/bin/invoke deploy --board rpi4 --host pi@raspberrypi.local "
        "--model examples/digits/models/cnn-int8.tflite",
        "  .venv/bin/invoke bench --board rpi4 --host pi@raspberrypi.local "
        "--model examples/digits/models/cnn-int8.tflite",
    ):
        report.print_line(line)


if __name__ == "__main__":
    sys.exit(main())
