"""`edge-run watch` itself, on a system of files that a test made, and on this machine's own."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
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


def start(
    runner: Path, series: Path, *flags: str, path: Path | None = None
) -> subprocess.Popen[bytes]:
    """:param path: a folder of programs that come before the system's."""
    first = "" if path is None else f"{path}:"
    return subprocess.Popen(
        [runner, "watch", "--series", series, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PATH": first + os.environ["PATH"]},
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


def system(folder: Path, files: dict[str, str]) -> Path:
    """A system of files, for --below."""
    for name, text in files.items():
        path = folder / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "root"


def test_each_file_has_its_column(runner: Path, tmp_path: Path) -> None:
    system(tmp_path, FILES)
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


# --- settings -----------------------------------------------------------------------------------

CPU = "sys/devices/system/cpu"
SETTINGS = {
    f"{CPU}/cpufreq/policy0/scaling_governor": "ondemand\n",
    f"{CPU}/cpufreq/policy0/scaling_min_freq": "600000\n",
    f"{CPU}/cpufreq/policy0/scaling_max_freq": "1500000\n",
    f"{CPU}/cpufreq/policy4/scaling_governor": "powersave\x1b[2J\n",
    f"{CPU}/cpufreq/boost": "0\n",
    f"{CPU}/isolated": "2-3\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_15W >\n",
    "proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-v8\n",
    "proc/stat": FILES["proc/stat"],
}


def last_word(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    lines = process.stdout.read().splitlines()
    assert process.wait(10) == 0
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def test_how_the_board_is_set_is_told_first_and_last(runner: Path, tmp_path: Path) -> None:
    root = system(tmp_path, SETTINGS)
    with start(runner, tmp_path / "env.bin", "--below", str(root)) as process:
        before = told_by(process)["settings"]
        assert before.pop("libc").startswith("glibc 2.")
        assert before == {
            "governor/policy0": "ondemand",
            "min_khz/policy0": "600000",
            "max_khz/policy0": "1500000",
            # What would steer a terminal doesn't leave the board.
            "governor/policy4": "powersave?[2J",
            "boost": "0",
            "isolated_cpus": "2-3",
            "transparent_hugepages": "madvise",
            "power_mode": "2 MODE_15W",
            "kernel": "6.6.31+rpt-rpi-v8",
        }
        (root / f"{CPU}/cpufreq/policy0/scaling_governor").write_text("schedutil\n")
        told = last_word(process)
    after = told["settings"]
    assert after.pop("libc")
    assert after == {**before, "governor/policy0": "schedutil"}
    assert told["not_put_back"] == []


GOVERNOR = f"{CPU}/cpufreq/policy0/scaling_governor"
BOOST = f"{CPU}/cpufreq/boost"
SET = ("--set", f"/{GOVERNOR}=performance", "--set", f"/{BOOST}=1")


@pytest.fixture
def sudo(tmp_path: Path) -> Path:
    """A sudo that notes what it is asked for; it refuses to touch what is named in `refused`."""
    program = tmp_path / "bin/sudo"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$*" >> {tmp_path}/asked\n'
        '[ "$1" = -n ] || exit 9\n'
        f'case "$3" in "$(cat {tmp_path}/refused 2>/dev/null)") exit 1;; esac\n'
        'shift; exec "$@"\n'
    )
    program.chmod(0o755)
    return program.parent


def values(root: Path) -> tuple[str, str]:
    return (root / GOVERNOR).read_text().strip(), (root / BOOST).read_text().strip()


def end_by(process: subprocess.Popen[bytes], how: str) -> None:
    assert process.stdin is not None
    if how == "closed input":
        process.stdin.close()
    elif how == "a word":
        process.stdin.write(b"\n")
        process.stdin.flush()
    else:
        process.send_signal(signal.Signals[how])


@pytest.mark.parametrize("how", ["closed input", "a word", "SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("by_sudo", [False, True], ids=["direct", "sudo"])
def test_settings_hold_for_as_long_as_it_runs(
    runner: Path, tmp_path: Path, sudo: Path, how: str, by_sudo: bool
) -> None:
    root = system(tmp_path, SETTINGS)
    flags = [*SET, "--below", str(root), *(["--sudo"] if by_sudo else [])]
    with start(runner, tmp_path / "env.bin", *flags, path=sudo) as process:
        assert told_by(process)["settings"]["governor/policy0"] == "performance"
        assert values(root) == ("performance", "1")
        end_by(process, how)
        assert process.stdout is not None
        told = json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait(10) == 0
    assert values(root) == ("ondemand", "0")
    # The last word is of how it was meanwhile, not of what was put back.
    assert told["settings"]["governor/policy0"] == "performance"
    assert told["not_put_back"] == []
    asked = (tmp_path / "asked").read_text().splitlines() if by_sudo else []
    paths = [f"{root}/{name}" for name in (GOVERNOR, BOOST, BOOST, GOVERNOR)]
    assert asked == ([f"-n tee {path}" for path in paths] if by_sudo else [])


@pytest.mark.parametrize("by_sudo", [False, True], ids=["direct", "sudo"])
def test_settings_are_put_back_when_whoever_asked_is_killed(
    runner: Path, tmp_path: Path, sudo: Path, by_sudo: bool
) -> None:
    root = system(tmp_path, SETTINGS)
    words = [str(runner), "watch", "--series", str(tmp_path / "env.bin"), "--below", str(root)]
    words += [*SET, *(["--sudo"] if by_sudo else [])]
    parent = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), child.pid, flush=True)\n"
        "child.wait()\n"
    )
    env = {**os.environ, "PATH": f"{sudo}:{os.environ['PATH']}"}
    with subprocess.Popen(
        [sys.executable, "-c", parent, *words], stdout=subprocess.PIPE, env=env
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["settings"]
        assert values(root) == ("performance", "1")
        process.kill()
        process.wait()
    wait_until(lambda: values(root) == ("ondemand", "0"))


@pytest.mark.parametrize("by_sudo", [False, True], ids=["direct", "sudo"])
def test_when_one_setting_fails_those_before_are_put_back(
    runner: Path, tmp_path: Path, sudo: Path, by_sudo: bool
) -> None:
    root = system(tmp_path, SETTINGS)
    (tmp_path / "refused").write_text(f"{root}/{BOOST}")
    flags = [*SET, "--below", str(root), "--sudo"]
    if not by_sudo:
        flags = ["--set", f"/{GOVERNOR}=performance", "--set", f"/{CPU}/none=1"]
        flags += ["--below", str(root)]
    with start(runner, tmp_path / "env.bin", *flags, path=sudo) as process:
        out, error = process.communicate(timeout=20)
    assert process.returncode != 0 and out == b""
    assert values(root) == ("ondemand", "0")
    assert error.count(b"\n") == 1
    said = f"could not set {root}/{BOOST} to '1'" if by_sudo else "can't read"
    assert said in error.decode()


def test_what_could_not_be_put_back_is_told(runner: Path, tmp_path: Path, sudo: Path) -> None:
    root = system(tmp_path, SETTINGS)
    with start(
        runner, tmp_path / "env.bin", *SET, "--sudo", "--below", str(root), path=sudo
    ) as process:
        told_by(process)
        (tmp_path / "refused").write_text(f"{root}/{GOVERNOR}")
        assert last_word(process)["not_put_back"] == [f"/{GOVERNOR}"]
    assert values(root) == ("performance", "0")


def test_without_sudo_on_the_board_nothing_is_set(runner: Path, tmp_path: Path) -> None:
    root = system(tmp_path, SETTINGS)
    process = subprocess.run(
        [runner, "watch", "--series", tmp_path / "env.bin", "--sudo", *SET, "--below", root],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )
    assert process.returncode != 0 and b"can't start sudo" in process.stderr
    assert values(root) == ("ondemand", "0")


# --- how far a recording is ---------------------------------------------------------------------


def recording(latencies_ns: list[int], iterations: int = 2, sample_bytes: int = 32) -> bytes:
    head = b"EDGESMPL" + struct.pack("<IIII", 3, 64, sample_bytes, 0)
    head += struct.pack("<QQQQQ", 1000, len(latencies_ns), 1, 1, 1)
    records = [struct.pack("<QQIi", 5, iterations * ns, iterations, 0) for ns in latencies_ns]
    return head + b"".join(record.ljust(sample_bytes, b"\0") for record in records)


@pytest.mark.parametrize("sample_bytes", [24, 32])
def test_it_tells_how_far_a_recording_is(runner: Path, tmp_path: Path, sample_bytes: int) -> None:
    root, samples = system(tmp_path, FILES), tmp_path / "samples.bin"
    flags = ["--samples", str(samples), "--tell-ms", "5", "--interval-ms", "5"]
    with start(runner, tmp_path / "env.bin", *flags, "--below", str(root)) as process:
        told_by(process)
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first.keys() == {"time_ns", "clock_khz", "temperature_mc"}
        # Old ones are far slower: the median is of the newest hundred and one.
        (tmp_path / "part").write_bytes(
            recording([9_000_000] * 300 + [700] * 100 + [800], sample_bytes=sample_bytes)
        )
        (tmp_path / "part").rename(samples)
        while "samples" not in (tick := json.loads(process.stdout.readline())):
            pass
        assert tick["samples"] == 401
        assert tick["median_ns"] == 700
        assert (tick["clock_khz"], tick["temperature_mc"]) == (1_500_000, 48312)
        assert tick["time_ns"] > first["time_ns"]
        last_word(process)


@pytest.mark.parametrize(
    "content",
    [b"", b"EDGESMPL", recording([5])[:70], recording([5], iterations=0), b"x" * 200]
    + [
        recording([5]).replace(struct.pack("<I", 32), struct.pack("<I", size), 1)
        for size in (0, 1, 1 << 31)
    ],
)
def test_a_recording_that_is_none_is_not_told_of(
    runner: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "samples.bin").write_bytes(content)
    flags = ["--samples", str(tmp_path / "samples.bin"), "--tell-ms", "1", "--interval-ms", "1"]
    with start(runner, tmp_path / "env.bin", *flags) as process:
        told_by(process)
        assert process.stdout is not None
        for _ in range(3):
            assert "samples" not in json.loads(process.stdout.readline())
        last_word(process)


def test_a_reader_that_is_behind_holds_up_neither_readings_nor_the_end(
    runner: Path, tmp_path: Path
) -> None:
    root, series = system(tmp_path, SETTINGS), tmp_path / "env.bin"
    (tmp_path / "samples.bin").write_bytes(recording([700] * 5))
    flags = ["--samples", str(tmp_path / "samples.bin"), "--tell-ms", "1", "--interval-ms", "1"]
    with start(runner, series, *flags, *SET, "--below", str(root)) as process:
        told = told_by(process)
        # More lines than a pipe holds: 64 KiB.
        enough = 24 + 3000 * 8 * len(told["columns"])
        wait_until(lambda: series.stat().st_size >= enough, timeout_s=60)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    assert values(root) == ("ondemand", "0")
