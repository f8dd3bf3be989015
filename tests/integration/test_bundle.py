"""Bundles: unpacked and installed by real shells, on this machine and on a booted one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from edge import artifact, board, build, bundle, deploy, history, layout, release
from edge import store as store_module
from edge.machine import Machine
from edge.release import Release
from edge.session import Session
from edge.transport.local import LocalTransport
from examples.digits import dataset
from tests.conftest import connect
from tests.integration.test_commands import call, home, last_line
from tests.integration.test_login import applets
from tests.integration.test_runner import host_tree

__all__ = ["applets", "home", "host_tree"]

MODELS = dataset.FOLDER / dataset.MODELS_FOLDER
SEED = int(os.environ.get("EDGE_SEED", random.SystemRandom().randrange(1 << 32)))


def unpacked(wanted: Release, folder: Path, name: str = "rpi4") -> Path:
    """The folder in a bundle, as from a stick with FAT on it: no file is a program."""
    made = bundle.write(wanted, board.load(name), folder / "b.tar", print)
    with tarfile.open(made.path) as tar:
        tar.extractall(folder)
    made.path.unlink()
    top = folder / f"edge-{wanted.id}"
    for path in top.rglob("*"):
        if path.is_file():
            path.chmod(0o640)
    return top


def fake(tree: Path, *names: str, runner: Path | None = None) -> Release:
    """A release whose runtime does what EDGE_FAKE says."""
    files = [
        artifact.of_file(runner or tree / "edge-run", "bin/edge-run", executable=True),
        artifact.of_file(tree / "tests/libfake_tflite.so", "lib/libtflite.so"),
    ]
    models = [artifact.of_file(MODELS / f"{n}.tflite", f"models/{n}.tflite") for n in names]
    return release.make("x86_64", files, models, runtime_name="fake", engine="tflite")


@dataclass
class Desk:
    """A shell, two bundles of one board, and a root with an odd name."""

    shell: Path
    env: dict[str, str]
    old: Path
    new: Path
    root: Path

    def argv(self, stick: Path, *words: str | Path) -> list[str]:
        script = str(stick / "install.sh")
        where = [] if "--image" in words else ["--root", str(self.root)]
        return [str(self.shell), script, *where, *map(str, words)]

    def install(
        self, stick: Path, *words: str | Path, umask: int = 0o022, fake: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(stick, *words),
            env={**self.env, "EDGE_FAKE": fake},
            umask=umask,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    def goes(self, stick: Path, *words: str | Path, umask: int = 0o022) -> str:
        done = self.install(stick, *words, umask=umask)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def refused(self, stick: Path, *words: str | Path, fake: str = "", code: int = 3) -> str:
        """The one line that says why."""
        done = self.install(stick, *words, fake=fake)
        assert done.returncode == code, done.stderr
        lines = [line for line in done.stderr.splitlines() if not _PHASE.fullmatch(line)]
        assert len(lines) == 1 and lines[0].startswith("install.sh: "), done.stderr
        assert done.stdout == ""
        return lines[0]

    @property
    def live(self) -> str | None:
        """The live release, after a look at all its files."""
        link = self.root / "current"
        if not link.is_symlink():
            return None
        check_sums(link)
        return link.readlink().name

    @property
    def releases(self) -> set[str]:
        return {path.name for path in (self.root / "releases").glob("*")}


_PHASE = re.compile(r"install\.sh: (writing release|verifying release|running models/).*")


def id_of(stick: Path) -> str:
    return stick.name.removeprefix("edge-")


def check_sums(folder: Path) -> None:
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        sha, _, place = line.partition("  ")
        assert hashlib.sha256((folder / place).read_bytes()).hexdigest() == sha, place


def layout_of(root: Path) -> dict[str, tuple[int, int, str]]:
    """Of everything below: mode, names, where a link leads."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        link = str(path.readlink()) if path.is_symlink() else ""
        names = info.st_nlink if path.is_file() else 0
        found[str(path.relative_to(root))] = (info.st_mode, names, link)
    return found


