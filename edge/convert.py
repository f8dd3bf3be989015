"""Convert: Keras file or SavedModel -> .tflite files, each beside what quantizing it costs.

TensorFlow runs in a process and an environment of its own (edge/converter.py); how good each file
is says this machine's interpreter.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge import about, artifact, dataset, flatbuffer, layout, model, reference, scoring, venv
from edge.about import About
from edge.dataset import Dataset, Port
from edge.errors import HostError, UsageError
from edge.model import Model, Shape
from edge.options import DEFAULT, Options
from edge.scoring import Score

Progress = Callable[[str], None]

VARIANTS = ("float32", "float16", "dynamic", "int8", "int16x8")
CALIBRATED = ("int8", "int16x8")
IMAGES = ("raw", "unit", "signed", "imagenet")
"""Preprocessings of images, pixels of 0 to 255: as they are, to 0..1, to -1..1, by channel."""
PREPROCESSINGS = (*IMAGES, "waveform")
_SUFFIXES = {
    **dict.fromkeys(IMAGES, (".png", ".jpg", ".jpeg", ".bmp", ".gif")),
    "waveform": (".wav",),
}
_ENVIRONMENT = "tensorflow"
_ROOM = 12
"""Free disk, in sizes of the source: an exported copy, a copy with a fixed batch, the variants."""
_ROOM_MORE = 20_000_000


@dataclass(frozen=True)
class Source:
    """:ivar kind: ``keras`` or ``saved_model``."""

    path: Path
    kind: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Samples:
    """What to calibrate with: an .npz, or files of a folder and what becomes of them."""

    path: Path
    data: Dataset | None = None
    files: tuple[Path, ...] = ()
    preprocess: str | None = None


@dataclass(frozen=True)
class Request:
    """:ivar integer: quantized inputs and outputs, for int8 and int16x8.
    :ivar batch: first axis of every input where it is open; 0: it stays open.
    :ivar shapes: input name -> shape, for axes that the source leaves open.
    :ivar data: what to judge by; None: the calibration's samples, or random ones.
    :ivar custom: leave operators that TFLite has not to custom ones.
    :ivar ops: folder of kernels for these, to judge with.
    """

    source: Source
    variants: tuple[str, ...]
    folder: Path
    name: str
    calibration: Samples | None = None
    data: Dataset | None = None
    integer: bool = False
    batch: int = 1
    shapes: tuple[tuple[str, Shape], ...] = ()
    signature: str | None = None
    preprocess: str | None = None
    labels: tuple[str, ...] = ()
    custom: bool = False
    ops: str | None = None


@dataclass(frozen=True)
class Variant:
    """:ivar score: by the data's labels; None without them.
    :ivar largest_difference: between its outputs and the source's, over all samples, in the
        output's unit; None if there is no interpreter that runs it here, and why says ``refusal``.
    :ivar in_float: operators of a quantized variant that compute in float -> how many nodes.
    """

    name: str
    path: Path
    size_bytes: int
    score: Score | None
    largest_difference: float | None
    in_float: Mapping[str, int]
    refusal: str | None = None


@dataclass(frozen=True)
class Conversion:
    """:ivar judged_by: what the samples were, in words.
    :ivar range: the largest absolute output of the source: what differences are to be seen by.
    :ivar score: of the source itself.
    """

    source: Source
    made_by: str
    judged_by: str
    samples: int
    range: float
    score: Score | None
    variants: tuple[Variant, ...]


# --- the request ----------------------------------------------------------------------------------


def source(path: Path) -> Source:
    """Look at what is to be converted, without TensorFlow.

    :raises UsageError: it is neither a Keras file nor a SavedModel.
    """
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise UsageError(f"{path} is no SavedModel: it has no file saved_model.pb")
        files = sorted(p for p in path.rglob("*") if p.is_file())
        whole = hashlib.sha256()
        for file in files:
            whole.update(
                f"{file.relative_to(path).as_posix()}\0{artifact.hash_file(file)}\n".encode()
            )
        return Source(
            path, "saved_model", whole.hexdigest(), sum(file.stat().st_size for file in files)
        )
    if not path.is_file():
        raise UsageError(f"no file or folder {path}: check the path")
    with path.open("rb") as file_:
        head = file_.read(8)
    magic = {".keras": b"PK\x03\x04", ".h5": b"\x89HDF\r\n\x1a\n", ".hdf5": b"\x89HDF\r\n\x1a\n"}
    if path.suffix not in magic:
        if head[4:8] == b"TFL3":
            raise UsageError(f"{path} is a .tflite file already: convert what it was made of")
        raise UsageError(f"{path}: a model comes as .keras, .h5, or a SavedModel's folder")
    if not head.startswith(magic[path.suffix]):
        raise UsageError(f"{path} is no Keras file, whatever its name: save it with model.save()")
    return Source(path, "keras", artifact.hash_file(path), path.stat().st_size)


def variants(text: str) -> tuple[str, ...]:
    """``float32,int8``, or ``all``.

    :raises UsageError: an unknown one.
    """
    if text == "all":
        return VARIANTS
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in VARIANTS:
            raise UsageError(f"--quantize {name}: must be of {', '.join(VARIANTS)}, or all")
    return names


def samples(path: Path, preprocess: str | None, limit: int) -> Samples:
    """What to calibrate with.

    :raises UsageError: nothing of the kind there, or a folder without a preprocessing.
    """
    if not path.is_dir():
        return Samples(path, dataset.load(path, limit=limit))
    if preprocess is None:
        raise UsageError(
            f"--calibrate {path}: for a folder name what becomes of its files: --preprocess "
            f"{', '.join(PREPROCESSINGS)}"
        )
    wanted = _SUFFIXES[preprocess]
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in wanted)
    if not files:
        raise UsageError(f"--calibrate {path}: no files {', '.join(wanted)} in it")
    return Samples(path, files=tuple(files[:limit] if limit else files), preprocess=preprocess)


def check(request: Request) -> None:
    """What can be seen without TensorFlow.

    :raises UsageError: its parts do not go together.
    :raises HostError: the disk is too full.
    """
    if request.preprocess is not None and request.preprocess not in PREPROCESSINGS:
        raise UsageError(
            f"--preprocess {request.preprocess}: must be one of {', '.join(PREPROCESSINGS)}"
        )
    quantized = [name for name in request.variants if name in CALIBRATED]
    if quantized and request.calibration is None:
        raise UsageError(
            f"{', '.join(quantized)}: the range of each tensor is measured on samples: name some "
            "of the training data with --calibrate FILE.npz or FOLDER"
        )
    if request.batch < 0:
        raise UsageError(f"--batch {request.batch}: must be 0 (left open) or more")
    if request.integer and not quantized:
        raise UsageError("--io integer is for int8 and int16x8: name one with --quantize")
    layout.safe_name(request.name, "choose one with --name")
    if request.folder.exists() and not request.folder.is_dir():
        raise UsageError(f"--output {request.folder}: this is a file: name a folder")
    if not request.folder.parent.is_dir():
        raise UsageError(f"--output {request.folder}: there is no folder {request.folder.parent}")
    room(request.folder.parent, request.source)


def room(folder: Path, source: Source) -> None:
    """:raises HostError: the disk that holds ``folder`` is too full to work with ``source``."""
    free, needed = shutil.disk_usage(folder).free, _ROOM * source.size_bytes + _ROOM_MORE
    if free < needed:
        raise HostError(
            f"{folder} has {free // 1_000_000} MB free, converting {source.path} takes up to "
            f"{needed // 1_000_000} MB: free some space"
        )


# --- the program that has TensorFlow -------------------------------------------------------------


def _converter(
    request: Mapping[str, Any],
    progress: Progress,
    answer: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Run edge/converter.py in its environment; ``answer`` is asked what data fits the model.

    :raises UsageError: it refused, in its own words.
    :raises HostError: it ended otherwise; the message has the last of what it wrote.
    """
    python = venv.environment(_ENVIRONMENT, progress).python
    # TensorFlow leaves files among the temporary ones when it is ended.
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as own:
        process = subprocess.Popen(
            # -I: what the user's PYTHONPATH holds is for another Python.
            [python, "-I", layout.converter_script(), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "TMPDIR": own},
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            for line in process.stdout:
                said = json.loads(line)
                if "progress" in said:
                    progress(said["progress"])
                elif "refused" in said:
                    raise UsageError(said["refused"])
                elif "done" in said:
                    return dict(said["done"])
                elif answer is not None:
                    process.stdin.write(json.dumps(answer(said["inputs"], said["outputs"])) + "\n")
                    process.stdin.flush()
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        errors.seek(0)
        last = errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
    raise HostError(
        f"TensorFlow ended early ({process.returncode}): {last[-1] if last else 'without a word'}"
        + ("; it ran out of memory" if process.returncode == -9 else "")
    )


def export(source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    """Write the SavedModel of a Keras file; its batch stays open.

    :returns: its signature, inputs and outputs.
    :raises UsageError: it is no Keras file, or ``folder`` is there already.
    """
    if source.kind != "keras":
        raise UsageError(f"{source.path} is a SavedModel already")
    if folder.exists():
        raise UsageError(f"--output {folder} is there already: name a new folder, or remove it")
    if not folder.parent.is_dir():
        raise UsageError(f"--output {folder}: there is no folder {folder.parent}: make it first")
    room(folder.parent, source)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".edge-") as temporary:
        made = Path(temporary) / "saved_model"
        request = {"verb": "export", "source": str(source.path), "output": str(made)}
        done = _converter(request, progress)
        made.rename(folder)
    return done


# --- converting and judging ----------------------------------------------------------------------


def convert(request: Request, progress: Progress) -> Conversion:
    """Write ``<folder>/<name>-<variant>.tflite`` for each variant, all of them or none.

    :raises UsageError: the source does not convert, or the data does not fit it.
    :raises HostError: no room, no network, or TensorFlow failed.
    """
    check(request)
    with _folder(request.folder) as work:
        done = _converter(
            {
                "verb": "convert",
                "source": str(request.source.path),
                "kind": request.source.kind,
                "work": str(work),
                "signature": request.signature,
                "batch": request.batch,
                "shapes": request.shapes,
                "variants": request.variants,
                "io": "integer" if request.integer else "float",
                "custom": request.custom or request.ops is not None,
            },
            progress,
            lambda inputs, outputs: _files(request, work, inputs, outputs),
        )
        for name in request.variants:
            _describe(work / f"{name}.tflite", name, request, done["made_by"])
        made = _judged(request, work, done["made_by"], progress)
        for variant in made.variants:
            artifact.move_into_place(work / f"{variant.name}.tflite", variant.path)
    return made


@contextlib.contextmanager
def _folder(output: Path) -> Iterator[Path]:
    """A work folder on the output's disk; a failure leaves neither it nor an empty output."""
    created = not output.exists()
    output.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=output, prefix=".edge-") as temporary:
            yield Path(temporary)
    finally:
        if created:
            with contextlib.suppress(OSError):  # not empty: it succeeded
                output.rmdir()


