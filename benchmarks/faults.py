"""Does a deploy that is disturbed ever break a board?

    python -m benchmarks.faults [--tries 200] [--seed N] [--only FAULT]

A virtual machine has an old release live. A deploy of a new one, whose large model is of this try
alone, runs as a command of its own. At a random moment, uniform from its connecting to a little
after its usual end, one fault happens. When the command has ended the fault is taken back, and the
board is looked at by a shell script that knows nothing of edge:

- ``current`` leads to the old release or to the new one, and ``sha256sum -c`` holds in it;
- nothing is writable by others;
- the runner of the live release computes each of its models;
- a command that said that it was done has made the new release live.

Then the new release is deployed again, which must succeed without another word to the board, leave
it live with all hashes right, no half-sent file, and must not have sent again what was there. Where
a bit was flipped in a file of the live release, which no deploy can prevent, that file may be wrong
before that deploy, and nothing after it. (It is flipped through the file system, so that its times
change, too; a card that rots in silence shows when its content is read.)

Whatever of this does not hold counts as broken, and so does a defect in edge. Each try has a seed:
``--only FAULT --seed SEED --tries 1`` repeats it, as far as the timing of two machines repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import secrets
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edge import board as board_module
from edge import build, report, session, tiny
from edge.errors import BoardError, EdgeError
from edge.machine import Machine
from edge.transport import Transport, ssh
from examples.digits import dataset

BOARD, NAME = "qemu-virt", "bench-faults"
CHECKOUT = Path(__file__).resolve().parents[1]

_WIDTH = 896
"""Of the large model's weights: 3.2 MB, a second or so on the way."""
_AFTER = 1.1
"""Moments come until a tenth of a deploy's length after its usual end."""
_END_S = 150.0
"""Each step of a deploy has a deadline; so long takes the command that meets the last of them."""
_HELD_S = 90.0
"""The board's side of a cut connection keeps the lock until its own idle timeout."""
_YEAR_S = 365 * 86400

# $1: device root; $2: "run" to compute the live release's models, too; "tidy" to remove all but
# that release afterwards, by hand: the disk would fill up over the tries.
_EXAMINE = """\
root=$1
current=$(readlink "$root/current")
echo "current=${current#releases/}"
if cd "$root/current"; then
    sha256sum -c SHA256SUMS > /tmp/sums 2>&1
    echo "sums=$?"
    grep -v ': OK$' /tmp/sums | sed -n 's/^\\([^ :]*\\): FAILED.*/damaged=\\1/p'
    while read -r sum path; do
        echo "file=$path $sum $(stat -L -c %s "$path")"
    done < SHA256SUMS
    for library in lib/lib*.so; do :; done
    for model in models/*.tflite; do
        [ "$2" = run ] || continue
        said=$(bin/edge-run infer --lib "$library" --model "$model" 2>&1 >/dev/null) ||
            echo "fails=$model: $? $said"
    done
fi
cd "$root"
find . ! -type l -perm /022 | sed 's/^/loose=/'
ls -A releases | grep '[.]part$' | sed 's/^/left=/'
for stored in store/* store/.*.part; do
    [ -f "$stored" ] && echo "stored=${stored#store/} $(stat -c %s "$stored")"
done
if [ "$2" = tidy ]; then
    for release in releases/*; do
        [ "$release" = "releases/${current#releases/}" ] && continue
        chmod -R u+w "$release" && rm -rf "$release"
    done
    find store -type f -links 1 -exec rm -f {} +
fi
echo over=yes
"""

# $1: store; $2 and $3: numbers that choose file and bit. A program that runs can't be written.
_FLIP = """\
cd "$1" || exit 1
set -- $2 $3 $(ls -A | tr '\\n' ' ')
number=$1 bit=$2; shift 2
[ $# -gt 0 ] || exit 0
shift $((number % $#))
for stored; do
    size=$(stat -c %s "$stored") && [ "$size" -gt 0 ] || continue
    at=$((bit / 8 % size))
    old=$(dd if="$stored" bs=1 skip=$at count=1 2>/dev/null | od -An -tu1)
    printf "\\\\$(printf %o $((old ^ (1 << bit % 8))))" |
        dd of="$stored" bs=1 seek=$at conv=notrunc 2>/dev/null && echo "$stored" && exit 0
done
"""


