"""What the store knows of its releases: which is settled, what they weigh, what keeps them."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.test_store import (
    NEW,
    OLD,
    PROGRAM,
    Blob,
    Wanted,
    copy,
    deployed,
    pipes,
    requests,
    root,
    runner,
    speak,
    start,
    tmp_path,
    whole,
)

__all__ = ["root", "runner", "tmp_path"]

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def asked(runner: Path, root: Path, *flags: str) -> str:
    """The answer to a question that takes no lock; it changes nothing."""
    before = state(root)
    done = subprocess.run(
        [runner, "store", "--root", root, *flags], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert state(root) == before
    assert done.stdout.endswith("\n") and done.stdout.count("\n") == 1
    return done.stdout.rstrip("\n")


def state(root: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for path in [root, *root.rglob("*")] if root.exists() else []:
        info = path.lstat()
        found[str(path)] = (info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_nlink)
    return found


def settled(runner: Path, root: Path, wanted: Wanted) -> bool:
    word, boot, free = asked(runner, root, "--settled", wanted.id).removeprefix("ok ").split(" ")
    assert boot == BOOT and (int(free) > 0 if root.exists() else free == "-")
    assert word in ("settled", "unsettled")
    return word == "settled"


def listed(runner: Path, root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Id -> when, size, own bytes and flags, in the order of the reply."""
    first, *words = asked(runner, root, "--list").split(" ")
    assert first == "ok"
    _, replies = speak(runner, root, b"list\n")
    assert replies[1].decode().split(" ")[1:] == words
    found = {}
    for word in words:
        name, when, size, own, flags = word.split(":")
        found[name] = (int(when), int(size), int(own), flags)
    return found


def request(runner: Path, root: Path, *lines: str) -> list[bytes]:
    code, replies = speak(runner, root, "".join(f"{line}\n" for line in lines).encode())
    assert code == 0
    return replies[1:]


# --- settled


def test_settled_is_what_was_deployed_and_nothing_else(runner: Path, root: Path) -> None:
    assert not settled(runner, root, NEW)
    assert not root.exists()
    deployed(runner, root, NEW)
    assert settled(runner, root, NEW)
    assert not settled(runner, root, OLD)
    request(runner, root, f"settle {NEW.id} 0")
    assert settled(runner, root, NEW)


def test_settling_writes_the_log_too(runner: Path, root: Path) -> None:
    deployed(runner, root, NEW)
    _, replies = speak(runner, root, b"settle %s 6\nsecondping\n" % NEW.id.encode())
    assert replies[1:] == [b"ok", b"ok pong"]
    assert (root / "deployments.log").read_text() == "line\nsecond"
    record = (root / "settled").read_text()
    assert re.fullmatch(rf"release {NEW.id}\nboot {BOOT}\nstate [0-9a-f]{{64}}\n", record)
    assert (root / "settled").stat().st_mode & 0o777 == 0o644


