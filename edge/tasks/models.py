"""What a model consists of, and what it makes of given arrays."""

from __future__ import annotations

from typing import Any

from invoke.tasks import task

from edge.tasks import command


@task(
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
    },
)
@command.clear
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
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    each: bool = False,
    dequantize: bool = False,
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

    options = command.options(signature, shape, batch, threads, xnnpack, delegate)
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
        with deploy_module.staged(opened, wanted, report.progress):
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
        for line in report.inference_lines(outputs, told, output):
            report.print_line(line)


@task(
    positional=["model"],
    iterable=["shape"],
    help={
        **command.STACK,
        "model": "a .tflite file",
        "engine": "one of tflite, litert, python, or several joined by commas; else the board's",
        **command.OPTIONS,
    },
)
@command.clear
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
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
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

    options = command.options(signature, shape, batch, threads, xnnpack, delegate)
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
                with deploy_module.staged(opened, wanted, report.progress):
                    report.progress(f"opening {found[0].path.name} with engine {wanted.engine}")
                    said = runner.inspect(opened, wanted, wanted.models[0], options)
                told.append((wanted.runtime, inspection.delegation(read, said)))
    if json:
        report.print_json(report.inspection_json(contents, told))
        return
    for line in report.contents_lines(contents):
        report.print_line(line)
    report.print_table(report.ports_table(contents))
    report.print_table(report.kinds_table(contents))
    if told:
        report.print_table(report.delegation_table(told))
        for name, delegation in told:
            for line in report.delegation_lines(name, delegation):
                report.print_line(line)
