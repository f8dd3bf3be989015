"""What is compared with what, and what is made of it; boards and times are made up."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from edge import artifact, canary, release, runner
from edge.artifact import Artifact
from edge.errors import BoardError, UsageError
from edge.layout import DeviceLayout
from edge.release import Release
from edge.testing import FakeTransport


def made(folder: Path, content: bytes, *names: str, engine: str = "tflite") -> Release:
    def file(place: str, content: bytes) -> Artifact:
        path = folder / content.hex() / Path(place).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return artifact.of_file(path, place)

    models = [file(f"models/{name}", content) for name in names]
    files = [file("bin/edge-run", b"runner"), file("lib/libtflite.so", b"library")]
    return release.make("aarch64", files, models, runtime_name="litert-2.1.0", engine=engine)


class Bench:
    """A board with one release, whose models take as long as they are told to."""

    def __init__(self, previous: Release, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transport = FakeTransport()
        self.said: list[str] = []
        self.order: list[str] = []
        self.time_of: Callable[[canary._Side], float] = lambda side: 1000.0
        self.session: Any = SimpleNamespace(
            transport=self.transport,
            device=DeviceLayout(PurePosixPath("/root")),
            board=SimpleNamespace(emulated=False),
            facts=SimpleNamespace(emulated=False),
            python="python3",
        )
        self.previous = previous
        self.holds(previous.manifest)

        @contextlib.contextmanager
        def folder(_: Any) -> Iterator[PurePosixPath]:
            yield PurePosixPath("/dev/shm/x")

        def median(side: canary._Side) -> float:
            self.order.append(side.release.id)
            return self.time_of(side)

        monkeypatch.setattr(runner, "work_folder", folder)
        monkeypatch.setattr(canary._Side, "median_ns", median)

    def holds(self, manifest: bytes) -> None:
        self.transport.on(lambda argv: argv[0] == "head", stdout=manifest)

    def compare(self, wanted: Release, previous: str | None = "") -> Any:
        library: Any = None
        return canary.compare(
            self.session,
            self.previous.id if previous == "" else previous,
            wanted,
            library,
            self.said.append,
        )


@pytest.fixture
def old(tmp_path: Path) -> Release:
    return made(tmp_path, b"old", "a.tflite", "b.tflite")


@pytest.fixture
def new(tmp_path: Path) -> Release:
    return made(tmp_path, b"new", "b.tflite", "c.tflite")


@pytest.fixture
def bench(old: Release, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(old, monkeypatch)


def test_the_models_that_both_have_are_compared_by_turns(
    bench: Bench, old: Release, new: Release
) -> None:
    bench.time_of = lambda side: 1000.0 if side.release.id == old.id else 1050.0
    (found,) = bench.compare(new)
    assert (found.model, found.previous, found.emulated) == ("b.tflite", old.id, False)
    assert found.ratio.value == pytest.approx(1.05)
    assert (found.previous_ns, found.wanted_ns) == (1000.0, 1050.0)
    assert found.holds
    assert "1.05 [1.05, 1.05] times" in bench.said[-1]
    rounds = [set(bench.order[n : n + 2]) for n in range(1, len(bench.order), 2)]
    assert rounds == [{old.id, new.id}] * 7
    canary.insist(bench.session, (found,))


def test_a_model_that_became_slower_is_an_error_with_its_numbers(
    bench: Bench, old: Release, new: Release
) -> None:
    bench.time_of = lambda side: 1000.0 if side.release.id == old.id else 1200.0
    found = bench.compare(new)
    assert not found[0].holds
    with pytest.raises(BoardError) as error:
        canary.insist(bench.session, found)
    assert "b.tflite takes 1.20 [1.20, 1.20] times" in str(error.value)
    assert "allowed 1.10" in str(error.value)


def test_only_an_interval_wholly_above_fails(bench: Bench, old: Release, new: Release) -> None:
    noise = iter([900.0, 1500.0] * 20)
    bench.time_of = lambda side: 1000.0 if side.release.id == old.id else next(noise)
    (found,) = bench.compare(new)
    assert found.ratio.value > 1.1 > found.ratio.low
    assert found.holds
    assert found.text.endswith("; whether that is more can not be told")
    assert len(bench.order) == 1 + 2 * 28


def test_what_a_few_rounds_do_not_tell_more_do(bench: Bench, old: Release, new: Release) -> None:
    times = iter([5000.0, 1e8, *[5000.0] * 40])
    bench.time_of = lambda side: 1000.0 if side.release.id == old.id else next(times)
    (found,) = bench.compare(new)
    assert not found.holds and not found.undecided
    assert 1 + 2 * 7 < len(bench.order) < 1 + 2 * 28
    assert "b.tflite: 7 rounds do not tell, 7 more" in bench.said


def test_an_emulated_boards_times_are_labelled(bench: Bench, new: Release) -> None:
    bench.session.facts.emulated = True
    (found,) = bench.compare(new)
    assert found.emulated
    assert "emulated" in found.text


def test_nothing_to_compare_holds_and_is_said(bench: Bench, new: Release, tmp_path: Path) -> None:
    assert bench.compare(new, None) == ()
    assert "no release is live" in bench.said[-1]
    assert bench.compare(made(tmp_path, b"x", "other.tflite")) == ()
    assert "no model of these names" in bench.said[-1]
    assert bench.order == []


def test_an_old_release_that_does_not_run_holds_if_the_new_one_does(
    bench: Bench, old: Release, new: Release
) -> None:
    def time_of(side: canary._Side) -> float:
        if side.release.id == old.id:
            raise UsageError("the recording is of another ABI")
        return 1.0

    bench.time_of = time_of
    assert bench.compare(new) == ()
    assert "can't be measured: the recording" in bench.said[-1]
    assert bench.order == [old.id, new.id]


def test_an_engine_that_this_edge_does_not_know_can_not_be_compared(
    new: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(made(tmp_path, b"old", "b.tflite", engine="quantum"), monkeypatch)
    assert bench.compare(new) == ()
    assert "can't be compared: engine quantum" in bench.said[-1]


def test_a_manifest_that_is_not_the_releases_own_is_refused(
    old: Release, new: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = dataclasses.replace(old, manifest=old.manifest.replace(b"a.tflite", b"x.tflite"))
    bench = Bench(forged, monkeypatch)
    with pytest.raises(BoardError, match=r"manifest.json is damaged"):
        bench.compare(new)
    # With the id of what it is, it is still looked through.
    text = b"[" * 1000
    nested = dataclasses.replace(old, id=hashlib.sha256(text).hexdigest()[:16], manifest=text)
    with pytest.raises(BoardError, match="damaged or of another edge"):
        Bench(nested, monkeypatch).compare(new)


@pytest.mark.parametrize(("percent", "part"), [(0.0, 0.0), (10.0, 0.1)])
def test_a_tolerance_is_in_percent(percent: float, part: float) -> None:
    assert canary.tolerance(percent) == part
    with pytest.raises(UsageError, match="--max-slowdown -1"):
        canary.tolerance(-1)
