"""What nearly every integration test needs is compiled before the first of them."""

from __future__ import annotations

import os

import pytest

from edge import board, build


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """In one process, while the others wait: a deadline of a test is not for compiling."""
    if "EDGE_TEST_WORKER" in os.environ:
        build.host_library(print)
        build.runner(board.load("qemu-aarch64"), print)
