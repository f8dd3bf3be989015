"""Questions: the claims about TFLite, Python, Keras and quantization that circulate, and what would
have to be measured if they were so.

Each is one that people repeat, in our own words. docs/questions.md has what became of them here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

from edge.cell import KERAS, SAVED, Cell, Inventory, Subject, Way
from edge.claim import Case, Claim
from edge.errors import UsageError

TOPICS = {
    "python": "What does Python cost a call?",
    "runtime": "Does it matter which runtime build runs a model?",
    "quantization": "What does quantization gain or lose?",
    "xnnpack": "Is C++ slower than Python, and what is XNNPACK to that?",
    "batch": "Do batches pay?",
    "resources": "What does a way take of memory, and how long does it take to start?",
    "jitter": "Does Python's latency jitter?",
    "keras": "Is TFLite slower than Keras?",
    "numpy": "Is TensorFlow slower than NumPy?",
    "serving": "Can what was trained in Python be served from C++?",
}

LARGE = 10_000_000
"""Multiply-accumulates from which on a model takes about a millisecond on one core."""
SMALL = 1_000_000
"""Below that, large batches and thousands of samples take no time to speak of."""

_IN_C = ("native", "tflite", "litert")
"""Engines whose loop is in C or C++."""
_BATCHED = ("keras-predict", "tf-function")
"""What people give large batches to; each way costs seconds of importing TensorFlow a round."""
_NO_PAIR = (
    "there are no float32 and int8 variants of one model: name both with --model, as "
    "name-float32.tflite and name-int8.tflite"
)
NO_KERAS = (
    "there is no Keras file of a float32 model here: put NAME.keras beside NAME-float32.tflite"
)
_ONE_BUILD = "there is but one runtime build for this board"


def claims(topics: Sequence[str] = ()) -> tuple[Claim, ...]:
    """Those of the topics; without any, all.

    :raises UsageError: an unknown topic.
    """
    for topic in topics:
        if topic not in TOPICS:
            raise UsageError(f"--questions {topic}: must be of {', '.join(TOPICS)}")
    return tuple(claim for claim in _CLAIMS if not topics or claim.topic in topics)


# --- cases: pairs of cells ------------------------------------------------------------------------

Cases = Callable[[Inventory], Sequence[Case]]


def _plain(inventory: Inventory, *engines: str) -> list[Way]:
    return [way for way in inventory.of(*engines) if way.plain]


def _calls(inventory: Inventory) -> list[Way]:
    """Whole calls of TFLite from Python, as those of Keras and NumPy are."""
    return [way for way in inventory.of("python") if way.call and not way.gc]


def _float32(subjects: Iterable[Subject]) -> list[Subject]:
    return [each for each in subjects if each.variant in ("float32", "")]


def _phase(phase: str, least: float = 0, most: float = math.inf) -> Cases:
    """Python's part of a call by C's, on one interpreter, for models of so much work."""

    def cases(inventory: Inventory) -> list[Case]:
        return [
            Case(Cell(native, each, phase=phase), Cell(python, each, phase=phase))
            for native in _plain(inventory, "native")
            for python in _plain(inventory, "python")
            if python.runtime == native.runtime
            for each in inventory.subjects
            if least <= each.work < most
        ]

    return cases


def _builds(inventory: Inventory) -> list[Case]:
    """A build by the one before it, the language of the loop being the same."""
    found = []
    for engines in (_IN_C, ("python",)):
        ways = sorted(_plain(inventory, *engines), key=lambda way: _age(way.runtime))
        for older, newer in itertools.pairwise(ways):
            if _age(older.runtime) < _age(newer.runtime):
                found += [Case(Cell(older, s), Cell(newer, s)) for s in inventory.subjects]
    return found


def _age(runtime: str) -> tuple[bool, tuple[int, ...]]:
    """In the order of their release: LiteRT 1 and 2 came after the last tflite-runtime."""
    name, _, version = runtime.rpartition("-")
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    return "litert" in name, numbers


def _variants(inventory: Inventory) -> list[Case]:
    """int8 by float32 of the same model, in each way."""
    found = []
    for way in _plain(inventory, *_IN_C, "python", "compiled"):
        for a in inventory.subjects:
            for b in inventory.subjects:
                if (a.family, a.variant, b.variant) == (b.family, "float32", "int8"):
                    found.append(Case(Cell(way, a), Cell(way, b)))
    return found


def _without_xnnpack(a_engines: tuple[str, ...], *, reverse: bool = False) -> Cases:
    """C++ without the delegate, by another way with it."""

    def cases(inventory: Inventory) -> list[Case]:
        without = [way for way in inventory.of("tflite", "litert") if not way.xnnpack]
        found = []
        for off in without:
            for on in _plain(inventory, *a_engines):
                # The same build where the language is the same; else whatever Python there is.
                if on.engine != "python" and (on.engine, on.runtime) != (off.engine, off.runtime):
                    continue
                for each in inventory.subjects:
                    pair = (Cell(on, each), Cell(off, each))
                    found.append(Case(*reversed(pair)) if reverse else Case(*pair))
        return found

    return cases


def _batches(inventory: Inventory) -> list[Case]:
    return [
        Case(Cell(way, each), Cell(way, each, inventory.batch))
        for way in (*_plain(inventory, "tflite", "litert"), *_plain(inventory, "python")[:1])
        for each in _float32(inventory.subjects)
        if each.work < SMALL
    ]


def _python_by_cpp(inventory: Inventory) -> list[Case]:
    """A process of Python's by one of C++'s."""
    return [
        Case(Cell(cpp, each), Cell(python, each))
        for cpp in _plain(inventory, "tflite", "litert")[:1]
        for python in _plain(inventory, "python")
        for each in inventory.subjects
    ]


def _collector(inventory: Inventory) -> list[Case]:
    return [
        Case(Cell(off, each), Cell(on, each))
        for on in inventory.of("python")
        if on.gc
        for off in _calls(inventory)
        if off.runtime == on.runtime
        for each in _float32(inventory.subjects)
        if each.work < SMALL
    ]


def _loops(inventory: Inventory) -> list[Case]:
    """A process of Python's by one of C's, on the same build."""
    return [
        Case(Cell(native, each), Cell(python, each))
        for native in _plain(inventory, "native")
        for python in _plain(inventory, "python")
        if python.runtime == native.runtime
        for each in _float32(inventory.subjects)
        if each.work < SMALL
    ]


def _against(
    a_engines: tuple[str, ...],
    b_engines: tuple[str, ...],
    *,
    batches: bool | None = None,
) -> Cases:
    """Float32 models in each way of B by each way of A; of TFLite in Python, whole calls of the
    build that comes first, as of any other library.

    :param batches: only the large batch, or only one example; None: both.
    """

    def cases(inventory: Inventory) -> list[Case]:
        def whole(engines: tuple[str, ...]) -> list[Way]:
            if "python" in engines:
                return _calls(inventory)[:1]
            return _plain(inventory, *engines)

        sizes = [n for n, big in ((1, False), (inventory.batch, True)) if batches in (None, big)]
        return [
            Case(Cell(a, each, size), Cell(b, each, size))
            for a in whole(a_engines)
            for b in whole(b_engines)
            for each in _those(inventory, a.engine, b.engine)
            for size in sizes
            if size == 1 or each.work < SMALL
        ]

    return cases


def _those(inventory: Inventory, *engines: str) -> list[Subject]:
    """Float32 models that all of the engines can run; of TensorFlow, which takes seconds to be
    imported in each process, the smallest and the largest."""
    found = [each for each in _float32(inventory.subjects) if all(map(each.file, engines))]
    return (
        found if not {*KERAS, *SAVED} & {*engines} else list(dict.fromkeys(found[:1] + found[-1:]))
    )


def _compiled(inventory: Inventory) -> list[Case]:
    """By the Interpreter of the newest build that has one."""
    newest = sorted(_plain(inventory, "python"), key=lambda way: _age(way.runtime))[-1:]
    return [
        Case(Cell(python, each), Cell(compiled, each))
        for compiled in _plain(inventory, "compiled")
        for python in newest
        for each in inventory.subjects
    ]


# --- the claims -----------------------------------------------------------------------------------

_CLAIMS = (
    Claim(
        "python-magnitude",
        "python",
        "Calling TFLite from Python is an order of magnitude slower than from C++.",
        "a call (copy in, invoke, copy out) takes Python more than 10 times as long as C, on the "
        "same interpreter",
        "latency",
        _phase("call"),
        (("native",), ("python",)),
        ("C", "Python"),
        low=10,
    ),
    Claim(
        "python-constant",
        "python",
        "What Python adds to a call is a few microseconds.",
        "a call takes Python less than 10 µs longer than C, on the same interpreter, for models "
        "below 10 M multiply-accumulates: in longer calls a few microseconds can't be seen",
        "added latency",
        _phase("call", most=LARGE),
        (("native",), ("python",)),
        ("C", "Python"),
        "no model here is below 10 M multiply-accumulates: name one with --model",
        high=10_000,
    ),
    Claim(
        "python-invoke",
        "python",
        "Invoking itself is slower from Python.",
        "the invocation alone takes Python more than 10 % longer than C, on the same interpreter",
        "latency",
        _phase("invoke"),
        (("native",), ("python",)),
        ("C", "Python"),
        low=1.1,
    ),
    Claim(
        "python-copying",
        "python",
        "Copying an array into the model is many times dearer from Python.",
        "copying in takes Python more than 5 times as long as C, on the same interpreter",
        "latency",
        _phase("copy_in"),
        (("native",), ("python",)),
        ("C", "Python"),
        low=5,
    ),
    Claim(
        "python-large",
        "python",
        "For a model of some size it makes no difference whether C++ or Python calls it.",
        "a call takes Python at most 2 % longer than C, for models of 10 M multiply-accumulates or "
        "more",
        "latency",
        _phase("call", LARGE),
        (("native",), ("python",)),
        ("C", "Python"),
        "no model here has 10 M multiply-accumulates: name one with --model",
        high=1.02,
    ),
    Claim(
        "runtime-newer",
        "runtime",
        "A newer runtime is a faster one.",
        "an invocation takes less time than with the build before it, from the same language",
        "latency",
        _builds,
        (("python", *_IN_C),),
        ("the older build", "the newer build"),
        _ONE_BUILD,
        high=1,
    ),
    Claim(
        "runtime-alike",
        "runtime",
        "TFLite is TFLite: the builds are about as fast as each other.",
        "an invocation takes between 20 % less and 25 % more than with the build before it",
        "latency",
        _builds,
        (("python", *_IN_C),),
        ("the older build", "the newer build"),
        _ONE_BUILD,
        low=0.8,
        high=1.25,
    ),
    Claim(
        "compiled-faster",
        "runtime",
        "LiteRT's CompiledModel is faster than the Interpreter.",
        "an invocation takes less time by CompiledModel than by the newest Interpreter that there "
        "is, both from Python",
        "latency",
        _compiled,
        (("compiled",), ("python",)),
        ("the Interpreter", "CompiledModel"),
        high=1,
    ),
    Claim(
        "int8-faster",
        "quantization",
        "An int8 model is faster than the float32 model that it was made of.",
        "an invocation of the int8 model takes less time than one of the float32 model",
        "latency",
        _variants,
        (("python", *_IN_C),),
        ("float32", "int8"),
        _NO_PAIR,
        high=1,
    ),
    Claim(
        "int8-twice",
        "quantization",
        "An int8 model is at least twice as fast.",
        "an invocation of the int8 model takes less than half the time of one of the float32 model",
        "latency",
        _variants,
        (("python", *_IN_C),),
        ("float32", "int8"),
        _NO_PAIR,
        high=0.5,
    ),
    Claim(
        "int8-memory",
        "quantization",
        "An int8 model takes much less memory to run.",
        "the process with the int8 model has less than 90 % of the other's peak memory",
        "memory",
        _variants,
        (("python", *_IN_C),),
        ("float32", "int8"),
        _NO_PAIR,
        high=0.9,
    ),
    Claim(
        "cpp-slower",
        "xnnpack",
        "The C++ library is slower than the Python package.",
        "without XNNPACK, which C++ has to ask for, an invocation takes C++ longer than Python",
        "latency",
        _without_xnnpack(("python",)),
        (("tflite", "litert"), ("python",)),
        ("Python", "C++ without XNNPACK"),
        low=1,
    ),
    Claim(
        "xnnpack-faster",
        "xnnpack",
        "XNNPACK makes every model faster.",
        "an invocation takes less time with XNNPACK than without it, in the same build",
        "latency",
        _without_xnnpack(("tflite", "litert"), reverse=True),
        (("tflite", "litert"),),
        ("built-in kernels", "XNNPACK"),
        high=1,
    ),
    Claim(
        "batches-pay",
        "batch",
        "Batches pay on a CPU, too.",
        "an example takes at least 10 % less time in a large batch than alone",
        "per example",
        _batches,
        (("tflite", "litert", "python"),),
        ("one alone", "a large batch"),
        "no float32 model here is below 1 M multiply-accumulates",
        high=0.9,
    ),
    Claim(
        "python-memory",
        "resources",
        "Running a model from Python takes several times the memory.",
        "a process of Python's has more than twice the peak memory of a C++ one",
        "memory",
        _python_by_cpp,
        (("tflite", "litert"), ("python",)),
        ("C++", "Python"),
        low=2,
    ),
    Claim(
        "python-start",
        "resources",
        "A program in Python takes many times as long to its first result.",
        "from opening the runtime to the end of the first invocation it takes more than 5 times as "
        "long as in C++",
        "start",
        _python_by_cpp,
        (("tflite", "litert"), ("python",)),
        ("C++", "Python"),
        low=5,
    ),
    Claim(
        "collector-jitter",
        "jitter",
        "Python's garbage collector makes latency jitter.",
        "p99 of whole calls is more than 10 % longer with the collector on than off",
        "p99",
        _collector,
        (("python",),),
        ("Python without the collector", "Python with the collector"),
        low=1.1,
    ),
    Claim(
        "python-jitter",
        "jitter",
        "Latency jitters more from Python than from C++.",
        "p99 of invocations from Python is more than 10 % longer than from C, on the same build",
        "p99",
        _loops,
        (("native",), ("python",)),
        ("C", "Python"),
        low=1.1,
    ),
    Claim(
        "keras-faster",
        "keras",
        "For one example Keras is faster than TFLite.",
        "a whole call with one example takes Keras less time than TFLite in Python",
        "latency",
        _against(("python",), KERAS, batches=False),
        (KERAS, ("python",)),
        ("TFLite", "Keras"),
        NO_KERAS,
        high=1,
    ),
    Claim(
        "keras-batches",
        "keras",
        "With large batches Keras overtakes TFLite.",
        "a whole call with a large batch takes Keras less time than TFLite in Python",
        "latency",
        _against(("python",), _BATCHED, batches=True),
        (_BATCHED, ("python",)),
        ("TFLite", "Keras"),
        NO_KERAS,
        high=1,
        crosses=True,
    ),
    Claim(
        "predict-fine",
        "keras",
        "For one example model.predict is as good as calling the model.",
        "one example takes predict at most 10 % longer than model(x)",
        "latency",
        _against(("keras-call",), ("keras-predict",), batches=False),
        (("keras-call",), ("keras-predict",)),
        ("model(x)", "model.predict"),
        NO_KERAS,
        high=1.1,
    ),
    Claim(
        "numpy-faster",
        "numpy",
        "For small models TensorFlow is slower than NumPy.",
        "a whole call takes tf.function longer than a forward pass in NumPy",
        "latency",
        _against(("numpy",), ("tf-function",)),
        (("numpy",), ("tf-function",)),
        ("NumPy", "TensorFlow"),
        NO_KERAS,
        low=1,
        crosses=True,
    ),
    Claim(
        "numpy-tflite",
        "numpy",
        "For small models NumPy is as fast as TFLite.",
        "a forward pass in NumPy takes at most 10 % longer than a whole call of TFLite in Python",
        "latency",
        _against(("python",), ("numpy",)),
        (("numpy",), ("python",)),
        ("TFLite", "NumPy"),
        high=1.1,
        crosses=True,
    ),
    Claim(
        "saved-model-cpp",
        "serving",
        "What Keras saved can be served from C++ as it is, without Python and without converting.",
        "the SavedModel runs through TensorFlow's C API, however long it takes",
        "latency",
        _against(("tf-signature",), ("tensorflow",), batches=False),
        (("tensorflow",), ("tf-signature",)),
        ("Python", "C++"),
        NO_KERAS,
    ),
    Claim(
        "saved-model-faster",
        "serving",
        "A SavedModel is served faster from C++ than from Python.",
        "one example takes TensorFlow's C API less time than the same signature from Python",
        "latency",
        _against(("tf-signature",), ("tensorflow",), batches=False),
        (("tensorflow",), ("tf-signature",)),
        ("Python", "C++"),
        NO_KERAS,
        high=1,
    ),
    Claim(
        "saved-model-tflite",
        "serving",
        "In C++ a SavedModel needs no conversion to be as fast as TFLite.",
        "one example takes TensorFlow's C API at most 10 % longer than TFLite in C++",
        "latency",
        _against(("tflite", "litert"), ("tensorflow",), batches=False),
        (("tflite", "litert"), ("tensorflow",)),
        ("TFLite", "TensorFlow"),
        NO_KERAS,
        high=1.1,
    ),
)
