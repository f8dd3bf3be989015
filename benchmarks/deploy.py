"""How long a deploy takes, side by side with what people use instead.

    python -m benchmarks.deploy [--board qemu-virt|loopback] [--rounds N] [--large-rounds N]

Boards: ``qemu-virt``, a virtual machine with OpenSSH, and ``loopback``, an OpenSSH server on this
machine with an empty home, so that nobody's shell start-up files are measured. Releases: a small
one (runner, LiteRT's library, the eight models of the digits) and a large one of many files (engine
python: the interpreter's package and numpy). Cases: *cold*, nothing is on the board; *changed*, one
model has other content; *no-op*, all of it is there and live.

Contestants bring the same files into a folder of their own on the board:

- ``edge``: ``deploy.models``, a connection, ``deploy.onto`` and the connection's end, as
  `invoke deploy --no-smoke` does it. Content is verified on the board, durable (fsync) and switched
  live in one step, under a lock.
- ``edge, gate``: the same, and before the switch each model runs on the board.
- ``rsync``, ``rsync -z``: ``rsync -a --delete`` over ``ssh``, by size and time of each file, as a
  process. Nothing is verified, synced or switched.
- ``put loop``: one ``fabric.Connection``, ``mkdir -p``, then ``put`` of every file by SFTP: it
  can't know what is there. Nothing is verified, synced or switched.
- ``bare run``, beside the no-op: ``fabric.Connection(...).run("true")`` and its connecting.

Each connects anew each time with the same key and the system's own order of ciphers; Python's
contestants run in this process, what they import being loaded. What they send is built and hashed
before, and in the page cache. Each round takes the cases in turn, and in each the contestants in
shuffled order; between two of them the board syncs its disk and what was on the wire is read off
its network device. Ratios are paired by round: geometric mean with its 95 % interval.

rsync is fetched as a Debian package where it is not installed, for the virtual machine too: there
it lies in ``/home`` with the libraries that the image lacks.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import fabric  # type: ignore[import-untyped]

from edge import board as board_module
from edge import debian, deploy, layout, report, session, stats
from edge.artifact import Artifact
from edge.board import Board
from edge.deploy import Choice
from edge.errors import BoardError
from edge.release import Release
from edge.session import Session
from edge.transport import Transport, ssh
from edge.transport.ssh import SshTarget
from examples.digits import dataset
from tests import sshd

NAME = "bench-deploy"
CASES = ("cold", "changed", "no-op")
EDGE, GATED, RSYNC, RSYNC_Z, PUT, BARE = (
    "edge", "edge, gate", "rsync", "rsync -z", "put loop", "bare run",
)  # fmt: skip
_GUEST_RSYNC = ("rsync", "libpopt0", "libxxhash0", "libacl1")
"""For bookworm: what rsync is linked to besides what the image has."""


def _quiet(line: str) -> None:
    pass


# --- boards -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A board, how to reach it, and where contestants put their files.

    :ivar rsync_path: what starts rsync there.
    :ivar device: whose bytes are counted; empty: nobody's.
    """

    board: Board
    target: SshTarget
    base: PurePosixPath
    rsync_path: str
    control: Transport
    device: str = ""

    @contextlib.contextmanager
    def session(self, root: PurePosixPath) -> Iterator[Session]:
        board = dataclasses.replace(self.board, root=str(root))
        if board.emulated:
            with session.connect(board, _quiet) as opened:
                yield opened
            return
        # No ssh alias leads here: what session.connect does with what `ssh -G` says.
        with ssh.connect(self.target) as transport:
            yield Session(board, transport)

    def run(self, script: str) -> str:
        return self.control.run(["sh", "-c", script], timeout_s=120).text

    def wipe(self, folder: PurePosixPath) -> None:
        where = shlex.quote(str(folder))
        self.run(f"chmod -R u+w {where} 2>/dev/null; rm -rf {where}")

    def received_bytes(self) -> int:
        """By the board's network device, since it is up."""
        if not self.device:
            return 0
        return int(self.run(f"sync; cat /sys/class/net/{self.device}/statistics/rx_bytes"))