@dataclass(frozen=True)
class Look:
    """What the board's own shell sees below the device root.

    :ivar current: where the link leads: a release's id, or empty.
    :ivar sums: exit code of ``sha256sum -c`` in it; None if there is no such folder.
    :ivar files: path in the live release -> its hash there and its size.
    :ivar stored: name in the store, part files too -> bytes.
    """

    current: str
    sums: int | None
    damaged: tuple[str, ...]
    files: dict[str, tuple[str, int]]
    fails: tuple[str, ...]
    loose: tuple[str, ...]
    left: tuple[str, ...]
    stored: dict[str, int]

    @property
    def parts(self) -> dict[str, int]:
        """sha256 -> bytes of what was half sent. A first upload has a name of its own."""
        return {
            name[1:65]: size
            for name, size in self.stored.items()
            if name.endswith(".part") and len(name) == 70
        }


@dataclass(frozen=True)
class Plan:
    """Everything about a try that is drawn from its seed.

    :ivar share: the moment, as a share of an undisturbed deploy's length.
    :ivar other_runner: the new release's runner is another one too.
    """

    seed: int
    fault: str
    share: float
    other_runner: bool

    @classmethod
    def draw(cls, seed: int, fault: str) -> Plan:
        drawn = random.Random(seed)
        return cls(seed, fault, drawn.uniform(0, _AFTER), drawn.random() < 0.25)


@dataclass(frozen=True)
class Try:
    """What became of one.

    :ivar phase: the last line that the command had written before the fault.
    :ivar did: what exactly the fault was.
    :ivar exit_code: of the command that was disturbed.
    :ivar live: ``old``, ``new``, or what else ``current`` was.
    :ivar wrong: why it counts as broken.
    :ivar parts_bytes: half-sent content that the next deploy could go on from.
    :ivar lacking_bytes: what of the new release had not arrived whole.
    :ivar sent_bytes: what that deploy sent.
    """

    plan: Plan
    moment_s: float
    phase: str
    did: str
    exit_code: int
    live: str
    wrong: tuple[str, ...]
    parts_bytes: int
    lacking_bytes: int
    sent_bytes: int
    took_s: float

    @property
    def resumed(self) -> bool | None:
        """Whether it went on from what was there; None: nothing was."""
        if not self.parts_bytes:
            return None
        # Of a part that is complete one byte is sent again, to have it verified.
        return self.sent_bytes <= self.lacking_bytes - self.parts_bytes + 16

    def line(self) -> str:
        verdict = f"BROKEN: {'; '.join(self.wrong)}" if self.wrong else f"{self.live} live"
        resumed = {None: "", True: ", resumed", False: ", sent again"}[self.resumed]
        return (
            f"{self.plan.fault} (seed {self.plan.seed}) at {self.plan.share:.0%}, "
            f"{self.moment_s:.2f} s, after '{self.phase}'{f', {self.did}' if self.did else ''}: "
            f"{verdict}; the next deploy sent {self.sent_bytes / 1e6:.2f} MB{resumed}; "
            f"{self.took_s:.1f} s"
        )

    def again(self) -> str:
        """What became of it, and how to repeat it."""
        return (
            f"{self.line()}; again: python -m benchmarks.faults --only '{self.plan.fault}' "
            f"--seed {self.plan.seed} --tries 1"
        )


# --- faults -------------------------------------------------------------------------------------


