"""What keeps the code small and clear: short files and functions, and one meaning per name."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from itertools import pairwise

import pytest

from tests.test_architecture import MODULES, PACKAGE, ROOT

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LONGEST_FILE = 400
LONGEST_FUNCTION = 60


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
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


def test_what_code_and_pages_name_of_the_package_is_there():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    texts = {_name_module(path): path.read_text("utf-8") for path in MODULES}
    found = []
    for path in [*MODULES, *PAGES]:
        text = path.read_text("utf-8")
        # Other words behind a dot are no rooms: groups of entry points, hosts, files of a dump.
        named = re.findall(r"(?<![\w/.'-])kdopt(?:\.[a-z_]\w*)+", text)
        wrong = [
            name for name in named if name.split(".")[1] in rooms and not _is_there(name, texts)
        ]
        wrong += [
            name for name in re.findall(r"`(kdopt/[\w./]+)`", text) if not (ROOT / name).exists()
        ]
        found += [f"{path.relative_to(ROOT)}: {name}" for name in wrong]
    assert found == []


def test_a_count_and_its_noun_agree_by_one_function():
    """No text writes a plural itself after a number that may be 1: see `format_count`."""
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            parts = [*map(_describe_part, node.values)]
            found += [
                f"{path.relative_to(PACKAGE)}:{node.lineno}: {noun}"
                for (_, count), (noun, _) in pairwise(parts)
                if count and re.match(PLURAL, noun)
            ]
    assert not found


def test_tests_take_one_as_well_as_several_of_what_they_count():
    """A pattern of any number and a plural does not match "1 trial complete"."""
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        texts = (
            n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant)
        )
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}: {asked[0]}"
            for node in texts
            if isinstance(node.value, str)
            for asked in re.finditer(r"\\d\]?[+*]\)?" + PLURAL + r"(?!\?)", node.value)
        ]
    assert found == []


NO_NOUNS = "of|in|on|and|is|as|has|was|does|this|plus|class"
PLURAL = rf" (?!(?:{NO_NOUNS}|test)\b)(?:[a-z]+ )?(?!(?:{NO_NOUNS})\b)[a-z]+s\b"
BOUNDS = {"limit", "expected", "least", "most"}


def _describe_part(part):
    """The text of a part of an f-string, and whether it is a number of things."""
    if isinstance(part, ast.Constant):
        return str(part.value), False
    value = part.value
    name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    with_commas = part.format_spec is not None and ast.unparse(part.format_spec) == "f','"
    is_length = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "len"
    is_count = name.startswith("n_") or name in ("n", "participants", "trials", "images", "epochs")
    return "", (with_commas or is_length or is_count) and not (name.isupper() or name in BOUNDS)


def _name_module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _is_there(name, texts):
    """Whether a dotted name is a module, or the first word behind one stands in its text."""
    parts = name.split(".")
    module = next(m for n in range(len(parts), 0, -1) if (m := ".".join(parts[:n])) in texts)
    rest = name.removeprefix(module).strip(".").partition(".")[0]
    return re.search(rf"\b{rest}\b", texts[module]) is not None
