"""What people see: nothing is cut off, and progress never mixes with a result."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.table import Table

from edge import report
from edge.errors import BoardError
from edge.fleet import CutError, Fleet, Result
from edge.report import releases as releases_report
from edge.watch import Tick


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 60 columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")


def made() -> Table:
    table = report.table("what [95 % bounds]", ["model", "p50 [95 % bounds]", "cold", "left"])
    table.add_row("first.tflite", "115 [113, 118] µs", "1234567890 ms", "a" * 30)
    table.add_row("second.tflite", "", "9 ms", "b")
    return table


def test_a_wide_table_keeps_every_digit_on_a_narrow_terminal(
    narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    report.print_table(made())
    text = capsys.readouterr().out
    for part in ("115 [113, 118] µs", "1234567890 ms", "a" * 30, "second.tflite", "9 ms"):
        assert part in text
    assert "…" not in text


def test_it_is_a_table_where_there_is_room(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_table(made())
    lines = capsys.readouterr().out.splitlines()
    assert any("first.tflite" in line and "1234567890 ms" in line for line in lines)


def test_progress_goes_to_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    report.progress("compiling")
    report.print_json({"a": 1})
    captured = capsys.readouterr()
    assert captured.err == "  compiling\n"
    assert captured.out == '{\n  "a": 1\n}\n'


def test_a_phase_ends_before_the_next_and_before_a_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    report.progress("first")
    report.progress("second")
    assert len(report._running) == 1
    report.print_line("the result")
    assert not report._running
    captured = capsys.readouterr()
    assert captured.out == "the result\n"
    assert "first" in captured.err
    assert "second" in captured.err


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that go by when somebody says so."""
    now = [1000.0]
    monkeypatch.setattr("edge.report.time.monotonic", lambda: now[0])
    return now


def test_how_far_a_phase_is_comes_now_and_then_where_there_is_no_terminal(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    report.update("nobody's phase")
    report.progress("measuring")
    for seconds, text in ((9, "a"), (1, "b"), (1, "c"), (9, "d\x1b[2J"), (1, "e")):
        clock[0] += seconds
        report.update(text)
    report.settle()
    report.update("too late")
    assert capsys.readouterr().err == "  measuring\n  measuring: b\n  measuring: d?[2J\n"


def test_how_far_a_phase_is_stands_beside_its_clock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    report.progress("measuring")
    report.update("12 samples")
    (running,) = report._running
    assert [task.description for task in running.tasks] == ["measuring: 12 samples"]
    report.settle()
    # What was so far is no result.
    assert [task.description for task in running.tasks] == ["measuring"]
    capsys.readouterr()


def test_a_tick_is_what_is_known() -> None:
    assert report.tick_text(Tick(None, None, None, None, 60.6)) == "no sample yet, 61 °C"
    assert report.tick_text(Tick(12_345, 409.7, 2.31e6, 1500.0, None)) == (
        "12,345 samples, 410 a second, now 2.31 ms, 1500 MHz"
    )


def test_markup_in_a_name_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_line("[red]m[/red].tflite")
    assert capsys.readouterr().out == "[red]m[/red].tflite\n"


# --- many boards ----------------------------------------------------------------------------------


def test_a_fleet_is_a_row_a_board_and_a_line_a_failure() -> None:
    done: Any = SimpleNamespace(
        release=SimpleNamespace(id="0123456789abcdef"), previous=None, changed=True, sent_bytes=2048
    )
    made: Fleet[Any] = Fleet(
        (
            Result("kitchen", "pi@10.0.0.8", done, seconds=2.0),
            Result("attic", "pi@10.0.0.9", error=BoardError("it is\nfull"), seconds=1.0),
            Result("cellar", "cellar", error=CutError("interrupted"), seconds=1.0),
            Result("shed", "shed", skipped="canary attic did not hold"),
        )
    )
    rows = list(
        zip(*(column.cells for column in releases_report.fleet_table(made).columns), strict=True)
    )
    shown = [[str(cell) for cell in row] for row in rows]
    assert shown[0] == [
        "kitchen", "pi@10.0.0.8", "0123456789abcdef", "none", "2.05 kB", "2.00 s", "live",
    ]  # fmt: skip
    assert [row[-1] for row in shown] == ["live", "failed", "unknown", "not started"]
    assert releases_report.fleet_lines(made) == [
        "attic: it is full",
        "cellar: interrupted",
        "not started (canary attic did not hold): shed",
        "4 boards: 1 live, 1 failed, 1 unknown, 1 not started",
    ]


def test_lines_of_many_boards_say_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    report.board_progress("kitchen", "sending \x1b[2J")
    said = capsys.readouterr().err
    assert said.startswith("  kitchen: sending ")
    assert "\x1b" not in said


EVIL = "[red]words[/] [/] :smile: \x1b]0;owned\x07\x1b[2J\u202e\r"


def test_what_a_board_says_is_neither_markup_nor_an_order_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = report.table(f"title {EVIL}", ["a", "b"], left=2)
    table.add_row(f"{EVIL}\nmore", EVIL)
    report.print_table(table)
    report.print_line(f"first {EVIL}\nsecond")
    report.progress(f"doing {EVIL}")
    captured = capsys.readouterr()
    for text, times in ((captured.out, 4), (captured.err, 1)):
        assert text.count("[red]words[/] [/] :smile: ?]0;owned??[2J??") == times
        assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert "\nsecond\n" in captured.out


def test_it_is_none_on_a_narrow_terminal_either(
    narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    table = report.table(EVIL, ["[b]", "[/]"], left=2)
    table.add_row(EVIL + "x" * 80, EVIL)
    report.print_table(table)
    text = capsys.readouterr().out
    assert text.count("[red]words[/] [/] :smile: ?]0;owned??[2J??") == 3
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


def test_an_error_is_one_printable_line_of_bounded_length() -> None:
    error = BoardError(f"what\n  happened\r\n\t{EVIL} {'x' * 100_000} \ud800 do this")
    assert str(error).startswith("what happened [red]words[/] [/] :smile: ?]0;owned??[2J?")
    assert str(error).endswith("x ? do this")
    assert str(error).isprintable()
    assert len(str(error)) < 4000
