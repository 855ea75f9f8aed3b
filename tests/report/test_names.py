"""Where a campaign gives participants names, people read these beside the numbers."""

import csv
from dataclasses import replace

import pytest

from kdopt.analysis.tables import Tables
from kdopt.campaign.participants import ParticipantSettings
from kdopt.outcome import TrialRow
from kdopt.report.blocks import ReportData
from kdopt.report.export import name_trials, write_report
from kdopt.report.sections.headline import format_answer
from kdopt.report.sections.run import make_participants_block
from kdopt.report.verdict_text import format_verdict, format_verdicts
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows, outcome

NAMES = ("berlin", "paris", "rome")
ABOUT_PAIRS = ("verdicts.csv", "best_settings.csv", "method_gains.csv", "trials.csv")


@pytest.fixture(scope="module")
def unnamed():
    campaign = compare_campaign(participants=3)
    control = TrialRow(
        f"{campaign.name}/uniform/control", "uniform", "control", None, None, 0, "COMPLETE",
        {"student": 2, "transfer_set": "student", "replicate": 0}, outcome(1, 1),
    )  # fmt: skip
    return ReportData(campaign, [*make_rows(campaign), *compare_rows(campaign), control])


@pytest.fixture(scope="module")
def named(unnamed):
    rows = tuple(ParticipantSettings(name=name, data=name) for name in NAMES)
    return ReportData(replace(unnamed.campaign, participant=rows), unnamed.rows)


@pytest.fixture(scope="module")
def files(named, tmp_path_factory):
    paths = write_report(tmp_path_factory.mktemp("report"), named)
    return {path.name: path.read_text("utf-8") for path in paths if path.suffix != ".parquet"}


@pytest.mark.parametrize("name", ABOUT_PAIRS)
def test_files_about_pairs_have_names_after_numbers(name, files):
    lines = list(csv.DictReader(files[name].splitlines()))
    pairs = [line for line in lines if line["pair"]]
    assert pairs
    for line in pairs:
        assert line["teacher_name"] == NAMES[int(line["teacher"])]
        assert line["student_name"] == NAMES[int(line["student"])]
        assert line["pair"] == f"t{int(line['teacher']):02d}-s{int(line['student']):02d}"


def test_the_file_of_trials_names_whom_it_trains(files):
    lines = list(csv.DictReader(files["trials.csv"].splitlines()))
    of = {
        stage: [line for line in lines if line["stage"] == stage]
        for stage in ("pretrain", "control")
    }
    assert {line["participant_name"] for line in of["pretrain"]} == set(NAMES)
    assert [(line["student"], line["student_name"]) for line in of["control"]] == [("2", "rome")]


def test_the_page_and_the_terminal_say_who_teaches_whom(named, files):
    page = files["report.html"]
    assert "t00-s01 (berlin teaches paris)" in page
    assert '"who":"berlin teaches paris"' in page.replace('": "', '":"')
    assert "rome" in page[page.index("Participants before distillation") :]
    table = Tables(named.rows, named.campaign).verdicts
    _, lines = format_verdicts(table, "x")
    assert lines[0][:4] == ["pair", "teacher", "student", "verdict"]
    assert lines[1][:3] == ["uniform/t00-s01", "berlin", "paris"]
    text, _ = format_verdict(table.to_dict("records")[0], named.tables.results)
    assert "/uniform/t00-s01 (berlin teaches paris): " in text
    assert " teaches " in format_answer(named)


def test_without_names_nothing_is_added(unnamed):
    tables = Tables(unnamed.rows, unnamed.campaign)
    for frame in (tables.verdicts, tables.best_settings, tables.method_gains, tables.participants):
        assert not [column for column in frame.columns if column.endswith("_name")]
    assert not [name for name in name_trials(unnamed.rows, unnamed.campaign) if "_name" in name]
    assert format_verdicts(tables.verdicts, "x")[1][0][:2] == ["pair", "verdict"]
    assert " teaches " not in format_answer(unnamed)
    assert unnamed.campaign.describe_pair(0, 1) == ""


def test_the_page_says_whose_model_was_not_trained_here(unnamed):
    brought = (
        ParticipantSettings(name="berlin", weights="b.pt"),
        ParticipantSettings(name="paris", data="paris"),
        ParticipantSettings(name="big", logits="big.npz"),
    )
    for participants, said in (
        (brought, "; not so berlin, with weights of its own; big, given by its logits."),
        ((), "before anything is distilled."),
    ):
        campaign = replace(unnamed.campaign, participant=participants)
        block = make_participants_block(ReportData(campaign, unnamed.rows))
        assert block.note.endswith(said)


@pytest.mark.parametrize("width", [390, 1400])
def test_names_of_64_letters_make_no_page_wider(visit, tmp_path, unnamed, width):
    names = [f"{first}{'bcdefghij' * 7}" for first in "ABC"]
    assert {len(name) for name in names} == {64}
    rows = tuple(ParticipantSettings(name=name, data=name) for name in names)
    campaign = replace(unnamed.campaign, participant=rows, name="n" * 64)
    found = [
        replace(row, study=f"{'n' * 64}/{row.study.partition('/')[2]}") for row in unnamed.rows
    ]
    page = visit(
        write_report(tmp_path, ReportData(campaign, found))[-1].as_uri(),
        viewport={"width": width, "height": 900},
    )
    page.wait_for_selector("body[data-drawn=yes]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    key = page.locator("#pair-key")
    assert key.inner_text().startswith("n" * 64)
    box = key.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
