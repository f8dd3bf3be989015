"""A machine's saved state: memory and devices, from which others of its kind resume.

It lies beside the image's files and belongs to one combination of image, hardware and QEMU; there
is one for each hardware. What does not fit, or is damaged, is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edge import layout, qemu
from edge.debian import Progress
from edge.emulator import Tool
from edge.errors import HostError
from edge.image import BuiltImage
from edge.qemu import Hardware

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Snapshot:
    """Where the state of one kind of machine lies, or will lie.

    :ivar key: of everything that must be the same when it is resumed.
    """

    directory: Path
    key: str

    @contextlib.contextmanager
    def opened(self, progress: Progress) -> Iterator[IO[bytes] | None]:
        """The state's file; None if there is none that fits and is whole."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._memory.open("rb")) if self._memory.exists() else None
            if file is not None and (fault := self._fault(file)):
                progress(f"the saved state {fault}: it is made anew")
                file = None
            yield file

    @property
    def _memory(self) -> Path:
        return self.directory / "memory"

    def _fault(self, file: IO[bytes]) -> str:
        """Why the state can't be resumed, if it can't; else the file is at its beginning."""
        try:
            key, digest = (self.directory / "key").read_text().split()
        except (OSError, ValueError):
            return f"{self.directory} is damaged"
        if key != self.key:
            return "is of another QEMU"
        if _digest(file) != digest:
            return f"{self.directory} is damaged"
        file.seek(0)
        return ""

    def save(self, write: Callable[[int], None], progress: Progress) -> None:
        """Publish what ``write`` writes into the file whose descriptor it is given.

        :raises HostError: it can't be written; what was there before is still there.
        """
        with (
            layout.exclusive(self.directory.parent, progress),
            layout.published(self.directory) as part,
        ):
            with (part / "memory").open("w+b") as file:
                write(file.fileno())
                digest = _digest(file)
            (part / "key").write_text(f"{self.key} {digest}\n")


def of(image: BuiltImage, hardware: Hardware, tool: Tool) -> Snapshot:
    name = f"state-{hardware.cpu}-{hardware.cores}-{hardware.memory_mib}-{hardware.data_disk_mib}"
    program = Path(tool.argv[0])
    try:
        status = program.stat()
    except OSError as error:
        raise HostError(f"can't read {program}: {error.strerror}") from error
    # A security update of QEMU need not change its version. An archive, such as a CI system's cache
    # is restored from, keeps whole seconds.
    same = (
        *(image.id, hardware, tool.version, str(program), status.st_size, int(status.st_mtime)),
        Path(qemu.__file__).read_bytes(),  # the devices that it is given
    )
    return Snapshot(image.directory / name, hashlib.sha256(repr(same).encode()).hexdigest())


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
