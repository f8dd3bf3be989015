"""The commands as a user types them: what they print, and how they end when something is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from edge import board, build, layout
from examples.digits import dataset
from tests import worker
from tests.tflite_file import SOFTMAX, with_operator

MODEL = dataset.FOLDER / "models/mlp-int8.tflite"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment without the developer's SSH configuration and lab.toml, but with the cache."""
    cache = layout.cache_dir().parent
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(cache),
        "EDGE_LAB": str(tmp_path / "lab.toml"),
    }


def call(
    *words: str, env: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    invoke = Path(sys.executable).with_name("invoke")
    return subprocess.run(
        [str(invoke), *words],
        env=env,
        cwd=cwd or Path(__file__).parents[2],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=900,
        check=False,
    )


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in result.stderr + result.stdout
    lines = [line for line in result.stderr.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_boards_as_json(home: dict[str, str]) -> None:
    result = call("boards", "--json", env=home)
    found = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert found["rpi4"]["cpu"] == "cortex-a72"
    assert found["qemu-virt"]["emulation"] == "machine"


def test_boards_as_a_table_is_not_cut_off_in_a_pipe(home: dict[str, str]) -> None:
    result = call("boards", env=home)
    assert "Raspberry Pi Zero 2 W, 64-bit Raspberry Pi OS" in result.stdout


def test_a_build_says_where_and_what(home: dict[str, str]) -> None:
    result = call("build", "--board", "rpi4", "--json", env=home)
    made = json.loads(result.stdout)
    assert made["machine"] == "aarch64"
    assert Path(made["path"]).stat().st_size == made["size_bytes"]


def test_one_runner_serves_every_aarch64_board_but_the_oldest() -> None:
    boards = [b for b in board.load_all() if b.arch == "aarch64" and not b.local]
    others = [b.name for b in boards if b.glibc != "2.28"]
    assert others == ["jetson-nano"]
    built = [build.runner(b, print) for b in boards if b.name not in others]
    assert len(built) >= 5
    assert len({made.runner.sha256 for made in built}) == 1


def test_a_toolchain_that_is_not_installed_says_what_to_install(home: dict[str, str]) -> None:
    home["PATH"] = str(Path(sys.executable).parent)  # no cross compiler, whatever this machine has
    result = call("build", "--board", "rpi4", "--toolchain", "gnu", env=home)
    assert result.returncode == 4
    assert "g++-aarch64-linux-gnu" in last_line(result)


def test_a_measurement_by_command(home: dict[str, str]) -> None:
    words = ["bench", "--board", "qemu-aarch64", "--model", str(MODEL), "--count", "40"]
    found = json.loads(call(*words, "--json", env=home).stdout)[0]
    assert found["samples"] == 40
    # How many of the two there are depends on how much the samples are alike.
    assert set(found["percentiles_ns"]) <= {"p50", "p90"} and found["median_ns"] > 0
    assert found["reproduce"].startswith("invoke bench --board qemu-aarch64")
    text = call(*words, env=home)
    assert text.returncode == 0, text.stderr
    for part in ("emulated", "reproduce: ", "p99 368"):
        assert part in text.stdout


def test_an_operator_that_the_runtime_lacks(home: dict[str, str], tmp_path: Path) -> None:
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(with_operator(MODEL.read_bytes(), SOFTMAX, code=200))
    result = call("deploy", "--board", "qemu-aarch64", "--model", str(odd), env=home)
    assert result.returncode == 2, result.stderr
    assert "odd.tflite" in last_line(result)
    assert "op" in last_line(result).lower()
    there = call("bench", "--board", "qemu-aarch64", "--model", str(odd), env=home)
    assert there.returncode == 2, there.stderr
    assert "op" in last_line(there).lower()


def test_a_library_for_another_architecture(home: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "api.c"
    source.write_text("int TfLiteInterpreterCreate(void) { return 0; }\n", encoding="utf-8")
    library = tmp_path / "libapi.so"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.28"]
    subprocess.run([*compiler, "-shared", "-o", str(library), str(source)], check=True)
    words = ["--board", "qemu-aarch64", "--lib", str(library)]
    deployed = call("deploy", *words, "--model", str(MODEL), env=home)
    assert deployed.returncode == 2
    assert "built for x86_64, the board's system is aarch64" in last_line(deployed)
    # doctor says the same, and all else that it finds, as its result.
    looked = call("doctor", *words, env=home)
    assert (looked.returncode, "Traceback" in looked.stderr) == (3, False)
    assert "built for x86_64" in looked.stdout
    found = json.loads(call("doctor", *words, "--json", env=home).stdout)["findings"]
    assert {f["check"]: f["level"] for f in found}["libapi.so"] == "stop"


def work_folder_of(command: int, patience_s: float = 60.0) -> Path:
    """Where a command's runner records on this machine."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        for pid in descendants(command):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
                if found := re.search(r"/dev/shm/edge-\w{12}", words):
                    return Path(found[0])
    raise AssertionError("no runner was started")


def descendants(pid: int) -> set[int]:
    """The processes that it started, and theirs."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{waiting.pop()}/task").iterdir():
                children = {int(word) for word in (task / "children").read_text().split()}
                waiting += children - found
                found |= children
    return found


def test_an_interrupt_leaves_nothing_behind(home: dict[str, str]) -> None:
    with subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("invoke")), "bench", "--board", "qemu-aarch64"),
            *("--model", str(MODEL), "--count", "1000000"),
        ],
        env=home,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "measuring" in line:
                break
        folder = work_folder_of(process.pid)
        # What Ctrl-C does: the whole foreground group is interrupted.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not folder.exists()
    again = call("doctor", "--board", "qemu-aarch64", env=home)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("words", ["boards --help", "--list", "boards --json"])
