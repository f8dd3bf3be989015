"""The store itself, cut, starved and lied to; and the client that speaks to it."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import lz4.block
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import abi, layout
from edge import store as store_module
from edge.errors import BoardError, EdgeError, UsageError
from edge.store import Store
from edge.transport.local import LocalTransport

FIRMWARE = layout.firmware_dir()
SOURCES = (
    "tests/store_test.cc",
    "src/store*.cc",
    "src/store/*.cc",
    "src/lz4.cc",
    "src/sha256.cc",
    "src/file.cc",
    "src/error.cc",
)
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti")
REPLY = re.compile(rb"ok( [!-~]+)*|err ([1-9]|[12][0-9]|3[01]) [ -~]{1,1000}")


def compile_store(target: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    compiler = [shutil.which("g++") or ""]
    if not compiler[0]:
        compiler = [sys.executable, "-m", "ziglang", "c++"]
    includes = [f"-I{FIRMWARE / name}" for name in ("include", "src")]
    sources = [path for name in SOURCES for path in sorted(FIRMWARE.glob(name))]
    # As one file, like CMake: headers are read once.
    return subprocess.run(
        [*compiler, *FLAGS, *flags, *includes, "-x", "c++", "-", "-o", str(target)],
        input="".join(f'#include "{path}"\n' for path in sources),
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store with its faults, started like edge-run."""
    target = tmp_path_factory.mktemp("store") / "edge-run"
    made = compile_store(target, "-O1")
    assert made.returncode == 0, made.stderr
    return target


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("sanitized") / "edge-run"
    made = compile_store(
        target,
        "-O1",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-DEDGE_STORE_NO_FAULTS",
    )
    if made.returncode != 0:
        pytest.skip("this compiler comes without AddressSanitizer")
    return target


def block(raw: bytes, packed: bytes | None = None) -> bytes:
    """Bytes as they follow a put: as they are, or packed."""
    data = raw if packed is None else packed
    return b"%d %d\n" % (len(data), len(raw)) + data


def blocks(content: bytes, size: int = 40_000) -> bytes:
    """All of them, packed where that wins."""
    made = b""
    for at in range(0, len(content), size):
        raw = content[at : at + size]
        packed = lz4.block.compress(raw, store_size=False)
        made += block(raw, packed) if len(packed) < len(raw) else block(raw)
    return made


