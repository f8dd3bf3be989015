"""Verdicts flip when the data do: made-up measurements of every claim."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from edge import claim as claim_module
from edge import questions
from edge.cell import Cell, Figures, Way, subject
from edge.claim import Case, Claim, Verdict
from edge.errors import UsageError
from edge.report import study as report
from tests.unit import studies

CLAIMS = questions.claims()
STOCK = studies.inventory()


def judged(claim: Claim, measured: dict[Cell, Figures]) -> Verdict:
    return claim_module.judge(claim, STOCK, measured, {})


def keys(claim: Claim) -> str:
    return claim.key


def test_every_claim_is_about_something_and_has_a_topic() -> None:
    assert len({claim.key for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.topic for claim in CLAIMS} == set(questions.TOPICS)
    for claim in CLAIMS:
        assert claim.low < claim.high
        assert claim.cases(STOCK), claim.key
        assert claim.text.endswith(".") and not claim.asks.endswith(".")


@pytest.mark.parametrize("claim", CLAIMS, ids=keys)
def test_a_verdict_flips_with_the_data(claim: Claim) -> None:
    for case in claim.cases(STOCK):
        right = judged(claim, studies.measured(claim, case, studies.inside(claim)))
        assert right.word == "confirmed"
        assert [finding.outcome for finding in right.findings] == ["holds"]
        if (value := studies.outside(claim)) is not None:
            wrong = judged(claim, studies.measured(claim, case, value))
            assert wrong.word == "refuted"
            assert [finding.outcome for finding in wrong.findings] == ["fails"]
            near = studies.measured(claim, case, studies.border(claim), noise=0.2)
            assert judged(claim, near).word == "undecided"


@pytest.mark.parametrize("claim", CLAIMS, ids=keys)
def test_a_missing_cell_is_never_an_invented_figure(claim: Claim) -> None:
    case = claim.cases(STOCK)[0]
    whole = studies.measured(claim, case, studies.inside(claim))
    for cell in (case.a, case.b):
        found = judged(claim, {key: value for key, value in whole.items() if key != cell})
        assert (found.word, found.findings) == ("not asked", ())
        assert found.reason
        text = report.sentence(found, emulated=False)
        assert text.startswith("Not asked: ") and "times the" not in text
    few = studies.measured(claim, case, studies.inside(claim), rounds=claim_module.LEAST_ROUNDS - 1)
    assert judged(claim, few).word == "not asked"


def apart(claim: Claim) -> tuple[Case, Case] | None:
    """Two cases that have no cell in common."""
    first, *others = claim.cases(STOCK)
    found = [case for case in others if not {case.a, case.b} & {first.a, first.b}]
    return (first, found[-1]) if found and studies.outside(claim) is not None else None


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if apart(claim)], ids=keys)
def test_right_in_one_case_and_wrong_in_another_depends(claim: Claim) -> None:
    pair, value = apart(claim), studies.outside(claim)
    assert pair is not None and value is not None
    first, other = pair
    found = judged(
        claim,
        {
            **studies.measured(claim, first, studies.inside(claim)),
            **studies.measured(claim, other, value),
        },
    )
    assert found.word == "depends" and found.on
    # Undecided cases beside them change nothing of that; alone with a right one they do.
    near = studies.measured(claim, other, studies.border(claim), noise=0.2)
    right = studies.measured(claim, first, studies.inside(claim))
    assert judged(claim, {**right, **near}).word == "undecided"


def by_key(key: str) -> Claim:
    return next(claim for claim in CLAIMS if claim.key == key)


def of_ratios(claim: Claim, ratio: dict[str, float]) -> Verdict:
    """int8 by float32, in each way by the beginning of its name."""
    figures: dict[Cell, Figures] = {}
    for case in claim.cases(STOCK):
        name = f"{case.a.way.engine} {case.a.way.runtime} {case.a.subject.family}"
        for words, value in ratio.items():
            if all(word in name for word in words.split()):
                figures |= studies.measured(claim, case, value)
    return judged(claim, figures)


@pytest.mark.parametrize(
    ("ratio", "on", "text"),
    [
        ({"tflite-runtime": 8.0, "ai-edge": 0.4}, "the way it is run", "holds for python ai-edge"),
        ({"mlp": 1.5, "net": 0.4}, "the size of the model", "It holds for net, not for mlp."),
        (
            {"ai-edge net": 0.4, "ai-edge mlp": 2, "tflite-runtime mlp": 0.4, "runtime net": 9},
            claim_module.TOGETHER,
            "net, python ai-edge-litert-2.1.0 (net-int8 by net-float32)",
        ),
    ],
)
def test_what_it_depends_on_is_found(ratio: dict[str, float], on: str, text: str) -> None:
    found = of_ratios(by_key("int8-faster"), ratio)
    assert (found.word, found.on) == ("depends", on)
    said = report.sentence(found, emulated=False)
    assert said.startswith(f"Depends on {on}: int8 takes ")
    if on != claim_module.TOGETHER:
        assert text in said


def test_by_how_much_is_rounded_outward() -> None:
    found = of_ratios(by_key("int8-faster"), {"python net": 0.4})
    said = re.fullmatch(
        r"int8 takes (0\.\d+) to (0\.\d+) times the time of float32 in 2 cases: holds in 2",
        report.how_much(found),
    )
    assert said is not None
    low = min(finding.interval.low for finding in found.findings)
    high = max(finding.interval.high for finding in found.findings)
    assert 0.39 <= float(said[1]) <= low < 0.4 < high <= float(said[2]) <= 0.41


def test_why_a_way_is_missing_is_said() -> None:
    stock = studies.inventory(
        tuple(way for way in studies.WAYS if way.engine not in ("python", "native")),
        missing={"python": "pi@rpi4 has no python3", "native": "pi@rpi4 has no python3"},
    )
    for key in ("python-magnitude", "cpp-slower", "python-memory", "collector-jitter"):
        found = claim_module.judge(by_key(key), stock, {}, {})
        assert report.sentence(found, emulated=False) == "Not asked: pi@rpi4 has no python3."
    one_size = studies.inventory(subjects=tuple(studies.SMALL))
    lacks = claim_module.judge(by_key("python-large"), one_size, {}, {})
    assert "no model here has 10 M multiply-accumulates" in lacks.reason


def test_why_a_case_is_missing_is_said() -> None:
    claim = by_key("int8-faster")
    first, second = claim.cases(STOCK)[:2]
    measured = studies.measured(claim, first, 0.5)
    found = claim_module.judge(claim, STOCK, measured, {second.b: "operator 99 is unknown"})
    assert found.word == "confirmed"
    assert found.reason.endswith("were not measured: operator 99 is unknown")
    assert found.reason in report.sentence(found, emulated=False)


def test_a_round_that_was_cut_off_has_no_pair() -> None:
    claim = by_key("int8-faster")
    case = claim.cases(STOCK)[0]
    measured = studies.measured(claim, case, 0.5)
    whole = measured[case.b]
    measured[case.b] = dataclasses.replace(whole, latency_ns=whole.latency_ns[:-1])
    (finding,) = judged(claim, measured).findings
    assert finding.rounds == studies.ROUNDS - 1


def test_a_round_without_a_p99_is_left_out_on_both_sides() -> None:
    claim = by_key("python-jitter")
    case = claim.cases(STOCK)[0]
    measured = studies.measured(claim, case, 2.0)
    some = (None, None, *measured[case.a].p99_ns[2:])
    measured[case.a] = dataclasses.replace(measured[case.a], p99_ns=some)
    (finding,) = judged(claim, measured).findings
    assert finding.rounds == studies.ROUNDS - 2
    assert finding.interval.value == pytest.approx(2.0, rel=0.01)


def crossed(small: float, large: float) -> Verdict:
    """TensorFlow's time by NumPy's for one example, and in a batch."""
    claim = by_key("numpy-faster")
    figures: dict[Cell, Figures] = {}
    for case in claim.cases(STOCK):
        if case.b.way.engine == "tf-function" and case.a.subject.family == "mlp":
            value = small if case.b.batch == 1 else large
            figures |= studies.measured(claim, case, value)
    return judged(claim, figures)


@pytest.mark.parametrize(
    ("small", "large", "word", "text"),
    [
        (1.5, 0.7, "depends", "between 6.00 k and 192 k multiply-accumulates a call: A is the fas"),
        (0.7, 1.5, "depends", "between 6.00 k and 192 k multiply-accumulates a call: B is the fas"),
        (5.0, 4.0, "confirmed", "do not cross here: A is always the faster"),
        (0.5, 0.4, "refuted", "do not cross here: B is always the faster"),
    ],
)
def test_where_two_ways_cross(small: float, large: float, word: str, text: str) -> None:
    found = crossed(small, large)
    assert found.word == word
    assert text in report.sentence(found, emulated=False)


def test_ways_that_change_places_twice_do_not_cross_at_one_size() -> None:
    a, b = studies.WAYS[:2]
    crossing = claim_module.Crossing(a, b, slower=(1.0, 100.0), faster=(10.0,))
    assert crossing.between is None
    assert "more than the work decides" in report.crossing(crossing)


def test_an_emulated_verdict_says_so() -> None:
    claim = by_key("int8-faster")
    found = judged(claim, studies.measured(claim, claim.cases(STOCK)[0], 0.5))
    assert report.sentence(found, emulated=True).endswith(
        "Emulated: it says nothing about a real board."
    )
    assert "mulated" not in report.sentence(found, emulated=False)


def test_only_the_topics_that_were_asked_for() -> None:
    assert {claim.topic for claim in questions.claims(["jitter", "batch"])} == {"jitter", "batch"}
    with pytest.raises(UsageError, match="--questions pyton: must be of python, runtime"):
        questions.claims(["pyton"])


def test_cells_are_wanted_once() -> None:
    cells = claim_module.wanted(CLAIMS, STOCK)
    assert len(set(cells)) == len(cells)
    # The batch of a large model would take too long.
    assert not [cell for cell in cells if cell.batch != 1 and cell.subject in studies.LARGE]


def test_the_keras_file_of_a_float32_model_is_found(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "cnn.keras").write_bytes(b"")
    found = {v: subject(tmp_path / f"models/cnn-{v}.tflite", 1) for v in ("float32", "int8")}
    assert found["float32"].file("keras-call") == tmp_path / "cnn.keras"
    assert found["float32"].file("tensorflow") is None
    assert found["float32"].file("litert") == found["float32"].path
    # What was quantized is no longer what Keras computes.
    assert found["int8"].file("keras-call") is None


@pytest.mark.parametrize(
    ("name", "family", "variant"),
    [("cnn-int8", "cnn", "int8"), ("a_b_float32", "a_b", "float32"), ("best", "best", "")],
)
def test_variants_are_told_by_the_names_of_files(name: str, family: str, variant: str) -> None:
    found = subject(Path(f"x/{name}.tflite"), 1)
    assert (found.family, found.variant, found.name) == (family, variant, name)


def test_a_way_says_what_is_special_about_it() -> None:
    assert Way("python", "r-1").name == "python r-1"
    assert Way("python", "r-1", call=True, gc=True).name == "python r-1, whole call, collector on"
    assert not Way("tflite", "r-1", xnnpack=False).plain
