import json
import math
import random
from dataclasses import replace

import pytest

from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import summarise_gains
from kdopt.campaign.names import index_study_name, parse_study_name
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.dashboard.campaign_index import index_studies
from kdopt.report.blocks import ReportData
from kdopt.report.format import format_points
from tests.analysis.synthetic import compare_campaign, compare_rows, make_campaign, make_rows
from tests.report.many_synthetic import (
    ALL_ALGORITHMS,
    ROUNDS,
    federate_accuracy,
    many_campaign,
    many_rows,
)

COLUMNS = {
    "accuracy_gap",
    "temperature",
    "alpha",
    "validation_gain",
    "test_gain",
    "vanilla_gain",
    "advice",
    "study",
}


@pytest.fixture
def campaign():
    return make_campaign(
        partitions=(PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
    )


def test_every_partition_has_a_line_per_pair_that_says_what_the_report_says(campaign):
    rows = make_rows(campaign)
    best = Tables(rows, campaign).best_settings
    studies = index_studies(ReportData(campaign, rows), {})
    assert [s.name for s in studies] == ["toy/uniform/index", "toy/label_dirichlet/index"]
    for study in studies:
        partition = study.attributes["kd:partition"]
        table = best[best["partition"] == partition]
        assert len(study.entries) == len(table) == 6
        for entry, line in zip(study.entries, table.to_dict("records"), strict=True):
            assert entry.params == {"teacher": line["teacher"], "student": line["student"]}
            assert set(entry.columns) == COLUMNS
            assert entry.value == round(line["advised_gain"], 2)
            assert entry.columns["temperature"] == line["temperature"]
            assert entry.columns["alpha"] == line["alpha"]
            assert entry.columns["advice"] == line["advice"]
            for key in ("accuracy_gap", "validation_gain", "test_gain", "vanilla_gain"):
                assert entry.columns[key] == round(line[key], 2)
            name = parse_study_name(str(entry.columns["study"]))
            assert (name.partition, name.stage) == (partition, "tune")
            assert (name.teacher, name.student) == (line["teacher"], line["student"])


def test_a_pair_that_should_not_distil_gains_nothing_whatever_its_cell_does(campaign):
    rows = make_rows(campaign, validation=lambda *_: -1.0, test=lambda *_: 2.0)
    for study in index_studies(ReportData(campaign, rows), {}):
        assert {e.columns["advice"] for e in study.entries} == {"leave as it is"}
        assert {e.value for e in study.entries} == {0.0}
        assert all(float(e.columns["test_gain"]) > 0 for e in study.entries)
        assert "not to distil: 6" in study.note
        assert "Pairs that gain" not in study.note


def test_pairs_without_a_result_are_counted_and_not_listed(campaign):
    rows = [
        row if row.teacher != 2 else replace(row, state="WAITING", outcome=None)
        for row in make_rows(campaign)
    ]
    study = index_studies(ReportData(campaign, rows), {})[0]
    assert [e.params["teacher"] for e in study.entries] == [0, 0, 1, 1]
    assert "Measured: 4 of 6 pairs" in study.note
    assert "not listed: 2" in study.note


def test_a_pair_that_is_not_finished_says_so(campaign):
    rows = make_rows(campaign)
    last = next(i for i, r in enumerate(rows) if (r.teacher, r.student, r.number) == (0, 1, 8))
    rows[last] = replace(rows[last], state="RUNNING", outcome=None)
    first, *others = index_studies(ReportData(campaign, rows), {})[0].entries
    assert first.columns["unfinished"] == "8 of 9 cells"
    assert not any("unfinished" in entry.columns for entry in others)


def test_an_unknown_number_has_no_column(campaign):
    rows = [r for r in make_rows(campaign) if r.stage == "tune"]
    for entry in index_studies(ReportData(campaign, rows), {})[0].entries:
        assert "accuracy_gap" not in entry.columns
        assert all(math.isfinite(v) for v in entry.columns.values() if isinstance(v, float))


def test_an_empty_campaign_has_an_index_that_can_be_drawn(campaign):
    study = index_studies(ReportData(campaign, []), {})[0]
    assert study.entries == []
    assert "Measured: 0 of 6 pairs" in study.note
    assert set(map(type, map(json.loads, study.figures.values()))) == {dict}


def test_the_note_has_the_headline_and_links_to_the_best_pairs(campaign):
    rows = make_rows(campaign)
    ids = {row.study: 100 + i for i, row in enumerate(rows)}
    study = index_studies(ReportData(campaign, rows), ids)[0]
    lines = summarise_gains(Tables(rows, campaign).best_settings, campaign)
    here = lines[lines["partition"] == "uniform"].set_index("measure")
    assert f"| {format_points(here['value']['advised_gain'])} |" in study.note
    best = max(study.entries, key=lambda entry: entry.value)
    assert f"(/dashboard/studies/{ids[str(best.columns['study'])]}) |" in study.note
    links = study.note.count("](/dashboard/studies/")
    assert links == sum(entry.value > 0 for entry in study.entries)
    assert index_studies(ReportData(campaign, rows), {})[0].note.count("](") == 0


def test_figures_hold_every_pair_and_fit_the_dashboards_box(campaign):
    study = index_studies(ReportData(campaign, make_rows(campaign)), {})[0]
    assert list(study.figures) == ["alpha-map", "temperature-map", "gain-map"]
    for key, text in study.figures.items():
        figure = json.loads(text)
        assert "height" not in figure["layout"]
        assert figure["layout"]["title"]["text"]
        # Traces that are only there for the legend say nothing when they are pointed at.
        shown = [t for t in figure["data"] if t.get("hoverinfo") != "skip"]
        drawn = sum(len(t["x"]) for t in shown if t.get("visible") != "legendonly")
        assert drawn == (12 if key == "gain-map" else 6)


def test_nothing_depends_on_the_order_of_rows(campaign):
    rows = make_rows(campaign)
    shuffled = random.Random(3).sample(rows, len(rows))
    assert index_studies(ReportData(campaign, shuffled), {}) == index_studies(
        ReportData(campaign, rows), {}
    )


def test_a_campaign_that_only_compares_has_nothing_to_publish():
    campaign = compare_campaign(participants=3, stages=("compare",))
    assert index_studies(ReportData(campaign, compare_rows(campaign)), {}) == []


def test_many_teachers_have_one_index_with_every_way_to_one_model():
    campaign = many_campaign()
    (study,) = index_studies(ReportData(campaign, many_rows(campaign)), {"toy/uniform/combine": 7})
    assert study.name == index_study_name("toy") == "toy/index"
    ways = [entry.params["way"] for entry in study.entries]
    assert (ways.count("combine"), ways.count("federate")) == (5 * 10, 5 * 2)
    assert all(p in study.space["partition"].choices for p in ("uniform", "label_chunks"))
    random_start = next(e for e in study.entries if e.columns["start"] == "random weights")
    assert random_start.value == round(100 * federate_accuracy("random", ROUNDS, 0), 2)
    assert set(study.figures) == {"table-ii", "fig-9"}
    assert "[Public unlabeled (large), start best, equal](/dashboard/studies/7)" in study.note
    assert "Rounds to a target" in study.note


def test_other_federated_algorithms_are_named_and_link_to_their_studies():
    campaign = many_campaign(federate=ALL_ALGORITHMS, stages=("federate",))
    (study,) = index_studies(ReportData(campaign, many_rows(campaign), []), {})
    named = [entry for entry in study.entries if "algorithm" in entry.columns]
    assert len(study.entries) - len(named) == 5 * 2 and len(named) == 5 * 6
    assert {entry.columns["algorithm"] for entry in named} == {"FedDF", "FedMD", "Def-KT"}
    assert named[0].columns["study"].endswith("/federate/feddf")


@pytest.mark.parametrize("stages", [("combine",), ("federate",), ("tune", "combine")])
def test_stages_that_are_not_there_leave_no_gap(stages):
    campaign = many_campaign(stages=stages)
    *pairs, study = index_studies(ReportData(campaign, many_rows(campaign)), {})
    assert {e.params["way"] for e in study.entries} == set(stages) - {"tune"}
    assert list(study.figures) == [
        figure for figure, stage in (("table-ii", "combine"), ("fig-9", "federate"))
        if stage in stages
    ]  # fmt: skip
    assert len(pairs) == (5 if "tune" in stages else 0)
    assert ("toy/uniform/index" in study.note) == ("tune" in stages)
    empty = index_studies(ReportData(campaign, []), {})[-1]
    assert (empty.entries, empty.figures) == ([], {})