class Client:
    """The command that deploys, in a process of its own."""

    def __init__(
        self, host: str, models: Sequence[Path], runner_flags: Sequence[str], folder: Path
    ) -> None:
        argv = [
            sys.executable,
            "-m",
            "invoke",
            "deploy",
            "--board",
            BOARD,
            "--host",
            host,
            "--json",
        ]
        for model in models:
            argv += ["--model", str(model)]
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*argv, *runner_flags],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def said(self) -> list[str]:
        """Lines of standard error so far."""
        return self._err.read_text("utf-8", "replace").splitlines()

    @property
    def result(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self._out.read_text())
        return found

    def connected(self, port: int) -> bool:
        """Whether it has a connection to that port of this machine."""
        ours = set()
        with contextlib.suppress(OSError):  # it has just ended
            for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    ours.add(str(entry.readlink()))
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[2] == f"0100007F:{port:04X}" and f"socket:[{words[9]}]" in ours:
                return True
        return False

    def await_connection(self, port: int) -> float:
        """The time at which it connected; that at which it ended, if it did not."""
        while not self.connected(port) and self.process.poll() is None:
            time.sleep(0.005)
        return time.monotonic()

    def end(self, timeout_s: float) -> int | None:
        """Its exit code; None if it is still running."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


Fault = Callable[["Bench", Client, random.Random], AbstractContextManager[str]]
"""Begins when it is entered, and gives in a few words what it did; the exit takes it back."""


@contextlib.contextmanager
def link_cut(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    """Half of them for good, as far as the command can know; half for a moment."""
    lasts_s = drawn.uniform(0.2, 3)
    bench.machine.link(False)
    try:
        if drawn.random() < 0.5:
            client.end(lasts_s)
            bench.machine.link(True)
            yield f"for {lasts_s:.1f} s"
        else:
            yield "until the command ended"
    finally:
        bench.machine.link(True)


@contextlib.contextmanager
def power_cut(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    bench.machine.power_cut()
    yield ""


@contextlib.contextmanager
def kill_client(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    client.process.kill()
    yield ""


@contextlib.contextmanager
def disk_full(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    kept = drawn.choice([0, drawn.randrange(5000)])
    bench.machine.fill_disk(kept)
    try:
        yield f"but for {kept} KiB"
    finally:
        bench.machine.free_disk()


@contextlib.contextmanager
def read_only(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    """As the kernel itself does when a disk fails: a mount command refuses while files are open."""
    bench.as_root("echo u > /proc/sysrq-trigger")
    try:
        yield ""
    finally:
        bench.as_root("mount -o remount,rw /home")


@contextlib.contextmanager
def sshd_killed(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    """The server and all its sessions, ours too; a second later there is a server again."""
    script = "killall -9 sshd; sleep 1; exec /usr/sbin/sshd"
    with contextlib.suppress(EdgeError):
        bench.as_root(f"setsid sh -c {shlex.quote(script)} < /dev/null > /dev/null 2>&1 &")
    bench.hang_up()
    yield ""
    bench.machine.link(True)  # which waits until the server answers


@contextlib.contextmanager
def reboot(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    try:
        bench.machine.reboot()
        how = ""
    except BoardError:
        # A virtual machine that does not come up again is no deploy's fault: its watchdog bites.
        bench.machine.power_cut()
        how = "which hung, then a power cut"
    yield how


@contextlib.contextmanager
def clock_back(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    bench.machine.jump_clock(-_YEAR_S)
    try:
        yield "by a year"
    finally:
        bench.machine.jump_clock(_YEAR_S)


@contextlib.contextmanager
def bit_flip(bench: Bench, client: Client, drawn: random.Random) -> Iterator[str]:
    numbers = f"{drawn.randrange(1 << 16)} {drawn.randrange(1 << 30)}"
    yield bench.as_root(f"set -- {bench.root}/store {numbers}; {_FLIP}").strip()


FAULTS: dict[str, Fault] = {
    "link cut": link_cut,
    "power cut": power_cut,
    "kill -9 of the client": kill_client,
    "disk full": disk_full,
    "read-only remount": read_only,
    "sshd killed": sshd_killed,
    "board reboot": reboot,
    "clock jump back a year": clock_back,
    "bit flip": bit_flip,
}

_BY_ROOT = ("read-only remount", "sshd killed", "bit flip")
_LOSES_CONTENT = ("power cut", "bit flip")
"""What a part holds may be wrong afterwards: then it is right to send it again."""


# --- the bench ----------------------------------------------------------------------------------


class Bench:
    """A machine with a release live on it, and lines to it besides the command's."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.root = f"/home/{machine.user}/.local/share/edge"
        self._folder = folder
        self._lines: dict[str, Transport] = {}
        self._small = dataset.FOLDER / dataset.MODELS_FOLDER / "mlp-int8.tflite"
        self._other_runner = False
        self._live = ""
        """The release that the last try left live."""
        self._lengths_s: dict[bool, float] = {}
        """Of an undisturbed deploy from its connecting on, with another runner and without."""

    def prepare(self, seed: int) -> None:
        """Have a release live, and measure how long a deploy takes."""
        target = board_module.load(BOARD)
        # Compiling has no part in a deploy's deadlines.
        build.host_library(report.progress)
        for lto in (None, True):
            build.runner(target, report.progress, lto=lto)
        self.hang_up()
        self._deploy(self._models(seed - 1))
        for other in (False, True, False):
            self._other_runner ^= other
            models = self._models(seed - 2 - other)
            with self._client(models) as client:
                began = client.await_connection(self.machine.ssh_port)
                code = client.end(_END_S)
                took_s = time.monotonic() - began
                if code != 0:
                    raise BoardError(f"an undisturbed deploy failed: {client.said[-3:]}")
            self._lengths_s[other] = took_s
        self._live = self.look("tidy").current

    @property
    def lengths_s(self) -> tuple[float, float]:
        return self._lengths_s[False], self._lengths_s[True]

    def attempt(self, plan: Plan, fault: Fault) -> Try:
        """One try, after which the new release is live, or everything failed."""
        began = time.monotonic()
        drawn = random.Random(plan.seed + 1)
        old = self._live
        self._other_runner ^= plan.other_runner
        models = self._models(plan.seed)
        moment_s = plan.share * self._lengths_s[plan.other_runner]
        wrong: list[str] = []
        with self._client(models) as client:
            if plan.fault in _BY_ROOT:
                self._line("root")  # at hand when its moment comes
            connected = client.await_connection(self.machine.ssh_port)
            time.sleep(max(0.0, connected + moment_s - time.monotonic()))  # the random moment
            phase = (client.said or [""])[-1].strip()
            with fault(self, client, drawn) as did:
                code = client.end(_END_S)
                if code is None:
                    wrong.append(f"the command still ran {_END_S:g} s after the fault")
            said = client.said
        if plan.fault in ("link cut", "power cut", "board reboot"):
            self.hang_up()
        if any("a defect in edge" in line for line in said):
            wrong.append(f"a defect: {said[-1]}")
        seen = self.look("run")
        done = self._repair(models, wrong)
        after = self.look("tidy")
        self._live = after.current
        new = str(done.get("release", "unknown"))
        live = {old: "old", new: "new"}.get(seen.current, seen.current or "nothing")
        if code == 0 and live == "old":
            wrong.append("the command said that it was done, and the old release is live")
        wrong += defects(seen, (old, new), did if plan.fault == "bit flip" else "")
        wrong += [f"after the next deploy: {text}" for text in defects(after, (new,), "")]
        wrong += [
            f"after the next deploy: {name} is left"
            for name in (*after.left, *(f".{sha}.part" for sha in after.parts))
        ]
        lacking = {sha: size for sha, size in after.files.values() if sha not in seen.stored}
        result = Try(
            plan=plan,
            moment_s=moment_s,
            phase=phase,
            did=did,
            exit_code=-9 if code is None else code,
            live=live,
            wrong=tuple(wrong),
            parts_bytes=sum(seen.parts.get(sha, 0) for sha in lacking),
            lacking_bytes=sum(lacking.values()),
            sent_bytes=int(str(done.get("sent_bytes", 0))),
            took_s=0.0,
        )
        if result.resumed is False and plan.fault not in _LOSES_CONTENT:
            lost = f"{result.parts_bytes} bytes were there, and all was sent again"
            result = dataclasses.replace(result, wrong=(*result.wrong, lost))
        return dataclasses.replace(result, took_s=time.monotonic() - began)

    def look(self, also: str = "") -> Look:
        """What is on the board now.

        :param also: ``run`` to compute the live release's models; ``tidy`` to remove afterwards
            what does not belong to it.
        """
        argv = ["sh", "-c", _EXAMINE, "sh", self.root, also]
        outcome = self._line(self.machine.user).run(argv, timeout_s=120)
        found: dict[str, list[str]] = {}
        for line in outcome.text.splitlines():
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
        if "over" not in found:
            raise BoardError(f"the board could not be looked at: {outcome.error_text}")
        files = {}
        for line in found.get("file", ()):
            path, sha, *size = line.split()
            files[path] = (sha, int(size[0]) if size else 0)
        stored = [line.rpartition(" ") for line in found.get("stored", ())]
        return Look(
            current=found["current"][0],
            sums=int(found["sums"][0]) if "sums" in found else None,
            damaged=tuple(found.get("damaged", ())),
            files=files,
            fails=tuple(found.get("fails", ())),
            loose=tuple(found.get("loose", ())),
            left=tuple(found.get("left", ())),
            stored={name: int(size) for name, _, size in stored},
        )

    def as_root(self, script: str) -> str:
        return self._line("root").run(["sh", "-c", script], timeout_s=60).text

    def hang_up(self) -> None:
        """Forget lines that may be dead."""
        for line in self._lines.values():
            with contextlib.suppress(EdgeError):
                line.close()
        self._lines.clear()

    def _line(self, user: str) -> Transport:
        """A connection of our own; the same as long as it holds."""
        line = self._lines.get(user)
        if line is not None:
            with contextlib.suppress(EdgeError):
                if line.run(["true"], timeout_s=5).ok:
                    return line
            line.close()
        target = dataclasses.replace(session.guest_target(self.machine.access), user=user)
        self._lines[user] = ssh.connect(target)
        return self._lines[user]

    def _models(self, seed: int) -> list[Path]:
        large = self._folder / "large.tflite"
        large.write_bytes(tiny.dense(_WIDTH, seed=seed % (1 << 63)))
        return [large, self._small]

    def _client(self, models: Sequence[Path]) -> Client:
        flags = ["--lto"] if self._other_runner else []
        return Client(self.machine.name, models, flags, self._folder)

    def _deploy(self, models: Sequence[Path]) -> dict[str, object]:
        """
        :raises BoardError: it failed, or the lock was held for too long.
        """
        with self._client(models) as client:
            code = client.end(_END_S)
            if code == 0:
                return client.result
            raise BoardError(f"{' '.join(client.said[-1:]) or 'no word'} (exit code {code})")

    def _repair(self, models: Sequence[Path], wrong: list[str]) -> dict[str, object]:
        """The next deploy; if it fails that is told, and one more makes the board fit to go on."""
        try:
            return self._deploy(models)
        except BoardError as error:
            wrong.append(f"the next deploy failed: {error}")
        self.as_root(f"chmod -R u+w {self.root}; rm -rf {self.root}")
        return self._deploy(models)


