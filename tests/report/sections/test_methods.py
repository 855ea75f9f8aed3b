import json
import math

import pandas as pd
import pytest

from kdopt.analysis.method_summaries import (
    correlate_accuracies,
    count_best_teachers,
    summarise_learning,
    summarise_transfers,
)
from kdopt.analysis.tables import Tables
from kdopt.report.blocks import ReportData
from kdopt.report.plotting import METHOD_STYLES
from kdopt.report.sections.methods import (
    draw_cumulative_gains,
    draw_methods,
    draw_transfers,
    make_methods_section,
    tabulate_boxes,
)
from kdopt.report.sections.teachers import draw_best_teachers, draw_learning
from tests.analysis.synthetic import compare_campaign, compare_rows, make_rows


@pytest.fixture(scope="module")
def campaign():
    return compare_campaign(participants=4)


@pytest.fixture(scope="module")
def gains(campaign):
    return Tables(make_rows(campaign) + compare_rows(campaign), campaign).method_gains


def figures_of(section):
    return {figure.id: figure for figure in section.list_figures()}


def own_data(gains):
    return gains[gains["transfer_set"] == "student"]


def scatter_points(figure, name):
    return sum(len(t["x"]) for t in figure["data"] if t["name"] == name)


def test_fig_2_shows_every_pair_in_every_panel(gains):
    figure = draw_transfers(gains)
    for method in ("Vanilla", "DML", "DP-KD"):
        assert scatter_points(figure, method) == 5 * 4 * 12
    assert scatter_points(figure, "Tuned") == 0
    assert {"xaxis20", "yaxis20"} <= figure["layout"].keys()
    json.dumps(figure, allow_nan=False)


def test_panels_of_a_row_share_axes_and_no_axis_matches_itself(gains):
    layout = draw_transfers(gains)["layout"]
    for letter in "xy":
        matches = [layout[f"{letter}axis{i or ''}"].get("matches") for i in [0, *range(2, 21)]]
        heads = [letter, f"{letter}5", f"{letter}9", f"{letter}13", f"{letter}17"]
        assert matches == [m for head in heads for m in (None, head, head, head)]


def test_each_method_is_named_once_in_every_legend(campaign, gains):
    counts = count_best_teachers(gains)
    drawn = [
        draw_transfers(gains),
        draw_cumulative_gains(gains),
        draw_best_teachers(counts, correlate_accuracies(counts)),
        draw_methods(tabulate_boxes(own_data(gains), summarise_transfers(gains))),
        draw_learning(summarise_learning(gains)),
    ]
    labels = {style.label for style in METHOD_STYLES.values()}
    for figure in drawn:
        shown = [t["name"] for t in figure["data"] if t.get("showlegend") is not False]
        methods = [name for name in shown if name in labels]
        assert len(methods) == len(set(methods)) >= 3
        json.dumps(figure, allow_nan=False)


@pytest.mark.parametrize(
    ("accuracies", "times", "said"),
    [
        ([50.0, 60.0, 70.0], [0.0, 1.0, 2.0], "rank corr. 1.00"),
        ([50.0, 60.0, 70.0], [1.0, 1.0, 1.0], "equal counts"),
        ([50.0, 50.0, 50.0], [0.0, 1.0, 2.0], "equal accuracies"),
        ([50.0, math.nan, math.nan], [0.0, 1.0, 2.0], "no two teachers"),
        ([math.nan, math.nan, math.nan], [0.0, 1.0, 2.0], ""),
    ],
)
def test_each_panel_of_best_teachers_has_its_correlation_or_says_why_not(accuracies, times, said):
    counts = pd.DataFrame(
        {
            "partition": "uniform", "method": "tuned", "teacher": range(3), "participant": range(3),
            "accuracy": accuracies, "times_best": times, "students": 3,
        }
    )  # fmt: skip
    texts = [
        note["text"]
        for note in draw_best_teachers(counts, correlate_accuracies(counts))["layout"][
            "annotations"
        ]
    ]
    assert (said in texts) == bool(said)
    assert not any("n/a" in text or "nan" in text for text in texts)


def test_bars_are_the_sums_and_steps_end_at_one(gains):
    figure = draw_cumulative_gains(gains)
    bars = [t for t in figure["data"] if t["type"] == "bar"]
    own = gains[(gains["transfer_set"] == "student") & (gains["partition"] == "uniform")]
    dml = own[own["method"] == "dml"]["test_gain"].sum()
    assert bars[0]["y"][1] == pytest.approx(dml, abs=1e-3)
    ranges = [figure["layout"][f"yaxis{i or ''}"]["range"] for i in (0, 4, 7, 10, 13)]
    for bar, (low, high) in zip(bars, ranges, strict=True):
        # The numbers at the ends of bars need room beyond them.
        assert low < min(0, *bar["y"]) * 1.1 or min(bar["y"]) >= 0
        assert high > max(0, *bar["y"]) * 1.1 or max(bar["y"]) <= 0
    steps = [t for t in figure["data"] if t.get("mode") == "lines"]
    assert len(steps) == 5 * 4
    assert all(t["y"][-1] == 1.0 for t in steps)


def test_boxes_are_ordered_and_their_table_has_every_pair(campaign, gains):
    boxes = tabulate_boxes(own_data(gains), summarise_transfers(gains))
    assert boxes["n"].sum() == len(own_data(gains))
    for line in boxes.to_dict("records"):
        five = [line[key] for key in ("p05", "q1", "median", "q3", "p95")]
        assert five == sorted(five)
        # Four participants of one partition are too few for an interval.
        assert math.isnan(line["low"]) and math.isnan(line["high"])


def test_what_can_be_downloaded_has_a_line_per_point(campaign):
    rows = make_rows(campaign) + compare_rows(campaign)
    drawn = figures_of(make_methods_section(ReportData(campaign, rows)))
    for name in ("methods-transfer", "methods-cumulative"):
        points = [t for t in drawn[name].figure["data"] if t.get("mode") == "markers"]
        assert len(drawn[name].data) == sum(len(t["x"]) for t in points)
    gaps = sorted(x for t in drawn["methods-transfer"].figure["data"] for x in t["x"])
    # Points at one place are moved apart; what is downloaded is where they are.
    assert gaps == pytest.approx(sorted(drawn["methods-transfer"].data["accuracy_gap"]), abs=0.5)


def test_a_campaign_of_one_pair_or_none_is_drawn_or_missing():
    campaign = compare_campaign(participants=2)
    for rows in ([], make_rows(campaign)):
        section = make_methods_section(ReportData(campaign, rows))
        blocks, drawn = section.blocks, figures_of(section)
        assert len(blocks) == 5
        assert all(block.missing for block in blocks)
        for item in drawn.values():
            json.dumps(item.figure, allow_nan=False)
        assert bool(drawn) == bool(rows)


def test_names_of_a_store_are_text_not_tags(campaign):
    rows = [r for r in make_rows(campaign) if r.partition == "uniform"]
    for row in rows:
        object.__setattr__(row, "partition", "<a href='x'>y</a>")
    drawn = figures_of(make_methods_section(ReportData(campaign, rows)))
    layout = drawn["methods-cumulative"].figure["layout"]
    shown = [layout["yaxis"]["title"]["text"]]
    assert shown and all("<a" not in text for text in shown)
