"""Which operators models use, and what of TFLite's sources registers just these."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge import model, operators, tiny
from edge.errors import UsageError

REGISTER = """\
BuiltinOpResolver::BuiltinOpResolver() {
  AddBuiltin(BuiltinOperator_RESHAPE, Register_RESHAPE());
  AddBuiltin(BuiltinOperator_CONV_2D, Register_CONV_2D(),
             /* min_version = */ 1,
             /* max_version = */ 7);
  AddBuiltin(BuiltinOperator_IF, tflite::ops::builtin::Register_IF());
  AddBuiltin(BuiltinOperator_FULLY_CONNECTED,
             Register_FULLY_CONNECTED(), 1, 10);
  AddCustom("Mfcc", tflite::ops::custom::Register_MFCC());
}
"""
KNOWN = operators.registrations(REGISTER)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_models_use_each_once(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "a.tflite", tiny.quantized()),
        written(tmp_path / "b.tflite", tiny.dense()),
        written(tmp_path / "c.tflite", tiny.custom_op("Mfcc")),
    ]
    used = operators.used([model.read(path) for path in paths])
    assert used == ("CONV_2D", "CUSTOM Mfcc", "FULLY_CONNECTED", "RESHAPE")


def test_every_registration_is_found() -> None:
    assert list(KNOWN) == ["RESHAPE", "CONV_2D", "IF", "FULLY_CONNECTED", "CUSTOM Mfcc"]
    assert KNOWN["IF"].make == "Register_IF"


def test_the_chosen_operators_alone_are_registered_with_their_versions() -> None:
    text = operators.registering(operators.chosen(["CONV_2D", "CUSTOM Mfcc"], KNOWN))
    assert "Register_CONV_2D(), /* min_version = */ 1, /* max_version = */ 7);" in text
    assert "TfLiteRegistration* Register_MFCC();" in text
    assert "RESHAPE" not in text


def test_an_operator_that_tflite_lacks() -> None:
    with pytest.raises(UsageError, match=r"no kernel for CUSTOM Own: .* --lib"):
        operators.chosen(["CONV_2D", "CUSTOM Own"], KNOWN)


def test_the_files_that_a_kernel_leads_to(tmp_path: Path) -> None:
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    files = {
        "conv.cc": '#include "tensorflow/lite/kernels/helper.h"\n'
        "TfLiteRegistration* Register_CONV_2D() {\n",
        # Not every header has a file of its name: what it includes may have one.
        "helper.h": '#include "tensorflow/lite/kernels/deeper.h"\n',
        "deeper.cc": "",
        "other.cc": "TfLiteRegistration* Register_CONV_2D();\n"
        "TfLiteRegistration* Register_RESHAPE() {\n",
        "kernel_util.cc": "",
        "conv_test.cc": "TfLiteRegistration* Register_CONV_2D() {\n",
    }
    for name, text in files.items():
        (kernels / name).write_text(text)
    found = operators.kernels([KNOWN["CONV_2D"]], tmp_path)
    assert found == ("conv.cc", "deeper.cc", "kernel_util.cc")
    with pytest.raises(UsageError, match="defines no Register_MFCC"):
        operators.kernels([KNOWN["CUSTOM Mfcc"]], tmp_path)


def test_a_model_that_a_library_was_built_without(tmp_path: Path) -> None:
    path = written(tmp_path / "m.tflite", tiny.quantized())
    operators.insist(path, ["CONV_2D", "FULLY_CONNECTED", "RESHAPE"], "mine")
    with pytest.raises(UsageError) as error:
        operators.insist(path, ["RESHAPE"], "mine")
    for part in ("m.tflite uses CONV_2D, FULLY_CONNECTED", "runtime mine", "--ops-from"):
        assert part in str(error.value)
