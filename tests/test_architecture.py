"""The rooms of the package: imports point down only, heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kdopt"
FLOORS = [
    {"errors", "typed", "files", "shown"},
    {"campaign"},
    {"outcome"},
    {"data", "train", "plugins"},
    {"trials", "store"},
    {"analysis"},
    {"features"},
    {"search", "advice"},
    {"worker"},
    {"service"},
    {"launch"},
    {"report"},
    {"dashboard", "api"},
    {"cli", "__init__", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
APART = [
    ({"trials"}, {"store"}),
    ({"store"}, {"data", "train", "trials"}),
    ({"analysis"}, {"store", "data", "train", "trials"}),
    ({"search"}, {"train", "trials", "advice"}),
    ({"advice", "report"}, {"store", "train", "trials", "search", "worker", "service", "launch"}),
    ({"launch"}, {"trials", "analysis", "train"}),
]
NEVER = {
    "campaign": {"torch", "optuna", "sqlalchemy", "typer"},
    "data": {"optuna", "sqlalchemy", "pydantic", "typer"},
    "train": {"optuna", "sqlalchemy", "pydantic", "typer"},
    "trials": {"optuna", "sqlalchemy", "pydantic", "typer"},
    "store": {"torch", "pydantic", "typer"},
    "analysis": {"torch", "optuna", "sqlalchemy", "plotly"},
    "search": {"torch", "sqlalchemy", "pydantic", "typer"},
    "advice": {"torch", "optuna", "sqlalchemy", "plotly"},
    "report": {"torch", "optuna", "sqlalchemy"},
    "launch": {"torch", "optuna", "pydantic", "typer"},
    "dashboard": {"torch"},
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


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    room = room_of(path)
    for name in imports(path):
        head, *rest = name.split(".")
        assert head not in NEVER.get(room, set()), f"{room} must not import {name}"
        if head == "kdopt" and rest:
            other = rest[0]
            assert FLOOR[other] <= FLOOR[room], f"{room} imports {other}, which is above it"
            for these, those in APART:
                assert not (room in these and other in those), f"{room} imports {other}"


HEAVY = {
    *("torch", "torchvision", "timm", "onnx", "onnxscript"),
    *("sklearn", "optuna", "optuna_dashboard", "pydantic", "plotly", "pyarrow"),
    *("ray", "submitit", "kaleido", "choreographer", "fsspec", "aiobotocore", "botocore"),
}
"""What is slow to import, or an extra that need not be there."""
UNIX = {"fcntl", "resource"}
FRONT_DOORS = {"__init__.py", "cli/__init__.py"}
"""What ``import kdopt`` and ``kdopt --help`` run: both take less than a tenth of a second."""


def test_imports_within_functions_keep_heavy_libraries_out():
    trees = {path: ast.parse(path.read_text("utf-8")) for path in MODULES}
    names = {path.relative_to(ROOT).with_suffix("").as_posix(): path for path in MODULES}

    def find_module(name):
        base = name.replace(".", "/")
        return next((names[n] for n in (base, f"{base}/__init__") if n in names), None)

    def list_imported(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def find_heavy(name, seen):
        """Whether a module is heavy, or imports one when it is imported."""
        if name.split(".")[0] in HEAVY | UNIX:
            return True
        path = find_module(name)
        if path is None or path in seen:
            return False
        seen.add(path)
        return any(find_heavy(n, seen) for n in list_imported(trees[path].body))

    found = []
    for path, tree in trees.items():
        if path.relative_to(PACKAGE).as_posix() in FRONT_DOORS:
            continue
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                nodes = [
                    n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)
                ]
                for node in nodes:
                    if not any(find_heavy(name, set()) for name in list_imported([node])):
                        found.append(f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}")
    assert found == [], "import them at the top"


PRINTS = {
    "launch/slurm.py",  # a function that is all there is of a job's process
}


def test_only_the_command_line_prints():
    for path in MODULES:
        if room_of(path) == "cli" or str(path.relative_to(PACKAGE)) in PRINTS:
            continue
        called = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" not in called, f"{path.relative_to(PACKAGE)} prints"


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
