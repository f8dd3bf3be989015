"""`edge-run watch` itself, on a system of files that a test made, and on this machine's own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import board, build, environment
from edge.environment import Environment

FILES = {
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq": "2400000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/thermal/thermal_zone1/type": "nothing\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=4711\n",
    "proc/pressure/memory": "nonsense\n",
    "proc/stat": "cpu  10 20 30 4000 500 1 2 3 0 0\ncpu0 1 2\nintr 5 1\nctxt 98765\nbtime 1\n",
}


@pytest.fixture(scope="module")
def runner() -> Path:
    return build.runner(board.load("localhost"), print).runner.path


def start(runner: Path, series: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [runner, "watch", "--series", series, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def told_by(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    found = environment.parse_told(json.loads(process.stdout.readline()))
    assert found is not None
    return found


def wait_until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def recorded(runner: Path, series: Path, *flags: str, readings: int = 3) -> Environment:
    """So many readings or more; it ends with its input."""
    with start(runner, series, "--interval-ms", "5", *flags) as process:
        told = told_by(process)
        enough = 24 + readings * 8 * len(told["columns"])
        wait_until(lambda: series.exists() and series.stat().st_size >= enough)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    return environment.load(series, told)


def test_each_file_has_its_column(runner: Path, tmp_path: Path) -> None:
    for name, text in FILES.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = recorded(runner, tmp_path / "env.bin", "--below", str(tmp_path / "root"))
    last = {name: values[-1] for name, values in found.values.items() if name != "cost_ns"}
    assert np.isnan(last.pop("pressure_us/memory"))
    # The second zone has no temperature: a sensor that is switched off.
    assert last == {
        "clock_khz/policy0": 1_500_000,
        "clock_khz/policy4": 2_400_000,
        "temperature_mc/thermal_zone0/cpu-thermal": 48312,
        "throttled": 0x50005,
        "pressure_us/cpu": 4711,
        # All but idle and iowait.
        "busy_ticks": 66,
        "context_switches": 98765,
    }
    assert found.celsius() == pytest.approx((48.312, 48.312))
    assert found.throttled() == 1


def test_this_machine(runner: Path, tmp_path: Path) -> None:
    found = recorded(runner, tmp_path / "env.bin", readings=20)
    assert np.all(np.diff(found.times_ns) > 0)
    assert np.all(np.diff(found.values["context_switches"]) >= 0)
    assert np.all(found.values["cost_ns"] > 0)
    assert found.interval_ms == 5


def test_work_of_others_is_seen(runner: Path, tmp_path: Path) -> None:
    busy = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        found = recorded(runner, tmp_path / "env.bin", "--interval-ms", "100", readings=20)
    finally:
        busy.kill()
        busy.wait()
    others = found.others(int(found.times_ns[0]), int(found.times_ns[-1]), 0)
    assert others is not None and others > 0.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_keeps_what_was_read(
    runner: Path, tmp_path: Path, number: int
) -> None:
    series = tmp_path / "env.bin"
    with start(runner, series, "--interval-ms", "5") as process:
        told = told_by(process)
        wait_until(lambda: series.exists() and series.stat().st_size > 2000)
        process.send_signal(number)
        assert process.wait(10) == 0
    assert len(environment.load(series, told)) > 5


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--series", ""], 2, "--series is missing"),
        (["--series", "/nowhere/env.bin"], 3, "can't create /nowhere/env.bin"),
        (["--set", "/etc/passwd=x"], 2, "takes /sys/devices/system/cpu/"),
        (["--set", "/sys/devices/system/cpu/../../../etc/x=y"], 2, "takes /sys/devices/system"),
        (["--set", "/sys/devices/system/cpu/no-such-file=1"], 3, "can't read"),
        (["--interval-ms", "0"], 2, "--interval-ms"),
    ],
)
def test_wrong_flags(runner: Path, tmp_path: Path, flags: list[str], code: int, said: str) -> None:
    with start(runner, tmp_path / "env.bin", *flags) as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == code
    assert said in error.decode() and error.count(b"\n") == 1
