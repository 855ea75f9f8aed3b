"""Rules that keep whole kinds of faults away: one door for each thing that comes from others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.test_architecture import MODULES, PACKAGE

OWN_FILES = {
    "files.py",  # the door
    "advice/training_set.py",  # comes with the package
    "search/prior.py",  # likewise
    "report/page.py",  # likewise
    "plugins/sources.py",  # packages that are installed here
    "launch/local.py",  # logs that kdopt wrote
    "launch/slurm.py",  # likewise
    "service/distill.py",  # files that it has just written
    "store/artifacts.py",  # compares what it would write, of the same size
    "train/engine.py",  # what Linux says of the machine
    "worker/worker_id.py",  # likewise
}


def list_calls(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The name of each function that is called, and its text arguments."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            name = function.id if isinstance(function, ast.Name) else name
            yield name, [str(a.value) for a in node.args if isinstance(a, ast.Constant)]


def test_files_of_others_are_opened_by_one_module() -> None:
    assert [name for name in OWN_FILES if not (PACKAGE / name).is_file()] == []
    for path in MODULES:
        if str(path.relative_to(PACKAGE)) in OWN_FILES:
            continue
        for name, texts in list_calls(path):
            reads = name in ("read_bytes", "load_file") or (name == "open" and "rb" in texts)
            assert not reads, f"{path}: {name}: use kdopt.files, which waits for no pipe"


def test_images_are_opened_with_a_list_of_formats() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open":
                assert "formats" in [keyword.arg for keyword in node.keywords], path


def test_consoles_show_texts_as_they_are() -> None:
    for path in MODULES:
        if path.relative_to(PACKAGE) != Path("cli/tables.py"):
            made = [name for name, _ in list_calls(path) if name in ("Console", "from_markup")]
            assert not made, f"{path}: use kdopt.cli.tables.make_console"


def test_tables_are_written_by_one_function() -> None:
    for path in MODULES:
        # Of asked images there are keys and numbers only.
        if str(path.relative_to(PACKAGE)) not in ("report/format.py", "data/given_logits.py"):
            made = [name for name, _ in list_calls(path) if name in ("writer", "to_csv")]
            assert not made, f"{path}: use kdopt.report.format.format_csv, which defuses formulas"


def test_json_of_others_is_read_by_one_function() -> None:
    own = {"campaign/plain.py", "advice/training_set.py", "dashboard/listing.py"}
    for path in MODULES:
        calls = {
            ast.unparse(n.func)
            for n in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(n, ast.Call)
        }
        found = calls & {"json.loads", "json.load"}
        assert not found or str(path.relative_to(PACKAGE)) in own, (
            f"{path}: use kdopt.campaign.plain.load_json, which takes none that is deep"
        )


def test_nothing_runs_what_a_file_says() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if path.relative_to(PACKAGE) != Path("plugins/sources.py"):  # given by path, to be run
                assert called not in ("eval", "exec", "pickle.load", "pickle.loads"), path
            assert called != "np.load" or given.get("allow_pickle") == "False", path
            assert called != "torch.load" or given.get("weights_only") == "True", path
