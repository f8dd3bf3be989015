"""What people see: nothing is cut off, and progress never mixes with a result."""

from __future__ import annotations

import sys

import pytest
from rich.table import Table

from edge import report


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


def test_markup_in_a_name_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    report.print_line("[red]m[/red].tflite")
    assert capsys.readouterr().out == "[red]m[/red].tflite\n"
