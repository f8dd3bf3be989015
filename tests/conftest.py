"""What integration tests share: built once a session, all of it real."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from edge import abi, board, build, deploy, image, layout, machine, session
from edge.release import Release
from edge.session import Session
from examples.digits import dataset
from tests import worker

worker.settle()

# A shell starts its background jobs with interrupts ignored, and what tests start would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something about the machine and nothing about the code.
hypothesis.settings.register_profile("edge", deadline=None)
hypothesis.settings.load_profile("edge")

GUEST = "test-qemu-virt"
"""Machines of tests have names of their own: a developer's running board stays as it is."""


LONGEST = (
    *("test_ci_docs", "test_tutorial", "test_source_builds", "test_convert", "test_study"),
    *("test_bundle", "test_machine", "test_bootstrap", "test_qemu_commands", "test_custom_ops"),
    *("test_engines", "test_faults", "test_deploy", "test_emulated_boards", "test_runner"),
    *("test_commands", "test_build", "test_console", "test_fleet", "test_python_engines"),
    *("test_ways", "test_evaluate", "test_packaged"),
    *("test_compare", "test_runs", "test_store", "test_fuzz", "test_litert", "test_hostile"),
)
"""The files that take longest come first: side by side, the rest fills the gaps."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    last = len(rank)

    def place(item: pytest.Item) -> int:
        return last + 1 if "unit" in item.path.parts else rank.get(item.path.stem, last)

    items.sort(key=place)


@pytest.fixture(scope="session")
def library() -> abi.Library:
    """libedge for this machine."""
    return build.host_library(print)


@pytest.fixture(scope="session")
def digits() -> Release:
    """All eight digits models with the runner and the runtime of an aarch64 board."""
    models = [model.path for model in dataset.models()]
    return deploy.prepare(board.load("qemu-virt"), deploy.models(models, print), print)


@pytest.fixture
def emulated() -> Iterator[Session]:
    """Programs of the board under QEMU's user mode, with an empty device root."""
    target = dataclasses.replace(board.load("qemu-aarch64"), name="test-qemu-aarch64")
    shutil.rmtree(layout.machines_dir() / target.name, ignore_errors=True)
    with session.connect(target, print) as opened:
        yield opened


@pytest.fixture
def memory_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, if programs may run there: a disk is waited for at every sync."""
    memory = Path("/dev/shm")
    try:
        found = os.statvfs(memory)
        fits = found.f_bavail * found.f_frsize > 1 << 30 and not found.f_flag & os.ST_NOEXEC
    except OSError:
        fits = False
    base = memory if fits and os.access(memory, os.W_OK) else tmp_path_factory.getbasetemp()
    with tempfile.TemporaryDirectory(prefix="test-", dir=base) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def _machine() -> Iterator[machine.Machine]:
    target = board.load("qemu-virt")
    assert target.image is not None
    with machine.Machine.start(
        image.load(target.image),
        name=GUEST,
        cpu=target.cpu,
        cores=target.cores,
        memory_mib=target.memory_mib,
        fresh=True,
        data_disk_mib=24,
        progress=print,
    ) as started:
        yield started


@pytest.fixture
def guest(_machine: machine.Machine) -> Iterator[machine.Machine]:
    """A booted virtual machine without any release on it; `/data` is a small second disk."""
    _machine.link(True)
    with connect(_machine) as opened:
        script = 'chmod -R u+w "$1" /data/edge 2>/dev/null; rm -rf "$1" /data/*'
        opened.transport.run(["sh", "-c", script, "sh", opened.device.root])
    yield _machine


def connect(guest: machine.Machine, root: str = layout.DEFAULT_ROOT) -> _Connection:
    """A session with a machine that the caller has in hand."""
    return _Connection(guest, root)


class _Connection:
    """``session.connect`` for a machine that runs already; its board is named as the machine is."""

    def __init__(self, guest: machine.Machine, root: str) -> None:
        target = dataclasses.replace(board.load("qemu-virt"), name=guest.name, root=root)
        self._context = session.connect(target, print)

    def __enter__(self) -> Session:
        return self._context.__enter__()

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def root_folder() -> Path:
    """The checkout."""
    return Path(__file__).parents[1]
