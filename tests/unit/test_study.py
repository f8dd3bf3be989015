"""Which ways a board has, how far a study is, and a report that says what its figures say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from edge import board, questions, study
from edge import claim as claim_module
from edge.agreement import Agreement
from edge.cell import Cell, Figures
from edge.errors import UnreachableError, UsageError
from edge.report import study as report
from edge.session import Session
from edge.study import Answer, Study, Told
from edge.testing import FakeTransport
from tests.unit import studies

# --- ways -----------------------------------------------------------------------------------------

TFLITE = ("tflite", "litert", "python", "native")
PYTHON = (
    b'{"edge_python": 1, "version": "3.11.2", "implementation": "cpython", "flags": "",'
    b' "elf": "2/183", "numpy": "1.24.2", "missing": "", "executable": "/usr/bin/python3"}\n'
)


def on(name: str, transport: FakeTransport) -> Session:
    return Session(board.load(name), transport)


def test_a_board_without_python_is_asked_what_it_can_answer() -> None:
    nothing = FakeTransport().on(("python3",), exit_code=127)
    found, missing = study.ways(on("rpi4", nothing), TFLITE, print)
    assert {way.engine for way in found} == {"tflite", "litert"}
    assert "has no python3" in missing["python"] and "has no python3" in missing["native"]


def test_a_board_with_python_has_every_build_for_it() -> None:
    found, missing = study.ways(
        on("rpi4", FakeTransport().on(("python3",), stdout=PYTHON)), TFLITE, print
    )
    names = {way.name for way in found}
    assert "litert" not in missing and "python" not in missing
    for name in (
        "tflite litert-2.1.0",
        "tflite litert-2.1.0, without XNNPACK",
        "litert litert-2.3.0",
        "python tflite-runtime-2.14.0",
        "python ai-edge-litert-2.1.0, whole call",
        "native tflite-runtime-2.14.0",
    ):
        assert name in names
    assert len([way for way in found if way.gc]) == 1


def test_a_runtime_that_has_nothing_for_a_board_is_no_error() -> None:
    other = PYTHON.replace(b"3.11.2", b"3.13.1").replace(b"2/183", b"2/62")
    found, missing = study.ways(
        on("localhost", FakeTransport().on(("python3",), stdout=other)), TFLITE, print
    )
    assert "tflite" not in {way.engine for way in found}
    assert "x86_64" in missing["tflite"]
    # tflite-runtime has no wheel for this Python, and nothing else exports the method.
    assert "3.13" in missing["native"] and "python" not in missing


def test_tensorflow_goes_over_no_link_unless_it_may() -> None:
    board_of = on("rpi4", FakeTransport().on(("python3",), stdout=PYTHON))
    engines = ("tensorflow", "keras-call", "nonsense")
    found, missing = study.ways(board_of, engines, print)
    assert found == () and set(missing) == set(engines)
    assert "0.9 GB: --tensorflow sends it" in missing["tensorflow"]
    assert "this machine" in missing["keras-call"] or "localhost" in missing["keras-call"]
    assert missing["nonsense"] == "edge has no engine nonsense"
    found, missing = study.ways(board_of, engines, print, heavy=True)
    assert [way.engine for way in found] == ["tensorflow"] and "tensorflow" not in missing


def test_a_lost_link_is_no_missing_way() -> None:
    gone = FakeTransport()
    gone.cut(UnreachableError("gone"))
    with pytest.raises(UnreachableError):
        study.ways(on("rpi4", gone), TFLITE, print)


# --- models and limits ----------------------------------------------------------------------------


def test_emulated_boards_are_spared_the_large_bundled_models() -> None:
    found = (*studies.SMALL, *studies.LARGE)
    assert study.chosen(found, own=False, emulated=False) == (found, ())
    assert study.chosen(found, own=True, emulated=True) == (found, ())
    kept, left_out = study.chosen(found, own=False, emulated=True)
    assert kept == tuple(studies.SMALL)
    assert len(left_out) == 2 and "name it with --model" in left_out[0]


def test_bundled_models_are_there_and_of_rising_size() -> None:
    found = study.subjects(study.bundled())
    works = [each.work for each in found]
    assert works == sorted(works) and works[0] < 1e4 and works[-1] > 1e6
    assert {"float32", "int8"} <= {each.variant for each in found}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: study.rounds_of(5), "--rounds 5: must be 6 to 999"),
        (lambda: study.batch_of(1), "--batch 1: must be 2"),
        (lambda: study.longest_of("0"), "--longest 0: must be more than 0"),
        (lambda: study.longest_of("soon"), "--longest soon: write a time"),
        (lambda: study.report_file(Path("r.pdf")), r"--output r\.pdf: the report is Markdown"),
        (lambda: study.report_file(Path("no/r.md")), "in a folder that is there"),
    ],
)
def test_a_wrong_wish(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match=message):
        call()


# --- how far it is --------------------------------------------------------------------------------


def test_the_time_left_comes_from_what_was_measured() -> None:
    said: list[str] = []
    clock = iter([0.0, 10.0, 10.0, 40.0, 40.0, 60.0, 60.0])
    cells = [Cell(way, studies.SMALL[0]) for way in studies.WAYS[:2]]
    told = Told(said.append, cells, 10, clock_s=lambda: next(clock))
    told.turn(0)  # begins at 0 s
    told.turn(1)  # ended at 10 s, begins
    told.turn(0)  # ended at 40 s, begins
    assert said[0] == f"cell 1 of 20: {cells[0].name}"
    assert said[1] == f"cell 2 of 20, about 3 min left: {cells[1].name}"  # 19 of 10 s
    assert said[2] == f"cell 3 of 20, about 6 min left: {cells[0].name}"  # 18 of 20 s
    assert told.round_s() == 40


def test_a_cell_that_was_left_out_is_not_waited_for() -> None:
    said: list[str] = []
    cells = [Cell(way, studies.SMALL[0]) for way in studies.WAYS[:3]]
    told = Told(said.append, cells, 10, clock_s=lambda: 0.0)
    told.turn(0)
    told.left_out(0)
    told.turn(1)
    # Its one turn was one.
    assert said[0].startswith("cell 1 of 30") and said[1].startswith("cell 2 of 21")


# --- the report -----------------------------------------------------------------------------------


def made(tmp_path: Path, *, emulated: bool = False, seed: int = 1) -> Study:
    """All claims on figures without rhyme or reason."""
    stock = studies.inventory(missing={"python": "there is none"})
    for each in stock.subjects:
        (tmp_path / each.path.name).write_bytes(b"x" * 100)
    claims = questions.claims()
    measured: dict[Cell, Figures] = {
        cell: studies.figures(1e3 * 1.37 ** (seed * number % 17), 0.05, number)
        for number, cell in enumerate(claim_module.wanted(claims, stock))
        if number % 5 and cell.way.engine != "numpy"
    }
    refused = {
        cell: "the runtime | refuses it"
        for cell in claim_module.wanted(claims, stock)
        if cell not in measured
    }
    verdicts = tuple(claim_module.judge(each, stock, measured, refused) for each in claims)
    return Study(
        board="rpi4",
        target="pi@rpi4",
        system="Debian | 12",
        emulated=emulated,
        measured_at="2026-01-01T00:00:00+00:00",
        command="invoke study",
        rounds=studies.ROUNDS,
        inventory=stock,
        measured=measured,
        refused=refused,
        splits={},
        verdicts=verdicts,
        remarks=("a | remark",),
        busy=(0.02, 0.31, 0.29),
    )


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up models are files of the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sections(text: str) -> dict[str, str]:
    """What people say -> what the report has under it."""
    parts = re.split(r"^### “(.*)”$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("asked, said", [(studies.ROUNDS, False), (studies.ROUNDS + 4, True)])
def test_a_study_that_ended_early_says_why(in_folder: Path, asked: int, said: bool) -> None:
    found = dataclasses.replace(made(in_folder), most=asked, longest_s=780.0)
    line = next(line for line in report.markdown(found).splitlines() if " rounds, " in line)
    assert line.endswith("in random order.") is not said
    why = f"; of the {asked} asked for, the next would have ended later than after 13 minutes"
    assert (why in line) is said
    assert report.study_json(found)["rounds_asked"] == asked


def test_every_sentence_follows_from_its_table(in_folder: Path) -> None:
    found = made(in_folder)
    text, told = report.markdown(found), report.study_json(found)
    under = sections(text)
    words = set()
    for claim in told["claims"]:
        part = under[claim["text"]]
        rows = [
            line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")
        ]
        outcomes = [row[-1] for row in rows if row[-1] in ("holds", "fails", "undecided")]
        assert outcomes == [case["outcome"] for case in claim["cases"]]
        assert f"**{claim['sentence']}**" in part
        for outcome, phrase in (("holds", "holds in"), ("fails", "fails in")):
            if outcome in outcomes:
                assert f"{phrase} {outcomes.count(outcome)}" in claim["sentence"]
        words.add(claim["verdict"])
        # The same by the numbers alone.
        low = float("-inf") if claim["above"] is None else claim["above"]
        high = float("inf") if claim["below"] is None else claim["below"]
        for case in claim["cases"]:
            held = low < case["low"] and case["high"] < high
            failed = case["high"] < low or high < case["low"]
            wanted = "holds" if held else "fails" if failed else "undecided"
            assert case["outcome"] == wanted
    assert {"depends", "not asked"} <= words
    # The cells' medians are those of the json.
    assert len(told["cells"]) == len(found.measured)
    assert told["refused"][0]["why"] == "the runtime | refuses it"


def test_the_summary_has_each_verdict(in_folder: Path) -> None:
    found = made(in_folder)
    grid = report.summary(found)
    assert [row[0] for row in grid.rows] == [each.claim.text for each in found.verdicts]
    assert [row[1].split()[0] for row in grid.rows] == [
        each.word.split()[0] for each in found.verdicts
    ]


def test_an_emulated_report_is_labelled_everywhere(in_folder: Path) -> None:
    text = report.markdown(made(in_folder, emulated=True))
    assert text.startswith("# rpi4 (EMULATED): ")
    assert "no figure and no verdict below says anything about a real board" in text
    for part in sections(text).values():
        sentence = next(line for line in part.splitlines() if line.startswith("**"))
        assert sentence.startswith("**Not asked") or "Emulated: it says nothing" in sentence
    assert "verdict, emulated" in text
    assert "mulated" not in report.markdown(made(in_folder))


def test_markdown_is_well_formed(in_folder: Path) -> None:
    text = report.markdown(made(in_folder))
    widths = [
        len(re.split(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")
    ]
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert widths and all(
        len({len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
        for table in tables
    )
    assert "they took 29 % (from 2 to 31 %) of the processors" in text
    assert "a | remark" in text and r"the runtime \| refuses it" in text


def test_ways_that_compute_something_else_are_said_to(in_folder: Path) -> None:
    ways, (float32, int8) = studies.WAYS[:3], studies.SMALL
    answers = (
        Answer(ways[0], float32, Agreement("mlp-float32", 1e-6, 0.02)),
        Answer(ways[1], float32, Agreement("mlp-float32", 0.5, 0.02)),
        Answer(ways[0], int8, Agreement("mlp-int8", 0.0, 4.0)),
        Answer(ways[1], int8, Agreement("mlp-int8", 1.0, 4.0)),
        Answer(ways[2], int8, None, "operator 99 is unknown"),
    )
    found = dataclasses.replace(made(in_folder), answers=answers)
    text = report.markdown(found)
    assert "3 of 5 answers agree" in text
    assert "Of 2 int8 answers 1 are the same to the last step" in text
    assert text.count("| DIFFERENT |") == 1 and text.count("| no answer |") == 1
    assert f"mlp-int8, {ways[2].name}: operator 99 is unknown." in text
    told = report.study_json(found)["answers"]
    assert [each["ok"] for each in told] == [True, False, True, True, False]


def test_a_quiet_board_is_said_to_be_one(in_folder: Path) -> None:
    quiet = dataclasses.replace(made(in_folder), busy=(0.01, 0.0))
    assert "The board was quiet: other programs took 0 %" in report.markdown(quiet)
    # Where nobody looked, nothing is said.
    unknown = report.markdown(dataclasses.replace(made(in_folder), busy=()))
    assert "quiet: other" not in unknown and "Other programs ran" not in unknown


STAT = "cpu  100 0 50 {idle} 10 0 0 0 0 0\n"


@pytest.mark.parametrize(
    ("said", "share"),
    [
        (STAT.format(idle=1000) + "cpu  130 0 60 1060 10 0 0 0 0 0\n", [0.4]),
        (STAT.format(idle=1000) + "cpu  100 0 50 1090 20 0 0 0 0 0\n", [0.0]),
        (STAT.format(idle=1000) * 2, []),
        ("cpu 1 2\ncpu 3 4\n", []),
        ("", []),
    ],
)
def test_what_others_take_is_read_off_the_ticks(said: str, share: list[float]) -> None:
    session = on("rpi4", FakeTransport().on(("sh",), stdout=said.encode()))
    assert study._others(session) == pytest.approx(share)


def test_it_is_printed_for_a_terminal_too(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.print_study(made(in_folder))
    printed = capsys.readouterr().out
    assert "what people say" in printed and "undecided" in printed