def defects(seen: Look, allowed: Sequence[str], flipped: str) -> list[str]:
    """What is wrong with a board on which one of the releases ``allowed`` should be live.

    :param flipped: the stored file in which the fault, not a deploy, changed a bit.
    """
    wrong = []
    if seen.current not in allowed:
        wrong.append(f"current is {seen.current or 'nothing'}, not {' or '.join(allowed)}")
    if seen.sums is None:
        return [*wrong, "no release is live"]
    own = {path for path, (sha, _) in seen.files.items() if sha == flipped}
    if seen.sums != 0 and not (seen.damaged and set(seen.damaged) <= own):
        wrong.append(f"sha256sum -c: exit code {seen.sums}: {', '.join(seen.damaged)}")
    if seen.fails and not own:
        wrong.append(f"the runner fails: {'; '.join(seen.fails)}")
    if seen.loose:
        wrong.append(f"writable by others: {', '.join(seen.loose[:3])}")
    return wrong


# --- many tries ---------------------------------------------------------------------------------


def run(
    bench: Bench, faults: Sequence[str], tries: int, seed: int, told: Callable[[str], None]
) -> list[Try]:
    """``tries``, spread evenly over ``faults``, with the seeds from ``seed`` on.

    An interrupt ends it after those that were made.
    """
    began = time.monotonic()
    bench.prepare(seed)
    lengths = " and ".join(f"{length:.2f} s" for length in bench.lengths_s)
    told(
        f"seed {seed}; an undisturbed deploy takes {lengths} (with another runner) from its "
        f"connecting on; ready after {time.monotonic() - began:.0f} s"
    )
    done = []
    order: list[str] = []
    for number in range(tries):
        if not order:
            order = random.Random(seed + number).sample(list(faults), len(faults))
        name = order.pop()
        try:
            done.append(bench.attempt(Plan.draw(seed + number, name), FAULTS[name]))
        except KeyboardInterrupt:
            break
        told(f"{number + 1}/{tries} {done[-1].line()}")
    return done


