"""One pair in a real browser: its figures and its texts."""

from __future__ import annotations

import json

import pytest

from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import (
    ALPHAS,
    TEMPERATURES,
    compare_campaign,
    compare_rows,
    make_campaign,
    make_rows,
    outcome,
    pretrain_rows,
    tune_row,
)
from tests.report.in_browser import downloaded, emit, points_drawn, read, rows_of, tools


def test_the_surface_of_a_chosen_pair_is_drawn_for_both_sets(visit, address):
    page = visit(address)
    read(page, "surface")
    shown = []
    for pair in ("uniform/t00-s01", "label_dirichlet/t09-s02"):
        page.select_option("#pair", pair)
        for name in ("validation", "test"):
            page.check(f"input[value={name}]")
            z = page.evaluate("document.getElementById('surface').data[0].z")
            assert (len(z), {len(row) for row in z}) == (11, {5})  # so its columns are wide enough
            shown.append(str(z))
            title = page.locator("#surface .cbtitle").text_content()
            assert title == f"Accuracy gain on {name} (pp)"
        assert pair in page.inner_text("#pair-text")
    assert len(set(shown)) == 4
    assert page.locator("#surface .legendtext").all_text_contents() == [
        "Tuned: selected on validation, the verdict",
        "Vanilla",
        "Oracle: selected on test",
    ]
    name, text = downloaded(page, tools(page, "surface").as_element().query_selector("button"))
    assert name == "synthetic-surface-label-dirichlet-t09-s02.csv"
    lines = rows_of(text)
    assert len(lines) == 55
    test = page.evaluate("document.getElementById('surface').data[0].z.flat()")
    assert sorted(float(line["test_gain_pp"]) for line in lines) == sorted(test)


def test_the_classes_and_the_history_of_a_pair_are_those_of_its_trials(visit, comparison):
    page = visit(comparison)
    read(page, "surface", "classes", "history")
    pair = json.loads(page.locator("#kdopt-data").text_content())["pairs"]["specialized/t03-s01"]
    page.select_option("#pair", "specialized/t03-s01")
    bars = page.evaluate("document.getElementById('classes').data.map((t) => [t.name, t.y])")
    assert [name for name, _ in bars] == ["Tuned", "Vanilla", "DML", "DP-KD"]
    before, after = pair["scores"]["before"], pair["scores"]["after"]
    assert bars[0][1] == [pytest.approx(after["tuned"][0] - before[0]), None]
    change = after["dml"][0] - before[0]
    part = f"DML {max(0, change):.2f} / {max(0, -change):.2f}"
    assert part in page.inner_text("#classes-text")
    line = page.evaluate("document.getElementById('history').data[0]")
    gains = [trial[3] for trial in pair["history"]]
    assert line["y"] == [max(gains[: n + 1]) for n in range(len(gains))]
    assert page.locator("#history .scatterlayer .point").count() == 2 * len(gains)


def test_classes_that_did_not_change_are_named_and_no_label_stands_in_the_figure(visit, tmp_path):
    campaign = make_campaign()
    cell = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [*pretrain_rows(campaign), tune_row(campaign, (0, 1), cell, 0, outcome(1, 0))]
    page = visit(write_report(tmp_path, ReportData(campaign, rows))[-1].as_uri())
    read(page, "classes")
    said = page.inner_text("#classes-text")
    assert "No change by any method: digit 0. No test images: digit 1." in said
    assert page.locator("#classes .bartext, #classes .annotation").count() == 0


def test_failed_trials_are_crosses_in_the_history(visit, tmp_path):
    campaign = make_campaign()
    cell = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [
        *pretrain_rows(campaign),
        tune_row(campaign, (0, 1), cell, 0, outcome(1, 2)),
        tune_row(campaign, (0, 1), {**cell, "alpha": 0.9}, 1, error="NaN loss"),
    ]
    page = visit(write_report(tmp_path, ReportData(campaign, rows))[-1].as_uri())
    read(page, "history")
    names = page.evaluate("document.getElementById('history').data.map((t) => [t.name, t.x])")
    assert names[-1] == ["Failed", [1]]