HARMS = [
    "flip", "flip and set back the time", "touch", "mode", "copy", "missing", "manifest", "sums",
    "boot", "record", "no record", "off", "linked directory", "another current",
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_a_release_that_was_touched_is_not_settled(
    runner: Path, root: Path, tmp_path: Path, harm: str
) -> None:
    deployed(runner, root, NEW)
    assert settled(runner, root, NEW)
    release = root / "releases" / NEW.id
    file, record = release / "models" / "a.tflite", root / "settled"
    info = file.stat()
    if harm.startswith("flip"):
        file.chmod(0o644)
        with file.open("r+b") as writer:
            writer.write(b"flip")
        file.chmod(0o444)
        if "time" in harm:
            os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    elif harm == "touch":
        os.utime(file)
    elif harm == "mode":
        file.chmod(0o644)
    elif harm == "copy":
        shutil.copy2(file, tmp_path / "copy")
        (tmp_path / "copy").replace(file)
    elif harm == "missing":
        file.unlink()
    elif harm in ("manifest", "sums"):
        os.utime(release / {"manifest": "manifest.json", "sums": "SHA256SUMS"}[harm])
    elif harm == "boot":
        text = record.read_text()
        assert BOOT in text
        record.write_text(text.replace(BOOT, "0" * len(BOOT)))
    elif harm == "record":
        record.write_text(record.read_text()[:-1])
    elif harm == "no record":
        record.unlink()
    elif harm == "another current":
        (root / "current").unlink()
        (root / "current").symlink_to(f"releases/{'0' * 16}")
    elif harm == "linked directory":
        (release / "models").rename(tmp_path / "models")
        (release / "models").symlink_to(tmp_path / "models")
    else:
        assert request(runner, root, "switch -") == [b"ok " + NEW.id.encode()]
        assert not record.exists()
    assert not settled(runner, root, NEW)


def test_another_release_was_live_in_between(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    deployed(runner, root, NEW)
    request(runner, root, f"switch {OLD.id}")
    assert not settled(runner, root, OLD) and not settled(runner, root, NEW)
    request(runner, root, f"switch {NEW.id}")
    # Live and verified, but what follows a switch has not happened.
    assert not settled(runner, root, NEW)


def test_releases_that_come_and_go_leave_another_settled(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    stays = root / "settled"
    before = stays.read_text()
    # The two share a file, whose number of links is part of its state.
    data = b"".join(NEW.put_requests()) + NEW.release_request()
    assert speak(runner, root, data)[1][-1] == b"ok created"
    assert stays.read_text() != before and settled(runner, root, OLD)
    assert request(runner, root, f"drop {NEW.id}") == [b"ok"]
    assert settled(runner, root, OLD)
    # But what was not settled does not become so.
    stays.unlink()
    speak(runner, root, data)
    request(runner, root, f"drop {NEW.id}")
    assert not settled(runner, root, OLD) and not stays.exists()


def deploy_again(runner: Path, root: Path, wanted: Wanted) -> None:
    """As a host does: what is damaged is found out one by one, and sent again."""
    for _ in range(4):
        _, replies = speak(runner, root, b"".join(requests(wanted)))
        if all(line.startswith(b"ok") for line in replies):
            return
    raise AssertionError(replies)


@pytest.mark.parametrize(
    ("which", "to_the_end"), [("shared", True), ("new", True), ("shared", False)]
)
def test_a_bit_that_flips_at_any_step_is_found_and_never_vouched_for(
    runner: Path, root: Path, tmp_path: Path, which: str, to_the_end: bool
) -> None:
    deployed(runner, root, OLD)
    before, data = tmp_path / "before", tmp_path / "data"
    copy(root, before)
    # A connection of its own, so that nothing is known but what the record says.
    request(runner, before, f"settle {OLD.id} 0")
    every = requests(NEW)
    data.write_bytes(b"".join(every if to_the_end else every[:-4]))
    blob = PROGRAM if which == "shared" else NEW.blobs[1]
    flipped = 0
    for at in itertools.count(1):
        copy(before, root)
        request(runner, root, f"settle {OLD.id} 0")
        with data.open("rb") as stdin:
            process = subprocess.Popen(
                [runner, "store", "--root", root],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "EDGE_STORE_FAULT": f"stop:{at}"},
            )
        with process:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            for file in root / "store" / blob.sha, root / "store" / f".{blob.sha}.part":
                if file.exists() and file.stat().st_size > 100:
                    flipped += 1
                    mode = file.stat().st_mode
                    file.chmod(0o644)
                    with file.open("r+b") as writer:
                        writer.seek(100)
                        writer.write(bytes([blob.content[100] ^ 1]))
                    file.chmod(mode)
            process.send_signal(signal.SIGCONT)
            assert process.wait(30) in (0, 13)
        for wanted in OLD, NEW:
            if settled(runner, root, wanted):
                assert whole(root) == wanted.id, at
        deploy_again(runner, root, NEW)
        assert whole(root) == NEW.id, at
    assert flipped > 10


def test_what_a_settled_release_holds_is_not_read_again(runner: Path, root: Path) -> None:
    large = Blob("lib/large.so", os.urandom(3_000_000))
    deployed(runner, root, Wanted((large,)))
    shares = Wanted((large, OLD.blobs[1]))

    def read_bytes(*lines: bytes) -> int:
        with start(runner, root) as process:
            stdin, stdout = pipes(process)
            stdin.write(b"".join(lines) + OLD.blobs[1].put_request() + shares.release_request())
            while not (reply := stdout.readline()).startswith(b"ok created"):
                assert reply.startswith(b"ok"), reply
            counted = Path(f"/proc/{process.pid}/io").read_text().split()[1]
            stdin.write(b"drop %s\nquit\n" % shares.id.encode())
        return int(counted)

    assert read_bytes() < 100_000
    assert read_bytes(b"unsettle\n") > 3_000_000
    assert not settled(runner, root, Wanted((large,)))


def test_only_what_is_live_and_whole_is_settled(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    deployed(runner, root, NEW)
    assert request(runner, root, f"settle {OLD.id} 0")[0].startswith(b"err 2 release")
    process = start(runner, root)
    stdin, stdout = pipes(process)
    with process:
        stdout.readline()
        stdin.write(b"switch %s\n" % NEW.id.encode())
        assert stdout.readline().startswith(b"ok")
        flip(root / "store" / NEW.blobs[1].sha)
        # What this very connection verified is no longer what is there.
        stdin.write(b"settle %s 4\nlie\nquit\n" % NEW.id.encode())
        assert stdout.readline().startswith(b"err 13 ")
        assert stdout.readline() == b"ok bye\n"
    assert not settled(runner, root, NEW)
    assert "lie" not in (root / "deployments.log").read_text()
    assert request(runner, root, f"settle {'0' * 16} 0")[0].startswith(b"err 2 ")


def flip(file: Path, *, keep_time: bool = False) -> None:
    info = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as writer:
        writer.write(b"flip")
    if keep_time:
        os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize("again", ["switch", "release"])
@pytest.mark.parametrize("keep_time", [False, True])
def test_what_was_hashed_as_it_came_is_not_read_again(
    runner: Path, root: Path, keep_time: bool, again: str
) -> None:
    switch = b"switch %s\n" % NEW.id.encode()
    process = start(runner, root)
    stdin, stdout = pipes(process)
    with process:
        stdout.readline()
        stdin.write(b"".join(NEW.put_requests()) + NEW.release_request())
        assert [stdout.readline() for _ in range(4)] == [b"ok stored\n"] * 3 + [b"ok created\n"]
        flip(root / "store" / NEW.blobs[1].sha, keep_time=keep_time)
        stdin.write((switch if again == "switch" else NEW.release_request()) + b"quit\n")
        reply = stdout.readline()
    # Only somebody who sets back the time gets a change past it, and only in this connection.
    assert reply.startswith(b"ok" if keep_time else b"err 13 ")
    if keep_time:
        assert request(runner, root, f"switch {NEW.id}")[0].startswith(b"err 13 ")


def test_cleared_up_after_a_cut(runner: Path, root: Path) -> None:
    deployed(runner, root, NEW)
    (root / ".settled.part").write_text("half")
    assert settled(runner, root, NEW)
    request(runner, root, "ping")
    assert not (root / ".settled.part").exists()


# --- listed


def test_lists_what_is_there(runner: Path, root: Path) -> None:
    assert asked(runner, root, "--list") == "ok"
    assert not root.exists()
    deployed(runner, root, OLD)
    deployed(runner, root, NEW)
    os.utime(root / "releases" / OLD.id / "manifest.json", (1000, 1000))
    os.utime(root / "releases" / NEW.id / "manifest.json", (2000, 2000))
    assert request(runner, root, f"pin {OLD.id}") == [b"ok"]
    found = listed(runner, root)
    assert list(found) == [NEW.id, OLD.id]

    def weight(wanted: Wanted, shared: int) -> tuple[int, int]:
        own = sum((root / "releases" / wanted.id / n).stat().st_size for n in OWN)
        size = sum(len(b.content) for b in wanted.blobs)
        return own + size, own + size - shared

    shared = len(NEW.blobs[0].content)
    assert found[NEW.id] == (2000, *weight(NEW, shared), "c")
    assert found[OLD.id] == (1000, *weight(OLD, shared), "p")
    request(runner, root, f"unpin {OLD.id}", f"drop {OLD.id}")
    assert listed(runner, root) == {NEW.id: (2000, *weight(NEW, 0), "c")}


OWN = ("manifest.json", "SHA256SUMS")


def test_one_file_under_two_names_weighs_twice_and_is_freed_once(runner: Path, root: Path) -> None:
    wanted = Wanted((Blob("a", b"x" * 1000), Blob("deep/b", b"x" * 1000)))
    deployed(runner, root, wanted)
    _, size, own, _ = listed(runner, root)[wanted.id]
    assert size - own == 1000


def test_lists_damaged_releases_and_nothing_else(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    (root / "releases" / ("a" * 16)).mkdir()
    (root / "releases" / ("b" * 16)).write_text("no directory")
    (root / "releases" / "mine").mkdir()
    (root / "releases" / ("c" * 16)).symlink_to(OLD.id)
    found = listed(runner, root)
    assert set(found) == {OLD.id, "a" * 16} and found["a" * 16] == (0, 0, 0, "-")


def test_a_list_has_an_end(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    for number in range(600):
        release = root / "releases" / f"{number:016x}"
        release.mkdir()
        (release / "manifest.json").touch()
        os.utime(release / "manifest.json", (number, number))
    found = listed(runner, root)
    assert list(found) == [OLD.id, *(f"{number:016x}" for number in range(599, 88, -1))]
    assert len(found) == 512


# --- pinned


def test_pins_keep_and_are_taken_back(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    deployed(runner, root, NEW)
    pin, unpin, drop = (f"{verb} {OLD.id}" for verb in ("pin", "unpin", "drop"))
    assert request(runner, root, unpin, pin, pin) == [b"ok"] * 3
    assert [path.name for path in (root / "pins").iterdir()] == [OLD.id]
    refused, *_ = request(runner, root, drop)
    assert refused == f"err 2 release {OLD.id} is pinned: unpin it first".encode()
    assert request(runner, root, unpin, unpin, drop) == [b"ok"] * 3
    for verb in ("pin", "unpin"):
        assert request(runner, root, f"{verb} {OLD.id}")[0].startswith(b"err 3 there is no release")
    assert whole(root) == NEW.id


def test_pins_are_not_written_through_a_link(runner: Path, root: Path, tmp_path: Path) -> None:
    deployed(runner, root, OLD)
    (tmp_path / "outside").mkdir()
    (root / "pins").symlink_to(tmp_path / "outside")
    assert request(runner, root, f"pin {OLD.id}")[0].startswith(b"err 11 ")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_pin_is_durable(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    trace = root.with_name("trace")
    data = f"pin {OLD.id}\n".encode()
    speak(runner, root, data, env={"EDGE_STORE_TRACE": str(trace)})
    steps = [line for line in trace.read_text().splitlines() if "/pins" in line]
    pins = root / "pins"
    assert steps == [
        f"mkdir {pins}", f"create {pins}/{OLD.id}", f"fsync {pins}/{OLD.id}", f"fsync {pins}",
    ]  # fmt: skip
    assert f"fsync {root}" in trace.read_text().splitlines()


# --- in use

SLEEP = Wanted((Blob("bin/sleep", Path("/bin/sleep").read_bytes(), 0o555), Blob("m/a", b"m" * 99)))
MAPS = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print("mapped", flush=True)
sys.stdin.read()
"""


@contextmanager
def user(root: Path, way: str) -> Iterator[tuple[int, str]]:
    """A process that uses the live release, by way of its link; its id and its name."""
    live = root / "current"
    commands: dict[str, list[str | Path]] = {
        "exe": [live / "bin" / "sleep", "60"],
        "mapping": [sys.executable, "-c", MAPS, live / "m" / "a"],
        "cwd": ["cat"],
        "cwd below": ["cat"],
    }
    folder = {"cwd": live, "cwd below": live / "m"}.get(way)
    with subprocess.Popen(
        commands[way], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if way == "mapping":
            assert process.stdout and process.stdout.readline() == b"mapped\n"
        try:
            yield process.pid, Path(commands[way][0]).name
        finally:
            process.kill()


@pytest.mark.parametrize("way", ["exe", "mapping", "cwd", "cwd below"])
def test_what_a_process_uses_stays(runner: Path, root: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "real").mkdir()
    root.parent.parent.mkdir(exist_ok=True)
    root.parent.symlink_to(tmp_path / "real")
    deployed(runner, root, SLEEP)
    with user(root, way) as (pid, name):
        assert listed(runner, root)[SLEEP.id][3] == "cu"
        deployed(runner, root, OLD)
        assert {wanted: found[3] for wanted, found in listed(runner, root).items()} == {
            OLD.id: "c",
            SLEEP.id: "u",
        }
        message = f"err 12 release {SLEEP.id} is in use by process {pid} ({name})".encode()
        before = state(root)
        assert request(runner, root, f"drop {SLEEP.id}", "clear") == [message] * 2
        assert {path: was for path, was in state(root).items() if "lock" not in path} == {
            path: was for path, was in before.items() if "lock" not in path
        }
    assert request(runner, root, f"drop {SLEEP.id}") == [b"ok"]
    assert whole(root) == OLD.id


@pytest.mark.parametrize("way", ["exe", "cwd"])
def test_a_process_that_runs_what_is_gone_uses_nothing(runner: Path, root: Path, way: str) -> None:
    deployed(runner, root, SLEEP)
    with user(root, way):
        shutil.rmtree(root / "releases" / SLEEP.id)
        (root / "releases" / SLEEP.id).mkdir()
        assert listed(runner, root)[SLEEP.id][3] == "c"


# --- cleared


def remains(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


EMPTY = {"store", "releases", "pins", "lock", "deployments.log"}


def test_clear_leaves_the_log(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    deployed(runner, root, NEW)
    stray = Blob("m", b"stray").put_request()
    speak(runner, root, f"pin {OLD.id}\n".encode() + stray)
    assert request(runner, root, "clear", "current", "list", "clear") == [
        b"ok", b"ok -", b"ok", b"ok",
    ]  # fmt: skip
    assert remains(root) == EMPTY
    assert (root / "deployments.log").read_text() == "line\nline\n"
    deployed(runner, root, NEW)


def test_clear_by_force(runner: Path, root: Path) -> None:
    deployed(runner, root, SLEEP)
    with user(root, "exe"):
        assert request(runner, root, "clear")[0].startswith(b"err 12 ")
        assert whole(root) == SLEEP.id and settled(runner, root, SLEEP)
        assert request(runner, root, "clear force") == [b"ok"]
    assert remains(root) == EMPTY - {"pins"}


def test_clear_cut_at_every_step_leaves_a_whole_release_or_none(runner: Path, root: Path) -> None:
    pristine = root.with_name("pristine")
    deployed(runner, pristine, OLD)
    deployed(runner, pristine, NEW)
    request(runner, pristine, f"pin {NEW.id}")
    seen = set()
    for at in range(1, 500):
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", pristine, root], check=True)
        code, _ = speak(runner, root, b"clear\n", env={"EDGE_STORE_FAULT": f"kill:{at}"})
        seen.add(whole(root))
        if code == 0:
            break
        assert request(runner, root, "clear") == [b"ok"]
        assert remains(root) == EMPTY
    assert code == 0 and seen == {NEW.id, None}


def test_switching_off(runner: Path, root: Path) -> None:
    deployed(runner, root, NEW)
    assert request(runner, root, "switch -", "switch -", "current") == [
        f"ok {NEW.id}".encode(), b"ok -", b"ok -",
    ]  # fmt: skip
    assert not (root / "current").is_symlink()
    assert request(runner, root, f"drop {NEW.id}") == [b"ok"]


# --- a file system that is read-only


def test_a_read_only_disk_is_named(runner: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        board = disk / "edge"
        deployed(runner, board, NEW)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, replies = speak(runner, board, b"ping\n")
        assert code == 11 and b"read-only: remount it" in replies[0]
        assert settled(runner, board, NEW)
        assert asked(runner, board, "--list").startswith(f"ok {NEW.id}:")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
