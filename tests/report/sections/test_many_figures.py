import json
from dataclasses import replace

import pytest

from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import WEIGHTINGS, CombineSettings
from kdopt.report.sections.federated import draw_federated
from kdopt.report.sections.table_two_figure import draw_combined
from tests.analysis.synthetic import FIVE
from tests.report.many_synthetic import ROUNDS, federate_accuracy, many_campaign, many_rows

ALL_WEIGHTINGS = CombineSettings(weightings=WEIGHTINGS)


def nine(campaign):
    rows = many_rows(campaign)
    return draw_federated(
        Tables(rows, campaign).federated_curves,
        Tables(rows, campaign).federated_levels,
    )


def picture(campaign, rows=None):
    return draw_combined(Tables(rows or many_rows(campaign), campaign).combined)


def named(figure, name):
    return [trace for trace in figure["data"] if trace["name"] == name]


def titles(figure):
    return [note["text"] for note in figure["layout"]["annotations"]]


def legend(figure):
    return [t["name"] for t in figure["data"] if t.get("showlegend") is not False]


def test_fig_9_has_both_curves_and_both_levels_in_every_panel():
    figure = nine(many_campaign())
    exact = [100 * federate_accuracy("random", n, 0) for n in range(ROUNDS + 1)]
    curves_drawn = named(figure, "FedAvg from random weights")
    assert len(curves_drawn) == len(FIVE)
    for curve in curves_drawn:
        assert list(curve["x"]) == list(range(ROUNDS + 1))
        assert curve["y"] == pytest.approx(exact, abs=1e-3)
    alone = named(figure, "KD alone")
    starts = [curve["y"][0] for curve in named(figure, "KD, then FedAvg")]
    assert [level["y"] for level in alone] == [[start, start] for start in starts]
    assert all(list(level["x"]) == [0, ROUNDS] for level in alone)
    assert len(named(figure, "Best participant alone")) == len(FIVE)
    assert len(figure["data"]) == 4 * len(FIVE)


def test_lines_are_told_apart_without_colour_and_named_once():
    figure = nine(many_campaign(replicates=2))
    assert len(legend(figure)) == len(set(legend(figure))) == 4
    shown = [t["line"] for t in figure["data"] if t.get("showlegend") is not False]
    assert len({line["dash"] for line in shown}) == 4
    assert len({line["color"] for line in shown}) == 4


def test_a_band_reaches_from_the_least_to_the_greatest_replicate_around_the_mean():
    figure = nine(many_campaign(replicates=3))
    (band, *_), (mean, *_) = (
        named(figure, f"KD, then FedAvg{end}") for end in (" (least to greatest)", "")
    )
    there, back = band["y"][: ROUNDS + 1], band["y"][ROUNDS + 1 :][::-1]
    for replicate, edge in ((2, there), (0, back)):
        exact = [100 * federate_accuracy("consolidated", n, replicate) for n in range(ROUNDS + 1)]
        assert edge == pytest.approx(exact, abs=1e-3)
    assert mean["y"] == pytest.approx(
        [(low + high) / 2 for low, high in zip(back, there, strict=True)], abs=2e-3
    )
    assert named(nine(many_campaign()), "KD, then FedAvg (least to greatest)") == []


def test_five_panels_wrap_share_their_axes_and_leave_no_empty_axes():
    figure = nine(many_campaign())
    assert titles(figure)[:5] == [
        "Uniform", "Quantity skew", "Specialized", "Label chunks", "Label dirichlet",
    ]  # fmt: skip
    layout = figure["layout"]
    for letter in "xy":
        axes = [layout[f"{letter}axis{i or ''}"] for i in (0, 2, 3, 4, 5)]
        assert [axis.get("matches") for axis in axes] == [None, *[letter] * 4]
        assert layout[f"{letter}axis6"]["visible"] is False
    # Below the third panel there is none, so it has numbers of its own.
    shown = [layout[f"xaxis{i or ''}"]["showticklabels"] for i in (0, 2, 3, 4, 5)]
    assert shown == [False, False, True, True, True]


def test_a_figure_without_one_of_the_curves_or_levels_is_drawn():
    campaign = many_campaign()
    rows = [r for r in many_rows(campaign) if r.params.get("initial_model") != "consolidated"]
    figure = draw_federated(
        Tables(rows, campaign).federated_curves,
        Tables(rows, campaign).federated_levels,
    )
    assert legend(figure) == ["FedAvg from random weights", "Best participant alone"]
    rows = [r for r in rows if r.stage != "pretrain"]
    json.dumps(
        draw_federated(
            Tables(rows, campaign).federated_curves,
            Tables(rows, campaign).federated_levels,
        ),
        allow_nan=False,
    )


@pytest.mark.parametrize("settings", [CombineSettings(), ALL_WEIGHTINGS])
def test_table_ii_is_drawn_with_a_marker_per_number(settings):
    campaign = many_campaign(combine=settings)
    table = Tables(many_rows(campaign), campaign).combined
    figure = draw_combined(table)
    dots = [trace for trace in figure["data"] if trace["mode"] == "markers"]
    assert sum(len(trace["x"]) for trace in dots) == len(table)
    assert sorted(x for trace in dots for x in trace["x"]) == pytest.approx(
        sorted(table["accuracy"]), abs=1e-3
    )
    assert len(legend(figure)) == len(set(legend(figure))) == len(settings.weightings)
    assert len({trace["marker"]["symbol"] for trace in dots}) == len(settings.weightings)
    json.dumps(figure, allow_nan=False)


def test_equal_weights_look_the_same_whatever_stands_beside_them():
    few, many = (
        named(picture(many_campaign(combine=settings)), "Equal")[0]["marker"]
        for settings in (CombineSettings(), ALL_WEIGHTINGS)
    )
    assert few == many


def test_starts_stand_in_the_paper_s_order():
    axis = picture(many_campaign())["layout"]["yaxis"]
    assert list(axis["ticktext"]) == [
        "Public, large: worst",
        "Public, large: best",
        "Public, large: untrained",
        "Student data: worst",
        "Student data: best",
    ]
    assert axis["range"][0] > axis["range"][1]


def test_names_of_a_store_are_text_not_tags():
    campaign = many_campaign()
    tag = "<a href='x'>y</a>"
    rows = [
        replace(
            r, partition=tag, params={**r.params, **{k: tag for k in r.params if k == "weighting"}}
        )
        for r in many_rows(campaign)
        if r.partition == "uniform"
    ]
    for figure in (
        picture(campaign, rows),
        draw_federated(
            Tables(rows, campaign).federated_curves,
            Tables(rows, campaign).federated_levels,
        ),
    ):
        assert "<a" not in json.dumps(figure, allow_nan=False)
