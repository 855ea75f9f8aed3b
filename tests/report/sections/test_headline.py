from __future__ import annotations

import pandas as pd
import pytest

from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import list_headline_measures, tabulate_payoff
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.report.blocks import ReportData
from kdopt.report.sections.headline import (
    compose_answer,
    describe_where_not,
    format_answer,
    list_headline_headings,
    make_tiles,
    make_where_grids,
    make_where_tables,
    tabulate_headlines,
)
from tests import conftest
from tests.analysis.synthetic import make_campaign, make_rows

TWO = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))


@pytest.fixture(scope="module")
def campaign():
    return make_campaign(participants=6, partitions=TWO)


@pytest.fixture(scope="module")
def rows(campaign):
    return make_rows(campaign)


@pytest.fixture(scope="module")
def best(campaign, rows):
    return Tables(rows, campaign).best_settings


def test_headlines_stand_under_the_headings_of_their_measures(campaign, rows, best):
    found = tabulate_headlines(Tables(rows, campaign).gain_summary)
    assert list(found) == ["All partitions", "Uniform", "Label dirichlet"]
    index = [m.name for m in list_headline_measures(campaign)].index("test_gain")
    here = best[best["partition"] == "uniform"]
    assert float(found["Uniform"][index].value) == pytest.approx(
        here["test_gain"].mean(), abs=0.006
    )
    assert all(len(lines) == len(list_headline_headings(campaign)) for lines in found.values())


def test_tiles_say_how_often_how_much_and_at_what_cost(campaign, rows, best):
    shown = make_tiles(ReportData(campaign, rows))
    worth = int((best["advice"] == "distil").sum())
    assert shown[0].value == f"{worth} of {len(best)}"
    assert f"in the other {len(best) - worth}" in shown[0].detail
    assert shown[1].value == f"{best['advised_gain'].mean():+.2f} pp"
    assert (shown[2].value, shown[2].detail) == ("? pp", "not known: the control did not run")
    assert shown[3].value == f"{(best['test_gain'] - best['vanilla_gain']).mean():+.2f} pp"
    intervals = [tile.detail for tile in (shown[1], shown[3])]
    assert all(detail.startswith("95 % interval over participants: ") for detail in intervals)
    assert shown[4].value == "9"
    assert shown[4].detail.startswith("540 over 60 pairs: 13.5 min of training, 13.5 s per pair")


def test_before_any_result_there_is_nothing_to_say(campaign):
    data = ReportData(campaign, [])
    found = data.tables.payoff
    assert make_tiles(data) == []
    assert (describe_where_not(found), make_where_grids(found, 5.0), make_where_tables(found)) == (
        "",
        [],
        [],
    )


def test_groups_in_which_most_pairs_gain_nothing_are_named(campaign):
    sunk = make_rows(campaign, validation=lambda gap, t, a: -1.0 if gap < 0 else 1.0)
    found = tabulate_payoff(Tables(sunk, campaign).best_settings)
    text = describe_where_not(found)
    assert "Uniform with weak teachers (15 of 15 pairs)" in text
    assert "stronger" not in text
    grid = make_where_grids(found, 5.0)[0]
    marked = {
        (title, kind[0])
        for title, cells in grid.lines
        for kind, cell in zip(grid.headings[0], cells, strict=True)
        if cell.marked
    }
    assert ("Uniform", "Weak teachers") in marked
    assert {kind for _, kind in marked} <= {"Weak teachers", "Much weaker teachers"}


def test_where_everything_gains_that_is_said(campaign):
    rows = make_rows(campaign, validation=lambda *_: 2.0)
    assert "no group of pairs to leave alone" in describe_where_not(
        tabulate_payoff(Tables(rows, campaign).best_settings)
    )


def test_cards_say_in_words_that_an_interval_includes_0(campaign, rows):
    data = ReportData(campaign, rows)
    for low, said in ((-1.0, True), (0.5, False)):
        data.tables.payoff[["effect_low", "effect_high"]] = low, 2.0
        assert ("includes 0: not established" in make_tiles(data)[3].detail) is said


class Data:
    """What a report is made from, with a table of verdicts and nothing else."""

    has_pairs = True
    campaign = conftest.make_campaign()

    def __init__(self, *lines, images="student"):
        columns = ["partition", "teacher", "student", "action", "net_gain", "test_gain"]
        verdicts = pd.DataFrame(lines, columns=columns).assign(transfer_set=images)
        self.tables = type("Tables", (), {"verdicts": verdicts})

    def shows_stage(self, *_):
        return False


