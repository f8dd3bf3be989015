"""What this machine's own interpreter says: the answer that a board is compared with.

The interpreter runs in a process of its own (``python -m edge.reference``), so that a model that
crashes it, or its chatter, does not reach the command that asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge import artifact, build, layout, ops
from edge.errors import HostError, UsageError
from edge.once import Once
from edge.options import DEFAULT, Options

Arrays = dict[str, npt.NDArray[Any]]

_SEED = 20240131
_MODULES = {
    "tflite-runtime": "tflite_runtime.interpreter",
    "ai-edge-litert": "ai_edge_litert.interpreter",
}
"""Interpreters by their package, in the order in which they are asked."""


@dataclass(frozen=True)
class Reference:
    """Inputs and what the host's interpreter made of them.

    :ivar inputs: by tensor name, shape ``[n, ...]``; also on disk in ``inputs_file`` (.npz).
    :ivar outputs: by tensor name.
    :ivar interpreter: the package and its version that computed them.
    """

    inputs_file: Path
    inputs: Arrays
    outputs: Arrays
    interpreter: str


class _Kernels(NamedTuple):
    """The user's kernels for this machine, and libedge, which brings them into an interpreter."""

    libedge: str
    library: str
    sha256: str


def interpreters() -> dict[str, str]:
    """Package -> version of this machine's interpreters, the first to be asked first.

    :raises HostError: there is none.
    """
    found = {}
    for package in _MODULES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    if not found:
        raise HostError(
            "no TFLite interpreter in this Python: `pip install ai-edge-litert`, or, up to "
            "Python 3.11, `pip install tflite-runtime`"
        )
    return found


def compute(
    model: Path,
    inputs: Arrays | None = None,
    options: Options = DEFAULT,
    *,
    keep: bool = True,
) -> Reference:
    """Run ``model`` on this machine, or take the cached result of the same question.

    An interpreter that can't run the model (tflite-runtime is too old for the newest operators) is
    passed over for the next.

    :param inputs: by name, shape ``[n, ...rest]`` where the model takes ``[batch, ...rest]``; each
        is cut into batches. None: one batch of seeded random data in each tensor's range.
    :param options: of these the signature, the shapes, the batch and the kernels count; names of
        inputs and outputs are the signature's if there is one, else the tensors'.
    :param keep: in the cache, for whoever asks the same again; a whole dataset is too much for it,
        and ``inputs_file`` is then gone.
    :raises UsageError: the model loads in no interpreter here, or the inputs do not fit it.
    :raises HostError: no interpreter, or it crashed.
    """
    kernels = None if options.ops is None else _kernels(Path(options.ops))
    if inputs is not None:
        return _computed(model, inputs, options, kernels, keep)
    # Every board is asked the same: one answer of this machine serves them all.
    key = (artifact.hash_file(model), layout.cache_dir(), options, kernels)
    return _answers.get(key, lambda: _computed(model, None, options, kernels))


_answers: Once[Reference] = Once()


def _kernels(folder: Path) -> _Kernels:
    """Built already, as a rule: whoever asks has looked at the model's operators with them."""

    def silent(_: str) -> None:
        pass

    here = ops.here(folder, silent).artifact
    return _Kernels(str(build.host_library_file(silent)), str(here.path), here.sha256)


def _computed(
    model: Path,
    inputs: Arrays | None,
    options: Options,
    kernels: _Kernels | None,
    keep: bool = True,
) -> Reference:
    asked: list[object] = [options.signature, options.shapes, options.batch]
    if kernels is not None:
        asked.append(kernels)
    question = json.dumps(asked)
    refusals = []
    for package, version in interpreters().items():
        try:
            if keep or inputs is None:
                return _compute_with(package, version, model, inputs, question)
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                _compute_into(folder, package, model, inputs, question)
                outputs = _load(folder / "outputs.npz")
                return Reference(folder / "inputs.npz", inputs, outputs, f"{package} {version}")
        except UsageError as error:
            refusals.append(str(error))
    raise UsageError(
        f"{model} does not run on this machine: {'; '.join(refusals)}; deploy with "
        "--no-smoke if you trust it"
    )


def _compute_with(
    package: str, version: str, model: Path, inputs: Arrays | None, question: str
) -> Reference:
    name = f"{package} {version}"
    key = hashlib.sha256(f"{artifact.hash_file(model)} {name} {_SEED} {question}".encode())
    for tensor, array in sorted((inputs or {}).items()):
        key.update(f"{tensor} {array.dtype} {array.shape}".encode())
        key.update(np.ascontiguousarray(array).tobytes())
    folder = layout.cache_dir() / "references" / key.hexdigest()[:32]
    if not (folder / "outputs.npz").exists():
        _compute_into(folder, package, model, inputs, question)
    return Reference(
        folder / "inputs.npz",
        _load(folder / "inputs.npz"),
        _load(folder / "outputs.npz"),
        name,
    )


