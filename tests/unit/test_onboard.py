from __future__ import annotations

import ast
import ctypes
import gc
import itertools
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edge
from edge import abi, layout, onboard

SOURCE = Path(onboard.__file__).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onboard, "np", np)


# --- what it says twice ---------------------------------------------------------------------------


def test_its_versions_are_the_projects() -> None:
    assert edge.__version__ == onboard.EDGE_VERSION
    assert abi.constant("EDGE_ABI_VERSION") == onboard.ABI_VERSION
    cmake = (layout.firmware_dir() / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f"project(edge VERSION {edge.__version__} " in cmake


def _ctypes_of(kind: Any) -> Any:
    """What a C type of the header is to ctypes, by the script's own rule."""
    if kind.kind == "void":
        return None
    if kind.kind == "function":
        return ctypes.c_void_p
    if kind.kind == "pointer":
        is_text = kind.item.kind == "primitive" and kind.item.cname == "char"
        return ctypes.c_char_p if is_text else ctypes.c_void_p
    return {
        "int32_t": ctypes.c_int32,
        "uint32_t": ctypes.c_uint32,
        "uint64_t": ctypes.c_uint64,
    }[kind.cname]


@pytest.mark.parametrize("name", onboard.FUNCTIONS)
def test_functions_are_declared_as_in_the_header(name: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", abi.declarations(), flags=re.DOTALL)
    found = re.search(rf"([\w *]+?)\b{name}\(([^;]*)\);", text)
    assert found is not None
    declared = abi.ffi().typeof(f"{found[1]} (*)({found[2]})")
    result, arguments = onboard.FUNCTIONS[name]
    assert _ctypes_of(declared.result) is result
    assert [_ctypes_of(kind) for kind in declared.args] == list(arguments)


@pytest.mark.parametrize("name", onboard.STRUCTURES)
def test_structures_are_laid_out_as_in_the_header(name: str) -> None:
    structure = onboard.STRUCTURES[name]
    declared = abi.ffi().typeof(name)
    assert ctypes.sizeof(structure) == abi.ffi().sizeof(name)
    ours = {field[0]: getattr(structure, field[0]) for field in structure._fields_}
    assert list(ours) == [field for field, _ in declared.fields or ()]
    for field, info in declared.fields or ():
        assert (ours[field].offset, ours[field].size) == (
            info.offset,
            abi.ffi().sizeof(info.type),
        ), field


def test_constants_are_those_of_the_header() -> None:
    codes = re.findall(r"^([A-Z][A-Z_]+(?:, [A-Z_]+)+) =", SOURCE, re.MULTILINE)
    names = ", ".join(codes).split(", ")
    assert "INTERRUPTED" in names and "USAGE" in names
    for name in names:
        assert getattr(onboard, name) == abi.constant(f"EDGE_{name}")
    assert abi.constant("EDGE_ABI_VERSION") == onboard.ABI_VERSION
    assert abi.constant("EDGE_MAX_RANK") == onboard.MAX_RANK
    assert len(onboard.COLD_STEPS) == abi.constant("EDGE_COLD_STEPS")
    for number, phase in enumerate(onboard.PHASES):
        assert abi.constant(f"EDGE_PHASE_{phase.upper()}") == number
    for number, end in enumerate(onboard.ENDS):
        assert abi.constant(f"EDGE_END_{end.upper()}") == number


def test_it_is_written_for_old_pythons_and_needs_nothing_else() -> None:
    tree = ast.parse(SOURCE, feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported <= sys.stdlib_module_names


# --- flags ----------------------------------------------------------------------------------------


def flags(verb: str, *words: str) -> onboard.Flags:
    return onboard.Flags(verb, words)


def test_flags_are_attached_or_follow() -> None:
    found = flags("bench", "--model=m=1.tflite", "--count", "7", "--iterations=auto")
    assert found.text("--model") == "m=1.tflite"
    assert (found.number("--count"), found.number("--iterations")) == (7, 0)
    assert found.number("--threads") == 1 and not found.given("--threads")


@pytest.mark.parametrize(
    ("verb", "words", "says"),
    [
        ("infer", ["--frob"], "unknown flag --frob"),
        ("infer", ["m.tflite"], "unexpected argument"),
        ("infer", ["--samples", "x"], "unknown flag --samples"),
        ("infer", ["--model"], "needs a value"),
        ("infer", ["--each=1"], "takes no value"),
        ("bench", ["--count", "0"], "from 1 to"),
        ("bench", ["--count", "1e3"], "not '1e3'"),
        ("bench", ["--count", "٣"], "whole number"),
        ("bench", ["--threads", "9" * 5000], "from 1 to 1024"),
        ("bench", ["--iterations", "never"], "auto or"),
    ],
)
def test_wrong_flags_are_one_line(verb: str, words: list[str], says: str) -> None:
    with pytest.raises(onboard.Failure) as failure:
        flags(verb, *words)
    assert failure.value.code == onboard.USAGE
    assert says in str(failure.value)


@pytest.mark.parametrize("text", ["x", "=1", "x=", "x=1x", "x=0", "x=1x" + "1x" * 8 + "1"])
def test_wrong_shapes(text: str) -> None:
    with pytest.raises(onboard.Failure, match="--shape"):
        flags("infer", "--shape", text).shapes()


def test_a_shapes_name_ends_at_the_last_equals_sign() -> None:
    given = ("--shape", "a=b=1x2", "--shape", "c:0=3")
    assert flags("infer", *given).shapes() == {"a=b": (1, 2), "c:0": (3,)}
    with pytest.raises(onboard.Failure, match="twice"):
        flags("infer", "--shape", "x=1", "--shape", "x=2").shapes()


def test_delegates_are_percent_encoded() -> None:
    given = flags("infer", "--delegate", "external:/a%3Fb.so?key=a%26b&empty=")
    assert given.delegate() == ("/a?b.so", {"key": "a&b", "empty": ""})
    for wrong in ("gpu", "external:", "external:/a.so?key"):
        with pytest.raises(onboard.Failure, match="--delegate"):
            flags("infer", "--delegate", wrong).delegate()


# --- arrays ---------------------------------------------------------------------------------------


def tensor(dtype: str = "int8", shape: tuple[int, ...] = (1, 4), scale: float = 0.5) -> Any:
    return onboard.Tensor("x", 0, np.dtype(dtype).type, shape, shape, scale, -3)


def test_real_numbers_become_steps_rounded_half_to_even_and_clamped() -> None:
    reals = np.array([[0.25, 0.75, -1000.0, 1000.0]], np.float32)
    assert onboard.quantized(reals, tensor()).tolist() == [[-3, -1, -128, 127]]
    with pytest.raises(onboard.Failure, match="not a number"):
        onboard.quantized(np.array([[np.nan]]), tensor())


def test_steps_become_real_numbers() -> None:
    found = onboard.dequantized(np.array([[-3, -1]], np.int8), tensor())
    assert found.tolist() == [[0, 1]]
    assert found.dtype == np.float32
    same = np.array([1], np.int64)
    assert onboard.dequantized(same, tensor("int64")) is same


@pytest.mark.parametrize(
    ("array", "each", "real", "says"),
    [
        (np.zeros((1, 4), np.float32), False, False, "--dequantize takes real numbers"),
        (np.zeros((1, 4), np.int8), False, True, "expects float32 or float64 [1, 4], got int8"),
        (np.zeros((1, 5), np.int8), False, False, "got int8 [1, 5]"),
        (np.zeros((0, 4), np.int8), True, False, "no sample"),
        (np.zeros((2, 3), np.int8), True, False, "expects int8 [n, 4]"),
        (np.zeros((1, 4), ">i2"), False, False, "big-endian"),
    ],
)
def test_arrays_that_do_not_fit(array: Any, each: bool, real: bool, says: str) -> None:
    with pytest.raises(onboard.Failure) as failure:
        onboard.match_inputs([("x", array)], [tensor()], each=each, dequantize=real)
    assert says in str(failure.value)


def test_one_array_fits_one_input_under_any_name() -> None:
    given: list[tuple[str | None, Any]] = [("whatever", np.zeros((3, 4), np.int8))]
    arrays, runs = onboard.match_inputs(given, [tensor()], each=True, dequantize=False)
    assert runs == 3 and arrays[0].shape == (3, 4)


def test_random_inputs_are_those_of_the_other_runner() -> None:
    # The generator's first words, as bench.cc makes them one by one.
    state, words = 1, []
    for _ in range(1000):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        words.append(state >> 32)
    values = onboard.PlausibleValues()
    first = values.array(tensor("int8", (7,)))
    assert first.view(np.uint8).tolist() == [word >> 24 for word in words[:7]]
    second = values.array(tensor("int32", (993,)))
    assert second.tolist() == [word >> 31 for word in words[7:]]
    assert values.array(tensor("float32", (0,))).shape == (0,)
    half = onboard.PlausibleValues().array(tensor("float16", (50,)))
    assert half.min() >= 0.5 and half.max() < 1


def test_two_outputs_of_one_name_get_two() -> None:
    same = tensor()
    assert [name for name, _ in onboard.unique([same, same])] == ["x", "x_1"]


# --- measuring ------------------------------------------------------------------------------------


def test_the_collector_is_off_while_measuring_unless_it_may_run() -> None:
    with onboard.undisturbed():
        assert not gc.isenabled()
    assert gc.isenabled()
    before = onboard.collections()
    with onboard.undisturbed(collecting=True):
        assert gc.isenabled()
    assert onboard.collections() == before + 1


def test_a_whole_call_sets_invokes_and_gets() -> None:
    done: list[str] = []
    interpreter = SimpleNamespace(
        invoke=lambda: done.append("invoke"),
        set_tensor=lambda index, array: done.append(f"set {index}"),
        get_tensor=lambda index: done.append(f"get {index}"),
    )
    model = SimpleNamespace(
        interpreter=interpreter, inputs=[tensor()], outputs=lambda: [tensor()._replace(number=7)]
    )
    onboard.python_phases(model, [np.zeros(1)])["call"]()  # type: ignore[arg-type]
    assert done == ["set 0", "invoke", "get 7"]


def test_a_sample_spans_as_many_calls_as_take_long_enough() -> None:
    assert onboard.choose_iterations(lambda count: 10 * count, 2500)[0] == 250
    assert onboard.choose_iterations(lambda count: 100000 * count, 2500)[0] == 1
    assert onboard.choose_iterations(lambda _: 0, 2500)[0] == 2**30


def test_a_call_that_was_interrupted_once_does_not_decide() -> None:
    elapsed = itertools.chain([1_000_000], itertools.repeat(10))
    assert onboard.choose_iterations(lambda count: count * next(elapsed), 2500)[0] == 250


@pytest.mark.parametrize(
    ("said", "operator"),
    [
        ("Encountered unresolved custom op: Foo.\nSee instructions", "Foo"),
        ("Didn't find op for builtin opcode 'ADD' version '9'. An older", "ADD version 9"),
        ("Regular TensorFlow ops are not supported. Node number 3 (FlexErf) failed", "FlexErf"),
        ("something else", None),
    ],
)
def test_the_missing_operator_is_found_in_the_runtimes_words(
    said: str, operator: str | None
) -> None:
    assert onboard.unresolved_op(said) == operator


def test_a_defect_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> dict[str, Any]:
        raise KeyError("a\nb")

    monkeypatch.setitem(onboard.RUN, "infer", broken)
    assert onboard.main(["infer"]) == onboard.INTERNAL
    assert capsys.readouterr().err.count("\n") == 1
    assert onboard.main([]) == onboard.main(["frobnicate"]) == onboard.USAGE


def test_a_scale_that_json_cannot_say() -> None:
    assert onboard.told(tensor(scale=float("inf")))["scale"] is None
    assert onboard.told(tensor(scale=np.float32(0.1).item()))["scale"] == 0.1


def test_an_operator_is_looked_for_in_the_chatter_too() -> None:
    model = SimpleNamespace(
        path="m.tflite", chatter=SimpleNamespace(text="unresolved custom op: Foo. ")
    )
    failure = onboard.Model.explained(model, onboard.RUNTIME, "what", RuntimeError("why"))  # type: ignore[arg-type]
    assert failure.code == onboard.UNSUPPORTED_OP and "Foo of m.tflite" in str(failure)