def test_a_pair_is_chosen_in_a_figure_in_the_table_and_by_arrows(visit, address):
    page = visit(address)
    emit(page, "map-1-gain", "label_dirichlet/t03-s07")
    assert page.input_value("#pair") == "label_dirichlet/t03-s07"
    page.locator("[data-pair='uniform/t05-s02']").click()
    assert page.input_value("#pair") == "uniform/t05-s02"
    page.click("#next")
    assert page.input_value("#pair") == "uniform/t05-s03"
    page.click("#previous")
    page.click("#previous")
    assert page.input_value("#pair") == "uniform/t05-s01"
    assert "uniform/t05-s01" in page.inner_text("#pair-text")


def test_one_pair_opens_with_the_first_of_the_table(visit, whole):
    page = visit(whole)
    first = page.locator("#pairs .sortable [data-pair]").first.get_attribute("data-pair")
    assert first != page.locator("#pair option").first.get_attribute("value")  # or it says nothing
    assert page.input_value("#pair") == first
    chosen = page.locator("#pair option:checked").inner_text()
    assert page.inner_text("#pair-verdict").startswith(f"{chosen}: ")
    assert first in page.inner_text("#pair-key")


def test_a_campaign_without_tuning_shows_the_classes_of_a_pair(visit, tmp_path):
    campaign = compare_campaign(participants=3, stages=("compare",))
    rows = pretrain_rows(campaign) + compare_rows(campaign)
    page = visit(write_report(tmp_path, ReportData(campaign, rows))[-1].as_uri())
    assert points_drawn(page, "methods-transfer") == 5 * 4 * 3 * 6
    emit(page, "methods-transfer", "uniform/t00-s01")
    read(page, "classes")
    assert page.locator("#classes .barlayer .bars").count() == 3
    assert not page.locator("#surface-figure").is_visible()
    assert 'add "tune" to stages' in page.inner_text("#pair-text")


def contrast(*colours):
    """WCAG's contrast ratio of two colours such as #1A86C7."""
    lights = []
    for colour in colours:
        shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares
        )
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def edges(box):
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


def overlap(one, other):
    """Whether two boxes share more than the point of a corner, which browsers count."""
    left, top, right, bottom = edges(one)
    x, y, beyond, below = edges(other)
    return min(right, beyond) - max(left, x) > 1.5 and min(bottom, below) - max(top, y) > 1.5


GRIDS = {
    "paper": (TEMPERATURES, ALPHAS),
    "large": (tuple(map(float, range(1, 16))), tuple(n / 20 for n in range(5, 17))),
}


@pytest.fixture(scope="module", params=GRIDS)
def crowded(request, tmp_path_factory):
    """A page whose marks are all of one cell, and whether its grid is larger than the paper's."""
    temperatures, alphas = GRIDS[request.param]
    campaign = make_campaign(tune_temperatures=temperatures, tune_alphas=alphas)
    gain = lambda _, t, a: 12 - abs(t - 1) - abs(a - 0.5)  # noqa: E731
    data = ReportData(campaign, make_rows(campaign, gain, gain))
    page = write_report(tmp_path_factory.mktemp("grid"), data)[-1]
    return page.as_uri(), request.param == "large"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400, 2200])
