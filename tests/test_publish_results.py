"""scripts/results.sh: the published results come again from their stores, byte for byte."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from kdopt.errors import KdoptError
from kdopt.store.backup import back_up_store
from kdopt.store.campaigns import rename_campaign
from kdopt.store.database import open_store
from scripts import publish_results
from scripts.publish_results import publish, read_numbers
from scripts.published_numbers import measure_union, split_rival

PAGE = """# Results
{% if unfinished %}
Unfinished: {{ unfinished }}.
{% endif %}
{{ gains_table() }}
{{ transfer_table() }}
{{ claims_table() }}
{{ cost_table() }}
Vanilla: {{ campaigns["home"].gain("vanilla")|pp(" pp") }}
"""


@pytest.fixture(scope="module")
def stores(finished, tmp_path_factory):
    """``home``, and a copy of it that is called ``other``."""
    folder = tmp_path_factory.mktemp("copy")
    back_up_store(finished.store, finished.artifacts, folder)
    copy = open_store(str(folder / "kdopt.db"))
    rename_campaign(copy, "home", "other")
    copy.close()
    return [f"home@{finished.path}", f"other@{folder / 'kdopt.db'}"]


@pytest.fixture(scope="module")
def published(stores, tmp_path_factory):
    docs = tmp_path_factory.mktemp("docs")
    write(stores, docs, verify=3)
    return docs


def write(stores, docs, page=PAGE, **options):
    template = docs / "page.md.j2"
    template.write_text(page)
    publish(stores, docs, template, formats=(), **options)


def read_all(docs):
    return {str(p.relative_to(docs)): p.read_bytes() for p in docs.rglob("*") if p.is_file()}


def test_the_same_stores_give_the_same_bytes(stores, published, tmp_path):
    # What was run again is kept with the results that it is about.
    shutil.copytree(published / "results", tmp_path / "results")
    write(stores, tmp_path)
    assert read_all(tmp_path) == read_all(published)
    names = set(read_all(published))
    assert {"results.md", "results/home/claims.md", "results/comparison/claims.csv"} <= names
    assert not any("trials" in name for name in names)


def test_a_copy_under_another_name_has_the_same_hash(published):
    home, other = (
        json.loads((published / "results" / name / "facts.json").read_text())
        for name in ("home", "other")
    )
    assert home["results_sha256"] == other["results_sha256"]
    assert home["run_again"] == "3 random trials: every number is the same"


def test_a_changed_result_changes_the_hash_and_what_was_run_again_no_longer_counts(
    finished, stores, published, tmp_path
):
    back_up_store(finished.store, finished.artifacts, tmp_path)
    location = tmp_path / "kdopt.db"
    shutil.copytree(published / "results", tmp_path / "results")
    store = open_store(str(location))
    with store.write() as connection:
        connection.exec_driver_sql(
            "UPDATE trial_user_attributes SET value_json = "
            "replace(value_json, '\"epochs\": 1,', '\"epochs\": 2,') WHERE key = 'kd:metrics'"
        )
    store.close()
    changed, home = read_numbers(f"home@{location}"), read_numbers(stores[0])
    assert changed.results_sha256 != home.results_sha256
    assert publish_results.read_check(tmp_path / "results", home) is not None
    assert publish_results.read_check(tmp_path / "results", changed) is None


def test_numbers_of_the_page_are_those_of_the_tables(stores, published):
    numbers = read_numbers(stores[0])
    text = (published / "results.md").read_text()
    line = re.search(r"^\| all \| home \| (.+) \|$", text, re.MULTILINE)[1].split(" | ")
    summary = numbers.data.tables.gain_summary.set_index(["partition", "measure"])["value"]
    shown = dict(zip(("control", "vanilla", "dml", "dp_kd", "tuned", "net"), line[1:], strict=True))
    assert shown["tuned"] == f"{summary['all partitions', 'test_gain']:.2f}"
    assert shown["net"] == f"{summary['all partitions', 'net_gain']:.2f}"
    assert shown["control"] == f"{summary['all partitions', 'control_gain']:.2f}"
    assert text.rstrip().endswith(f"Vanilla: {shown['vanilla']} pp")
    assert shown["dp_kd"] == "-"  # it did not run


def test_an_unfinished_campaign_is_refused_or_named(finished, stores, tmp_path, monkeypatch):
    back_up_store(finished.store, finished.artifacts, tmp_path)
    location = tmp_path / "kdopt.db"
    store = open_store(str(location))
    with store.write() as connection:
        connection.exec_driver_sql(
            "UPDATE trials SET state = 'WAITING' "
            "WHERE trial_id = (SELECT max(trial_id) FROM trials)"
        )
    store.close()
    unfinished = [f"home@{location}", stores[1]]
    with pytest.raises(KdoptError, match=r"'home' has 1 trial that is not complete.*--partial"):
        write(unfinished, tmp_path)
    assert not (tmp_path / "results").exists()
    for writer in ("write_campaign", "write_tables"):  # the page alone is looked at
        monkeypatch.setattr(
            publish_results, writer, lambda *_: (tmp_path / "results").mkdir(exist_ok=True)
        )
    write(unfinished, tmp_path, partial=True)
    assert "Unfinished: home (1 trial to go)." in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize(
    ("quoted", "message"),
    [
        ('campaigns["home"].contrast("C4", "no such")', "0 contrasts begin with 'no such'"),
        ('campaigns["home"].ratio("uniform")', "no line with partition 'uniform'"),
    ],
)
def test_a_number_that_is_not_there_is_an_error_and_changes_no_file(
    quoted, message, stores, tmp_path
):
    with pytest.raises(LookupError, match=message):
        write(stores, tmp_path, page=f"{{{{ {quoted} }}}}")
    assert not (tmp_path / "results").exists()


def test_the_hardest_rival_is_told_from_what_it_is_compared_with():
    assert split_rival("uniform: tuned - dml (greatest of the others)") == (
        "uniform: tuned - greatest of the others",
        "dml",
    )
    assert split_rival("weak: forgetting, dp_kd - tuned (least of the others)") == (
        "weak: forgetting, least of the others - tuned",
        "dp_kd",
    )
    assert split_rival("weak teachers: tuned net gain") == ("weak teachers: tuned net gain", "")


def test_time_with_a_trial_under_way_counts_once():
    day = "2026-01-01 00:00:"
    times = [(f"{day}00", f"{day}10"), (f"{day}05.5", f"{day}12"), (f"{day}20", f"{day}21.25")]
    assert measure_union(times) == 13.25


def test_the_published_page_is_the_text_with_numbers():
    """The text is in the template; the page that is published was made from this one."""
    page = (publish_results.ROOT / "docs" / "results.md").read_text("utf-8")
    template = publish_results.TEMPLATE.read_text("utf-8")
    headings = [line for line in template.splitlines() if line.startswith("#")]
    assert headings == [line for line in page.splitlines() if line.startswith("#")]
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "{", template, flags=re.DOTALL)
    words = [line for line in text.splitlines() if line and "{" not in line]
    assert len(words) > 50
    assert [line for line in words if line not in page] == []


def test_published_figures_are_small_and_have_a_text():
    folder = publish_results.ROOT / "docs" / "results"
    figures = sorted(folder.rglob("*.svg"))
    assert figures
    assert max(path.stat().st_size for path in figures) < 450_000
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 6_000_000
    page = (folder.parent / "results.md").read_text("utf-8")
    shown = {path: alt for alt, path in re.findall(r"!\[([^]]+)\]\((\S+\.svg)\)", page)}
    for path in figures:
        name = path.relative_to(folder.parent).as_posix()
        assert len(shown[name]) > 20, name
