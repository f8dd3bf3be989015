"""docs/ci.md as two CI systems read it, and what its two checks decide."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invoke.vendor import yaml
from scipy import stats as scipy_stats

from edge import stats
from examples.ci import accuracy, latency

DOCUMENT = Path(__file__).parents[2] / "docs/ci.md"
CACHED = {".venv", "builds", "images", "packages", "tools", "wheels"}


yaml_of: Any = yaml.safe_load
"""PyYAML, as invoke brings it along: one dependency less."""


def block(mark: str) -> str:
    """The fenced block that follows ``<!-- test: mark -->``; there is one."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- test: {mark} -->\n```\w+\n(.*?)```\n", text, re.DOTALL)
    return str(found)


def github_job(mark: str = "github") -> dict[str, Any]:
    (job,) = yaml_of(block(mark))["jobs"].values()
    return dict(job)


def github_steps(mark: str = "github") -> list[str]:
    return [step["run"].strip() for step in github_job(mark)["steps"] if "run" in step]


def gitlab_job(mark: str = "gitlab") -> dict[str, Any]:
    (job,) = yaml_of(block(mark)).values()
    return dict(job)


def gitlab_steps(mark: str = "gitlab") -> list[str]:
    job = gitlab_job(mark)
    return [line.strip() for line in (*job["script"], *job.get("after_script", ()))]


# --- the two files ------------------------------------------------------------------------------


def test_both_systems_run_the_same_commands() -> None:
    assert github_steps() == gitlab_steps()
    assert github_steps("github-board") == gitlab_steps("gitlab-board")


def test_every_part_of_the_chain_is_there_in_order() -> None:
    commands = "\n".join(github_steps())
    places = [
        commands.index(word)
        for word in (
            "pip install", "edge qemu.up", "edge build", "edge deploy", "edge infer",
            "ci/accuracy.py", "git show", "ci/latency.py", "edge qemu.down",
        )
    ]  # fmt: skip
    assert places == sorted(places)


@pytest.mark.parametrize("mark", ["github", "github-board"])
def test_github_finds_what_a_workflow_has(mark: str) -> None:
    workflow = yaml_of(block(mark))
    # YAML 1.1 takes a bare `on` for true; GitHub reads it as the word.
    assert set(workflow[True]) == {"pull_request", "push"} or mark != "github"
    assert workflow[True]
    job = github_job(mark)
    assert job["runs-on"]
    assert isinstance(job["timeout-minutes"], int)
    for step in job["steps"]:
        assert ("run" in step) != ("uses" in step)
        assert set(step) <= {"name", "run", "uses", "with", "id", "if"}
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
    identified = {step["id"] for step in job["steps"] if "id" in step}
    assert set(re.findall(r"steps\.(\w+)\.", block(mark))) <= identified


@pytest.mark.parametrize("mark", ["gitlab", "gitlab-board"])
def test_gitlab_finds_what_a_job_has(mark: str) -> None:
    job = gitlab_job(mark)
    assert set(job) <= {
        "image", "timeout", "rules", "variables", "cache", "retry", "script", "after_script",
        "tags", "resource_group",
    }  # fmt: skip
    assert all(isinstance(line, str) for line in job["script"])
    assert job["script"]


def test_the_board_is_stopped_whatever_failed() -> None:
    always = [step["run"] for step in github_job()["steps"] if step.get("if") == "always()"]
    assert always == gitlab_job()["after_script"]
    assert "qemu.down" in always[0]


def test_both_systems_cache_the_same_and_the_lock_is_the_key() -> None:
    (step,) = (s for s in github_job()["steps"] if "cache" in s.get("uses", ""))
    github = step["with"]["path"].split()
    gitlab = gitlab_job()["cache"]
    assert {path.removeprefix("~/.cache/edge/") for path in github} == CACHED
    assert {path.removeprefix(".cache/edge/") for path in gitlab["paths"]} == CACHED
    assert "hashFiles('ci/requirements.lock')" in step["with"]["key"]
    assert gitlab["key"]["files"] == ["ci/requirements.lock"]
    assert gitlab_job()["variables"]["XDG_CACHE_HOME"] == "$CI_PROJECT_DIR/.cache"


# --- accuracy -----------------------------------------------------------------------------------

LABELS = np.array([0, 1, 2, 1])


def scores(answers: Sequence[int]) -> Any:
    return np.eye(3, dtype=np.float32)[list(answers)]