def test_marks_and_numbers_of_a_surface_are_within_their_cells_and_cover_nothing(
    visit, crowded, width, scheme
):
    address, is_large = crowded
    shape = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    page = visit(address, **shape)
    read(page, "surface")
    drawn = page.evaluate("document.getElementById('surface').data[0]")
    texts = page.locator("#surface .heatmap-label text")
    n_rows, n_columns = len(drawn["z"]), len(drawn["z"][0])
    assert texts.count() == (n_rows * n_columns if drawn["texttemplate"] else 0)
    if texts.count():
        assert texts.first.evaluate("text => parseFloat(getComputedStyle(text).fontSize)") >= 10
    else:
        assert is_large or width < 390  # where no number has room
    assert min(contrast(drawn["textfont"]["color"], c) for _, c in drawn["colorscale"]) >= 4.5  # AA
    numbers = [text.bounding_box() for text in texts.all()]
    # Without the label of any axis: cells fill the area between the axes.
    area = page.locator("#surface .bglayer, #surface .draglayer .nsewdrag").last.bounding_box()
    wide, high = area["width"] / n_columns, area["height"] / n_rows
    places = page.evaluate(
        "document.getElementById('surface').data.slice(1).map((t) => [t.x[0], t.y[0]])"
    )
    marks = [mark.bounding_box() for mark in page.locator("#surface .scatterlayer .point").all()]
    assert len(marks) == len(places) == 3
    for mark, place in zip(marks, places, strict=True):
        column, row = map(round, place)
        x, y = area["x"] + column * wide, area["y"] + (n_rows - 1 - row) * high
        left, top, right, bottom = edges(mark)
        assert x - 1 < left and right < x + wide + 1 and y - 1 < top and bottom < y + high + 1
        assert not any(overlap(mark, number) for number in numbers)
        assert sum(overlap(mark, other) for other in marks) == 1  # itself
    fills = page.evaluate("document.getElementById('surface').data.slice(1).map((t) => t.marker)")
    assert all(contrast(fill["color"], fill["line"]["color"]) >= 4.5 for fill in fills)
    arrows = [page.locator(f"#{one}").bounding_box()["y"] for one in ("previous", "next")]
    assert arrows[0] == arrows[1]  # a phone has room for both beside the pair


def test_the_verdict_on_a_pair_is_a_line_of_what_was_tried_with_the_same_numbers(visit, comparison):
    page = visit(comparison)
    head = [
        cell.inner_text() for cell in page.locator("#pairs .sortable").first.locator("th").all()
    ]
    for row in page.locator("#pairs .sortable").first.locator("tbody tr").all()[:8]:
        row.locator("[data-pair]").click()
        seen = dict(zip(head, row.locator("td").all_inner_texts(), strict=True))
        line = page.locator("#tried .chosen")
        assert line.count() == 1 and "(the verdict)" in line.inner_text()
        name, images, validation, test = line.locator("th, td").all_inner_texts()
        assert (validation, test) == (
            seen["Validation gain (pp)"],
            seen["Gain of the verdict (pp)"],
        )
        if seen["Verdict"].startswith("distil"):
            assert name.partition(" (")[0].partition(",")[0] in seen["Verdict"]
            assert images == "Student data" or images.lower() in seen["Verdict"]


def test_a_diverged_trial_does_not_flatten_the_rest(visit, tmp_path):
    campaign = make_campaign(tune_temperatures=(0.5, 1.0, 2.0, 4.0))
    gains = {(t, a): 1 + a for t in campaign.tune.temperatures for a in campaign.tune.alphas}
    gains[4.0, 0.9] = -38.0
    rows = [
        tune_row(
            campaign,
            (0, 1),
            {"temperature": t, "alpha": a, "replicate": 0},
            number,
            outcome(gain, gain),
        )
        for number, ((t, a), gain) in enumerate(gains.items())
    ]
    data = ReportData(campaign, [*pretrain_rows(campaign), *rows])
    page = visit(write_report(tmp_path, data)[-1].as_uri())
    read(page, "surface", "history")
    surface = page.evaluate("document.getElementById('surface').data[0]")
    assert surface["zmax"] < 5
    assert surface["colorbar"]["ticktext"][0].startswith("\u2264")
    assert min(value for row in surface["z"] for value in row) == -38.0
    low, high = page.evaluate("document.getElementById('history')._fullLayout.yaxis.range")
    assert -5 < low < 0 < high
    symbols = page.evaluate("document.getElementById('history').data[1].marker.symbol")
    assert "triangle-down" in symbols
