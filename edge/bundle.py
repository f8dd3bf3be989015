"""Bundle: a release as one file, with what makes it live where no network reaches."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import zstandard

from edge import artifact, layout, ops, runtime
from edge.artifact import Artifact
from edge.board import Board
from edge.deploy import Choice
from edge.errors import HostError, UsageError
from edge.options import Delegate, Options
from edge.release import Release, delegate_place

Progress = Callable[[str], None]

_LEVEL = 19
_MTIME = 315532800
"""1980-01-01, the first day that FAT knows: sticks are often formatted so."""

_SPEAK_BYTES = 8_000_000
"""From so much content on, what is packed takes seconds."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written.

    :ivar sha256: of the file; other versions of zstd may pack otherwise.
    :ivar tar_sha256: of what is packed in it: the same for the same release anywhere.
    """

    path: Path
    release: Release
    size_bytes: int
    sha256: str
    tar_sha256: str


def check(target: Board, choice: Choice) -> None:
    """
    :raises UsageError: it would run in the board's own Python, which can't be packed unseen.
    """
    engine = choice.engine or runtime.load(choice.runtime or target.runtime).engine
    if engine in runtime.IN_PYTHON:
        raise UsageError(
            f"engine {engine} runs in the board's own Python, and which that is only the board can "
            "say: add --engine tflite or --engine litert, or use `invoke deploy`"
        )


def output_file(path: Path, *, force: bool = False) -> Path:
    """``path``, if a bundle can be written there.

    :raises UsageError: its folder is missing, it exists, or its name is no bundle's.
    """
    if not path.name.endswith((".tar.zst", ".tar")):
        raise UsageError(f"--output {path}: a bundle is a .tar.zst, or a .tar: name it so")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}: make it first")
    if path.is_dir() or (path.exists() and not force):
        remedy = "name another file" if path.is_dir() else "add --force to replace it"
        raise UsageError(f"--output {path} exists: {remedy}")
    return path


def write(
    wanted: Release,
    target: Board,
    path: Path,
    progress: Progress,
    *,
    delegate: Delegate | None = None,
) -> Bundle:
    """Write ``wanted`` as a bundle; the same release gives the same bytes anywhere.

    :param delegate: what models are opened with.
    :raises HostError: the disk is full, or a file of the release changed or can't be read.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            outer = _Hashed(file)
            with _packed(outer, path) as packed:
                inner = _Hashed(packed)
                _pack(wanted, _script(wanted, target, delegate), inner, progress)
            file.flush()
            os.fsync(file.fileno())
        artifact.move_into_place(part, path)
    except OSError as error:
        raise HostError(f"can't write {path}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return Bundle(path, wanted, outer.written, outer.digest.hexdigest(), inner.digest.hexdigest())


def sums(wanted: Release) -> bytes:
    """``SHA256SUMS`` as the board's store writes it."""
    lines = [f"{hashlib.sha256(wanted.manifest).hexdigest()}  manifest.json\n"]
    lines += [f"{a.sha256}  {a.place}\n" for a in sorted(wanted.artifacts, key=lambda a: a.place)]
    return "".join(lines).encode()


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


class _Hashed:
    """What goes through to ``sink``, hashed and counted."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self.digest = hashlib.sha256()
        self.written = 0

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        self.digest.update(data)
        self.written += len(data)
        return len(data)


@contextlib.contextmanager
def _packed(sink: _Hashed, path: Path) -> Iterator[_Sink]:
    if path.name.endswith(".tar"):
        yield sink
        return
    # One thread and one level: the bytes must not depend on this machine.
    stream = zstandard.ZstdCompressor(_LEVEL, write_checksum=True, threads=0).compressobj()

    class Packed:
        def write(self, data: bytes) -> int:
            sink.write(stream.compress(data))
            return len(data)

    yield Packed()
    sink.write(stream.flush())


def _pack(wanted: Release, script: bytes, sink: _Hashed, progress: Progress) -> None:
    content_bytes = sum(a.size_bytes for a in wanted.artifacts)
    own = {"install.sh": script, "manifest.json": wanted.manifest, "SHA256SUMS": sums(wanted)}
    stored = {a.place: a for a in wanted.artifacts}
    folders = {str(folder) for place in stored for folder in PurePosixPath(place).parents}
    done_bytes = 0
    # Unlike pax it has no headers that vary; unlike ustar it takes long names.
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
        for place in sorted({*folders, *own, *stored}):
            entry = tarfile.TarInfo(str(PurePosixPath(f"edge-{wanted.id}", place)))
            entry.mtime = _MTIME
            if place in own:
                entry.mode = 0o755 if place == "install.sh" else 0o644
                entry.size = len(own[place])
                tar.addfile(entry, io.BytesIO(own[place]))
            elif place in stored:
                content = stored[place]
                if content_bytes >= _SPEAK_BYTES:
                    done = f"{done_bytes / content_bytes:.0%} done"
                    progress(f"packing {place} ({content.size_bytes / 1e6:.1f} MB; {done})")
                _add(tar, entry, content)
                done_bytes += content.size_bytes
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, content: Artifact) -> None:
    entry.mode = 0o755 if content.executable else 0o644
    entry.size = content.size_bytes
    with content.path.open("rb") as file:
        source = _Source(file, content)
        tar.addfile(entry, source)  # type: ignore[arg-type]
        source.check()


class _Source:
    """An artifact's file, which must still be what was hashed when the release was made."""

    def __init__(self, file: IO[bytes], content: Artifact) -> None:
        self._file = file
        self._content = content
        self._digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        try:
            data = self._file.read(count)
        except OSError as error:
            raise HostError(f"can't read {self._content.path}: {error.strerror}") from None
        self._digest.update(data)
        if len(data) < count:
            self.check()
        return data

    def check(self) -> None:
        if self._digest.hexdigest() != self._content.sha256:
            path = self._content.path
            raise HostError(f"{path} changed while it was packed: run the command again")


def _script(wanted: Release, target: Board, delegate: Delegate | None) -> bytes:
    """``install.sh`` of this release: which board it is for, and how it runs a model."""
    place = None if delegate is None else delegate_place(delegate)
    flags = Options(delegate=delegate).argv(place)
    kernels = ["--ops", ops.PLACE] if any(a.place == ops.PLACE for a in wanted.artifacts) else []
    infer = " ".join(["--engine", wanted.engine, "--lib", runtime.PLACE, *kernels, *flags])
    text = layout.install_script().read_text(encoding="utf-8")
    for name, value in (("board", target.name), ("arch", target.arch), ("infer", infer)):
        head, line, tail = text.partition(f"\n{name}=\n")
        assert line, f"install.sh has no line {name}="
        text = f"{head}\n{name}={shlex.quote(value)}\n{tail}"
    return text.encode()
