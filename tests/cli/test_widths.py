"""What commands print on a terminal of 80 columns: no line is longer, and nothing is left out."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress

import pytest

from kdopt.cli.app import COMMANDS, app
from kdopt.cli.tables import wrap_text
from kdopt.errors import KdoptError
from kdopt.store.campaigns import rename_campaign
from kdopt.store.database import open_store
from tests.finished import FINISHED_SPEC
from tests.terminal import on_terminal

NAME = "a-name-that-is-rather-long-for-80-columns"

READING = [
    "list",
    "status",
    f"best --campaign {NAME}",
    f"best {NAME}/label_dirichlet/t00-s01",
    "doctor --deep",
    f"recommend --campaign {NAME} --pair {NAME}/label_dirichlet/t00-s01",
    "recommend --gap 4",
    "recommend --rules",
    "recommend --guide",
    f"report {NAME} --publish",
    f"features --campaign {NAME}",
    "spec spec.toml",
    "partitions spec.toml",
    "images spec.toml",
    "plan spec.toml",
    "cache",
    f"retry-failed --campaign {NAME}",
    "backup copy",
    f"rename {NAME} other",
    "init",
    "new mine.toml",
]
"""``distill``, ``verify``, ``merge``, ``run`` and what runs for long are left out: they compute."""

ELSEWHERE = {"distill", "verify", "merge", "run", "worker", "launch", "dashboard", "delete"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, finished):
    made = tmp_path_factory.mktemp("narrow")
    shutil.copytree(finished.path.parent, made, dirs_exist_ok=True)
    store = open_store(str(made / "kdopt.db"))
    rename_campaign(store, "home", NAME)
    store.close()
    (made / "spec.toml").write_text(FINISHED_SPEC.replace('name = "home"', f'name = "{NAME}"'))
    return made


def test_every_command_is_asked_or_computes():
    asked = {line.split()[0] for line in READING} | ELSEWHERE
    assert asked == {name for group in COMMANDS.values() for name in group}


@pytest.mark.parametrize("line", READING)
def test_no_line_is_longer_than_the_terminal(folder, monkeypatch, line):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KDOPT_STORE", "kdopt.db")
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    with on_terminal(80) as shown, suppress(KdoptError, SystemExit):
        app(line.split(), standalone_mode=False)
    lines = shown()
    assert lines
    too_long = [text for text in lines if len(text) > 80 and not _is_one_word(text)]
    assert not too_long
    # Settings are written one way, T=4, wherever people read them.
    assert not [text for text in lines if re.search(r"\btemperature[ =]\d", text)]


def _is_one_word(text):
    """What stays whole, to be copied: a path, a command."""
    return " " not in text.strip() or re.match(r" *\(?'?kdopt ", text)


def test_a_text_is_cut_between_words_and_goes_on_below_itself():
    text = "Because   the rule 'decision tree' lost 2.30 pp\n\nshort\n" + "x" * 50
    assert list(wrap_text(text, 40)) == [
        "Because   the rule 'decision tree' lost",
        "          2.30 pp",
        "",
        "short",
        "x" * 50,
    ]
    assert list(wrap_text(text, 100)) == text.split("\n")


def test_a_command_in_a_text_stays_whole():
    text = "no such pair; 'kdopt best --campaign mine' lists all"
    assert "'kdopt best --campaign mine'" in list(wrap_text(text, 30))


TABLE = """\
pp             trials   gain           95 %
* never             0   0.00   2.73 to 3.66
decision tree      12  +1.04  -0.10 to 0.32"""


def test_a_table_is_split_by_columns_and_each_part_says_what_its_lines_are():
    assert list(wrap_text(TABLE, 43)) == TABLE.split("\n")
    assert list(wrap_text(f"above\n{TABLE}\nbelow", 30)) == [
        "above",
        "pp             trials   gain",
        "* never             0   0.00",
        "decision tree      12  +1.04",
        "pp                      95 %",
        "* never         2.73 to 3.66",
        "decision tree  -0.10 to 0.32",
        "below",
    ]


def test_a_label_before_a_table_is_there_each_time_too():
    labels = ["Rules     ", " " * 10, " " * 10]
    text = "\n".join(a + b for a, b in zip(labels, TABLE.split("\n"), strict=True))
    assert list(wrap_text(text, 40))[3:5] == [
        "Rules     pp                      95 %",
        "          * never         2.73 to 3.66",
    ]
