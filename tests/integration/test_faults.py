"""Deploys that are disturbed at random moments: 20 of them; benchmarks/faults.py does more."""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Iterator

import pytest

from benchmarks import faults
from benchmarks.faults import Bench, Client, Plan
from edge import board, session

TRIES = 20


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with session.start(board.load(faults.BOARD), print, name="test-faults", fresh=True) as machine:
        made = Bench(machine, tmp_path_factory.mktemp("faults"))
        yield made
        made.hang_up()


def test_a_deploy_that_is_disturbed_leaves_the_old_release_or_the_new_one(bench: Bench) -> None:
    seed = secrets.randbelow(1 << 31)
    done = faults.run(bench, list(faults.FAULTS), TRIES, seed, print)
    assert [each.again() for each in done if each.wrong] == []
    assert {each.plan.fault for each in done} == set(faults.FAULTS)


# --- what the test above would see --------------------------------------------------------------


@contextlib.contextmanager
def kill_and_spoil(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    """A link that is replaced in two steps, and the power fails between them."""
    client.process.kill()
    bench.as_root(f"rm {bench.root}/current")
    yield "as no deploy should"


def test_a_board_without_a_live_release_counts_as_broken_and_is_mended(bench: Bench) -> None:
    if not bench.look().current:
        bench.prepare(1)
    plan = Plan(seed=2, fault="kill -9 of the client", share=0.5, other_runner=False)
    broken = bench.attempt(plan, kill_and_spoil)
    assert broken.live == "nothing"
    assert "no release is live" in broken.wrong
    assert not [text for text in broken.wrong if text.startswith("after the next deploy")]
    seen = bench.look("run")
    assert faults.defects(seen, [seen.current], "") == []


@pytest.mark.parametrize(
    ("spoil", "mend", "said"),
    [
        ("ln -sfn releases/none current", "ln -sfn $live current", "current is none"),
        ("rm current", "ln -sfn $live current", "current is nothing"),
        (
            "cp $model /tmp/kept; printf x >> $model",
            "cat /tmp/kept > $model",
            "sha256sum -c: exit code 1: models/mlp-int8.tflite",
        ),
        (
            "mv $live/lib/libtflite.so kept.so",
            "mv kept.so $live/lib/libtflite.so",
            "the runner fails",
        ),
        ("chmod o+w $live/bin", "chmod o-w $live/bin", "writable by others: ./releases/"),
    ],
)
def test_damage_is_seen(bench: Bench, spoil: str, mend: str, said: str) -> None:
    if not bench.look().current:
        bench.prepare(1)
    before = bench.look("run")
    live = f"releases/{before.current}"
    setting = f"cd {bench.root}; live={live}; model={live}/models/mlp-int8.tflite"
    assert faults.defects(before, [before.current], "") == []
    bench.as_root(f"{setting}; {spoil}")
    try:
        found = faults.defects(bench.look("run"), [before.current], "")
        assert said in "; ".join(found)
    finally:
        bench.as_root(f"{setting}; {mend}")
    assert faults.defects(bench.look("run"), [before.current], "") == []


def test_another_release_than_old_and_new_counts_as_broken(bench: Bench) -> None:
    if not bench.look().current:
        bench.prepare(1)
    seen = bench.look()
    assert faults.defects(seen, [seen.current], "") == []
    assert f"current is {seen.current}" in "".join(faults.defects(seen, ["0" * 16], ""))


def test_the_file_whose_bit_was_flipped_may_be_wrong_and_no_other(bench: Bench) -> None:
    if not bench.look().current:
        bench.prepare(1)
    with bench_flip(bench) as flipped:
        seen = bench.look()
        assert [seen.files[path][0] for path in seen.damaged] == [flipped]
        assert faults.defects(seen, [seen.current], flipped) == []
        assert faults.defects(seen, [seen.current], "0" * 64) != []
    assert bench.look().damaged == ()


@contextlib.contextmanager
def bench_flip(bench: Bench) -> Iterator[str]:
    """The same bit twice: as it was."""
    for turn in range(2):
        with faults.bit_flip(bench, None, random.Random(5)) as flipped:  # type: ignore[arg-type]
            if turn == 0:
                yield flipped


def test_a_seed_says_all_of_a_try() -> None:
    plans = [Plan.draw(seed, "power cut") for seed in range(200)]
    assert plans == [Plan.draw(seed, "power cut") for seed in range(200)]
    shares = sorted(plan.share for plan in plans)
    # Uniform, until a little after a deploy's end.
    assert 0 <= shares[0] < 0.05 and 1.05 < shares[-1] <= 1.1
    assert abs(shares[100] - 0.55) < 0.1
    assert 0.1 < sum(plan.other_runner for plan in plans) / 200 < 0.4