@contextlib.contextmanager
def virtual() -> Iterator[Place]:
    board = dataclasses.replace(board_module.load("qemu-virt"), host=NAME)
    with session.start(board, report.progress, name=NAME, fresh=True) as machine:
        target = session.guest_target(machine.access)
        with ssh.connect(target) as control:
            base = PurePosixPath(f"/home/{machine.user}/bench")
            tools = PurePosixPath(f"/home/{machine.user}/rsync")
            control.run(["mkdir", "-p", tools])
            for file in _guest_rsync():
                control.put(file, tools / file.name)
            control.run(["chmod", "755", tools / "rsync"])
            path = f"LD_LIBRARY_PATH={tools} {tools}/rsync"
            yield Place(board, target, base, path, control, device="eth0")


@contextlib.contextmanager
def loopback() -> Iterator[Place]:
    program, env = _host_rsync()
    path = shlex.join([*(f"{key}={value}" for key, value in env.items()), program])
    # Another name: nothing of what `--board localhost` does without a link.
    board = dataclasses.replace(board_module.load("localhost"), name="loopback", local=False)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        server = sshd.start_sshd(
            Path(folder) / "sshd", "Subsystem sftp internal-sftp", f"SetEnv HOME={home}"
        )
        try:
            with ssh.connect(server.target) as control:
                base = PurePosixPath(folder) / "board"
                yield Place(board, server.target, base, path, control)
        finally:
            server.stop()


PLACES: dict[str, Callable[[], contextlib.AbstractContextManager[Place]]] = {
    "qemu-virt": virtual,
    "loopback": loopback,
}


def _host_rsync() -> tuple[str, dict[str, str]]:
    """The program, and what its environment needs besides."""
    if found := shutil.which("rsync"):
        return found, {}
    root = debian.unpack_host_packages(["rsync"], report.progress)
    libraries = sorted({str(so.parent) for so in (root / "usr/lib").glob("*-linux-gnu*/*.so.*")})
    return str(root / "usr/bin/rsync"), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def _guest_rsync() -> list[Path]:
    home = layout.tools_dir() / "bookworm-arm64"
    target = home / "rsync"
    with layout.exclusive(home, report.progress):
        if not target.is_dir():
            archive = debian.Archive("bookworm", "arm64", report.progress)
            files = archive.fetch(archive.resolve(_GUEST_RSYNC, ()))
            with layout.published(target) as part:
                for name in _GUEST_RSYNC:
                    debian.unpack(files[name], part)
    return [target / "usr/bin/rsync", *(target / "usr/lib").glob("*/*.so.*")]


# --- releases -----------------------------------------------------------------------------------


@dataclass
class Load:
    """What is deployed: models that change from time to time, with what runs them.

    :ivar tree: the same files as rsync and put take them, as they lie in a release.
    """

    name: str
    choice: Choice
    folder: Path
    paths: list[Path] = field(default_factory=list)
    files: tuple[Artifact, ...] = ()
    _count: int = 0

    @classmethod
    def make(cls, name: str, choice: Choice, folder: Path, place: Place) -> Load:
        load = cls(name, choice, folder)
        (folder / "models").mkdir(parents=True)
        for model in dataset.models():
            load.paths.append(Path(shutil.copy(model.path, folder / "models")))
        with place.session(place.base / "prepared") as opened:
            release = deploy.prepared(opened, load.models(), report.progress, choice)
        load.files = release.artifacts
        for artifact in release.artifacts:
            target = load.tree / artifact.place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(artifact.path, target)
            target.chmod(0o755 if artifact.executable else 0o644)
        return load

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def models(self) -> tuple[Artifact, ...]:
        return deploy.models(self.paths, _quiet)

    def change(self) -> None:
        """Give one model other content: bytes behind its end, which nobody reads."""
        self._count += 1
        path = self.paths[self._count % len(self.paths)]
        with path.open("ab") as file:
            file.write(os.urandom(16))
        shutil.copy2(path, self.tree / "models" / path.name)
        self.models()


