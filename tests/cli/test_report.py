"""``kdopt report`` with campaigns as arguments: real processes, exit codes, messages."""

from __future__ import annotations

import csv

import pytest

from tests.cli.test_cli import kdopt, refused, write_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two campaigns of one store, and one of the same name in another store."""
    folder = tmp_path_factory.mktemp("side-by-side")
    spec = write_tiny()
    (folder / "tiny.toml").write_text(spec)
    (folder / "other.toml").write_text(spec.replace('name = "tiny"', 'name = "other"\nseed = 1'))
    (folder / "apart.toml").write_text(
        spec.replace("tiny", "apart").replace("uniform", "specialized")
    )
    for arguments in (
        ("run", "tiny.toml", "--workers", 1),
        ("run", "other.toml", "--workers", 1),
        ("plan", "apart.toml"),
        ("plan", "tiny.toml", "--store", "second/kdopt.db"),
    ):
        end = kdopt(folder, *arguments)
        assert end.returncode == 0, end.stderr
    return folder


def test_one_argument_is_the_campaign(folder):
    named, option = (
        kdopt(folder, "report", *arguments, "--out", out)
        for arguments, out in ((("tiny",), "named"), (("--campaign", "tiny"), "option"))
    )
    assert named.returncode == option.returncode == 0, named.stderr + option.stderr
    for path in (folder / "named").iterdir():
        assert path.read_bytes() == (folder / "option" / path.name).read_bytes()


def test_several_campaigns_are_shown_side_by_side(folder):
    end = kdopt(folder, "report", "tiny", "other")
    assert end.returncode == 0, end.stderr
    report = folder / "storage" / "reports" / "tiny-and-other"
    printed = end.stdout.splitlines()
    assert printed[-1] == "storage/reports/tiny-and-other/report.html"
    assert sorted(p.name for p in report.iterdir()) == sorted(
        line.rpartition("/")[2] for line in printed
    )
    with (report / "settings_differences.csv").open() as file:
        assert {"key": "seed", "tiny": "0", "other": "1"} in list(csv.DictReader(file))


def test_campaigns_of_two_stores_may_have_the_same_name(folder):
    end = kdopt(folder, "report", "tiny", "tiny@second/kdopt.db", "--out", "both")
    assert end.returncode == 0, end.stderr
    with (folder / "both" / "agreement.csv").open() as file:
        line = next(csv.DictReader(file))
    assert line["first"] == "tiny@storage/kdopt.db"
    assert line["second"] == "tiny@second/kdopt.db"
    assert (line["n"], line["same_images"]) == ("0", "true")  # the second has not run yet
    alone = kdopt(folder, "report", "tiny@second/kdopt.db")
    assert alone.returncode == 0, alone.stderr
    assert (folder / "second" / "reports" / "tiny" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny", "tiny"], ["'tiny'", "named twice", "name each once"]),
        (["tiny", "tiny@./storage/kdopt.db"], ["'tiny'", "named twice"]),
        (["tiny", "nope"], ["no campaign 'nope'", "apart, other, tiny"]),
        (["tiny", "tiny@nowhere.db"], ["nowhere.db", "there is none"]),
        (["tiny", "apart"], ["'tiny' (2 participants in uniform) shares no pair with 'apart'"]),
        (["tiny", "other", "--publish"], ["--publish", "publish each campaign alone"]),
        (["tiny", "--campaign", "tiny"], ["--campaign tiny beside tiny", "leave out"]),
    ],
)
def test_what_cannot_be_compared_is_refused(folder, arguments, said):
    refused(kdopt(folder, "report", *arguments), *said)
