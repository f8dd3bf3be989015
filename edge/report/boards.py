"""Boards, this machine's emulated ones, and the first login to one, as text and as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from edge.board import Board
from edge.report import size, table

if TYPE_CHECKING:
    from edge.bootstrap import Bootstrapped
    from edge.image import BuiltImage
    from edge.machine import Access
    from edge.preflight import Finding


_COLOURS = {"ok": "green", "warning": "yellow", "stop": "red"}


def bootstrap_lines(done: Bootstrapped) -> list[str]:
    file = f"{done.known_hosts}, as {done.target.host_key_names[0]}"
    recorded = f"recorded in {file}" if done.recorded else f"known already ({file})"
    keys = [f"{key.kind} {key.fingerprint}" for key in done.host_keys]
    added = "added to" if done.key_added else "was already in"
    return [
        f"{done.board.name} answers at {done.target.address}: {done.facts.system}",
        *(f"  host key:  {key}, read over {done.serial}" for key in keys),
        f"             {recorded}",
        f"  your key:  {done.key.path} {done.key.key.fingerprint} {added} ~{done.target.user}/.ssh/"
        "authorized_keys",
        f"  {done.lab}: [boards.{done.board.name}] host = {done.host}"
        + ("" if done.lab_changed else " (as before)"),
        f"next: invoke deploy --board {done.board.name} --model FILE.tflite",
    ]


def bootstrap_json(done: Bootstrapped) -> dict[str, Any]:
    return {
        "board": done.board.name,
        "host": done.host,
        "address": done.target.address,
        "serial": done.serial,
        "host_keys": [{"type": key.kind, "fingerprint": key.fingerprint} for key in done.host_keys],
        "known_hosts": {
            "path": str(done.known_hosts),
            "name": done.target.host_key_names[0],
            "added": done.recorded,
        },
        "key": {
            "path": str(done.key.path),
            "fingerprint": done.key.key.fingerprint,
            "added": done.key_added,
        },
        "lab": {"path": str(done.lab), "changed": done.lab_changed},
        "facts": {
            name: getattr(done.facts, name) for name in ("model", "system", "kernel", "machine")
        },
    }


def machine_json(access: Access) -> dict[str, Any]:
    return dataclasses.asdict(access)


def machine_lines(access: Access, board: str) -> list[str]:
    """How a machine is used, after it was started."""
    known = f"-o UserKnownHostsFile={shlex.quote(access.known_hosts_file)}"
    key = f"-i {shlex.quote(access.identity_file)}"
    where = f"-p {access.ssh_port} {access.user}@{access.ssh_host}"
    named = f"--board {board}" + ("" if access.name == board else f" --host {access.name}")
    again = f"--board {board}" if access.name == board else f"--name {access.name}"
    use = (
        f"invoke bootstrap --board {board} --serial {access.console_url} "
        f"--address {access.ssh_host}:{access.ssh_port} --user {access.user}"
        if access.blank
        else f"invoke deploy {named} --model FILE.tflite"
    )
    return [
        f"{access.name} is up (image {access.image}, {access.cpu}, emulated)",
        f"  use it:  {use}",
        *([] if access.blank else [f"  log in:  ssh {key} {known} {where}"]),
        f"  console: invoke console --board {board} --serial {access.console_url}",
        f"  end it:  invoke qemu.down {again}",
    ]


def machines_table(found: Sequence[tuple[str, Access | None]]) -> Table:
    made = table("emulated boards", ["machine", "state", "image", "SSH", "serial line"], left=5)
    for column in ("since", "memory used", "process"):
        made.add_column(column, justify="right", no_wrap=True)
    for name, access in found:
        if access is None:
            made.add_row(name, "comes up or goes down")
            continue
        made.add_row(
            name,
            "up" if access.kept else f"up, for process {access.owner_pid}",
            access.image + (" (blank)" if access.blank else ""),
            f"{access.user}@{access.ssh_host}:{access.ssh_port}",
            access.console_url,
            _since(access.started_s),
            size(resident_bytes) if (resident_bytes := _resident_bytes(access.pid)) else "",
            str(access.pid),
        )
    return made


def _since(started_s: float) -> str:
    return str(datetime.timedelta(seconds=round(time.time() - started_s)))


def _resident_bytes(pid: int) -> int:
    """Memory of a process of this machine; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def image_json(made: BuiltImage) -> dict[str, Any]:
    return {
        "name": made.image.name,
        "path": str(made.directory),
        "packages": len(made.image.lock),
        "size_bytes": _disk_bytes(made),
    }


def image_line(made: BuiltImage) -> str:
    return (
        f"{made.directory}  {size(_disk_bytes(made))}, {len(made.image.lock)} packages of Debian "
        f"{made.image.suite}, {made.image.architecture}"
    )


def _disk_bytes(made: BuiltImage) -> int:
    """What it takes on this machine's disk: most of an image's files are holes."""
    files = [path for path in made.directory.rglob("*") if path.is_file()]
    return sum(path.stat().st_blocks * 512 for path in files)


def boards_table(boards: Sequence[Board]) -> Table:
    """One row each; a column for what units are, if there are any."""
    units = any(board.kind for board in boards)
    columns = ["board", *(["kind"] if units else []), "system", "core"]
    made = table("", [*columns, "cores", "memory", "values from"], left=len(columns))
    for board in boards:
        made.add_row(
            board.name,
            *([board.kind or ""] if units else []),
            board.description,
            f"{board.arch} {board.cpu}",
            str(board.cores),
            f"{board.memory_mib} MiB",
            board.verified,
        )
    return made


def board_json(board: Board) -> dict[str, Any]:
    return {key: getattr(board, key) for key in sorted(board.__dataclass_fields__)}


def findings_table(target: str, findings: Sequence[Finding]) -> Table:
    made = table(f"{target}", ["check", "", "found", "what to do"], left=4)
    made.columns[2].no_wrap = made.columns[3].no_wrap = False
    for finding in findings:
        made.add_row(
            finding.check,
            Text(finding.level, _COLOURS[finding.level]),
            finding.text,
            finding.remedy,
        )
    return made
