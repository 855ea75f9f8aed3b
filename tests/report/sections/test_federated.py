"""What a reader sees of federated algorithms side by side."""

from __future__ import annotations

import dataclasses

from kdopt.analysis.tables import Tables
from kdopt.report.blocks import ReportData
from kdopt.report.page import describe_campaign
from kdopt.report.sections.federated import draw_federated
from kdopt.report.sections.many_teachers import format_many_files, make_many_blocks
from tests.report.many_synthetic import ALL_ALGORITHMS, many_campaign, many_rows

CAMPAIGN = many_campaign(federate=ALL_ALGORITHMS, stages=("federate",))
ROWS = many_rows(CAMPAIGN)


def titles(campaign, rows):
    return [block.title for block in make_many_blocks(ReportData(campaign, rows, []))]


def test_every_algorithm_and_start_has_a_line_and_a_curve():
    block = make_many_blocks(ReportData(CAMPAIGN, ROWS, []))[-1]
    accuracies, over, rounds = block.tables
    ways = [tuple(cell.text for cell in line[1:3]) for line in accuracies.lines[:8]]
    assert ways == [
        ("FedAvg", "random"), ("FedAvg", "consolidated"),
        ("FedDF", "random"), ("FedDF", "consolidated"),
        ("FedMD", "random"), ("FedMD", "pretrained"),
        ("Def-KT", "random"), ("Def-KT", "pretrained"),
    ]  # fmt: skip
    assert len(over.lines) == 8 and len(rounds.lines) == 8 * 5 * 5
    tables = Tables(ROWS, CAMPAIGN)
    drawn = draw_federated(tables.federated_curves, tables.federated_levels)
    names = {trace["name"] for trace in drawn["data"]}
    assert {"FedDF from random weights", "FedMD from trained models", "KD, then FedDF"} <= names
    assert all(word in block.note for word in ("logits up", "one model per pair"))


def test_averaging_alone_has_the_page_and_the_files_that_it_had():
    campaign = many_campaign(stages=("federate",))
    rows = many_rows(campaign)
    assert titles(campaign, rows) == titles(CAMPAIGN, ROWS)[:-1]
    assert set(format_many_files(Tables(rows, campaign))) == {
        "federated_curves.csv",
        "rounds_to_target.csv",
    }


def test_without_averaging_nothing_is_said_about_its_starts():
    settings = dataclasses.replace(ALL_ALGORITHMS, algorithms=("fedmd", "def_kt"))
    campaign = many_campaign(federate=settings, stages=("federate",))
    rows = many_rows(campaign)
    assert titles(campaign, rows) == [titles(CAMPAIGN, ROWS)[0], titles(CAMPAIGN, ROWS)[-1]]
    data = ReportData(campaign, rows, [])
    assert "Federated averaging" not in describe_campaign(data)
    assert "FedMD, Def-KT" in describe_campaign(data)
    notes = " ".join(block.note for block in make_many_blocks(data))
    assert "best participant" not in notes and "Relative targets" not in notes
    (figure,) = [b.figure for b in make_many_blocks(data) if b.figure]
    assert figure.figure["data"], "curves without any level"
