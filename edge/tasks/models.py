"""What a model consists of, and what it makes of given arrays."""

from __future__ import annotations

from typing import Any

from edge.tasks import command


@command.task(
    iterable=["shape"],
    help={
        **command.STACK,
        "model": "a .tflite file",
        "input": "arrays by input name (.npz), or one array for a model with one input (.npy)",
        "output": "where the outputs go, as .npz",
        "each": "the first axis of every input counts samples: run each, join the outputs",
        "dequantize": "give quantized inputs, and get quantized outputs, as real numbers",
        "engine": command.ENGINE,
        **command.OPTIONS,
        "wait": command.WAIT,
    },
)
def infer(
    _: Any,
    board: str,
    model: str,
    input: str,
    output: str,
    shape: list[str],
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    each: bool = False,
    dequantize: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Run a model on a board over your own arrays, and fetch what it made of them.

    invoke infer --board rpi4 --model m.tflite --input x.npz --output y.npz
    invoke infer --board rpi4 --model int8.tflite --input image.npy --output y.npz --dequantize

    What is live on the board stays live. Save arrays with numpy's np.savez.
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import reference, report, runner, session
    from edge.report import models as models_report

    wait_s = command.seconds("--wait", wait)
    options = command.options(signature, shape, batch, threads, xnnpack, delegate, ops)
    choice = command.choice(engine, runtime, lib, options)
    target = board_module.load(board, host=host)
    deploy_module.check(target, choice)
    arrays, place = (
        runner.inputs_file(command.path(input)),
        runner.outputs_file(command.path(output)),
    )
    found = deploy_module.models(command.models([model]), report.progress, options)
    with session.connect(target, report.progress) as opened:
        wanted = deploy_module.prepared(opened, found, report.progress, choice)
        with deploy_module.staged(opened, wanted, report.progress, wait_s=wait_s):
            report.progress(f"running {found[0].path.name} on the board")
            outputs, told = runner.infer(
                opened,
                wanted,
                wanted.models[0],
                arrays,
                options=options,
                each=each,
                dequantize=dequantize,
            )
    reference.save(place, outputs)
    if json:
        report.print_json(told)
    else:
        for line in models_report.inference_lines(outputs, told, output):
            report.print_line(line)


@command.task(
    positional=["model"],
    iterable=["shape"],
    help={
        **command.STACK,
        "model": "a .tflite file",
        "engine": "one of tflite, litert, python, or several joined by commas; else the board's",
        **command.OPTIONS,
        "wait": command.WAIT,
    },
)
def inspect(
    _: Any,
    model: str,
    shape: list[str],
    board: str | None = None,
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Say what a model consists of, and what a board's runtime makes of it.

    invoke inspect m.tflite
    invoke inspect m.tflite --board rpi4
    invoke inspect m.tflite --board localhost --engine litert,python

    With a board: how many nodes the runtime's delegates take, which stay behind, and why. See
    docs/inspecting.md.
    """
    from edge import board as board_module
    from edge import deploy as deploy_module
    from edge import inspection, report, runner, session
    from edge import model as model_module
    from edge.errors import UsageError
    from edge.report import models as models_report

    wait_s = command.seconds("--wait", wait)
    options = command.options(signature, shape, batch, threads, xnnpack, delegate, ops)
    if board is None and (host or engine or runtime or lib):
        raise UsageError(
            "--host, --engine, --runtime and --lib belong to a board: name it by --board"
        )
    target = None if board is None else board_module.load(board, host=host)
    engines = command.engines(engine)
    if target is not None:
        for name in engines:
            deploy_module.check(target, command.choice(name, runtime, lib, options))
    found = deploy_module.models(command.models([model]), report.progress, options)
    read = model_module.read(found[0].path)
    contents = inspection.of_model(read)
    told: list[tuple[str, Any]] = []
    if target is not None:
        with session.connect(target, report.progress) as opened:
            for name in engines:
                choice = command.choice(name, runtime, lib, options)
                wanted = deploy_module.prepared(opened, found, report.progress, choice)
                with deploy_module.staged(opened, wanted, report.progress, wait_s=wait_s):
                    report.progress(f"opening {found[0].path.name} with engine {wanted.engine}")
                    said = runner.inspect(opened, wanted, wanted.models[0], options)
                told.append((wanted.runtime, inspection.delegation(read, said)))
    if json:
        report.print_json(models_report.inspection_json(contents, told))
        return
    for line in models_report.contents_lines(contents):
        report.print_line(line)
    report.print_table(models_report.ports_table(contents))
    report.print_table(models_report.kinds_table(contents))
    if told:
        report.print_table(models_report.delegation_table(told))
        for name, delegation in told:
            for line in models_report.delegation_lines(name, delegation):
                report.print_line(line)


@command.task(
    help={
        **command.STACK,
        "model": "a .tflite file",
        "data": "an .npz: an array per input, and 'label' (whole numbers for classes, real ones "
        "for values); without labels only agreement is judged",
        "label": "name of the array of labels",
        "scores": "name of the output that the labels are about; else the first",
        "samples": "take so many samples, the first ones; 0: all",
        "layers": "compare every node's result too, on the samples that differ most",
        "engine": command.ENGINE,
        "threads": command.OPTIONS["threads"],
        "xnnpack": command.OPTIONS["xnnpack"],
        "wait": command.WAIT,
    },
)
def evaluate(
    _: Any,
    board: str,
    model: str,
    data: str,
    label: str | None = None,
    scores: str | None = None,
    samples: str = "0",
    layers: bool = False,
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    threads: str = "1",
    xnnpack: bool = True,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Run a dataset through a model on a board: how good it is there, and whether it is as here.

    invoke evaluate --board rpi4 --model m.tflite --data test.npz
    invoke evaluate --board rpi4 --model m.tflite --data test.npz --layers

    What is live on the board stays live. See docs/evaluating.md.
    """
    import tempfile
    from pathlib import Path

    from edge import board as board_module
    from edge import dataset, evaluation, report, session
    from edge import deploy as deploy_module
    from edge import layers as layers_module
    from edge.errors import UsageError
    from edge.report import conversion

    wait_s = command.seconds("--wait", wait)
    options = command.options(None, [], "0", threads, xnnpack, delegate, ops)
    choice = command.choice(engine, runtime, lib, options)
    target = board_module.load(board, host=host)
    deploy_module.check(target, choice)
    if (limit := int(command.number("--samples", samples))) < 0:
        raise UsageError(f"--samples {samples}: must be 0 (all) or more")
    given = dataset.load(command.path(data), label, limit)
    found = deploy_module.models(command.models([model]), report.progress, options)
    report.progress(f"running {found[0].path.name} on this machine")
    asked = evaluation.question(found[0].path, given, scores, options)
    with session.connect(target, report.progress) as opened, tempfile.TemporaryDirectory() as work:
        exposed = Path(work) / f"layers-{found[0].path.name}"
        if layers:
            layers_module.expose(found[0].path, asked.read, exposed)
            found += deploy_module.models([exposed], report.progress)
        wanted = deploy_module.prepared(opened, found, report.progress, choice)
        with deploy_module.staged(opened, wanted, report.progress, wait_s=wait_s):
            made, there = evaluation.evaluate(
                opened, wanted, wanted.models[0], asked, report.progress, options
            )
            parting = None
            if layers:
                parting = evaluation.part(
                    opened, wanted, wanted.models[1], asked, made, there, report.progress, options
                )
    if json:
        report.print_json(conversion.evaluation_json(made, parting))
        return
    for line in conversion.evaluation_lines(made):
        report.print_line(line)
    for table in (conversion.confusion_table(made), conversion.differing_table(made)):
        if table is not None:
            report.print_table(table)
    if parting is not None:
        report.print_table(conversion.layers_table(parting))
        for line in conversion.layers_lines(parting):
            report.print_line(line)
