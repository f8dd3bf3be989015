"""What a sweep over batch sizes came to, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from edge import report
from edge.report import runs as runs_report
from edge.sweep import Point


def sweep_table(points: Sequence[Point], title: str) -> Table:
    """A row per model, engine and size; what was refused has no figures."""
    columns = ["model", "engine", "batch", "p50 [95 % bounds]", "p50 / batch", "samples/s"]
    made = report.table(title, [*columns, "resize", "then invoke", "peak memory"], left=2)
    for point in points:
        made.add_row(point.model, point.engine, str(point.batch), *_figures(point))
    return made


def _figures(point: Point) -> list[str]:
    run = point.run
    if run is None:
        return ["refused", "", "", "", "", ""]
    median = next((p for p in run.percentiles() if p.quantile == 0.5), None)
    peak = run.report["peak_rss_bytes"]
    return [
        report.interval(median),
        report.duration(run.median_ns / point.batch),
        "" if point.samples_per_s is None else f"{point.samples_per_s:.4g}",
        "" if point.resize_ns is None else report.duration(point.resize_ns),
        "" if point.then_invoke_ns is None else report.duration(point.then_invoke_ns),
        "" if peak is None else report.size(peak),
    ]


def sweep_lines(points: Sequence[Point]) -> list[str]:
    """How to read the table, what was refused, and what was not to be trusted."""
    lines = [
        "samples/s: elements of the batch, invocations one after the other; resize and then "
        "invoke: what it takes an open model to come to this size from another, and the first "
        "invocation after it"
    ]
    told: dict[str, list[str]] = {}
    for point in points:
        where = f"{point.model}, {point.engine}, batch {point.batch}"
        if point.run is None:
            told.setdefault(f"refused: {point.refusal}", []).append(where)
            continue
        if point.resize_refusal:
            told.setdefault(f"not resized: {point.resize_refusal}", []).append(where)
        for reason in point.run.verdict():
            told.setdefault(f"not trusted: {reason.text}", []).append(where)
    return [*lines, *(f"{text}: {'; '.join(places)}" for text, places in told.items())]


def sweep_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [
        {
            "model": point.model,
            "engine": point.engine,
            "batch": point.batch,
            "refusal": point.refusal or None,
            "samples_per_s": point.samples_per_s,
            "resize_ns": point.resize_ns,
            "then_invoke_ns": point.then_invoke_ns,
            "run": None if point.run is None else runs_report.run_json(point.run),
        }
        for point in points
    ]
