from __future__ import annotations

import csv
import io
import json
import math
import re

import pytest

from kdopt.analysis.tables import Tables
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.report.blocks import ReportData
from kdopt.report.format import format_frame
from kdopt.report.page import make_sections, render_page
from kdopt.report.sections.best_settings import (
    SETTING_COLUMNS,
    format_best_markdown,
    make_maps_section,
    make_tuned_section,
)
from kdopt.report.setting_maps import (
    draw_alpha_map,
    draw_gain_map,
    draw_sheet,
    draw_temperature_map,
    list_sheet_rows,
)
from tests.analysis.synthetic import (
    large_campaign,
    make_campaign,
    make_rows,
    outcome,
    pretrain_rows,
    tune_row,
)
from tests.analysis.test_tuned_methods import CAMPAIGN, dkd, standardised

TWO = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))


def test_every_partition_has_three_maps_of_its_own_pairs():
    campaign = make_campaign(partitions=TWO)
    part = make_maps_section(ReportData(campaign, make_rows(campaign)))
    maps, (*_, search) = [b for b in part.blocks if b.small], part.blocks
    assert [block.title for block in maps] == ["Uniform", "Label dirichlet"]
    assert [len(block.small) for block in maps] == [3, 3]
    assert search.title == "Sequential search or full grid"
    figures = [item for block in maps for item in block.small]
    assert [item.id for item in part.list_figures()] == [*(i.id for i in figures), "maps-sheet"]
    for item in figures:
        assert set(item.data["partition"]) == {"uniform" if "-0-" in item.id else "label_dirichlet"}
        points = [
            t
            for t in item.figure["data"]
            if t.get("visible") != "legendonly" and list(t["x"]) != [None]
        ]
        assert sum(len(t["x"]) for t in points) == len(item.data) * (2 if "gain" in item.id else 1)


def test_a_partition_without_a_result_has_no_empty_figure():
    campaign = make_campaign(partitions=TWO)
    rows = [row for row in make_rows(campaign) if row.partition == "uniform"]
    first, second, *_ = make_maps_section(ReportData(campaign, rows)).blocks
    assert first.small and not first.missing
    assert not second.small and "No data yet" in second.missing


def test_pairs_that_are_still_open_are_counted():
    campaign = make_campaign()
    rows = [row for row in make_rows(campaign) if not row.study.endswith("t00-s01")]
    block = make_maps_section(ReportData(campaign, rows)).blocks[0]
    assert block.small and block.missing == "No result yet: 1 of 6 pairs."


def test_without_tuning_there_are_no_maps():
    assert make_maps_section(ReportData(make_campaign(stages=("compare",)), [])) is None


@pytest.fixture(scope="module")
def campaign():
    return large_campaign()


@pytest.fixture(scope="module")
def best(campaign):
    table = Tables(make_rows(campaign), campaign).best_settings
    return table[table["partition"] == "uniform"]


@pytest.mark.parametrize("draw", [draw_alpha_map, draw_temperature_map, draw_gain_map])
def test_axes_have_names_and_units(draw, best, campaign):
    figure = draw(best, campaign)
    assert figure["layout"]["xaxis"]["title"]["text"] == "Accuracy gap: teacher - student (pp)"
    assert figure["layout"]["yaxis"]["title"]["text"]
    json.dumps(figure, allow_nan=False)


def test_setting_maps_show_every_pair_once_apart_by_advice(best, campaign):
    for draw, key in ((draw_alpha_map, "alpha"), (draw_temperature_map, "temperature")):
        figure = draw(best, campaign)
        distil, do_not, *legend = figure["data"]
        assert len(distil["x"]) == (best["advice"] == "distil").sum() > 0
        assert len(do_not["x"]) == (best["advice"] == "leave as it is").sum() > 0
        # Moved apart by less than half the way to the next setting.
        drawn, grid = [*distil["y"], *do_not["y"]], sorted(set(best[key]))
        nearest = [min(grid, key=lambda level: abs(level - value)) for value in drawn]
        assert sorted(nearest) == sorted(best[key])
        assert {t["marker"]["coloraxis"] for t in (distil, do_not)} == {"coloraxis"}
        scale = figure["layout"]["coloraxis"]
        assert scale["cmin"] == -scale["cmax"]
        # Keys of a colour of their own, whatever the colour of the first pair.
        assert [trace["name"] for trace in legend] == [
            "Verdict: distil at this cell",
            "Verdict: not to distil",
        ]
        assert not distil["showlegend"] and not do_not["showlegend"]


def test_the_temperature_axis_is_logarithmic_with_the_grid_as_ticks(best, campaign):
    axis = draw_temperature_map(best, campaign)["layout"]["yaxis"]
    assert axis["type"] == "log"
    assert axis["tickvals"] == list(campaign.tune.temperatures)
    assert axis["ticktext"][:3] == ["0.1", "0.5", "1"]
    assert axis["range"][0] < math.log10(0.1) and axis["range"][1] > math.log10(7)