def test_a_reader_that_leaves_is_no_traceback(home: dict[str, str], words: str) -> None:
    invoke = Path(sys.executable).with_name("invoke")
    with subprocess.Popen(
        [str(invoke), *words.split()],
        env={**home, "PYTHONUNBUFFERED": "1"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["boards", "--no-such"], 1, "--no-such"),
        (["build", "--board", "rpi-4"], 2, "did you mean 'rpi4'"),
        (["build", "--board", "rpi4", "--toolchain", "tcc"], 2, "no toolchain 'tcc'"),
        (["deploy", "--board", "rpi4"], 2, "--model FILE.tflite"),
        (["deploy", "--board", "rpi4", "--model", "no.tflite"], 2, "no model no.tflite"),
        (["deploy", "--board", "rpi4", "--model", "README.md"], 2, "README.md"),
        (["deploy", "--board", "rpi4", "--model", str(MODEL), "--runtime", "x"], 2, "runtime 'x'"),
        (["deploy", "--board", "rpi4", "--model", str(MODEL), "--lib", "no.so"], 2, "no.so"),
        (["deploy", "--board", "rpi4", "--model", str(MODEL), "--host", "-oX"], 2, "-oX"),
        (["bench", "--board", "rpi4", "--model", str(MODEL), "--count", "0"], 2, "--count 0"),
        (["bench", "--board", "rpi4", "--model", str(MODEL), "--threads", "-1"], 2, "--threads"),
        (["bench", "--board", "rpi4", "--model", str(MODEL), "--count", "many"], 2, "whole number"),
    ],
)
def test_a_wrong_request_is_one_line_and_its_own_code(
    home: dict[str, str], words: list[str], code: int, expected: str
) -> None:
    result = call(*words, env=home)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert expected in result.stderr
    if code != 1:  # invoke's own errors have their own form
        assert expected in last_line(result)


def test_nobody_answers_at_rpi4(home: dict[str, str]) -> None:
    result = call("deploy", "--board", "rpi4", "--model", str(MODEL), env=home)
    line = last_line(result)
    assert result.returncode == 5
    assert "rpi4" in line
    assert "--host" in line


def test_nobody_listens_there(home: dict[str, str]) -> None:
    result = call("doctor", "--board", "rpi4", "--host", "pi@127.0.0.1", env=home)
    assert result.returncode == 5
    assert "pi@127.0.0.1:22" in last_line(result)