def _load(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _compute_into(
    folder: Path, package: str, model: Path, inputs: Arrays | None, question: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        work = Path(temporary)
        if inputs is not None:
            save(work / "inputs.npz", inputs)
        result = subprocess.run(
            [sys.executable, "-m", "edge.reference", package, str(model), str(work), question],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode < 0:
            raise HostError(
                f"{package} crashed on {model} on this machine (signal {-result.returncode}): "
                "no reference; deploy with --no-smoke if you trust the model"
            )
        if result.returncode != 0:
            line = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise UsageError(f"{package} says {line}")
        for part in ("inputs.npz", "outputs.npz"):
            (work / part).replace(folder / part)


def save(path: Path, arrays: Arrays) -> None:
    """Write an uncompressed .npz; unlike ``numpy.savez`` it takes any name, ``file`` too."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, array, allow_pickle=False)


def random_input(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Seeded data over the whole range of ``dtype``; reals are uniform in [0, 1)."""
    random = np.random.default_rng(_SEED)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return random.random(shape).astype(kind)
    if kind.kind == "b":
        return random.random(shape) < 0.5
    if kind.kind in "iu" and kind.itemsize == 1:
        info = np.iinfo(kind)
        return random.integers(info.min, info.max, shape, endpoint=True).astype(kind)
    if kind.kind in "iu":
        # Wide integers are indices or counts more often than signals: stay where both make sense.
        return random.integers(0, 2, shape).astype(kind)
    raise UsageError(f"can't make up data of type {kind}")


def _run_here(package: str, model: str, work: Path, question: str) -> None:
    """The child's whole work: read inputs.npz if there, write inputs and outputs."""
    signature, shapes, batch, *kernels = json.loads(question)
    module = importlib.import_module(_MODULES[package])
    delegates = [module.load_delegate(edge, {"ops": ops}) for edge, ops, _ in kernels]
    interpreter = module.Interpreter(
        model_path=model, num_threads=1, experimental_delegates=delegates
    )
    call = _Tensors(interpreter) if signature is None else _Signature(interpreter, signature)
    _resize(call, dict(shapes), batch)
    details = call.inputs()
    source = work / "inputs.npz"
    if source.exists():
        inputs = _load(source)
    else:
        inputs = {n: random_input(tuple(d["shape"]), d["dtype"]) for n, d in details.items()}
        save(source, inputs)
    if missing := sorted(set(details) ^ set(inputs)):
        raise ValueError(
            f"inputs are named {', '.join(details)}; {missing[0]!r} is missing or unknown"
        )
    sizes = {name: int(d["shape"][0]) if len(d["shape"]) else 0 for name, d in details.items()}
    runs = {len(inputs[name]) // size if size else 1 for name, size in sizes.items()} or {1}
    if len(runs) != 1:
        raise ValueError("inputs hold different numbers of samples")
    outputs: dict[str, list[npt.NDArray[Any]]] = {}
    for index in range(runs.pop()):
        cut = {
            name: inputs[name][index * size : (index + 1) * size] if size else inputs[name]
            for name, size in sizes.items()
        }
        for name, d in details.items():
            if cut[name].dtype != d["dtype"]:
                raise ValueError(f"input {name!r} takes {d['dtype'].__name__}")
        for name, array in call(cut).items():
            outputs.setdefault(name, []).append(array)
    save(
        work / "outputs.npz",
        {k: v[0] if len(v) == 1 else np.concatenate(v) for k, v in outputs.items()},
    )


class _Tensors:
    """The primary subgraph, by the names of its tensors."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter

    def inputs(self) -> dict[str, Any]:
        return {d["name"]: d for d in self._interpreter.get_input_details()}

    def resize(self, shapes: dict[str, list[int]]) -> None:
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self.inputs()[name]["index"], shape)
        self._interpreter.allocate_tensors()

    def __call__(self, inputs: Arrays) -> Arrays:
        for name, detail in self.inputs().items():
            self._interpreter.set_tensor(detail["index"], inputs[name])
        self._interpreter.invoke()
        return {
            d["name"]: self._interpreter.get_tensor(d["index"])
            for d in self._interpreter.get_output_details()
        }


class _Signature:
    """One signature, by its own names; it takes the shapes of the arrays that it is called with."""

    def __init__(self, interpreter: Any, key: str) -> None:
        self._runner = interpreter.get_signature_runner(key)
        self._shapes: dict[str, list[int]] = {}

    def inputs(self) -> dict[str, Any]:
        details = self._runner.get_input_details()
        return {
            name: {**detail, "shape": self._shapes.get(name, detail["shape"])}
            for name, detail in sorted(details.items())
        }

    def resize(self, shapes: dict[str, list[int]]) -> None:
        self._shapes = shapes

    def __call__(self, inputs: Arrays) -> Arrays:
        found: Arrays = self._runner(**inputs)
        return found


def _resize(call: _Tensors | _Signature, shapes: dict[str, list[int]], batch: int) -> None:
    details = call.inputs()
    if unknown := sorted(set(shapes) - set(details)):
        raise ValueError(f"inputs are named {', '.join(details)}; there is no {unknown[0]!r}")
    if batch:
        for name, detail in details.items():
            if name not in shapes and len(detail["shape"]):
                shapes[name] = [batch, *(int(axis) for axis in detail["shape"][1:])]
    call.resize(shapes)


if __name__ == "__main__":
    try:
        _run_here(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    except Exception as error:  # the parent shows the last line; a traceback would bury it
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
