"""Figures in a real browser: what is drawn, what a click does, and what is downloaded."""

from __future__ import annotations

import pytest

from tests.report.in_browser import INKS, downloaded, ink_of, points_drawn, read, rows_of, tools


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_with_every_pair(visit, address, scheme):
    page = visit(address, color_scheme=scheme)
    for index in range(2):
        assert points_drawn(page, f"map-{index}-alpha") == 90
        assert points_drawn(page, f"map-{index}-temperature") == 90
        assert points_drawn(page, f"map-{index}-gain") == 2 * 90
    assert ink_of(page, "map-0-gain") == INKS[scheme]


def test_the_oracle_appears_when_its_legend_entry_is_clicked(visit, address):
    page = visit(address)
    read(page, "map-0-gain")
    page.locator("#map-0-gain .legendtoggle").nth(2).click()
    page.locator("#map-0-gain .scatterlayer .point").nth(269).wait_for(state="attached")
    assert points_drawn(page, "map-0-gain") == 270


def test_no_button_sends_a_chart_away(visit, address):
    page = visit(address)
    read(page, "map-0-gain", "surface")
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map(b => b.dataset.title)")
    assert set(titles) == {"Zoom", "Pan", "Reset axes"}


def test_every_figure_is_downloaded_as_data_and_as_a_picture(visit, whole):
    page = visit(whole, color_scheme="dark")
    figures = page.eval_on_selector_all(".plot", "all => all.map(one => one.id)")
    assert len(figures) == 1 + 5 * 3 + 1 + 5 + 2 + 3 + 3
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    names = set()
    for number, figure in enumerate(figures):
        if number % 8 == 7:  # Chromium drops a page's downloads beyond ten a second
            page.wait_for_timeout(1200)
        row = tools(page, figure).as_element()
        assert row.inner_text().split() == ["CSV", "SVG", "PNG"]
        csv_button, svg_button, _ = row.query_selector_all("button")
        name, text = downloaded(page, csv_button)
        lines = rows_of(text)
        assert lines and None not in lines[0].values(), figure
        names.add(name)
    assert len(names) == len(figures)
    name, picture = downloaded(page, svg_button)
    assert name.endswith(".svg") and picture.startswith(b"<svg")
    assert b"rgb(236, 236, 236)" not in picture  # dark on white, whatever the page looks like


def test_the_data_of_a_map_are_its_points(visit, address):
    page = visit(address)
    button = tools(page, "map-1-alpha").as_element().query_selector("button")
    name, text = downloaded(page, button)
    assert name == "synthetic-fig3-2-label-dirichlet-alpha.csv"
    lines = rows_of(text)
    drawn = page.evaluate(
        "document.getElementById('map-1-alpha').data.flatMap((t) => t.customdata || []).sort()"
    )
    named = [f"t{int(line['teacher']):02}-s{int(line['student']):02}" for line in lines]
    assert sorted(f"label_dirichlet/{name}" for name in named) == drawn
    assert {line["partition"] for line in lines} == {"label_dirichlet"}
