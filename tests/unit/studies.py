"""Made-up boards, models and figures for tests of claims and their reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.cell import Cell, Figures, Inventory, Subject, Way, subject
from edge.claim import Case, Claim

ROUNDS = 10

BUILDS = ("tflite-runtime-2.14.0", "ai-edge-litert-2.1.0")


def _subjects(family: str, work: int) -> list[Subject]:
    float32, int8 = (subject(Path(f"{family}-{v}.tflite"), work) for v in ("float32", "int8"))
    keras, saved = Path(f"{family}.keras"), Path(family)
    return [dataclasses.replace(float32, keras=keras, saved=saved), int8]


SMALL = _subjects("mlp", 6_000)
LARGE = _subjects("net", 300_000_000)
WAYS = (
    Way("tflite", "litert-2.1.0"),
    Way("tflite", "litert-2.1.0", xnnpack=False),
    Way("litert", "litert-2.3.0"),
    *(Way("python", build) for build in BUILDS),
    *(Way("python", build, call=True) for build in BUILDS),
    Way("python", BUILDS[0], call=True, gc=True),
    Way("native", BUILDS[0]),
    Way("compiled", BUILDS[1]),
    Way("numpy", "numpy"),
    *(Way(e, "tensorflow") for e in ("keras-predict", "keras-call", "tf-function")),
    *(Way(e, "tensorflow") for e in ("tf-signature", "tensorflow")),
)
"""All that any claim is about."""


def inventory(
    ways: tuple[Way, ...] = WAYS,
    subjects: tuple[Subject, ...] = (*SMALL, *LARGE),
    missing: Mapping[str, str] | None = None,
) -> Inventory:
    return Inventory("rpi4", ways, subjects, missing or {})


def levels(level: float, noise: float = 0.001, seed: int = 1, rounds: int = ROUNDS) -> list[float]:
    """Of rounds: around a level, with a relative noise."""
    random = np.random.default_rng(seed)
    return [level * math.exp(each) for each in random.normal(0, noise, rounds)]


def figures(level: float, noise: float = 0.001, seed: int = 1, rounds: int = ROUNDS) -> Figures:
    """Every quantity is of that level."""
    values = tuple(levels(level, noise, seed, rounds))
    return Figures(values, values, values, values, None, "4/4")


def measured(
    claim: Claim, case: Case, value: float, *, noise: float = 0.001, rounds: int = ROUNDS
) -> dict[Cell, Figures]:
    """Both cells, such that what the claim is about has that value."""
    a = 50_000.0
    b = a + value if claim.quantity == "added latency" else a * value
    if claim.quantity == "per example":
        b *= case.b.batch / case.a.batch
    return {
        case.a: figures(a, noise, 1, rounds),
        case.b: figures(b, noise, 2, rounds),
    }


def inside(claim: Claim) -> float:
    """A value that the claim is right about."""
    if math.isfinite(claim.low) and math.isfinite(claim.high):
        return math.sqrt(claim.low * claim.high)
    return 2 * claim.low if math.isfinite(claim.low) else min(claim.high, 1e4) / 2


def outside(claim: Claim) -> float | None:
    """One that it is wrong about; None: it can't be, if it was measured at all."""
    if math.isfinite(claim.high):
        return 2 * claim.high
    return claim.low / 2 if math.isfinite(claim.low) else None


def border(claim: Claim) -> float:
    """One at the edge of what it says."""
    return claim.high if math.isfinite(claim.high) else claim.low
