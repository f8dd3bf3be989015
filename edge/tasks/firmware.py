"""The program on the board: cross-compiled."""

from __future__ import annotations

import dataclasses
from typing import Any

from edge.tasks import command


@command.task(
    help={
        "board": command.BOARD,
        **command.BUILD,
        "ops": command.OPS + "; the library of them, too",
        "json": command.JSON,
    }
)
def build(
    _: Any,
    board: str,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
    ops: str | None = None,
    json: bool = False,
) -> None:
    """Cross-compile the device binary for a board.

    invoke build --board rpi4
    invoke build --board rpi4 --lto --cflags "-Os"
    invoke build --board rpi4 --ops kernels/
    """

    from edge import artifact, report
    from edge import board as board_module
    from edge import build as build_module
    from edge import ops as ops_module

    target = board_module.load(board)
    made = build_module.runner(
        target,
        report.progress,
        toolchain_name=toolchain,
        lto=lto or None,
        cflags=cflags,
    )
    kernels = None
    if ops is not None:
        kernels = ops_module.library(
            *(command.path(ops), target, report.progress),
            toolchain_name=toolchain,
            lto=lto or None,
            cflags=cflags,
        )
    elf = artifact.elf_facts(made.runner.path)
    versions = {key: ".".join(map(str, value)) for key, value in elf.versions.items()}
    if json:
        report.print_json(
            {
                "path": str(made.runner.path),
                "sha256": made.runner.sha256,
                "size_bytes": made.runner.size_bytes,
                "machine": elf.machine,
                "needed": list(elf.needed),
                "symbol_versions": versions,
                "compiled": made.compiled,
                "recipe": dataclasses.asdict(made.recipe),
                "ops": None
                if kernels is None
                else {
                    "path": str(kernels.artifact.path),
                    "sha256": kernels.artifact.sha256,
                    "size_bytes": kernels.artifact.size_bytes,
                    "operators": list(kernels.names),
                    "compiled": kernels.compiled,
                    "recipe": dataclasses.asdict(kernels.recipe),
                },
            }
        )
    else:
        report.print_line(
            f"{made.runner.path}  {report.size(made.runner.size_bytes)}  {elf.machine}, "
            f"needs {', '.join(elf.needed)} (glibc {versions.get('GLIBC', 'any')})"
            + ("" if made.compiled else "; was up to date")
        )
        if kernels is not None:
            report.print_line(
                f"{kernels.artifact.path}  {report.size(kernels.artifact.size_bytes)}  kernels for "
                f"{', '.join(kernels.names)}" + ("" if kernels.compiled else "; was up to date")
            )