def test_gain_map_hides_the_oracle_and_the_control_at_first(best, campaign):
    best = best.assign(control_gain=0.5, net_gain=best["test_gain"] - 0.5)
    vanilla, tuned, net, control, oracle = draw_gain_map(best, campaign)["data"]
    assert vanilla["y"] == pytest.approx(best["vanilla_gain"].tolist(), abs=1e-3)
    assert tuned["y"] == pytest.approx(best["test_gain"].tolist(), abs=1e-3)
    assert oracle["y"] == pytest.approx(best["oracle_gain"].tolist(), abs=1e-3)
    assert oracle["visible"] == control["visible"] == "legendonly"
    assert list(net["y"]) == pytest.approx([y - 0.5 for y in tuned["y"]], abs=2e-3)
    assert all(o >= t for o, t in zip(oracle["y"], tuned["y"], strict=True))


def test_the_sheet_has_a_row_of_four_panels_per_partition():
    campaign = make_campaign(partitions=TWO)
    tables = Tables(make_rows(campaign), campaign)
    rows = list_sheet_rows(tables.measured_settings, tables.method_gains)
    figure = draw_sheet(rows, [campaign])
    json.dumps(figure, allow_nan=False)
    assert [t["type"] for t in figure["data"]].count("bar") == 2
    lines = [t for t in figure["data"] if t.get("mode") == "lines"]
    assert len({t["line"]["dash"] for t in lines}) == len({t["name"] for t in lines}) == 2
    pairs = [
        key for t in figure["data"] if t["type"] == "scatter" for key in t.get("customdata", ())
    ]
    assert len(pairs) == 2 * 2 * len(campaign.pairs)
    assert len(set(pairs)) == 2 * len(campaign.pairs)
    assert {f"xaxis{n}" for n in range(2, 9)} <= figure["layout"].keys()


def test_hover_names_the_pair_and_its_numbers(best, campaign):
    text = draw_gain_map(best, campaign)["data"][0]["hovertext"][0]
    line = best.iloc[0]
    assert "t00-s01" in text
    assert f"T={line['temperature']:g}, alpha={line['alpha']:g}" in text
    assert f"vanilla {line['vanilla_gain']:.2f}" in text


def test_pairs_without_a_result_are_left_out_not_drawn_at_zero():
    campaign = make_campaign()
    empty = Tables(pretrain_rows(campaign), campaign).best_settings
    for draw in (draw_alpha_map, draw_temperature_map, draw_gain_map):
        assert all(list(trace["x"]) in ([], [None]) for trace in draw(empty, campaign)["data"])


def test_selection_on_test_says_so():
    campaign = make_campaign(select_on="test")
    best = Tables(make_rows(campaign), campaign).best_settings
    assert (
        draw_gain_map(best, campaign)["data"][1]["name"] == "Tuned, selected on test (optimistic)"
    )


def test_tables_show_the_spread_where_cells_were_repeated():
    campaign = make_campaign(replicates=2)
    rows = [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": 1.0, "alpha": 0.5, "replicate": i},
            i,
            outcome(1.0, gain),
        )
        for i, gain in enumerate([1.0, 2.0])
    ]
    data = ReportData(campaign, rows)
    best = data.tables.best_settings
    line = next(csv.DictReader(io.StringIO(format_frame(best, SETTING_COLUMNS))))
    assert line["replicates"] == "2"
    assert float(line["test_gain_pp"]) == 1.5
    assert float(line["test_gain_sd_pp"]) == 0.71
    assert "sd over replicates" in format_best_markdown(best, campaign)
    assert "sd over replicates" in render_page(data, make_sections(data))


def test_without_replicates_there_is_no_column_for_their_spread():
    campaign = make_campaign()
    rows = make_rows(campaign)
    assert "sd over replicates" not in format_best_markdown(
        Tables(rows, campaign).best_settings, campaign
    )


def data_of(*rows, campaign=CAMPAIGN):
    return ReportData(campaign, [*make_rows(campaign), *rows], [])


def test_tuned_is_shown_beside_tuned_with_settings_and_a_file():
    section = make_tuned_section(data_of(dkd(8.0, 20.0, 5.0), standardised(0.9, 4.0)))
    (figure,) = section.list_figures()
    names = {trace["name"] for trace in figure.figure["data"]}
    assert {"Tuned", "Tuned DKD", "Tuned KD of standardised logits"} <= names
    json.dumps(figure.figure, allow_nan=False)
    by_partition, by_pair = (block.tables[0] for block in section.blocks)
    assert [line[1].text for line in by_partition.lines] == [
        "Tuned", "Tuned DKD", "Tuned KD of standardised logits",
    ]  # fmt: skip
    settings = [cell.text for line in by_pair.lines for cell in line]
    assert "T=4, alpha=1, beta=8, label_weight=1" in settings and "selected" in settings
    assert "T=4, alpha=1, beta=8, label_weight=1" in section.files["tuned_methods.csv"]


def test_the_page_shows_it_only_where_methods_are_tuned():
    data = data_of(dkd(8.0, 20.0, 5.0))
    page = render_page(data, make_sections(data))
    assert "Tuned against tuned" in page and "Tuned DKD" in page
    # A figure is drawn into the element of its id, which no section may have.
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    plain = data_of(campaign=make_campaign())
    assert make_tuned_section(plain) is None


def test_before_any_trial_of_a_method_the_section_says_what_is_missing():
    section = make_tuned_section(ReportData(CAMPAIGN, [], []))
    assert all("No data yet" in block.missing for block in section.blocks)
    assert section.files == {}
