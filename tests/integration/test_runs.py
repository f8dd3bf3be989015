"""Runs that were measured, gone back to by command; settings that hold while one lasts."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from edge import board, build, facts, group, layout, watch
from edge.errors import BoardError
from edge.session import Session
from edge.transport import Transport, ssh
from edge.transport.local import LocalTransport
from tests import worker
from tests.integration.test_commands import MODEL, call, last_line
from tests.integration.test_hostile import FLOOD, Board, _server, hostile
from tests.integration.test_watch import BOOST, GOVERNOR, SETTINGS, sudo, system, values
from tests.unit import boards

__all__ = ["_server", "hostile", "sudo"]
BENCH = ("bench", "--board", "localhost", "--model", str(MODEL), "--count", "400")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The developer's cache, but for the runs: those of this file are all there are."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "edge").mkdir()
    layout.cache_dir().mkdir(parents=True, exist_ok=True)
    build.runner(board.load("localhost"), print)
    for place in layout.cache_dir().iterdir():
        if place.name != "runs":
            (folder / "edge" / place.name).symlink_to(place)
    worker.keep_apart(folder / "lab.toml", folder / "localhost")
    return {
        **os.environ,
        "XDG_CACHE_HOME": str(folder),
        "EDGE_LAB": str(folder / "lab.toml"),
    }


@pytest.fixture(scope="module")
def measured(home: dict[str, str]) -> dict[str, Any]:
    result = call(*BENCH, "--json", env=home)
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def folder_of(home: dict[str, str], run_id: str) -> Path:
    return Path(home["XDG_CACHE_HOME"]) / "edge/runs" / run_id


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key.partition("/")[0]
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_every_key_that_a_run_keeps_is_documented(
    home: dict[str, str], measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (layout.data_dir("docs") / "runs.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z0-9_]+)`", text))
    kept = json.loads((folder_of(home, measured["id"]) / "run.json").read_text())
    watched = kept["watched"]
    assert watched["settings"].keys() == watched["settings_after"].keys()
    assert kept["watched"]["settings"]["libc"].startswith("glibc")
    assert sorted(set(keys_of(kept)) - documented) == []
    monkeypatch.setenv("XDG_CACHE_HOME", home["XDG_CACHE_HOME"])
    made = group.create("cold", "invoke bench")
    assert (
        sorted(set(keys_of(json.loads((made.folder / group.FILE).read_text()))) - documented) == []
    )
    (made.folder / group.FILE).unlink()
    made.folder.rmdir()


def test_a_run_is_listed_shown_and_exported(
    home: dict[str, str], measured: dict[str, Any], tmp_path: Path
) -> None:
    run_id = measured["id"]
    (entry,) = json.loads(call("runs", "--json", env=home).stdout)
    assert (entry["id"], entry["samples"]) == (run_id, 400)
    assert entry["median_ns"] == measured["median_ns"]
    assert entry["reasons"] == [reason["code"] for reason in measured["verdict"]]
    assert run_id in call("runs", "--board", "local*", env=home).stdout
    assert "no such run" in call("runs", "--board", "rpi4", env=home).stdout

    (shown,) = json.loads(call("runs.show", "last", "--json", env=home).stdout)["runs"]
    assert shown == measured
    text = call("runs.show", run_id[:-2], env=home).stdout
    for part in ("mlp-int8.tflite", "reproduce: "):
        assert part in text
    # On a busy machine 400 samples may depend on each other too much for any bounds.
    quantiles = measured["percentiles_ns"].keys()
    assert {q for q in ("p50", "p90", "p99") if f"{q} [" in text} == quantiles

    result = call("runs.export", "last", "--output", str(tmp_path / "x.csv"), env=home)
    assert result.returncode == 0, result.stderr
    with (tmp_path / "x.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400 and {"start_ns", "elapsed_ns", "iterations", "cpu"} <= rows[0].keys()
    with (tmp_path / "x.env.csv").open(encoding="utf-8") as file:
        assert int(next(csv.DictReader(file))["cost_ns"]) > 0
    call("runs.export", "last", "--output", str(tmp_path / "x.json"), "--json", env=home)
    told = json.loads((tmp_path / "x.json").read_text())
    assert told["run"] == measured
    assert told["samples"]["elapsed_ns"] == [int(row["elapsed_ns"]) for row in rows]

    side = call("runs.compare", run_id, "last", env=home)
    assert "no difference is claimed" in side.stdout and side.stdout.count(run_id) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs.show", "none"), "no run 'none'"),
        (("runs.show", "../runs"), "no run"),
        (("runs.compare", "last", "none"), "no run 'none'"),
        (("runs.export", "last", "--output", "x.txt"), "name a .csv or a .json"),
        (("runs", "--since", "never"), "--since never"),
        (("runs", "--last", "x"), "--last x"),
    ],
)
def test_what_is_asked_wrongly(
    home: dict[str, str], measured: dict[str, Any], words: tuple[str, ...], said: str
) -> None:
    result = call(*words, env=home)
    assert result.returncode == 2
    assert said in last_line(result)


def test_a_damaged_run_ends_no_listing(home: dict[str, str], measured: dict[str, Any]) -> None:
    broken = folder_of(home, "20260101-000000-broken")
    broken.mkdir()
    try:
        result = call("runs", env=home)
        assert result.returncode == 0
        assert "damaged: 20260101-000000-broken: " in result.stdout
        assert measured["id"] in result.stdout
    finally:
        broken.rmdir()


def test_settings_that_a_file_garbles_are_not_believed(
    home: dict[str, str], measured: dict[str, Any]
) -> None:
    garbled = folder_of(home, "20260101-000000-garbled")
    shutil.copytree(folder_of(home, measured["id"]), garbled)
    try:
        told = json.loads((garbled / "run.json").read_text())
        told["watched"]["settings"] = ["governor"]
        (garbled / "run.json").write_text(json.dumps(told))
        result = call("runs.show", garbled.name, "--json", env=home)
        assert result.returncode == 0, result.stderr
        (shown,) = json.loads(result.stdout)["runs"]
        assert (shown["settings"], shown["environment"]) == (None, None)
    finally:
        shutil.rmtree(garbled)


def test_strict_prints_all_and_ends_with_its_own_code(home: dict[str, str]) -> None:
    words = ("bench", "--board", "qemu-aarch64", "--model", str(MODEL), "--count", "40", "--strict")
    result = call(*words, env=home)
    assert result.returncode == 7
    assert "reproduce: " in result.stdout and "emulated" in result.stdout
    assert "1 of 1 runs not trusted (emulated" in last_line(result)
    found = call(*words, "--json", env=home)
    assert found.returncode == 7 and json.loads(found.stdout)[0]["samples"] == 40


def test_a_setting_that_is_none_reaches_no_board(home: dict[str, str]) -> None:
    for word in ("governor=", "/etc/passwd=x"):
        result = call(*BENCH, "--set", word, env=home)
        assert result.returncode == 2 and "governor=NAME" in last_line(result)
    emulated = ("bench", "--board", "qemu-aarch64", "--model", str(MODEL))
    result = call(*emulated, "--set", "governor=performance", env=home)
    assert result.returncode == 2 and "no kernel of its own" in last_line(result)


def test_a_terminal_sees_how_far_a_run_is(home: dict[str, str]) -> None:
    words = ("bench", "--board", "localhost", "--model", str(MODEL), "--duration", "3")
    ours, theirs = os.openpty()
    invoke = Path(sys.executable).with_name("invoke")
    with subprocess.Popen(
        [invoke, *words, "--iterations", "1000", "--count", "100000"],
        env={**home, "TERM": "xterm", "COLUMNS": "200"},
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += (data := os.read(ours, 4096))
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not data:
                break
        assert process.wait(60) == 0
    os.close(ours)
    told = re.findall(r"([0-9,]+) samples, ([0-9,]+) a second, now [0-9.]+ [mµn]?s", seen.decode())
    counts = [int(count.replace(",", "")) for count, _ in told]
    assert len(set(counts)) > 1 and counts == sorted(counts)


# --- settings, from this side ---------------------------------------------------------------------


class Release:
    id = "0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return system(tmp_path, SETTINGS)


def session(tmp_path: Path, root: Path, *, user: str, path: Path, **keys: Any) -> Session:
    """A board on this machine, whose kernel's files are below ``root``."""
    runner = build.runner(board.load("localhost"), print).runner.path
    program = tmp_path / f"device/releases/{Release.id}" / build.RUNNER_PLACE
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {runner} "$@" --below {root}\n')
    program.chmod(0o755)
    here = facts.parse(boards.RASPBERRY_PI_4, now_s=0)
    return Session(
        dataclasses.replace(board.load("rpi4"), **keys),
        LocalTransport(env={"PATH": f"{path}:{os.environ['PATH']}"}),
        dataclasses.replace(here, user=user, root=PurePosixPath(tmp_path / "device")),
    )


