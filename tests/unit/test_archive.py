"""What is kept of runs is found again, whatever state it is in."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import archive, group, layout, run
from edge.errors import UsageError
from edge.report import runs as runs_report
from tests.unit.test_run import LEVEL, made, watched

DAY = "2026-11-2{}T10:00:00+00:00"


def kept(name: str, day: int = 0, *, emulated: bool = False, **other: Any) -> Path:
    """A run's folder; its samples are never looked at for a listing."""
    folder = layout.runs_dir() / name
    folder.mkdir(parents=True)
    found = dataclasses.replace(
        made(LEVEL, emulated=emulated), id=name, measured_at=DAY.format(day), **other
    )
    run.save(found, folder)
    (folder / "samples.bin").write_bytes(b"")
    return folder


def ids(entries: tuple[archive.Entry, ...]) -> list[str]:
    return [entry.id for entry in entries]


def test_no_folder_is_no_run() -> None:
    assert archive.entries() == ()


def test_a_row_has_what_its_run_had_and_the_newest_is_the_last() -> None:
    kept("20261122-000000-aaaaaa", 2, emulated=True)
    kept("20261121-000000-bbbbbb", 1)
    first, second = archive.entries()
    assert (first.id, first.board, first.model, first.engine) == (
        "20261121-000000-bbbbbb", "rpi4", "m.tflite", "tflite",
    )  # fmt: skip
    assert (first.samples, first.trusted, first.kind) == (500, True, "run")
    assert first.median_ns == made(LEVEL).median_ns
    assert (second.trusted, second.reasons, second.emulated) == (False, ("emulated",), True)


def test_runs_of_a_group_are_one_row() -> None:
    found = group.create("compare", "invoke compare", ("first", "second"))
    for number, arm in ((1, 0), (1, 1), (2, 0)):
        place = found.place(number, arm)
        kept(f"{found.id}/{place.name}", number, engine=("tflite", "litert")[arm])
    (entry,) = archive.entries()
    assert (entry.kind, entry.engine, entry.samples) == ("compare", "tflite, litert", 1500)
    assert entry.measured_at == DAY.format(1)
    assert ids(entry.runs) == [f"{found.id}/{name}" for name in ("001-a", "001-b", "002-a")]
    assert entry.median_ns is None and entry.trusted
    kept(f"{found.id}/002-b", 2, emulated=True)
    assert archive.entries()[0].reasons == ("emulated",)
    assert ids(archive.select(archive.entries(), engine="lite*")) == [found.id]
    assert archive.select(archive.entries(), engine="python") == ()