# --- contestants --------------------------------------------------------------------------------


def by_edge(place: Place, load: Load, root: PurePosixPath, *, gate: bool) -> Release:
    found = load.models()
    with place.session(root) as opened:
        done = deploy.onto(opened, found, _quiet, choice=load.choice, smoke=gate)
        return done.release


def by_rsync(place: Place, load: Load, root: PurePosixPath, *flags: str) -> None:
    program, env = _host_rsync()
    target = place.target
    way = ["ssh", "-F", "none", "-p", str(target.port), "-o", "IdentitiesOnly=yes"]
    way += ["-o", f"UserKnownHostsFile={target.known_hosts[0]}", "-o", "LogLevel=ERROR"]
    way += ["-i", str(target.identity_files[0])]
    argv = [program, "-a", "--delete", *flags, "-e", shlex.join(way)]
    argv += [f"--rsync-path={place.rsync_path}", "--mkpath"]
    where = f"{target.user}@{target.hostname}:{root}/"
    done = subprocess.run([*argv, f"{load.tree}/", where], env={**os.environ, **env},
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise BoardError(f"rsync failed: {done.stderr.strip()}")


def by_put(place: Place, load: Load, root: PurePosixPath) -> None:
    places = [str(path.relative_to(load.tree)) for path in sorted(load.tree.rglob("*"))
              if path.is_file()]  # fmt: skip
    folders = sorted({str(root / PurePosixPath(each).parent) for each in places})
    with _fabric(place.target) as connection:
        connection.run(shlex.join(["mkdir", "-p", *folders]), hide=True)
        for each in places:
            connection.put(str(load.tree / each), remote=str(root / each))


def bare_run(place: Place, load: Load, root: PurePosixPath) -> None:
    with _fabric(place.target) as connection:
        connection.run("true", hide=True)


def _fabric(target: SshTarget) -> fabric.Connection:
    return fabric.Connection(
        target.hostname,
        user=target.user,
        port=target.port,
        config=fabric.Config(lazy=True, overrides={"load_ssh_configs": False}),
        connect_kwargs={
            "key_filename": [str(path) for path in target.identity_files],
            "allow_agent": False,
            "look_for_keys": False,
        },
    )


CONTESTANTS: dict[str, Callable[[Place, Load, PurePosixPath], object]] = {
    EDGE: lambda place, load, root: by_edge(place, load, root, gate=False),
    GATED: lambda place, load, root: by_edge(place, load, root, gate=True),
    RSYNC: by_rsync,
    RSYNC_Z: lambda place, load, root: by_rsync(place, load, root, "-z"),
    PUT: by_put,
    BARE: bare_run,
}


# --- rounds -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """How long a contestant took, and what the board received, round by round."""

    seconds: list[float] = field(default_factory=list)
    received: list[int] = field(default_factory=list)


Results = dict[tuple[str, str], Taken]
"""By case and contestant."""


def compete(place: Place, load: Load, rounds: int, order: random.Random) -> Results:
    found: Results = {}
    root = {name: place.base / name.replace(", ", "-").replace(" ", "-") for name in CONTESTANTS}
    # Not counted: what only a process's first time costs.
    for name in (PUT, RSYNC, GATED, EDGE, BARE):
        CONTESTANTS[name](place, load, root[name])
    for number in range(rounds):
        report.progress(f"{place.board.name}, {load.name}: round {number + 1} of {rounds}")
        for where in root.values():
            place.wipe(where)
        for case in CASES:
            if case == "changed":
                load.change()
            names = [name for name in CONTESTANTS if name != BARE or case == "no-op"]
            order.shuffle(names)
            for name in names:
                before = place.received_bytes()
                began = time.perf_counter()
                CONTESTANTS[name](place, load, root[name])
                took_s = time.perf_counter() - began
                taken = found.setdefault((case, name), Taken())
                taken.seconds.append(took_s)
                taken.received.append(place.received_bytes() - before)
    for where in root.values():
        place.wipe(where)
    return found


@dataclass(frozen=True)
class Goal:
    """A ratio that is to be had.

    :ivar ours: whose time is divided by ``theirs``.
    :ivar at_most: what the ratio may be.
    """

    case: str
    text: str
    ours: str
    theirs: str
    at_most: float


def goals(found: Results) -> list[Goal]:
    """Those of a board and release, each with the gate too where others have none."""
    best = min((RSYNC, RSYNC_Z), key=lambda name: stats.median(found["cold", name].seconds))
    made = []
    for ours in (EDGE, GATED):
        made.append(Goal("cold", "no slower than rsync", ours, best, 1.0))
        made.append(Goal("changed", "at least 3 times as fast as the put loop", ours, PUT, 1 / 3))
    made.append(Goal("no-op", "at most 1.3 times a bare run", GATED, BARE, 1.3))
    return made


def print_results(place: Place, load: Load, found: Results) -> None:
    table = report.table(
        f"{place.board.name}, {load.name} release: {len(load.files)} files, "
        f"{report.size(load.size_bytes)}; seconds: median, least to most; received by the board",
        ["contestant", *CASES],
    )
    for name in CONTESTANTS:
        row = []
        for case in CASES:
            taken = found.get((case, name))
            if taken is None:
                row.append("-")
                continue
            low, high = min(taken.seconds), max(taken.seconds)
            text = f"{stats.median(taken.seconds):.2f}, {low:.2f} to {high:.2f}"
            if place.device:
                text += f"; {report.size(int(stats.median(taken.received)))}"
            row.append(text)
        table.add_row(name, *row)
    report.print_table(table)
    for goal in goals(found):
        ours, theirs = found[goal.case, goal.ours].seconds, found[goal.case, goal.theirs].seconds
        ratio = stats.paired_ratio(ours, theirs)
        judged = "held" if ratio.value <= goal.at_most else "MISSED"
        if goal.at_most < 1:
            shown = f"{1 / ratio.value:.2f} times as fast as"
            spread = f"{1 / ratio.high:.2f} to {1 / ratio.low:.2f}"
        else:
            shown, spread = f"{ratio.value:.2f} times", f"{ratio.low:.2f} to {ratio.high:.2f}"
        report.print_line(
            f"  {goal.case}: {goal.ours} takes {shown} {goal.theirs} "
            f"({100 * ratio.confidence:.0f} % interval {spread}); goal {goal.text}: {judged}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--board", choices=list(PLACES), action="append")
    parser.add_argument("--rounds", type=int, default=7, help="of the small release")
    parser.add_argument("--large-rounds", type=int, default=3, help="0: without the large one")
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument("--json", type=Path, help="write every time into this file, too")
    options = parser.parse_args()
    order = random.Random(options.seed)
    every: dict[str, dict[str, list[float]]] = {}
    for name in options.board or list(PLACES):
        with PLACES[name]() as place, tempfile.TemporaryDirectory() as folder:
            for kind, choice, rounds in (
                ("small", Choice(), options.rounds),
                ("large", Choice(engine="python"), options.large_rounds),
            ):
                if rounds < 2:
                    continue
                load = Load.make(kind, choice, Path(folder) / kind, place)
                found = compete(place, load, rounds, order)
                print_results(place, load, found)
                every[f"{name}, {kind}"] = {
                    f"{case}, {who}": taken.seconds for (case, who), taken in found.items()
                }
    if options.json:
        options.json.write_text(json.dumps(every, indent=1) + "\n")
    load_1, _, _ = os.getloadavg()
    report.print_line(f"load of this machine at the end: {load_1:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
