"""The program on the board: cross-compiled."""

from __future__ import annotations

import dataclasses
from typing import Any

from invoke.tasks import task

from edge.tasks import command


@task(help={"board": command.BOARD, **command.BUILD, "json": command.JSON})
@command.clear
def build(
    _: Any,
    board: str,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
    json: bool = False,
) -> None:
    """Cross-compile the device binary for a board.

    invoke build --board rpi4
    invoke build --board rpi4 --lto --cflags "-Os"
    """

    from edge import artifact, report
    from edge import board as board_module
    from edge import build as build_module

    made = build_module.runner(
        board_module.load(board),
        report.progress,
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
            }
        )
    else:
        report.print_line(
            f"{made.runner.path}  {report.size(made.runner.size_bytes)}  {elf.machine}, "
            f"needs {', '.join(elf.needed)} (glibc {versions.get('GLIBC', 'any')})"
            + ("" if made.compiled else "; was up to date")
        )
