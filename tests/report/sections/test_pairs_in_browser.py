"""One pair in a real browser: its figures and its texts."""

from __future__ import annotations

import json

import pytest

from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    make_campaign,
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


@pytest.mark.parametrize("width", [390, 2200])
def test_the_numbers_of_a_surface_can_be_read_and_each_mark_surrounds_that_of_its_cell(
    visit, address, width
):
    page = visit(address, viewport={"width": width, "height": 900})
    read(page, "surface")
    texts = page.locator("#surface .heatmap-label text")
    assert texts.count() == 55
    assert texts.first.evaluate("text => parseFloat(getComputedStyle(text).fontSize)") >= 10
    ink = page.evaluate("document.getElementById('surface').data[0].textfont.color")
    colours = page.evaluate("document.getElementById('surface').data[0].colorscale")
    assert min(contrast(ink, colour) for _, colour in colours) >= 4.5  # AA
    boxes = [text.bounding_box() for text in texts.all()]
    marks = page.locator("#surface .scatterlayer .point").all()
    assert len(marks) == 3
    arrows = [page.locator(f"#{one}").bounding_box()["y"] for one in ("previous", "next")]
    assert arrows[0] == arrows[1]  # a phone has room for both beside the pair
    centres = [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes]
    for mark in marks:
        box = mark.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        right, down = box["width"] / 2, box["height"] / 2
        within = [
            (b, at)
            for b, at in zip(boxes, centres, strict=True)
            if abs(at[0] - x) < right and abs(at[1] - y) < down
        ]
        ((number, (across, along)),) = within  # its own number, and no other one's
        assert abs(across - x) < 2 and abs(along - y) < 3
        assert number["width"] < box["width"]
    places = page.evaluate(
        "document.getElementById('surface').data.slice(1).flatMap((t) => [...t.x, ...t.y])"
    )
    assert all(place == round(place) for place in places)  # the centres of cells


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