DAMAGE: dict[str, Any] = {
    "nothing": None,
    "no object": "[]",
    "no text": b"\xff\xfe",
    "half written": '{"schema": 1, "board": "rp',
    "newer": json.dumps({"schema": 99}),
    "deep": "[" * 100_000,
    "no summary": {"summary": None},
    "a list for a board": {"board": []},
    "no time": {"measured_at": "yesterday"},
    "a reason that is none": {"summary": {"samples": 1, "median_ns": 1.0, "reasons": [3]}},
    "a word for a number": {"summary": {"samples": "x", "median_ns": 1.0, "reasons": []}},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_cannot_be_read_is_listed_and_hides_nothing(damage: Any) -> None:
    kept("20261120-000000-whole")
    broken = kept("20261121-000000-broken", 1) / "run.json"
    if damage is None:
        broken.unlink()
    elif isinstance(damage, dict):
        broken.write_text(json.dumps({**json.loads(broken.read_text()), **damage}))
    else:
        broken.write_bytes(damage.encode() if isinstance(damage, str) else damage)
    found = {entry.id: entry for entry in archive.entries()}
    entry = found["20261121-000000-broken"]
    assert entry.damage and not entry.trusted
    assert found["20261120-000000-whole"].trusted
    # Whatever it was, nobody can say that it does not fit.
    assert entry in archive.select(tuple(found.values()), board="none", trusted=True, kind="run")
    (line,) = runs_report.archive_lines(list(found.values()))
    assert entry.id in line and "\n" not in line
    with pytest.raises(UsageError):
        archive.find("20261121")


def test_a_newer_edges_run_says_who_can_read_it() -> None:
    path = kept("20261121-000000-newer") / "run.json"
    path.write_text(json.dumps({"schema": run.SCHEMA + 1}))
    with pytest.raises(UsageError, match="read it with the edge that wrote it"):
        archive.find("20261121")
    path.write_text(json.dumps({"schema": 0}))
    with pytest.raises(UsageError, match="measure again"):
        archive.find("20261121")


def test_half_written_folders_are_damaged() -> None:
    kept("20261121-000000-a").joinpath("samples.bin").unlink()
    empty = group.create("cold", "invoke bench")
    (layout.runs_dir() / "20261121-000000-c").mkdir()
    (layout.runs_dir() / "20261121-000000-c" / group.FILE).write_text("{")
    broken_off = group.create("until", "invoke bench --until")
    kept(f"{broken_off.id}/001-a")
    broken_off.place(2).mkdir()
    (layout.runs_dir() / "a file").write_text("")
    found = {entry.id: entry for entry in archive.entries()}
    assert len(found) == 4 and all(entry.damage for entry in found.values())
    assert "no samples.bin" in found["20261121-000000-a"].damage
    assert "has no run" in found[empty.id].damage
    # What there is of a group can still be looked at.
    assert archive.find(broken_off.id).samples == 500
    assert len(runs_report.archive_table(list(found.values())).rows) == 4


def test_filters() -> None:
    kept("20261121-000000-a", 1, board="rpi4")
    kept("20261122-000000-b", 2, board="rpi4-attic", emulated=True)
    kept("20261123-000000-c", 3, board="localhost", model="cnn.tflite")
    all_of_them = archive.entries()

    def chosen(**words: Any) -> list[str]:
        return [entry.id[-1] for entry in archive.select(all_of_them, **words)]

    assert chosen() == ["a", "b", "c"]
    assert chosen(last=2) == ["b", "c"]
    assert chosen(board="rpi4") == ["a"]
    assert chosen(board="rpi4*") == ["a", "b"]
    assert chosen(model="cnn*") == ["c"]
    assert chosen(kind="compare") == []
    assert chosen(trusted=True) == ["a", "c"]
    assert chosen(since="2026-11-22") == ["b", "c"]
    assert chosen(since="2026-11-22T10:00:01+00:00") == ["c"]
    assert chosen(since="30000d") == ["a", "b", "c"]
    begin = datetime.datetime.now(datetime.timezone.utc)
    assert begin <= archive.moment("12h") + datetime.timedelta(hours=12)
    assert archive.moment("2d") < begin - datetime.timedelta(hours=47)


@pytest.mark.parametrize("since", ["", "yesterday", "7", "7w", "-1d", "99999d99", "9999-99-99"])
def test_a_time_that_is_none(since: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        archive.select((), since=since)


def test_an_id_is_found_by_its_beginning() -> None:
    kept("20261121-000000-a", 1)
    kept("20261121-000000-b", 2)
    kept("20261121-000000-bc", 3)
    found = group.create("compare", "x", ("a", "b"))
    kept(f"{found.id}/001-a", 4)
    assert archive.find("20261121-000000-a").id == "20261121-000000-a"
    # A whole id is itself, whatever else begins so.
    assert archive.find("20261121-000000-b").id == "20261121-000000-b"
    assert archive.find("last").id == found.id
    assert archive.find(f"{found.id[:-1]}/001-a").id == f"{found.id}/001-a"
    with pytest.raises(UsageError, match="begins the ids of 3 runs"):
        archive.find("20261121")
    for name in ("", "x", "../runs", "/", f"{found.id}/../x", f"{found.id}/002-a", "last/3"):
        with pytest.raises(UsageError, match="no run"):
            archive.find(name)


def test_emulated_runs_are_not_compared_with_silicon() -> None:
    kept("a", 1)
    kept("b", 2, emulated=True)
    kept("c", 3, emulated=True)
    archive.comparable(archive.find("b"), archive.find("c"))
    for pair in (("a", "b"), ("b", "a")):
        with pytest.raises(UsageError, match="b was emulated, a was not"):
            archive.comparable(*map(archive.find, pair))


def test_a_group_of_a_comparison_is_compared_again_by_rounds_that_are_whole() -> None:
    made_for = group.create("compare", "invoke compare", ("--threads 1", "--threads 4"))
    random = np.random.default_rng(3)
    runs = []
    for number in range(1, 9):
        for arm, factor in (("a", 1.0), ("b", 0.5)):
            # Round 4 has no b, as after an interrupt.
            if (number, arm) == (4, "b"):
                continue
            name = f"{made_for.id}/{number:03}-{arm}"
            kept(name, number)
            level = 1e6 * factor * random.normal(1, 1e-3)
            runs.append(dataclasses.replace(made(random.normal(level, level / 1e3, 500)), id=name))
    entry = archive.find(made_for.id)
    found = archive.compared(entry, runs)
    assert found is not None and len(found.a_ns) == 7
    assert found.labels == ("--threads 1", "--threads 4")
    assert "times as fast as A" in found.text
    lines = runs_report.group_lines(archive.arms(runs), found)
    assert lines[0].startswith("arm a: 8 rounds") and lines[2] == found.text
    assert archive.compared(entry, runs[:8]) is None
    assert archive.compared(dataclasses.replace(entry, kind="until"), runs) is None


def test_every_sample_is_exported_as_it_was(tmp_path: Path) -> None:
    one = watched(LEVEL, 1, clock_khz__policy0=[1.5e6] * 10 + [float("nan")], throttled=[1.0] * 11)
    samples, series = archive.export(one, {}, tmp_path / "x.csv")
    names, *rows = samples.read_text().splitlines()
    assert names.split(",") == list(one.samples.records.dtype.names or ())
    assert len(rows) == 500
    for row, record in zip(rows, one.samples.records, strict=True):
        assert row.split(",") == [str(value) for value in record.item()]
    assert series == tmp_path / "x.env.csv"
    names, *rows = series.read_text().splitlines()
    assert names == "time_ns,clock_khz/policy0,throttled,cost_ns"
    assert rows[1] == "1000000000,1500000,1,100000"
    assert rows[-1] == "10000000000,,1,100000"


def test_a_run_as_json_has_its_summary_and_its_samples(tmp_path: Path) -> None:
    one = watched(LEVEL, 1, throttled=[1.0] * 10 + [float("nan")])
    (path,) = archive.export(one, runs_report.run_json(one), tmp_path / "x.json")
    told = json.loads(path.read_text())
    assert told["run"]["median_ns"] == one.median_ns
    assert told["samples"]["elapsed_ns"] == one.samples.records["elapsed_ns"].tolist()
    assert told["readings"]["throttled"] == [1] * 10 + [None]
    (path,) = archive.export(made([1] * 6), {}, tmp_path / "y.json")
    assert json.loads(path.read_text())["readings"] is None


def test_a_column_that_a_board_named_stays_one_column(tmp_path: Path) -> None:
    one = watched(LEVEL, 1, **{'a,"b': [1.0] * 11})
    _, series = archive.export(one, {}, tmp_path / "x.csv")
    assert series.read_text().splitlines()[0] == 'time_ns,"a,""b",cost_ns'


def test_where_an_export_may_go(tmp_path: Path) -> None:
    kept("a")
    entry = archive.find("a")
    assert archive.output_file(entry, tmp_path / "x.csv") == tmp_path / "x.csv"
    for path in (tmp_path / "x.txt", tmp_path / "none/x.csv", tmp_path):
        with pytest.raises(UsageError, match="--output"):
            archive.output_file(entry, path)
    found = group.create("compare", "x")
    kept(f"{found.id}/001-a")
    with pytest.raises(UsageError, match=r"is a group: name one of its runs, such as .*/001-a"):
        archive.output_file(archive.find(found.id), tmp_path / "x.csv")


def test_a_run_without_samples_can_be_kept() -> None:
    folder = layout.runs_dir() / "empty"
    folder.mkdir(parents=True)
    run.save(made(np.array([], dtype=np.int64)), folder)
    (folder / "samples.bin").write_bytes(b"")
    (entry,) = archive.entries()
    assert (entry.samples, entry.median_ns, entry.damage) == (0, None, "")
    assert "too-few-samples" in entry.reasons
