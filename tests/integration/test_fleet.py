"""One command, fifty boards: each an SSH server on loopback with a device root of its own."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.digits import dataset
from tests.sshd import Sshd, keygen, start_sshd

BOARDS = 50
FEW = 8
JOBS = 4
MODELS = dataset.FOLDER / dataset.MODELS_FOLDER
MODEL = MODELS / "mlp-int8.tflite"

# Runs the command, and says at its end how much memory and how many open files it took.
CHILD = """
import os, resource, sys, threading
from pathlib import Path
most = 0
over = threading.Event()
def watch():
    global most
    while not over.wait(0.005):
        most = max(most, len(os.listdir("/proc/self/fd")))
threading.Thread(target=watch, daemon=True).start()
from edge import tasks
usage, sys.argv = Path(sys.argv[1]), ["edge", *sys.argv[2:]]
try:
    tasks.main()
finally:
    over.set()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    usage.write_text(f"{peak} {most}")
"""


@dataclass(frozen=True)
class Lab:
    """A working directory with the boards that somebody has."""

    folder: Path
    servers: Sequence[Sshd]

    def root(self, number: int) -> Path:
        return self.folder / "roots" / f"{number:02}"

    def edge(self, *words: str) -> tuple[int, Any, str, int, int]:
        """Exit code, standard output as JSON, standard error, peak memory in KiB, open files."""
        usage = self.folder / "usage"
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(usage), *words, "--json"],
            cwd=self.folder,
            env={
                **os.environ,
                "EDGE_LAB": str(self.folder / "lab.toml"),
                "PATH": f"{self.folder}:{os.environ['PATH']}",
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        peak_kib, files = map(int, usage.read_text().split())
        said = json.loads(done.stdout) if done.stdout else None
        return done.returncode, said, done.stderr, peak_kib, files


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "boards").mkdir()
    (folder / "boards" / "loop.toml").write_text(
        "\n".join(
            [
                'description = "this machine, over SSH"',
                f'arch = "{platform.machine()}"',
                'cpu = "generic"',
                "cores = 1",
                "memory_mib = 256",
                'glibc = "2.28"',
                'runtime = "litert-2.3.0"',
            ]
        )
    )
    keys = folder / "keys"
    keys.mkdir()
    for kind in ("ed25519", "ecdsa", "rsa"):
        keygen(keys / f"host_{kind}", kind)
    keygen(keys / "user_key")
    lab, config, known, servers = [], [], [], []
    try:
        for number in range(BOARDS):
            home = folder / "sshd" / f"{number:02}"
            # Making three keys for each of fifty servers takes longer than the deploys.
            shutil.copytree(keys, home)
            server = start_sshd(home)
            servers.append(server)
            name = f"loop-{number:02}"
            config += [f"Host {name}", "HostName 127.0.0.1", f"Port {server.port}"]
            known.append(server.known_hosts.read_text())
            lab += [f"[boards.{name}]", 'kind = "loop"', f'root = "{folder}/roots/{number:02}"']
        config += ["Host *", f"IdentityFile {keys}/user_key", "IdentitiesOnly yes"]
        config += [f"UserKnownHostsFile {folder}/known_hosts", "StrictHostKeyChecking yes"]
        (folder / "known_hosts").write_text("".join(known))
        (folder / "config").write_text("\n".join(config) + "\n")
        (folder / "lab.toml").write_text("\n".join(lab) + "\n")
        # The user's own `ssh`, with another configuration than the user's own.
        client = folder / "ssh"
        client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F "{folder}/config" "$@"\n')
        client.chmod(0o755)
        yield Lab(folder, servers)
    finally:
        for server in servers:
            server.stop()


def whole(root: Path, release: str) -> bool:
    """Whether that release is live, and every file of it has its hash."""
    current = root / "current"
    if not current.is_symlink() or current.resolve().name != release:
        return False
    for line in (current / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split("  ")
        if hashlib.sha256((current / name).read_bytes()).hexdigest() != sha256:
            return False
    text = (current / "manifest.json").read_bytes()
    return hashlib.sha256(text).hexdigest().startswith(release)


def test_fifty_boards_of_which_three_fail(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    changed, full, gone = lab.servers[7], lab.root(23), lab.servers[41]
    known = lab.folder / "known_hosts"
    other = keygen(lab.folder / "other").with_name("other.pub").read_text().split()[1]
    known.write_text(
        "".join(
            f"[127.0.0.1]:{changed.port} ssh-ed25519 {other}\n"
            if line.startswith(f"[127.0.0.1]:{changed.port} ssh-ed25519 ")
            else line
            for line in known.read_text().splitlines(keepends=True)
        )
    )
    full.parent.mkdir(exist_ok=True)
    full.write_text("in the way")  # no folder can be made here, not even by root
    gone.stop()

    few = ",".join(f"loop-{number:02}" for number in range(FEW - 1))
    words = ("deploy", "--jobs", str(JOBS), "--model", str(MODEL))
    code, _, said, few_kib, few_files = lab.edge(*words, "--board", few)
    assert code == 0, said
    for number in range(FEW - 1):
        shutil.rmtree(lab.root(number))

    code, told, said, many_kib, many_files = lab.edge(*words, "--all")
    boards = {entry["board"]: entry for entry in told["boards"]}
    failed = {name: entry for name, entry in boards.items() if entry["state"] != "live"}
    assert set(failed) == {"loop-07", "loop-23", "loop-41"}, said
    assert "HOST KEY OF loop-07 HAS CHANGED" in failed["loop-07"]["error"]
    assert "can't create" in failed["loop-23"]["error"]
    assert "connection refused" in failed["loop-41"]["error"]
    assert code == 3
    releases = {e["deployment"]["release"] for e in boards.values() if e["deployment"]}
    assert len(releases) == 1
    live = [n for n in range(BOARDS) if whole(lab.root(n), next(iter(releases)))]
    assert len(live) == BOARDS - 3
    assert "  loop-00: sending " in said
    with capsys.disabled():
        print(
            f"\n{len(live)} of {BOARDS} boards live, {JOBS} at a time: peak memory "
            f"{many_kib / 1024:.0f} MiB, open files at most {many_files} "
            f"(with {FEW - 1} boards: {few_kib / 1024:.0f} MiB, {few_files})"
        )
    # What grows with boards instead of jobs shows: six times as many of them.
    assert many_kib < 1.3 * few_kib
    assert many_files < few_files + 4 * JOBS


def test_a_canary_that_holds_lets_the_others_go(lab: Lab) -> None:
    words = ("deploy", "--model", str(MODELS / "mlp-int8.tflite"))
    code, told, said, _, _ = lab.edge(*words, "--board", "loop-1[0-2]")
    assert code == 0, said
    other = ("--model", str(MODELS / "mlp-float32.tflite"))
    code, told, said, _, _ = lab.edge(
        *words, *other, "--board", "loop-1[0-2]", "--canary", "1", "--max-slowdown", "900"
    )
    assert code == 0, said
    assert "loop-10: comparing mlp-int8.tflite with release" in said
    canary, *rest = told["boards"]
    assert [found["model"] for found in canary["canary"]] == ["mlp-int8.tflite"]
    assert canary["canary"][0]["ratio"]["low"] < 10
    assert all(not entry["canary"] for entry in rest)


def test_a_canary_that_got_slower_keeps_its_release_and_stops_the_others(
    lab: Lab, tmp_path: Path
) -> None:
    model = tmp_path / "m.tflite"
    words = ("deploy", "--model", str(model), "--board", "loop-1[345]")
    shutil.copy(MODELS / "mlp-int8.tflite", model)
    code, told, said, _, _ = lab.edge(*words)
    assert code == 0, said
    before = told["boards"][0]["deployment"]["release"]
    shutil.copy(MODELS / "cnn-float32.tflite", model)  # dozens of times the work
    code, told, said, _, _ = lab.edge(*words, "--canary", "1")
    assert code == 3, said
    assert [entry["state"] for entry in told["boards"]] == ["failed", "not started", "not started"]
    assert "times as long as in release" in told["boards"][0]["error"]
    assert told["boards"][1]["skipped"] == "canary loop-13 did not hold"
    assert all(whole(lab.root(number), before) for number in (13, 14, 15))
