"""compare, check, bench --until and --cold as a user types them, on this machine as the board."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge import build, comparison, group, layout, run
from examples.digits import dataset
from tests.integration.test_commands import MODEL, call, home, last_line
from tests.tflite_file import SOFTMAX, with_operator
from tests.worker import keep_apart, staying

__all__ = ["home"]

FLOAT32 = dataset.FOLDER / "models/mlp-float32.tflite"
BOARD = ("--board", "localhost")
QUICK = ("--count", "60", "--duration", "0.5")


@pytest.fixture
def here(home: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """This machine as a board of its own, on which nothing is."""
    keep_apart(Path(home["EDGE_LAB"]), tmp_path / "root")
    return home


def on_board(here: dict[str, str]) -> set[str]:
    """All that is below the device root, and in work folders."""
    root = Path(here["HOME"]) / "root"
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.name != "lock"}
    return files | {str(path) for path in Path("/dev/shm").glob("edge-*")}


def changed(here: dict[str, str], before: set[str]) -> set[str]:
    """What came or went below the device root, and the work folders that came and stay."""
    difference = on_board(here) ^ before
    folders = {path for path in difference if path.startswith("/dev/shm/")}
    return difference - folders | {str(path) for path in staying(map(Path, folders - before))}


def test_two_arms_end_to_end(here: dict[str, str]) -> None:
    words = ["compare", *BOARD, "--model", str(MODEL), *QUICK, "--rounds", "6"]
    before = on_board(here)
    result = call(*words, "-a", "--threads 1", "-b", "--engine python", "--json", env=here)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert [arm["flags"] for arm in told["arms"]] == ["--threads 1", "--engine python"]
    assert told["arms"][1]["engine"] == "python" != told["arms"][0]["engine"]
    assert [len(arm["rounds_ns"]) for arm in told["arms"]] == [6, 6]
    assert told["ratio"]["low"] <= told["ratio"]["value"] <= told["ratio"]["high"]
    assert told["differs"] == (not told["ratio"]["low"] <= 1 <= told["ratio"]["high"])
    assert told["text"].count("99 % confidence") == 1 and told["detectable"] > 0
    assert "round 6 of 6; so far A " in result.stderr
    # Nothing is left on a board where nothing was.
    left = changed(here, before)
    assert not [path for path in left if path.startswith(("releases/", "store/", "/dev/shm/"))]
    # The group says all that the command did.
    ids = [arm["runs"] for arm in told["arms"]]
    folder = layout.runs_dir() / ids[0][0].rpartition("/")[0]
    assert group.load(folder).arms == ("--threads 1", "--engine python")
    library = build.host_library(print)
    a, b = ([run.load(layout.runs_dir() / each, library) for each in side] for side in ids)
    again = comparison.of_runs(a, b, ("--threads 1", "--engine python"))
    assert again.text == told["text"] and list(again.remarks) == told["remarks"]


def test_the_table_the_sentence_and_where_it_is_kept(here: dict[str, str]) -> None:
    words = ["compare", *BOARD, *QUICK, "--rounds", "6", "--common", f"--model {MODEL}"]
    result = call(*words, "-a", "", "-b", f"--model {FLOAT32} --no-xnnpack", env=here)
    assert result.returncode == 0, result.stderr
    for part in (
        "as the board has it",
        f"--model {FLOAT32} --no-xnnpack",
        "mlp-float32.tflite",
        "99 % confidence",
        "would have been found in 9 of 10 such comparisons",
        "reproduce: invoke compare",
        "rounds are kept as ",
    ):
        assert part in result.stdout


def test_an_emulated_comparison_is_labelled(here: dict[str, str]) -> None:
    words = ["compare", "--board", "qemu-aarch64", "--model", str(MODEL), *QUICK, "--rounds", "6"]
    result = call(*words, "-a", "", "-b", "", "--strict", env=here)
    assert result.returncode == 7, result.stderr
    assert "emulated: no speed of a real board" in result.stdout
    assert "99 % confidence; emulated: it says nothing about a real board" in result.stdout
    assert "not trusted" in last_line(result)


def test_an_arm_that_fails_leaves_the_board_as_it_was(here: dict[str, str], tmp_path: Path) -> None:
    deployed = call("deploy", *BOARD, "--model", str(MODEL), "--json", env=here)
    assert deployed.returncode == 0, deployed.stderr
    before = on_board(here)
    assert any(path.startswith("releases/") for path in before)
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(with_operator(MODEL.read_bytes(), SOFTMAX, code=200))
    words = ["compare", *BOARD, *QUICK, "-a", f"--model {FLOAT32}", "-b", f"--model {odd}"]
    failed = call(*words, env=here)
    assert failed.returncode == 2, failed.stderr
    assert last_line(failed).startswith("edge: arm B: ")
    assert changed(here, before) == set()
    releases = json.loads(call("releases", *BOARD, "--json", env=here).stdout)
    assert [each["live"] for each in releases] == [True]


def kept_at_interrupt(line: str, *words: str, env: dict[str, str]) -> list[Path]:
    """Ctrl-C when the command says that; the run.json of each run that it says it kept."""
    with subprocess.Popen(
        [str(Path(sys.executable).with_name("invoke")), *words],
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if line in said:
                break
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    found = re.search(r"what was measured until then, (\d+) runs, stays in (\S+)", errors)
    assert found is not None, errors
    kept = sorted(Path(found[2]).glob("*/run.json"))
    assert len(kept) == int(found[1])
    # The interrupted run's folder is gone, not half there.
    assert {path.name for path in Path(found[2]).iterdir() if path.is_dir()} == {
        path.parent.name for path in kept
    }
    return kept


def test_an_interrupt_keeps_what_was_measured_and_cleans_the_board(here: dict[str, str]) -> None:
    deployed = call("deploy", *BOARD, "--model", str(MODEL), env=here)
    assert deployed.returncode == 0, deployed.stderr
    before = on_board(here)
    assert any(path.startswith("releases/") for path in before)
    words = ["compare", *BOARD, "--model", str(FLOAT32), *QUICK, "--rounds", "400"]
    words += ["-a", "", "-b", "--threads 2"]
    kept = kept_at_interrupt("round 3 of 400", *words, env=here)
    assert len(kept) >= 4
    library = build.host_library(print)
    assert all(run.load(path.parent, library).median_ns > 0 for path in kept)
    assert changed(here, before) == set()


def test_rounds_until_it_is_known_well_enough(here: dict[str, str]) -> None:
    words = ["bench", *BOARD, "--model", str(MODEL), *QUICK, "--rounds", "12"]
    loose = call(*words, "--until", "50%", "--json", env=here)
    assert loose.returncode == 0, loose.stderr
    (told,) = json.loads(loose.stdout)
    assert 10 <= told["rounds"] <= 12
    assert told["reached"] == (told["found"] <= 0.5)
    assert len(told["rounds_ns"]) == len(told["runs"]) == told["rounds"]
    # No machine is this steady: it ends all the same, and says that it was not reached.
    strict = call(*words, "--until", "0.0001", env=here)
    assert strict.returncode == 0, strict.stderr
    assert "NOT REACHED" in strict.stdout and "not reached in 12 rounds" in strict.stdout


def test_cold_starts_of_fresh_processes(here: dict[str, str]) -> None:
    words = ["bench", *BOARD, "--model", str(MODEL), "--model", str(FLOAT32), "--cold", "7"]
    result = call(*words, "--json", env=here)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert [each["model"] for each in told] == [MODEL.name, FLOAT32.name]
    steps = told[0]["cold_start"]
    assert {"library open", "first invoke", "in all"} <= steps.keys()
    assert all(len(step["all_ns"]) == 7 for step in steps.values())
    for number, total_ns in enumerate(steps["in all"]["all_ns"]):
        parts = [step["all_ns"][number] for name, step in steps.items() if name != "in all"]
        assert sum(parts) == total_ns
    library = build.host_library(print)
    first = run.load(layout.runs_dir() / told[0]["runs"][0], library)
    assert len(first.samples) == 1 and first.watched is None
    assert int(first.samples.records["iterations"][0]) == 1


def doctored(path: Path, factor: float) -> None:
    """Make the baseline's times ``factor`` times as long as they were."""

    def other(found: re.Match[str]) -> str:
        return f"  {factor * float(found[1])},"

    text = path.read_text(encoding="utf-8")
    changed = re.sub(r"^  ([0-9.]+),$", other, text, flags=re.M)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


