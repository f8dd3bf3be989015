"""edge_compiled: LiteRT's CompiledModel in Python, behind the methods of TFLite's interpreter.

This file goes to the board. Setting and getting a tensor is writing and reading a buffer of
LiteRT's, so that an invocation is LiteRT's alone.
"""

from __future__ import annotations

import importlib
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

compiled_model: Any = importlib.import_module("ai_edge_litert.compiled_model")
_tensor_buffer: Any = importlib.import_module("ai_edge_litert.tensor_buffer")
_interpreter_wrapper = compiled_model  # whose file is what executes models

__version__ = "2.3.0"  # the package does not say

_STRING = 5  # of the schema's TensorType
_FIRST_OUTPUT = 1 << 16  # so that numbers of inputs and outputs differ


class _Table:
    """A table of a flatbuffer: LiteRT's Python does not tell names of tensors, nor scales.

    The fields' numbers are those of tensorflow/compiler/mlir/lite/schema/schema.fbs.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def _int(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(f"<{kind}", self._data, at)[0])

    def _field(self, number: int) -> int:
        """Where it stands; 0 if it is left out."""
        shape = self._at - self._int("i", self._at)
        entry = 4 + 2 * number
        offset = self._int("H", shape + entry) if entry < self._int("H", shape) else 0
        return self._at + offset if offset else 0

    def _vector(self, number: int) -> tuple[int, int]:
        """Where its first element stands, and how many there are."""
        at = self._field(number)
        if not at:
            return 0, 0
        at += self._int("I", at)
        return at + 4, self._int("I", at)

    def number(self, number: int) -> int:
        at = self._field(number)
        return self._int("I", at) if at else 0

    def byte(self, number: int) -> int:
        at = self._field(number)
        return self._int("b", at) if at else 0

    def numbers(self, number: int, kind: str) -> list[Any]:
        at, count = self._vector(number)
        return list(struct.unpack_from(f"<{count}{kind}", self._data, at))

    def text(self, number: int) -> str:
        at, count = self._vector(number)
        return self._data[at : at + count].decode("utf-8", "replace")

    def table(self, number: int) -> _Table | None:
        at = self._field(number)
        return _Table(self._data, at + self._int("I", at)) if at else None

    def tables(self, number: int) -> list[_Table]:
        at, count = self._vector(number)
        places = range(at, at + 4 * count, 4)
        return [_Table(self._data, place + self._int("I", place)) for place in places]


class Interpreter:
    """One signature of a model, compiled for the CPU."""

    def __init__(
        self, model_path: str, num_threads: int, engine: str, signature: str | None, xnnpack: bool
    ) -> None:
        modes = compiled_model.CpuKernelMode
        cpu = compiled_model.CpuOptions(
            num_threads=num_threads, kernel_mode=modes.XNNPACK if xnnpack else modes.BUILTIN
        )
        chosen = compiled_model.Options(
            hardware_accelerators=compiled_model.HardwareAccelerator.CPU, cpu_options=cpu
        )
        self._model = compiled_model.CompiledModel.from_file(model_path, options=chosen)
        signatures = self._model.get_signature_list()
        self._key = next(iter(signatures)) if signature is None else signature
        if self._key not in signatures:
            known = ", ".join(f"'{key}'" for key in signatures)
            raise ValueError(f"there is no signature '{self._key}'; the model's are {known}")
        self._number = self._model.get_signature_index(self._key)
        data = Path(model_path).read_bytes()
        root = _Table(data, struct.unpack_from("<I", data)[0])
        subgraph = next((s.number(4) for s in root.tables(7) if s.text(2) == self._key), 0)
        self._tensors = root.tables(2)[subgraph].tables(0)
        # By the names of tensors, or of the signature if that was asked for.
        self._by_key = signature is not None
        self._buffers: tuple[list[Any], list[Any]] = ([], [])
        self.invoke: Any = None
        for each in (*self.get_input_details(), *self.get_output_details()):
            try:
                _tensor_buffer.TensorBuffer._normalize_dtype(each["dtype"])
            except ValueError:
                raise ValueError(
                    f"LiteRT's Python gives no buffer of {np.dtype(each['dtype'])}, which "
                    f"'{each['name']}' is: use --engine python or litert"
                ) from None

    def _details(self, side: str) -> list[dict[str, Any]]:
        found = getattr(self._model, f"get_{side}_tensor_details")(self._key)
        first = 0 if side == "input" else _FIRST_OUTPUT
        return [
            self._detail(name, each, first + number)
            for number, (name, each) in enumerate(
                (name, found[name])
                for name in self._model.get_signature_list()[self._key][f"{side}s"]
            )
        ]

    def _detail(self, name: str, said: dict[str, Any], index: int) -> dict[str, Any]:
        tensor = self._tensors[said["index"]]
        if tensor.byte(1) == _STRING:
            raise ValueError(f"'{name}' is made of strings, which edge doesn't carry")
        quantization = tensor.table(4)
        scales = quantization.numbers(2, "f") if quantization else []
        zeros = quantization.numbers(3, "q") if quantization else []
        shape = np.array(said["shape"], np.int32)
        signature = tensor.numbers(7, "i")
        return {
            "name": name if self._by_key else tensor.text(3),
            "index": index,
            "dtype": np.dtype(said["dtype"]).type,
            "shape": np.where(shape < 0, 1, shape),
            "shape_signature": np.array(signature or shape, np.int32),
            "quantization": (scales[0], zeros[0] if zeros else 0) if len(scales) == 1 else (0.0, 0),
        }

    def get_input_details(self) -> list[dict[str, Any]]:
        return self._details("input")

    def get_output_details(self) -> list[dict[str, Any]]:
        return self._details("output")

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return self.get_input_details() + self.get_output_details()

    def get_signature_list(self) -> dict[str, Any]:
        found: dict[str, Any] = self._model.get_signature_list()
        return found

    def _get_full_signature_list(self) -> dict[str, Any]:
        sides = {"inputs": self.get_input_details(), "outputs": self.get_output_details()}
        return {self._key: {k: {d["name"]: d["index"] for d in v} for k, v in sides.items()}}

    def resize_tensor_input(self, index: int, shape: Any) -> None:
        self._model.resize_input_tensor(index, [int(n) for n in shape], self._number, strict=False)

    def allocate_tensors(self) -> None:
        self._buffers = (
            self._model.create_input_buffers(self._number),
            self._model.create_output_buffers(self._number),
        )
        self.invoke = partial(self._model.run_by_index, self._number, *self._buffers)

    def set_tensor(self, index: int, array: Any) -> None:
        self._buffers[0][index].write(array)

    def get_tensor(self, index: int) -> Any:
        number = index - _FIRST_OUTPUT
        said = self.get_output_details()[number]
        count = int(np.prod(said["shape"], dtype=np.int64))
        return self._buffers[1][number].read(count, said["dtype"]).reshape(said["shape"])