@pytest.mark.parametrize("by_sudo", [False, True], ids=["root", "sudo"])
@pytest.mark.parametrize("fails", [False, True], ids=["to its end", "broken off"])
def test_settings_are_those_of_the_block(
    tmp_path: Path, root: Path, sudo: Path, by_sudo: bool, fails: bool
) -> None:
    here = session(tmp_path, root, user="pi" if by_sudo else "root", path=sudo, sudo=by_sudo)
    release: Any = Release()
    settings = (f"/{GOVERNOR}=performance", f"/{BOOST}=1")
    warned: list[str] = []
    found = None
    try:
        with (
            here.transport,
            watch.over(
                *(here, release, PurePosixPath(tmp_path), PurePosixPath(tmp_path / "samples.bin")),
                settings=settings,
                warn=warned.append,
            ) as found,
        ):
            assert values(root) == ("performance", "1")
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert values(root) == ("ondemand", "0")
    assert warned == [] and found is not None and found.told is not None
    assert found.told["settings"]["governor/policy0"] == "performance"
    assert fails or found.told["settings_after"] == found.told["settings"]
    assert (tmp_path / "asked").exists() == by_sudo


def test_a_setting_that_is_refused_ends_the_run_with_what_to_do(
    tmp_path: Path, root: Path, sudo: Path
) -> None:
    (tmp_path / "refused").write_text(f"{root}/{GOVERNOR}")
    here = session(tmp_path, root, user="pi", path=sudo, sudo=True)
    release: Any = Release()
    settings = (f"/{BOOST}=1", f"/{GOVERNOR}=performance")
    with (
        here.transport,
        pytest.raises(BoardError, match="invoke doctor"),
        watch.over(
            *(here, release, PurePosixPath(tmp_path), PurePosixPath(tmp_path / "samples.bin")),
            settings=settings,
        ),
    ):
        raise AssertionError("it must not get here")
    assert values(root) == ("ondemand", "0")