@pytest.fixture
def checked(here: dict[str, str], tmp_path: Path) -> list[str]:
    """A check whose baseline was just measured, with the widest tolerance."""
    path = tmp_path / "perf.toml"
    words = ["check", *BOARD, "--model", str(MODEL), "--baseline", str(path), *QUICK]
    words += ["--rounds", "8"]
    made = call(*words, "--update", "--tolerance", "50%", env=here)
    assert made.returncode == 0, made.stderr
    assert f"{path}: {MODEL.name} on localhost, median of 8 rounds" in made.stdout
    return words


def test_a_check_against_its_own_baseline_does_not_fail(
    here: dict[str, str], checked: list[str]
) -> None:
    again = call(*checked, "--json", env=here)
    # Another program may slow this machine down meanwhile, but not for certain and by half.
    assert again.returncode == 0, again.stderr
    (told,) = json.loads(again.stdout)
    assert told["outcome"] in ("passed", "undecided")
    assert told["baseline"]["tolerance"] == 0.5


def test_a_model_that_became_ten_times_slower(
    here: dict[str, str], checked: list[str], tmp_path: Path
) -> None:
    doctored(tmp_path / "perf.toml", 0.1)
    failed = call(*checked, env=here)
    assert failed.returncode == 6, failed.stderr
    assert "regressed" in failed.stdout
    line = last_line(failed)
    assert re.search(r"takes [0-9.]+ \[[0-9.]+, [0-9.]+\] times as long .*allowed 1\.5", line)
    assert "--update" in line
    # An update keeps the tolerance, and mends it.
    assert call(*checked, "--update", env=here).returncode == 0
    assert "tolerance = 0.5" in (tmp_path / "perf.toml").read_text(encoding="utf-8")


