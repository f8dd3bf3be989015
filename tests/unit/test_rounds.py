from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import bench, board, group, precision, rounds
from edge.errors import BoardError, EdgeError, UnreachableError, UsageError
from edge.group import Group
from edge.rounds import Contender, Medians
from edge.run import Plan, Run
from edge.session import Session
from edge.testing import FakeTransport
from tests.unit.test_run import made


class Bench:
    """In the place of :func:`bench.measure`: levels by call, and what was asked for."""

    def __init__(self, level_ns: Callable[[int], float]) -> None:
        self.level_ns, self.folders, self.plans = level_ns, list[Path](), list[Plan]()
        self.watched: set[bool] = set()

    def measure(self, *words: Any, folder: Path, watched: bool, command: str) -> Run:
        plan = words[3]
        self.plans.append(plan)
        self.watched.add(watched)
        level_ns = self.level_ns(len(self.folders))
        self.folders.append(folder)
        folder.mkdir()
        found = made(np.full(20, round(level_ns)))
        # What a run leaves; its content is not looked at here.
        (folder / "run.json").write_text("{}", encoding="utf-8")
        return dataclasses.replace(found, id=folder.parent.name, plan=plan, command=command)


@pytest.fixture
def bench_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], float]], Bench]:
    def replaced(level_ns: Callable[[int], float]) -> Bench:
        fake = Bench(level_ns)
        monkeypatch.setattr(bench, "measure", fake.measure)
        return fake

    return replaced


NOTHING: Any = None
SESSION = Session(board.load("rpi4"), FakeTransport().on(("sh",), stdout=b""))


def contenders(count: int) -> list[Contender]:
    return [Contender(NOTHING, NOTHING, Plan(count=10 + arm)) for arm in range(count)]


def measured(
    place: Group, arms: int, count: int, said: list[str] | None = None, **more: Any
) -> tuple[tuple[Run, ...], ...]:
    lines: list[str] = [] if said is None else said
    options = {"begin": lambda number, medians: None, **more}
    return rounds.measure(
        *(SESSION, place, contenders(arms), NOTHING, lines.append), count=count, **options
    )


def test_each_round_has_each_arm_once_in_random_order(bench_with: Any) -> None:
    fake = bench_with(lambda call: 1000 + call)
    ours, theirs = measured(group.create("compare", "", ("", "")), 2, 30)
    names = [folder.name for folder in fake.folders]
    pairs = [tuple(sorted(names[i : i + 2])) for i in range(0, 60, 2)]
    assert pairs == [(f"{n:03}-a", f"{n:03}-b") for n in range(1, 31)]
    first = {name[-1] for name in names[::2]}
    assert first == {"a", "b"}
    # Whatever the order was, the runs are their arm's own, round by round.
    assert [run.plan.count for run in (*ours, *theirs)] == [10] * 30 + [11] * 30
    assert [run.median_ns for run in ours] == sorted(run.median_ns for run in ours)


def test_the_seed_makes_the_order(bench_with: Any) -> None:
    def order(seed: int) -> list[str]:
        fake = bench_with(lambda call: 1000)
        measured(group.create("compare", "", ("", "")), 2, 20, seed=seed)
        return [folder.name for folder in fake.folders]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_progress_has_the_medians_so_far(bench_with: Any) -> None:
    bench_with(lambda call: 1000 + call)
    seen: list[tuple[int, list[int]]] = []

    def begin(number: int, medians: Medians) -> None:
        seen.append((number, [len(each) for each in medians]))

    measured(group.create("compare", "", ("", "")), 2, 3, begin=begin)
    assert seen == [(1, [0, 0]), (2, [1, 1]), (3, [2, 2])]


