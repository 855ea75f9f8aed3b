from dataclasses import replace

import pytest

from kdopt.analysis.summary import measures
from kdopt.plan import PartitionSettings
from kdopt.report.view import FAILURES_SHOWN, make_view
from tests.analysis.synthetic import accuracy_of, make_campaign, make_rows, validation_surface


def test_headlines_stand_under_the_headings_of_their_measures():
    campaign = make_campaign(
        partitions=(PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
    )
    view = make_view(campaign, make_rows(campaign))
    assert list(view.headlines) == ["All partitions", "Uniform", "Label dirichlet"]
    index = [m.name for m in measures(campaign)].index("test_gain")
    headline = view.headlines["Uniform"][index]
    best = view.best[view.best["partition"] == "uniform"]
    assert float(headline.value) == pytest.approx(best["test_gain"].mean(), abs=0.006)
    assert all(len(lines) == len(view.headings) for lines in view.headlines.values())


def test_surfaces_of_the_page_are_those_of_the_rows():
    campaign = make_campaign()
    shown = make_view(campaign, make_rows(campaign)).payload["surfaces"]["uniform/t02-s00"]
    gap = 100 * (accuracy_of(2) - accuracy_of(0))
    for i, t in enumerate(shown["temperatures"]):
        for j, a in enumerate(shown["alphas"]):
            assert shown["validation"][i][j] == pytest.approx(
                validation_surface(gap, t, a), abs=1e-4
            )


def test_at_most_fifty_failures_are_listed_and_the_rest_counted():
    campaign = make_campaign(participants=5)
    failed = [
        replace(row, state="FAIL", outcome=None, error="NaN loss") if row.stage == "tune" else row
        for row in make_rows(campaign)
    ]
    view = make_view(campaign, failed)
    assert len(view.failures) == FAILURES_SHOWN == 50
    assert view.failures_left_out == 20 * 9 - 50


def test_numbers_sort_as_numbers_and_empty_cells_have_an_empty_key():
    campaign = make_campaign()
    view = make_view(campaign, [])
    keys = {cell.key for line in view.sections[0].lines for cell in line[1:9]}
    assert keys == {""}
    complete = make_view(campaign, make_rows(campaign)).sections[0].lines[0]
    assert isinstance(complete[1].key, float)


def test_the_environment_names_every_device():
    campaign = make_campaign()
    rows = make_rows(campaign)
    rows[0] = replace(rows[0], outcome=replace(rows[0].outcome, device="cuda", precision="bf16"))
    lines = make_view(campaign, rows).environment
    assert lines[0] == "Ran on: cpu (fp32), cuda (bf16)"
    assert lines[2] == "Versions: kdopt 0.1.0, torch 2.6"
    assert make_view(campaign, []).environment == []