@pytest.fixture
def desks(tmp_path: Path, host_tree: Path, applets: Path) -> Callable[[str], Desk]:
    old, new = fake(host_tree, "mlp-int8"), fake(host_tree, "mlp-int8", "cnn-int8")
    folder = tmp_path / "a stick's $folder"
    folder.mkdir()
    home = tmp_path / "home"
    bundles = [unpacked(wanted, folder) for wanted in (old, new)]

    def desk(name: str) -> Desk:
        # Busybox has to do without anything else.
        path = str(applets) if name == "ash" else os.environ["PATH"]
        shell = applets / "ash" if name == "ash" else Path("/bin/sh")
        env = {"HOME": str(home), "PATH": path}
        return Desk(shell, env, bundles[0], bundles[1], tmp_path / "the board's root")

    return desk


@pytest.fixture
def desk(desks: Callable[[str], Desk]) -> Desk:
    return desks("sh")


# --- on this machine ------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o077, 0o000])
@pytest.mark.parametrize("shell", ["sh", "ash"])
def test_it_installs_and_the_second_time_changes_nothing(
    desks: Callable[[str], Desk], shell: str, umask: int
) -> None:
    desk = desks(shell)
    assert "is live in" in desk.goes(desk.old, umask=umask)
    assert desk.live == id_of(desk.old)
    before = layout_of(desk.root)
    loose = [place for place, (mode, _, link) in before.items() if mode & 0o022 and not link]
    assert not loose
    assert (desk.root / "current").resolve().stat().st_mode & 0o777 == 0o755
    log = (desk.root / "deployments.log").read_text()
    assert "is live already" in desk.goes(desk.old)
    assert layout_of(desk.root) == before
    # A boot later it is looked at again, and not told as another deploy.
    (desk.root / "settled").unlink()
    assert "verifying" in desk.goes(desk.old)
    assert (desk.root / "deployments.log").read_text() == log
    assert "is live in" in desk.goes(desk.new)
    assert desk.live == id_of(desk.new)
    told = history.parse((desk.root / "deployments.log").read_text())
    assert [(entry.id, entry.verb, entry.board) for entry in told] == [
        (id_of(desk.old), "deploy", "rpi4"),
        (id_of(desk.new), "deploy", "rpi4"),
    ]


def test_the_default_root_is_a_deploys(desk: Desk, tmp_path: Path) -> None:
    done = subprocess.run(
        [desk.shell, desk.old / "install.sh"], env=desk.env, capture_output=True, check=True
    )
    assert b"is live" in done.stdout
    assert (tmp_path / "home" / layout.DEFAULT_ROOT / "current").is_symlink()


@pytest.mark.parametrize("shell", ["sh", "ash"])
def test_an_image_is_laid_out_as_the_store_would(
    desks: Callable[[str], Desk], shell: str, tmp_path: Path
) -> None:
    desk = desks(shell)
    image = tmp_path / "image root"
    for each in (desk.old, desk.new):
        desk.goes(each)
        desk.goes(each, "--image", image, umask=0o000)
    there = layout_of(desk.root)
    for own in ("lock", "settled"):
        del there[own]
    assert layout_of(image) == there
    # Again: nothing is lost, and nothing is told twice.
    log = (image / "deployments.log").read_bytes()
    desk.goes(desk.new, "--image", image)
    assert layout_of(image) == there and (image / "deployments.log").read_bytes() == log


