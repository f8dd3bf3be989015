"""Folders of kernels, and which operators of a model need one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge import arm, ops, options, tiny
from edge.errors import UsageError
from edge.options import Options
from edge.run import Plan


def test_sources_are_those_in_c_and_cpp(tmp_path: Path) -> None:
    for name in ("b.c", "a.cc", "kernel.h", "README.md", "c.cpp"):
        (tmp_path / name).write_text("")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.c").write_text("")
    assert ops.sources(tmp_path) == ("a.cc", "b.c", "c.cpp")


@pytest.mark.parametrize(
    ("names", "said"),
    [((), "no source in it"), (("notes.txt",), "no source in it"), (("a;b.c",), "rename it")],
)
def test_folders_that_will_not_do(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match=said):
        ops.sources(tmp_path)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        ops.sources(tmp_path / "kernels")


def test_a_path_that_cmake_would_cut(tmp_path: Path) -> None:
    folder = tmp_path / "a;b"
    folder.mkdir()
    (folder / "a.c").write_text("")
    with pytest.raises(UsageError, match="semicolon"):
        ops.sources(folder)


@pytest.mark.parametrize(
    ("name", "kernels", "lacking"),
    [
        ("Mine", (), ("Mine",)),
        ("Mine", ("Other",), ("Mine",)),
        ("Mine", ("Mine", "Other"), ()),
        ("TFLite_Detection_PostProcess", (), ()),
        ("FlexErf", (), ()),
    ],
)
def test_operators_that_need_a_kernel(
    tmp_path: Path, name: str, kernels: tuple[str, ...], lacking: tuple[str, ...]
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny.custom_op(name))
    assert ops.unknown(path, kernels) == lacking


def test_a_model_of_built_in_operators_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(tiny.delegable())
    assert ops.unknown(path) == ()


def test_an_arm_may_have_kernels() -> None:
    made = arm.parse("-a", "--model m.tflite --ops kernels", Plan())
    assert made.plan.options.ops == "kernels" and made.choice.ops == Path("kernels")


def test_options_of_runs_from_before_there_were_kernels() -> None:
    old: dict[str, Any] = {
        **{"signature": None, "shapes": [], "batch": 0, "threads": 1, "xnnpack": True},
        "delegate": None,
    }
    assert options.restore(old) == Options()
    assert options.restore({**old, "ops": "kernels"}) == Options(ops="kernels")
