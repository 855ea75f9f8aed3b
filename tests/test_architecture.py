"""The layers of the package: imports point down only, heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kdopt"
LAYERS = [
    {"errors", "many", "plan", "outcome", "names", "features", "facts", "__init__"},
    {"data", "train", "warm"},
    {"stages"},
    {"store"},
    {"schema"},
    {"spec"},
    {"service"},
    {"launch"},
    {"analysis"},
    {"report"},
    {"cli", "__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
SIBLINGS_APART = [({"analysis", "report"}, {"service", "store", "train", "launch"})]
NEVER = {
    "data": {"optuna", "sqlalchemy", "pydantic", "typer"},
    "train": {"optuna", "sqlalchemy", "pydantic", "typer"},
    "warm": {"torch", "optuna", "sqlalchemy", "pydantic", "typer"},
    "stages": {"optuna", "sqlalchemy", "pydantic", "typer"},
    "store": {"torch", "pydantic", "typer"},
    "analysis": {"torch", "optuna", "sqlalchemy", "plotly"},
    "report": {"torch"},
    "launch": {"torch", "optuna", "pydantic", "typer"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    part = part_of(path)
    for name in imports(path):
        head, *rest = name.split(".")
        assert head not in NEVER.get(part, set()), f"{part} must not import {name}"
        if head == "kdopt" and rest:
            other = rest[0]
            assert LEVEL[other] <= LEVEL[part], f"{part} imports {other}, which is above it"
            for these, those in SIBLINGS_APART:
                assert not (part in these and other in those), f"{part} imports {other}"


COMMANDS = [
    ["--help"],
    ["spec", "studies/quickstart.toml"],
    ["plan", "studies/quickstart.toml"],
    ["partitions", "studies/quickstart.toml"],
    ["status"],
    ["report"],
]


def test_commands_that_do_not_train_never_import_torch(tmp_path):
    script = """
import sys
sys.argv = ["kdopt", *sys.argv[1:]]
from kdopt.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = sorted({m.split(".")[0] for m in sys.modules} & {"torch", "torchvision"})
assert not heavy, heavy
"""
    for command in COMMANDS:
        end = subprocess.run(
            [sys.executable, "-c", script, *command],
            cwd=ROOT,
            env={
                "PATH": "",
                "PYTHONPATH": str(ROOT),
                "KDOPT_STORE": str(tmp_path / "s" / "kdopt.db"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert end.returncode == 0, (command, end.stderr)
