"""Each emulated board that is a whole machine: what it is, what runs there, and what is refused.

Every board is booted once, new, under a name of its own, and keeps all digits models live while
its tests run.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from edge import agreement, bench, board, deploy, layout, machine, python, reference, runner
from edge import session as session_module
from edge.abi import Library
from edge.artifact import Artifact
from edge.deploy import Choice, Deployment
from edge.errors import BoardError, EdgeError, UsageError
from edge.options import DEFAULT
from edge.run import Plan
from edge.session import Session
from examples.digits import dataset

MODELS = {model.name: model for model in dataset.models()}
INT8 = MODELS["mlp-int8"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a board is, in words of its own system, and what runs models on it by default."""

    machine: str
    glibc: tuple[int, int]
    python: str | None
    numpy: str | None
    sftp: bool
    engine: str
    runtime: str


BOARDS = {
    "qemu-virt": Kind("aarch64", (2, 36), "3.11", "1.24.2", True, "tflite", "litert-2.1.0"),
    "qemu-virt-armhf": Kind(
        "armv7l", (2, 36), "3.11", "1.24.2", True, "python", "tflite-runtime-2.14.0"
    ),
    "qemu-virt-bullseye": Kind("aarch64", (2, 31), "3.9", "1.19.5", True, "tflite", "litert-2.1.0"),
    "qemu-virt-trixie": Kind("aarch64", (2, 41), "3.13", "2.2.4", True, "tflite", "litert-2.1.0"),
    "qemu-virt-dropbear": Kind("aarch64", (2, 36), None, None, False, "tflite", "litert-2.1.0"),
}


@dataclasses.dataclass(frozen=True)
class Standing:
    """A board that is up, and the deployment that is live on it."""

    kind: Kind
    opened: Session
    deployment: Deployment

    @property
    def live(self) -> str:
        outcome = self.opened.transport.run(["readlink", self.opened.device.current])
        assert outcome.ok, outcome.error_text
        return PurePosixPath(outcome.text.strip()).name

    def deploy(self, choice: Choice) -> Deployment:
        """One model by another engine or runtime; then what was live before is live again."""
        found = deploy.models([INT8.path], print)
        wanted = deploy.prepared(self.opened, found, print, choice)
        done = deploy.deploy(self.opened, wanted, print)
        assert self.live == wanted.id
        deploy.deploy(self.opened, self.deployment.release, print, smoke=False)
        assert self.live == self.deployment.release.id
        return done

    def refuses(self, kind: type[EdgeError], choice: Choice) -> str:
        """What a deploy is refused with; nothing has changed on the board."""
        found = deploy.models([INT8.path], print)
        with pytest.raises(kind) as error:
            wanted = deploy.prepared(self.opened, found, print, choice)
            deploy.deploy(self.opened, wanted, print)
        assert self.live == self.deployment.release.id
        return str(error.value)


@pytest.fixture(scope="module", params=BOARDS)
def standing(request: pytest.FixtureRequest) -> Iterator[Standing]:
    target = board.load(request.param)
    target = dataclasses.replace(target, name=f"test-emulated-{target.name}")
    assert machine.running(target.name) is None
    shutil.rmtree(layout.machines_dir() / target.name, ignore_errors=True)
    with session_module.connect(target, print) as opened:
        found = deploy.models([model.path for model in MODELS.values()], print)
        wanted = deploy.prepared(opened, found, print)
        yield Standing(BOARDS[request.param], opened, deploy.deploy(opened, wanted, print))


def only(name: str) -> pytest.MarkDecorator:
    """A test of one board."""
    return pytest.mark.parametrize("standing", [name], indirect=True, scope="module")


# --- every board ---------------------------------------------------------------------------------


def test_a_board_is_what_its_file_says(standing: Standing) -> None:
    kind, opened = standing.kind, standing.opened
    seen, described = opened.facts, opened.board
    assert (seen.machine, seen.glibc) == (kind.machine, kind.glibc)
    assert (described.arch, described.verified) == (kind.machine, "emulated")
    assert seen.cpus == ((described.cpu, described.cores),)
    assert seen.memory_bytes is not None
    assert 0.8 * described.memory_mib < seen.memory_bytes / 2**20 <= described.memory_mib
    assert seen.emulated and seen.writable and not seen.noexec


def test_a_board_has_the_python_of_its_system(standing: Standing) -> None:
    kind, opened = standing.kind, standing.opened
    if kind.python is None:
        with pytest.raises(BoardError, match=r"has no python3.*--engine tflite, which needs none"):
            python.read(opened.transport, opened.python)
        return
    found = python.read(opened.transport, opened.python)
    assert (found.version, found.machine, found.numpy) == (kind.python, kind.machine, kind.numpy)


