"""What keeps the code small and clear: short files and functions, and one meaning per name."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from tests.test_architecture import MODULES, PACKAGE

SCRIPTS = sorted((PACKAGE.parent / "scripts").rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 60


@pytest.mark.parametrize(
    "path", [*MODULES, *SCRIPTS], ids=lambda p: str(p.relative_to(PACKAGE.parent))
)
def test_files_and_functions_are_short(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"


def test_no_public_name_means_two_things():
    found = defaultdict(set)
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [t.id for t in node.targets if isinstance(t, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            else:
                continue
            for name in names:
                # A type variable of one letter has no meaning of its own.
                if not name.startswith("_") and len(name) > 1 and name != "logger":
                    found[name].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(places) for name, places in found.items() if len(places) > 1} == {}
