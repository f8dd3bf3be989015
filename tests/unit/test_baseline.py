from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as sp

from edge import baseline
from edge.baseline import Entry
from edge.errors import HostError, RegressionError, UsageError
from edge.options import Options
from edge.report import rounds as rounds_report
from edge.run import Plan
from tests.unit.test_run import made

SEEDS = 1000

ENTRY = Entry(
    board="rpi4",
    model="m.tflite",
    flags="--threads 1",
    model_sha256="a" * 64,
    engine="tflite",
    runtime="litert-2.1.0",
    emulated=False,
    kernel="Linux 6.1",
    edge="0.1.0",
    date="2026-01-01",
    tolerance=0.05,
    rounds_ns=(1000.5, 1001.0, 999.0, 1002.5, 998.0),
)


def now(factor: float) -> Entry:
    return dataclasses.replace(ENTRY, rounds_ns=tuple(factor * x for x in ENTRY.rounds_ns))


@pytest.mark.parametrize("rounds", [(10, 10), (10, 20)])
def test_a_model_exactly_as_slow_as_allowed_rarely_fails(rounds: tuple[int, int]) -> None:
    alarms = passes = 0
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        # The check is noisier than the baseline was: Welch's interval has to bear that.
        before = np.exp(random.normal(0, 0.005, rounds[0]))
        after = (1 + ENTRY.tolerance) * np.exp(random.normal(0, 0.02, rounds[1]))
        then = dataclasses.replace(ENTRY, rounds_ns=tuple(before.tolist()))
        found = baseline.check(then, dataclasses.replace(ENTRY, rounds_ns=tuple(after.tolist())))
        alarms += found.outcome == "regressed"
        passes += found.outcome == "passed"
    for count in (alarms, passes):
        low, high = (sp.binom.ppf(tail, SEEDS, 0.005) for tail in (0.0001, 0.9999))
        assert low <= count <= high
    # It cannot be told, and is not.
    assert alarms + passes < 0.05 * SEEDS


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [(1.0, "passed"), (1.2, "regressed"), (1.05, "undecided"), (0.5, "passed")],
)
def test_outcomes(factor: float, outcome: str) -> None:
    found = baseline.check(ENTRY, now(factor))
    assert found.outcome == outcome
    assert f"allowed {1.05:g}" in found.text and "2026-01-01" in found.text
    assert ("take more --rounds" in found.text) == (outcome == "undecided")
    if outcome == "regressed":
        with pytest.raises(RegressionError, match=r"1\.200 \[.*REGRESSED; if that is"):
            baseline.insist([baseline.check(ENTRY, now(1.0)), found])
    else:
        baseline.insist([found])
    assert rounds_report.check_json(found)["outcome"] == outcome


def test_emulated_checks_say_so() -> None:
    then, after = (dataclasses.replace(e, emulated=True) for e in (ENTRY, now(1.0)))
    assert "emulated: no speed of a real board" in baseline.check(then, after).text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_sha256": "b" * 64}, "the model's sha256 was aaaa"),
        ({"engine": "litert"}, "the engine was tflite, is litert"),
        ({"runtime": "litert-2.3.0"}, "the runtime was litert-2.1.0, is litert-2.3.0"),
        ({"emulated": True}, "the board was a real one, is emulated"),
    ],
)
def test_another_thing_is_not_compared(change: dict[str, str | bool], expected: str) -> None:
    with pytest.raises(UsageError, match="nothing was compared") as caught:
        baseline.check(ENTRY, dataclasses.replace(ENTRY, **change))  # type: ignore[arg-type]
    assert expected in str(caught.value)


def test_another_kernel_is_compared_and_said() -> None:
    found = baseline.check(ENTRY, dataclasses.replace(ENTRY, kernel="Linux 6.6"), ["a remark"])
    assert found.remarks == (
        "a remark",
        "the baseline's kernel was Linux 6.1, this one is Linux 6.6",
    )


def test_the_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "perf.toml"
    other = dataclasses.replace(ENTRY, board="rpi3", emulated=True, runtime='file:"\\ü')
    baseline.save(path, [ENTRY, other])
    assert set(baseline.load(path)) == {ENTRY, other}
    # In whatever order they come, so that git shows what changed and nothing else.
    text = path.read_text(encoding="utf-8")
    baseline.save(path, [other, ENTRY])
    assert path.read_text(encoding="utf-8") == text
    assert [found.name for found in tmp_path.iterdir()] == ["perf.toml"]
    assert all(len(line) < 100 for line in text.splitlines())


