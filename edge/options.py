"""Options: how a model is opened, on whatever engine and board."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, quote

from edge.errors import UsageError

Shape = tuple[int, ...]

_MAX_RANK = 8  # EDGE_MAX_RANK of edge.h
_MAX_AXIS = 2**31 - 1


@dataclass(frozen=True)
class Delegate:
    """An external delegate: a library that takes over parts of a model.

    :ivar path: a file of this machine, which goes along with the release; or, with ``on_board``, an
        absolute path on the board, whose vendor put it there.
    :ivar settings: keys and values handed to the delegate, in the order given.
    """

    path: str
    on_board: bool = False
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def file(self) -> Path:
        return Path(self.path)


@dataclass(frozen=True)
class Options:
    """What every engine is told beside the model.

    :ivar signature: key of a signature; None: the primary subgraph, by the names of its tensors.
    :ivar shapes: input name -> shape, for dimensions that the model leaves open.
    :ivar batch: first axis of every input that ``shapes`` does not name; 0: as in the model.
    :ivar threads: threads of the runtime.
    :ivar xnnpack: use the XNNPACK delegate.
    :ivar ops: a folder of this machine with kernels for the model's custom operators.
    """

    signature: str | None = None
    shapes: tuple[tuple[str, Shape], ...] = ()
    batch: int = 0
    threads: int = 1
    xnnpack: bool = True
    delegate: Delegate | None = None
    ops: str | None = None

    def argv(self, delegate_path: PurePosixPath | None = None) -> list[str]:
        """Flags of the runner.

        :param delegate_path: where the delegate's library stands on the board.
        """
        flags = ["--threads", str(self.threads)]
        if not self.xnnpack:
            flags.append("--no-xnnpack")
        if self.signature is not None:
            flags += ["--signature", self.signature]
        for name, shape in self.shapes:
            flags += ["--shape", f"{name}={'x'.join(map(str, shape))}"]
        if self.batch:
            flags += ["--batch", str(self.batch)]
        if self.delegate is not None:
            path = str(delegate_path or self.delegate.path)
            settings = "&".join(
                f"{quote(key, safe='')}={quote(value, safe='')}"
                for key, value in self.delegate.settings
            )
            flags += ["--delegate", f"external:{quote(path)}{'?' if settings else ''}{settings}"]
        return flags


DEFAULT = Options()
"""The model as its file is, on one thread."""


def check(options: Options) -> None:
    """:raises UsageError: a number makes no sense."""
    if options.threads < 1:
        raise UsageError(f"--threads {options.threads}: must be at least 1")
    if not 0 <= options.batch <= _MAX_AXIS:
        raise UsageError(f"--batch {options.batch}: must be 0 (as in the model) or more")


def restore(values: Mapping[str, Any]) -> Options:
    """Options out of what JSON made of ``dataclasses.asdict``.

    :raises TypeError: an unknown key; KeyError: a missing one.
    """
    given = dict(values)
    given["shapes"] = tuple((name, tuple(axes)) for name, axes in values["shapes"])
    if values["delegate"] is not None:
        settings = tuple((key, value) for key, value in values["delegate"]["settings"])
        given["delegate"] = Delegate(**{**values["delegate"], "settings": settings})
    return Options(**given)


def shapes(texts: Iterable[str]) -> tuple[tuple[str, Shape], ...]:
    """``input=1x224x224x3`` -> name and shape; the name ends at the last ``=``.

    :raises UsageError: no such form, a name twice, or more axes than edge knows.
    """
    found: dict[str, Shape] = {}
    for text in texts:
        name, equals, axes = text.rpartition("=")
        if not equals or not name or not re.fullmatch(r"[0-9]+(x[0-9]+)*", axes):
            raise UsageError(f"--shape {text}: must be NAME=1x224x224x3")
        shape = tuple(int(axis) for axis in axes.split("x"))
        if len(shape) > _MAX_RANK or max(shape) > _MAX_AXIS:
            raise UsageError(f"--shape {text}: at most {_MAX_RANK} axes, each below 2^31")
        if min(shape) < 1:
            raise UsageError(f"--shape {text}: every axis must be at least 1")
        if name in found:
            raise UsageError(f"--shape {text}: '{name}' is given twice")
        found[name] = shape
    return tuple(found.items())


def delegate(text: str) -> Delegate:
    """``external:PATH?key=value&key=value``; ``external:board:/PATH`` is a file of the board's.

    :raises UsageError: no such form.
    """
    kind, colon, rest = text.partition(":")
    path, _, query = rest.partition("?")
    if kind != "external" or not colon or not path:
        raise UsageError(
            f"--delegate {text}: must be external:PATH?key=value, or external:board:/PATH for a "
            "library that is on the board already"
        )
    on_board = path.startswith("board:")
    path = path.removeprefix("board:")
    if on_board and not PurePosixPath(path).is_absolute():
        raise UsageError(f"--delegate {text}: the board's own file needs an absolute path")
    try:
        settings = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise UsageError(f"--delegate {text}: after '?' come key=value pairs with &") from None
    return Delegate(path, on_board, tuple(settings))
