"""Runtimes: which there are, and what was compiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from edge import report

if TYPE_CHECKING:
    from edge.compiled import Check, Made
    from edge.runtime import Runtime


def runtimes_table(found: Sequence[Runtime]) -> Table:
    made = report.table("Runtimes", ("runtime", "engines", "processors", "what it is"), left=4)
    for each in found:
        engines, processors = ", ".join(each.engines), ", ".join(_processors(each))
        made.add_row(each.name, engines, processors, each.description)
    return made


def runtime_json(each: Runtime) -> dict[str, Any]:
    return {
        "name": each.name,
        "description": each.description,
        "engines": list(each.engines),
        "architectures": list(_processors(each)),
        "compiled": each.order is not None,
        "operators": list(each.order.operators) if each.order is not None else [],
    }


def _processors(each: Runtime) -> tuple[str, ...]:
    return each.architectures or tuple(sorted({package.arch for package in each.packages}))


def made_lines(made: Made) -> list[str]:
    recipe = made.built.recipe
    took = f"compiled in {made.built.took_s:.0f} s" if made.built.compiled else "was in the cache"
    size = report.size(made.size_bytes)
    lines = [f"{made.built.path}  {size}  {recipe.target}, {recipe.mcpu}; {took}"]
    if recipe.operators:
        names = ", ".join(recipe.operators)
        whole = (
            f"{report.size(made.whole_bytes)} with all operators"
            if made.whole_bytes is not None
            else "not known with all operators: that library is not in the cache"
        )
        lines.append(f"{size} with {names}; {whole}")
    lines += [check_line(each) for each in made.checks]
    lines.append(f"use it: --runtime {made.runtime.name}")
    return lines


def check_line(check: Check) -> str:
    took = (
        f"XNNPACK took {check.nodes_in_xnnpack} of {check.nodes_total} nodes"
        if check.nodes_in_xnnpack
        else f"no XNNPACK {check.dtype} kernels: TFLite's own run all {check.nodes_total} nodes"
    )
    return (
        f"tried on an emulated {check.cpu}, {check.dtype}: {took}; largest difference to this "
        f"machine {check.difference:.2g}"
    )


def made_json(made: Made) -> dict[str, Any]:
    return {
        "runtime": made.runtime.name,
        "path": str(made.built.path),
        "size_bytes": made.size_bytes,
        "whole_bytes": made.whole_bytes,
        "compiled": made.built.compiled,
        "took_s": made.built.took_s,
        "recipe": dataclasses.asdict(made.built.recipe),
        "checks": [dataclasses.asdict(each) for each in made.checks],
    }