def accurate(folder: Path, least: str, answers: Sequence[int], *more: str) -> int:
    np.savez(folder / "scores.npz", scores=scores(answers))
    np.save(folder / "labels.npy", LABELS)
    words = [str(folder / "scores.npz"), str(folder / "labels.npy"), "--least", least]
    return accuracy.main([*words, *more])


@pytest.mark.parametrize(
    ("least", "code", "word"), [("0.75", 0, "passed"), ("0.7501", 1, "FAILED"), ("1", 1, "FAILED")]
)
def test_accuracy_fails_below_what_is_wanted(
    least: str, code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert accurate(tmp_path, least, [0, 1, 2, 2]) == code
    printed = capsys.readouterr().out
    assert printed == (
        f"accuracy 0.7500 of 4 samples, at least {float(least):.4f} is wanted: {word}\n"
    )


def test_scores_that_are_no_numbers_are_wrong() -> None:
    broken = scores([0, 1, 2, 1])
    broken[0, 0] = np.nan  # numpy's argmax would name this very class
    broken[2] = np.inf
    assert accuracy.accuracy(broken, LABELS) == 0.5


def test_axes_of_length_one_between_are_no_matter() -> None:
    assert accuracy.accuracy(scores([0, 1, 2, 1]).reshape(4, 1, 1, 3), LABELS) == 1.0


@pytest.mark.parametrize(
    ("shape", "labels"),
    [
        ((3, 3), LABELS),
        ((4,), LABELS),
        ((0, 3), LABELS[:0]),
        ((4, 3), LABELS.astype(float)),
        ((4, 2), LABELS),
        ((4, 3), LABELS - 1),
    ],
)
def test_what_does_not_go_together_is_refused(shape: tuple[int, ...], labels: Any) -> None:
    with pytest.raises(ValueError, match="labels"):
        accuracy.accuracy(np.zeros(shape), labels)


@pytest.mark.parametrize(
    ("least", "more"), [("0", []), ("1.1", []), ("nan", []), ("0.5", ["--output", "other"])]
)
def test_a_wrong_request_is_no_failed_check(least: str, more: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        accurate(tmp_path, least, [0, 1, 2, 1], *more)
    assert ended.value.code == 2


def test_missing_scores_are_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        accuracy.main([str(tmp_path / "no.npz"), str(tmp_path / "no.npy"), "--least", "0.5"])
    assert ended.value.code == 2


# --- latency ------------------------------------------------------------------------------------

SLOW = [210.0, 190.0, 205.0, 220.0]
QUICK = [100.0, 95.0, 103.0, 108.0]


def test_the_interval_is_students_on_the_logarithms() -> None:
    found = stats.paired_ratio(SLOW, QUICK)
    logs = np.log(np.array(SLOW) / np.array(QUICK))
    interval = scipy_stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx(
        (np.exp(logs.mean()), np.exp(interval.low), np.exp(interval.high))
    )


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0])])
def test_no_interval_without_rounds_of_both(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="two rounds of both sides"):
        stats.paired_ratio(a, b)


@pytest.mark.parametrize(
    ("low", "high", "slower", "said"),
    [
        (0.9, 1.1, False, "passed: no regression above 50 % can be claimed"),
        (0.9, 1.6, False, "nor ruled out"),
        (1.5, 1.6, False, "nor ruled out"),
        (1.51, 1.6, True, "FAILED: slower by more than 50 %"),
    ],
)
def test_only_an_interval_that_lies_above_as_a_whole_fails(
    low: float, high: float, slower: bool, said: str
) -> None:
    failed, words = latency.verdict(stats.Ratio(math.sqrt(low * high), low, high, 0.95), 0.5)
    assert failed is slower
    assert said in words
    assert ("ruled out" in words) == ("ruled out" in said)