def test_a_baseline_of_something_else(
    here: dict[str, str], checked: list[str], tmp_path: Path
) -> None:
    other = call(*checked, "--threads", "2", env=here)
    assert other.returncode == 2
    assert "(it has `--threads 1`)" in last_line(other)
    engine = call(*checked, "--engine", "python", env=here)
    assert engine.returncode == 2
    assert "the engine was litert, is python" in last_line(engine)
    words = ["qemu-aarch64" if word == "localhost" else word for word in checked]
    board = call(*words, env=here)
    assert board.returncode == 2
    assert f"no baseline of {MODEL.name} on qemu-aarch64" in last_line(board)
    path = tmp_path / "perf.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("emulated = false", "emulated = true"), encoding="utf-8")
    emulated = call(*checked, env=here)
    assert emulated.returncode == 2
    assert "the board was emulated, is a real one" in last_line(emulated)
    path.write_text(re.sub(r'sha256 = "\w+"', f'sha256 = "{"0" * 64}"', text), encoding="utf-8")
    model = call(*checked, env=here)
    assert model.returncode == 2
    assert "the model's sha256 was 0000" in last_line(model)
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    damaged = call(*checked, env=here)
    assert damaged.returncode == 2
    assert "perf.toml" in last_line(damaged)


ARMS = ("compare", *BOARD, "--model", str(MODEL), "-a", "")
BENCH = ("bench", *BOARD, "--model", str(MODEL))
CHECK = ("check", *BOARD, "--model", str(MODEL), "--baseline", "no-such.toml")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*ARMS, "-b", "--thraeds 4"), "-b '--thraeds 4': an arm has no flag --thraeds"),
        ((*ARMS, "-b", "--threads"), "expected one argument"),
        ((*ARMS, "-b", "", "--common", "--engine 'x"), "close each quote"),
        ((*ARMS, "-b", "--engine tflite,litert"), "no engine 'tflite,litert'"),
        ((*ARMS, "-b", "--model no.tflite"), "no model no.tflite"),
        ((*ARMS, "-b", "", "--rounds", "5"), "--rounds 5: must be 6 to 999"),
        ((*ARMS, "-b", "", "--duration", "-1"), "--duration -1"),
        ((*BENCH, "--until", "0"), "--until 0: must be a percentage"),
        ((*BENCH, "--until", "1%", "--rounds", "9"), "--rounds 9: must be 10 to 999"),
        ((*BENCH, "--until", "1%", "--cold", "3"), "give one of them"),
        ((*BENCH, "--cold", "-1"), "--cold -1"),
        (CHECK, "no baseline no-such.toml"),
        ((*CHECK, "--tolerance", "5%"), "give it together with --update"),
        ((*CHECK, "--update", "--tolerance", "0"), "--tolerance 0: must be a percentage"),
        ((*CHECK[:-1], "no-such/perf.toml", "--update"), "there is no folder no-such"),
    ],
)
def test_a_wrong_request_is_one_line(
    here: dict[str, str], words: tuple[str, ...], expected: str
) -> None:
    result = call(*words, env=here)
    assert result.returncode == 2, result.stderr
    assert expected in last_line(result)