def test_a_misspelt_key_in_a_board_file(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards/mine.toml").write_text('descripton = "x"\n', encoding="utf-8")
    result = edge_command("build", "--board", "mine", env=home, cwd=tmp_path)
    assert result.returncode == 2
    assert "unknown key 'descripton' (did you mean 'description'?)" in last_line(result)


def edge_command(
    *words: str, env: dict[str, str], cwd: Path, python_path: str = ""
) -> subprocess.CompletedProcess[str]:
    code = "import sys; from edge.tasks import main; sys.argv[0] = 'edge'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**env, "PYTHONPATH": python_path},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def other_cache(folder: Path) -> Path:
    """A cache in which nothing was built, but what is downloaded is there."""
    worker.share(folder, "images", "packages", "tools", "wheels")
    return folder


def test_an_installed_wheel_works_outside_a_checkout(
    home: dict[str, str], tmp_path: Path, root_folder: Path
) -> None:
    def run(*command: str, cwd: Path) -> None:
        subprocess.run([sys.executable, "-m", *command], cwd=cwd, check=True, capture_output=True)

    run("hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist"), cwd=root_folder)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    site = tmp_path / "a place with a longer name"
    run("pip", "install", "--no-deps", "--target", str(site), str(wheel), cwd=tmp_path)
    where = subprocess.run(
        [sys.executable, "-c", "import edge; print(edge.__file__)"],
        env={**home, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site))
    boards = edge_command("boards", "--json", env=home, cwd=tmp_path, python_path=str(site))
    assert "rpi4" in {entry["name"] for entry in json.loads(boards.stdout)}
    elsewhere = {
        **home,
        "XDG_CACHE_HOME": str(other_cache(tmp_path / "another cache")),
        # What zig compiles of its own C library takes longer than everything else.
        "ZIG_GLOBAL_CACHE_DIR": str(layout.builds_dir() / "zig"),
    }
    built = edge_command(
        "build", "--board", "rpi4", "--json", env=elsewhere, cwd=tmp_path, python_path=str(site)
    )
    installed = json.loads(built.stdout)
    checkout = json.loads(call("build", "--board", "rpi4", "--json", env=home).stdout)
    # The same sources give the same bytes, wherever they lie, and wherever they are compiled.
    assert installed["compiled"] and installed["path"] != checkout["path"]
    assert installed["recipe"] == checkout["recipe"]
    assert installed["sha256"] == checkout["sha256"]
    for name in ("edge-run", "libedge.so"):
        content = Path(installed["path"]).with_name(name).read_bytes()
        assert content == Path(checkout["path"]).with_name(name).read_bytes()
        for place in (tmp_path, site, root_folder, Path(sys.prefix), Path.home()):
            assert str(place).encode() not in content
    words = ["bundle", "--board", "rpi4", "--model", str(MODEL), "--output", "app.tar"]
    packed = edge_command(*words, env=elsewhere, cwd=tmp_path, python_path=str(site))
    assert packed.returncode == 0, packed.stderr


@pytest.mark.parametrize("engine", ["python", "native", "litert"])
def test_an_open_loop_on_a_chosen_processor(home: dict[str, str], engine: str) -> None:
    """Every loop obeys the plan: C's in the runner, C's beside Python, and Python's own."""
    words = ("bench", "--board", "localhost", "--model", str(MODEL), "--engine", engine)
    flags = ("--rate", "400", "--poisson", "--count", "60", "--cpus", "0", "--undisturbed")
    result = call(*words, *flags, "--json", env=home)
    assert result.returncode == 0, result.stderr
    (run,) = json.loads(result.stdout)
    assert run["scenario"] == "open loop, 400 per second, at random times"
    report = run["report"]
    assert (report["iterations"], report["samples"]) == (1, 60)
    assert report["undisturbed"].keys() == {"nice", "memory_locked"}
    assert report["pace"]["time_ns"] and report["cpu_ns"] > 0
    cold = report["cold_start"]
    assert all(len(cold[key]) == 5 for key in ("rss_bytes", "peak_rss_bytes", "minor_faults"))
    assert max(cold["peak_rss_bytes"]) >= max(cold["rss_bytes"]) > 0
    assert sum(cold["minor_faults"]) > 0

    exported = Path(home["HOME"]) / "s.csv"
    assert call("runs.export", run["id"], "--output", str(exported), env=home).returncode == 0
    names, *rows = (line.split(",") for line in exported.read_text().splitlines())
    samples = [dict(zip(names, map(int, row), strict=True)) for row in rows]
    assert {each["cpu"] for each in samples} == {0}
    gaps = [b["due_ns"] - a["due_ns"] for a, b in pairwise(samples)]
    assert all(each["start_ns"] >= each["due_ns"] for each in samples)
    # The same seed, so the same times in every loop; unevenly, and 2.5 ms on average.
    assert len(set(gaps)) > 50
    assert 1.5e6 < sum(gaps) / len(gaps) < 4e6


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--cpus", "big"), "such as --cpus 0-3"),
        (("--cpus", "900"), "no processors 900 here"),
        (("--rate", "5", "--idle", "1s"), "exclude each other"),
        (("--idle", "soon"), "write a time such as 200ms"),
        (("--until", "1%", "--profile"), "single measurement"),
        (("--engine", "native,python", "--rate", "5"), "one by one"),
    ],
)
def test_a_plan_that_can_not_be_followed_is_one_line(
    home: dict[str, str], flags: tuple[str, ...], said: str
) -> None:
    engine = () if "--engine" in flags else ("--engine", "python")
    words = ("bench", "--board", "localhost", "--model", str(MODEL), *engine)
    result = call(*words, *flags, env=home)
    assert result.returncode == 2
    assert said in last_line(result)
