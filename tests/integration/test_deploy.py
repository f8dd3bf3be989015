"""The main job on a booted virtual machine over real SSH: deploy, evaluate, measure, and faults."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from edge import agreement, bench, board, deploy, layout, reference, runner
from edge import run as run_module
from edge.abi import Library
from edge.deploy import Choice
from edge.errors import BoardError, EdgeError, UsageError
from edge.machine import Machine
from edge.release import Release
from edge.run import Plan
from edge.session import Session
from examples.digits import dataset
from tests.conftest import connect


def prepared(*names: str) -> Release:
    paths = [dataset.FOLDER / dataset.MODELS_FOLDER / f"{name}.tflite" for name in names]
    return deploy.prepare(board.load("qemu-virt"), deploy.models(paths, print), print)


def files(opened: Session) -> set[str]:
    """Everything below the device root but the lock and empty folders."""
    outcome = opened.transport.run(["find", opened.device.root, "!", "-type", "d"])
    return {str(PurePosixPath(line).relative_to(opened.device.root)) for line in
            outcome.text.splitlines()} - {"lock"}  # fmt: skip


def live(opened: Session) -> str | None:
    outcome = opened.transport.run(["readlink", opened.device.current])
    return PurePosixPath(outcome.text.strip()).name if outcome.ok else None


def runs(opened: Session) -> bool:
    """Does the live release compute?"""
    model = opened.device.current / "models/mlp-int8.tflite"
    outcome = opened.transport.run(
        [opened.device.current / "bin/edge-run", "infer",
         "--lib", opened.device.current / "lib/libtflite.so", "--model", model]
    )  # fmt: skip
    return outcome.ok


def test_eight_models_go_live_and_answer_as_this_machine_does(
    guest: Machine, digits: Release
) -> None:
    heldout = dataset.load_heldout()
    with connect(guest) as opened:
        done = deploy.deploy(opened, digits, print)
        assert live(opened) == digits.id == done.release.id
        assert done.sent_bytes == digits.size_bytes
        assert len(done.smoke) == 8
        for model, item in zip(dataset.models(), digits.models, strict=True):
            inputs = {model.input.name: model.encode(heldout.images)}
            here = reference.compute(model.path, inputs)
            there, facts = runner.infer(opened, digits, item, here.inputs_file)
            # Every prediction, not only the share of right ones.
            answers = model.decode(there[model.output.name]).argmax(1)
            expected = model.decode(here.outputs[model.output.name]).argmax(1)
            np.testing.assert_array_equal(answers, expected, err_msg=model.name)
            assert np.mean(answers == heldout.labels) == pytest.approx(model.accuracy, abs=0.01)
            assert agreement.compare(model.name, there, here).ok
            assert facts["delegation"]["nodes_delegated"] > 0, model.name


def test_the_second_deploy_sends_only_what_changed(guest: Machine) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-int8")
    with connect(guest) as opened:
        first = deploy.deploy(opened, one, print)
        assert first.previous is None
        again = deploy.deploy(opened, one, print)
        assert (again.sent_bytes, again.sent_files, again.changed) == (0, 0, False)
        second = deploy.deploy(opened, two, print)
        assert second.previous == one.id
        assert second.sent_files == 1
        assert second.sent_bytes == (dataset.FOLDER / "models/cnn-int8.tflite").stat().st_size
        log = opened.transport.run(["cat", opened.device.log]).text.splitlines()
        assert [line.split()[1] for line in log] == [one.id, two.id]


def test_nothing_on_the_board_is_writable_by_others(guest: Machine) -> None:
    with connect(guest) as opened:
        deploy.deploy(opened, prepared("mlp-int8"), print)
        loose = opened.transport.run(
            ["find", opened.device.root, "!", "-type", "l", "-perm", "/022"]
        )
        assert (loose.exit_code, loose.text) == (0, "")


def test_a_wrong_answer_keeps_the_old_release(
    guest: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-float32")
    with connect(guest) as opened:
        deploy.deploy(opened, one, print)
        before = files(opened)
        true_reference = reference.compute

        def false_reference(model: Path, **rest: Any) -> reference.Reference:
            found = true_reference(model, **rest)
            # A copy: the true one is remembered, for all boards of a command.
            false = {"scores": np.flip(found.outputs["scores"])}
            return dataclasses.replace(found, outputs=false)

        monkeypatch.setattr(reference, "compute", false_reference)
        with pytest.raises(BoardError, match=r"computes something else .* old release stays live"):
            deploy.deploy(opened, two, print)
        assert live(opened) == one.id
        assert files(opened) == before
        assert runs(opened)


def test_a_failed_first_deploy_leaves_nothing(guest: Machine, tmp_path: Path) -> None:
    broken = prepared("mlp-int8")
    with connect(guest) as opened:
        with pytest.raises(EdgeError), _failing_smoke():
            deploy.deploy(opened, broken, print)
        assert live(opened) is None
        assert files(opened) == set()


@contextlib.contextmanager
def _failing_smoke() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:

        def crash(*_: object, **__: object) -> None:
            raise BoardError("the runtime crashed")

        patch.setattr(runner, "infer", crash)
        yield


def test_a_full_disk_keeps_the_old_release(guest: Machine) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-float32")
    with connect(guest) as opened:
        deploy.deploy(opened, one, print)
        before = files(opened)
        # Less than the new model needs; preflight, which would see it, looked before.
        guest.fill_disk(keep_kib=20)
        try:
            with pytest.raises(BoardError, match=r"(?i)space|full"):
                deploy.deploy(opened, two, print)
            assert live(opened) == one.id
            assert files(opened) == before
            assert runs(opened)
        finally:
            guest.free_disk()
        assert deploy.deploy(opened, two, print).previous == one.id


def test_preflight_sees_a_full_disk_before_anything_is_sent(
    guest: Machine, digits: Release
) -> None:
    with connect(guest, "/data/edge") as opened:
        opened.transport.run(["dd", "if=/dev/zero", "of=/data/filler", "bs=1M", "count=15"])
        with connect(guest, "/data/edge") as later, pytest.raises(BoardError, match="MiB free"):
            deploy.deploy(later, digits, print)
        assert files(opened) == set()


@pytest.mark.parametrize("fault", ["power_cut", "reboot"])
def test_a_restart_in_the_middle_loses_nothing(guest: Machine, fault: str) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-int8", "cnn-float32")
    with connect(guest) as opened:
        deploy.deploy(opened, one, print)

    restarted = threading.Event()

    def restart_at_the_first_check(line: str) -> None:
        # The new release is whole on the board by now, and not live.
        if line.startswith("checking") and not restarted.is_set():
            restarted.set()
            getattr(guest, fault)()

    with pytest.raises(EdgeError), connect(guest) as opened:
        deploy.deploy(opened, two, restart_at_the_first_check)
    assert restarted.is_set()
    with connect(guest) as opened:
        assert live(opened) == one.id
        assert runs(opened)
        assert deploy.deploy(opened, two, print).previous == one.id
        assert runs(opened)


def test_a_clock_that_jumps_back_does_not_matter(guest: Machine) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-int8")
    with connect(guest) as opened:
        deploy.deploy(opened, one, print)

        def jump(line: str) -> None:
            if line.startswith("checking mlp"):
                guest.jump_clock(-86400)

        try:
            assert deploy.deploy(opened, two, jump).previous == one.id
            assert live(opened) == two.id
            assert runs(opened)
        finally:
            guest.jump_clock(86400)


def test_a_slow_link_is_slow_and_nothing_else(guest: Machine) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-float32")
    with connect(guest) as opened:
        deploy.deploy(opened, one, print)
    guest.slow_link(rate_kbit=400, delay_ms=150)
    try:
        with connect(guest) as opened:
            assert deploy.deploy(opened, two, print).previous == one.id
            assert live(opened) == two.id
    finally:
        guest.slow_link()
    with connect(guest) as opened:
        assert runs(opened)


def test_a_power_cut_right_after_a_deploy_keeps_it(guest: Machine) -> None:
    wanted = prepared("mlp-int8", "cnn-int8")
    with connect(guest) as opened:
        deploy.deploy(opened, wanted, print)
    guest.power_cut()
    with connect(guest) as opened:
        assert live(opened) == wanted.id
        assert runs(opened)


def test_a_cut_link_ends_in_an_error_and_the_next_deploy_works(guest: Machine) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-int8")
    with connect(guest) as opened:
        deploy.deploy(opened, one, print)

    def pull_the_cable(line: str) -> None:
        if line.startswith("checking cnn"):
            guest.link(False)

    began = time.monotonic()
    with pytest.raises(BoardError), connect(guest) as opened:
        deploy.deploy(opened, two, pull_the_cable)
    # Far below the five minutes that an inference may take: the store's silence gave it away.
    assert time.monotonic() - began < 90
    guest.link(True)
    with connect(guest) as opened:
        assert live(opened) == one.id
        assert runs(opened)
        # The board's side lets go of the lock when it, too, notices.
        deadline = time.monotonic() + 60
        while True:
            try:
                assert deploy.deploy(opened, two, print).previous == one.id
                break
            except BoardError as error:
                assert "held by" in str(error)
                assert time.monotonic() < deadline
        assert runs(opened)


def test_a_measurement_comes_back_as_recorded(
    guest: Machine, library: Library, tmp_path: Path
) -> None:
    wanted = prepared("mlp-int8")
    plan = Plan(count=400, warmup=10)
    with connect(guest) as opened:
        with deploy.staged(opened, wanted, print):
            run = bench.measure(
                opened, wanted, wanted.models[0], plan, library, print, command="test"
            )
        assert live(opened) is None
        assert files(opened) == set()
        assert opened.transport.run(["ls", "/dev/shm"]).text == ""
    assert len(run.samples) == 400
    records = run.samples.records
    assert (records["elapsed_ns"] > 0).all()
    ends = records["start_ns"] + records["elapsed_ns"]
    assert (records["start_ns"][1:] >= ends[:-1]).all()
    assert {p.label for p in run.percentiles()} <= {"p50", "p90", "p99"}
    # The last reading is after the first sample: it was watched all the while.
    assert run.environment is not None and run.environment.times_ns[0] < records["start_ns"][0]
    assert np.all(np.diff(run.environment.values["busy_ticks"]) >= 0)
    kept = run_module.load(layout.runs_dir() / run.id, library)
    assert kept == run
    np.testing.assert_array_equal(kept.samples.records, records)
    assert "emulated" in {reason.code for reason in run.verdict()}
    assert opened.facts.emulated
    assert run.report["delegation"]["nodes_delegated"] > 0


def test_a_model_that_is_none_never_reaches_a_board(tmp_path: Path) -> None:
    whole = (dataset.FOLDER / "models/mlp-int8.tflite").read_bytes()
    cases = {
        "text.tflite": b"not a model at all, but long enough to be one\n" * 9,
        "short.tflite": whole[: len(whole) // 2],
        "empty.tflite": b"",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=name):
            deploy.models([tmp_path / name], print)
    with pytest.raises(UsageError, match="no model"):
        deploy.models([tmp_path / "missing.tflite"], print)
    with pytest.raises(UsageError, match="folder"):
        deploy.models([tmp_path], print)


def test_a_library_that_does_not_fit_never_reaches_a_board(tmp_path: Path) -> None:
    model = dataset.FOLDER / "models/mlp-int8.tflite"
    found = deploy.models([model], print)
    target = board.load("qemu-virt")
    with pytest.raises(UsageError, match="does not export the TfLite C API"):
        deploy.prepare(target, found, print, choice=Choice(library=Path("/bin/sh").resolve()))
    with pytest.raises(UsageError, match="no program or library"):
        deploy.prepare(target, found, print, choice=Choice(library=model))