class Edge:
    """Stands for `edge bench`: a median for each side, and an exit code."""

    def __init__(self, candidate: float, baseline: float, code: int = 0) -> None:
        self.medians = {"candidate": candidate, "baseline": baseline}
        self.code = code
        self.words: list[str] = []

    @property
    def models(self) -> list[str]:
        pairs = itertools.pairwise(self.words)
        return [Path(word).name for flag, word in pairs if flag == "--model"]

    def __call__(self, words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.words = words
        found = [self.told(name) for name in self.models]
        return subprocess.CompletedProcess(words, self.code, json.dumps(found))

    def told(self, name: str) -> dict[str, Any]:
        turn, side = int(name[1:3]), name.removesuffix(".tflite")[4:]
        # The whole machine is slower in every third round; both sides feel it.
        return {
            "model": name,
            "emulated": True,
            "samples": 100,
            "median_ns": self.medians[side] * (2 if turn % 3 == 0 else 1),
            "report": {"delegation": {"nodes_delegated": 3, "nodes_total": 4}},
        }


def compared(edge: Edge, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    (folder / "new.tflite").write_bytes(b"new")
    (folder / "old.tflite").write_bytes(b"old")
    monkeypatch.setattr(subprocess, "run", edge)
    words = [str(folder / "new.tflite"), str(folder / "old.tflite"), "--board", "b"]
    return latency.main([*words, "--tolerance", "0.5", *more])


@pytest.mark.parametrize(("candidate", "code"), [(100.0, 0), (140.0, 0), (160.0, 1), (30.0, 0)])
def test_latency_fails_above_the_tolerance(
    candidate: float,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compared(Edge(candidate, 100.0), tmp_path, monkeypatch) == code
    printed = capsys.readouterr().out
    assert f"{candidate / 100:.3f} [" in printed
    assert "limit 1.500" in printed
    assert "3 of 4, baseline 3 of 4" in printed
    assert "emulated: no figure here" in printed


def test_models_take_turns_at_going_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Edge(1.0, 1.0)
    compared(edge, tmp_path, monkeypatch, "--rounds", "4", "--host", "h", "--engine", "litert")
    assert edge.models == [
        f"r{number:02}-{side}.tflite"
        for number, side in (
            *((1, "candidate"), (1, "baseline"), (2, "baseline"), (2, "candidate")),
            *((3, "candidate"), (3, "baseline"), (4, "baseline"), (4, "candidate")),
        )
    ]
    assert edge.words[0] == str(Path(sys.executable).with_name("edge"))
    assert edge.words[1:4] == ["bench", "--board", "b"]
    assert edge.words[8:12] == ["--host", "h", "--engine", "litert"]


def test_each_copy_holds_the_model_that_it_is_named_after(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"candidate")
    (tmp_path / "old").write_bytes(b"baseline")
    made = latency.turns(tmp_path / "new", tmp_path / "old", 4, tmp_path)
    assert [path.read_text() for path in made] == [path.stem[4:] for path in made]


def test_too_few_samples_are_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Sparse(Edge):
        def told(self, name: str) -> dict[str, Any]:
            return {**super().told(name), "samples": 5}

    with pytest.raises(SystemExit) as ended:
        compared(Sparse(1.0, 1.0), tmp_path, monkeypatch)
    assert ended.value.code == 2


@pytest.mark.parametrize(("code", "own"), [(1, 2), (2, 2), (3, 3), (4, 4), (5, 5), (130, 130)])
def test_edges_exit_code_is_passed_on_but_never_taken_for_a_regression(
    code: int, own: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        compared(Edge(1.0, 1.0, code), tmp_path, monkeypatch)
    assert ended.value.code == own


@pytest.mark.parametrize(
    ("error", "code"), [(FileNotFoundError("edge"), 2), (subprocess.TimeoutExpired("edge", 1), 3)]
)
def test_an_edge_that_is_missing_or_hangs(
    error: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Edge):
        def __call__(self, words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            raise error

    with pytest.raises(SystemExit) as ended:
        compared(Broken(1.0, 1.0), tmp_path, monkeypatch)
    assert ended.value.code == code


@pytest.mark.parametrize(
    "more",
    [
        ["--tolerance", "-0.1"],
        ["--tolerance", "nan"],
        ["--rounds", "5"],
        ["--rounds", "2"],
        ["--rounds", "100"],
        ["--seconds", "0"],
    ],
)
def test_numbers_that_make_no_sense(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = Edge(1.0, 1.0)
    with pytest.raises(SystemExit) as ended:
        compared(edge, tmp_path, monkeypatch, *more)
    assert ended.value.code == 2
    assert not edge.words


def test_a_missing_model_is_named_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / "no.tflite"), __file__, "--board", "b", "--tolerance", "0.5"]
    with pytest.raises(SystemExit) as ended:
        latency.main(words)
    assert ended.value.code == 2
    assert "no.tflite" in capsys.readouterr().err