def test_a_board_offers_sftp_or_not(standing: Standing) -> None:
    access = machine.running(standing.opened.board.name)
    assert access is not None
    asked = subprocess.run(
        ["ssh", "-F", "none", "-i", access.identity_file, "-p", str(access.ssh_port),
         "-o", f"UserKnownHostsFile={access.known_hosts_file}", "-o", "BatchMode=yes",
         "-s", f"{access.user}@{access.ssh_host}", "sftp"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    # dropbear knows of SFTP, but another package would bring the server.
    assert (asked.returncode == 0) is standing.kind.sftp, asked.stderr


def test_eight_models_are_live_and_checked(standing: Standing) -> None:
    done = standing.deployment
    assert (done.release.engine, done.release.runtime) == (
        standing.kind.engine,
        standing.kind.runtime,
    )
    assert standing.live == done.release.id
    assert sorted(one.model for one in done.smoke) == sorted(f"{name}.tflite" for name in MODELS)
    assert all(one.ok and one.largest_difference <= one.bound for one in done.smoke)


def test_the_live_release_knows_digits(standing: Standing, tmp_path: Path) -> None:
    opened, wanted = standing.opened, standing.deployment.release
    model = MODELS["cnn-float32"]
    heldout = dataset.load_heldout()
    reference.save(tmp_path / "in.npz", {model.input.name: model.encode(heldout.images[:5])})
    item = named(wanted.models, model.path)
    # What a service on the board would call: by `current`, not by the release's own name.
    home = opened.device.release(wanted.id)
    words = [
        opened.device.current / word.relative_to(home)
        if isinstance(word, PurePosixPath) and word.is_relative_to(home)
        else word
        for word in runner.argv(opened, wanted, "infer", item, DEFAULT)
    ]
    folder = PurePosixPath("/tmp") / f"edge-test-{uuid.uuid4().hex[:8]}"
    assert opened.transport.run(["mkdir", folder]).ok
    opened.transport.put(tmp_path / "in.npz", folder / "in.npz")
    words += ["--input", folder / "in.npz", "--output", folder / "out.npz", "--each"]
    outcome = opened.transport.run(words, timeout_s=120)
    assert outcome.ok, outcome.error_text
    assert json.loads(outcome.text)["engine"] == standing.kind.engine
    opened.transport.get(folder / "out.npz", tmp_path / "out.npz")
    assert opened.transport.run(["rm", "-r", folder]).ok
    with np.load(tmp_path / "out.npz") as found:
        answers = model.decode(found[model.output.name]).argmax(1)
    np.testing.assert_array_equal(answers, heldout.labels[:5])


def test_a_short_measurement(standing: Standing, library: Library) -> None:
    wanted = standing.deployment.release
    item = named(wanted.models, INT8.path)
    run = bench.measure(
        standing.opened, wanted, item, Plan(count=30, warmup=3), library, print, command="test"
    )
    assert (len(run.samples), run.engine) == (30, standing.kind.engine)
    assert (run.samples.records["elapsed_ns"] > 0).all()
    assert "emulated" in {reason.code for reason in run.verdict()}


def named(models: tuple[Artifact, ...], path: Path) -> Artifact:
    return next(each for each in models if each.path == path)


# --- one board -----------------------------------------------------------------------------------


def agrees(done: Deployment) -> agreement.Agreement:
    [smoke] = done.smoke
    assert smoke.ok
    return smoke


@only("qemu-virt-armhf")
def test_a_32_bit_board_computes_from_c_by_pythons_interpreter(standing: Standing) -> None:
    done = standing.deploy(Choice(engine="native"))
    assert agrees(done) and done.release.runtime == "tflite-runtime-2.14.0"


@only("qemu-virt-armhf")
def test_a_32_bit_board_is_offered_no_litert(standing: Standing) -> None:
    for name in ("litert-2.1.0", "litert-2.3.0"):
        said = standing.refuses(UsageError, Choice(runtime=name))
        assert f"runtime {name} has no library for armv7l (it has: aarch64" in said
    assert "no library for armv7l" in standing.refuses(UsageError, Choice(engine="litert"))
    said = standing.refuses(UsageError, Choice(runtime="ai-edge-litert-2.1.0"))
    assert said.startswith("ai-edge-litert 2.1.0 has wheels for aarch64, x86_64")
    assert said.endswith("use --runtime tflite-runtime-2.14.0 --engine python")


@only("qemu-virt-bullseye")
def test_an_older_system_is_told_what_fits(standing: Standing) -> None:
    for choice in (Choice(runtime="litert-2.3.0"), Choice(engine="litert")):
        assert standing.refuses(UsageError, choice) == (
            "libLiteRt.so of litert-2.3.0 needs glibc 2.34 and GLIBCXX_3.4.30, the board has 2.31 "
            "and 3.4.28; --runtime litert-2.1.0 fits (needs glibc 2.30 and GLIBCXX_3.4.26), "
            "tflite-runtime-2.14.0, tflite-2.14.1 too"
        )


@only("qemu-virt-trixie")
@pytest.mark.parametrize(
    ("engine", "name"), [("litert", "litert-2.3.0"), ("python", "ai-edge-litert-2.1.0")]
)
def test_a_newer_system_takes_every_litert(standing: Standing, engine: str, name: str) -> None:
    done = standing.deploy(Choice(engine=engine))
    assert agrees(done) and done.release.runtime == name


@only("qemu-virt-trixie")
def test_a_newer_python_has_no_tflite_runtime(standing: Standing) -> None:
    for choice in (Choice(runtime="tflite-runtime-2.14.0"), Choice(engine="native")):
        assert standing.refuses(UsageError, choice) == (
            "tflite-runtime 2.14.0 has wheels for Python 3.9 to 3.11 on aarch64; the board has "
            "Python 3.13 on aarch64: use --runtime ai-edge-litert-2.1.0 --engine python"
        )


@only("qemu-virt-dropbear")
def test_a_board_without_python_is_told_which_engine_needs_none(standing: Standing) -> None:
    for engine in ("python", "native"):
        said = standing.refuses(BoardError, Choice(engine=engine))
        assert "has no python3" in said and "use --engine tflite, which needs none" in said
