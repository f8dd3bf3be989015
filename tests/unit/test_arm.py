from __future__ import annotations

from pathlib import Path

import pytest

from edge import arm
from edge.arm import Arm
from edge.deploy import Choice
from edge.errors import UsageError
from edge.options import Delegate
from edge.run import Plan

PLAN = Plan(count=7, duration_s=1.0)


def parsed(text: str, common: str = "") -> Arm:
    return arm.parse("-a", text, PLAN, model="m.tflite", common=common)


def test_an_arm_without_flags_is_the_plan_and_the_model() -> None:
    found = parsed("")
    assert (found.label, found.model, found.plan) == ("", Path("m.tflite"), PLAN)
    assert found.choice == Choice()


def test_every_flag_arrives() -> None:
    found = parsed(
        "--model other.tflite --engine tflite --runtime r --lib l.so --toolchain gnu --lto "
        "--cflags=-Os --delegate external:d.so?a=b --threads 4 --batch 2 --signature s "
        "--shape x=1x2 --shape y=3 --no-xnnpack --cpus 0,2-3 --undisturbed "
        "--set governor=a --set governor=b --rate 20 --poisson"
    )
    assert found.model == Path("other.tflite")
    delegate = Delegate("d.so", settings=(("a", "b"),))
    assert found.choice == Choice("tflite", "r", Path("l.so"), delegate, "gnu", True, "-Os")
    options, plan = found.plan.options, found.plan
    assert (options.threads, options.batch, options.signature) == (4, 2, "s")
    assert options.shapes == (("x", (1, 2)), ("y", (3,)))
    assert options.delegate == delegate and not options.xnnpack
    assert (plan.cpus, plan.undisturbed, plan.settings) == (
        "0,2-3",
        True,
        ("governor=a", "governor=b"),
    )
    assert (plan.rate_per_s, plan.poisson, plan.idle_s) == (20.0, True, 0.0)
    assert parsed("--idle 200ms").plan.idle_s == 0.2
    assert (plan.count, plan.duration_s) == (7, 1.0)


def test_an_arms_own_flags_win_over_the_common_ones() -> None:
    found = parsed("--threads 4", "--threads 2 --batch 3")
    assert (found.plan.options.threads, found.plan.options.batch) == (4, 3)
    # The label is what tells the arms apart.
    assert found.label == "--threads 4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--thraeds 4", "no flag --thraeds"),
        ("--thread 4", "no flag --thread"),  # no abbreviations: another version may have more flags
        ("4", "no flag 4"),
        ("--threads", "expected one argument"),
        ("--threads four", "four is no whole number"),
        ("--threads 1.5", "1.5 is no whole number"),
        ("--threads 0", "must be at least 1"),
        ("--rate nan", "nan is no number"),
        ("--shape x", "must be NAME="),
        ("--delegate gpu", "must be external:"),
        ("--cflags -Os", "needs a ="),
        ("--lto=yes", "ignored explicit argument"),
        ("--engine 'a", "close each quote"),
        ("--help", "no flag --help"),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_the_arm(
    text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(text)
    message = str(caught.value)
    assert message.startswith("-a '" if " " in text else f"-a {text}")
    assert expected in message
    # argparse would have said it by itself, and ended the program.
    assert capsys.readouterr() == ("", "")


def test_a_wrong_common_flag_says_where_it_comes_from() -> None:
    with pytest.raises(UsageError, match=r"-a '' with --common '--thraeds 4': .* --thraeds"):
        parsed("", "--thraeds 4")


def test_no_model_at_all() -> None:
    with pytest.raises(UsageError, match="which model"):
        arm.parse("-b", "--threads 2", PLAN)