@dataclass(frozen=True)
class Blob:
    place: str
    content: bytes
    mode: int = 0o444

    @property
    def sha(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def put_line(self, offset: int = 0) -> bytes:
        return f"put {self.sha} {len(self.content)} {offset} {self.mode:o}\n".encode()

    def put_request(self, offset: int = 0) -> bytes:
        return self.put_line(offset) + blocks(self.content[offset:])


@dataclass(frozen=True)
class Wanted:
    """A release as the host would want it."""

    blobs: tuple[Blob, ...]

    @property
    def manifest(self) -> bytes:
        return "".join(f"{b.place} {b.sha}\n" for b in self.blobs).encode()

    @property
    def id(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()[:16]

    @property
    def links(self) -> dict[str, str]:
        return {b.place: b.sha for b in self.blobs}

    def put_requests(self) -> list[bytes]:
        return [b.put_request() for b in self.blobs]

    def release_request(self) -> bytes:
        lines = "".join(f"{place} {sha}\n" for place, sha in self.links.items())
        head = f"release {self.id} {len(self.links)} {len(self.manifest)}\n{lines}"
        return head.encode() + self.manifest


PROGRAM = Blob("bin/edge-run", b"\x7fELF" + bytes(range(256)) * 300, 0o555)
OLD = Wanted((PROGRAM, Blob("models/a.tflite", b"TFL3 old" * 100)))
NEW = Wanted((PROGRAM, Blob("models/a.tflite", b"TFL3 new" * 90), Blob("lib/deep/x.so", b"so")))


def requests(wanted: Wanted, before: Wanted | None = None) -> list[bytes]:
    """A whole deployment, as it goes over the wire."""
    lines = "".join(f"{b.sha} {len(b.content)}\n" for b in wanted.blobs)
    return [
        f"have {len(wanted.blobs)}\n{lines}".encode(),
        *wanted.put_requests(),
        wanted.release_request(),
        b"switch %s\n" % wanted.id.encode(),
        b"settle %s 0\n" % wanted.id.encode(),
        b"log 5\nline\n",
        *([b"drop %s\n" % before.id.encode()] if before else []),
        b"quit\n",
    ]


def speak(
    runner: Path, root: Path, data: bytes, *flags: str, env: dict[str, str] | None = None
) -> tuple[int, list[bytes]]:
    """Send bytes, end input, and read all replies; the greeting is the first."""
    done = subprocess.run(
        [runner, "store", "--root", root, *flags],
        input=data,
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=60,
    )
    assert done.stderr == b""
    replies = done.stdout.split(b"\n")[:-1]
    assert all(REPLY.fullmatch(line) for line in replies), done.stdout
    return done.returncode, replies


def start(runner: Path, root: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [runner, "store", "--root", root, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def pipes(process: subprocess.Popen[bytes]) -> tuple[BinaryIO, BinaryIO]:
    assert process.stdin and process.stdout
    return process.stdin, process.stdout  # type: ignore[return-value]


def whole(root: Path) -> str | None:
    """The guarantee, checked without the store: the live release's id, or None."""
    for file in (root / "store").iterdir() if (root / "store").is_dir() else ():
        if not file.name.startswith("."):
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
            assert file.stat().st_mode & 0o222 == 0
    current = root / "current"
    if not current.is_symlink():
        assert not current.exists()
        return None
    name = current.readlink()
    assert name.parent == Path("releases")
    manifest = (current / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest().startswith(name.name)
    for line in manifest.decode().splitlines():
        place, sha = line.split(" ")
        assert hashlib.sha256((current / place).read_bytes()).hexdigest() == sha
        assert (current / place).samefile(root / "store" / sha)
    return name.name


def deployed(runner: Path, root: Path, wanted: Wanted, before: Wanted | None = None) -> None:
    code, replies = speak(runner, root, b"".join(requests(wanted, before)))
    assert code == 0 and replies[-1] == b"ok bye", replies
    assert all(line.startswith(b"ok") for line in replies), replies
    assert whole(root) == wanted.id


def copy(tree: Path, to: Path) -> None:
    """With its hard links."""
    shutil.rmtree(to, ignore_errors=True)
    subprocess.run(["cp", "-a", tree, to], check=True, timeout=30)


def leftovers(root: Path) -> list[str]:
    return [str(p.relative_to(root)) for p in root.rglob("*") if p.name.endswith(".part")]


@pytest.fixture
def tmp_path(memory_path: Path) -> Path:
    """Thousands of kills, each with its syncs: what they order is asserted, not awaited."""
    return memory_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home" / "edge"


@pytest.fixture
def connect(runner: Path, root: Path) -> Iterator[Callable[..., Store]]:
    with LocalTransport() as transport:

        def connect(owner: str = "me@here", idle_timeout_s: int = 30) -> Store:
            return store_module.open(
                transport,
                PurePosixPath(runner),
                PurePosixPath(root),
                owner=owner,
                idle_timeout_s=idle_timeout_s,
            )

        yield connect


def on_disk(blob: Blob, folder: Path, offset: int = 0) -> store_module.Blob:
    """The blob as a file of this machine."""
    file = folder / blob.sha
    file.write_bytes(blob.content)
    size, program = len(blob.content), blob.mode == 0o555
    return store_module.Blob(file, blob.sha, size, executable=program, offset_bytes=offset)


def push(store: Store, wanted: Wanted, folder: Path) -> tuple[int, bool, str | None]:
    """Deploy as a host does; the bytes sent, whether the release is new, and the one before."""
    sent: list[int] = []
    there = store.have([(b.sha, len(b.content)) for b in wanted.blobs])
    missing = [b for b in wanted.blobs if there[b.sha] is None or there[b.sha] != len(b.content)]
    store.put([on_disk(b, folder, there[b.sha] or 0) for b in missing], sent.append)
    created = store.create_release(wanted.id, wanted.links, wanted.manifest)
    return sum(sent), created, store.switch(wanted.id)


# --- deploying


def test_deploys_rolls_back_and_drops(
    connect: Callable[..., Store], root: Path, tmp_path: Path
) -> None:
    with connect() as store:
        assert store.free_bytes > 0
        assert store.current() is None
        assert push(store, OLD, tmp_path)[1:] == (True, None)
        store.append_log("first")
        assert whole(root) == OLD.id
        sent, created, previous = push(store, NEW, tmp_path)
        # The program was there already.
        assert sent == sum(len(b.content) for b in NEW.blobs[1:])
        assert (created, previous) == (True, OLD.id)
        store.append_log("second\n")
        assert store.switch(OLD.id) == NEW.id
        assert whole(root) == OLD.id
        store.drop(NEW.id)
        assert store.current() == OLD.id
        assert store.quit() == 0
    assert (root / "deployments.log").read_text() == "first\nsecond\n"
    assert [p.name for p in (root / "releases").iterdir()] == [OLD.id]
    assert {p.name for p in (root / "store").iterdir()} == {b.sha for b in OLD.blobs}
    assert (root / "store" / PROGRAM.sha).stat().st_mode & 0o777 == 0o555
    assert (root / "current" / "models" / "a.tflite").stat().st_mode & 0o777 == 0o444
    assert root.stat().st_mode & 0o777 == 0o755
    assert whole(root) == OLD.id
    sums = subprocess.run(
        ["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=root / "current", timeout=30
    )
    assert sums.returncode == 0


def test_the_same_deploy_again_changes_nothing(
    connect: Callable[..., Store], root: Path, tmp_path: Path
) -> None:
    def inodes() -> dict[str, int]:
        return {str(p): p.lstat().st_ino for p in root.rglob("*")}

    with connect() as store:
        push(store, NEW, tmp_path)
    before = inodes()
    with connect() as store:
        assert push(store, NEW, tmp_path) == (0, False, NEW.id)
    assert inodes() == before


def test_resumes_with_the_rest_only(
    connect: Callable[..., Store], runner: Path, root: Path, tmp_path: Path
) -> None:
    blob = Blob("models/m", os.urandom(300_000))
    cut = blob.put_line() + b"300000 300000\n" + blob.content[:100_000]
    code, replies = speak(runner, root, cut)
    assert code == 15 and replies[-1].startswith(b"err 15 ")
    with connect() as store:
        assert push(store, Wanted((blob,)), tmp_path)[0] == 200_000
    assert (root / "current" / "models" / "m").read_bytes() == blob.content


@pytest.mark.parametrize("mode", [0o600, 0o444])
def test_resumes_a_part_that_only_lacks_its_name(
    connect: Callable[..., Store], root: Path, tmp_path: Path, mode: int
) -> None:
    blob = OLD.blobs[1]
    (root / "store").mkdir(parents=True)
    part = root / "store" / f".{blob.sha}.part"
    part.write_bytes(blob.content)
    part.chmod(mode)
    with connect() as store:
        assert push(store, Wanted((blob,)), tmp_path)[0] == 1
    assert whole(root)


def test_a_part_that_a_power_cut_damaged_is_sent_from_its_beginning(
    connect: Callable[..., Store], root: Path, tmp_path: Path
) -> None:
    blob = OLD.blobs[1]
    (root / "store").mkdir(parents=True)
    (root / "store" / f".{blob.sha}.part").write_bytes(blob.content[:100] + bytes(100))
    with connect() as store:
        # Sent twice, but that is no progress.
        assert push(store, Wanted((blob,)), tmp_path)[0] == len(blob.content) - 200
    assert whole(root)


@pytest.mark.parametrize("there", [0, 30_000])
def test_what_somebody_else_writes_to_a_file_as_it_arrives_is_found_out(
    runner: Path, root: Path, there: int
) -> None:
    blob = Blob("m", os.urandom(90_000))
    wanted = Wanted((blob,))
    if there:
        cut = blob.put_line() + b"90000 90000\n" + blob.content[:there]
        assert speak(runner, root, cut)[0] == 15
    with start(runner, root) as process:
        stdin, stdout = pipes(process)
        stdout.readline()
        part = root / "store" / f".{blob.sha}.part"

        def put(at: int, meanwhile: Callable[[], None]) -> list[bytes]:
            stdin.write(blob.put_line(at) + b"%d %d\n" % (90_000 - at, 90_000 - at))
            stdin.write(blob.content[at:60_000])
            wait_until(lambda: part.exists() and part.stat().st_size == 60_000)
            meanwhile()
            stdin.write(blob.content[60_000:] + wanted.release_request())
            return [stdout.readline(), stdout.readline()]

        def flip() -> None:
            with part.open("r+b") as file:
                file.seek(20_000)
                file.write(bytes([blob.content[20_000] ^ 1]))

        def read() -> None:
            assert len(part.read_bytes()) == 60_000

        stored, released = put(there, flip)
        assert stored == b"ok stored\n"
        assert released.startswith(b"err 13 somebody else wrote to " + blob.sha.encode())
        assert list((root / "store").iterdir()) == []
        # Who only reads does no harm.
        assert put(0, read) == [b"ok stored\n", b"ok created\n"]
        stdin.write(b"switch %s\nquit\n" % wanted.id.encode())
    assert whole(root) == wanted.id


def test_content_that_is_not_what_was_promised(
    connect: Callable[..., Store], root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"other")
    with connect() as store:
        with pytest.raises(BoardError, match="does not have sha256"):
            store.put([store_module.Blob(file, OLD.blobs[0].sha, 5)])
        store.ping()
        assert list((root / "store").iterdir()) == []
        assert store.have([(OLD.blobs[0].sha, 5)]) == {OLD.blobs[0].sha: None}


def test_hashes_every_length_as_others_do(runner: Path, root: Path) -> None:
    blobs = [Blob("x", bytes(i % 251 for i in range(size))) for size in range(200)]
    code, replies = speak(runner, root, b"".join(Wanted(tuple(blobs)).put_requests()))
    assert (code, set(replies[1:])) == (0, {b"ok stored"})


def test_sweeping_leaves_what_a_release_links(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    stray = Wanted((Blob("m", b"nobody links this"),))
    code, replies = speak(
        runner, root, stray.put_requests()[0] + f"put {'1' * 64} 9 0 444\n9 9\nhalf".encode()
    )
    assert (code, replies[1]) == (15, b"ok stored")
    assert len(list((root / "store").iterdir())) == len(OLD.blobs) + 2
    assert speak(runner, root, b"sweep\n")[1][1:] == [b"ok"]
    assert {p.name for p in (root / "store").iterdir()} == {b.sha for b in OLD.blobs}
    assert whole(root) == OLD.id


def test_one_file_may_become_a_program_later(
    connect: Callable[..., Store], root: Path, tmp_path: Path
) -> None:
    blob, program = Blob("x", b""), Blob("x", b"", 0o555)
    stored = root / "store" / blob.sha
    with connect() as store:
        assert store.have([(blob.sha, 0)]) == {blob.sha: None}
        store.put([on_disk(blob, tmp_path)])
        assert store.have([(blob.sha, 0)]) == {blob.sha: 0}
        store.create_release(*release_of(Wanted((blob,))))
        assert stored.stat().st_mode & 0o777 == 0o444
        store.put([on_disk(program, tmp_path)])
        assert stored.stat().st_mode & 0o777 == 0o555
    deployed_alone = Wanted((Blob("m", b"both before it has its name"),))
    with connect() as store:
        for mode in (0o444, 0o555):
            blob = Blob("m", deployed_alone.blobs[0].content, mode)
            store.put([on_disk(blob, tmp_path)])
        store.create_release(*release_of(deployed_alone))
    assert (root / "store" / blob.sha).stat().st_mode & 0o777 == 0o555


def test_threads_may_share_a_connection(
    connect: Callable[..., Store], root: Path, tmp_path: Path
) -> None:
    blobs = [Blob(f"f{i}", os.urandom(400_000)) for i in range(6)]
    with connect() as store:
        threads = [
            threading.Thread(target=store.put, args=([on_disk(b, tmp_path)],)) for b in blobs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = Wanted(tuple(blobs))
        store.create_release(wanted.id, wanted.links, wanted.manifest)
        store.switch(wanted.id)
    assert whole(root) == wanted.id


def test_hosts_that_compete_all_come_through(runner: Path, root: Path) -> None:
    releases = [Wanted((PROGRAM, Blob("models/m", bytes([i]) * 50_000))) for i in range(4)]
    codes: list[int] = []

    def host(wanted: Wanted) -> None:
        deadline = time.monotonic() + 30
        code = 12
        while code == 12 and time.monotonic() < deadline:
            code, _ = speak(runner, root, b"".join(requests(wanted)))
            codes.append(code)

    threads = [threading.Thread(target=host, args=(wanted,)) for wanted in releases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count(0) == len(releases) and set(codes) <= {0, 12}
    assert whole(root) in {wanted.id for wanted in releases}
    assert len(list((root / "releases").iterdir())) == len(releases)


# --- blocks, and the names that files get later


def test_blocks_may_be_packed_or_not(runner: Path, root: Path) -> None:
    raw = b"a text that repeats itself, " * 30_000
    packed = lz4.block.compress(raw[:262_144], store_size=False)
    rest = raw[262_144:]
    blob = Blob("m", raw)
    data = blob.put_line() + block(raw[:262_144], packed) + block(rest[:1]) + block(rest[1:])
    assert len(rest) > 300_000
    code, replies = speak(runner, root, data + b"ping\n")
    assert (code, replies[1:]) == (0, [b"ok stored", b"ok pong"])


@pytest.mark.parametrize(
    "harm", ["bytes", "too few", "too many", "empty", "distance"], ids=lambda harm: harm
)
def test_a_block_that_unpacks_wrongly(runner: Path, root: Path, harm: str) -> None:
    raw = b"0123456789" * 1000
    blob = Blob("m", raw * 2)
    good = lz4.block.compress(raw, store_size=False)
    bad = {
        "bytes": good[:5] + bytes([good[5] ^ 1]) + good[6:],
        "too few": lz4.block.compress(raw[:-1], store_size=False),
        "too many": lz4.block.compress(raw + b"0", store_size=False),
        "empty": b"",
        "distance": b"\x00\xff\xff" + good,
    }[harm]
    # The bad one is followed by what would be requests if it were not read to its end.
    rest = block(raw) if harm == "bytes" else block(raw[:5], b"\n\n") + block(raw[5:])
    data = blob.put_line() + block(raw, bad) + rest + b"ping\n"
    code, replies = speak(runner, root, data)
    assert (code, replies[2:]) == (0, [b"ok pong"])
    said = b"does not have sha256" if harm == "bytes" else b"a block does not unpack to 10000 bytes"
    assert replies[1].startswith(b"err 13 ") and said in replies[1]
    assert list((root / "store").iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        b"11 10\n", b"0 0\n", b"10 11\n", b"11 11\n", b"10\n", b"10 10 10\n", b" 10 10\n", b"\n",
        b"-1 10\n", b"10 010\n", b"1e1 10\n", b"10 99999999999999999999\n", b"x" * 5000,
    ],
)  # fmt: skip
def test_a_malformed_block_loses_framing(runner: Path, root: Path, line: bytes) -> None:
    blob = Blob("m", b"0123456789")
    code, replies = speak(runner, root, blob.put_line() + line + b"0123456789ping\n")
    assert code == 2 and len(replies) == 2 and replies[1].startswith(b"err 2 ")


def test_a_packed_block_has_a_limit(runner: Path, root: Path) -> None:
    blob = Blob("m", bytes(262_145))
    packed = lz4.block.compress(blob.content, store_size=False)
    code, replies = speak(runner, root, blob.put_line() + block(blob.content, packed))
    assert code == 2 and replies[1].startswith(b"err 2 malformed block")


def test_files_get_their_names_with_the_release(runner: Path, root: Path) -> None:
    asks = f"have {len(NEW.blobs)}\n" + "".join(f"{b.sha} {len(b.content)}\n" for b in NEW.blobs)
    puts = b"".join(NEW.put_requests())
    code, replies = speak(runner, root, puts + asks.encode() + NEW.put_requests()[1])
    assert code == 0
    assert replies[1:] == [b"ok stored"] * 3 + [b"ok have have have", b"ok have"]
    assert sorted(leftovers(root)) == sorted(f"store/.{b.sha}.part" for b in NEW.blobs)
    # The connection ended; what is left to do for the next one is next to nothing.
    _, replies = speak(runner, root, asks.encode())
    assert replies[1] == b"ok " + b" ".join(b"part:%d" % len(b.content) for b in NEW.blobs)
    rest = b"".join(b.put_request(len(b.content)) for b in NEW.blobs)
    code, replies = speak(runner, root, rest + NEW.release_request())
    assert (code, replies[1:]) == (0, [b"ok stored"] * 3 + [b"ok created"])
    assert leftovers(root) == []


def test_more_files_than_may_wait_are_named_early(runner: Path, root: Path) -> None:
    wanted = Wanted(tuple(Blob(f"m/{i}", b"%d" % i) for i in range(300)))
    process = start(runner, root)
    stdin, stdout = pipes(process)
    with process:
        stdout.readline()
        for request in wanted.put_requests():
            stdin.write(request)
            assert stdout.readline() == b"ok stored\n"
        assert len(leftovers(root)) == 300 - 256
        stdin.write(wanted.release_request() + b"switch %s\nquit\n" % wanted.id.encode())
        assert stdout.read() == b"ok created\nok -\nok bye\n"
    assert whole(root) == wanted.id


def test_a_sweep_takes_what_waits_for_its_name(runner: Path, root: Path) -> None:
    data = NEW.put_requests()[0] + b"sweep\n" + NEW.release_request()
    code, replies = speak(runner, root, data)
    assert code == 0 and replies[1:3] == [b"ok stored", b"ok"]
    assert replies[3].startswith(b"err 3 the store lacks")
    assert list((root / "store").iterdir()) == []


# --- being cut


def test_killed_at_every_step(runner: Path, root: Path) -> None:
    """At any instant the old release or the new one is live and whole, and deploying goes on."""
    pristine = root.with_name("pristine")
    deployed(runner, pristine, OLD)
    seen = set()
    for at in itertools.count(1):
        copy(pristine, root)
        data = b"".join(requests(NEW, OLD))
        code, _ = speak(runner, root, data, env={"EDGE_STORE_FAULT": f"kill:{at}"})
        seen.add(whole(root))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        names = {p.name for p in (root / "releases").iterdir()}
        deployed(runner, root, NEW, OLD if OLD.id in names else None)
        if OLD.id in names:
            # What was half done left no trace.
            assert leftovers(root) == []
    assert at > 60
    assert seen == {OLD.id, NEW.id}


def test_killed_at_every_step_of_the_first_deploy(runner: Path, root: Path) -> None:
    seen = set()
    for at in itertools.count(1):
        shutil.rmtree(root, ignore_errors=True)
        data = b"".join(requests(NEW))
        code, _ = speak(runner, root, data, env={"EDGE_STORE_FAULT": f"kill:{at}"})
        seen.add(whole(root))
        deployed(runner, root, NEW)
        if code == 0:
            break
    assert seen == {None, NEW.id}


def damage(file: Path) -> None:
    file.chmod(0o644)
    with file.open("r+b") as writer:
        writer.write(b"flip")


def repair(wanted: Wanted) -> bytes:
    """Find that a live release is damaged, and deploy it again."""
    return b"switch %s\n" % wanted.id.encode() + b"".join(requests(wanted))


def test_a_damaged_release_is_replaced_without_a_moment_without_it(
    runner: Path, root: Path
) -> None:
    pristine = root.with_name("pristine")
    deployed(runner, pristine, NEW)
    damage(pristine / "store" / NEW.blobs[1].sha)
    for at in itertools.count(1):
        copy(pristine, root)
        code, replies = speak(runner, root, repair(NEW), env={"EDGE_STORE_FAULT": f"kill:{at}"})
        assert (root / "current" / "bin" / "edge-run").is_file()
        assert len(list((root / "current").iterdir())) == 5
        if code == 0:
            break
        assert code == -signal.SIGKILL
        code, _ = speak(runner, root, repair(NEW))
        assert code == 0 and whole(root) == NEW.id and leftovers(root) == []
    assert replies[1].startswith(b"err 13 ") and all(r.startswith(b"ok") for r in replies[2:])
    assert whole(root) == NEW.id and at > 40


@pytest.mark.parametrize("error", [22, 38])
def test_a_file_system_that_can_not_exchange_two_names(
    runner: Path, root: Path, error: int
) -> None:
    pristine = root.with_name("pristine")
    deployed(runner, pristine, NEW)
    damage(pristine / "store" / NEW.blobs[1].sha)
    copy(pristine, root)
    trace = root.with_name("trace")
    speak(runner, root, repair(NEW), env={"EDGE_STORE_TRACE": str(trace)})
    steps = trace.read_text().splitlines()
    at = next(i for i, step in enumerate(steps, 1) if step.startswith("exchange"))
    copy(pristine, root)
    env = {"EDGE_STORE_FAULT": f"{error}:{at}"}
    code, replies = speak(runner, root, repair(NEW), env=env)
    assert code == 0 and all(reply.startswith(b"ok") for reply in replies[2:])
    assert whole(root) == NEW.id and leftovers(root) == []


def test_cut_after_any_number_of_bytes(runner: Path, root: Path) -> None:
    small = Wanted((Blob("bin/a", b"a" * 50, 0o555), Blob("models/m", b"m" * 70)))
    data = b"".join(requests(small))
    deployed(runner, root, OLD)
    for size in range(0, len(data), 11):
        code, _ = speak(runner, root, data[:size])
        assert code in (0, 15)
        assert whole(root) in (OLD.id, small.id)
    for size in range(0, len(data), 29):
        process = start(runner, root)
        stdin, stdout = pipes(process)
        with process:
            assert stdout.readline().startswith(b"ok edge-store")
            stdin.write(data[:size])
            process.kill()
        assert whole(root) in (OLD.id, small.id)
    deployed(runner, root, small)


@pytest.mark.parametrize(("error", "status"), [(28, b"9"), (122, b"9"), (27, b"9"), (5, b"11")])
def test_each_step_may_fail(runner: Path, root: Path, error: int, status: bytes) -> None:
    """Disk full, quota, file size, I/O: a reply for every request, and nothing half done."""
    pristine = root.with_name("pristine")
    deployed(runner, pristine, OLD)
    wanted = requests(NEW, OLD)
    reported = 0
    for at in itertools.count(1):
        copy(pristine, root)
        trace = root.with_name("trace")
        trace.unlink(missing_ok=True)
        env = {"EDGE_STORE_FAULT": f"{error}:{at}", "EDGE_STORE_TRACE": str(trace)}
        code, replies = speak(runner, root, b"".join(wanted), env=env)
        live = whole(root)
        assert live in (OLD.id, NEW.id)
        if len(trace.read_text().splitlines()) < at:
            break
        errors = [line for line in replies if line.startswith(b"err")]
        if not replies[0].startswith(b"ok"):
            assert code == int(status) and len(replies) == 1
            continue
        assert code == 0 and len(replies) == 1 + len(wanted)
        logged = next(r for r, q in zip(replies[1:], wanted, strict=True) if q.startswith(b"log"))
        lines = ["line\n"] if logged.startswith(b"err") else ["line\n"] * 2
        assert (root / "deployments.log").read_text() == "".join(lines)
        if errors:
            reported += 1
            # Later ones follow from the first: the store lacks, the release is unknown.
            assert errors[0].split()[1] == status
            failed = trace.read_text().splitlines()[at - 1]
            if status == b"9" and "/store/." in failed:
                assert re.search(rb"no space for \d+ bytes in .*: \d+ are free", errors[0])
            assert not [p for p in leftovers(root) if p.startswith("store/")]
        # What a single failure left never stands in the way.
        names = {p.name for p in (root / "releases").iterdir()}
        deployed(runner, root, NEW, OLD if OLD.id in names and live != NEW.id else None)
    assert reported > 30


MANY = Wanted((PROGRAM, *(Blob(f"models/{i}", bytes([i]) * (i * 99)) for i in range(12))))


@pytest.mark.parametrize("wanted", [NEW, MANY], ids=["few files", "many files"])
def test_what_a_name_stands_for_is_durable_before_the_name(
    runner: Path, root: Path, wanted: Wanted
) -> None:
    """A power cut can't be tried here; its remedy can: content, then name, then directory."""
    # Once without settling and the log, whose syncs would make good for one that switch forgot.
    alone = [r for r in requests(wanted) if not r.startswith((b"settle", b"log"))]
    for asked in (alone, requests(wanted)):
        shutil.rmtree(root, ignore_errors=True)
        steps = traced(runner, root, b"".join(asked))
        # The names of all files take one sync of their directory.
        named = [i for i, step in enumerate(steps) if step.startswith(f"rename {root}/store/")]
        assert len(named) == len(wanted.blobs)
        synced = [i for i, step in enumerate(steps) if step == f"fsync {root}/store"]
        assert synced == [named[-1] + 1]
        assert named == list(range(named[0], named[-1] + 1))
        # Many are written out at once, and nothing is left to one that failed unseen.
        assert (f"syncfs {root}/store" in steps) == (len(wanted.blobs) > 8)
        # Then the release and the link; at last the record.
        renames = [step for step in steps if step.startswith("rename ")]
        assert len(renames) == len(wanted.blobs) + 2 + (asked is not alone)


def traced(runner: Path, root: Path, data: bytes) -> list[str]:
    """Every step on the disk; at each name that is given, all that it depends on is durable."""
    trace = root.with_name("trace")
    trace.unlink(missing_ok=True)
    code, replies = speak(runner, root, data, env={"EDGE_STORE_TRACE": str(trace)})
    assert code == 0 and all(reply.startswith(b"ok") for reply in replies)
    steps = trace.read_text().splitlines()
    dirty: set[str] = set()
    for line in steps:
        step, *paths = line.split()
        path, parent = paths[-1], str(Path(paths[-1]).parent)
        # Who holds the lock is nobody's concern after a power cut; nor are names that are gone.
        if path.endswith("/lock") or step in ("unlink", "syncfs"):
            continue
        if step == "fsync":
            dirty.discard(path)
        elif step in ("rename", "exchange"):
            # All else is on the disk by now: what it names, and what that depends on.
            assert dirty <= {parent}, line
            dirty = {parent}
        else:
            if step in ("create", "write", "ftruncate", "fchmod"):
                dirty.add(path)
            if step in ("create", "mkdir", "link", "symlink"):
                dirty.add(parent)
    assert dirty == set()
    return steps


# --- being ended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_keeps_the_part(runner: Path, root: Path, number: int) -> None:
    blob = Blob("m", b"m" * 100_000)
    with start(runner, root) as process:
        stdin, stdout = pipes(process)
        assert stdout.readline().startswith(b"ok")
        stdin.write(blob.put_line() + b"100000 100000\n" + blob.content[:5000])
        part = root / "store" / f".{blob.sha}.part"
        wait_until(lambda: part.exists() and part.stat().st_size == 5000)
        process.send_signal(number)
        assert stdout.readline().startswith(b"err 15 ")
        assert process.wait(10) == 15
    _, replies = speak(runner, root, f"have 1\n{blob.sha} 100000\n".encode())
    assert replies[1] == b"ok part:5000"


def wait_until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_end_of_input(runner: Path, root: Path) -> None:
    assert speak(runner, root, b"ping\n") == (0, [greeting(root), b"ok pong"])
    for cut in (b"pin", b"log 5\nlin", b"have 2\n" + b"0" * 64 + b" 1\n"):
        code, replies = speak(runner, root, cut)
        assert (code, len(replies)) == (15, 2)
        assert replies[1].startswith(b"err 15 ")


def greeting(root: Path) -> bytes:
    """With the free space of this moment left out of the comparison."""

    class Any(bytes):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, bytes) and other.startswith(
                f"ok edge-store 2 {abi.constant('EDGE_ABI_VERSION')} ".encode()
            )

        __hash__ = bytes.__hash__

    return Any(str(root).encode())


def test_silence_lets_go_of_the_lock(runner: Path, root: Path) -> None:
    with start(runner, root, "--idle-timeout", "1") as process:
        begun = time.monotonic()
        _, stdout = pipes(process)
        stdout.readline()
        assert stdout.readline().startswith(b"err 15 no byte for 1 s")
        assert process.wait(10) == 15
        assert 0.9 < time.monotonic() - begun < 5


def test_a_client_that_reads_nothing_is_let_go(runner: Path, root: Path) -> None:
    with start(runner, root, "--idle-timeout", "1") as process:
        stdin, _ = pipes(process)
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                stdin.write(b"ping\n" * 10_000)
        assert process.wait(10) == 15


def test_a_reader_that_is_gone_is_no_death(runner: Path, root: Path) -> None:
    with start(runner, root) as process:
        stdin, stdout = pipes(process)
        stdout.readline()
        stdout.close()
        stdin.write(b"ping\n")
        assert process.wait(10) == 15


def test_a_heartbeat_keeps_the_lock(connect: Callable[..., Store]) -> None:
    with connect(idle_timeout_s=1) as store:
        with store.heartbeat():
            time.sleep(2.5)
        assert store.current() is None
        time.sleep(2)
        with pytest.raises(BoardError):
            store.ping()
        with pytest.raises(BoardError, match="is lost"):
            store.ping()


def test_the_second_learns_who_holds_it(connect: Callable[..., Store]) -> None:
    with connect(owner="Ada L\u00f6ve @ desk") as store:
        with pytest.raises(BoardError, match=r"held by Ada L\u00f6ve @ desk since 20.*Z: wait"):
            connect()
        store.ping()
    with connect() as store:
        store.ping()


def test_a_kill_lets_go_of_the_lock(
    runner: Path, root: Path, connect: Callable[..., Store]
) -> None:
    with start(runner, root, "--owner", "gone") as process:
        pipes(process)[1].readline()
        with pytest.raises(BoardError, match="held by gone since"):
            connect()
        process.kill()
        process.wait(10)
        with connect() as store:
            store.ping()


# --- a full disk


def test_a_file_size_limit_is_no_space(runner: Path, root: Path) -> None:
    blob = Blob("m", b"m" * 100_000)
    command = 'ulimit -f 16; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", runner, "store", "--root", root],
        input=Wanted((blob,)).put_requests()[0] + b"ping\n",
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0
    _, stored, pong, _ = done.stdout.split(b"\n")
    assert re.fullmatch(rb"err 9 no space for 100000 bytes in .*: \d+ are free.*", stored)
    assert pong == b"ok pong"
    assert list((root / "store").iterdir()) == []


def test_a_full_disk_is_left_as_it_was(runner: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk; errors are injected above")
    try:
        root = disk / "edge"
        deployed(runner, root, OLD)
        large = Wanted((Blob("m", b"m" * 2_000_000),))
        code, replies = speak(runner, root, b"".join(requests(large)[:2]) + b"current\n")
        assert code == 0
        assert re.fullmatch(rb"err 9 no space for 2000000 bytes in .*: \d+ are free.*", replies[2])
        assert replies[3] == b"ok " + OLD.id.encode()
        assert leftovers(root) == [] and whole(root) == OLD.id
        deployed(runner, root, NEW, OLD)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- hostile surroundings


@pytest.mark.parametrize("mask", [0, 0o077])
def test_modes_do_not_depend_on_the_login(runner: Path, root: Path, mask: int) -> None:
    done = subprocess.run(
        [runner, "store", "--root", root],
        input=b"".join(requests(NEW)),
        capture_output=True,
        umask=mask,
        timeout=30,
    )
    assert done.returncode == 0
    for path in [root, *root.rglob("*")]:
        mode = path.lstat().st_mode & 0o777
        expected = {0o755} if path.is_dir() else {0o644, 0o444, 0o555}
        assert path.is_symlink() or mode in expected, (path, oct(mode))


@pytest.mark.parametrize("name", ["store", "releases"])
def test_a_linked_directory_is_refused(runner: Path, root: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root.mkdir(parents=True)
    (root / name).symlink_to(outside)
    code, replies = speak(runner, root, b"".join(requests(NEW)))
    assert code == 11 and b"is not a directory" in replies[0]
    assert list(outside.iterdir()) == []


def test_a_message_is_one_plain_line(runner: Path, tmp_path: Path) -> None:
    root = tmp_path / "ro\n\x1b[2Jo\u00f6t"
    root.mkdir()
    (root / "store").symlink_to(tmp_path)
    code, replies = speak(runner, root, b"")
    assert code == 11 and len(replies) == 1 and b"ro??[2Jo??t/store" in replies[0]


def test_a_directory_that_others_may_write_to_is_refused(runner: Path, root: Path) -> None:
    (root / "store").mkdir(parents=True)
    (root / "store").chmod(0o777)
    code, replies = speak(runner, root, b"")
    assert code == 11 and b"other users" in replies[0]


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo"])
@pytest.mark.parametrize("offset", [0, 4])
def test_a_planted_part_is_never_written_through(
    runner: Path, root: Path, tmp_path: Path, kind: str, offset: int
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep this")
    blob = Blob("m", b"keep me\n")
    deployed(runner, root, OLD)
    part = root / "store" / f".{blob.sha}.part"
    if kind == "symlink":
        part.symlink_to(outside)
    elif kind == "hard link":
        part.hardlink_to(outside)
    else:
        os.mkfifo(part)
    data = f"have 1\n{blob.sha} 9\n".encode() + blob.put_request(offset)
    code, replies = speak(runner, root, data + b"ping\n")
    assert code == 0
    assert replies[1] == b"ok none"
    assert replies[2].startswith(b"err 11" if offset else b"ok stored")
    assert outside.read_bytes() == b"keep this" and outside.stat().st_nlink <= 2
    assert replies[3] == b"ok pong"


@pytest.mark.parametrize("name", ["deployments.log", "lock"])
def test_planted_links_are_not_followed(
    runner: Path, root: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep")
    root.mkdir(parents=True)
    (root / name).symlink_to(outside)
    _, replies = speak(runner, root, b"log 5\nline\n")
    assert replies[-1].startswith(b"err 11 ") and b"symbolic link" in replies[-1]
    (root / name).unlink()
    (root / name).hardlink_to(outside)
    _, replies = speak(runner, root, b"log 5\nline\n")
    assert replies[-1].startswith(b"err 11 ") and b"not a file of ours" in replies[-1]
    assert outside.read_bytes() == b"keep"


def test_a_current_that_is_no_link_is_not_removed(runner: Path, root: Path) -> None:
    (root / "current").mkdir(parents=True)
    (root / "current" / "mine").write_text("keep")
    _, replies = speak(runner, root, b"".join(requests(NEW)))
    assert any(b"can't replace" in line for line in replies)
    assert (root / "current" / "mine").read_text() == "keep"


def test_stale_trees_go_without_following_links(runner: Path, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("keep")
    stale = root / "releases" / ".0123456789abcdef.part" / "deep"
    stale.mkdir(parents=True)
    (stale / "link").symlink_to(outside)
    (stale.parent / "file").write_text("x")
    young, old = (root / "store" / f".{'0' * 64}.{n * 8}.part" for n in "ab")
    young.parent.mkdir()
    young.touch()
    old.touch()
    os.utime(old, (0, 0))
    (root / ".current.part").symlink_to(outside)
    assert speak(runner, root, b"")[0] == 0
    assert leftovers(root) == [f"store/{young.name}"]
    assert not (root / ".current.part").is_symlink()
    assert (outside / "file").read_text() == "keep"


BAD_PATHS = [
    "/etc/x", "../x", "a/../../x", "a/./b", "a//b", "a/", ".", "..", "a/..", "a\\b", "a~", "a;b",
    "manifest.json", "SHA256SUMS", "manifest.json/x", "a" * 256, "/".join("a" * 40),
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_release_stays_inside_itself(runner: Path, root: Path, path: str) -> None:
    deployed(runner, root, OLD)
    wanted = Wanted((Blob(path, PROGRAM.content),))
    before = sorted(root.parent.rglob("*"))
    code, replies = speak(runner, root, wanted.release_request() + b"ping\n")
    assert (code, replies[2]) == (0, b"ok pong")
    assert replies[1].startswith(b"err 2 a release can't hold the path")
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("places", "message"),
    [(("a", "a/b"), b"both"), (("a/b", "a"), b"both"), (("a/b", "a/b/c"), b"both")],
)
def test_a_path_is_a_file_or_a_directory(
    runner: Path, root: Path, places: tuple[str, str], message: bytes
) -> None:
    deployed(runner, root, OLD)
    wanted = Wanted(tuple(Blob(place, PROGRAM.content) for place in places))
    code, replies = speak(runner, root, wanted.release_request())
    assert code == 0 and replies[1].startswith(b"err 2 ") and message in replies[1]
    assert leftovers(root) == []


def test_refusals_leave_the_connection_usable(runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    lacking = Wanted((Blob("m", b"never put"),))
    twice = lacking.release_request().replace(b" 1 ", b" 2 ", 1)
    line = f"m {lacking.blobs[0].sha}\n".encode()
    manifest_off = NEW.release_request()[:-1] + b"?"
    other = Wanted((Blob("m", b"1"),))
    cases = [
        (lacking.release_request(), b"err 3 the store lacks"),
        (twice.replace(line, line + line, 1), b"err 2 a release can't hold 'm' twice"),
        (manifest_off, b"err 13 the manifest's sha256 does not begin with"),
        (b"switch 0123456789abcdef\n", b"err 3 there is no release"),
        (b"drop 0123456789abcdef\n", b"err 3 there is no release"),
        (b"drop %s\n" % OLD.id.encode(), b"err 2 release .* is current"),
        (b"have 2\nnonsense\n%s 5\n" % other.blobs[0].sha.encode(), b"err 2 malformed line"),
        (other.blobs[0].put_request(1), b"err 3 can't resume"),
        (
            OLD.release_request().replace(b"models/a", b"models/b", 1),
            b"err 13 release .* with other links",
        ),
    ]
    code, replies = speak(runner, root, b"".join(request for request, _ in cases) + b"ping\n")
    assert code == 0
    for reply, (_, expected) in zip(replies[1:], cases, strict=False):
        assert re.match(expected, reply), reply
    assert replies[-1] == b"ok pong" and len(replies) == len(cases) + 2
    assert whole(root) == OLD.id


MALFORMED = [
    b"\n", b"nonsense\n", b"ping \n", b" ping\n", b"ping  ping\n", b"ping x\n", b"pin\xc3\xa9\n",
    b"ping\r\n", b"ping\0\n", b"have -1\n", b"have 01\n", b"have 1025\n", b"have 1e3\n",
    b"put x 1 0 444\n", b"put " + b"0" * 64 + b" 1 2 444\n", b"put " + b"0" * 64 + b" 1 0 777\n",
    b"put " + b"0" * 64 + b" 99999999999999999999 0 444\n", b"put " + b"0" * 64 + b" 1 -1 444\n",
    b"put " + b"A" * 64 + b" 1 0 444\n", b"switch ../../x\n", b"switch abc\n", b"drop .\n",
    b"release 0123456789abcdef 4097 1\n", b"release 0123456789abcdef 1 1048577\n",
    b"log 65537\n", b"x" * 4096 + b"\n", b"x" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("line", MALFORMED)
def test_lost_framing_ends_the_connection(runner: Path, root: Path, line: bytes) -> None:
    code, replies = speak(runner, root, b"ping\n" + line + b"ping\n")
    assert code == 2
    assert len(replies) == 3 and replies[2].startswith(b"err 2 ")


def test_an_endless_line_is_not_awaited(runner: Path, root: Path) -> None:
    with start(runner, root) as process:
        stdin, stdout = pipes(process)
        stdout.readline()
        stdin.write(b"x" * 4096)
        assert stdout.readline().startswith(b"err 2 a line is longer than 4096 bytes")
        assert process.wait(10) == 2


def test_a_part_shorter_than_the_offset_stays(runner: Path, root: Path) -> None:
    blob = Blob("m", b"0123456789")
    (root / "store").mkdir(parents=True)
    part = root / "store" / f".{blob.sha}.part"
    part.write_bytes(blob.content[:4])
    code, replies = speak(runner, root, blob.put_request(5) + b"ping\n")
    assert code == 0 and replies[1].startswith(b"err 2 ") and b"only 4 bytes" in replies[1]
    assert replies[2] == b"ok pong" and part.read_bytes() == b"0123"


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--root",),
        ("--root", ""),
        ("--root", "x", "--what", "1"),
        ("--root", "x", "--idle-timeout", "0"),
        ("--root", "x", "--owner", "two words"),
        ("--root", "x", "--install-self", "abc"),
    ],
)
def test_wrong_flags(runner: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = subprocess.run(
        [runner, "store", *flags], input=b"", capture_output=True, cwd=tmp_path, timeout=30
    )
    assert done.returncode == 2 and done.stdout.startswith(b"err 2 store: ")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_file_is_found_and_sent_again(
    connect: Callable[..., Store], runner: Path, root: Path, tmp_path: Path
) -> None:
    deployed(runner, root, OLD)
    deployed(runner, root, NEW)
    model = NEW.blobs[1]
    file = root / "store" / model.sha
    file.chmod(0o644)
    with file.open("r+b") as writer:
        writer.write(b"flip")
    with connect() as store:
        with pytest.raises(BoardError, match=r"models/a.tflite is damaged: deploy it again"):
            store.switch(NEW.id)
        assert push(store, NEW, tmp_path)[:2] == (len(model.content), True)
    assert whole(root) == NEW.id
    assert leftovers(root) == []


@pytest.mark.parametrize("harm", ["missing", "foreign", "linked", "sums", "manifest"])
def test_a_release_that_is_not_whole_never_goes_live(
    connect: Callable[..., Store], runner: Path, root: Path, tmp_path: Path, harm: str
) -> None:
    deployed(runner, root, NEW)
    deployed(runner, root, OLD)
    release = root / "releases" / NEW.id
    model = release / "models" / "a.tflite"
    if harm in ("missing", "foreign"):
        model.unlink()
        if harm == "foreign":
            model.write_bytes(NEW.blobs[1].content)
    elif harm == "linked":
        (release / "models").rename(tmp_path / "models")
        (release / "models").symlink_to(tmp_path / "models")
    else:
        file = release / ("SHA256SUMS" if harm == "sums" else "manifest.json")
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:-70])
    with connect() as store:
        with pytest.raises(BoardError, match="deploy it again"):
            store.switch(NEW.id)
        assert whole(root) == OLD.id
        assert push(store, NEW, tmp_path) == (0, True, OLD.id)
    assert whole(root) == NEW.id


# --- first contact


@pytest.fixture
def board() -> Iterator[LocalTransport]:
    with LocalTransport() as transport:
        yield transport


def test_first_contact(board: LocalTransport, runner: Path, root: Path) -> None:
    sha = hashlib.sha256(runner.read_bytes()).hexdigest()
    device = PurePosixPath(root)
    assert store_module.install_runner(board, runner, sha, device) is True
    assert store_module.install_runner(board, runner, sha, device) is False
    assert [p.name for p in (root / "store").iterdir()] == [sha]
    assert (root / "store" / sha).stat().st_mode & 0o777 == 0o555
    with store_module.open(board, device / "store" / sha, device, owner="me") as store:
        # It runs from the store, so that no drop removes it.
        store.create_release(*release_of(Wanted(())))
        store.drop(Wanted(()).id)
    assert (root / "store" / sha).exists()


def release_of(wanted: Wanted) -> tuple[str, dict[str, str], bytes]:
    return wanted.id, wanted.links, wanted.manifest


def test_first_contact_while_the_lock_is_held(
    board: LocalTransport, connect: Callable[..., Store], runner: Path, root: Path
) -> None:
    sha = hashlib.sha256(runner.read_bytes()).hexdigest()
    with connect():
        assert store_module.install_runner(board, runner, sha, PurePosixPath(root)) is True
    assert (root / "store" / sha).exists()


def test_first_contact_keeps_a_file_that_a_release_links(runner: Path, root: Path) -> None:
    wanted = Wanted((Blob("bin/edge-run", runner.read_bytes()),))
    deployed(runner, root, wanted)
    # A file that may not be run is sent again, but must not replace what the release links.
    sha = wanted.blobs[0].sha
    mine = root / "store" / f".{sha}.00000000.part"
    shutil.copy(runner, mine)
    done = subprocess.run(
        [mine, "store", "--root", root, "--install-self", sha],
        input=b"",
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 0
    assert (root / "store" / sha).stat().st_mode & 0o777 == 0o555
    assert whole(root) == wanted.id and leftovers(root) == []


def test_a_runner_that_arrives_damaged_is_not_installed(
    board: LocalTransport, runner: Path, root: Path
) -> None:
    with pytest.raises(BoardError, match="arrived damaged"):
        store_module.install_runner(board, runner, "0" * 64, PurePosixPath(root))
    assert list((root / "store").iterdir()) == []


def test_first_contact_makes_nothing_that_others_may_write_to(
    board: LocalTransport, runner: Path, root: Path
) -> None:
    sha = hashlib.sha256(runner.read_bytes()).hexdigest()
    mask = os.umask(0)
    try:
        store_module.install_runner(board, runner, sha, PurePosixPath(root))
    finally:
        os.umask(mask)
    for path in [root, *root.rglob("*")]:
        assert path.stat().st_mode & 0o022 == 0, path


def test_a_damaged_runner_removes_itself(runner: Path, root: Path) -> None:
    (root / "store").mkdir(parents=True)
    part = root / "store" / f".{'0' * 64}.00000000.part"
    shutil.copy(runner, part)
    code, replies = speak(part, root, b"", "--install-self", "0" * 64)
    assert code == 13 and replies[0].startswith(b"err 13 ")
    assert list((root / "store").iterdir()) == []


def test_a_runner_for_another_machine(board: LocalTransport, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "runner"
    file.write_bytes(b"\x7fELF nonsense")
    with pytest.raises(BoardError, match=r"does not start.*another architecture"):
        store_module.install_runner(board, file, "0" * 64, PurePosixPath(root))
    assert list((root / "store").iterdir()) == []


def test_only_an_upload_installs_itself(runner: Path, root: Path) -> None:
    sha = hashlib.sha256(runner.read_bytes()).hexdigest()
    code, replies = speak(runner, root, b"", "--install-self", sha)
    assert code == 2 and b"does not run from an upload" in replies[0]


def test_errors_become_exceptions(connect: Callable[..., Store], runner: Path, root: Path) -> None:
    deployed(runner, root, OLD)
    with connect() as store:
        with pytest.raises(UsageError, match="is current: switch"):
            store.drop(OLD.id)
        with pytest.raises(UsageError, match="no release"):
            store.switch("0" * 16)
        with pytest.raises(EdgeError, match="can't hold the path"):
            wanted = Wanted((Blob("../x", b""),))
            store.create_release(wanted.id, wanted.links, wanted.manifest)
        store.ping()


# --- anything at all

SHAS = st.sampled_from([*(b.sha for b in NEW.blobs), "0" * 64, "../" + "0" * 61])
IDS = st.sampled_from([NEW.id, OLD.id, "0" * 16, "f" * 64, "../x", "."])
NUMBERS = st.sampled_from([0, 1, 2, 3, 100, 1024, 4096, 1 << 20, 1 << 50, 1 << 63, 1 << 64, -1])
PATHS = st.one_of(st.sampled_from(["bin/x", *BAD_PATHS]), st.text("ab./_-", max_size=12))
GARBAGE = st.binary(max_size=200)
WELL_FORMED = st.sampled_from([*requests(NEW)[:-1], *requests(OLD)[:-1], b"ping\n", b"current\n"])
NEARLY = st.one_of(
    st.builds("put {} {} {} {}\n".format, SHAS, NUMBERS, NUMBERS, st.sampled_from([444, 555, 777])),
    st.builds("have {}\n{} {}\n".format, NUMBERS, SHAS, NUMBERS),
    st.builds("release {} {} {}\n{} {}\n".format, IDS, NUMBERS, NUMBERS, PATHS, SHAS),
    st.builds("{} {}\n".format, st.sampled_from(["switch", "drop", "log"]), IDS | NUMBERS.map(str)),
).map(str.encode)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    data = b"".join(draw(st.lists(st.one_of(WELL_FORMED, NEARLY, GARBAGE), max_size=12)))
    for at, byte in draw(
        st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=2)
    ):
        if data:
            data = data[: at % len(data)] + bytes([byte]) + data[at % len(data) + 1 :]
    return data


@settings(
    max_examples=int(os.environ.get("EDGE_FUZZ_EXAMPLES", "200")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=conversations())
def test_no_input_crashes_it(sanitized: Path, tmp_path: Path, data: bytes) -> None:
    home = tmp_path / "home"
    shutil.rmtree(home, ignore_errors=True)
    code, replies = speak(sanitized, home / "edge", data)
    assert 0 <= code <= 31
    assert replies[0].startswith(b"ok edge-store 2 ")
    whole(home / "edge")
    assert [p.name for p in home.iterdir()] == ["edge"]
    assert {p.name for p in (home / "edge").iterdir()} <= {
        "store", "releases", "lock", "current", "deployments.log", "pins", "settled",
    }  # fmt: skip
