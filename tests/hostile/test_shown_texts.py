"""Names and error texts of others: shown as they are, obeyed by no terminal and no spreadsheet."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from rich.text import Text

from kdopt.campaign.stages import plan_studies
from kdopt.cli.status_view import render_plain_text, render_status
from kdopt.cli.tables import fit_table, make_console
from kdopt.report.export import generate_trials_csv
from kdopt.report.format import format_csv, format_frame
from kdopt.service.status import read_status
from kdopt.shown import clean_text, defuse_formula, shorten
from kdopt.store.database import open_store
from kdopt.store.leases import claim_trial, fail_trial
from kdopt.store.planning import write_plan
from kdopt.store.queries import read_study_counts
from tests.conftest import make_campaign, make_record
from tests.hostile.commands import kdopt

OBEYED = {
    "clear": "\x1b[2J",
    "title": "\x1b]0;own\x07",
    "link": "\x1b]8;;http://evil.example\x1b\\x",
    "colour": "\x1b[31m",
    "one byte": "\x9b2J",
    "start of line": "\r",
    "backspace": "\b\b\b",
    "bell": "\x07",
    "zero": "\x00",
    "right to left": "\u202e",
    "isolate": "\u2066",
    "no width": "\u200b",
    "other lines": "\u2028\x85\x0b\x0c",
    "not UTF-8": "\udcff",
}
MARKUP = ("[bold red]x[/]", "[link=http://evil.example]x[/link]", "[/]", ":smile:", "[@click=a]b")
FORMULAS = (
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", "\r=1", "\n=1", "\uff1d1",
    "-", "--", "+x", "=",
)  # fmt: skip
NUMBERS = ("-0.50", "+1.20", "-1e-9", "-inf", "0", "-", "", "x=1", "'=1")


def is_safe(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("obeyed", OBEYED.values(), ids=OBEYED)
def test_nothing_that_a_terminal_obeys_comes_through(obeyed: str) -> None:
    assert is_safe(clean_text(f"a{obeyed}b")) and clean_text(f"a{obeyed}b")[0] == "a"
    assert is_safe(kdopt("spec", f"{obeyed}.toml".replace("\0", "")).err)
    assert is_safe(kdopt("status", f"x{obeyed}".replace("\0", "")).err)


def test_lines_and_letters_of_all_languages_stay() -> None:
    for text in ("a\nb\tc", "\u00e4\u00df \u4e2d\u6587 \U0001f600", ""):
        assert clean_text(text) == text


@pytest.mark.parametrize("name", [*OBEYED.values(), *MARKUP], ids=ascii)
def test_tables_of_names_show_them_and_no_more(name: str) -> None:
    console = make_console(width=200, force_terminal=True, color_system=None, file=io.StringIO())
    table = fit_table(console, [{"name": f"<{name}>", "n": "1"}], [["name", "n"]], ["name"])
    console.print(table, name, Text(name))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert is_safe(shown)
    if name in MARKUP:
        assert f"<{name}>" in shown


@pytest.mark.parametrize("name", [*OBEYED.values(), *MARKUP], ids=ascii)
def test_the_reason_of_a_failure_is_shown_and_no_more(
    empty_store: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(empty_store, tmp_path / "kdopt.db")
    store = open_store(str(tmp_path / "kdopt.db"))
    write_plan(store, make_record(make_campaign()), plan_studies)
    worker = f"h{name.encode('utf-8', 'replace').decode()}/1/1/x/cpu"
    claim = claim_trial(store, read_study_counts(store, "tiny")[0].study_id, worker, 9)
    assert claim is not None
    fail_trial(store, claim, f"ValueError: {name}".replace("\0", ""))
    status = read_status(store, "tiny")
    console = make_console(width=200, force_terminal=True, color_system=None, file=io.StringIO())
    console.print(render_status(status, console))
    assert is_safe(console.file.getvalue())  # type: ignore[attr-defined]
    assert is_safe(render_plain_text(status, notes=[name]))
    store.close()


def test_partitions_of_odd_classes_are_shown(tmp_path: Path) -> None:
    names = [n.replace("/", "|").replace("\0", "") for n in (*OBEYED.values(), *MARKUP)]
    for split in ("train", "test"):
        for number, name in enumerate(names):
            folder = tmp_path / split / f"{number}{name}"
            folder.mkdir(parents=True)
            for image in range(20):
                Image.new("L", (4, 4), 10 * number).save(folder / f"{image}.png")
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'name = "odd"\nparticipants = 2\npartitions = ["uniform"]\nstages = ["tune"]\n'
        f'model = "mlp"\n[data]\nname = "folder"\nroot = "{tmp_path}"\nimage_size = 8\n'
        "[pretrain]\nepochs = 1\nbatch_size = 8\n"
    )
    for encoding in ("utf-8", "ascii", "latin-1"):
        ended = kdopt("partitions", spec, encoding=encoding)
        assert ended.code == 0, ended.err
        assert is_safe(ended.out) and "[bold red]x[|]" in ended.out
    page = tmp_path / "page.html"
    assert kdopt("partitions", spec, "--html", page).code == 0
    assert "<bold" not in page.read_text("utf-8")


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def is_computed(cell: str) -> bool:
    """Whether a spreadsheet takes a cell for a formula."""
    try:
        float(cell)
    except ValueError:
        return len(cell) > 1 and cell[0] in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
    return False


@pytest.mark.parametrize("text", FORMULAS)
def test_no_file_of_a_report_holds_a_formula(text: str) -> None:
    frame = pd.DataFrame({text: [text], "n": [-1.0]})
    for written in (
        format_csv([text, "n"], [[text, -1.5]]),
        format_frame(frame),
        "".join(generate_trials_csv({"error": [text, None], text: [1, (1.0, 2.0)]})),
    ):
        assert not any(is_computed(cell) for line in read_csv(written) for cell in line), written


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_and_plain_texts_are_written_as_they_are(text: str) -> None:
    assert defuse_formula(text) == text
    assert read_csv(format_csv(["a", "b"], [[text, "x"]]))[1] == [text, "x"]


def test_a_long_text_keeps_its_ends() -> None:
    text = shorten("begin" + "x" * 10_000 + "end", 1000)
    assert len(text) <= 1000 and text.startswith("begin") and text.endswith("end")
    assert shorten("x" * 1000, 1000) == "x" * 1000
