"""From a Keras file or SavedModel to .tflite files."""

from __future__ import annotations

from typing import Any

from edge.tasks import command


@command.task(
    positional=["source"],
    iterable=["shape"],
    help={
        "source": "a Keras file (.keras, .h5) or the folder of a SavedModel",
        "quantize": "float32, float16, dynamic, int8, int16x8: one, several joined by commas, "
        "or all",
        "calibrate": "samples of the training data, for int8 and int16x8: an .npz with an array "
        "per input, or a folder of images or WAVs",
        "samples": "take so many samples of --calibrate; 0: all",
        "preprocess": "what becomes of a folder's files, and is noted in the model: raw (0 to "
        "255), unit (0 to 1), signed (-1 to 1), imagenet (by channel), waveform (WAV, mono, -1 "
        "to 1)",
        "data": "an .npz to judge each file by: an array per input, and 'label' (whole numbers "
        "for classes, real ones for values)",
        "label": "name of the array of labels in --data",
        "io": "what an int8 or int16x8 model takes and gives: float or integer",
        "labels": "a text file with the names of the classes, one a line; they travel in the model",
        "output": "folder for <name>-<variant>.tflite",
        "name": "instead of the source's",
        "batch": "first axis of every input where it is open; 0: it stays open",
        "shape": "of an input with other open axes, NAME=1x20; may be given several times",
        "signature": "of a SavedModel with several",
        "custom": "leave operators that TFLite has not to custom operators of the same name",
        "ops": "a folder of kernels for these, to judge with; means --custom, too",
        "board": "whose runtime says what its delegates take; none: nobody's",
        "json": command.JSON,
    },
)
def convert(
    _: Any,
    source: str,
    shape: list[str],
    quantize: str = "float32",
    calibrate: str | None = None,
    samples: str = "300",
    preprocess: str | None = None,
    data: str | None = None,
    label: str | None = None,
    io: str = "float",
    labels: str | None = None,
    output: str = ".",
    name: str | None = None,
    batch: str = "1",
    signature: str | None = None,
    custom: bool = False,
    ops: str | None = None,
    board: str = "localhost",
    json: bool = False,
) -> None:
    """Convert a Keras file or SavedModel to .tflite, and say what each way of quantizing costs.

    invoke convert model.keras
    invoke convert model.keras --quantize float32,int8 --calibrate train.npz --data test.npz
    invoke convert saved_model/ --quantize int8 --calibrate images/ --preprocess signed

    TensorFlow is installed into the cache at the first time. See docs/converting.md.
    """
    from edge import about, dataset, options, report
    from edge import board as board_module
    from edge import convert as convert_module
    from edge import ops as ops_module
    from edge.errors import EdgeError, UsageError
    from edge.report import conversion

    if io not in ("float", "integer"):
        raise UsageError(f"--io {io}: must be float or integer")
    if label is not None and data is None:
        raise UsageError("--label names an array of --data, which is missing")
    if preprocess is not None and preprocess not in convert_module.PREPROCESSINGS:
        choices = ", ".join(convert_module.PREPROCESSINGS)
        raise UsageError(f"--preprocess {preprocess}: must be one of {choices}")
    limit = int(command.number("--samples", samples))
    if limit < 0:
        raise UsageError(f"--samples {samples}: must be 0 (all) or more")
    found = convert_module.source(command.path(source))
    target = None if board == "none" else board_module.load(board)
    calibration = None
    if calibrate is not None:
        calibration = convert_module.samples(command.path(calibrate), preprocess, limit)
    request = convert_module.Request(
        found,
        convert_module.variants(quantize),
        command.path(output),
        name or found.path.resolve().stem,
        calibration=calibration,
        data=None if data is None else dataset.load(command.path(data), label),
        integer=io == "integer",
        batch=int(command.number("--batch", batch)),
        shapes=options.shapes(shape),
        signature=signature,
        preprocess=preprocess,
        labels=() if labels is None else about.labels(command.path(labels)),
        custom=custom,
        ops=ops,
    )
    if ops is not None:
        ops_module.here(command.path(ops), report.progress)  # before TensorFlow is waited for
    made = convert_module.convert(request, report.progress)
    taken: dict[str, Any] = {}
    untold = None
    if target is not None and not (custom and ops is None):
        try:
            taken = _delegations(target, made, ops)
        except EdgeError as error:  # the files are written, and judged
            untold = f"what delegates take of them, {board} did not say: {error}"
    if json:
        report.print_json(conversion.conversion_json(made, taken))
        return
    report.print_table(conversion.conversion_table(made, taken))
    for line in conversion.conversion_lines(made, board if taken else ""):
        report.print_line(line)
    if untold is not None:
        report.print_line(untold)


def _delegations(target: Any, made: Any, ops: str | None) -> dict[str, Any]:
    """What the board's delegates take of each file that its runtime opens."""
    from edge import deploy as deploy_module
    from edge import inspection, report, runner, session
    from edge import model as model_module
    from edge.options import Options

    options = Options(ops=ops)
    choice = command.choice(None, None, None, options)
    files = deploy_module.models([each.path for each in made.variants], report.progress, options)
    told = {}
    with session.connect(target, report.progress) as opened:
        wanted = deploy_module.prepared(opened, files, report.progress, choice)
        with deploy_module.staged(opened, wanted, report.progress):
            for variant, artifact in zip(made.variants, wanted.models, strict=True):
                said = runner.inspect(opened, wanted, artifact, options)
                told[variant.name] = inspection.delegation(model_module.read(variant.path), said)
    return told


@command.task(
    positional=["source"],
    help={
        "source": "a Keras file (.keras, .h5)",
        "output": "folder of the SavedModel, which must not be there yet",
        "json": command.JSON,
    },
)
def export(_: Any, source: str, output: str, json: bool = False) -> None:
    """Write the SavedModel of a Keras file, for TensorFlow's own ways to run it.

    invoke export model.keras --output saved_model

    Its signature serving_default has the names of the model's inputs and outputs; the batch stays
    open.
    """
    from edge import convert as convert_module
    from edge import report

    found = convert_module.source(command.path(source))
    done = convert_module.export(found, command.path(output), report.progress)
    if json:
        report.print_json({**done, "path": output})
        return
    inputs = ", ".join(
        f"{name} {report.shape([-1 if axis is None else axis for axis in shape])} {kind}"
        for name, (shape, kind) in done["inputs"].items()
    )
    report.print_line(f"{output}: signature {done['signature']}, made by {done['made_by']}")
    report.print_line(f"takes {inputs}; gives {', '.join(done['outputs'])}")