def test_the_arms_of_a_family_follow_each_other(bench_with: Any) -> None:
    fake = bench_with(lambda call: 1000)
    turns: list[tuple[int, int]] = []
    families = ["x", "y", "x", "y"]
    measured(
        *(group.create("study", "", ("",) * 4), 4, 20),
        families=families,
        turn=lambda number, arm: turns.append((number, arm)),
    )
    orders = [[arm for _, arm in turns[i : i + 4]] for i in range(0, 80, 4)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert all(families[o[0]] == families[o[1]] != families[o[2]] for o in orders)
    assert len({tuple(order) for order in orders}) > 4
    assert [folder.name for folder in fake.folders] == [f"{n:03}-{'abcd'[arm]}" for n, arm in turns]


def test_an_arm_that_fails_has_no_further_turn_if_it_may_be_left_out(bench_with: Any) -> None:
    calls = iter(range(100))

    def level_ns(folders: int) -> float:
        if next(calls) == 0:
            raise UsageError("no such operator")
        return 1000

    bench_with(level_ns)
    out: list[tuple[int, str]] = []
    found = measured(
        *(group.create("study", "", ("",) * 3), 3, 5),
        leave_out=lambda arm, error: out.append((arm, str(error))),
    )
    ((arm, why),) = out
    assert why == f"arm {'ABC'[arm]}: no such operator"
    assert sorted(map(len, found)) == [0, 5, 5] and not found[arm]


def test_a_lost_link_leaves_no_arm_out(bench_with: Any) -> None:
    bench_with(failing(UnreachableError("gone")))
    with pytest.raises(UnreachableError):
        measured(group.create("study", ""), 1, 5, leave_out=lambda arm, error: None)


@pytest.mark.parametrize(
    ("arm", "name"), [(0, "a"), (25, "z"), (26, "aa"), (52, "ba"), (701, "zz")]
)
def test_arms_have_letters(arm: int, name: str) -> None:
    assert group.arm_name(arm) == name


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UnreachableError("gone")])
def test_what_was_measured_stays_and_is_told_of(bench_with: Any, error: BaseException) -> None:
    def level_ns(call: int) -> float:
        if call == 3:
            raise error
        return 1000

    bench_with(level_ns)
    place, said = group.create("compare", "", ("", "")), list[str]()
    with pytest.raises(type(error)):
        measured(place, 2, 5, said)
    assert said[-1] == f"what was measured until then, 3 runs, stays in {place.folder}"
    assert len(list(place.folder.glob("*/run.json"))) == 3


def test_a_group_without_runs_leaves_nothing(bench_with: Any) -> None:
    bench_with(lambda call: 1 / 0)
    place = group.create("check", "")
    with pytest.raises(ZeroDivisionError):
        measured(place, 1, 5)
    assert not place.folder.exists()


def failing(error: EdgeError) -> Callable[[int], float]:
    def level_ns(call: int) -> float:
        raise error

    return level_ns


def test_an_error_names_its_arm_if_there_are_two(bench_with: Any) -> None:
    bench_with(failing(UsageError("no such operator")))
    with pytest.raises(UsageError, match=r"^arm [AB]: no such operator"):
        measured(group.create("compare", "", ("", "")), 2, 5)
    with pytest.raises(UsageError, match=r"^no such operator"):
        measured(group.create("check", ""), 1, 5)


def test_what_the_board_has_not_is_told_before_anything_is_measured(
    bench_with: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(_: Any, plan: Plan) -> Plan:
        if plan.cpus:
            raise UsageError("no such cores")
        return plan

    fake = bench_with(lambda call: 1000.0)
    monkeypatch.setattr(bench, "resolved", resolved)
    first, second = contenders(2)
    odd = dataclasses.replace(second, plan=dataclasses.replace(second.plan, cpus="big"))
    with pytest.raises(UsageError, match="arm B: no such cores"):
        rounds.measure(
            *(SESSION, group.create("compare", "", ("", "")), [first, odd], NOTHING, print),
            count=3,
            begin=lambda number, medians: None,
        )
    assert not fake.plans


def test_no_times_are_an_error(bench_with: Any) -> None:
    bench_with(lambda call: 0)
    with pytest.raises(BoardError, match="recorded no times in round 1"):
        measured(group.create("check", ""), 1, 5)


def until(goal: precision.Goal) -> rounds.Measured:
    return rounds.until(
        *(SESSION, contenders(1)[0], NOTHING, lambda line: None, goal),
        command="invoke bench --until",
        begin=lambda number, medians: None,
    )


def test_rounds_end_when_the_goal_is_reached(bench_with: Any) -> None:
    fake = bench_with(lambda call: 1_000_000 + 1000 * (call % 3))
    found = until(precision.Goal(0.01, 50))
    assert found.precision is not None and found.precision.reached
    assert len(found.runs) == len(fake.folders) == precision.LEAST_ROUNDS
    assert group.load(fake.folders[0].parent).kind == "until"


def test_rounds_end_where_they_must_and_say_that_it_was_not_reached(bench_with: Any) -> None:
    bench_with(lambda call: 1_000_000 + 500_000 * (call % 3))
    found = until(precision.Goal(0.01, 15))
    assert found.precision is not None and not found.precision.reached
    assert len(found.runs) == found.precision.rounds == 15


def test_a_cold_start_is_one_invocation_without_warm_up_and_company(bench_with: Any) -> None:
    fake = bench_with(lambda call: 1000)
    found = rounds.cold(
        *(SESSION, contenders(1)[0], NOTHING, lambda line: None, 7),
        command="",
        begin=lambda number, medians: None,
    )
    assert len(found.runs) == 7
    assert {(p.count, p.warmup, p.iterations, p.duration_s) for p in fake.plans} == {(1, 0, 1, 0)}
    assert fake.watched == {False}
    assert group.load(fake.folders[0].parent).kind == "cold"
