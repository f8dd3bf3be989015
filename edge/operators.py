"""Operators: which ones models use, and what of TFLite's sources registers just these.

TFLite registers all of its operators in one constructor. Each of its statements names the operator,
the function that makes its kernel, and the versions that the kernel knows. A smaller library has a
constructor with fewer of these statements; what they do not lead to need not be compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge import model
from edge.errors import UsageError
from edge.model import Model, Operator

REGISTER = "core/kernels/register.cc"
"""TFLite's own, below ``tensorflow/lite``."""

_BUILTIN = re.compile(
    r"AddBuiltin\(BuiltinOperator_(?P<name>\w+),\s*(?:\w+::)*(?P<make>\w+)\(\)[^;]*\);"
)
_CUSTOM = re.compile(r'AddCustom\("(?P<name>\w+)",\s*tflite::ops::custom::(?P<make>\w+)\(\)\);')
_INCLUDE = re.compile(r'^#include "tensorflow/lite/kernels/([\w/]+)\.h"', re.MULTILINE)
_ALWAYS = ("kernel_util", "cpu_backend_context", "eigen_support", "deprecated_backends")
"""Files of ``kernels/`` that the interpreter itself needs."""


@dataclass(frozen=True)
class Registration:
    """How one operator gets into the library.

    :ivar name: the schema's, such as ``CONV_2D``; a custom operator's own, after ``CUSTOM ``.
    :ivar statement: TFLite's, word for word.
    :ivar make: the function that makes its kernel.
    """

    name: str
    statement: str
    make: str


def name(operator: Operator) -> str:
    return operator.name if operator.custom is None else f"CUSTOM {operator.custom}"


def used(models: Iterable[Model]) -> tuple[str, ...]:
    """Names of the operators in the models, each once, sorted."""
    return tuple(
        sorted({name(op) for read in models for graph in read.subgraphs for op in graph.operators})
    )


def insist(path: Path, registered: Iterable[str], library: str) -> None:
    """:raises UsageError: the model has an operator that a library was built without."""
    if lacking := sorted(set(used([model.read(path)])) - set(registered)):
        raise UsageError(
            f"{path.name} uses {', '.join(lacking)}, which runtime {library} was built without: "
            f"build it again with --ops-from {path} too, or choose another --runtime"
        )


def registrations(register: str) -> dict[str, Registration]:
    """Of TFLite's register.cc, by the operator's name."""
    found = {}
    for match in _BUILTIN.finditer(register):
        found[match["name"]] = Registration(match["name"], match[0], match["make"])
    for match in _CUSTOM.finditer(register):
        own = f"CUSTOM {match['name']}"
        found[own] = Registration(own, match[0], match["make"])
    return found


def chosen(wanted: Iterable[str], known: Mapping[str, Registration]) -> tuple[Registration, ...]:
    """:raises UsageError: TFLite has no kernel for one of them."""
    names = sorted(set(wanted))
    if unknown := [each for each in names if each not in known]:
        raise UsageError(
            f"TFLite has no kernel for {', '.join(unknown)}: a library for this model has to come "
            "from where its custom operators do; use --lib"
        )
    return tuple(known[each] for each in names)


def registering(wanted: Iterable[Registration]) -> str:
    """C++ that registers these operators in place of TFLite's own register.cc."""
    each = tuple(wanted)
    custom = [f"TfLiteRegistration* {r.make}();" for r in each if r.name.startswith("CUSTOM ")]
    return "\n".join(
        [
            "// Written by edge: the operators of a library made for certain models.",
            '#include "tensorflow/lite/core/kernels/register.h"',
            '#include "tensorflow/lite/core/kernels/builtin_op_kernels.h"',
            "namespace tflite::ops::custom {",
            *custom,
            "}  // namespace tflite::ops::custom",
            "namespace tflite::ops::builtin {",
            "BuiltinOpResolver::BuiltinOpResolver() {",
            *(f"  {' '.join(r.statement.split())}" for r in each),
            "  may_directly_contain_user_defined_ops_ = false;",
            "}",
            "BuiltinOpResolverWithXNNPACK::BuiltinOpResolverWithXNNPACK(bool) {}",
            "}  // namespace tflite::ops::builtin",
            "",
        ]
    )


def kernels(wanted: Iterable[Registration], lite: Path) -> tuple[str, ...]:
    """Names of the files in ``kernels/`` that the operators lead to, sorted.

    What a header declares is in the file beside it of the same name.

    :raises UsageError: a function that makes a kernel is nowhere to be found.
    """
    texts = {
        path.stem: path.read_text(encoding="utf-8", errors="replace")
        for path in (lite / "kernels").glob("*.cc")
        if not path.stem.endswith("_test")
    }
    queue = list(_ALWAYS)
    for each in wanted:
        home = re.compile(rf"^TfLiteRegistration\*\s+{each.make}\(\)\s*{{", re.MULTILINE)
        files = [stem for stem, text in texts.items() if home.search(text)]
        if not files:
            raise UsageError(f"{lite / 'kernels'} defines no {each.make}: the tree is incomplete")
        queue += files
    found: set[str] = set()
    while queue:
        stem = queue.pop()
        if stem in found:
            continue
        found.add(stem)
        header = lite / "kernels" / f"{stem}.h"
        declared = header.read_text(encoding="utf-8") if header.is_file() else ""
        queue += _INCLUDE.findall(texts.get(stem, "") + declared)
    return tuple(f"{stem}.cc" for stem in sorted(found & texts.keys()))
