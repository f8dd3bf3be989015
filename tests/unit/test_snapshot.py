"""Which saved states are taken, and which are made anew."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge import emulator, image, snapshot
from edge.errors import HostError
from edge.qemu import Hardware
from edge.snapshot import Snapshot

HARDWARE = Hardware()


@pytest.fixture
def tool(tmp_path: Path) -> emulator.Tool:
    program = tmp_path / "qemu-system-aarch64"
    program.write_text("program")
    return emulator.Tool((str(program),), "7.2.1")


def of(folder: Path, tool: emulator.Tool, hardware: Hardware = HARDWARE) -> Snapshot:
    folder.mkdir(exist_ok=True)
    built = image.BuiltImage(
        image.load("bookworm-arm64"), folder, image.Keys(folder / "login", folder / "host")
    )
    return snapshot.of(built, hardware, tool)


def save(state: Snapshot, content: bytes = b"memory") -> None:
    def write(descriptor: int) -> None:
        os.write(descriptor, content)

    state.save(write, print)


def read(state: Snapshot) -> tuple[bytes | None, list[str]]:
    said: list[str] = []
    with state.opened(said.append) as file:
        return (None if file is None else file.read()), said


def test_what_was_saved_is_opened(tmp_path: Path, tool: emulator.Tool) -> None:
    state = of(tmp_path / "image", tool)
    assert read(state) == (None, [])
    save(state, b"first")
    save(state, b"second")
    assert read(state) == (b"second", [])


def test_each_hardware_has_a_state_of_its_own(tmp_path: Path, tool: emulator.Tool) -> None:
    save(of(tmp_path / "image", tool))
    for other in (
        replace(HARDWARE, cpu="cortex-a53"),
        replace(HARDWARE, cores=4),
        replace(HARDWARE, memory_mib=512),
        replace(HARDWARE, data_disk_mib=16),
    ):
        assert read(of(tmp_path / "image", tool, other)) == (None, [])


def test_a_state_of_another_qemu_is_not_taken(tmp_path: Path, tool: emulator.Tool) -> None:
    save(of(tmp_path / "image", tool))
    newer = of(tmp_path / "image", replace(tool, version="8.0.0"))
    assert read(newer) == (None, ["the saved state is of another QEMU: it is made anew"])
    Path(tool.argv[0]).write_text("the same version with a mended defect")
    assert read(of(tmp_path / "image", tool))[0] is None


def test_a_state_that_comes_out_of_an_archive_is_taken(tmp_path: Path, tool: emulator.Tool) -> None:
    os.utime(tool.argv[0], ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    save(of(tmp_path / "image", tool))
    os.utime(tool.argv[0], (1_700_000_000, 1_700_000_000))
    assert read(of(tmp_path / "image", tool)) == (b"memory", [])


def test_a_state_of_another_image_is_not_taken(tmp_path: Path, tool: emulator.Tool) -> None:
    save(of(tmp_path / "image", tool))
    (tmp_path / "image").rename(tmp_path / "another")
    assert read(of(tmp_path / "another", tool))[0] is None


@pytest.mark.parametrize("content", [b"memorY", b"memor", b"memory+", b""])
def test_a_damaged_state_is_not_taken(tmp_path: Path, tool: emulator.Tool, content: bytes) -> None:
    state = of(tmp_path / "image", tool)
    save(state)
    (state.directory / "memory").write_bytes(content)
    found, said = read(state)
    assert found is None
    assert said == [f"the saved state {state.directory} is damaged: it is made anew"]


def test_a_state_without_its_key_is_not_taken(tmp_path: Path, tool: emulator.Tool) -> None:
    state = of(tmp_path / "image", tool)
    save(state)
    (state.directory / "key").write_text("half")
    assert read(state)[0] is None
    (state.directory / "key").unlink()
    assert read(state)[0] is None


def test_a_state_that_can_not_be_written_leaves_the_old_one(
    tmp_path: Path, tool: emulator.Tool
) -> None:
    state = of(tmp_path / "image", tool)
    save(state, b"old")

    def fail(descriptor: int) -> None:
        os.write(descriptor, b"half of the n")
        raise HostError("QEMU could not migrate the machine's state")

    with pytest.raises(HostError):
        state.save(fail, print)
    assert read(state) == (b"old", [])
    assert [path.name for path in state.directory.parent.iterdir() if path.is_dir()] == [
        state.directory.name
    ]
