"""Write docs/questions.md: what a study found on this machine, and on an emulated board.

``python -m benchmarks.questions [--rounds N] [--board B]...`` takes a quarter of an hour a board.
It is best run while nothing else is; the reports say if something else was. With a board, the other
one's part stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import EdgeError, HostError
from edge.questions import TOPICS
from edge.study import BUSY

BOARDS = ("localhost", "qemu-virt")
FILE = Path(__file__).parents[1] / "docs" / "questions.md"

HEAD = Path(__file__).with_suffix(".md")
"""What comes before the reports."""


@dataclass(frozen=True)
class Earlier:
    """A ratio that a prototype, other programs than these, gave on such a machine some days before.

    :ivar claim: whose case it is; ``a`` and ``b``: what the names of its cells begin with.
    :ivar differs: why today's may be another one, if it is known to be.
    """

    what: str
    claim: str
    a: str
    b: str
    ratio: float
    differs: str = ""


_BUSY = (
    " This machine was busy now: what starts threads and takes milliseconds, as TensorFlow does, "
    "may lose more of its time to other programs than what takes microseconds."
)
_ANOTHER = "the prototype's MLP was a larger one: 784, 128, 10"

EARLIER = (
    Earlier(
        "digits MLP, a call from Python by one from C, tflite-runtime",
        "python-magnitude",
        "mlp-float32, call: native tflite-runtime",
        "mlp-float32, call: python tflite-runtime",
        1.79 / 1.07,
        "then C took 1.07 µs and Python added 0.72 µs; the table of parts above has both of now",
    ),
    Earlier(
        "MobileNetV2 1.0 int8, LiteRT by tflite-runtime",
        "runtime-newer",
        "mobilenet-v2-int8: python tflite-runtime",
        "mobilenet-v2-int8: python ai-edge-litert",
        1.65 / 38.2,
    ),
    Earlier(
        "an MLP, model(x) by TFLite in Python",
        "keras-faster",
        "mlp-float32: python",
        "mlp-float32: keras-call",
        730 / 3.1,
        _ANOTHER,
    ),
    Earlier(
        "an MLP, predict by model(x)",
        "predict-fine",
        "mlp-float32: keras-call",
        "mlp-float32: keras-predict",
        36.2 / 0.73,
        _ANOTHER,
    ),
    Earlier(
        "an MLP, NumPy by TFLite in Python",
        "numpy-tflite",
        "mlp-float32: python",
        "mlp-float32: numpy",
        9.6 / 3.1,
        _ANOTHER,
    ),
    Earlier(
        "an MLP, tf.function by NumPy",
        "numpy-faster",
        "mlp-float32: numpy",
        "mlp-float32: tf-function",
        180 / 9.6,
        _ANOTHER,
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="questions", description=__doc__.splitlines()[0])
    parser.add_argument("--board", action="append", choices=BOARDS, help="only its part")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    old = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    try:
        new = {b: part(*study(b, options.rounds)) for b in options.board or BOARDS}
    except EdgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    FILE.write_text(page(parts(old) | new), encoding="utf-8")
    return 0


def parts(page: str) -> dict[str, str]:
    """Board -> its part of a page."""
    found = re.split(rf"^(?=## (?:{'|'.join(BOARDS)})\b)", page, flags=re.MULTILINE)[1:]
    return {text.split()[1].rstrip(":"): text.rstrip() + "\n" for text in found}


def page(of_boards: dict[str, str]) -> str:
    return "\n".join([head(), *(of_boards[each] for each in BOARDS if each in of_boards)])


def part(text: str, told: dict[str, Any]) -> str:
    """A board's part of the page, of its report as Markdown and as JSON."""
    lines = [] if told["emulated"] else earlier_lines(told)
    return "\n".join([deeper(text), *lines]).rstrip() + "\n"


def head() -> str:
    topics = ["| name | question |", "|---|---|"]
    topics += [f"| `{name}` | {question} |" for name, question in TOPICS.items()]
    return HEAD.read_text(encoding="utf-8").format(topics="\n".join(topics))


def study(board: str, rounds: int) -> tuple[str, dict[str, Any]]:
    """The report, as Markdown and as JSON.

    :raises HostError: the command failed; it has said why.
    """
    edge = Path(sys.executable).with_name("edge")
    with tempfile.TemporaryDirectory() as folder:
        # By a relative path: the report repeats the command.
        words = [str(edge), "study", "--board", board, "--rounds", str(rounds)]
        words += ["--output", f"{board}.md", "--json"]
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise HostError(f"the study on {board} ended with {done.returncode}")
        return (Path(folder) / f"{board}.md").read_text(encoding="utf-8"), json.loads(done.stdout)


def deeper(text: str) -> str:
    """The same, its headings one level down."""
    return re.sub("^#", "##", text, flags=re.MULTILINE)


def earlier_lines(told: dict[str, Any]) -> list[str]:
    """What the prototypes gave beside what was measured now: a row for each case that is there."""
    rows = []
    for each in EARLIER:
        for case in cases(told, each):
            value, low, high = (number(case[key]) for key in ("value", "low", "high"))
            now = f"{value} [{low}, {high}]"
            verdict = agreement(each, case["value"])
            rows.append(f"| {each.what} | {number(each.ratio)} | {now} | {verdict} |")
    if not rows:
        return []
    return [
        "### Beside earlier prototypes",
        "",
        "Other programs measured some of these, on such a machine on another day."
        + (_BUSY if max(told.get("busy", ()), default=0) > BUSY else ""),
        "",
        "| what | B / A then | B / A now [99 %] | |",
        "|---|---:|---:|---|",
        *rows,
    ]


def number(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def cases(told: dict[str, Any], each: Earlier) -> list[dict[str, Any]]:
    claims = [claim for claim in told["claims"] if claim["key"] == each.claim]
    return [
        case
        for claim in claims
        for case in claim["cases"]
        if case["a"].startswith(each.a) and case["b"].startswith(each.b)
    ]


def agreement(each: Earlier, now: float) -> str:
    """In direction, and in size: a factor of two is what another day may do."""
    if (now > 1) != (each.ratio > 1):
        verdict = "the other direction"
    elif max(now / each.ratio, each.ratio / now) <= 2:
        return "same direction, same size"
    else:
        verdict = "same direction, another size"
    return f"{verdict}: {each.differs}" if each.differs else verdict


if __name__ == "__main__":
    sys.exit(main())