def test_a_store_takes_an_image_for_its_own(desk: Desk, host_tree: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    desk.goes(desk.new, "--image", image)
    wanted = fake(host_tree, "mlp-int8", "cnn-int8")
    root = PurePosixPath(image)
    program = PurePosixPath(image / "store" / wanted.runner.sha256)
    with store_module.open(LocalTransport("here"), program, root, owner="test") as store:
        assert store.live == wanted.id
        sizes = {a.sha256: a.size_bytes for a in wanted.artifacts}
        assert store.have(sizes.items()) == sizes
        links = {a.place: a.sha256 for a in wanted.artifacts}
        assert store.create_release(wanted.id, links, wanted.manifest) is False
        assert store.switch(wanted.id) == wanted.id


def test_an_image_that_leads_out_of_itself_is_refused(desk: Desk, tmp_path: Path) -> None:
    image, elsewhere = tmp_path / "image", tmp_path / "elsewhere"
    image.mkdir()
    elsewhere.mkdir()
    (image / "store").symlink_to(elsewhere)
    assert "store is a symbolic link" in desk.refused(desk.new, "--image", image)
    assert not list(elsewhere.iterdir())


PLACES = ["bin/edge-run", "lib/libtflite.so", "models/mlp-int8.tflite", "manifest.json"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", ["--root", "--image"])
def test_a_damaged_bundle_changes_nothing(desk: Desk, place: str, mode: str) -> None:
    desk.goes(desk.old)
    before = layout_of(desk.root)
    flip(desk.new / place)
    assert re.search("damaged|do not say the same", desk.refused(desk.new, mode, desk.root))
    assert layout_of(desk.root) == before


@pytest.mark.parametrize("place", PLACES)
def test_where_nothing_can_hash_the_store_finds_the_damage(
    desk: Desk, applets: Path, tmp_path: Path, place: str
) -> None:
    path = tmp_path / "without"
    shutil.copytree(applets, path, symlinks=True)
    (path / "sha256sum").unlink()
    desk.env["PATH"] = str(path)
    flip(desk.new / place)
    desk.refused(desk.new)
    assert desk.live is None and not desk.releases
    assert not list((desk.root / "store").glob("*"))
    desk.goes(desk.old)
    assert desk.live == id_of(desk.old)


@pytest.mark.parametrize("place", ["SHA256SUMS", "models/cnn-int8.tflite", "manifest.json"])
def test_an_incomplete_bundle_changes_nothing(desk: Desk, place: str) -> None:
    desk.goes(desk.old)
    before = layout_of(desk.root)
    short = desk.new / place
    lines = short.read_bytes().splitlines(keepends=True)
    short.write_bytes(b"".join(lines[:-1]))
    assert "copy" in desk.refused(desk.new)
    short.unlink()
    assert "copy it again" in desk.refused(desk.new) or place != "models/cnn-int8.tflite"
    assert layout_of(desk.root) == before


@pytest.mark.parametrize("word", ["invoke_fails", "invoke_aborts", "unresolved_custom"])
def test_a_model_that_does_not_run_keeps_the_old_release(desk: Desk, word: str) -> None:
    desk.goes(desk.old)
    before = layout_of(desk.root)
    why = desk.refused(desk.new, fake=word)
    assert "does not run on this machine" in why and "what was live stays live" in why
    assert desk.live == id_of(desk.old)
    assert layout_of(desk.root) == before


def test_without_the_check_it_goes_live_and_the_log_says_so(desk: Desk) -> None:
    done = desk.install(desk.new, "--no-smoke", fake="invoke_fails")
    assert done.returncode == 0, done.stderr
    assert desk.live == id_of(desk.new)
    (told,) = history.parse((desk.root / "deployments.log").read_text())
    assert told.flags == ("--no-smoke",)


def test_what_the_disk_forgot_is_written_again(desk: Desk) -> None:
    desk.goes(desk.old)
    (desk.root / "settled").unlink()
    flip(desk.root / "current/lib/libtflite.so")
    # The new release shares the damaged file with the old one.
    assert "doing so" in desk.goes(desk.new)
    assert desk.live == id_of(desk.new)
    (desk.root / "settled").unlink()
    desk.goes(desk.old)
    assert desk.live == id_of(desk.old)


def test_a_held_store_is_told(desk: Desk) -> None:
    desk.goes(desk.old)
    program = desk.root / "current/bin/edge-run"
    holder = [str(program), "store", "--root", str(desk.root), "--owner", "ada@desk%20pid%207"]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdout and held.stdout.readline().startswith(b"ok edge-store")
        why = desk.refused(desk.new)
        held.kill()
    assert "is held by ada@desk pid 7 since 20" in why and "stays live" in why
    assert desk.releases == {id_of(desk.old)}
    desk.goes(desk.new)


def test_a_program_for_another_processor_is_not_started(
    desk: Desk, host_tree: Path, tmp_path: Path
) -> None:
    program = bytearray((host_tree / "edge-run").read_bytes())
    program[18] = 0xF3
    (tmp_path / "edge-run").write_bytes(program)
    other = unpacked(fake(host_tree, "mlp-int8", runner=tmp_path / "edge-run"), tmp_path)
    why = desk.refused(other)
    assert "for aarch64 (board rpi4)" in why and "another processor" in why
    assert not desk.root.exists()
    desk.goes(other, "--image", desk.root)


def test_a_program_that_does_not_start_says_why(
    desk: Desk, host_tree: Path, tmp_path: Path
) -> None:
    program = (host_tree / "edge-run").read_bytes()
    assert program.count(b"/ld-linux") == 1
    (tmp_path / "edge-run").write_bytes(program.replace(b"/ld-linux", b"/no-linux"))
    other = unpacked(fake(host_tree, "mlp-int8", runner=tmp_path / "edge-run"), tmp_path)
    why = desk.refused(other)
    assert "does not start (not found; exit code 127)" in why and "C library" in why
    assert not list((desk.root / "store").iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--frob"], "unknown argument --frob"),
        (["--root"], "--root needs a folder"),
        (["--image", ""], "--image needs a folder"),
    ],
)
def test_wrong_words_are_told_with_the_usage(desk: Desk, words: list[str], says: str) -> None:
    done = subprocess.run(
        [desk.shell, desk.new / "install.sh", *words], env=desk.env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"install.sh: {says}\nusage: ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_takes_back_what_is_not_live(desk: Desk, number: int, code: int) -> None:
    desk.goes(desk.old)
    before = layout_of(desk.root)
    process = subprocess.Popen(
        desk.argv(desk.new),
        env={**desk.env, "EDGE_FAKE": "invoke_sleeps"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    for line in process.stderr:
        if "running models/" in line:
            break
    os.killpg(process.pid, number)
    assert process.wait(60) == code
    assert layout_of(desk.root) == before


def test_killed_at_any_moment_the_old_or_the_new_release_is_live(desk: Desk) -> None:
    print(f"seed {SEED}: EDGE_SEED={SEED} repeats this")
    chance = random.Random(SEED)
    began = time.monotonic()
    desk.goes(desk.old)
    whole_s = time.monotonic() - began
    live = id_of(desk.old)
    seen = set()
    for wanted in [desk.new, desk.old] * 10:
        process = subprocess.Popen(
            desk.argv(wanted),
            env=desk.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(chance.uniform(0, whole_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        now = desk.live
        assert now in (live, id_of(wanted))
        seen.add(now == live)
        desk.goes(wanted)
        assert desk.live == id_of(wanted)
        live = id_of(wanted)
    leftovers = [p for p in layout_of(desk.root) if p.endswith(".part") and "store/" not in p]
    assert not leftovers


def test_the_updaters_hooks_of_the_documentation(desk: Desk, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/bundle.md").read_text()
    mender, rauc, swupdate = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    data, slot = tmp_path / "data", tmp_path / "slot"
    tree = tmp_path / "a mender payload"
    for name in ("files", "tmp"):
        (tree / name).mkdir(parents=True)
    with tarfile.open(tree / "files/app.tar", "w") as tar:
        tar.add(desk.new, desk.new.name)
    shutil.copytree(desk.new, data / "stick" / desk.new.name)
    shutil.copytree(desk.new, tmp_path / "rauc" / desk.new.name)
    (tmp_path / "rauc/hook.sh").write_text(rauc.replace("1000:1000", f"{os.getuid()}"))

    def hook(script: str | Path, *words: str | Path) -> None:
        if not isinstance(script, Path):
            (tmp_path / "hook.sh").write_text(script.replace("/data", str(data)))
            script = tmp_path / "hook.sh"
        env = {**desk.env, "RAUC_SLOT_MOUNT_POINT": str(slot)}
        subprocess.run([desk.shell, script, *words], env=env, check=True)

    live = f"releases/{id_of(desk.new)}"
    hook(mender, "NeedsArtifactReboot", tree)
    assert not (data / "edge").exists()
    hook(mender, "ArtifactInstall", tree)
    assert str((data / "edge/current").readlink()) == live
    shutil.rmtree(data / "edge")
    hook(swupdate, "preinst")
    hook(swupdate, "postinst")
    assert str((data / "edge/current").readlink()) == live and not (data / "stick").exists()
    hook(tmp_path / "rauc/hook.sh", "slot-post-install")
    assert str((slot / "home/pi" / layout.DEFAULT_ROOT / "current").readlink()) == live


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_a_bundle_and_reaches_no_board(
    home: dict[str, str], tmp_path: Path
) -> None:
    # Compiling, which a busy machine may take minutes for, is not what is timed here.
    build.host_library(print)
    build.runner(board.load("rpi4"), print)
    path = tmp_path / "app.tar.zst"
    words = ["bundle", "--board", "rpi4", "--model", str(MODELS / "mlp-int8.tflite")]
    done = call(*words, "--output", str(path), "--json", env=home)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["sha256"] == artifact.hash_file(path) and told["size_bytes"] == path.stat().st_size
    again = call(*words, "--output", str(path), env=home)
    assert again.returncode == 2
    assert "exists: add --force" in last_line(again)
    forced = call(*words, "--output", str(path), "--force", "--json", env=home)
    assert json.loads(forced.stdout) == told
    python = call(*words, "--engine", "python", "--output", str(tmp_path / "p.tar"), env=home)
    assert python.returncode == 2
    assert "the board's own Python" in last_line(python)


# --- on a booted machine --------------------------------------------------------------------------


def prepared(*names: str) -> Release:
    models = deploy.models([MODELS / f"{name}.tflite" for name in names], print)
    return deploy.prepare(board.load("qemu-virt"), models, print)


def bring(opened: Session, wanted: Release, folder: Path) -> str:
    """Unpack a bundle on the board; the path of its install.sh there."""
    made = bundle.write(wanted, board.load("qemu-virt"), folder / f"{wanted.id}.tar", print)
    stick = PurePosixPath(opened.facts.root).parent / "stick"
    run(opened, f'mkdir -p "{stick}"')
    opened.transport.put(made.path, stick / "b.tar")
    run(opened, f'cd "{stick}" && tar -xf b.tar && rm b.tar && sync')
    return str(stick / f"edge-{wanted.id}" / "install.sh")


def run(opened: Session, script: str, *, fails: bool = False) -> str:
    outcome = opened.transport.run(["sh", "-c", script], timeout_s=300.0)
    assert outcome.ok is not fails, outcome.text + outcome.error_text
    return outcome.text + outcome.error_text


def live_on(opened: Session) -> str:
    """The live release, by what the board says of all its files."""
    root = opened.device.root
    text = run(opened, f'cd "{root}/current" && sha256sum -c SHA256SUMS && pwd -P')
    return PurePosixPath(text.splitlines()[-1]).name


@pytest.fixture
def away(guest: Machine) -> Iterator[Machine]:
    yield guest
    with connect(guest) as opened:
        stick = PurePosixPath(opened.facts.root).parent / "stick"
        opened.transport.run(["rm", "-rf", stick])


def test_installed_offline_it_survives_a_power_cut_and_a_deploy_has_nothing_to_do(
    away: Machine, tmp_path: Path
) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-int8")
    with connect(away) as opened:
        first, second = (bring(opened, wanted, tmp_path) for wanted in (one, two))
        assert f"release {one.id} is live" in run(opened, f"sh {first}")
        assert f"release {two.id} is live" in run(opened, f"sh {second}")
    away.power_cut()
    with connect(away) as opened:
        assert live_on(opened) == two.id
        assert "verifying" in run(opened, f"sh {second}")
        done = deploy.deploy(opened, two, print)
        assert (done.changed, done.sent_files, done.sent_bytes) == (False, 0, 0)
        assert "is live already" in run(opened, f"sh {second}")
        # And the other way round: what was deployed is what a bundle would install.
        deploy.deploy(opened, one, print)
        assert "is live already" in run(opened, f"sh {first}")


def test_an_image_that_is_booted_takes_a_deploy_of_the_same_for_done(
    away: Machine, tmp_path: Path, desk: Desk
) -> None:
    wanted = prepared("mlp-int8")
    script = unpacked(wanted, tmp_path, "qemu-virt") / "install.sh"
    image = tmp_path / "image"
    subprocess.run([desk.shell, script, "--image", image], env=desk.env, check=True)
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        tar.add(image, "edge")
    with connect(away) as opened:
        root = opened.device.root
        opened.transport.put(tmp_path / "image.tar", root.parent / "image.tar")
        # As the account that runs it: an image is unpacked by root.
        run(opened, f'cd "{root.parent}" && tar -xof image.tar && rm image.tar')
        assert live_on(opened) == wanted.id
        done = deploy.deploy(opened, wanted, print)
        assert (done.changed, done.sent_files, done.sent_bytes) == (False, 0, 0)


def test_killed_or_cut_on_a_board_the_old_or_the_new_release_is_live(
    away: Machine, tmp_path: Path
) -> None:
    print(f"seed {SEED}: EDGE_SEED={SEED} repeats this")
    chance = random.Random(SEED)
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-int8")
    with connect(away) as opened:
        scripts = {wanted.id: bring(opened, wanted, tmp_path) for wanted in (one, two)}
        began = time.monotonic()
        run(opened, f"sh {scripts[one.id]}")
        whole_s = time.monotonic() - began
    live = one.id
    for fault in ["kill"] * 3 + ["power"] * 2:
        wanted = two.id if live == one.id else one.id
        after_s = chance.uniform(0, whole_s)
        with connect(away) as opened:
            begun = f"setsid sh {scripts[wanted]} >/dev/null 2>&1 </dev/null & sleep {after_s:.3f}"
            kill = '; kill -9 -- "-$!" 2>/dev/null || true' if fault == "kill" else ""
            run(opened, begun + kill)
        if fault == "power":
            away.power_cut()
        with connect(away) as opened:
            assert live_on(opened) in (live, wanted), (fault, after_s)
            run(opened, f"sh {scripts[wanted]}")
            assert live_on(opened) == wanted
        live = wanted


def test_a_full_disk_keeps_the_old_release(away: Machine, tmp_path: Path) -> None:
    one, two = prepared("mlp-int8"), prepared("mlp-int8", "cnn-float32")
    with connect(away) as opened:
        first, second = (bring(opened, wanted, tmp_path) for wanted in (one, two))
        run(opened, f"sh {first} --root /data/edge")
        run(opened, "dd if=/dev/zero of=/data/full bs=1024k 2>/dev/null; sync")
        told = run(opened, f"sh {second} --root /data/edge", fails=True)
        assert "No space left" in told or "no space for" in told
        assert "what was live stays live" in told
        text = run(opened, "cd /data/edge/current && sha256sum -c SHA256SUMS && pwd -P")
        assert text.splitlines()[-1].endswith(one.id)
        assert one.id in run(opened, "ls /data/edge/releases")
        run(opened, "rm /data/full")
        assert f"release {two.id} is live" in run(opened, f"sh {second} --root /data/edge")
