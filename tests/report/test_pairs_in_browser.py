"""One pair on the page in a real browser: its links, its keyboard, and figures that can be read."""

from __future__ import annotations

import pytest

from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import (
    large_campaign,
    make_campaign,
    make_rows,
    outcome,
    pretrain_rows,
    tune_row,
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    campaign = large_campaign()
    folder = tmp_path_factory.mktemp("report")
    return write_report(folder, ReportData(campaign, make_rows(campaign)))[-1].as_uri()


def read(page, *figures):
    """Come near figures, as a reader does, and wait until they are drawn."""
    for figure in figures:
        page.evaluate(f"document.getElementById('{figure}').scrollIntoView()")
        page.wait_for_selector(f"#{figure} .main-svg", state="attached")


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
def test_the_numbers_of_a_surface_can_be_read_and_no_mark_covers_one(visit, address, width):
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
    for mark in marks:
        box = mark.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        assert not [
            b
            for b in boxes
            if b["x"] < x < b["x"] + b["width"] and b["y"] < y < b["y"] + b["height"]
        ]


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


def test_a_link_leads_to_the_same_view(visit, address):
    page = visit(address)
    page.get_by_label("Filter Verdicts on 180 pairs").fill("label_dirichlet gap>1")
    page.locator("[data-pair^=label_dirichlet]:visible").first.click()
    pair = page.input_value("#pair")
    assert pair.startswith("label_dirichlet/")
    page.click("#theme")
    link, rows = page.url, page.locator("#pairs tbody tr:visible").count()
    assert f"pair={pair}" in link
    other = visit(link)
    assert other.input_value("#pair") == pair
    search = other.get_by_label("Filter Verdicts on 180 pairs")
    assert search.input_value() == "label_dirichlet gap>1"
    assert other.locator("#pairs tbody tr:visible").count() == rows
    assert other.evaluate("document.documentElement.dataset.theme") == "dark"
    assert abs(other.locator("#one").bounding_box()["y"]) < 100


def test_a_link_to_a_section_opens_what_is_folded_and_an_odd_one_does_no_harm(visit, address):
    folded = visit(address + "#claims")
    assert folded.locator("#claims table").is_visible()
    odd = visit(address + "#pair=no%such&%E0=x&nowhere")  # somebody typed it
    assert odd.input_value("#pair") == folded.input_value("#pair")


def test_the_keyboard_stops_once_per_figure_and_table_and_arrows_do_the_rest(visit, address):
    page = visit(address)
    read(page, "surface", "classes")
    stops = (
        "selector => [...document.querySelectorAll(selector)].map((one) =>"
        " [...one.querySelectorAll('a[href], button')].filter((x) => x.tabIndex >= 0).length)"
    )
    assert set(page.evaluate(stops, ".plot")) == {0}
    assert set(page.evaluate(stops, ".tools[role=toolbar]")) == {1}
    assert set(page.evaluate(stops, ".sortable thead")) == {1}
    assert max(page.evaluate(stops, ".sortable tbody")) == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    second = page.locator("[data-pair]").nth(1).get_attribute("data-pair")
    page.locator("[data-pair]").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.pair") == second
    page.keyboard.press("Enter")
    assert page.input_value("#pair") == second
    assert page.evaluate("document.activeElement.id") == "one"


def test_everything_has_a_name_for_readers_who_hear_the_page(visit, address):
    page = visit(address)
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, select, input, a[href], .plot, section')]"
        ".filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label')"
        " || one.labels?.length)).map((one) => one.outerHTML)"
    )
    assert nameless == []
    empty = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].filter((one) => !one.textContent.trim())"
        ".length"
    )
    assert empty == 0


def test_a_long_table_says_that_it_has_more_rows_and_shows_them(visit, address):
    page = visit(address)
    box = page.locator("#pairs .tall").first
    assert box.evaluate("box => box.scrollHeight > box.clientHeight")
    page.get_by_role("button", name="Scroll, or show all 180 rows").first.click()
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    page.get_by_role("button", name="Show fewer rows").click()
    assert box.evaluate("box => box.scrollHeight > box.clientHeight")


def test_a_pair_is_found_by_its_numbers_and_is_then_the_one_below(visit, address):
    page = visit(f"{address}#pairs")
    rows = page.locator("#pairs table").first.locator("tbody tr:not([hidden])")
    search = page.locator("#pairs input[type=search]").first
    of_student_0 = large_campaign().participants - 1
    for typed, left in (
        ("uniform student=0", of_student_0),
        ("uniform teacher>=2 student < 1", of_student_0 - 1),
        ("uniform, teacher = 2, student = 0", 1),
        ("uniform teacher 2 student 0", 1),
    ):
        search.fill(typed)
        assert rows.count() == left, typed
    assert page.locator("#pair-verdict").inner_text().startswith("uniform/t02-s00: ")
    assert "pair=uniform/t02-s00" in page.url
    verdicts = page.locator("#pairs details").first
    assert not verdicts.get_by_text("Scroll, or show all").is_visible()


def test_paper_has_every_section_and_all_rows_of_the_verdicts(visit, address):
    page = visit(address, viewport={"width": 718, "height": 1000})  # A4 within its margins
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in ("#short details", "#run details", "#claims details"):
        assert page.locator(name).count()
        assert page.locator(f"{name}:not([open])").count() == 0
    table = page.locator("#pairs .tall").first
    assert table.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    assert page.locator("#pairs [data-pair]:visible").count() == 180
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    folded = page.locator("details:not([open])")
    assert folded.count() and not folded.locator("visible=true").count()
    assert page.locator(".plot").evaluate_all(
        "all => all.every((x) => !x.closest('details:not([open])'))"
    )
    heads = page.locator("thead").evaluate_all("all => all.map((x) => getComputedStyle(x).display)")
    assert set(heads) <= {"table-header-group", "none"}


def test_a_laptop_shows_every_column_of_the_verdicts_and_a_phone_keeps_the_pair(visit, address):
    page = visit(address, viewport={"width": 1368, "height": 800})
    box = page.locator("#pairs .tall").first
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    page.set_viewport_size({"width": 390, "height": 800})
    box.evaluate("box => { box.scrollLeft = 400; }")
    left = box.bounding_box()["x"]
    for cell in ("thead .pair", "tbody .pair"):
        assert abs(box.locator(cell).first.bounding_box()["x"] - left) < 1


def test_a_page_whose_data_are_packed_shows_the_same(visit, address, tmp_path, monkeypatch):
    surfaces = []
    plain = visit(address)
    monkeypatch.setattr("kdopt.report.page.PACKED_FROM", 0)
    campaign = large_campaign()
    packed = write_report(tmp_path, ReportData(campaign, make_rows(campaign)))[-1]
    assert "application/gzip" in packed.read_text()
    for page in (plain, visit(packed.as_uri())):
        page.select_option("#pair", "label_dirichlet/t09-s02")
        read(page, "surface")
        surfaces.append(page.evaluate("document.getElementById('surface').data[0].z"))
    assert surfaces[0] == surfaces[1]