def _files(
    request: Request, work: Path, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Samples that fit the source's inputs, as files for the converter."""
    ports = dataset.of_specs(inputs)
    if request.labels:
        _check_labels(request.labels, dataset.of_specs(outputs))
    calibration: dict[str, Any] | None = None
    if request.calibration is not None and request.calibration.data is not None:
        calibration = _saved(work / "calibration.npz", dataset.fit(request.calibration.data, ports))
    elif request.calibration is not None:
        calibration = {
            "folder": str(request.calibration.path),
            "paths": [str(path.resolve()) for path in request.calibration.files],
            "preprocess": request.calibration.preprocess,
        }
    data: dict[str, Any] | None = None
    if request.data is not None:
        data = _saved(work / "given.npz", dataset.fit(request.data, ports))
    elif calibration is None:
        data = _saved(work / "given.npz", _random(ports))
    return {"calibration": calibration, "data": data}


def _check_labels(labels: Sequence[str], ports: Sequence[Port]) -> None:
    """Names of classes are as many as one of the outputs has scores."""
    counts = [port.shape[-1] for port in ports if port.shape]
    if -1 not in counts and len(labels) not in (*counts, *(2 for count in counts if count == 1)):
        raise UsageError(f"--labels: {len(labels)} names for {counts[0]} scores")


def _saved(path: Path, arrays: reference.Arrays) -> dict[str, Any]:
    reference.save(path, arrays)
    return {"file": str(path)}


_RANDOM_SAMPLES = 16


def _random(ports: Sequence[Port]) -> reference.Arrays:
    made = {}
    for port in ports:
        batch, *rest = (max(1, axis) for axis in port.shape)
        shape = (batch * _RANDOM_SAMPLES, *rest)
        made[port.name] = reference.random_input(shape, np.dtype(port.dtype).type)
    return made


def _describe(path: Path, variant: str, request: Request, made_by: str) -> None:
    """Readable names, and where the file comes from, in the file itself."""
    tables = flatbuffer.load(path)
    flatbuffer.name_ports(tables)
    note = About(
        request.source.path.name,
        request.source.sha256,
        variant,
        made_by,
        request.preprocess,
        request.labels,
    )
    flatbuffer.add_note(tables, about.KEY, about.dumps(note))
    flatbuffer.save(path, tables)


def _judged(request: Request, work: Path, made_by: str, progress: Progress) -> Conversion:
    inputs, wanted = _load(work / "data.npz"), _load(work / "outputs.npz")
    count = min(len(array) for array in wanted.values())
    labels = None if request.data is None else request.data.labels
    labels = None if labels is None else labels[:count]
    if request.data is not None:
        judged_by = str(request.data.path)
    elif request.calibration is not None:
        judged_by = f"{request.calibration.path}, what it was calibrated with"
    else:
        judged_by = "random inputs; name real ones with --data"
    made = []
    for name in request.variants:
        progress(f"judging {name}")
        made.append(_judged_variant(request, name, work, inputs, wanted, labels))
    first = next(iter(wanted.values()))
    return Conversion(
        request.source,
        made_by,
        judged_by,
        count,
        max(float(np.abs(array).max(initial=0)) for array in wanted.values()),
        None if labels is None else scoring.score(first, labels),
        tuple(made),
    )


def _judged_variant(
    request: Request,
    name: str,
    work: Path,
    inputs: reference.Arrays,
    wanted: reference.Arrays,
    labels: npt.NDArray[Any] | None,
) -> Variant:
    file = work / f"{name}.tflite"
    read = model.read(file)
    path = request.folder / f"{request.name}-{name}.tflite"
    in_float = in_float_of(read) if name in CALIBRATED else {}
    try:
        options = Options(batch=0 if request.batch else 1, ops=request.ops)
        outputs = predictions(file, read, inputs, options)
    except UsageError as error:
        refusal = str(error).replace(str(file), path.name)
        return Variant(name, path, file.stat().st_size, None, None, in_float, refusal)
    difference = max(
        float(np.abs(outputs[key] - wanted[key].astype(np.float64)).max(initial=0))
        for key in outputs  # a tensor that is two outputs has one name
    )
    first = next(key for key in wanted if key in outputs)
    score = None if labels is None else scoring.score(outputs[first], labels)
    return Variant(name, path, file.stat().st_size, score, difference, in_float)


def predictions(
    file: Path, read: Model, inputs: reference.Arrays, options: Options = DEFAULT
) -> reference.Arrays:
    """What this machine's interpreter makes of samples, as real numbers (float64).

    :param inputs: real numbers by input name, whole batches.
    """
    graph = read.subgraphs[0]
    data = Dataset(file, inputs, None)
    here = reference.compute(file, dataset.fit(data, dataset.of_model(read)), options, keep=False)
    ends = {graph.tensors[index].name: graph.tensors[index] for index in graph.outputs}
    return {
        name: dataset.dequantized(array, ends[name].quantization)
        for name, array in here.outputs.items()
    }


def in_float_of(read: Model) -> dict[str, int]:
    """Operators that give real numbers -> nodes, the most first; not those that only translate."""
    found = Counter(
        node.custom or node.name
        for graph in read.subgraphs
        for node in graph.operators
        if node.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(tensor.dtype.startswith("float") for tensor in graph.output_tensors(node))
    )
    return dict(found.most_common())


def _load(path: Path) -> reference.Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
