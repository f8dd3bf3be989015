"""``qemu.up`` and its sisters as a user types them, and what is left when they are cut short."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import machine
from edge.errors import EdgeError
from edge.machine import Machine
from tests import worker

NAME = "test-commands"
ROOT = Path(__file__).parents[2]
INVOKE = str(Path(sys.executable).with_name("invoke"))


@pytest.fixture(autouse=True)
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place for machines alone: ``--all`` may not mean those of whoever runs the tests."""
    worker.share(tmp_path, "builds", "images", "packages", "tools", "wheels")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield
    for name, _ in machine.all_running():
        with contextlib.suppress(EdgeError):
            Machine.attach(name).kill()


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [INVOKE, *words], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=900, check=False,
    )  # fmt: skip


def answer(*words: str) -> Any:
    result = call(*words, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def complaint(*words: str, code: int) -> str:
    result = call(*words)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("  ")]
    return line


def up(name: str = NAME, *more: str) -> Any:
    return answer("qemu.up", "--board", "qemu-virt-dropbear", "--name", name, *more)


def test_two_boards_stay_up_at_once_until_they_are_shut_down() -> None:
    one, other = up(), up(f"{NAME}-2")
    assert one["ssh_port"] != other["ssh_port"]
    assert up()["pid"] == one["pid"], "it is up already"
    running = {each["name"]: each for each in answer("qemu.status")}
    assert running[NAME]["pid"] == one["pid"] and running[NAME]["kept"]
    said = call("qemu.status").stdout
    assert f"edge@127.0.0.1:{one['ssh_port']}" in said
    doctor = call("doctor", "--board", "qemu-virt-dropbear", "--host", f"{NAME}-2")
    assert "qemu-virt-dropbear" in doctor.stdout, doctor.stderr
    assert answer("qemu.down", "--name", NAME) == {"stopped": [NAME]}
    assert answer("qemu.down", "--name", NAME) == {"stopped": []}
    assert machine.running(NAME) is None
    assert machine.running(f"{NAME}-2") is not None
    assert answer("qemu.down", "--all") == {"stopped": [f"{NAME}-2"]}
    assert "no emulated board runs" in call("qemu.status").stdout


def test_a_board_that_is_down_is_started_for_one_command() -> None:
    result = call("doctor", "--board", "qemu-virt-dropbear")
    assert "machine qemu-virt-dropbear is down: starting it, for this command" in result.stderr
    assert machine.running("qemu-virt-dropbear") is None


def test_a_port_may_be_chosen() -> None:
    chosen = up()["ssh_port"]
    call("qemu.down", "--name", NAME)
    assert up(NAME, "--port", str(chosen))["ssh_port"] == chosen
    words = ("qemu.up", "--board", "qemu-virt-dropbear", "--name", f"{NAME}-2")
    assert "the port is taken" in complaint(*words, "--port", str(chosen), code=4)
    assert machine.running(f"{NAME}-2") is None


def test_what_runs_is_not_replaced_silently() -> None:
    up()
    words = ("qemu.up", "--board", "qemu-virt-dropbear", "--name", NAME)
    for more in (("--fresh",), ("--blank",), ("--port", "1")):
        assert f"machine {NAME} is up already" in complaint(*words, *more, code=2)


def test_a_blank_board_is_told_how_to_be_bootstrapped() -> None:
    url = up(NAME, "--blank")["console_url"]
    line = complaint("doctor", "--board", "qemu-virt-dropbear", "--host", NAME, code=2)
    assert "nobody's key is on it" in line
    assert f"invoke bootstrap --board qemu-virt-dropbear --serial {url}" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("qemu.up", "--board", "rpi4"), "rpi4 is no virtual machine"),
        (("qemu.up", "--board", "qemu-vurt"), "no board 'qemu-vurt'"),
        (("qemu.up", "--board", "qemu-virt", "--name", "../x"), "'../x' can't be a file name"),
        (("qemu.up", "--board", "qemu-virt", "--port", "70000"), "must be from 1 to 65535"),
        (("qemu.up", "--board", "qemu-virt", "--port", "ssh"), "must be a whole number"),
        (("qemu.down", "--name", "a b"), "give the machine another name"),
        (("qemu.down",), "which machine? name it by --board or --name, or say --all"),
        (("qemu.down", "--all", "--name", "x"), "which machine?"),
        (("qemu.image", "--board", "rpi4"), "board rpi4 is not emulated"),
    ],
)
def test_a_wrong_request_is_one_line(words: tuple[str, ...], said: str) -> None:
    assert said in complaint(*words, code=2)


def test_an_image_says_what_it_is() -> None:
    told = answer("qemu.image", "--board", "qemu-virt-dropbear")
    assert Path(told["path"]).is_dir()
    assert told["packages"] > 5 and told["size_bytes"] > 1 << 20


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_cut_short_leaves_nothing(sent: signal.Signals) -> None:
    """QEMU runs already, the board is not up yet."""
    up()
    call("qemu.down", "--name", NAME)
    with subprocess.Popen(
        [INVOKE, "qemu.up", "--board", "qemu-virt-dropbear", "--name", NAME],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        pid = _started(process)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if sent == signal.SIGINT else -sent), errors
    assert "Traceback" not in errors
    assert machine._await_end(pid, 10), "QEMU's keeper is still there"
    assert machine.all_running() == ()


def _started(process: subprocess.Popen[str]) -> int:
    """The keeper's process number, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if b"keeper.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    raise AssertionError("no machine was started")