UNKNOWN = float("nan")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([("uniform", 0, 1, "undecided", UNKNOWN, UNKNOWN)], ""),
        (
            [
                ("uniform", 0, 1, "distil", 3.0, 5.0),
                ("uniform", 1, 0, "leave as it is", 0.0, 0.0),
                ("uniform", 0, 2, "undecided", UNKNOWN, UNKNOWN),
            ],
            "distilling pays in 1 of 2 pairs: +1.50 pp net of training on alone, mean of all; "
            "best +3.00 pp (uniform/t00-s01)",
        ),
        (
            [("uniform", 0, 1, "distil", UNKNOWN, 5.0)],
            "distilling pays in 1 of 1 pair: +5.00 pp on test, mean of all; "
            "best +5.00 pp (uniform/t00-s01)",
        ),
        (
            [("uniform", 0, 1, "train on", 0.0, 5.0)],
            "distilling pays in 0 of 1 pair: 0.00 pp net of training on alone, mean of all",
        ),
    ],
)
def test_the_answer_counts_decided_pairs_and_says_net_where_a_control_ran(lines, said):
    assert format_answer(Data(*lines)) == said


def test_until_every_control_has_run_the_net_gain_is_not_yet_known():
    data = Data(
        ("uniform", 0, 1, "distil", UNKNOWN, 5.0), ("uniform", 1, 0, "leave as it is", 0.0, 0.0)
    )
    data.campaign = conftest.make_campaign(control=True)
    said = "+2.50 pp on test, mean of all (net of training on alone: not yet)"
    assert said in format_answer(data)


def make_payoff(gain, net, low, high):
    names = ("advised_gain", "advised_net_gain", "advised_net_low", "advised_net_high", "n")
    return pd.DataFrame([dict(zip(names, (gain, net, low, high, 4), strict=True))])


@pytest.mark.parametrize(
    ("net", "low", "high", "said"),
    [
        (
            *(2.14, -0.5, 4.8),
            ". +2.14 pp of it is because of the teachers (95 % over participants: -0.50 to 4.80, "
            "includes 0).",
        ),
        (
            *(2.14, 0.5, 4.8),
            ". +2.14 pp of it is because of the teachers (95 % over participants: 0.50 to 4.80).",
        ),
        (
            *(2.14, UNKNOWN, UNKNOWN),
            ". +2.14 pp of it is because of the teachers (too few participants for an interval).",
        ),
        (
            *(UNKNOWN, UNKNOWN, UNKNOWN),
            ". What of it is because of the teachers is not known.",
        ),
    ],
)
def test_the_first_sentence_of_the_page_says_what_to_do_and_what_it_brings(net, low, high, said):
    data = Data(
        ("uniform", 0, 1, "leave as it is", 0.0, 0.0),
        ("skewed", 0, 1, "distil", 3.0, 5.0),
        ("skewed", 1, 0, "distil", 3.0, 5.0),
        ("skewed", 2, 0, "train on", 0.0, 5.0),
        ("skewed", 2, 1, "undecided", UNKNOWN, UNKNOWN),
    )
    data.tables.payoff = make_payoff(4.68, net, low, high)
    assert compose_answer(data) == (
        "Distil 2 of the 5 pairs, all of Skewed; train 1 on without a teacher; leave 1 as it is; "
        "1 is not decided yet. Following this gains +4.68 pp on test on average over all 4 "
        f"pairs, 0 for those left as they are{said}"
    )


def test_beside_every_mean_net_gain_stands_whose_gains_on_images_without_labels_are():
    """There the control is 0 by definition."""
    rule = "images without labels: there nothing can be learnt without a teacher, so all of the "
    lines = ("uniform", 0, 1, "distil", 3.0, 3.0), ("uniform", 1, 0, "leave as it is", 0.0, 0.0)
    payoff = make_payoff(1.5, 1.5, 0.5, 2.5)
    for images, there in (("public_unlabeled_small", True), ("public_labeled", False)):
        data = Data(*lines, images=images)
        data.tables.payoff = payoff
        for text in (compose_answer(data), format_answer(data)):
            assert (rule in text) is there
            assert not there or "In 1 of 2 pairs the student" in text


def test_before_a_verdict_the_page_has_no_first_sentence():
    assert compose_answer(Data(("uniform", 0, 1, "undecided", UNKNOWN, UNKNOWN))) == ""