def test_an_update_replaces_its_own_entry() -> None:
    other = dataclasses.replace(ENTRY, flags="--threads 2")
    assert set(baseline.updated([ENTRY, other], [now(2.0)])) == {now(2.0), other}


def test_the_tolerance_stays_unless_another_is_asked_for() -> None:
    entries = [dataclasses.replace(ENTRY, tolerance=0.2)]
    assert baseline.tolerance(entries, ENTRY.key, None) == 0.2
    assert baseline.tolerance(entries, ENTRY.key, 0.01) == 0.01
    assert baseline.tolerance([], ENTRY.key, None) == baseline.TOLERANCE


def test_no_entry(tmp_path: Path) -> None:
    path = Path("perf.toml")
    with pytest.raises(UsageError, match=r"no baseline of m\.tflite on rpi5 .* --update"):
        baseline.find([ENTRY], path, ("rpi5", "m.tflite", "--threads 1"))
    with pytest.raises(UsageError, match=r"\(it has `--threads 1`\)"):
        baseline.find([ENTRY], path, ("rpi4", "m.tflite", "--threads 4"))
    assert baseline.find([ENTRY], path, ENTRY.key) is ENTRY
    with pytest.raises(UsageError, match="--update"):
        baseline.load(tmp_path / "perf.toml")
    assert baseline.load(tmp_path / "perf.toml", create=True) == ()
    with pytest.raises(UsageError, match="no folder"):
        baseline.load(tmp_path / "no/perf.toml", create=True)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[[entry]]", "[entry]", "[[entry]] alone"),
        ("[[entry]]", "x = 1\n[[entry]]", "[[entry]] alone"),
        ("[[entry]]", "[[entry", "no valid TOML"),
        ('board = "rpi4"\n', "", "has not exactly"),
        ('board = "rpi4"', 'board = "rpi4"\nbored = 1', "has not exactly"),
        ('board = "rpi4"', "board = 4", "board is of the wrong kind"),
        ("emulated = false", 'emulated = "no"', "emulated is of the wrong kind"),
        ("tolerance = 0.05", "tolerance = nan", "tolerance is not"),
        ("tolerance = 0.05", "tolerance = -0.05", "tolerance is not"),
        ("tolerance = 0.05", "tolerance = 5", "tolerance is of the wrong kind"),
        ("  1000.5,", "  -1000.5,", "rounds_ns is no list"),
        ("  1000.5,", "  inf,", "rounds_ns is no list"),
        ("  1000.5,", '  "fast",', "rounds_ns is no list"),
        ("  1000.5,\n  1001.0,\n  999.0,\n", "", "3 or more"),
        ('sha256 = "aaaa', 'sha256 = "xyz', "model_sha256 is no hash"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "perf.toml"
    baseline.save(path, [ENTRY])
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        baseline.load(path)
    assert expected in str(caught.value) and "perf.toml" in str(caught.value)


def test_an_entry_twice(tmp_path: Path) -> None:
    path = tmp_path / "perf.toml"
    baseline.save(path, [ENTRY, now(2.0)])
    with pytest.raises(UsageError, match="two entries"):
        baseline.load(path)


def test_a_file_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"can't write"):
        baseline.save(tmp_path / "no/perf.toml", [ENTRY])


def test_an_entry_of_runs() -> None:
    runs = [made([level] * 100) for level in (1000, 1010, 990)]
    found = baseline.entry(runs, 0.1)
    assert (found.board, found.model, found.flags) == ("rpi4", "m.tflite", "--threads 1")
    assert (found.model_sha256, found.runtime, found.date) == (
        "a" * 64,
        "litert-2.1.0",
        "2026-01-01",
    )
    assert found.rounds_ns == (1000.0, 1010.0, 990.0) and found.tolerance == 0.1
    assert all(math.isfinite(time) for time in found.rounds_ns)


def test_what_changes_an_invocations_time_is_in_the_key() -> None:
    plain = baseline.flags(Plan())
    # How many samples are taken does not.
    assert baseline.flags(Plan(count=9, duration_s=3, warmup=1, seed=9)) == plain
    others = [
        Plan(options=Options(threads=2)),
        Plan(options=Options(xnnpack=False)),
        Plan(cpus="0"),
        Plan(undisturbed=True),
        Plan(rate_per_s=5),
        Plan(rate_per_s=5, poisson=True),
        Plan(idle_s=0.5),
        Plan(settings=("/a b=c",)),
    ]
    assert len({plain, *map(baseline.flags, others)}) == len(others) + 1
