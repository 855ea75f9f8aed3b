"""The page as a whole in a real browser: theme, contents, phone, and what is drawn when."""

from __future__ import annotations

import pytest

from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import large_campaign, make_campaign, make_rows
from tests.report.in_browser import INKS, PHONE, ink_of, read


def test_only_what_is_near_is_drawn_until_the_reader_comes(visit, address):
    page = visit(address)
    page.wait_for_selector("body[data-drawn=yes]")
    assert page.locator("#map-1-gain .main-svg").count() == 0
    # The place is kept, so nothing moves under the reader when it is drawn.
    before = page.evaluate("document.documentElement.scrollHeight")
    read(page, "map-1-gain")
    assert page.evaluate("document.documentElement.scrollHeight") == before


def test_the_theme_is_changed_by_a_button_whatever_the_system_says(visit, address):
    page = visit(address, color_scheme="dark")
    read(page, "map-0-gain")
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    assert page.inner_text("#theme") == "Dark"
    assert ink_of(page, "map-0-gain") == INKS["light"]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    page.click("#theme")
    assert ink_of(page, "map-0-gain") == INKS["dark"]


def test_the_contents_lead_to_the_sections(visit, whole):
    page = visit(whole)
    for link in page.locator("nav a").all():
        link.click()
        target = link.get_attribute("href").removeprefix("#")
        top = page.evaluate(f"document.getElementById('{target}').getBoundingClientRect().top")
        bottom = page.evaluate("document.documentElement.scrollHeight - scrollY - innerHeight")
        assert abs(top) < 60 or bottom < 2, target


@pytest.mark.parametrize("fixture", ["address", "comparison", "many_teachers", "whole"])
def test_a_phone_scrolls_down_only(visit, request, fixture):
    page = visit(request.getfixturevalue(fixture), viewport=PHONE)
    for figure in page.eval_on_selector_all(".plot", "all => all.map(one => one.id)"):
        page.evaluate(f"document.getElementById('{figure}').scrollIntoView()")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_phone_unfolds_the_contents_and_every_link_is_whole(visit, whole):
    page = visit(whole, viewport=PHONE)
    links = page.locator("nav a")
    assert links.count() == page.locator("section").count()
    assert not links.first.is_visible()
    menu = page.get_by_role("button", name="Contents")
    menu.click()
    for link in links.all():
        box = link.bounding_box()
        assert box["height"] >= 24 and 0 <= box["x"] <= PHONE["width"] - box["width"]  # WCAG 2.5.8
    links.nth(1).click()
    assert not links.first.is_visible()
    assert abs(page.locator("#pairs").bounding_box()["y"]) < 60
    menu.click()
    page.keyboard.press("Escape")
    assert menu.get_attribute("aria-expanded") == "false"


@pytest.mark.parametrize("sampler", ["tpe", "sequential"])
def test_other_samplers_and_an_empty_campaign_have_a_working_page(visit, tmp_path, sampler):
    campaign = make_campaign(tune_sampler=sampler)
    paths = write_report(tmp_path / "full", ReportData(campaign, make_rows(campaign)))
    page = visit(paths[-1].as_uri())
    read(page, "surface")
    kind = {"tpe": "scatter", "sequential": "heatmap"}[sampler]
    assert page.evaluate("document.getElementById('surface').data[0].type") == kind
    paths = write_report(tmp_path / "empty", ReportData(campaign, []))
    page = visit(paths[-1].as_uri())
    assert "no cell of this pair is complete yet" in page.inner_text("#pair-text")
    assert not page.locator("#surface-figure").is_visible()


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
    rows = ".figures, .tools[role=toolbar]:not(.figures *)"
    assert set(page.evaluate(stops.replace("button", "[role=toolbar] button"), rows)) == {1}
    assert set(page.evaluate(stops, ".sortable thead")) == {1}
    assert max(page.evaluate(stops, ".sortable tbody")) == 1
    for _ in range(2):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    first, second = (
        page.locator("[data-pair]").nth(place).get_attribute("data-pair") for place in (0, 1)
    )
    assert page.evaluate("document.activeElement.dataset.pair") == first
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


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1400)])
def test_axe_finds_nothing_serious(visit, small_whole, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed")
    viewport = {"width": width, "height": 900}
    page = visit(small_whole, color_scheme=scheme, viewport=viewport, bypass_csp=True)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    read(page, "surface", "methods-transfer")
    page.wait_for_selector("#main abbr", state="attached")
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert len(found["passes"]) > 20
    assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []


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
