import json
import math

import pytest

from kdopt.analysis.tables import compute_tables
from kdopt.report.sections.best_settings import draw_alpha_map, draw_gain_map, draw_temperature_map
from tests.analysis.synthetic import large_campaign, make_campaign, make_rows, pretrain_rows


@pytest.fixture(scope="module")
def campaign():
    return large_campaign()


@pytest.fixture(scope="module")
def best(campaign):
    table = compute_tables(make_rows(campaign), campaign).best_settings
    return table[table["partition"] == "uniform"]


@pytest.mark.parametrize("draw", [draw_alpha_map, draw_temperature_map, draw_gain_map])
def test_axes_have_names_and_units(draw, best, campaign):
    figure = draw(best, campaign)
    assert figure["layout"]["xaxis"]["title"]["text"] == "Accuracy gap: teacher - student (pp)"
    assert figure["layout"]["yaxis"]["title"]["text"]
    json.dumps(figure, allow_nan=False)


def test_setting_maps_show_every_pair_once_apart_by_advice(best, campaign):
    for draw, key in ((draw_alpha_map, "alpha"), (draw_temperature_map, "temperature")):
        distil, do_not = draw(best, campaign)["data"]
        assert len(distil["x"]) == (best["advice"] == "distil").sum() > 0
        assert len(do_not["x"]) == (best["advice"] == "do not distil").sum() > 0
        assert sorted([*distil["y"], *do_not["y"]]) == sorted(best[key])
        assert distil["marker"]["cmin"] == do_not["marker"]["cmin"] == -distil["marker"]["cmax"]


def test_the_temperature_axis_is_logarithmic_with_the_grid_as_ticks(best, campaign):
    axis = draw_temperature_map(best, campaign)["layout"]["yaxis"]
    assert axis["type"] == "log"
    assert axis["tickvals"] == list(campaign.tune.temperatures)
    assert axis["ticktext"][:3] == ["0.1", "0.5", "1"]
    assert axis["range"][0] < math.log10(0.1) and axis["range"][1] > math.log10(7)


def test_gain_map_shows_three_choices_and_hides_the_oracle_at_first(best, campaign):
    vanilla, tuned, oracle = draw_gain_map(best, campaign)["data"]
    assert vanilla["y"] == pytest.approx(best["vanilla_gain"].tolist(), abs=1e-4)
    assert tuned["y"] == pytest.approx(best["test_gain"].tolist(), abs=1e-4)
    assert oracle["y"] == pytest.approx(best["oracle_gain"].tolist(), abs=1e-4)
    assert oracle["visible"] == "legendonly"
    assert all(o >= t for o, t in zip(oracle["y"], tuned["y"], strict=True))


def test_hover_names_the_pair_and_its_numbers(best, campaign):
    text = draw_gain_map(best, campaign)["data"][0]["hovertext"][0]
    line = best.iloc[0]
    assert "t00-s01" in text
    assert f"T={line['temperature']:g}, alpha={line['alpha']:g}" in text
    assert f"vanilla {line['vanilla_gain']:.2f}" in text


def test_pairs_without_a_result_are_left_out_not_drawn_at_zero():
    campaign = make_campaign()
    empty = compute_tables(pretrain_rows(campaign), campaign).best_settings
    for draw in (draw_alpha_map, draw_temperature_map, draw_gain_map):
        assert all(len(trace["x"]) == 0 for trace in draw(empty, campaign)["data"])


def test_selection_on_test_says_so():
    campaign = make_campaign(select_on="test")
    best = compute_tables(make_rows(campaign), campaign).best_settings
    assert (
        draw_gain_map(best, campaign)["data"][1]["name"] == "Tuned, selected on test (optimistic)"
    )