# --- a board that means harm ----------------------------------------------------------------------

_TOLD = '{"columns":["time_ns","cost_ns"],"ticks_per_s":100,"interval_ms":100}\n'
_TICK = '{"time_ns":1,"samples":1,"median_ns":1}\n'


@pytest.mark.parametrize(
    "acts",
    [
        [{"text": _TOLD}, {"for_ever": FLOOD}],
        [{"text": _TOLD}, {"for_ever": _TICK * 1000}],
        [{"text": _TOLD}, {"to": "err", "for_ever": FLOOD}],
        [{"text": _TOLD}],
        [{"text": _TOLD}, {"text": '{"settings":{"a":"\x1b[2J"},"not_put_back":3}\n', "times": 9}],
        [{"text": _TOLD + "[" * 60_000 + "\n"}],
    ],
    ids=["flood", "endless ticks", "errors", "nothing more", "evil settings", "deep"],
)
@pytest.mark.parametrize("live", [False, True], ids=["alone", "live"])
def test_whatever_a_watch_says_the_block_ends_and_holds_nothing(
    hostile: Board,
    acts: list[dict[str, object]],
    live: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.watch._ANSWER_S", 2.0)
    hostile.does(all=acts)
    transport: Transport
    with ssh.connect(hostile.server.target) as transport:
        here = Session(board.load("rpi4"), transport, facts.parse(boards.RASPBERRY_PI_4, now_s=0))
        release: Any = Release()
        told: Any = (lambda tick: None) if live else None
        began = time.monotonic()
        with watch.over(
            here, release, PurePosixPath("/tmp"), PurePosixPath("/tmp/x"), live=told
        ) as found:
            pass
        assert time.monotonic() - began < 30
    assert found.told is not None and "settings_after" not in found.told