def print_results(done: Sequence[Try], seed: int, lengths_s: tuple[float, float]) -> None:
    table = report.table(
        f"{len(done)} deploys to {BOARD} disturbed at random moments, seeds {seed} to "
        f"{seed + len(done) - 1}",
        ["fault", "tries", "old live", "new live", "broken", "half sent: resumed", "median"],
    )
    rows = [(name, [t for t in done if t.plan.fault == name]) for name in FAULTS]
    for name, tries in [*rows, ("all", list(done))]:
        if not tries:
            continue
        half = [t for t in tries if t.resumed is not None]
        table.add_row(
            name,
            str(len(tries)),
            str(sum(t.live == "old" and not t.wrong for t in tries)),
            str(sum(t.live == "new" and not t.wrong for t in tries)),
            str(sum(bool(t.wrong) for t in tries)),
            f"{sum(t.resumed is True for t in half)} of {len(half)}",
            f"{statistics.median(t.took_s for t in tries):.1f} s",
        )
    report.print_table(table)
    tenths = [0] * 11
    for each in done:
        tenths[min(10, int(each.plan.share * 10))] += 1
    report.print_line(
        f"moments, by tenths of an undisturbed deploy ({lengths_s[0]:.2f} s from its connecting, "
        f"{lengths_s[1]:.2f} s with another runner), the last one after its end: "
        + " ".join(map(str, tenths))
    )
    phases: dict[str, int] = {}
    for each in done:
        phases[each.phase or "connecting"] = phases.get(each.phase or "connecting", 0) + 1
    report.print_line(
        "what the command had said last: "
        + ", ".join(f"'{phase}' {count}" for phase, count in sorted(phases.items()))
    )
    for each in done:
        if each.wrong:
            report.print_line(each.again())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--only", choices=list(FAULTS))
    options = parser.parse_args()
    faults = [options.only] if options.only else list(FAULTS)
    target = board_module.load(BOARD)
    with (
        session.start(target, report.progress, name=NAME, fresh=True) as machine,
        tempfile.TemporaryDirectory() as folder,
    ):
        bench = Bench(machine, Path(folder))
        try:
            done = run(bench, faults, options.tries, options.seed, report.progress)
            print_results(done, options.seed, bench.lengths_s)
        finally:
            bench.hang_up()
    return 1 if any(each.wrong for each in done) else 0


if __name__ == "__main__":
    sys.exit(main())
