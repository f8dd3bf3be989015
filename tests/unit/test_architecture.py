"""The house rules that can be read off the source: floors, and who imports what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "edge"

# A module may import from floors above its own line only.
FLOORS = (
    (
        "edge",
        "edge.errors",
        "edge.once",
        "edge.onboard",
        "edge.keeper",
        "edge.converter",
        "edge.ways",
        "edge.ways.*",
    ),
    ("edge.layout", "edge.toml", "edge.options", "edge.about"),
    (
        "edge.artifact",
        "edge.abi",
        "edge.blocks",
        "edge.board",
        "edge.model",
        "edge.tiny",
        "edge.toolchain",
        "edge.group",
        "edge.cell",
    ),
    (
        "edge.debian",
        "edge.wheels",
        "edge.venv",
        "edge.forward",
        "edge.transport.command",
        "edge.operators",
    ),
    ("edge.transport", "edge.emulator", "edge.source"),
    (
        "edge.transport.*",
        "edge.facts",
        "edge.build",
        "edge.image",
        "edge.python",
        "edge.samples",
        "edge.console",
    ),
    ("edge.tflite", "edge.packaged"),
    ("edge.runtime", "edge.environment", "edge.stats", "edge.steady", "edge.qemu"),
    ("edge.snapshot",),
    (
        "edge.ops",
        "edge.store",
        "edge.machine",
        "edge.run",
        "edge.release",
        "edge.split",
        "edge.preflight",
    ),
    (
        "edge.reference",
        "edge.session",
        "edge.testing",
        "edge.support",
        "edge.probe",
        "edge.lab",
        "edge.history",
        "edge.comparison",
        "edge.precision",
        "edge.baseline",
        "edge.flatbuffer",
        "edge.scoring",
    ),
    ("edge.terminal", "edge.switch", "edge.archive", "edge.setting", "edge.dataset"),
    (
        "edge.agreement",
        "edge.runner",
        "edge.watch",
        "edge.bootstrap",
        "edge.cooling",
        "edge.layers",
    ),
    (
        "edge.deploy",
        "edge.bench",
        "edge.inspection",
        "edge.installed",
        "edge.profile",
        "edge.convert",
        "edge.evaluation",
    ),
    (
        "edge.bundle",
        "edge.fleet",
        "edge.canary",
        "edge.arm",
        "edge.rounds",
        "edge.compiled",
        "edge.sweep",
    ),
    ("edge.claim",),
    ("edge.questions",),
    ("edge.study",),
    ("edge.report",),
    ("edge.report.runs",),
    ("edge.report.*",),
    ("edge.tasks.command",),
    ("edge.tasks.*",),
    ("edge.tasks",),
)

ONLY = {
    "fabric": {"edge.transport.ssh"},
    "paramiko": {"edge.transport.ssh", "edge.transport.login"},
    "serial": {"edge.console"},
    "cffi": {"edge.abi"},
    "invoke": {"edge.tasks"},
    "tensorflow": {"edge.converter", "edge.ways.tensorflow"},
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def floor_of(module: str) -> int:
    for number, names in enumerate(FLOORS):
        if module in names:
            return number
    for number, names in enumerate(FLOORS):
        if any(n.endswith(".*") and module.startswith(n[:-1]) for n in names):
            return number
    raise AssertionError(f"{module} stands on no floor: give it one in this test")


def imports_of(path: Path) -> set[str]:
    """Dotted names, function bodies included, TYPE_CHECKING blocks left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_strictly_downward(module: str) -> None:
    for imported in imports_of(MODULES[module]) & set(MODULES):
        if module.startswith("edge.transport.") and imported.startswith("edge.transport"):
            continue  # one floor of several rooms
        assert floor_of(imported) < floor_of(module), f"{module} imports {imported}"


@pytest.mark.parametrize("module", MODULES)
def test_each_heavy_library_has_one_home(module: str) -> None:
    for imported in imports_of(MODULES[module]):
        homes = ONLY.get(imported.partition(".")[0], {module})
        at_home = any(module == home or module.startswith(f"{home}.") for home in homes)
        assert at_home, f"{module} imports {imported}"


def test_the_task_file_stays_thin() -> None:
    source = (PACKAGE.parent / "tasks.py").read_text(encoding="utf-8")
    assert not [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.For, ast.While))]
    assert imports_of(PACKAGE.parent / "tasks.py") <= {"__future__", "edge.tasks"}
