"""Tiny models as files; what they compute is asked of real interpreters elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ai_edge_litert import schema_py_generated as schema

from edge import tiny

MODELS: dict[str, Callable[[], bytes]] = {
    **{f"elementwise-{t}": lambda t=t: tiny.elementwise(t) for t in tiny.DTYPES},  # type: ignore[misc]
    "delegable": tiny.delegable,
    "branches": tiny.branches,
    "scalar": tiny.scalar,
    "several": tiny.several,
    "two_signatures": tiny.two_signatures,
    "dynamic": tiny.dynamic,
    "dynamic_output": tiny.dynamic_output,
    "counter": tiny.counter,
    "dense": tiny.dense,
    "custom_op": tiny.custom_op,
    "custom_and_builtin": lambda: tiny.custom_and_builtin("Nobody", b"ab"),
    "leaky_threshold": lambda: tiny.leaky_threshold(1, 2, (1, 4), custom=True),
    "leaky_threshold-builtin": lambda: tiny.leaky_threshold(1, 2, (1, 4), custom=False),
    "quantized-int8": lambda: tiny.quantized("int8"),
    "quantized-uint8": lambda: tiny.quantized("uint8"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_tiny_model_is_small_and_always_the_same(name: str) -> None:
    data = MODELS[name]()
    assert data[4:8] == b"TFL3"
    assert len(data) < 4096
    assert data == MODELS[name]()


@pytest.mark.parametrize("name", MODELS)
def test_constants_start_at_16_bytes_as_the_schema_demands(name: str) -> None:
    data = MODELS[name]()
    model = schema.Model.GetRootAs(data, 0)
    constants = [
        model.Buffers(i).DataAsNumpy()
        for i in range(model.BuffersLength())
        if not model.Buffers(i).DataIsNone()
    ]
    for constant in constants:
        offset = data.index(constant.tobytes())
        while offset % 16 and (following := data.find(constant.tobytes(), offset + 1)) > 0:
            offset = following
        assert offset % 16 == 0


def test_no_two_models_are_alike() -> None:
    assert len({make() for make in MODELS.values()}) == len(MODELS)
